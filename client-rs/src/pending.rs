//! [`Pending`]: a call that has been submitted and not been waited for, and the [`Entry`] that its
//! answer arrives in.
//!
//! Invariants: an entry gets its answer once, from whoever holds the lane; any thread may wait for
//! it. Dropping a pending call tells the daemon that nobody wants it; its request memory stays the
//! daemon's until the answer has been seen.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Release},
};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ringfence_protocol::sys::futex::{self, Word};

use crate::error::Error;
#[cfg(feature = "inproc")]
use crate::inproc::Waiting;
use crate::lane::Answer;
use crate::measure::{Measured, Measurement};
use crate::remote::Remote;
use crate::reply::Reply;

/// The answer is not there, and nobody sleeps for it.
const OPEN: u32 = 0;
/// The answer is there.
const DONE: u32 = 1;
/// The answer is not there, and a thread sleeps for it.
pub(crate) const ASLEEP: u32 = 2;

/// Where an answer arrives.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    word: AtomicU32,
    mail: Mutex<Mail>,
}

#[derive(Debug, Default)]
struct Mail {
    answer: Option<Answer>,
    /// The task that waits for it.
    task: Option<Waker>,
}

impl Entry {
    /// Stores the answer, and wakes whoever waits for it. The lane is held meanwhile, so a task's waker
    /// may not call this client; those of runtimes only put the task on a list.
    pub(crate) fn set(&self, answer: Answer) {
        let mut mail = self.mail.lock();
        mail.answer = Some(answer);
        let task = mail.task.take();
        drop(mail);
        if self.word.swap(DONE, AcqRel) == ASLEEP {
            futex::wake(Word::private(&self.word), u32::MAX);
        }
        if let Some(task) = task {
            task.wake();
        }
    }

    /// The answer, or else this task is woken when it comes.
    pub(crate) fn poll(&self, task: &Waker) -> Option<Answer> {
        let mut mail = self.mail.lock();
        // Under the lock that the answer is stored under, and before the word is.
        if let Some(answer) = mail.answer.take() {
            return Some(answer);
        }
        match &mut mail.task {
            Some(known) => known.clone_from(task),
            none => *none = Some(task.clone()),
        }
        None
    }

    /// The task that waits for it.
    pub(crate) fn task(&self) -> Option<Waker> {
        self.mail.lock().task.clone()
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.word.load(Acquire) == DONE
    }

    /// The answer, if it is there; an error the second time.
    pub(crate) fn take(&self) -> Option<Answer> {
        self.is_done().then(|| self.mail.lock().answer.take().unwrap_or_else(|| Err(taken())))
    }

    /// The answer went to whoever waits for it by another way: as after [`take`](Self::take).
    pub(crate) fn close(&self) {
        self.word.store(DONE, Release);
    }

    /// The word to sleep on; holds [`ASLEEP`] until the answer comes. `None`: it is there.
    pub(crate) fn fall_asleep(&self) -> Option<Word<'_>> {
        match self.word.compare_exchange(OPEN, ASLEEP, AcqRel, Acquire) {
            Ok(_) | Err(ASLEEP) => Some(Word::private(&self.word)),
            Err(_) => None,
        }
    }

    pub(crate) fn wake_up(&self) {
        let _answered = self.word.compare_exchange(ASLEEP, OPEN, Release, Acquire);
    }
}

/// A submitted call. Any thread may wait for it; dropping it gives it up.
///
/// ```
/// use ringfence::CallOptions;
///
/// let client = ringfence::doctest_client();
/// let echo = client.method("system", "echo")?;
/// let first = client.submit(&echo, b"1", &CallOptions::default())?;
/// let second = client.submit(&echo, b"2", &CallOptions::default())?;
/// assert_eq!(client.wait(second)?, b"2");
/// assert_eq!(client.wait(first)?, b"1");
/// # Ok::<(), ringfence::Error>(())
/// ```
#[must_use = "dropping a pending call gives it up"]
pub struct Pending {
    call: Kind,
}

enum Kind {
    Open(Call),
    #[cfg(feature = "inproc")]
    Waiting(Waiting),
    Ready(Option<Answer>),
}

/// A call that is open in a lane.
pub(crate) struct Call {
    pub(crate) remote: Arc<Remote>,
    pub(crate) entry: Arc<Entry>,
    /// Its lane among the client's.
    pub(crate) lane: usize,
    /// The session that it was submitted in.
    pub(crate) serial: u32,
    pub(crate) ticket: u64,
    pub(crate) since: Instant,
    /// How long it may take.
    pub(crate) timeout: Option<Duration>,
    /// The daemon's beat when it was submitted.
    pub(crate) beat: u64,
    /// The daemon slept, and was woken for it.
    pub(crate) rang: bool,
    pub(crate) idempotent: bool,
    /// It is to be measured.
    pub(crate) measured: Option<Measured>,
}

impl Call {
    /// When its time is over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| self.since.checked_add(timeout))
    }

    fn take_measurement(&mut self) -> Option<Measurement> {
        let (lane, serial) = (self.lane, self.serial);
        let measured = self.measured.take()?;
        Some(Measurement { remote: self.remote.clone(), lane, serial, measured })
    }

    /// Waits, and measures if that is to be done.
    fn wait(&mut self, until: Option<Instant>) -> Option<Answer> {
        let answer = self.remote.wait(self, until)?;
        if let Some(measurement) = self.take_measurement().filter(|_| answer.is_ok()) {
            measurement.record(None);
        }
        Some(answer)
    }
}

impl Pending {
    pub(crate) fn new(call: Call) -> Self {
        Self { call: Kind::Open(call) }
    }

    #[cfg_attr(not(feature = "inproc"), allow(dead_code))]
    pub(crate) fn ready(answer: Answer) -> Self {
        Self { call: Kind::Ready(Some(answer)) }
    }

    #[cfg(feature = "inproc")]
    pub(crate) fn waiting(waiting: Waiting) -> Self {
        Self { call: Kind::Waiting(waiting) }
    }

    /// The ticket of the call in its lane: a number for logs.
    #[must_use]
    pub fn ticket(&self) -> u64 {
        match &self.call {
            Kind::Open(call) => call.ticket,
            _ => 0,
        }
    }

    /// Has it been answered? Looks once, never waits.
    ///
    /// ```
    /// # use ringfence::CallOptions;
    /// let client = ringfence::doctest_client();
    /// let ping = client.method("system", "ping")?;
    /// let pending = client.submit(&ping, b"", &CallOptions::default())?;
    /// while !pending.is_done() {}
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.call {
            Kind::Open(call) => call.entry.is_done() || call.remote.look(call),
            #[cfg(feature = "inproc")]
            Kind::Waiting(call) => call.is_done(),
            Kind::Ready(_) => true,
        }
    }

    /// May it be run again when nobody knows whether it took effect?
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        match &self.call {
            Kind::Open(call) => call.idempotent,
            _ => true,
        }
    }

    /// Waits up to `at_most`, spinning, yielding and sleeping as the client's [`Spin`](crate::Spin)
    /// says. `None`: it is still open; also, early, when a signal came, so that the caller's signal
    /// handlers can run. The answer is given once.
    ///
    /// ```
    /// # use ringfence::CallOptions;
    /// # use std::time::Duration;
    /// let client = ringfence::doctest_client();
    /// let echo = client.method("system", "echo")?;
    /// let mut pending = client.submit(&echo, b"hi", &CallOptions::default())?;
    /// let answer = loop {
    ///     if let Some(answer) = pending.wait_for(Duration::from_millis(100)) {
    ///         break answer;
    ///     }
    /// };
    /// assert_eq!(answer?, b"hi");
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn wait_for(&mut self, at_most: Duration) -> Option<Result<Reply, Error>> {
        match &mut self.call {
            Kind::Open(call) => call.wait(Instant::now().checked_add(at_most)),
            #[cfg(feature = "inproc")]
            Kind::Waiting(call) => call.wait(Instant::now().checked_add(at_most)),
            Kind::Ready(answer) => Some(answer.take().unwrap_or_else(|| Err(taken()))),
        }
    }

    /// The answer, or else this task is woken when it comes.
    pub(crate) fn poll(&mut self, task: &Waker) -> Option<Answer> {
        match &mut self.call {
            Kind::Open(call) => call.entry.poll(task),
            #[cfg(feature = "inproc")]
            Kind::Waiting(call) => call.poll(task),
            Kind::Ready(answer) => Some(answer.take().unwrap_or_else(|| Err(taken()))),
        }
    }

    /// Ends it now: its own time is over.
    pub(crate) fn give_up(&self) -> Answer {
        match &self.call {
            Kind::Open(call) => call.remote.give_up(call),
            #[cfg(feature = "inproc")]
            Kind::Waiting(call) => call.give_up(),
            Kind::Ready(_) => Err(taken()),
        }
    }

    /// The call, unless it is over already.
    pub(crate) fn open(&self) -> Option<&Call> {
        match &self.call {
            Kind::Open(call) if !call.entry.is_done() && !call.remote.stamp.is_child() => {
                Some(call)
            }
            _ => None,
        }
    }

    /// Its lane among the client's.
    pub(crate) fn lane(&self) -> usize {
        match &self.call {
            Kind::Open(call) => call.lane,
            _ => 0,
        }
    }

    /// Waits until it is answered or its own time is over.
    pub(crate) fn wait(mut self) -> Result<Reply, Error> {
        loop {
            let answer = match &mut self.call {
                Kind::Open(call) => call.wait(None),
                #[cfg(feature = "inproc")]
                Kind::Waiting(call) => call.wait(None),
                Kind::Ready(answer) => Some(answer.take().unwrap_or_else(|| Err(taken()))),
            };
            if let Some(answer) = answer {
                return answer;
            }
        }
    }

    /// Lets `measured` say, of the session that it was submitted in, how it is measured.
    pub(crate) fn measure(&mut self, measured: impl FnOnce(u32) -> Option<Measured>) {
        if let Kind::Open(call) = &mut self.call {
            call.measured = measured(call.serial);
        }
    }

    /// The measurement of this call, if it was chosen to be measured, for a caller that waits for more
    /// than the answer; else the wait ends it.
    ///
    /// ```
    /// # use ringfence::CallOptions;
    /// let client = ringfence::doctest_client();
    /// let ping = client.method("system", "ping")?;
    /// let mut pending = client.submit(&ping, b"", &CallOptions::default())?;
    /// assert!(pending.take_measurement().is_none(), "submitted calls are not measured");
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn take_measurement(&mut self) -> Option<Measurement> {
        match &mut self.call {
            Kind::Open(call) => call.take_measurement(),
            _ => None,
        }
    }

    /// Asks the daemon to give the call up. It is still answered: by `Cancelled`, if the daemon
    /// could.
    ///
    /// ```
    /// # use ringfence::CallOptions;
    /// let client = ringfence::doctest_client();
    /// let ping = client.method("system", "ping")?;
    /// client.submit(&ping, b"", &CallOptions::default())?.cancel();
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn cancel(&self) {
        match &self.call {
            Kind::Open(call) => call.remote.cancel(call),
            #[cfg(feature = "inproc")]
            Kind::Waiting(call) => call.cancel(),
            Kind::Ready(_) => {}
        }
    }

    /// How far the call is, in its engine's own units; `None` if that is not known.
    ///
    /// ```
    /// # use ringfence::CallOptions;
    /// let client = ringfence::doctest_client();
    /// let ping = client.method("system", "ping")?;
    /// let pending = client.submit(&ping, b"", &CallOptions::default())?;
    /// assert_eq!(pending.progress(), None);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[must_use]
    pub fn progress(&self) -> Option<u64> {
        match &self.call {
            Kind::Open(call) => call.remote.progress(call),
            _ => None,
        }
    }
}

/// What a second wait for the same answer gets.
pub(crate) fn taken() -> Error {
    Error::invalid("the answer of this call has been taken already")
}

impl Drop for Pending {
    fn drop(&mut self) {
        match &self.call {
            Kind::Open(call) if !call.entry.is_done() => call.remote.abandon(call),
            #[cfg(feature = "inproc")]
            Kind::Waiting(call) => call.cancel(),
            _ => {}
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("ticket", &self.ticket()).finish_non_exhaustive()
    }
}
