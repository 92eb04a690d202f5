//! Calls in process that their engine answers later.
//!
//! Invariants: a [`Slot`] gets one answer, from whoever takes it first: the engine, the caller's own
//! time, a cancel, or the client's end; a call that was ended before it began takes no effect. No
//! thread of ours waits: the caller's does, or its task is woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::Waker;
use std::time::{Duration, Instant};

use ringfence_core::{Deferred, Later, Stop};
use ringfence_protocol::error::{Error as RemoteError, ErrorCode};
use ringfence_protocol::sys::clock;
use ringfence_protocol::sys::futex::{self, Wait};

use crate::error::{Error, Outcome};
use crate::lane::Answer;
use crate::pending::{ASLEEP, Entry};
use crate::reply::Reply;

/// No effect yet.
const WAITING: u8 = 0;
/// It may have taken effect.
const BEGUN: u8 = 1;
/// Answered, or about to be.
const OVER: u8 = 2;

/// The longest sleep of a call without a time-out.
const LONG: Duration = Duration::from_secs(60);

/// Where the answer arrives.
pub(crate) struct Slot {
    state: AtomicU8,
    entry: Entry,
    deadline: u32,
}

impl Slot {
    pub(super) fn new(deadline: u32) -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(WAITING), entry: Entry::default(), deadline })
    }

    /// What the engine keeps.
    pub(super) fn deferred(self: &Arc<Self>) -> Deferred {
        Deferred::new(Box::new(Kept(self.clone())))
    }

    fn go(&self, from: u8, to: u8) -> bool {
        // Relaxed: the answer itself goes through the entry.
        self.state.compare_exchange(from, to, Relaxed, Relaxed).is_ok()
    }

    /// Takes the right to answer: what is known of the call, if nobody had it before.
    pub(super) fn take(&self) -> Option<Outcome> {
        if self.go(WAITING, OVER) {
            return Some(Outcome::NotStarted);
        }
        self.go(BEGUN, OVER).then_some(Outcome::Unknown)
    }

    /// Ends it, if nobody has answered.
    pub(super) fn end(&self, error: impl FnOnce(Outcome) -> Error) {
        if let Some(outcome) = self.take() {
            self.entry.set(Err(error(outcome)));
        }
    }
}

struct Kept(Arc<Slot>);

impl Later for Kept {
    fn answer(self: Box<Self>, answer: ringfence_core::Answer) -> Option<ringfence_core::Answer> {
        if self.0.take().is_none() {
            return Some(answer);
        }
        self.0.entry.set(answer.map(Reply::from_bytes).map_err(Error::of_engine));
        None
    }

    fn begin(&self) -> bool {
        self.0.go(WAITING, BEGUN)
    }

    fn stop(&self) -> Option<Stop> {
        if self.0.state.load(Relaxed) == OVER {
            return Some(Stop::Cancelled);
        }
        clock::expired(clock::coarse_ticks(), self.0.deadline).then_some(Stop::Expired)
    }

    fn time_left(&self) -> Option<Duration> {
        clock::left(clock::coarse_ticks(), self.0.deadline)
    }
}

/// A call that waits for its slot.
pub(crate) struct Waiting {
    slot: Arc<Slot>,
    since: Instant,
    timeout: Option<Duration>,
}

impl Waiting {
    pub(super) fn new(slot: Arc<Slot>, since: Instant, timeout: Option<Duration>) -> Self {
        Self { slot, since, timeout }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.slot.entry.is_done()
    }

    /// The answer, or else this task is woken when it comes.
    pub(crate) fn poll(&self, task: &Waker) -> Option<Answer> {
        self.slot.entry.poll(task).map(|answer| self.within(answer))
    }

    /// Waits until then; `None`: not answered yet, or a signal came.
    pub(crate) fn wait(&self, until: Option<Instant>) -> Option<Answer> {
        let deadline = self.timeout.and_then(|timeout| self.since.checked_add(timeout));
        let entry = &self.slot.entry;
        loop {
            if let Some(answer) = entry.take() {
                return Some(self.within(answer));
            }
            let now = Instant::now();
            if deadline.is_some_and(|at| at <= now) {
                self.time_out();
            } else if until.is_some_and(|at| at <= now) {
                return None;
            }
            let Some(word) = entry.fall_asleep() else { continue };
            let next = deadline.into_iter().chain(until).min();
            let left = next.map_or(LONG, |at| at.saturating_duration_since(now).min(LONG));
            let slept = futex::wait(&[(word, ASLEEP)], left);
            entry.wake_up();
            if slept == Wait::Interrupted {
                return entry.take().map(|answer| self.within(answer));
            }
        }
    }

    /// Its own time is over.
    pub(crate) fn give_up(&self) -> Answer {
        self.time_out();
        self.wait(None).unwrap_or_else(|| Err(crate::pending::taken()))
    }

    pub(crate) fn cancel(&self) {
        let text = "the call was cancelled";
        self.slot.end(|_| RemoteError::new(ErrorCode::Cancelled, text).into());
    }

    fn time_out(&self) {
        self.slot.end(|outcome| Error::Timeout { outcome, after: Duration::ZERO });
    }

    fn within(&self, answer: Answer) -> Answer {
        answer.map_err(|error| error.within(self.timeout))
    }
}
