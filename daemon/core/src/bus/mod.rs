//! The bus: topics with one total order each, and subscriptions that never touch one another.
//!
//! # What it promises
//!
//! * **One position a message.** `publish` returns after the message stands in the topic's log, with
//!   its place in the topic's order. Messages of one publisher keep their order.
//! * **Nothing is lost silently.** For each subscription the messages received, missed and dropped
//!   are all that was published since its start, exactly.
//! * **A slow subscriber holds up nobody else**, unless the topic was made so
//!   ([`Policy::Block`], [`Policy::Reject`]), and then no longer than the topic's patience.
//! * **Whoever waits is woken** when the subscription or the bus is closed, in whichever order.
//!   After [`Subscription::close`] has returned nothing more is received from it.
//! * Any thread may do anything at any time. A thread that waits sleeps until somebody has news;
//!   what waits for another process holds no thread, and whoever serves sessions looks at it
//!   ([`Bus::serve_queues`], [`Bus::tell_elsewhere`]).
//!
//! What it does not do: IPC (the daemon puts topics into segments), know who may do what (it asks the
//! [`Carrier`]), requests and replies, other machines.
//!
//! # Rooms
//!
//! `name`, `limits` and `options` say what a topic may be, `making` is how it becomes one, `topic` is its
//! face. `sequencer` is the one
//! writer of the topic's log, behind a lock; `room` is who is in a message's way and the threads that
//! wait for that, `queue` the calls of other processes that do. `place` is what a topic knows of a
//! subscription; `subscription` reads the log without the lock, into its own bounded store if it has
//! one (protocol, `log`). `headlines` are the topics that somebody is still to look at. `engine` is
//! all of it for sessions of other processes. `error` has what can go wrong.
//!
//! ```
//! use std::time::Duration;
//! use ringfence_core::bus::{Bus, Event, Keep, Limits, Outgoing, Start, TopicOptions};
//!
//! let bus = Bus::new(1, Limits::default());
//! let ticks = bus.topic("market.ticks", TopicOptions::default())?;
//! let subscription = ticks.subscribe(Start::Newest, Keep::InLog)?;
//! let position = ticks.publish(&Outgoing { type_id: 1200, payload: b"101500", ..Outgoing::default() })?;
//! let Event::Message(message) = subscription.recv(Some(Duration::from_secs(1)))? else { unreachable!() };
//! assert_eq!((message.position, &*message.payload), (position, &b"101500"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod engine;
mod error;
mod headlines;
mod limits;
mod making;
mod name;
mod options;
mod place;
mod queue;
mod room;
mod sequencer;
mod subscription;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use ringfence_protocol::error::Error;
use ringfence_protocol::log::LogWriter;
pub use ringfence_protocol::log::{
    Counts, Envelope, Event, Keep, Message, Policy, Position, Start, TopicOptions,
};
use ringfence_protocol::memory::{Heap, Memory};

pub use self::engine::{Carrier, Right, Topics as Engine};
pub use self::error::{PublishError, RecvError, SubscribeError, TopicError};
use self::headlines::Headlines;
pub use self::limits::Limits;
use self::making::Opening;
use self::name::check_name;
pub use self::options::Outgoing;
pub use self::place::Elsewhere;
pub use self::subscription::Subscription;
pub use self::topic::{Attached, Topic};

/// Names of existing topics that an error lists.
const NAMES_IN_ERROR: usize = 8;

/// The topics of one process, with logs on the heap unless said otherwise. Clones share them.
pub struct Bus<M: Memory = Heap> {
    shared: Arc<Shared<M>>,
}

impl<M: Memory> Clone for Bus<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<M: Memory> {
    epoch: u64,
    limits: Limits,
    topics: Mutex<Topics<M>>,
    /// For who opens a topic that is being made: it is there, or will not be.
    made: Condvar,
    /// By number, for who looks one up at every message.
    by_number: Box<[OnceLock<Topic<M>>]>,
    headlines: Arc<Headlines>,
}

struct Topics<M: Memory> {
    by_name: BTreeMap<String, Topic<M>>,
    /// Names that have a topic soon, and how it is made.
    making: BTreeMap<String, TopicOptions>,
    /// Bytes of all logs, those that are being made too.
    bytes: u64,
    closed: bool,
}

impl<M: Memory> fmt::Debug for Bus<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics = self.shared.topics.lock();
        f.debug_struct("Bus")
            .field("epoch", &self.shared.epoch)
            .field("topics", &topics.by_name.len())
            .field("closed", &topics.closed)
            .finish()
    }
}

impl Bus {
    /// A bus without topics. The epoch becomes part of every position: a process that starts anew
    /// takes another.
    #[must_use]
    pub fn new(epoch: u64, limits: Limits) -> Self {
        Self::elsewhere(epoch, limits)
    }

    /// The topic of this name; it is made if there is none.
    ///
    /// # Errors
    /// [`TopicError`]: a bad name or size, a limit, or a topic that was made otherwise.
    pub fn topic(&self, name: &str, options: TopicOptions) -> Result<Topic, TopicError> {
        self.topic_in(name, options, |len| Ok(Heap::new(len)))
    }
}

impl<M: Memory> Bus<M> {
    /// A bus whose logs lie in memory that each topic is given ([`topic_in`](Self::topic_in)).
    #[must_use]
    pub fn elsewhere(epoch: u64, limits: Limits) -> Self {
        let topics =
            Topics { by_name: BTreeMap::new(), making: BTreeMap::new(), bytes: 0, closed: false };
        let by_number = std::iter::repeat_with(OnceLock::new).take(limits.topics).collect();
        let (topics, made, headlines) = (Mutex::new(topics), Condvar::new(), Arc::default());
        Self { shared: Arc::new(Shared { epoch, limits, topics, made, by_number, headlines }) }
    }

    /// The topic of this name; if there is none it is made in memory of so many bytes from `make`. Who
    /// opens the same name meanwhile waits for it, nobody else does.
    ///
    /// # Errors
    /// [`TopicError`]: a bad name or size, a limit, or a topic that was made otherwise.
    pub fn topic_in(
        &self,
        name: &str,
        options: TopicOptions,
        make: impl FnOnce(usize) -> Result<M, Error>,
    ) -> Result<Topic<M>, TopicError>
    where
        M: Clone,
    {
        check_name(name)?;
        let geometry = options.geometry()?;
        let reservation = match self.shared.open(name, options, geometry.bytes() as u64)? {
            Opening::There(topic) => return Ok(topic),
            Opening::ToBeMade(reservation) => reservation,
        };
        // Nothing is locked: this takes long.
        let first = Position { epoch: self.shared.epoch, sequence: 0 };
        reservation.fill(LogWriter::create(make(geometry.bytes())?, geometry, first)?)
    }

    /// The topic of this name.
    ///
    /// # Errors
    /// [`TopicError::Unknown`], which lists what there is.
    pub fn find(&self, name: &str) -> Result<Topic<M>, TopicError> {
        let topics = self.shared.topics.lock();
        topics.by_name.get(name).cloned().ok_or_else(|| TopicError::Unknown {
            name: name.to_owned(),
            existing: listed(topics.by_name.keys()),
        })
    }

    /// The topic with this number.
    #[inline]
    #[must_use]
    pub fn numbered(&self, number: u32) -> Option<&Topic<M>> {
        self.shared.by_number.get(number as usize)?.get()
    }

    /// All topics, by name.
    #[must_use]
    pub fn topics(&self) -> Vec<Topic<M>> {
        self.shared.topics.lock().by_name.values().cloned().collect()
    }

    /// Of its process's run.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// Was something published that subscriptions elsewhere have not been told of? One load.
    #[inline]
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.shared.headlines.is_empty()
    }

    /// Wakes those of them that sleep. To be called soon after a publish, by whoever published.
    pub fn tell_elsewhere(&self, scratch: &mut Vec<u32>) {
        self.shared.headlines.take(scratch);
        for number in scratch.drain(..) {
            if let Some(topic) = self.numbered(number) {
                topic.sequencer().tell_elsewhere();
            }
        }
    }

    /// Publishes what has room by now, and cuts off who was in the way for too long. To be called when a
    /// subscription elsewhere may have read on, and no later than this says: then the next patience ends.
    pub fn serve_queues(&self) -> Option<Instant> {
        let queues = self.shared.headlines.queues();
        let topics = queues.into_iter().filter_map(|number| self.numbered(number));
        topics.filter_map(|topic| topic.sequencer().serve_queue(Instant::now())).min()
    }

    /// Lets go of what dead subscribers held: to be called now and then, for nothing is heard of the end of
    /// a process. One load where there is nothing.
    pub fn forget_departed(&self) {
        if !self.shared.headlines.take_departed() {
            return;
        }
        for topic in self.topics() {
            let sequencer = topic.sequencer();
            sequencer.forget_departed(&mut sequencer.state.lock());
        }
    }

    /// Ends all topics: nothing can be published any more, subscriptions deliver what is left and
    /// then say so, whoever waits is woken. Closing again does nothing.
    pub fn close(&self) {
        let topics: Vec<Topic<M>> = {
            let mut topics = self.shared.topics.lock();
            topics.closed = true;
            topics.by_name.values().cloned().collect()
        };
        for topic in topics {
            topic.sequencer().close();
        }
    }
}

fn listed<'n>(names: impl ExactSizeIterator<Item = &'n String>) -> String {
    let count = names.len();
    let first: Vec<&str> = names.take(NAMES_IN_ERROR).map(String::as_str).collect();
    match count {
        0 => "there are none yet".to_owned(),
        _ if count > first.len() => {
            format!("there are {count}, among them {}", first.join(", "))
        }
        _ => format!("there are {}", first.join(", ")),
    }
}
