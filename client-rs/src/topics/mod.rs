//! Topics: messages that many publish and many read, in one order.
//!
//! ```
//! use std::time::Duration;
//! use ringfence::{Event, Keep, Publication, Start, TopicOptions};
//!
//! let client = ringfence::doctest_client();
//! let ticks = client.topic("market.ticks", TopicOptions::default())?;
//! let subscription = ticks.subscribe(Start::Newest, Keep::InLog)?;
//! let position = ticks.publish(&Publication::new(b"101500").type_id(1200))?;
//! let Event::Message(message) = subscription.recv(Some(Duration::from_secs(1)))? else {
//!     panic!("overtaken")
//! };
//! assert_eq!((message.position, &*message.payload), (position, &b"101500"[..]));
//! # Ok::<(), ringfence::Error>(())
//! ```
//!
//! A publish is a call; a subscription reads the topic's log, which the daemon writes and this process
//! maps, so a slow reader holds up nobody and costs nobody anything. Invariant: a message is published
//! to the topic of the name that was opened, also by a daemon that has started anew.

mod attach;
mod ears;
mod message;
mod number;
mod publish;
mod publisher;
mod reader;
mod remote;
mod sheaf;
mod subscription;
mod tasks;
mod typed;

use ringfence_protocol::error::ErrorCode;
use ringfence_protocol::log::{Keep, Position, Start, TopicOptions};

pub(crate) use self::ears::{Ears, Hold};
pub use self::message::{Event, Message, Payload};
pub use self::publish::Publication;
pub use self::publisher::Publisher;
pub(crate) use self::publisher::Tally;
pub(crate) use self::remote::Methods as BusMethods;
use self::remote::RemoteTopic;
pub use self::subscription::Subscription;
use crate::client::Client;
use crate::error::{Error, Outcome};
use crate::method::Method;
use crate::options::CallOptions;
use crate::pending::Pending;
use crate::way::Way;

/// A topic, from [`Client::topic`]. Clones are the same topic.
#[derive(Clone, Debug)]
pub struct Topic {
    inner: Inner,
}

#[derive(Clone, Debug)]
enum Inner {
    Remote(RemoteTopic),
    #[cfg(feature = "inproc")]
    Inproc(ringfence_core::bus::Topic),
}

/// How a topic stands. From [`Topic::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicStats {
    /// Messages published so far.
    pub published: u64,
    /// Subscriptions that are open.
    pub subscriptions: u64,
    /// Publishes that wait for room.
    pub waiting: u64,
}

impl Client {
    /// The topic of this name; it is made if there is none.
    ///
    /// # Errors
    /// `AlreadyExists` if it was made with other options, `InvalidArgument` with the limits, `Quota`,
    /// or as every call.
    ///
    /// ```
    /// use ringfence::{ErrorCode, TopicOptions};
    /// let client = ringfence::doctest_client();
    /// client.topic("a", TopicOptions::default())?;
    /// let other = client.topic("a", TopicOptions { slots: 8, ..TopicOptions::default() });
    /// assert_eq!(other.unwrap_err().code(), ErrorCode::AlreadyExists);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn topic(&self, name: &str, options: TopicOptions) -> Result<Topic, Error> {
        options.geometry().map_err(|wrong| Error::invalid(wrong.to_string()))?;
        let inner = match self.way() {
            Way::Remote(remote) => {
                Inner::Remote(RemoteTopic::open(self, remote, name, Some(options))?)
            }
            #[cfg(feature = "inproc")]
            Way::Inproc(inproc) => {
                let topic = inproc.bus()?.topic(name, options);
                Inner::Inproc(topic.map_err(ringfence_core::bus::TopicError::into_error)?)
            }
        };
        Ok(Topic { inner })
    }

    /// The topic of this name, as whoever made it wanted it.
    ///
    /// # Errors
    /// `UnknownTopic`, which lists what there is, or as every call.
    ///
    /// ```
    /// let error = ringfence::doctest_client().find_topic("nobody.made.it").unwrap_err();
    /// assert_eq!(error.code(), ringfence::ErrorCode::UnknownTopic);
    /// ```
    pub fn find_topic(&self, name: &str) -> Result<Topic, Error> {
        let inner = match self.way() {
            Way::Remote(remote) => Inner::Remote(RemoteTopic::open(self, remote, name, None)?),
            #[cfg(feature = "inproc")]
            Way::Inproc(inproc) => {
                let topic = inproc.bus()?.find(name);
                Inner::Inproc(topic.map_err(ringfence_core::bus::TopicError::into_error)?)
            }
        };
        Ok(Topic { inner })
    }
}

impl Topic {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.inner {
            Inner::Remote(remote) => remote.name(),
            #[cfg(feature = "inproc")]
            Inner::Inproc(topic) => topic.name(),
        }
    }

    /// How it was made.
    #[must_use]
    pub fn options(&self) -> TopicOptions {
        match &self.inner {
            Inner::Remote(remote) => remote.options(),
            #[cfg(feature = "inproc")]
            Inner::Inproc(topic) => topic.options(),
        }
    }

    /// Publishes a message: where it stands in the topic. Whoever looks from now on finds it there.
    ///
    /// # Errors
    /// `TooLarge` with both numbers; `Backpressure` where a slow subscription is not to be lapped;
    /// `NoSubscribers` if that was asked for; or as every call. Nothing was published then, unless the
    /// outcome of a daemon that went away is unknown.
    pub fn publish(&self, message: &Publication<'_>) -> Result<Position, Error> {
        match &self.inner {
            Inner::Remote(remote) => remote.publish(message, &CallOptions::default()),
            #[cfg(feature = "inproc")]
            Inner::Inproc(topic) => {
                let published = topic.publish(&message.outgoing());
                published.map_err(|error| Error::Remote(error.into_error()))
            }
        }
    }

    /// For bindings that wait in their own way: the call that publishes this message. `None` in process.
    #[doc(hidden)]
    pub fn request<T>(
        &self,
        message: &Publication<'_>,
        send: impl FnOnce(&Client, &Method, &[u8]) -> T,
    ) -> Option<T> {
        match &self.inner {
            Inner::Remote(remote) => Some(remote.request(message, send)),
            #[cfg(feature = "inproc")]
            Inner::Inproc(_) => None,
        }
    }

    /// The position that such a call has answered.
    #[doc(hidden)]
    pub fn position(&self, reply: &[u8]) -> Result<Position, Error> {
        Ok(Position { epoch: self.epoch(), sequence: publish::sequence(reply)? })
    }

    /// After such a call has failed because the daemon has started anew.
    #[doc(hidden)]
    pub fn open_again(&self) -> Result<(), Error> {
        match &self.inner {
            Inner::Remote(remote) => remote.open_again().map(drop),
            #[cfg(feature = "inproc")]
            Inner::Inproc(_) => Ok(()),
        }
    }

    /// Publishes without waiting for the answer, whose value is a sequence: see [`published`](Self::published). What
    /// one thread submits stands in that order, up to a length that an arena of the daemon's holds (64 KiB by
    /// default): a longer message may be overtaken by later ones.
    ///
    /// # Errors
    /// As [`Client::submit`]; the others come with the answer.
    ///
    /// ```
    /// use ringfence::{Publication, TopicOptions};
    /// let topic = ringfence::doctest_client().topic("many", TopicOptions::default())?;
    /// let pending = topic.submit(&Publication::new(b"first"))?;
    /// assert_eq!(topic.published(pending)?.sequence, 0);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn submit(&self, message: &Publication<'_>) -> Result<Pending, Error> {
        match &self.inner {
            Inner::Remote(remote) => remote.submit(message),
            #[cfg(feature = "inproc")]
            Inner::Inproc(_) => {
                use ringfence_protocol::message::Message as _;
                let Position { sequence, .. } = self.publish(message)?;
                let mut reply = Vec::with_capacity(8);
                ringfence_protocol::api::bus::Published { sequence }.encode(&mut reply);
                Ok(Pending::ready(Ok(crate::reply::Reply::from_bytes(reply))))
            }
        }
    }

    /// Where a message stands that was [submitted](Self::submit).
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn published(&self, pending: Pending) -> Result<Position, Error> {
        match pending.wait() {
            Err(error) if error.code() == ErrorCode::UnknownTopic => {
                // The daemon has started anew: the next one is published there.
                self.open_again()?;
                Err(Error::Restarted { outcome: Outcome::NotStarted, pid: 0 })
            }
            reply => self.position(&reply?),
        }
    }

    /// Publishes many messages one after another, without waiting for each.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        match &self.inner {
            Inner::Remote(remote) => Publisher::remote(remote.clone()),
            #[cfg(feature = "inproc")]
            Inner::Inproc(topic) => Publisher::inproc(topic.clone()),
        }
    }

    /// Subscribes.
    ///
    /// # Errors
    /// `InvalidArgument` if it cannot start there, `Quota`, or as every call.
    pub fn subscribe(&self, start: Start, keep: Keep) -> Result<Subscription, Error> {
        match &self.inner {
            Inner::Remote(remote) => Subscription::remote(remote.clone(), start, keep),
            #[cfg(feature = "inproc")]
            Inner::Inproc(topic) => {
                let subscription = topic.subscribe(start, keep);
                let subscription =
                    subscription.map_err(|error| Error::Remote(error.into_error()))?;
                Ok(Subscription::inproc(topic.name(), subscription))
            }
        }
    }

    /// How it stands.
    ///
    /// # Errors
    /// As every call.
    ///
    /// ```
    /// use ringfence::TopicOptions;
    /// let topic = ringfence::doctest_client().topic("quiet", TopicOptions::default())?;
    /// assert_eq!(topic.stats()?.published, 0);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn stats(&self) -> Result<TopicStats, Error> {
        match &self.inner {
            Inner::Remote(remote) => remote.stats(),
            #[cfg(feature = "inproc")]
            Inner::Inproc(topic) => Ok(TopicStats {
                published: topic.next().sequence,
                subscriptions: topic.subscribers() as u64,
                waiting: topic.waiting() as u64,
            }),
        }
    }

    fn epoch(&self) -> u64 {
        match &self.inner {
            Inner::Remote(remote) => remote.epoch(),
            #[cfg(feature = "inproc")]
            Inner::Inproc(topic) => topic.next().epoch,
        }
    }
}
