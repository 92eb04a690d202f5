//! A call of the in-flight table: whose it is, who may end it, and how its answer finds home.
//!
//! Invariants: whoever runs a call owes its answer; a call that nobody runs, because it is queued or
//! because its engine answers it later, is ended by whoever takes it first. Only the lane's poller
//! writes the completion ring: all others push a [`Finished`] into its inbox. It does *not* run calls.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ringfence_core::{Answer, Deferred, Later, Stop, Surroundings};
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::fault::Fault;
use ringfence_protocol::limits;
use ringfence_protocol::memory::Memory as _;
use ringfence_protocol::region::Region;
use ringfence_protocol::ring::Entry;
use ringfence_protocol::sys::clock;

use crate::inbox::{Inbox, Message};
use crate::session::Session;
use crate::workers::{Job, Task, Workers};

/// Which lane of which poller a call belongs to. The generation tells a lane from a later one in the
/// same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneKey {
    pub(crate) index: usize,
    pub(crate) generation: u64,
}

/// No worker has it.
const QUEUED: u8 = 0;
/// Somebody runs it, or it is answered.
const TAKEN: u8 = 1;
/// Its engine answers it later; it has had no effect.
const WAITING: u8 = 2;
/// The same, and it may have had one.
const BEGUN: u8 = 3;

/// A call that has not been answered.
pub(crate) struct InFlight {
    pub(crate) session: Arc<Session>,
    pub(crate) home: Arc<Inbox>,
    /// Weak, for an engine may keep the call and the workers have the engines.
    pub(crate) workers: Weak<Workers>,
    pub(crate) lane: LaneKey,
    pub(crate) entry: Entry,
    pub(crate) ticket: u64,
    pub(crate) method: u32,
    pub(crate) trace: u32,
    /// When it was seen, if a ledger is kept of it.
    pub(crate) seen: Option<u64>,
    pub(crate) words: Words,
    /// Counted among the calls of its user.
    pub(crate) counted: AtomicBool,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// The words between a call, its poller's sweep and its caller.
pub(crate) struct Words {
    /// See [`QUEUED`].
    state: AtomicU8,
    deadline: u32,
    up: Region,
    cancel_at: usize,
    down: Region,
    progress_at: usize,
}

impl Words {
    pub(crate) fn new(deadline: u32, up: (Region, usize), down: (Region, usize)) -> Self {
        let ((up, cancel_at), (down, progress_at)) = (up, down);
        Self { state: AtomicU8::new(QUEUED), deadline, up, cancel_at, down, progress_at }
    }

    fn go(&self, from: u8, to: u8) -> bool {
        // Relaxed: what the taker reads of the call came to it through a lock or is atomic itself.
        self.state.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Takes a call that its engine was to answer later; only one gets it.
    fn take_waiting(&self) -> bool {
        self.go(WAITING, TAKEN) || self.go(BEGUN, TAKEN)
    }
}

impl InFlight {
    /// Takes the call, to run it; only one gets it.
    pub(crate) fn take(&self) -> bool {
        self.words.go(QUEUED, TAKEN)
    }

    /// Nothing is done for it any more: before its answer is on its way, so that a user who waits for
    /// answers is never refused the next call.
    pub(crate) fn let_go(&self) {
        if self.counted.swap(false, Ordering::Relaxed) {
            self.session.usage().give_call();
        }
    }

    /// Is it neither run nor about to be, but answered later?
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.words.state.load(Ordering::Relaxed), WAITING | BEGUN)
    }

    /// Should it end, by its caller's words?
    fn stop(&self) -> Option<Stop> {
        let words = &self.words;
        let is_named = || {
            let word = words.up.load(words.cancel_at);
            word == self.ticket.wrapping_add(1) || word != 0 && !is_armed("cancel")
        };
        if self.session.is_closed() && is_armed("reap.calls") || is_named() {
            return Some(Stop::Cancelled);
        }
        let expired = clock::expired(clock::coarse_ticks(), words.deadline);
        (expired && is_armed("deadline")).then_some(Stop::Expired)
    }

    /// The error that a call which nobody runs is to be ended with now, if it is; then nobody else
    /// ends it. A daemon that leaves ends all that wait.
    pub(crate) fn end(&self, leaving: bool) -> Option<Error> {
        let (words, stop) = (&self.words, self.stop());
        if stop.is_none() && !leaving {
            return None;
        }
        let queued = || stop.filter(|_| words.go(QUEUED, TAKEN)).map(stopped_before);
        let waits = || words.go(WAITING, TAKEN).then(|| stop.map_or_else(left, stopped_before));
        let begun = || words.go(BEGUN, TAKEN).then(|| stop.map_or_else(interrupted, stopped_begun));
        queued().or_else(waits).or_else(begun)
    }

    /// The answer on its way to the poller.
    pub(crate) fn finished(&self, answer: Answer, ran: Option<Ran>) -> Finished {
        self.let_go();
        let result = answer.and_then(|reply| match reply.len() {
            0..=limits::COPY_REPLY_BYTES => Ok(Reply::Bytes(reply)),
            len => self.session.put_reply_bulk(&reply).map(|segment| Reply::Bulk { segment, len }),
        });
        let &Self { lane, entry, ticket, method, trace, seen, .. } = self;
        Finished { lane, entry, ticket, method, trace, result, fault: None, seen, ran }
    }
}

/// A reply on its way to the poller.
pub(crate) enum Reply {
    /// To be placed by the poller: small enough.
    Bytes(Vec<u8>),
    /// In a bulk segment of the session already.
    Bulk { segment: u32, len: usize },
}

/// A call that is done.
pub(crate) struct Finished {
    pub(crate) lane: LaneKey,
    pub(crate) entry: Entry,
    pub(crate) ticket: u64,
    pub(crate) method: u32,
    pub(crate) trace: u32,
    pub(crate) result: Result<Reply, Error>,
    pub(crate) fault: Option<Fault>,
    /// When it was seen, if a ledger is kept of it.
    pub(crate) seen: Option<u64>,
    /// If a worker ran it.
    pub(crate) ran: Option<Ran>,
}

/// When an engine had a call, in nanoseconds of CLOCK_MONOTONIC.
#[derive(Clone, Copy)]
pub(crate) struct Ran {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

/// The surroundings of a call of the table while it is run.
pub(crate) struct Around<'a> {
    call: &'a Arc<InFlight>,
    deferred: Cell<bool>,
}

impl<'a> Around<'a> {
    pub(crate) fn new(call: &'a Arc<InFlight>) -> Self {
        Self { call, deferred: Cell::new(false) }
    }

    /// Does whoever ran the call owe this answer? Not if the engine gives it later, unless it failed
    /// after all and nobody has answered.
    pub(crate) fn owes<T, E>(&self, result: &Result<T, E>) -> bool {
        !self.deferred.get() || result.is_err() && self.call.words.take_waiting()
    }
}

impl Surroundings for Around<'_> {
    fn stop(&self) -> Option<Stop> {
        self.call.stop()
    }

    fn progress(&self, done: u64) {
        // The sweep may have ended a call that waits, and its entry be another's.
        if !self.deferred.get() {
            self.call.words.down.store(self.call.words.progress_at, done);
        }
    }

    fn session(&self) -> u64 {
        self.call.session.id
    }

    fn uid(&self) -> Option<u32> {
        Some(self.call.session.uid)
    }

    fn defer(&self) -> Option<Deferred> {
        let again = self.deferred.replace(true);
        (!again).then(|| {
            self.call.words.state.store(WAITING, Ordering::Relaxed);
            Deferred::new(Box::new(Waiting(Arc::clone(self.call))))
        })
    }
}

/// A call whose engine answers it later.
struct Waiting(Arc<InFlight>);

impl Later for Waiting {
    fn answer(self: Box<Self>, answer: Answer) -> Option<Answer> {
        let call = self.0;
        if call.session.is_closed() || !call.words.take_waiting() {
            return Some(answer);
        }
        match answer {
            Ok(large) if large.len() > limits::COPY_REPLY_BYTES => place(call, large),
            small => call.home.push(Message::Finished(call.finished(small, None))),
        }
        None
    }

    fn begin(&self) -> bool {
        self.0.words.go(WAITING, BEGUN)
    }

    fn stop(&self) -> Option<Stop> {
        // Once it is ended its cancel word is another call's.
        if self.0.is_waiting() { self.0.stop() } else { Some(Stop::Cancelled) }
    }

    fn time_left(&self) -> Option<Duration> {
        clock::left(clock::coarse_ticks(), self.0.words.deadline)
    }
}

/// Has a worker put a large answer in its place, which takes long for a poller; without one, does it.
fn place(call: Arc<InFlight>, answer: Vec<u8>) {
    let Some(workers) = call.workers.upgrade() else { return };
    let job = Job { call, task: Task::Place(answer) };
    if let Err(refused) = workers.push(job)
        && let Task::Place(answer) = refused.task
    {
        let call = refused.call;
        call.home.push(Message::Finished(call.finished(Ok(answer), None)));
    }
}

pub(crate) fn stopped_before(stop: Stop) -> Error {
    match stop {
        Stop::Expired => Error::new(
            ErrorCode::Expired,
            "the deadline passed before the call was run: it had no effect",
        ),
        Stop::Cancelled => Error::new(
            ErrorCode::Cancelled,
            "the call was cancelled before it was run: it had no effect",
        ),
    }
}

fn stopped_begun(stop: Stop) -> Error {
    match stop {
        Stop::Expired => Error::new(
            ErrorCode::Overdue,
            "the deadline passed after the call had begun: it may yet take effect",
        ),
        Stop::Cancelled => Error::new(
            ErrorCode::Cancelled,
            "the call was cancelled after it had begun: it may yet take effect",
        ),
    }
}

fn left() -> Error {
    let text = "the daemon was stopped while the call waited: it had no effect";
    Error::new(ErrorCode::ShuttingDown, text)
}

fn interrupted() -> Error {
    Error::new(ErrorCode::Interrupted, "the daemon was stopped after the call had begun")
}
