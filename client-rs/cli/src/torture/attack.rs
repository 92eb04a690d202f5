//! What an attack is: a name, what must come of it, and a function that makes it.
//!
//! Invariant: an attack that cannot prove that it landed proves nothing, and counts as failed. It does *not* judge
//! the daemon's health afterwards: that is [`super::judge`], the same for all.

use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringfence::ErrorCode;

use super::attacker::Attacker;
use super::home::Home;

static PATIENCE: OnceLock<Duration> = OnceLock::new();

/// How long anything that must happen may take. A loaded machine may take long about everything.
pub(super) fn patience() -> Duration {
    *PATIENCE.get_or_init(|| Duration::from_secs(20))
}

/// Says so, before anybody asks.
pub(super) fn be_patient(time: Duration) {
    // Set once: a second one has no effect, and nobody says it twice.
    let _ = PATIENCE.set(time);
}

/// Long enough for two sweeps of the daemon: what had not happened by then does not happen.
pub(super) const TWO_SWEEPS: Duration = Duration::from_millis(250);

/// An attack.
pub(super) struct Attack {
    pub(super) name: &'static str,
    /// One line.
    pub(super) what: &'static str,
    /// Rows of the project's list of faults.
    pub(super) rows: &'static [u8],
    /// One of these must come of it.
    pub(super) expect: &'static [Expect],
    pub(super) busy: Busy,
    pub(super) run: fn(&Scene<'_>) -> Result<Seen, Wrong>,
}

/// What the attacker does to be as busy as this: its honest neighbour is compared with one who has such neighbours, who
/// are honest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Busy {
    /// It waits more than it does.
    Nobody,
    /// It keeps a core busy without calling, and lets others have it as the client library does.
    Computes,
    /// So many threads call all the time.
    Calls(usize),
    /// It connects, does something once and leaves, again and again.
    Visits,
}

/// What must come of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// The session ends with this fault.
    Fault(&'static str),
    /// A call or a request is refused with this code.
    Refused(ErrorCode),
    /// Nothing: the attacker itself still gets right answers.
    Unharmed,
    /// The connection is dropped.
    Dropped,
    /// The subscription is cut off, and is told.
    CutOff,
    /// What the dead client had is gone.
    Gone,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Fault(String),
    Refused(ErrorCode),
    Unharmed,
    Dropped,
    CutOff,
    Gone,
}

impl Expect {
    pub(super) fn is(self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Expect::Fault(wanted), Outcome::Fault(fault)) => wanted == fault,
            (Expect::Refused(wanted), Outcome::Refused(code)) => wanted == *code,
            (Expect::Unharmed, Outcome::Unharmed)
            | (Expect::Dropped, Outcome::Dropped)
            | (Expect::CutOff, Outcome::CutOff)
            | (Expect::Gone, Outcome::Gone) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match *self {
            Expect::Fault(fault) => Outcome::Fault(fault.into()),
            Expect::Refused(code) => Outcome::Refused(code),
            Expect::Unharmed => Outcome::Unharmed,
            Expect::Dropped => Outcome::Dropped,
            Expect::CutOff => Outcome::CutOff,
            Expect::Gone => Outcome::Gone,
        };
        outcome.fmt(f)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Fault(fault) => write!(f, "fault {fault}"),
            Outcome::Refused(code) => write!(f, "refused {}", code.name()),
            Outcome::Unharmed => f.write_str("unharmed"),
            Outcome::Dropped => f.write_str("dropped"),
            Outcome::CutOff => f.write_str("cut off"),
            Outcome::Gone => f.write_str("gone"),
        }
    }
}

/// What an attack saw.
pub(super) struct Seen {
    /// How it is known that it landed.
    pub(super) landed: String,
    pub(super) outcome: Outcome,
}

impl Seen {
    pub(super) fn new(landed: impl Into<String>, outcome: Outcome) -> Result<Self, Wrong> {
        Ok(Self { landed: landed.into(), outcome })
    }
}

/// Why an attack saw something else.
#[derive(Debug)]
pub(super) enum Wrong {
    /// This was seen in place of what must be.
    Broken(String),
    /// The session ended so while an answer was waited for.
    Ended(Outcome),
    /// The attack could not be made, so nothing is known.
    NotLanded(String),
    /// This daemon does not have what is attacked.
    Skipped(String),
}

impl<E: std::error::Error> From<E> for Wrong {
    fn from(error: E) -> Self {
        Wrong::Broken(error.to_string())
    }
}

/// This was seen in place of what must be.
pub(super) fn broken<T>(what: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong::Broken(what.into()))
}

/// Did it land?
pub(super) fn landed(did: bool, what: &str) -> Result<(), Wrong> {
    if did { Ok(()) } else { Err(Wrong::NotLanded(what.to_owned())) }
}

/// Did what must be?
pub(super) fn must(did: bool, else_seen: impl FnOnce() -> String) -> Result<(), Wrong> {
    if did { Ok(()) } else { Err(Wrong::Broken(else_seen())) }
}

/// Waits for what must come.
pub(super) fn until(what: &str, mut came: impl FnMut() -> bool) -> Result<(), Wrong> {
    let end = Instant::now() + patience();
    while !came() {
        if Instant::now() >= end {
            return broken(format!("waited {:?} in vain: {what}", patience()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Where an attack takes place.
pub(super) struct Scene<'a> {
    pub(super) home: &'a Home,
    /// When it should come to its end.
    pub(super) until: Instant,
    /// All of what is counted is to be done, however long it takes.
    pub(super) whole: bool,
    pub(super) stop: &'a AtomicBool,
    pub(super) random: Cell<u64>,
}

impl Scene<'_> {
    /// Is the time over, or has the user had enough?
    pub(super) fn over(&self) -> bool {
        Instant::now() >= self.until || self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn connect(&self) -> Result<Attacker, Wrong> {
        Attacker::connect(&self.home.socket())
    }

    /// Does `act` while another thread does `storm` at full speed: how often it did, and what came of `act`.
    pub(super) fn beside<T>(
        &self,
        mut storm: impl FnMut(&mut Random) + Send,
        act: impl FnOnce() -> Result<T, Wrong>,
    ) -> Result<(u64, T), Wrong> {
        let (end, mut random) = (Stop(AtomicBool::new(false)), self.random());
        let began = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut rounds = 0_u64;
                while !end.0.load(Ordering::Relaxed) {
                    storm(&mut random);
                    rounds += 1;
                    began.store(true, Ordering::Relaxed);
                    give_way(rounds);
                }
                rounds
            });
            let acted = {
                // Also if it panics.
                let _ends = Ends(&end);
                let began = until("the storm has a core", || began.load(Ordering::Relaxed));
                began.and_then(|()| act())
            };
            let rounds = thread.join().map_err(|_| Wrong::Broken("the storm panicked".into()))?;
            Ok((rounds, acted?))
        })
    }

    /// A fresh source of random numbers; the same ones for the same seed.
    pub(super) fn random(&self) -> Random {
        let mut random = Random(self.random.get());
        self.random.set(random.next());
        random
    }
}

/// Lets others have the core now and then, as the client library does while it waits: that a process which never does
/// keeps a core busy is no news about the daemon.
pub(super) fn give_way(rounds: u64) {
    if rounds.is_multiple_of(64) {
        std::thread::yield_now();
    }
}

struct Stop(AtomicBool);
struct Ends<'a>(&'a Stop);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// splitmix64: good enough to scribble, and needs nothing.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_what_was_expected_or_not() {
        let fault = Outcome::Fault("block".into());
        assert!(Expect::Fault("block").is(&fault) && !Expect::Fault("bulk").is(&fault));
        assert!(!Expect::Unharmed.is(&fault) && Expect::Dropped.is(&Outcome::Dropped));
        let refused = Outcome::Refused(ErrorCode::Quota);
        assert!(Expect::Refused(ErrorCode::Quota).is(&refused));
        assert_eq!(Expect::Refused(ErrorCode::Quota).to_string(), refused.to_string());
    }
}
