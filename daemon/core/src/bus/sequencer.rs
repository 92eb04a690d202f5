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
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use ringfence_protocol::log::{
    Envelope, LogGeometry, LogReader, LogWriter, Policy, Position, Start, TooLong, TopicOptions,
};
use ringfence_protocol::memory::Memory;

use super::error::{PublishError, SubscribeError, TopicError};
use super::headlines::Headlines;
use super::options::Outgoing;
use super::place::{Elsewhere, Place, Standing};
use super::queue::Queue;

/// What topic and subscriptions share.
pub(super) struct Sequencer<M: Memory> {
    pub(super) name: String,
    pub(super) options: TopicOptions,
    pub(super) geometry: LogGeometry,
    pub(super) most_subscriptions: usize,
    pub(super) state: Mutex<State<M>>,
    /// For subscriptions: something was published, or has ended.
    pub(super) news: Condvar,
    /// For publishes that wait: a cursor has moved, or a place is gone.
    pub(super) room: Condvar,
    /// Threads whose publish waits.
    pub(super) waiting: AtomicUsize,
    /// For subscriptions elsewhere: written to since they were last woken.
    pub(super) unheard: AtomicBool,
    pub(super) headlines: Arc<Headlines>,
    pub(super) number: u32,
}

pub(super) struct State<M> {
    pub(super) writer: LogWriter<M>,
    pub(super) places: Vec<Arc<Place>>,
    /// How many of them are elsewhere.
    pub(super) elsewhere: usize,
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

/// What a topic is made of.
pub(super) struct NewTopic<'n, M> {
    pub(super) name: &'n str,
    /// Among the topics of its bus.
    pub(super) number: u32,
    pub(super) options: TopicOptions,
    pub(super) geometry: LogGeometry,
    pub(super) memory: M,
    pub(super) epoch: u64,
    pub(super) most_subscriptions: usize,
    pub(super) headlines: Arc<Headlines>,
}

impl<M: Memory> Sequencer<M> {
    pub(super) fn new(new: NewTopic<'_, M>) -> Result<Self, TopicError> {
        let NewTopic { name, number, options, geometry, memory, epoch, .. } = new;
        let first = Position { epoch, sequence: 0 };
        let writer = LogWriter::create(memory, geometry, first)?;
        let state = State {
            writer,
            places: Vec::new(),
            elsewhere: 0,
            departed: Vec::new(),
            floor: first.sequence,
            sleepers: 0,
            next_ticket: 0,
            turn: 0,
            queue: Queue::default(),
            closed: false,
        };
        Ok(Self {
            name: name.to_owned(),
            options,
            geometry,
            most_subscriptions: new.most_subscriptions,
            state: Mutex::new(state),
            news: Condvar::new(),
            room: Condvar::new(),
            waiting: AtomicUsize::new(0),
            unheard: AtomicBool::new(false),
            headlines: new.headlines,
            number,
        })
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
        // Who has left and holds blocks is still there: else its memory would count nowhere.
        state.forget_departed();
        let count = state.places.len() + state.departed.len();
        if count >= self.most_subscriptions {
            return Err(SubscribeError::TooMany { count });
        }
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
        // Before the look at who is there: what is published from now on is told anew.
        if !self.unheard.swap(false, Ordering::Relaxed) {
            return;
        }
        // Pairs with the fence of a subscription that falls asleep (SPEC P2, P8).
        fence(Ordering::SeqCst);
        let mut state = self.state.lock();
        for elsewhere in state.places.iter().filter_map(|place| place.elsewhere()) {
            elsewhere.wake();
        }
        // What is published next changes the line that readers poll once and not twice. Not where every
        // message in the log is counted on.
        if self.options.policy == Policy::Overwrite {
            state.writer.prepare();
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

    pub(super) fn slots(&self) -> u32 {
        self.geometry.slots
    }

    pub(super) fn publish(
        &self,
        outgoing: &Outgoing<'_>,
        timestamp: u64,
    ) -> Result<Position, PublishError> {
        self.check_length(outgoing)?;
        let mut state = self.state.lock();
        state.writer.expect();
        if state.closed {
            return Err(PublishError::Closed);
        }
        match self.options.policy {
            Policy::Overwrite => {}
            Policy::Reject => self.refuse_if_behind(&mut state)?,
            Policy::Block { patience } => self.wait_for_room(&mut state, patience)?,
        }
        self.write(&mut state, outgoing, timestamp)
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
        if !state.departed.is_empty() {
            state.forget_departed();
        }
        let State { writer, places, departed, .. } = state;
        // Of who reads elsewhere, or has left and reads on; and where nothing may be lost, of who has not
        // read it.
        let (next, counts) = (writer.next().sequence, self.options.policy != Policy::Overwrite);
        let held = |sequence, of| {
            let by_reading = |place: &Arc<Place>| place.elsewhere().is_some_and(|it| it.holds(of));
            let by_cursor = |place: &Arc<Place>| counts && place.cursor(next) <= sequence;
            departed.iter().any(by_reading)
                || places.iter().any(|place| by_reading(place) || by_cursor(place))
        };
        let position = writer.write(stamped(outgoing, timestamp), outgoing.payload, held)?;
        if state.sleepers > 0 {
            self.news.notify_all();
        }
        if state.elsewhere > 0 && !self.unheard.swap(true, Ordering::Relaxed) {
            self.headlines.add(self.number);
        }
        Ok(position)
    }

    /// Takes a subscription out; whoever waits for it, or in it, looks again.
    pub(super) fn leave(&self, place: &Arc<Place>) {
        let mut state = self.state.lock();
        if place.standing() == Standing::Open || place.elsewhere().is_some() {
            place.close();
        }
        state.places.retain(|other| !Arc::ptr_eq(other, place));
        let is_known = state.departed.iter().any(|other| Arc::ptr_eq(other, place));
        if !is_known && place.elsewhere().is_some_and(Elsewhere::holds_any) {
            state.departed.push(place.clone());
        }
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

fn stamped(outgoing: &Outgoing<'_>, timestamp: u64) -> Envelope {
    let Outgoing { type_id, publisher, trace, correlation, .. } = *outgoing;
    Envelope { type_id, timestamp, publisher, trace, correlation }
}
