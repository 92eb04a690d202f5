//! Making a call: the fast path, and everything that keeps a call off it.
//!
//! The fast path takes the lane, writes the slot, and looks at the answer for some microseconds
//! without letting go of the lane: no allocation, no hashing, no exact clock, no table. What does not
//! fit (a busy lane, no session yet, a large payload, a full ring, a slow answer) leaves it through
//! functions that are never inlined; [`crate::submit`] has what it takes to submit those, and
//! [`crate::linger`] how long a caller that stays keeps the lane for a slow answer.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use ringfence_protocol::layout::Header;
use ringfence_protocol::limits::{INLINE_BYTES, LINE_WORDS};
use ringfence_protocol::wait::Spin;

use crate::cell::{Holder, LaneCell};
use crate::error::{Error, Outcome};
use crate::lane::{Answer, Lane};
use crate::linger::Lingering;
use crate::method::Method;
use crate::options::{CallOptions, Timeout};
use crate::owner::Held;
use crate::pending::Pending;
use crate::remote::Remote;
use crate::reply::{AsReply, Reply, Sink};

/// Looks at the answer before a call is put aside: 2 to 5 us, as long as the processor's pause is.
const SPIN_TURNS: u32 = 150;
/// A holder of the lane that others want looks this often at least.
const POLITE_TURNS: u32 = 32;
/// How often a call is made again that the daemon may have been at when it went away: it may be what
/// the daemon died of.
pub(crate) const RETRIES: u32 = 3;

/// May have been started: it counts as one of the [`RETRIES`].
pub(crate) fn is_suspect(error: &Error) -> bool {
    matches!(error, Error::Restarted { outcome: Outcome::Unknown, .. } | Error::Interrupted { .. })
}

/// What a start of a call came to.
pub(crate) enum Started<T = Reply> {
    /// It has been answered.
    Done(T),
    /// It has not been answered yet.
    Open(Pending),
}

/// What a start came to that was not the fast path's; nothing if it was.
type Other<T> = Option<Result<Started<T>, Error>>;

/// Spares the fast path the look for something to drop.
#[inline(always)]
fn is_nothing<T>(other: Other<T>) {
    debug_assert!(other.is_none());
    std::mem::forget(other);
}

/// One call, as its caller wants it.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) payload: &'a [u8],
    pub(crate) options: &'a CallOptions,
    /// Looks at the answer before it is put aside; 0 for pipelining.
    pub(crate) turns: u32,
    /// Its caller does nothing else until it is answered.
    pub(crate) stays: bool,
}

impl Request<'_> {
    #[inline]
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.method.timeout(self.options.timeout)
    }

    /// Looks at the answer after it was submitted in this lane. None if the daemon had to be woken for it: whoever has
    /// just been woken takes longer to come than to answer.
    #[inline(always)]
    fn looks(&self, lane: &Lane) -> u32 {
        if lane.rang { 0 } else { self.turns }
    }

    #[inline(always)]
    pub(crate) fn header(&self, number: u32, block: u32, len: usize) -> Header {
        Header {
            ticket: 0,
            method: number,
            len: len as u32,
            flags: 0,
            status: 0,
            block,
            deadline: self.method.deadline(self.options.timeout),
            trace: self.options.trace,
        }
    }
}

impl Remote {
    /// How many looks a call of these options gets.
    #[inline]
    pub(crate) fn turns(&self, options: &CallOptions) -> u32 {
        match (options.spin_turns, self.settings.spin) {
            (Some(turns), _) => turns,
            (None, Spin::Never) => 0,
            (None, _) => SPIN_TURNS,
        }
    }

    /// Makes a call and waits for its answer. Calls that may be made again are, if the daemon went
    /// away and is back in time.
    #[inline(always)]
    pub(crate) fn call(self: &Arc<Self>, request: Request<'_>) -> Answer {
        let index = self.lane_index();
        let cell = &self.lanes[index];
        if cell.countdown.is_over() {
            let Request { method, payload, options, turns, .. } = request;
            return self.call_measured(index, method, payload, options, turns);
        }
        self.call_at(index, cell, request)
    }

    /// The same on this lane, whether or not it is measured.
    #[inline(always)]
    pub(crate) fn call_at(
        self: &Arc<Self>,
        index: usize,
        cell: &LaneCell,
        request: Request<'_>,
    ) -> Answer {
        let mut other = None;
        if let Some((_, len, words)) = self.attempt(index, cell, request, AsReply, &mut other) {
            is_nothing(other);
            return Ok(Reply::line(len, words));
        }
        let mut answer = None;
        self.finish_into(&mut answer, other, request);
        answer.unwrap_or(Err(Error::Closed))
    }

    /// What [`call`](Self::call) does about an error of a call that was started.
    #[cold]
    pub(crate) fn recover(self: &Arc<Self>, error: Error, request: Request<'_>) -> Answer {
        self.finish(Err(error), request)
    }

    #[inline(never)]
    fn finish_into(
        self: &Arc<Self>,
        answer: &mut Option<Answer>,
        first: Other<Reply>,
        request: Request<'_>,
    ) {
        *answer = first.map(|first| match first {
            // Without a look at the clock.
            Ok(Started::Done(reply)) => Ok(reply),
            first => self.finish(first, request),
        });
    }

    fn finish(self: &Arc<Self>, first: Result<Started, Error>, request: Request<'_>) -> Answer {
        let until = request.timeout().and_then(|timeout| Instant::now().checked_add(timeout));
        let idempotent = request.method.is_idempotent();
        let mut answer = finished(first);
        let mut suspected = 0;
        loop {
            let error = match answer {
                Err(error) if error.may_retry(idempotent) => error,
                other => return other,
            };
            suspected += u32::from(is_suspect(&error));
            if suspected > RETRIES {
                return Err(error);
            }
            let latest = self.settings.comes_back_by(idempotent, until);
            let leaving = matches!(error, Error::Remote(_));
            let Some(options) = self.again(request.options, until, latest, leaving) else {
                return Err(error);
            };
            let again = Request { options: &options, ..request };
            answer = finished(self.start_aside(again, AsReply));
        }
    }

    /// The options of a call that is made again, when the next daemon is there. `None`: it is not there
    /// by `latest`.
    fn again(
        self: &Arc<Self>,
        options: &CallOptions,
        until: Option<Instant>,
        latest: Instant,
        leaving: bool,
    ) -> Option<CallOptions> {
        // A daemon that said it is shutting down is still there for a moment.
        if let Some(session) = self.alive().filter(|_| leaving) {
            while session.death().is_none() {
                if Instant::now() >= latest {
                    return None;
                }
                std::thread::sleep(Duration::from_millis(2));
                let _or_another_thread_notices = session.poll_if_free();
            }
            self.bury(&session);
        }
        self.ensure(0, Some(latest)).ok()?;
        let timeout = match until {
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                (!left.is_zero()).then_some(Timeout::After(left))?
            }
            None => Timeout::Never,
        };
        Some(CallOptions { timeout, ..*options })
    }

    /// Submits a call that its caller waits for, and looks at the answer as often as the request says.
    #[inline(always)]
    pub(crate) fn start<S: Sink>(
        self: &Arc<Self>,
        request: Request<'_>,
        sink: S,
    ) -> Result<Started<S::Out>, Error> {
        let index = self.lane_index();
        let cell = &self.lanes[index];
        if cell.countdown.is_over() {
            let Request { method, payload, options, turns, stays } = request;
            return self.start_measured(index, method, payload, options, turns, stays, sink);
        }
        self.start_at(index, cell, request, sink)
    }

    /// The same for a call whose caller turns to something else meanwhile: it is not measured.
    #[inline]
    pub(crate) fn start_aside<S: Sink>(
        self: &Arc<Self>,
        request: Request<'_>,
        sink: S,
    ) -> Result<Started<S::Out>, Error> {
        let index = self.lane_index();
        self.start_at(index, &self.lanes[index], request, sink)
    }

    /// The same on this lane, whether or not it is measured.
    #[inline(always)]
    pub(crate) fn start_at<S: Sink>(
        self: &Arc<Self>,
        index: usize,
        cell: &LaneCell,
        request: Request<'_>,
        sink: S,
    ) -> Result<Started<S::Out>, Error> {
        let mut other = None;
        match self.attempt(index, cell, request, sink, &mut other) {
            Some((sink, len, words)) => {
                is_nothing(other);
                Ok(Started::Done(sink.line(len, words)))
            }
            None => other.unwrap_or(Err(Error::Closed)),
        }
    }

    /// The fast path: an answer of one line, in registers. Everything else goes to `other`, which is a
    /// variable of its own so that only it is passed through memory.
    #[inline(always)]
    fn attempt<S: Sink>(
        self: &Arc<Self>,
        index: usize,
        cell: &LaneCell,
        request: Request<'_>,
        sink: S,
        other: &mut Other<S::Out>,
    ) -> Option<(S, usize, [u64; LINE_WORDS])> {
        if request.payload.len() <= INLINE_BYTES
            && let Some(mut holder) = cell.try_hold()
            && let Some(lane) = holder.as_mut()
            && let Some(number) = request.method.number(lane.serial)
        {
            lane.ring.prepare_request(request.payload.len());
            lane.ring.unpark();
            if let Some(ticket) =
                lane.submit(request.header(number, 0, request.payload.len()), request.payload)
            {
                lane.ring_bell_if_due();
                let turns = request.looks(lane);
                if turns > 0 {
                    lane.lull.sit_out();
                }
                for look in 0..turns.min(POLITE_TURNS) {
                    match lane.ring.peek() {
                        // Measured: looking less often leaves the line to the daemon, 13 % at p50.
                        Ok(None) => std::hint::spin_loop(),
                        Ok(Some(header)) if header.ticket == ticket && lane.is_line(header) => {
                            let words = lane.take_line();
                            lane.lull.found_after(look);
                            cell.let_go(holder, self);
                            return Some((sink, header.len as usize, words));
                        }
                        Ok(Some(header)) if header.ticket == ticket => {
                            lane.lull.found_after(look);
                            break;
                        }
                        _ => break,
                    }
                }
                self.spin(index, holder, ticket, Held::Nothing, request, sink, other);
                return None;
            }
        }
        self.start_slowly(index, request, sink, other);
        None
    }

    /// Looks at the answer of `ticket`, holding the lane; then puts the call aside, or lingers before that.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn spin<S: Sink>(
        self: &Arc<Self>,
        index: usize,
        mut holder: Holder<'_>,
        ticket: u64,
        held: Held,
        request: Request<'_>,
        sink: S,
        other: &mut Other<S::Out>,
    ) {
        let cell = &self.lanes[index];
        let Some(lane) = holder.as_mut() else { return };
        let (looks, mut turn) = (request.looks(lane), 0);
        let mut lingering: Option<Lingering> = None;
        while turn < looks {
            match lane.ring.peek() {
                Ok(None) => {
                    turn += 1;
                    if turn > POLITE_TURNS && cell.wanted.load(Relaxed) > 0 {
                        break;
                    }
                    std::hint::spin_loop();
                    if turn == looks && request.stays {
                        let lingering =
                            lingering.get_or_insert_with(|| Lingering::new(self, &request));
                        turn -= u32::from(lingering.until_answered(lane, cell, &held));
                    }
                }
                Ok(Some(header)) if header.ticket == ticket => {
                    *other = Some(self.take(cell, holder, header, held, request, sink));
                    return;
                }
                found => {
                    let delivered = match found {
                        Ok(Some(header)) => lane.deliver(header, self),
                        Ok(None) => Ok(()),
                        Err(fault) => Err(fault.into()),
                    };
                    if let Err(error) = delivered {
                        *other = Some(Err(self.broken(holder, error)));
                        return;
                    }
                }
            }
        }
        let since = lingering.map_or_else(Instant::now, |lingering| lingering.since);
        let pending = self.put_aside(index, holder, ticket, held, request, since);
        *other = Some(Ok(Started::Open(pending)));
    }

    /// Takes an answer of any length, or an error.
    fn take<S: Sink>(
        self: &Arc<Self>,
        cell: &LaneCell,
        mut holder: Holder<'_>,
        header: Header,
        held: Held,
        request: Request<'_>,
        sink: S,
    ) -> Result<Started<S::Out>, Error> {
        let Some(lane) = holder.as_mut() else { return Err(Error::Closed) };
        if lane.is_inline(header) {
            let out = lane.take_inline(header, sink);
            lane.give_back(held);
            cell.let_go(holder, self);
            return Ok(Started::Done(out));
        }
        let answer = lane.take(header, self);
        lane.give_back(held);
        cell.let_go(holder, self);
        match answer {
            Ok(reply) => Ok(Started::Done(sink.reply(reply))),
            Err(error) => Err(error.within(request.timeout())),
        }
    }

    /// The daemon broke a rule: its session is over.
    #[cold]
    pub(crate) fn broken(self: &Arc<Self>, holder: Holder<'_>, error: Error) -> Error {
        let session = holder.as_ref().map(|lane| lane.session.clone());
        drop(holder);
        if let Some(session) = session {
            session.die(crate::session::Death::Broken { what: error.to_string() });
            self.bury(&session);
        }
        error
    }

    /// All that the fast path does not do.
    #[inline(never)]
    fn start_slowly<S: Sink>(
        self: &Arc<Self>,
        index: usize,
        request: Request<'_>,
        sink: S,
        other: &mut Other<S::Out>,
    ) {
        match self.submit(index, request) {
            Ok((index, holder, ticket, held)) => {
                self.spin(index, holder, ticket, held, request, sink, other);
            }
            Err(error) => *other = Some(Err(error)),
        }
    }
}

/// The answer of a started call, waited for.
pub(crate) fn finished(started: Result<Started, Error>) -> Answer {
    match started? {
        Started::Done(reply) => Ok(reply),
        Started::Open(pending) => pending.wait(),
    }
}
