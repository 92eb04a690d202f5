//! A hot client beside a thousand silent sessions: does the daemon pay for those who say nothing?
//!
//! Two daemons, pinned alike, take turns: one with the hot client alone, one with the thousand beside it. So
//! both see the same phases of the machine.

use hdrhistogram::Histogram;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ringfence::Client;

use super::ringfence::{Daemon, Role, call_error, client};
use crate::BenchError;

use crate::harness::{Case, Context, Few, Runner, Slice};
use crate::raw::ticks;

const SILENT: usize = 1_000;
/// Descriptors of a session, at the client's end or at the daemon's; and some for everything else.
const DESCRIPTORS: u64 = 10 * SILENT as u64 + 500;
/// Turns of either daemon in a run, and calls of a turn.
const TURNS: usize = 20;
const CALLS: usize = 20_000;
/// The first calls of a turn are not counted: the daemon stood still.
const WARM_UP: usize = 2_000;

/// Under this name the figure is reported.
pub const SILENCE: &str = "hot p50 beside 1 000 silent sessions / alone";

/// The case.
#[derive(Debug)]
pub(super) struct SilentCrowd;

impl Case for SilentCrowd {
    fn name(&self) -> &'static str {
        "silent-crowd"
    }
    fn description(&self) -> &'static str {
        "Rust client.echo, 24 bytes, of a client of a daemon with 1 000 more sessions that say nothing, and of one with none: p50 over p50, in turns"
    }
    fn few(&self) -> Option<Few> {
        Some(Few { turns: 1, samples: 1 })
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        raise_descriptors()?;
        let start = || -> Result<_, BenchError> {
            let daemon = Daemon::start(&context.exe, Role::Bench)?;
            let hot = client(&daemon.target())?;
            Ok(Side { daemon, hot, silent: Vec::new(), ticks: histogram()? })
        };
        let (mut alone, mut beside) = (start()?, start()?);
        alone.daemon.pause()?;
        let target = beside.daemon.target();
        beside.silent = (0..SILENT).map(|_| client(&target)).collect::<Result<_, _>>()?;
        beside.daemon.pause()?;
        Ok(Box::new(Sides { alone, beside }))
    }
}

/// Many systems give a process 1024, and let it ask for more.
fn raise_descriptors() -> Result<(), BenchError> {
    let os = |source| BenchError::Os { what: "RLIMIT_NOFILE", source };
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(os)?;
    if hard < DESCRIPTORS {
        let text = format!("1 000 sessions need {DESCRIPTORS} descriptors, the limit is {hard}");
        return Err(BenchError::Skipped(text));
    }
    if soft >= DESCRIPTORS {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, hard).map_err(os)
}

/// A daemon with its hot client.
struct Side {
    // In this order: clients leave before their daemon.
    hot: Client,
    silent: Vec<Client>,
    daemon: Daemon,
    ticks: Histogram<u64>,
}

fn histogram() -> Result<Histogram<u64>, BenchError> {
    Histogram::new(3)
        .map_err(|error| BenchError::Peer { what: "histogram".into(), detail: error.to_string() })
}

impl Side {
    fn turn(&mut self) -> Result<(), BenchError> {
        self.daemon.resume()?;
        let payload = std::hint::black_box([7; 24]);
        let mut last = ticks();
        for call in 0..WARM_UP + CALLS {
            self.hot.echo(&payload).map_err(call_error)?;
            let now = ticks();
            if call >= WARM_UP {
                self.ticks.saturating_record(now.saturating_sub(last));
            }
            last = now;
        }
        self.daemon.pause()
    }

    fn sessions(&mut self) -> Result<u64, BenchError> {
        self.daemon.resume()?;
        let sessions = self.hot.stats().map_err(call_error)?.sessions;
        self.daemon.pause()?;
        Ok(sessions)
    }
}

struct Sides {
    alone: Side,
    beside: Side,
}

impl Runner for Sides {
    /// All of them are connected.
    fn check(&mut self) -> Result<(), BenchError> {
        let found = [self.alone.sessions()?, self.beside.sessions()?];
        let wanted = [1, 1 + SILENT as u64];
        if found == wanted && self.beside.silent.len() == SILENT {
            return Ok(());
        }
        let (expected, got) = (format!("sessions: {wanted:?}"), format!("{found:?}"));
        Err(BenchError::WrongAnswer { request: 0, expected, got })
    }

    fn run(&mut self, _samples: usize, _slice: &mut Slice) -> Result<(), BenchError> {
        for _ in 0..TURNS {
            self.alone.turn()?;
            self.beside.turn()?;
        }
        Ok(())
    }

    fn scalars(&mut self) -> Vec<(&'static str, f64)> {
        let [alone, beside] =
            [&self.alone, &self.beside].map(|side| side.ticks.value_at_quantile(0.5));
        self.alone.ticks.reset();
        self.beside.ticks.reset();
        let ratio = (alone > 0).then(|| beside as f64 / alone as f64);
        ratio.map(|ratio| (SILENCE, ratio)).into_iter().collect()
    }
}
