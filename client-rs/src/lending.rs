//! Loans for tasks: a daemon that has to be asked for memory is asked while the thread does something else.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::bulk::{self, Prepared};
use crate::calling::NOT_NOW;
use crate::client::Client;
use crate::error::{Error, Outcome};
use crate::loan::Loan;
use crate::options::{CallOptions, Timeout};
use crate::reactor::Reactor;
use crate::remote::Remote;
use crate::session::Session;
use crate::timers::Key;

impl Client {
    /// [`loan`](Self::loan) as a future, for any runtime; the client's [`driver`](Self::driver) must be turned. Of
    /// the options only the timeout counts.
    ///
    /// # Errors
    /// As [`loan_within`](Self::loan_within); [`Error::WouldBlock`] if all request segments are in use.
    ///
    /// ```
    /// # smol::block_on(async {
    /// # let client = ringfence::doctest_client();
    /// let loan = client.loan_async(1_000_000, &ringfence::CallOptions::default()).await?;
    /// assert_eq!(loan.len(), 1_000_000);
    /// # Ok::<(), ringfence::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn loan_async(&self, len: usize, options: &CallOptions) -> Result<Loan, Error> {
        let since = Instant::now();
        let allowed = self.inner.ping.timeout(options.timeout);
        let left = || allowed.map(|allowed| allowed.saturating_sub(since.elapsed()));
        loop {
            match self.loan_within(len, Duration::ZERO) {
                Err(Error::WouldBlock) => {}
                lent => return lent,
            }
            // Connects, if that is it.
            let timeout = left().map_or(Timeout::Never, Timeout::After);
            self.ping_async(&CallOptions { timeout, ..CallOptions::default() }).await?;
            let Some(remote) = self.remote() else { continue };
            let Some(session) = remote.alive() else { continue };
            let (len, remote) = (Loan::bytes_of_segment(len), remote.clone());
            let (place, alarm) = (None, None);
            Asking { remote, session, len, since, allowed, place, alarm }.await?;
        }
    }
}

/// Until there is a free segment in the session, or the session is over.
struct Asking {
    remote: Arc<Remote>,
    session: Arc<Session>,
    len: usize,
    since: Instant,
    allowed: Option<Duration>,
    /// Its place among those that wait for a segment.
    place: Option<u64>,
    alarm: Option<(Arc<Reactor>, Key)>,
}

impl Asking {
    fn leave(&mut self) {
        if let Some(place) = self.place.take() {
            self.session.bulk.leave(place);
        }
        if let Some((reactor, key)) = self.alarm.take() {
            reactor.timers.clear(key);
        }
    }
}

impl Future for Asking {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.leave();
        if self.session.bulk.has_free(self.len) {
            return Poll::Ready(Ok(()));
        }
        let Some(reactor) = self.remote.reactor() else {
            return Poll::Ready(Err(Error::Closed));
        };
        let (now, until) =
            (Instant::now(), self.allowed.and_then(|allowed| self.since.checked_add(allowed)));
        if until.is_some_and(|until| until <= now) {
            let after = self.allowed.unwrap_or_default();
            let late = Error::Timeout { outcome: Outcome::NotStarted, after };
            return Poll::Ready(Err(bulk::stalled(&self.session).unwrap_or(late)));
        }
        let asked = bulk::ask(&self.session, self.len, self.since, cx.waker());
        if self.session.death().is_some() {
            // Before the task stood where its death wakes it, perhaps.
            return Poll::Ready(Ok(()));
        }
        let again = match asked? {
            Prepared::Needless if self.session.bulk.has_free(self.len) => {
                return Poll::Ready(Ok(()));
            }
            Prepared::Needless => return Poll::Ready(Err(Error::WouldBlock)),
            Prepared::Asked(place) => {
                self.place = Some(place);
                // The turn that it causes watches the control socket, if that is new.
                reactor.ring();
                None
            }
            Prepared::NotNow(place) => {
                self.place = Some(place);
                Some(now + NOT_NOW)
            }
        };
        if let Some(at) = again.into_iter().chain(until).min() {
            let key = reactor.timers.set(at, cx.waker().clone());
            self.alarm = Some((reactor, key));
        }
        Poll::Pending
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.leave();
    }
}
