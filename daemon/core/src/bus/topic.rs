//! A topic, as who publishes and who subscribes sees it. What it does is its [`Sequencer`]'s.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::log::{Keep, LogGeometry, Policy, Position, Start, TooLong, TopicOptions};
use ringfence_protocol::memory::{Heap, Memory};
use ringfence_protocol::sys::wall::wall_ns;

use super::error::{PublishError, SubscribeError};
use super::options::Outgoing;
use super::place::{Elsewhere, Place};
use super::sequencer::{NewTopic, Sequencer};
use super::subscription::Subscription;
use crate::engine::Call;

/// A topic. Clones are the same topic.
pub struct Topic<M: Memory = Heap> {
    sequencer: Arc<Sequencer<M>>,
}

impl<M: Memory> Clone for Topic<M> {
    fn clone(&self) -> Self {
        Self { sequencer: Arc::clone(&self.sequencer) }
    }
}

impl<M: Memory> fmt::Debug for Topic<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic")
            .field("name", &self.sequencer.name)
            .field("options", &self.sequencer.options)
            .finish_non_exhaustive()
    }
}

/// A subscription of another process. It ends when this is dropped.
pub struct Attached<M: Memory> {
    topic: Topic<M>,
    place: Arc<Place>,
    position: Position,
}

impl<M: Memory> Attached<M> {
    /// Where it starts.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// What it subscribed to.
    #[must_use]
    pub fn topic(&self) -> &Topic<M> {
        &self.topic
    }

    /// Messages that it has read, as far as the topic had to know: it asks where it needs room.
    pub(super) fn read(&self) -> u64 {
        self.place.known().wrapping_sub(self.position.sequence)
    }
}

impl<M: Memory> fmt::Debug for Attached<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, position, .. } = self;
        f.debug_struct("Attached").field("topic", topic).field("position", position).finish()
    }
}

impl<M: Memory> Drop for Attached<M> {
    fn drop(&mut self) {
        self.topic.sequencer.leave(&self.place);
    }
}

impl<M: Memory> Topic<M> {
    pub(super) fn new(new: NewTopic<'_, M>) -> Self
    where
        M: Clone,
    {
        Self { sequencer: Arc::new(Sequencer::new(new)) }
    }

    /// Its number among the topics of its bus.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.sequencer.number
    }

    /// The sizes of its log.
    #[must_use]
    pub fn geometry(&self) -> LogGeometry {
        self.sequencer.geometry
    }

    /// Where its log lies.
    #[must_use]
    pub fn memory(&self) -> M
    where
        M: Clone,
    {
        self.sequencer.memory.clone()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.sequencer.name
    }

    /// How it was made.
    #[must_use]
    pub fn options(&self) -> TopicOptions {
        self.sequencer.options
    }

    /// How many subscriptions are open.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.sequencer.state.lock().places.len()
    }

    /// Where the next message will stand.
    #[must_use]
    pub fn next(&self) -> Position {
        self.sequencer.state.lock().writer.next()
    }

    /// How many publishes wait for room.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let of_others = self.sequencer.state.lock().queue.len();
        of_others + self.sequencer.waiting.load(Ordering::Relaxed)
    }

    /// As a publish does that waits for room.
    #[cfg(test)]
    pub(super) fn stand_in_queue(&self) {
        self.sequencer.state.lock().next_ticket += 1;
    }

    /// As a publish does that has got it.
    #[cfg(test)]
    pub(super) fn leave_queue(&self) {
        self.sequencer.state.lock().turn += 1;
        self.sequencer.room.notify_all();
    }

    /// How many subscriptions sleep.
    #[cfg(test)]
    pub(super) fn sleepers(&self) -> usize {
        self.sequencer.state.lock().sleepers
    }

    /// Writes a message into the log. Its position; who subscribes from the oldest message, or
    /// reads on, finds it there.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was written.
    pub fn publish(&self, outgoing: &Outgoing<'_>) -> Result<Position, PublishError> {
        self.sequencer.publish(outgoing, wall_ns())
    }

    /// As [`publish`](Self::publish) of a call, which waits in the topic's queue where its policy says
    /// so: then `None`, and the call is answered later.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), or the call cannot wait.
    #[inline(always)]
    pub fn publish_for(
        &self,
        outgoing: &Outgoing<'_>,
        call: &mut Call<'_>,
    ) -> Result<Option<Position>, Error> {
        match self.options().policy {
            Policy::Block { patience } => self.sequencer.publish_or_queue(outgoing, patience, call),
            _ => {
                let timestamp = self.sequencer.headlines.stamp();
                let published = self.sequencer.publish(outgoing, timestamp);
                published.map(Some).map_err(PublishError::into_error)
            }
        }
    }

    /// Publishes messages one behind the other, all or none: where the first one stands. `like` says what
    /// they share.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); a topic whose policy is not overwrite has none of this.
    pub fn publish_all<'p>(
        &self,
        like: &Outgoing<'_>,
        payloads: impl Iterator<Item = &'p [u8]> + Clone,
    ) -> Result<Position, Error> {
        if self.options().policy != Policy::Overwrite {
            let text = "many at once are for topics that overwrite: publish them one by one";
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
        let longest = payloads.clone().max_by_key(|payload| payload.len()).unwrap_or_default();
        if longest.len() > self.sequencer.geometry.payload_bytes() {
            let max = self.sequencer.geometry.payload_bytes();
            return Err(PublishError::from(TooLong { len: longest.len(), max }).into_error());
        }
        self.sequencer.publish_all(like, payloads).map_err(PublishError::into_error)
    }

    pub(super) fn sequencer(&self) -> &Sequencer<M> {
        &self.sequencer
    }

    /// Subscribes.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn subscribe(&self, start: Start, keep: Keep) -> Result<Subscription<M>, SubscribeError>
    where
        M: Clone,
    {
        self.join(start, keep.validated()?)
    }

    fn join(&self, start: Start, keep: Keep) -> Result<Subscription<M>, SubscribeError>
    where
        M: Clone,
    {
        let (place, log) = self.sequencer.enter(start, None)?;
        Ok(Subscription::new(self.sequencer.clone(), place, log, keep))
    }

    /// Lets a subscription in whose process reads the log itself.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn attach(
        &self,
        start: Start,
        elsewhere: Box<dyn Elsewhere>,
    ) -> Result<Attached<M>, SubscribeError>
    where
        M: Clone,
    {
        let (place, log) = self.sequencer.enter(start, Some(elsewhere))?;
        let position = log.position();
        Ok(Attached { topic: self.clone(), place, position })
    }
}
