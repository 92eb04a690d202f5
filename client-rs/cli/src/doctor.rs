//! `ringfence doctor`: what on this machine keeps Ringfence from working well, and the command that
//! mends it.
//!
//! Invariants: without `--fix` nothing is changed; with it only names in shared memory go, of this
//! user, whose instance nobody runs, while the instance's lock is held. Each check looks at the
//! [`World`] only, so that a test can give it another one.

mod daemon;
mod limits;
mod names;
mod places;
mod room;
mod systemd;
#[cfg(test)]
mod tests;
mod world;

use serde::Serialize;

use crate::args::{Doctor, Global};
use crate::exit::{Exit, Failure};
use crate::output::{self, bold, printable, wrapped};
use crate::table::WIDTH;
use world::World;

/// The shape of the JSON; keys and the names of checks are stable.
#[derive(Debug, Serialize)]
struct Report {
    /// Has nothing failed? Warnings do not count.
    ok: bool,
    checks: Vec<Check>,
}

/// What came of one check.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    /// A command, or what to put where.
    fix: Option<String>,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// It works, but not as well or as long as it could.
    Warn,
    /// Something does not work.
    Fail,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), fix: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, state: State::Warn, found: found.into(), fix: Some(fix.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, state: State::Fail, found: found.into(), fix: Some(fix.into()) }
    }
}

pub(crate) fn run(global: &Global, what: &Doctor) -> Result<(), Failure> {
    let world = World::here(global)?;
    let report = Report::of(&world, what.fix);
    if global.json {
        output::json(&report)?
    } else {
        output::text(&report.text())?
    }
    let failed: Vec<&str> = report.failed().map(|check| check.name).collect();
    match failed.len() {
        0 => Ok(()),
        _ => Err(Failure::new(Exit::Config, format!("failed: {}", failed.join(", ")))),
    }
}

impl Report {
    fn of(world: &World, fix: bool) -> Self {
        let mut checks = vec![
            daemon::answers(world),
            daemon::versions(world),
            room::check(world),
            names::check(world, fix),
            limits::open_files(world),
            limits::locked_memory(world),
            limits::cores(world),
        ];
        checks.extend(places::check(world));
        checks.push(systemd::remove_ipc(world));
        checks.push(systemd::unit(world));
        let ok = checks.iter().all(|check| check.state != State::Fail);
        Self { ok, checks }
    }

    fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.state == State::Fail)
    }

    fn text(&self) -> String {
        const INDENT: usize = 6;
        let mut out = String::new();
        for check in &self.checks {
            let state = match check.state {
                State::Ok => "\x1b[32mok\x1b[0m  ",
                State::Warn => "\x1b[33mwarn\x1b[0m",
                State::Fail => "\x1b[31mFAIL\x1b[0m",
            };
            out.push_str(&format!("{state}  {}\n", bold(check.name)));
            for line in wrapped(&printable(&check.found), WIDTH - INDENT) {
                out.push_str(&format!("{:INDENT$}{line}\n", ""));
            }
            // Whole, so that it can be copied.
            for line in check.fix.iter().flat_map(|fix| fix.lines()) {
                out.push_str(&format!("{:INDENT$}fix: {}\n", "", printable(line)));
            }
        }
        out
    }
}
