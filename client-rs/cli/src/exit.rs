//! Exit codes and failures: one table, from which `--help` is made.
//!
//! Invariant: the numbers are sysexits.h's where it has one, and stable. It does *not* print data.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use clap::error::ErrorKind;
use ringfence::{Error, ErrorCode, Outcome};
use serde::Serialize;

use crate::output::printable;

/// What the process leaves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Ok = 0,
    Failed = 1,
    Usage = 64,
    Data = 65,
    NoInput = 66,
    Unavailable = 69,
    Internal = 70,
    System = 71,
    Output = 74,
    TryAgain = 75,
    Mismatch = 76,
    NotPermitted = 77,
    Config = 78,
}

/// Every code with what it means.
const TABLE: &[(Exit, &str)] = &[
    (Exit::Ok, "fine, also if the reader of a pipe left early"),
    (Exit::Failed, "the call was made and failed: the engine says why"),
    (Exit::Usage, "the command line is wrong: a flag, a target, a method, an argument"),
    (Exit::Data, "the contract or topology is wrong; it says in which line"),
    (Exit::NoInput, "a file that an argument names cannot be read"),
    (Exit::Unavailable, "no daemon answers at the target, or it went away during the call"),
    (Exit::Internal, "one side broke its own rules, or a defence failed: please report it"),
    (Exit::System, "the operating system refused something here"),
    (Exit::Output, "the output cannot be written"),
    (Exit::TryAgain, "not within the time-out, the daemon is stalled, or something is full"),
    (Exit::Mismatch, "different layouts: client and daemon, or codegen --check"),
    (Exit::NotPermitted, "the daemon does not let this user in"),
    (Exit::Config, "doctor: something here does not work; it says what mends it"),
];

/// The codes, for `--help`.
pub(crate) fn help() -> String {
    let mut text = String::from("Exit codes:");
    for (exit, meaning) in TABLE {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {:<3} {meaning}", *exit as u8);
    }
    text
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Prints what clap says: help to standard output, errors to standard error.
pub(crate) fn of_command_line(error: &clap::Error) -> Exit {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    match error.print() {
        Err(error) if asked && error.kind() != std::io::ErrorKind::BrokenPipe => Exit::Output,
        _ if asked => Exit::Ok,
        _ => Exit::Usage,
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    code: Option<ErrorCode>,
    outcome: Option<Outcome>,
    message: String,
}

/// A failure in JSON.
#[derive(Serialize)]
struct Shape<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    exit: u8,
    code: Option<u16>,
    name: Option<&'static str>,
    outcome: Option<&'static str>,
    message: &'a str,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, code: None, outcome: None, message: message.into() }
    }

    /// The command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// What the process will leave with.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The same with another exit code.
    pub(crate) fn with(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// The same, saying what it is about.
    pub(crate) fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Says so on standard error: the code to leave with.
    pub(crate) fn report(&self, json: bool) -> Exit {
        let shape = Shape {
            error: Inner {
                exit: self.exit as u8,
                code: self.code.map(ErrorCode::as_u16),
                name: self.code.map(ErrorCode::name),
                outcome: self.outcome.map(Outcome::name),
                message: &self.message,
            },
        };
        let line = json.then(|| serde_json::to_string(&shape).ok()).flatten();
        let line = line.unwrap_or_else(|| format!("ringfence: {}", printable(&self.message)));
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(std::io::stderr(), "{line}");
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Io { .. } => Exit::System,
            Error::Closed => Exit::Internal,
            other => of_code(other.code()),
        };
        let outcome = error.outcome();
        Self { exit, code: Some(error.code()), outcome, message: error.to_string() }
    }
}

fn of_code(code: ErrorCode) -> Exit {
    match code {
        ErrorCode::DaemonUnavailable | ErrorCode::DaemonRestarted | ErrorCode::ShuttingDown => {
            Exit::Unavailable
        }
        ErrorCode::DaemonStalled
        | ErrorCode::Expired
        | ErrorCode::Overdue
        | ErrorCode::Backpressure
        | ErrorCode::Quota
        | ErrorCode::ReplyArenaFull => Exit::TryAgain,
        ErrorCode::SchemaMismatch => Exit::Mismatch,
        ErrorCode::PermissionDenied => Exit::NotPermitted,
        ErrorCode::Internal | ErrorCode::SessionKilled | ErrorCode::ForkedSession => Exit::Internal,
        // What the engine itself says of the call.
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_retrying_can_cure_is_told_from_what_it_cannot() {
        for (code, _, _) in ErrorCode::TABLE {
            let exit = of_code(*code);
            let resources = code.as_u16() / 1000 == 6;
            let engine = matches!(code.as_u16(), 1000..5000) && *code != ErrorCode::Internal;
            if engine {
                assert_eq!(exit, Exit::Failed, "{code:?}");
            }
            if resources && !matches!(code, ErrorCode::OutOfMemory | ErrorCode::TooLarge) {
                assert_eq!(exit, Exit::TryAgain, "{code:?}");
            }
        }
    }

    #[test]
    fn every_code_is_in_the_help_once_and_in_order() {
        assert!(TABLE.windows(2).all(|pair| (pair[0].0 as u8) < pair[1].0 as u8));
        assert!(help().lines().all(|line| line.len() <= 80), "{}", help());
    }
}
