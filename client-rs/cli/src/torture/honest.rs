//! The honest neighbour: a thread that echoes through the client library, compares each answer, and keeps the times.
//!
//! Samples are bounded: when there are too many, every other one goes, and from then on only every other call is kept.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringfence::{CallOptions, Client, Timeout};

use super::attack::{Random, give_way, patience};
use crate::output::percentile;

/// Samples that are kept at most: 4 MiB.
const SAMPLES: usize = 1 << 19;

/// Of them those that are kept of one time, if many are put together.
const SAMPLES_OF_A_TIME: usize = 1 << 12;

/// Lengths of its echoes, in turn: in the first line of a slot, in the slot, in blocks.
const LENGTHS: [usize; 8] = [0, 8, 24, 25, 100, 216, 217, 6000];

/// What it saw since it was asked last.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) calls: u64,
    pub(super) failures: u64,
    /// The first of them.
    pub(super) failure: Option<String>,
    samples_ns: Vec<u64>,
    /// One call in so many is a sample, less 1.
    skip: u64,
}

impl Ledger {
    fn count(&mut self, took: Duration, result: Result<(), String>) {
        self.calls += 1;
        if let Err(failure) = result {
            self.failures += 1;
            self.failure.get_or_insert(failure);
            return;
        }
        if !self.calls.is_multiple_of(self.skip + 1) {
            return;
        }
        self.samples_ns.push(took.as_nanos() as u64);
        if self.samples_ns.len() == SAMPLES {
            let mut keep = false;
            self.samples_ns.retain(|_| {
                keep = !keep;
                keep
            });
            self.skip = self.skip * 2 + 1;
        }
    }

    /// Adds samples of another time, as many of each time however many calls it saw.
    pub(super) fn add(&mut self, other: &Self) {
        let step = other.samples_ns.len().div_ceil(SAMPLES_OF_A_TIME).max(1);
        self.samples_ns.extend(other.samples_ns.iter().step_by(step));
    }

    /// p50 and p99, if there is any sample.
    pub(super) fn times(mut self) -> Option<Times> {
        self.samples_ns.sort_unstable();
        let at = |percent| percentile(&self.samples_ns, percent);
        Some(Times { p50_ns: at(50)?, p99_ns: at(99)? })
    }
}

/// Times of the honest neighbour's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) p50_ns: u64,
    pub(super) p99_ns: u64,
}

/// What it does all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Calls, one after the other.
    Call,
    /// Connects, calls once and leaves.
    Visit,
    /// Computes, and is connected.
    Compute,
}

/// The running neighbour. It ends when this is dropped.
pub(super) struct Honest {
    shared: Arc<Shared>,
    version: String,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    ledger: Mutex<Ledger>,
}

impl Honest {
    /// Starts one; its first answer has come.
    pub(super) fn start(socket: PathBuf, way: Way) -> Result<Self, ringfence::Error> {
        let client = connect(&socket)?;
        for len in LENGTHS {
            client.echo(&vec![7; len])?;
        }
        let version = client.info().daemon_version;
        let shared = Arc::new(Shared::default());
        let mine = Arc::clone(&shared);
        let thread = std::thread::spawn(move || match way {
            Way::Call => mine.run(&client),
            Way::Visit => mine.visit(&socket),
            Way::Compute => mine.compute(),
        });
        Ok(Self { shared, version, thread: Some(thread) })
    }

    /// Of the daemon.
    pub(super) fn version(&self) -> String {
        self.version.clone()
    }

    /// What it saw since this was asked last.
    pub(super) fn take(&self) -> Ledger {
        std::mem::take(&mut *self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It counts what it meets, and panics at nothing.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, client: &Client) {
        let echo = match client.method("system", "echo") {
            Ok(echo) => echo,
            Err(error) => return self.count(Duration::ZERO, Err(error.to_string())),
        };
        let options = CallOptions { timeout: Timeout::After(patience()), ..CallOptions::default() };
        let mut payload = vec![0_u8; LENGTHS[LENGTHS.len() - 1]];
        let mut round = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            round += 1;
            let sent = &mut payload[..LENGTHS[round as usize % LENGTHS.len()]];
            // No two calls are alike, so that an answer to another one is wrong.
            for (byte, of) in sent.iter_mut().zip(round.to_le_bytes().iter().cycle()) {
                *byte = *of;
            }
            let started = Instant::now();
            let answer = client.call(&echo, sent, &options);
            let took = started.elapsed();
            let failed = answer.is_err();
            self.count(took, check(answer, sent));
            if failed {
                // Perhaps there is no daemon any more: no reason to be busy about it.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn visit(&self, socket: &Path) {
        while !self.stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            let answer = connect(socket).and_then(|client| client.echo(b"visit"));
            self.count(started.elapsed(), check(answer, b"visit"));
        }
    }

    fn compute(&self) {
        let (mut random, mut rounds) = (Random(1), 0);
        while !self.stop.load(Ordering::Relaxed) {
            // As many words as a lane has of a kind.
            (0..32).for_each(|_| _ = std::hint::black_box(random.next()));
            rounds += 1;
            give_way(rounds);
        }
    }

    fn count(&self, took: Duration, result: Result<(), String>) {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).count(took, result);
    }
}

fn connect(socket: &Path) -> Result<Client, ringfence::Error> {
    Client::builder().socket(socket).name("honest").timeout(patience()).connect()
}

fn check(answer: Result<ringfence::Reply, ringfence::Error>, sent: &[u8]) -> Result<(), String> {
    match answer {
        Ok(answer) if answer.as_slice() == sent => Ok(()),
        Ok(_) => Err(format!("a wrong answer to {} bytes", sent.len())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_bounded_and_still_of_all_the_time() {
        let mut ledger = Ledger::default();
        for nanos in 1..=4 * SAMPLES as u64 {
            ledger.count(Duration::from_nanos(nanos), Ok(()));
        }
        assert_eq!(ledger.calls, 4 * SAMPLES as u64);
        assert!(ledger.samples_ns.len() < SAMPLES);
        let times = ledger.times().unwrap();
        let share = |ns: u64| ns as f64 / (4 * SAMPLES) as f64;
        assert!((share(times.p50_ns) - 0.5).abs() < 0.01, "{times:?}");
        assert!((share(times.p99_ns) - 0.99).abs() < 0.01, "{times:?}");
    }

    #[test]
    fn a_long_time_and_a_short_one_count_alike() {
        let ledger = |nanos, calls| {
            let mut ledger = Ledger::default();
            (0..calls).for_each(|_| ledger.count(Duration::from_nanos(nanos), Ok(())));
            ledger
        };
        let mut all = Ledger::default();
        all.add(&ledger(1, SAMPLES_OF_A_TIME));
        all.add(&ledger(2, SAMPLES_OF_A_TIME * 100));
        all.add(&ledger(3, SAMPLES_OF_A_TIME * 7));
        all.samples_ns.sort_unstable();
        let share = |ns| all.samples_ns.iter().filter(|sample| **sample == ns).count();
        assert_eq!([share(1), share(2), share(3)], [SAMPLES_OF_A_TIME; 3]);
    }

    #[test]
    fn a_failure_is_counted_and_the_first_one_kept() {
        let mut ledger = Ledger::default();
        ledger.count(Duration::ZERO, Err("one".into()));
        ledger.count(Duration::ZERO, Err("two".into()));
        assert_eq!((ledger.calls, ledger.failures, ledger.failure.as_deref()), (2, 2, Some("one")));
        assert_eq!(ledger.times(), None);
    }
}
