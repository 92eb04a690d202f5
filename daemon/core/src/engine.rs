//! What an engine is: plain Rust over plain data, called the same way by the daemon, by the
//! in-process mode and by tests.
//!
//! An engine never panics on input (a panic is caught at the edge all the same), has limits,
//! estimates the cost of each request before it runs, and looks at [`Call::check`] at its batch
//! boundaries. It knows nothing of segments, sockets or Python.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::message::Message;
use ringfence_protocol::schema::EngineSchema;

use crate::deferred::Deferred;

/// What a request will take, as its engine estimates it before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    /// Time on one core, in microseconds; the largest number is [`WAITS`](Self::WAITS).
    pub micros: u32,
}

impl Cost {
    /// A few hundred nanoseconds at most.
    pub const LIGHT: Cost = Cost { micros: 0 };

    /// Nothing itself, but it may be answered later: the call may [`Call::defer`].
    pub const WAITS: Cost = Cost { micros: u32::MAX };

    /// This many microseconds on one core, an hour at most.
    #[must_use]
    pub const fn micros(micros: u32) -> Self {
        Self { micros: if micros == u32::MAX { u32::MAX - 1 } else { micros } }
    }
}

/// Why a running call should end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its deadline has passed.
    Expired,
    /// Its caller does not want the answer any more, or is gone.
    Cancelled,
}

/// What surrounds a call: its deadline, its caller's cancel word, its progress word.
pub trait Surroundings {
    /// Should the call end now?
    fn stop(&self) -> Option<Stop>;

    /// Publishes how far the call is, in the engine's own units; the latest value wins.
    fn progress(&self, done: u64);

    /// A number for the client session that calls, 0 in process.
    fn session(&self) -> u64;

    /// The user who calls; `None` in process.
    fn uid(&self) -> Option<u32> {
        None
    }

    /// The engine writes its reply next: the place where it will be published can be made ready meanwhile.
    fn about_to_reply(&self) {}

    /// Lets the call be answered later: once, if it may be.
    fn defer(&self) -> Option<Deferred> {
        None
    }
}

/// A call without deadline, cancel or session: in process, and in tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unbounded;

impl Surroundings for Unbounded {
    fn stop(&self) -> Option<Stop> {
        None
    }
    fn progress(&self, _done: u64) {}
    fn session(&self) -> u64 {
        0
    }
}

/// One call: a request, a place for the reply, and its surroundings.
pub struct Call<'a> {
    request: &'a [u8],
    reply: &'a mut Vec<u8>,
    surroundings: &'a dyn Surroundings,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("request_bytes", &self.request.len()).finish_non_exhaustive()
    }
}

impl<'a> Call<'a> {
    /// A call of `request` (a private copy that starts at a multiple of 8) into `reply` (empty).
    #[must_use]
    pub fn new(
        request: &'a [u8],
        reply: &'a mut Vec<u8>,
        surroundings: &'a dyn Surroundings,
    ) -> Self {
        Self { request, reply, surroundings }
    }

    /// The request's bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.request
    }

    /// The request, decoded.
    ///
    /// # Errors
    /// [`ErrorCode::Malformed`], naming the field.
    #[inline]
    pub fn request<M: Message<'a>>(&self) -> Result<M, Error> {
        decode(self.request)
    }

    /// Sets the reply. To write a large reply piecewise use [`reply_buffer`](Self::reply_buffer).
    #[inline]
    pub fn reply<'m, M: Message<'m>>(&mut self, message: &M) {
        self.surroundings.about_to_reply();
        self.reply.clear();
        message.encode(self.reply);
    }

    /// The reply's bytes, to be filled with one encoded message.
    pub fn reply_buffer(&mut self) -> &mut Vec<u8> {
        self.reply
    }

    /// To be called at batch boundaries: ends the call when its deadline has passed or its caller
    /// does not want the answer any more.
    ///
    /// # Errors
    /// [`ErrorCode::Expired`] or [`ErrorCode::Cancelled`].
    #[inline]
    pub fn check(&self) -> Result<(), Error> {
        match self.surroundings.stop() {
            None => Ok(()),
            Some(stop) => Err(stopped(stop)),
        }
    }

    /// Publishes how far the call is, in the engine's own units; the latest value wins.
    pub fn progress(&self, done: u64) {
        self.surroundings.progress(done);
    }

    /// A number for the client session that calls, 0 in process.
    #[must_use]
    pub fn session(&self) -> u64 {
        self.surroundings.session()
    }

    /// The user who calls; `None` in process.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.surroundings.uid()
    }

    /// Takes the answer out of this call, to be given later; what the call itself returns is then no
    /// answer, unless it is an error. Only where the engine said [`Cost::WAITS`].
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] if this call may not wait, or was deferred already.
    pub fn defer(&mut self) -> Result<Deferred, Error> {
        self.surroundings.defer().ok_or_else(|| {
            let text = "only a call whose cost is Cost::WAITS can be answered later, and only once";
            Error::new(ErrorCode::Internal, text)
        })
    }

    /// Waits like `std::thread::sleep`, but ends early with the call. For tests and simulations.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn sleep(&self, duration: Duration) -> Result<(), Error> {
        const SLICE: Duration = Duration::from_millis(1);
        let end = std::time::Instant::now() + duration;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}

#[cold]
fn stopped(stop: Stop) -> Error {
    match stop {
        Stop::Expired => Error::new(
            ErrorCode::Expired,
            "the deadline passed while the call ran: give it a longer timeout, or less work",
        ),
        Stop::Cancelled => Error::new(ErrorCode::Cancelled, "the caller cancelled the call"),
    }
}

/// Decodes a request's private copy.
///
/// # Errors
/// [`ErrorCode::Malformed`], naming the field.
#[inline]
pub fn decode<'a, M: Message<'a>>(bytes: &'a [u8]) -> Result<M, Error> {
    M::decode(bytes).map_err(|wrong| Error::new(ErrorCode::Malformed, wrong.to_string()))
}

/// An engine that several registries share: a daemon, and an in-process client of the same state.
impl<E: Engine + ?Sized> Engine for Arc<E> {
    fn schema(&self) -> EngineSchema {
        (**self).schema()
    }

    fn assembled(&self, engines: &[EngineSchema]) {
        (**self).assembled(engines);
    }

    fn cost(&self, op: u16, request: &[u8]) -> Cost {
        (**self).cost(op, request)
    }

    fn call(&self, op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        (**self).call(op, call)
    }

    fn session_ended(&self, session: u64) {
        (**self).session_ended(session);
    }
}

/// A compute engine. Shared by all threads that call it; what it owns it guards itself, without
/// locks that poison.
pub trait Engine: Send + Sync + 'static {
    /// Its name, its methods and their layouts. Asked once, when the engine is registered.
    fn schema(&self) -> EngineSchema;

    /// All engines are registered: their schemas. Called once, before the first call.
    fn assembled(&self, engines: &[EngineSchema]) {
        let _ = engines;
    }

    /// What this request will take. Called with the request's private copy before it runs; cheap
    /// itself. What lies above the daemon's `inline_budget_us` goes to the worker pool, but for
    /// [`Cost::WAITS`], which is run in place.
    fn cost(&self, op: u16, request: &[u8]) -> Cost {
        let _ = (op, request);
        Cost::LIGHT
    }

    /// Runs method `op`. Only numbers of the own schema arrive here.
    ///
    /// # Errors
    /// Whatever the method declares; the text says what was wrong, with the numbers in it, and what
    /// to do next.
    fn call(&self, op: u16, call: &mut Call<'_>) -> Result<(), Error>;

    /// A client session is over, and no call of it begins any more: drop what belongs to it. Quick,
    /// for it runs where calls are served. Never for what is called in process.
    fn session_ended(&self, session: u64) {
        let _ = session;
    }
}
