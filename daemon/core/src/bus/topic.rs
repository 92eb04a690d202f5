//! A topic: the sequencer of its messages.
//!
//! All that writes goes through one lock, so positions are given in the order in which messages are
//! written. Subscriptions read the log without it; they take it to sleep, to leave, and to tell a
//! publish that waits that there is room.
//!
//! Two ways to sleep, each without a lost wake-up:
//!
//! ```text
//!   news   a subscription compares its place with the log's end under the lock and sleeps there;
//!          a publish writes under the lock and notifies
//!   room   U  a publish: waiting + 1; fence(SeqCst); look at the cursors   (under the lock)
//!          V  a subscription: store its cursor; fence(SeqCst); look at waiting; if any: lock, notify
//! ```
//!
//! U pairs with V: at least one of the two sees what the other stored.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::log::{
    Envelope, Keep, LogGeometry, LogReader, LogWriter, Policy, Position, Start, TooLong,
    TopicOptions,
};
use ringfence_protocol::memory::{Heap, Memory};

use super::error::{PublishError, SubscribeError, TopicError};
use super::headlines::{Headlines, now};
use super::options::Outgoing;
use super::place::{Elsewhere, Place, Standing};
use super::queue::Queue;
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

/// What topic and subscriptions share.
pub(super) struct Sequencer<M: Memory> {
    name: String,
    options: TopicOptions,
    geometry: LogGeometry,
    most_subscriptions: usize,
    pub(super) state: Mutex<State<M>>,
    /// For subscriptions: something was published, or has ended.
    news: Condvar,
    /// For publishes that wait: a cursor has moved, or a place is gone.
    room: Condvar,
    /// Publishes that wait.
    pub(super) waiting: AtomicUsize,
    /// For subscriptions elsewhere: written to since they were last woken.
    unheard: AtomicBool,
    pub(super) headlines: Arc<Headlines>,
    pub(super) number: u32,
}

pub(super) struct State<M> {
    writer: LogWriter<M>,
    places: Vec<Arc<Place>>,
    /// How many of them are elsewhere.
    elsewhere: usize,
    /// Subscriptions of other processes that ended, and may still hold blocks.
    departed: Vec<Arc<Place>>,
    /// No cursor lies before it; looked up anew when it is in the way.
    floor: u64,
    /// Subscriptions that sleep.
    sleepers: usize,
    /// Tickets of the queue of waiting publishes: the next to be given, and whose turn it is.
    next_ticket: u64,
    turn: u64,
    /// Publishes of other processes that wait.
    pub(super) queue: Queue,
    pub(super) closed: bool,
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

impl<M: Memory> Topic<M> {
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
        let sequencer = Sequencer {
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
        };
        Ok(Self { sequencer: Arc::new(sequencer) })
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
        self.sequencer.state.lock().writer.memory().clone()
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
        self.sequencer.waiting.load(Ordering::Relaxed)
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
        self.sequencer.publish(outgoing, now())
    }

    /// As [`publish`](Self::publish) of a call, which waits in the topic's queue where its policy says
    /// so: then `None`, and the call is answered later.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), or the call cannot wait.
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

    pub(super) fn serve_queue(&self, now: Instant) -> bool {
        self.sequencer.serve_queue(now)
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
        let sequencer = &self.sequencer;
        let (place, log) = self.enter(start, None)?;
        Ok(Subscription::new(sequencer.clone(), place, log, keep))
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
        let (place, log) = self.enter(start, Some(elsewhere))?;
        let position = log.position();
        Ok(Attached { topic: self.clone(), place, position })
    }

    /// Under the lock, so that no message is published between the look and the entry.
    fn enter(
        &self,
        start: Start,
        elsewhere: Option<Box<dyn Elsewhere>>,
    ) -> Result<(Arc<Place>, LogReader<M>), SubscribeError>
    where
        M: Clone,
    {
        let sequencer = &self.sequencer;
        let mut state = sequencer.state.lock();
        if state.closed {
            return Err(SubscribeError::Closed);
        }
        // Who has left and holds blocks is still there: else its memory would count nowhere.
        state.forget_departed();
        let count = state.places.len() + state.departed.len();
        if count >= sequencer.most_subscriptions {
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
        if !self.sequencer.unheard.swap(false, Ordering::Relaxed) {
            return;
        }
        // Pairs with the fence of a subscription that falls asleep (SPEC P2, P8).
        fence(Ordering::SeqCst);
        let mut state = self.sequencer.state.lock();
        for elsewhere in state.places.iter().filter_map(|place| place.elsewhere()) {
            elsewhere.wake();
        }
        // What is published next changes the line that readers poll once and not twice. Not where every
        // message in the log is counted on.
        if self.options().policy == Policy::Overwrite {
            state.writer.prepare();
        }
    }

    pub(super) fn close(&self) {
        {
            let mut state = self.sequencer.state.lock();
            state.closed = true;
            state.queue.close();
        }
        self.sequencer.news.notify_all();
        self.sequencer.room.notify_all();
    }
}

impl<M: Memory> Sequencer<M> {
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

    fn publish(&self, outgoing: &Outgoing<'_>, timestamp: u64) -> Result<Position, PublishError> {
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
    fn publish_all<'p>(
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

    fn refuse_if_behind(&self, state: &mut State<M>) -> Result<(), PublishError> {
        let slots = self.geometry.slots;
        match state.furthest_behind(slots) {
            behind if behind >= u64::from(slots) => {
                Err(PublishError::Backpressure { behind, slots })
            }
            _ => Ok(()),
        }
    }

    /// Waits for its turn and for room, in this order.
    fn wait_for_room(
        &self,
        state: &mut MutexGuard<'_, State<M>>,
        patience: Duration,
    ) -> Result<(), PublishError> {
        let slots = self.geometry.slots;
        let nobody_waits = state.turn == state.next_ticket;
        if nobody_waits && state.has_room(slots) {
            return Ok(());
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let outcome = self.queue(state, ticket, Instant::now().checked_add(patience));
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        state.turn += 1;
        self.room.notify_all();
        outcome
    }

    fn queue(
        &self,
        state: &mut MutexGuard<'_, State<M>>,
        ticket: u64,
        until: Option<Instant>,
    ) -> Result<(), PublishError> {
        let slots = self.geometry.slots;
        loop {
            if state.closed {
                return Err(PublishError::Closed);
            }
            if state.turn != ticket {
                // Those before it end within their own patience, and notify.
                self.room.wait(state);
                continue;
            }
            // U, pairs with V: either a subscription sees us wait, or we see its cursor.
            fence(Ordering::SeqCst);
            if state.has_room(slots) {
                return Ok(());
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                state.cut_off_laggards(slots);
                self.news.notify_all();
                return Ok(());
            }
            match until {
                Some(until) => drop(self.room.wait_until(state, until)),
                None => self.room.wait(state),
            }
        }
    }

    /// After a cursor has moved: wakes the publishes that wait for it.
    pub(super) fn tell_room(&self) {
        if !matches!(self.options.policy, Policy::Block { .. }) {
            return;
        }
        // V, pairs with U.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            // Under the lock, so that who has looked at the cursors sleeps already.
            let _state = self.state.lock();
            self.room.notify_all();
        }
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

impl<M: Memory> State<M> {
    /// Would a message overwrite none that a subscription has not read?
    pub(super) fn has_room(&mut self, slots: u32) -> bool {
        self.furthest_behind(slots) < u64::from(slots)
    }

    /// Messages that the slowest subscription has not read. Looks at the cursors only if, as far as is
    /// known, one is in the way.
    fn furthest_behind(&mut self, slots: u32) -> u64 {
        let next = self.writer.next().sequence;
        if next - self.floor >= u64::from(slots) {
            self.floor = self.places.iter().map(|place| place.cursor(next)).min().unwrap_or(next);
        }
        next - self.floor
    }

    /// Of those that ended: who holds nothing any more. One that was cut off may not know it, and reads on
    /// until it leaves.
    fn forget_departed(&mut self) {
        self.departed.retain(|place| {
            place.standing() == Standing::CutOff
                || place.elsewhere().is_some_and(Elsewhere::holds_any)
        });
    }

    pub(super) fn cut_off_laggards(&mut self, slots: u32) {
        let next = self.writer.next().sequence;
        let is_behind = |place: &mut Arc<Place>| next - place.cursor(next) >= u64::from(slots);
        for place in self.places.extract_if(.., is_behind) {
            place.cut_off(next);
            // What it holds it reads on.
            if place.elsewhere().is_some() {
                self.departed.push(place);
            }
        }
    }
}

fn stamped(outgoing: &Outgoing<'_>, timestamp: u64) -> Envelope {
    let Outgoing { type_id, publisher, trace, correlation, .. } = *outgoing;
    Envelope { type_id, timestamp, publisher, trace, correlation }
}
