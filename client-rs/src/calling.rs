//! [`Calling`]: a call as a future, for any runtime.
//!
//! It submits the call when it is first polled, and spins for about a microsecond: most light calls are
//! done then. Else it waits for the client's [`Driver`](crate::Driver) to be turned, which needs neither
//! a thread nor a timer of the runtime's. Dropping it gives the call up.
//!
//! It decides about errors as the blocking way does: what may be made again is, within its time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ringfence_protocol::wait::Spin;

use crate::bulk::{self, Prepared};
use crate::call::{RETRIES, Request, Started, is_suspect};
use crate::client::Client;
use crate::error::{Error, Outcome};
#[cfg(feature = "inproc")]
use crate::inproc::Inproc;
use crate::lane::Answer;
use crate::loan::{LoanRef, Loaned};
use crate::method::Method;
use crate::options::{CallOptions, Timeout};
use crate::pending::Pending;
use crate::reactor::{Reactor, Watch};
use crate::remote::Remote;
use crate::reply::{AsReply, Reply};
use crate::session::Session;
use crate::timers::Key;
use crate::way::Way;

/// Looks at the answer before the task is put aside: about a microsecond.
const SPIN_TURNS: u32 = 32;

/// Until a segment is asked for that could not be: another thread talks with the daemon.
pub(crate) const NOT_NOW: Duration = Duration::from_millis(2);

/// Between two looks whether a daemon that is shutting down is gone.
const LEAVING: Duration = Duration::from_millis(2);

/// A call as a future, from [`Client::call_async`]. Dropping it gives the call up.
#[must_use = "a future does nothing unless it is polled"]
pub struct Calling<P> {
    client: Client,
    method: Method,
    payload: P,
    options: CallOptions,
    state: State,
    /// Set when it is first polled, or submitted before that.
    times: Option<Times>,
    /// The daemon went away under it: why, and until when it waits for the next one.
    lost: Option<(Error, Instant)>,
    retries: u32,
    alarm: Option<(Arc<Reactor>, Key)>,
    /// Its place among those that wait for room.
    queued: Option<(Arc<Reactor>, u64)>,
    /// Its place among those that wait for a segment of a session.
    asking: Option<(Arc<Session>, u64)>,
    watch: Option<Watch>,
}

#[derive(Clone, Copy)]
struct Times {
    since: Instant,
    until: Option<Instant>,
    allowed: Option<Duration>,
}

enum State {
    /// To be submitted.
    Fresh,
    /// The catalogue is fetched first.
    Learning(Box<Calling<[u8; 0]>>),
    Open(Pending),
    /// Answered while it was submitted, but it is the turn of other tasks.
    Answered(Reply),
    Over,
}

impl<P: AsRef<[u8]> + Unpin> Calling<P> {
    pub(crate) fn new(client: Client, method: Method, payload: P, options: CallOptions) -> Self {
        Self {
            client,
            method,
            payload,
            options: CallOptions { at_once: true, ..options },
            state: State::Fresh,
            times: None,
            lost: None,
            retries: RETRIES,
            alarm: None,
            queued: None,
            asking: None,
            watch: None,
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        let client = self.client.clone();
        let remote = match client.way() {
            // A driver does not outlive a fork, nor does what it drives.
            Way::Remote(remote) if remote.stamp.is_child() => {
                return Poll::Ready(Err(Error::Forked));
            }
            Way::Remote(remote) => remote,
            #[cfg(feature = "inproc")]
            Way::Inproc(inproc) => {
                return self.advance_inproc(inproc, cx);
            }
        };
        let Some(reactor) = remote.reactor() else {
            return Poll::Ready(Err(Error::invalid(
                "nobody turns this client's driver: make it with `driver`, and turn it",
            )));
        };
        loop {
            let step = match &mut self.state {
                State::Fresh => self.submit(remote, &reactor, cx),
                State::Learning(calling) => match Pin::new(calling.as_mut()).poll(cx) {
                    Poll::Ready(answer) => self.learnt(remote, answer),
                    Poll::Pending => return Poll::Pending,
                },
                State::Open(pending) => match pending.poll(cx.waker()) {
                    Some(answer) => self.answered(answer),
                    None => self.wait(&reactor, cx),
                },
                State::Answered(_) | State::Over => {
                    match std::mem::replace(&mut self.state, State::Over) {
                        State::Answered(reply) => Step::Done(Ok(reply)),
                        _ => Step::Done(Err(crate::pending::taken())),
                    }
                }
            };
            match step {
                Step::Again => {}
                Step::Wait => return Poll::Pending,
                Step::Done(answer) => return Poll::Ready(answer),
            }
        }
    }

    #[cfg(feature = "inproc")]
    fn advance_inproc(&mut self, inproc: &Inproc, cx: &mut Context<'_>) -> Poll<Answer> {
        if matches!(self.state, State::Fresh) {
            let payload = self.payload.as_ref();
            match inproc.start(&self.method, payload, &self.options, AsReply) {
                Ok(Started::Open(pending)) => self.state = State::Open(pending),
                started => return Poll::Ready(crate::call::finished(started)),
            }
        }
        let State::Open(pending) = &mut self.state else {
            return Poll::Ready(Err(crate::pending::taken()));
        };
        pending.poll(cx.waker()).map_or(Poll::Pending, Poll::Ready)
    }

    fn times(&mut self) -> Times {
        self.times.unwrap_or_else(|| self.begin(Instant::now()))
    }

    /// Its time runs from here on.
    fn begin(&mut self, since: Instant) -> Times {
        let allowed = self.method.timeout(self.options.timeout);
        let until = allowed.and_then(|allowed| since.checked_add(allowed));
        *self.times.insert(Times { since, until, allowed })
    }

    fn submit(
        &mut self,
        remote: &Arc<Remote>,
        reactor: &Arc<Reactor>,
        cx: &mut Context<'_>,
    ) -> Step {
        let times = self.times();
        if let Some(step) = self.await_restart(remote, reactor, cx) {
            return step;
        }
        match remote.poll_link(reactor, times.since, cx.waker()) {
            Poll::Pending => return self.wait(reactor, cx),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                return Step::Done(Err(self.lost.take().map_or(error, |(error, _)| error)));
            }
        }
        if remote.must_learn(&self.method) {
            let calling = Calling::new(
                self.client.clone(),
                Method::catalogue(),
                [],
                CallOptions { timeout: self.left(), ..CallOptions::default() },
            );
            self.state = State::Learning(Box::new(calling));
            return Step::Again;
        }
        let options = CallOptions { timeout: self.left(), ..self.options };
        let turns = if remote.settings.spin == Spin::Never { 0 } else { SPIN_TURNS };
        let payload = self.payload.as_ref();
        let request =
            Request { method: &self.method, payload, options: &options, turns, stays: false };
        let started = remote.start_aside(request, AsReply);
        if started.is_ok()
            && let Some((reactor, place)) = self.queued.take()
        {
            let _its_room_is_taken = reactor.leave_room(place);
        }
        match started {
            Ok(Started::Done(reply)) if reactor.is_share_over() => {
                self.state = State::Answered(reply);
                cx.waker().wake_by_ref();
                Step::Wait
            }
            Ok(Started::Done(reply)) => Step::Done(Ok(reply)),
            Ok(Started::Open(pending)) => {
                self.watch = Some(Watch::new(remote, pending.lane()));
                self.state = State::Open(pending);
                Step::Again
            }
            Err(Error::WouldBlock) => self.no_room(remote, reactor, cx),
            Err(error) => self.answered(Err(error)),
        }
    }

    /// There was no room for it, or no session any more.
    fn no_room(
        &mut self,
        remote: &Arc<Remote>,
        reactor: &Arc<Reactor>,
        cx: &mut Context<'_>,
    ) -> Step {
        let Some(session) = remote.alive() else { return Step::Again };
        self.stop_asking();
        let (len, since) = (self.payload.as_ref().len(), self.times().since);
        let prepared = bulk::prepare(&session, len, since, cx.waker());
        if session.death().is_some() {
            // Before the task stood where its death wakes it, perhaps.
            return Step::Again;
        }
        match prepared {
            Ok(Prepared::Needless) => {}
            Ok(Prepared::Asked(place)) => {
                self.asking = Some((session, place));
                // The turn that it causes watches the control socket, if that is new.
                reactor.ring();
                return self.wait(reactor, cx);
            }
            Ok(Prepared::NotNow(place)) => {
                self.asking = Some((session, place));
                reactor.timers.set(Instant::now() + NOT_NOW, cx.waker().clone());
                return self.wait(reactor, cx);
            }
            Err(error) => return self.answered(Err(error)),
        }
        if self.watch.is_none() {
            self.watch = Some(Watch::new(remote, remote.lane_index()));
        }
        let place = self.queued.take().map(|(_, place)| place);
        self.queued = Some((reactor.clone(), reactor.await_room(place, cx.waker())));
        self.wait(reactor, cx)
    }

    /// After a restart: is there something to wait for before it is made again?
    fn await_restart(
        &mut self,
        remote: &Arc<Remote>,
        reactor: &Arc<Reactor>,
        cx: &mut Context<'_>,
    ) -> Option<Step> {
        let (error, grace) = self.lost.as_ref()?;
        let session = remote.alive();
        let leaving = matches!(error, Error::Remote(_)) && session.is_some();
        if session.is_some() && !leaving {
            self.lost = None;
            return None;
        }
        let now = Instant::now();
        if now >= *grace {
            return Some(Step::Done(Err(error.clone())));
        }
        let next = if leaving { now + LEAVING } else { *grace };
        self.set_alarm(reactor, next, cx);
        leaving.then_some(Step::Wait)
    }

    fn learnt(&mut self, remote: &Arc<Remote>, answer: Answer) -> Step {
        match answer.and_then(|reply| remote.learn(&reply)) {
            Ok(()) => {
                self.state = State::Fresh;
                Step::Again
            }
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn answered(&mut self, answer: Answer) -> Step {
        self.watch = None;
        match answer {
            Err(error)
                if error.may_retry(self.method.is_idempotent())
                    && (self.retries > 0 || !is_suspect(&error)) =>
            {
                self.retries -= u32::from(is_suspect(&error));
                let (idempotent, until) = (self.method.is_idempotent(), self.times().until);
                let latest = match self.client.way() {
                    Way::Remote(remote) => remote.settings.comes_back_by(idempotent, until),
                    #[cfg(feature = "inproc")]
                    Way::Inproc(_) => Instant::now(),
                };
                self.lost = Some((error, latest));
                self.state = State::Fresh;
                Step::Again
            }
            answer => {
                let allowed = self.times().allowed;
                Step::Done(answer.map_err(|error| error.within(allowed)))
            }
        }
    }

    /// Puts the task aside, unless its time is over.
    fn wait(&mut self, reactor: &Arc<Reactor>, cx: &mut Context<'_>) -> Step {
        let times = self.times();
        if let Some(until) = times.until {
            if Instant::now() >= until {
                return self.give_up(reactor, times);
            }
            if self.lost.is_none() {
                self.set_alarm(reactor, until, cx);
            }
        }
        if let Some(watch) = &self.watch {
            reactor.nudge(watch.cell());
        }
        Step::Wait
    }

    fn give_up(&mut self, reactor: &Reactor, times: Times) -> Step {
        let after = times.allowed.unwrap_or_default();
        let answer = match &self.state {
            State::Open(pending) => pending.give_up(),
            _ if let Some(stalled) = self.stalled() => Err(stalled),
            _ if self.queued.is_some() || self.asking.is_some() => {
                Err(Error::Timeout { outcome: Outcome::NotStarted, after })
            }
            _ => Err(reactor.link.lock().unavailable()),
        };
        Step::Done(answer.map_err(|error| error.within(times.allowed)))
    }

    fn stalled(&self) -> Option<Error> {
        self.asking.as_ref().and_then(|(session, _)| bulk::stalled(session))
    }

    fn left(&self) -> Timeout {
        match self.times.and_then(|times| times.until) {
            Some(until) => Timeout::After(until.saturating_duration_since(Instant::now())),
            None => Timeout::Never,
        }
    }

    fn set_alarm(&mut self, reactor: &Arc<Reactor>, at: Instant, cx: &mut Context<'_>) {
        self.clear_alarm();
        self.alarm = Some((reactor.clone(), reactor.timers.set(at, cx.waker().clone())));
    }
}

impl<P> Calling<P> {
    fn clear_alarm(&mut self) {
        if let Some((reactor, key)) = self.alarm.take() {
            reactor.timers.clear(key);
        }
    }

    fn stop_asking(&mut self) {
        if let Some((session, place)) = self.asking.take() {
            session.bulk.leave(place);
        }
    }

    /// It is over. If there was room for it, the room is somebody else's now.
    fn leave(&mut self) {
        self.clear_alarm();
        self.stop_asking();
        self.watch = None;
        if let Some((reactor, place)) = self.queued.take()
            && reactor.leave_room(place)
        {
            reactor.ring();
        }
    }
}

impl Client {
    /// A call as a future, for any runtime; the client's [`driver`](Self::driver) must be turned. In
    /// process it is carried out when it is first polled.
    ///
    /// # Errors
    /// The future's: as [`call`](Self::call), and code `InvalidArgument` if there is no driver.
    ///
    /// See [`Driver`](crate::Driver) for examples.
    pub fn call_async<P: AsRef<[u8]> + Unpin>(
        &self,
        method: &Method,
        payload: P,
        options: &CallOptions,
    ) -> Calling<P> {
        Calling::new(self.clone(), method.clone(), payload, *options)
    }

    /// [`submit_loaned`](Self::submit_loaned) as a future. Unlike others it is submitted here, not when it
    /// is polled: the loan is not to be written until it is over. `None`: the bytes have to be copied.
    ///
    /// # Errors
    /// As [`submit_loaned`](Self::submit_loaned); [`Error::WouldBlock`] if there is no room at once. The
    /// future's: as [`call_async`](Self::call_async).
    pub fn call_loaned_async(
        &self,
        method: &Method,
        head: &[u8],
        loan: &LoanRef,
        len: usize,
        options: &CallOptions,
    ) -> Result<Option<Calling<Loaned>>, Error> {
        let options = CallOptions { at_once: true, ..*options };
        let since = Instant::now();
        let pending = self.submit_loaned(method, head, loan, len, &options)?;
        let (Some(pending), Some(remote)) = (pending, self.remote()) else { return Ok(None) };
        let payload = Loaned::new(head, loan, len);
        let mut calling = Calling::new(self.clone(), method.clone(), payload, options);
        calling.begin(since);
        calling.watch = Some(Watch::new(remote, pending.lane()));
        calling.state = State::Open(pending);
        Ok(Some(calling))
    }

    /// [`echo`](Self::echo) as a future.
    pub fn echo_async<P: AsRef<[u8]> + Unpin>(&self, data: P, options: &CallOptions) -> Calling<P> {
        self.call_async(&self.inner.echo, data, options)
    }

    /// [`ping`](Self::ping) as a future; its reply is empty.
    pub fn ping_async(&self, options: &CallOptions) -> Calling<[u8; 0]> {
        self.call_async(&self.inner.ping, [], options)
    }
}

enum Step {
    Again,
    Wait,
    Done(Answer),
}

impl<P: AsRef<[u8]> + Unpin> Future for Calling<P> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answer = std::task::ready!(this.advance(cx));
        this.state = State::Over;
        this.leave();
        Poll::Ready(answer)
    }
}

impl<P> Drop for Calling<P> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<P> fmt::Debug for Calling<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, .. } = self;
        write!(f, "Calling({}.{})", method.engine(), method.name())
    }
}
