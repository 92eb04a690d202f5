//! The sequencer of a topic: the one writer of its log, behind a lock.
//!
//! All that writes goes through that lock, so positions are given in the order in which messages are
//! written. Subscriptions read the log without it; they take it to sleep and to leave:
//!
//! ```text
//!   news   a subscription compares its place with the log's end under the lock and sleeps there;
//!          a publish writes under the lock and notifies
//! ```
//!
//! Whether a message may be written at all is `room`'s business, and who waits for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::log::{
    BlockUse, Envelope, LogGeometry, LogReader, LogWriter, Policy, Position, Start, TooLong,
    TopicOptions, WriteError,
};
use ringfence_protocol::memory::Memory;

use super::error::{PublishError, SubscribeError};
use super::headlines::Headlines;
use super::options::Outgoing;
use super::place::{Elsewhere, Place, Standing};
use super::queue::Queue;
use super::room::{Need, is_held};

/// What topic and subscriptions share.
pub(super) struct Sequencer<M: Memory> {
    pub(super) name: String,
    pub(super) options: TopicOptions,
    pub(super) geometry: LogGeometry,
    pub(super) most_subscriptions: usize,
    /// The log's, for who copies without the lock.
    pub(super) memory: M,
    pub(super) state: Mutex<State<M>>,
    /// For subscriptions: something was published, or has ended.
    pub(super) news: Condvar,
    /// For publishes that wait: a cursor has moved, or a place is gone.
    pub(super) room: Condvar,
    /// Threads whose publish waits.
    pub(super) waiting: AtomicUsize,
    pub(super) headlines: Arc<Headlines>,
    pub(super) number: u32,
    /// Where the next message will stand, as far as is known without the lock.
    next: AtomicU64,
}

pub(super) struct State<M> {
    pub(super) writer: LogWriter<M>,
    pub(super) places: Vec<Arc<Place>>,
    /// How many of them are elsewhere.
    pub(super) elsewhere: usize,
    /// Was something published that these were not told of yet?
    pub(super) unheard: bool,
    /// Subscriptions of other processes that ended, and may still hold blocks.
    pub(super) departed: Vec<Arc<Place>>,
    /// No cursor lies before it; looked up anew when it is in the way.
    pub(super) floor: u64,
    /// Subscriptions that sleep.
    pub(super) sleepers: usize,
    /// Tickets of the queue of waiting publishes: the next to be given, and whose turn it is.
    pub(super) next_ticket: u64,
    pub(super) turn: u64,
    /// Publishes of other processes that wait.
    pub(super) queue: Queue,
    pub(super) closed: bool,
}

impl<M: Memory> State<M> {
    /// Who ended and holds blocks counts, or whoever subscribes and holds and ends again has no bound.
    fn check_number(&mut self, most: usize) -> Result<(), SubscribeError> {
        let count = self.places.len();
        if count >= most && is_armed("topic.subscriptions") {
            return Err(SubscribeError::TooMany { count });
        }
        if count + self.departed.len() >= most {
            self.forget_departed();
        }
        let holding = self.departed.len();
        if count + holding >= most && is_armed("topic.departed") {
            return Err(SubscribeError::Holding { count, holding, most });
        }
        Ok(())
    }
}

/// What a topic is made of.
pub(super) struct NewTopic<'n, M> {
    pub(super) name: &'n str,
    /// Among the topics of its bus.
    pub(super) number: u32,
    pub(super) options: TopicOptions,
    pub(super) writer: LogWriter<M>,
    pub(super) most_subscriptions: usize,
    pub(super) headlines: Arc<Headlines>,
}

impl<M: Memory> Sequencer<M> {
    pub(super) fn new(new: NewTopic<'_, M>) -> Self
    where
        M: Clone,
    {
        let NewTopic { name, number, options, writer, most_subscriptions, headlines } = new;
        let (geometry, first, memory) = (writer.geometry(), writer.next(), writer.memory().clone());
        let state = State {
            writer,
            places: Vec::new(),
            elsewhere: 0,
            unheard: false,
            departed: Vec::new(),
            floor: first.sequence,
            sleepers: 0,
            next_ticket: 0,
            turn: 0,
            queue: Queue::default(),
            closed: false,
        };
        Self {
            name: name.to_owned(),
            options,
            geometry,
            most_subscriptions,
            memory,
            state: Mutex::new(state),
            news: Condvar::new(),
            room: Condvar::new(),
            waiting: AtomicUsize::new(0),
            headlines,
            number,
            next: AtomicU64::new(first.sequence),
        }
    }

    /// Under the lock, so that no message is published between the look and the entry.
    pub(super) fn enter(
        &self,
        start: Start,
        elsewhere: Option<Box<dyn Elsewhere>>,
    ) -> Result<(Arc<Place>, LogReader<M>), SubscribeError>
    where
        M: Clone,
    {
        let mut state = self.state.lock();
        if state.closed {
            return Err(SubscribeError::Closed);
        }
        state.check_number(self.most_subscriptions)?;
        let mut log = LogReader::open(state.writer.memory().clone())?;
        log.seek(start)?;
        // Nobody waits for one who wants what is gone: it is told how much at its first receive.
        let cursor = log.position().sequence.max(log.oldest());
        state.elsewhere += usize::from(elsewhere.is_some());
        let place = Arc::new(Place::new(cursor, elsewhere));
        state.floor = state.floor.min(cursor);
        state.places.push(place.clone());
        Ok((place, log))
    }

    /// Wakes the subscriptions elsewhere, if something was published since this was last asked.
    pub(super) fn tell_elsewhere(&self) {
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.unheard) {
            return;
        }
        // Behind the lock: what another thread has published before is looked for with this look.
        state.writer.before_waking();
        for elsewhere in state.places.iter().filter_map(|place| place.elsewhere()) {
            elsewhere.wake();
        }
    }

    pub(super) fn close(&self) {
        {
            let mut state = self.state.lock();
            state.closed = true;
            state.queue.close();
        }
        self.news.notify_all();
        self.room.notify_all();
    }

    pub(super) fn check_length(&self, outgoing: &Outgoing<'_>) -> Result<(), PublishError> {
        let Self { options: TopicOptions { payload_bytes, block_bytes, .. }, .. } = self;
        let (len, max) = (outgoing.payload.len(), (*payload_bytes).max(*block_bytes as usize));
        if len > max {
            return Err(TooLong { len, max }.into());
        }
        Ok(())
    }

    pub(super) fn needs(&self, payload: &[u8]) -> Need {
        Need { slots: self.geometry.slots, block: payload.len() > self.geometry.payload_bytes() }
    }

    /// Asks for the lines of the next message, for who is about to publish it and has something to do before.
    #[inline]
    pub(super) fn prefetch_next(&self) {
        self.geometry.prefetch_slot(&self.memory, self.next.load(Ordering::Relaxed));
    }

    #[inline(always)]
    pub(super) fn publish(
        &self,
        outgoing: &Outgoing<'_>,
        timestamp: u64,
    ) -> Result<Position, PublishError> {
        match self.publish_short(outgoing, timestamp) {
            Some(position) => Ok(position),
            None => self.publish_any(outgoing, timestamp),
        }
    }

    /// What fits a slot of a topic that overwrites, as nearly every message does. Its reader waits for each step of
    /// this, so there is no other on the way. `None`: it is another message, or may not be published.
    #[inline(always)]
    fn publish_short(&self, outgoing: &Outgoing<'_>, timestamp: u64) -> Option<Position> {
        let TopicOptions { policy, payload_bytes, .. } = self.options;
        if policy != Policy::Overwrite || outgoing.payload.len() > payload_bytes {
            return None;
        }
        let mut state = self.state.lock();
        self.may_write(&mut state, outgoing).ok()?;
        let position = state.writer.write_in_slot(stamped(outgoing, timestamp), outgoing.payload);
        self.tell(&mut state);
        Some(position)
    }

    #[inline(never)]
    fn publish_any(
        &self,
        outgoing: &Outgoing<'_>,
        timestamp: u64,
    ) -> Result<Position, PublishError> {
        self.check_length(outgoing)?;
        let need = self.needs(outgoing.payload);
        let mut state = self.state.lock();
        if let Policy::Block { patience } = self.options.policy {
            self.wait_for_room(&mut state, need, patience)?;
        } else if need.block {
            return self.publish_apart(state, outgoing, timestamp);
        }
        self.may_write(&mut state, outgoing)?;
        self.write(&mut state, outgoing, timestamp)
    }

    /// Copies a long payload without the lock, so that nobody waits for that: its block is taken before,
    /// its position given afterwards, as is the last word on whether it may be written. Not where
    /// publishes wait: there one that came meanwhile would wait behind this one, and be published before.
    fn publish_apart(
        &self,
        mut state: MutexGuard<'_, State<M>>,
        outgoing: &Outgoing<'_>,
        timestamp: u64,
    ) -> Result<Position, PublishError> {
        self.may_write(&mut state, outgoing)?;
        let of = self.with_keeps(&mut state, |writer, keeps| writer.take_block(keeps))?;
        drop(state);
        self.memory.write_block(self.geometry.block(of.block), outgoing.payload);
        let mut state = self.state.lock();
        if let Err(refused) = self.may_write(&mut state, outgoing) {
            state.writer.give_back(of);
            return Err(refused);
        }
        let (envelope, len) = (stamped(outgoing, timestamp), outgoing.payload.len());
        let position = state.writer.write_taken(envelope, of, len);
        self.tell(&mut state);
        Ok(position)
    }

    #[inline(always)]
    fn may_write(&self, state: &mut State<M>, outgoing: &Outgoing<'_>) -> Result<(), PublishError> {
        if state.closed {
            return Err(PublishError::Closed);
        }
        if outgoing.must_be_heard && state.places.is_empty() {
            return Err(PublishError::NoSubscribers);
        }
        match self.options.policy {
            Policy::Reject => self.refuse_if_behind(state),
            _ => Ok(()),
        }
    }

    /// All of them fit a slot, so none fails behind the first.
    pub(super) fn publish_all<'p>(
        &self,
        like: &Outgoing<'_>,
        payloads: impl Iterator<Item = &'p [u8]>,
    ) -> Result<Position, PublishError> {
        let timestamp = self.headlines.stamp();
        let mut state = self.state.lock();
        if state.closed {
            return Err(PublishError::Closed);
        }
        let first = state.writer.next();
        for payload in payloads {
            self.write(&mut state, &Outgoing { payload, ..*like }, timestamp)?;
        }
        Ok(first)
    }

    /// There is room.
    pub(super) fn write(
        &self,
        state: &mut State<M>,
        outgoing: &Outgoing<'_>,
        timestamp: u64,
    ) -> Result<Position, PublishError> {
        if outgoing.must_be_heard && state.places.is_empty() {
            return Err(PublishError::NoSubscribers);
        }
        let (envelope, payload) = (stamped(outgoing, timestamp), outgoing.payload);
        let position = if self.needs(payload).block {
            self.with_keeps(state, |writer, keeps| writer.write(envelope, payload, keeps))?
        } else {
            state.writer.write(envelope, payload, |_, _| false)?
        };
        self.tell(state);
        Ok(position)
    }

    /// Lets the writer take a block, and ask what is kept: by who has not read it, where nothing may be
    /// lost; by who reads it elsewhere, or has left and reads on.
    fn with_keeps<T>(
        &self,
        state: &mut State<M>,
        take: impl FnOnce(&mut LogWriter<M>, &dyn Fn(u64, BlockUse) -> bool) -> Result<T, WriteError>,
    ) -> Result<T, PublishError> {
        let counts = self.options.policy != Policy::Overwrite;
        // Once for all blocks that are looked at.
        state.forget_departed();
        if counts {
            state.look_at_cursors();
        }
        let State { writer, places, departed, floor, .. } = state;
        let keeps = |sequence, of| counts && sequence >= *floor || is_held(places, departed, of);
        Ok(take(writer, &keeps)?)
    }

    /// Something was published.
    #[inline]
    fn tell(&self, state: &mut State<M>) {
        self.next.store(state.writer.next().sequence, Ordering::Relaxed);
        if state.sleepers > 0 {
            self.news.notify_all();
        }
        if state.elsewhere == 0 {
            return;
        }
        if !std::mem::replace(&mut state.unheard, true) {
            self.headlines.add(self.number);
        }
    }

    /// Lets go of those who ended and hold nothing any more; of the others it is asked again.
    pub(super) fn forget_departed(&self, state: &mut State<M>) {
        state.forget_departed();
        if !state.departed.is_empty() {
            self.headlines.add_departed();
        }
    }

    /// Takes a subscription out; whoever waits for it, or in it, looks again.
    pub(super) fn leave(&self, place: &Arc<Place>) {
        let mut state = self.state.lock();
        // One elsewhere that was cut off has heard of it by now.
        if place.standing() == Standing::Open || place.elsewhere().is_some() {
            place.close();
        }
        state.places.retain(|other| !Arc::ptr_eq(other, place));
        state.departed.retain(|other| !Arc::ptr_eq(other, place));
        state.departed.push(place.clone());
        self.forget_departed(&mut state);
        state.elsewhere = state.places.iter().filter(|place| place.elsewhere().is_some()).count();
        self.news.notify_all();
        self.room.notify_all();
    }

    /// Sleeps until there may be something behind `sequence`, or until something has ended. `false`:
    /// the bus was closed, and there is nothing.
    pub(super) fn wait_for_news(
        &self,
        place: &Place,
        sequence: u64,
        until: Option<Instant>,
    ) -> bool {
        let mut state = self.state.lock();
        if state.writer.next().sequence != sequence || place.standing() != Standing::Open {
            return true;
        }
        if state.closed {
            return false;
        }
        state.sleepers += 1;
        match until {
            Some(until) => drop(self.news.wait_until(&mut state, until)),
            None => self.news.wait(&mut state),
        }
        state.sleepers -= 1;
        true
    }

    /// How long a publish waits for a subscription.
    pub(super) fn patience(&self) -> Duration {
        match self.options.policy {
            Policy::Block { patience } => patience,
            _ => Duration::ZERO,
        }
    }
}

#[inline(always)]
fn stamped(outgoing: &Outgoing<'_>, timestamp: u64) -> Envelope {
    let Outgoing { type_id, publisher, trace, correlation, .. } = *outgoing;
    Envelope { type_id, timestamp, publisher, trace, correlation }
}
