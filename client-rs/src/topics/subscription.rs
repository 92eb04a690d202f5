//! [`Subscription`]: reads a topic, waits for its messages, counts what became of them.

use std::fmt;
use std::time::{Duration, Instant};

use ringfence_protocol::log::{Counts, Keep, Start};

use super::message::Event;
use super::reader::Reader;
use super::remote::RemoteTopic;
use crate::error::Error;

/// A subscription, from [`Topic::subscribe`](super::Topic::subscribe). It ends when it is dropped.
///
/// Any thread may use it; one at a time receives, the others wait for their turn within their own
/// time. Received, missed and dropped messages together are all that was published since its start.
///
/// Where the daemon goes away, what it still delivers of the old log comes first, then one error
/// `DaemonRestarted`; the receive after it subscribes again, from the oldest message of the new daemon.
pub struct Subscription {
    inner: Inner,
}

enum Inner {
    Remote(Box<Reader>),
    #[cfg(feature = "inproc")]
    Inproc {
        topic: String,
        subscription: Box<ringfence_core::bus::Subscription>,
    },
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("topic", &self.topic())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Subscription {
    pub(super) fn remote(topic: RemoteTopic, start: Start, keep: Keep) -> Result<Self, Error> {
        Ok(Self { inner: Inner::Remote(Box::new(Reader::open(topic, start, keep)?)) })
    }

    pub(super) async fn remote_async(
        topic: RemoteTopic,
        start: Start,
        keep: Keep,
    ) -> Result<Self, Error> {
        let reader = Reader::open_async(topic, start, keep).await?;
        Ok(Self { inner: Inner::Remote(Box::new(reader)) })
    }

    #[cfg(feature = "inproc")]
    pub(super) fn inproc(topic: &str, subscription: ringfence_core::bus::Subscription) -> Self {
        let (topic, subscription) = (topic.to_owned(), Box::new(subscription));
        Self { inner: Inner::Inproc { topic, subscription } }
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        match &self.inner {
            Inner::Remote(reader) => reader.topic(),
            #[cfg(feature = "inproc")]
            Inner::Inproc { topic, .. } => topic,
        }
    }

    /// The next event; waits for it, at most so long. `None` waits for ever.
    ///
    /// # Errors
    /// `Expired` if the time is over; `Closed`; `CutOff` if a publish waited for this subscription for as
    /// long as its topic allows; `DaemonRestarted` once for each daemon that goes away.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringfence::{Keep, Publication, Start, TopicOptions};
    /// let topic = ringfence::doctest_client().topic("t", TopicOptions::default())?;
    /// topic.publish(&Publication::new(b"before"))?;
    /// let late = topic.subscribe(Start::Oldest, Keep::InLog)?;
    /// assert!(late.recv(Some(Duration::from_secs(1))).is_ok());
    /// assert!(late.recv(Some(Duration::ZERO)).is_err());
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn recv(&self, timeout: Option<Duration>) -> Result<Event, Error> {
        match &self.inner {
            Inner::Remote(reader) => reader.recv(Time::new(timeout)),
            #[cfg(feature = "inproc")]
            Inner::Inproc { topic, subscription } => {
                subscription.recv(timeout).map(copied).map_err(|error| of_bus(topic, error))
            }
        }
    }

    /// Up to `max` events; waits until there are so many, at most so long. Fewer if the time is over or
    /// something has ended, which the next call says; none if the time is over.
    ///
    /// # Errors
    /// As [`recv`](Self::recv) if there is no event to return; never that the time is over.
    pub fn recv_batch(&self, max: usize, timeout: Option<Duration>) -> Result<Vec<Event>, Error> {
        match &self.inner {
            Inner::Remote(reader) => reader.recv_batch(max, Time::new(timeout)),
            #[cfg(feature = "inproc")]
            Inner::Inproc { topic, subscription } => {
                let batch = subscription.recv_batch(max, timeout);
                let batch = batch.map_err(|error| of_bus(topic, error))?;
                Ok(batch.into_iter().map(copied).collect())
            }
        }
    }

    /// As [`recv`](Self::recv); a signal may end it as if the time were over. For bindings whose signal
    /// handlers must run.
    #[doc(hidden)]
    pub fn recv_until_signal(&self, timeout: Duration) -> Result<Event, Error> {
        match &self.inner {
            Inner::Remote(reader) => reader.recv_until_signal(Time::new(Some(timeout))),
            #[cfg(feature = "inproc")]
            Inner::Inproc { .. } => self.recv(Some(timeout)),
        }
    }

    /// The next event, awaitable on any runtime that turns the client's [`Driver`](crate::Driver). In
    /// process it waits where it is awaited.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_async(&self) -> Result<Event, Error> {
        match &self.inner {
            Inner::Remote(reader) => reader.recv_async().await,
            #[cfg(feature = "inproc")]
            Inner::Inproc { .. } => self.recv(None),
        }
    }

    /// What is there now: never waits, and never connects. For bindings that hold a lock meanwhile.
    #[doc(hidden)]
    pub fn try_recv(&self) -> Result<Event, Error> {
        match &self.inner {
            Inner::Remote(reader) => reader.try_recv(),
            #[cfg(feature = "inproc")]
            Inner::Inproc { .. } => self.recv(Some(Duration::ZERO)),
        }
    }

    /// What became of the messages since its start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        match &self.inner {
            Inner::Remote(reader) => reader.counts(),
            #[cfg(feature = "inproc")]
            Inner::Inproc { subscription, .. } => subscription.counts(),
        }
    }

    /// Was it closed, by whomever?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.inner {
            Inner::Remote(reader) => reader.is_closed(),
            #[cfg(feature = "inproc")]
            Inner::Inproc { subscription, .. } => subscription.is_closed(),
        }
    }

    /// Ends it. Whoever receives from it is woken; when this returns nothing more is received. From any
    /// thread, again and again.
    pub fn close(&self) {
        match &self.inner {
            Inner::Remote(reader) => reader.close(),
            #[cfg(feature = "inproc")]
            Inner::Inproc { subscription, .. } => subscription.close(),
        }
    }
}

#[cfg(feature = "inproc")]
fn copied(event: ringfence_protocol::log::Event) -> Event {
    use ringfence_protocol::log::{Event as OfLog, Message};
    match event {
        OfLog::Overtaken { missed } => Event::Overtaken { missed },
        OfLog::Message(Message { position, envelope, payload }) => {
            let payload = super::Payload::copied(payload);
            Event::Message(super::Message { position, envelope, payload })
        }
    }
}

#[cfg(feature = "inproc")]
fn of_bus(topic: &str, error: ringfence_core::bus::RecvError) -> Error {
    use ringfence_core::bus::RecvError;
    match error {
        RecvError::Timeout { waited } => Error::NoMessage { within: waited },
        RecvError::Closed | RecvError::BusClosed => Error::Closed,
        RecvError::CutOff { at, missed, .. } => {
            Error::CutOff { topic: topic.to_owned(), at, missed }
        }
        other => Error::Protocol { what: other.to_string() },
    }
}

/// How long a receive may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    timeout: Option<Duration>,
    /// `None`: for ever.
    until: Option<Instant>,
}

impl Time {
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        Self { timeout, until: timeout.and_then(|timeout| Instant::now().checked_add(timeout)) }
    }

    pub(super) fn until(self) -> Option<Instant> {
        self.until
    }

    /// Is nothing to be waited for at all?
    pub(super) fn is_none(self) -> bool {
        self.timeout == Some(Duration::ZERO)
    }

    /// What is left of it.
    pub(super) fn left(self) -> Duration {
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        self.until.map_or(Duration::MAX, left)
    }

    pub(super) fn over(self) -> Error {
        Error::NoMessage { within: self.timeout.unwrap_or(Duration::MAX) }
    }
}
