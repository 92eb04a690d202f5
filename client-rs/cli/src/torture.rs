//! `ringfence torture`: attacks on a private daemon, on the user's own kernel, and what comes of them.
//!
//! A daemon is started for it and taken down with all that is its own. Beside each attack an honest neighbour calls
//! it, whose answers are compared and whose times are kept; a defence that failed gives the next attack a fresh
//! daemon. It does *not* touch any other daemon of the machine.

mod attack;
mod attacker;
mod attacks;
mod home;
mod honest;
mod judge;
mod peer;
mod report;
mod stop;

use std::cell::Cell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::attack::{Attack, Busy, Scene, Wrong};
use self::home::{Holdings, Home};
use self::honest::{Honest, Ledger, Way};
use self::report::{Listed, Report, Row};
use crate::args::{Global, Torture};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(global: &Global, what: &Torture) -> Result<(), Failure> {
    if let (Some(step), Some(socket)) = (&what.peer, &what.at) {
        return peer::run(step, socket).map_err(not_made);
    }
    let chosen = chosen(&what.only)?;
    if what.list {
        return if global.json {
            output::json(&chosen.iter().map(Listed::from).collect::<Vec<_>>())
        } else {
            output::text(&report::list(&chosen))
        };
    }
    attack::be_patient(what.patience);
    let stop = stop::on_signal().map_err(|errno| Failure::new(Exit::System, errno.to_string()))?;
    let report = Run::new(global, what, stop).all(&chosen)?;
    if global.json {
        output::json(&report)?;
    } else {
        output::text(&report.text())?;
    }
    let failed = report.failed();
    if report.interrupted {
        let text =
            format!("interrupted: {} of {} attacks were made", report.attacks.len(), chosen.len());
        return Err(Failure::new(Exit::TryAgain, text));
    }
    if failed.is_empty() {
        return Ok(());
    }
    let text =
        format!("{} of {} defences failed: {}", failed.len(), chosen.len(), failed.join(", "));
    Err(Failure::new(Exit::Internal, text))
}

/// The attacks that were named, or all.
fn chosen(only: &[String]) -> Result<Vec<&'static Attack>, Failure> {
    let all: Vec<&'static Attack> = attacks::ALL.iter().copied().flatten().collect();
    if only.is_empty() {
        return Ok(all);
    }
    only.iter()
        .map(|name| {
            let found = all.iter().find(|attack| attack.name == name);
            found.copied().ok_or_else(|| unknown(name, &all))
        })
        .collect()
}

fn unknown(name: &str, all: &[&'static Attack]) -> Failure {
    let distance = |attack: &&&Attack| strsim::damerau_levenshtein(name, attack.name);
    let near = all.iter().min_by_key(distance).filter(|near| distance(near) <= 3);
    let hint =
        near.map_or("--list shows them".into(), |near| format!("did you mean `{}`?", near.name));
    Failure::usage(format!("there is no attack `{name}`: {hint}"))
}

/// What stands while attacks are made.
struct Stage {
    // In this order: the neighbour leaves before its daemon.
    honest: Honest,
    home: Home,
    before: Holdings,
}

struct Run {
    binary: PathBuf,
    seconds: Duration,
    seed: u64,
    json: bool,
    /// A single attack was asked for: it is to be done in full.
    whole: bool,
    stop: Arc<AtomicBool>,
    stage: Option<Stage>,
    /// What the neighbour saw beside honest ones, before and after all attacks that are as busy.
    beside_honest: HashMap<Busy, Ledger>,
}

impl Run {
    fn new(global: &Global, what: &Torture, stop: Arc<AtomicBool>) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = what.seed.unwrap_or_else(|| now.map_or(1, |since| since.as_nanos() as u64));
        Self {
            binary: from_here(what.daemon.clone().unwrap_or_else(ringfence::daemon_binary)),
            seconds: what.seconds_per_attack,
            // Short enough to be typed again.
            seed: if what.seed.is_some() { seed } else { seed % 1_000_000 },
            json: global.json,
            whole: what.only.len() == 1,
            stop,
            stage: None,
            beside_honest: HashMap::new(),
        }
    }

    fn all(mut self, chosen: &[&'static Attack]) -> Result<Report, Failure> {
        let mut rows = Vec::new();
        for (index, attack) in chosen.iter().enumerate() {
            if self.interrupted() {
                break;
            }
            report::progress(index + 1, chosen.len(), attack.name, self.json);
            rows.extend(self.one(attack)?);
        }
        report::progress_ends(self.json);
        let beside_honest: HashMap<_, _> = std::mem::take(&mut self.beside_honest)
            .into_iter()
            .filter_map(|(busy, ledger)| Some((busy, ledger.times()?)))
            .collect();
        for row in &mut rows {
            row.compare(&beside_honest);
        }
        let version = self.stage.as_ref().map_or(String::new(), |stage| stage.honest.version());
        let kernel = nix::sys::utsname::uname()
            .map_or(String::new(), |name| name.release().to_string_lossy().into_owned());
        Ok(Report {
            daemon: self.binary.display().to_string(),
            version,
            kernel,
            seed: self.seed,
            seconds_per_attack: self.seconds.as_secs_f64(),
            interrupted: self.interrupted() && rows.len() < chosen.len(),
            attacks: rows,
        })
    }

    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// `None` if the user has had enough before it was made.
    fn one(&mut self, attack: &'static Attack) -> Result<Option<Row>, Failure> {
        if self.stage.is_none() {
            self.stage = Some(self.set_up()?);
        }
        self.quiet(attack.busy)?;
        if self.interrupted() {
            return Ok(None);
        }
        let Some(stage) = &self.stage else { return Err(cannot("no daemon".into())) };
        let scene = Scene {
            home: &stage.home,
            until: Instant::now() + self.seconds,
            whole: self.whole,
            stop: &self.stop,
            random: Cell::new(self.seed),
        };
        let verdict = judge::judge(attack, &scene, &stage.honest, &stage.before);
        if self.interrupted() && verdict.wrong.is_some() {
            // It was not given its time.
            return Ok(None);
        }
        if verdict.wrong.is_some() {
            // Whatever is left of it proves nothing about the next attack.
            self.stage = None;
        }
        self.quiet(attack.busy)?;
        Ok(Some(Row::new(attack, verdict)))
    }

    fn set_up(&self) -> Result<Stage, Failure> {
        let home = Home::start(&self.binary).map_err(cannot)?;
        attacks::prepare(&home).map_err(not_made)?;
        let honest = Honest::start(home.socket(), Way::Call)?;
        let before = settled(&home);
        Ok(Stage { honest, home, before })
    }

    /// Notes what the neighbour sees beside honest ones as busy as that, for half the time of an attack. Before and
    /// after each, for a machine that others use too is another one a second later; and all of it together is what
    /// attacks are compared with: whether one call in a hundred waits for a core is a matter of luck in half a second.
    fn quiet(&mut self, busy: Busy) -> Result<(), Failure> {
        let Some(stage) = &self.stage else { return Ok(()) };
        let (count, way) = match busy {
            Busy::Nobody => (0, Way::Call),
            Busy::Computes => (1, Way::Compute),
            Busy::Calls(count) => (count, Way::Call),
            Busy::Visits => (1, Way::Visit),
        };
        let other = || Honest::start(stage.home.socket(), way);
        let others = (0..count).map(|_| other()).collect::<Result<Vec<_>, _>>()?;
        stage.honest.take();
        let end = Instant::now() + self.seconds / 2;
        while Instant::now() < end && !self.interrupted() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let ledger = stage.honest.take();
        drop(others);
        settled(&stage.home);
        self.beside_honest.entry(busy).or_default().add(&ledger);
        Ok(())
    }
}

/// A path that means the same in another directory; a mere name is looked for in PATH.
fn from_here(binary: PathBuf) -> PathBuf {
    let is_name = binary.components().count() == 1;
    if is_name { binary } else { std::path::absolute(&binary).unwrap_or(binary) }
}

/// What the daemon holds once nobody connects or leaves.
fn settled(home: &Home) -> Holdings {
    let mut last = home.holdings();
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let now = home.holdings();
        if now == last {
            return now;
        }
        last = now;
    }
}

/// Before any attack.
fn not_made(wrong: Wrong) -> Failure {
    match wrong {
        Wrong::Broken(text) | Wrong::NotLanded(text) | Wrong::Skipped(text) => cannot(text),
        Wrong::Ended(outcome) => cannot(format!("the session ended: {outcome}")),
    }
}

fn cannot(why: String) -> Failure {
    Failure::new(Exit::System, why)
}
