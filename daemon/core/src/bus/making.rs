//! A topic while it is made: its name and its bytes are reserved, and nobody is held up.
//!
//! A log is allocated page by page, about a second a gigabyte, and whoever looks a topic up is a poller.
//! So the bus is locked to reserve and to enter, never in between. Invariants: of one name there is
//! one topic, made once; a second opener waits for the first, which takes as long as it would itself;
//! what fails, or panics, gives back what was reserved.

use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::log::{LogWriter, TopicOptions};
use ringfence_protocol::memory::Memory;

use super::error::TopicError;
use super::limits::Limits;
use super::sequencer::NewTopic;
use super::topic::Topic;
use super::{Shared, Topics};

/// What an opener of a topic finds.
pub(super) enum Opening<'s, M: Memory> {
    There(Topic<M>),
    ToBeMade(Reservation<'s, M>),
}

/// The right to make a topic.
pub(super) struct Reservation<'s, M: Memory> {
    shared: &'s Shared<M>,
    name: String,
    options: TopicOptions,
    /// What is given back when this is dropped.
    bytes: u64,
}

impl<M: Memory> Shared<M> {
    pub(super) fn open(
        &self,
        name: &str,
        options: TopicOptions,
        bytes: u64,
    ) -> Result<Opening<'_, M>, TopicError> {
        let mut topics = self.topics.lock();
        loop {
            if topics.closed {
                return Err(TopicError::Closed);
            }
            let topic = topics.by_name.get(name);
            let made = topic.map(Topic::options);
            let Some(there) = made.or_else(|| topics.making.get(name).copied()) else { break };
            if there != options {
                let name = name.to_owned();
                return Err(TopicError::Otherwise { name, there, asked: options });
            }
            if let Some(topic) = topic {
                return Ok(Opening::There(topic.clone()));
            }
            self.made.wait(&mut topics);
        }
        topics.reserve(name, options, bytes, &self.limits)?;
        let name = name.to_owned();
        Ok(Opening::ToBeMade(Reservation { shared: self, name, options, bytes }))
    }
}

impl<M: Memory> Topics<M> {
    fn reserve(
        &mut self,
        name: &str,
        options: TopicOptions,
        wanted: u64,
        limits: &Limits,
    ) -> Result<(), TopicError> {
        let count = self.by_name.len() + self.making.len();
        if count >= limits.topics && is_armed("topic.count") {
            return Err(TopicError::TooMany { count });
        }
        let (used, limit) = (self.bytes, limits.bytes);
        if wanted > limit.saturating_sub(used) && is_armed("topic.bytes") {
            return Err(TopicError::Memory { wanted, used, limit });
        }
        self.bytes += wanted;
        self.making.insert(name.to_owned(), options);
        Ok(())
    }
}

impl<M: Memory> Reservation<'_, M> {
    /// The log is there: the topic is entered, with the next number.
    pub(super) fn fill(mut self, writer: LogWriter<M>) -> Result<Topic<M>, TopicError>
    where
        M: Clone,
    {
        let shared = self.shared;
        let mut topics = shared.topics.lock();
        if topics.closed {
            drop(topics); // which the end of the reservation locks
            return Err(TopicError::Closed);
        }
        let number = topics.by_name.len();
        let topic = Topic::new(NewTopic {
            name: &self.name,
            number: number as u32,
            options: self.options,
            writer,
            most_subscriptions: shared.limits.subscriptions,
            headlines: shared.headlines.clone(),
        });
        topics.by_name.insert(self.name.clone(), topic.clone());
        shared.by_number[number].get_or_init(|| topic.clone());
        self.bytes = 0;
        drop(topics);
        Ok(topic)
    }
}

impl<M: Memory> Drop for Reservation<'_, M> {
    fn drop(&mut self) {
        let mut topics = self.shared.topics.lock();
        topics.making.remove(&self.name);
        topics.bytes -= self.bytes;
        drop(topics);
        self.shared.made.notify_all();
    }
}
