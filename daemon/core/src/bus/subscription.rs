//! A subscription: a reader of the topic's log, with a buffer if it asked for one.
//!
//! One thread at a time receives; the others wait for their turn within their own time. Locks are
//! taken in one order: the inbox, then the topic.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use ringfence_protocol::log::{Envelope, LogReader, Position, Read};
use ringfence_protocol::memory::Heap;

use super::buffer::Buffer;
use super::error::RecvError;
use super::options::Keep;
use super::place::{Counts, Place, Standing};
use super::topic::Sequencer;

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it stands in its topic.
    pub position: Position,
    /// What is said of it.
    pub envelope: Envelope,
    /// The payload.
    pub payload: Box<[u8]>,
}

/// What a subscription delivers, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message.
    Message(Message),
    /// So many messages were overwritten here before they were read.
    Overtaken {
        /// How many, exactly.
        missed: u64,
    },
}

/// A subscription. It ends when it is dropped.
pub struct Subscription {
    sequencer: Arc<Sequencer>,
    place: Arc<Place>,
    inbox: Mutex<Inbox>,
}

struct Inbox {
    log: LogReader<Heap>,
    buffer: Buffer,
    payload: Vec<u8>,
    /// What is said again and again after it was cut off.
    cut_off: Option<RecvError>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("standing", &self.place.standing())
            .field("counts", &self.place.counts())
            .finish_non_exhaustive()
    }
}

impl Subscription {
    pub(super) fn new(
        sequencer: Arc<Sequencer>,
        place: Arc<Place>,
        log: LogReader<Heap>,
        keep: Keep,
    ) -> Self {
        let inbox = Inbox { log, buffer: Buffer::new(keep), payload: Vec::new(), cut_off: None };
        Self { sequencer, place, inbox: Mutex::new(inbox) }
    }

    /// The next event; waits for it, at most so long.
    ///
    /// # Errors
    /// [`RecvError`].
    pub fn recv(&self, timeout: Option<Duration>) -> Result<Event, RecvError> {
        let patience = Patience::new(timeout);
        let mut inbox = self.inbox(patience)?;
        self.next(&mut inbox, patience)
    }

    /// Up to `max` events; waits until there are so many, at most so long. Fewer if the time is over
    /// or something has ended, which the next call says; none if the time is over.
    ///
    /// # Errors
    /// [`RecvError`], if there is no event to return; never a time-out.
    pub fn recv_batch(
        &self,
        max: usize,
        timeout: Option<Duration>,
    ) -> Result<Vec<Event>, RecvError> {
        let patience = Patience::new(timeout);
        let mut batch = Vec::new();
        let mut inbox = match self.inbox(patience) {
            Err(RecvError::Timeout { .. }) => return Ok(batch),
            taken => taken?,
        };
        while batch.len() < max {
            match self.next(&mut inbox, patience) {
                Ok(event) => batch.push(event),
                Err(RecvError::Timeout { .. }) => break,
                Err(error) if batch.is_empty() => return Err(error),
                // Said again by the next call. (A damaged message was counted as missed.)
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    /// What became of the messages since its start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.place.counts()
    }

    /// Ends it. Whoever receives from it is woken; when this returns nothing more is received. From
    /// any thread, again and again.
    pub fn close(&self) {
        self.sequencer.leave(&self.place);
        // Who was in the middle of a receive has left when the lock is ours.
        let mut inbox = self.inbox.lock();
        let dropped = inbox.buffer.clear();
        self.place.count(Counts { dropped, ..Counts::default() });
    }

    #[cfg(test)]
    pub(super) fn is_cut_off(&self) -> bool {
        self.place.standing() == Standing::CutOff
    }

    fn inbox(&self, patience: Patience) -> Result<MutexGuard<'_, Inbox>, RecvError> {
        match patience.until {
            None => Ok(self.inbox.lock()),
            Some(until) => self.inbox.try_lock_until(until).ok_or_else(|| patience.over()),
        }
    }

    fn next(&self, inbox: &mut Inbox, patience: Patience) -> Result<Event, RecvError> {
        loop {
            if let Some(event) = self.look(inbox)? {
                return Ok(event);
            }
            if patience.is_over() {
                return Err(patience.over());
            }
            let sequence = inbox.log.position().sequence;
            if !self.sequencer.wait_for_news(&self.place, sequence, patience.until) {
                return Err(RecvError::BusClosed);
            }
        }
    }

    /// The next event, if there is one.
    fn look(&self, inbox: &mut Inbox) -> Result<Option<Event>, RecvError> {
        if self.place.standing() == Standing::Closed {
            return Err(RecvError::Closed);
        }
        self.fill(inbox)?;
        if let Some(event) = inbox.buffer.pop() {
            let received = matches!(event, Event::Message(_)).into();
            self.place.count(Counts { received, ..Counts::default() });
            return Ok(Some(event));
        }
        match self.place.standing() {
            Standing::CutOff => Err(self.cut_off(inbox)),
            _ => Ok(None),
        }
    }

    /// Reads from the log what the buffer may hold: one event, or all that was published when it was
    /// called, however fast more comes.
    fn fill(&self, inbox: &mut Inbox) -> Result<(), RecvError> {
        let end = inbox.log.end();
        while self.place.standing() == Standing::Open {
            let wanted = if inbox.buffer.reads_ahead() {
                inbox.log.position().sequence < end
            } else {
                inbox.buffer.is_empty()
            };
            if !wanted || !self.read_one(inbox)? {
                break;
            }
        }
        Ok(())
    }

    /// `false`: there is nothing.
    fn read_one(&self, inbox: &mut Inbox) -> Result<bool, RecvError> {
        let read = inbox.log.read(&mut inbox.payload);
        let mut counts = Counts::default();
        match read {
            Ok(Read::Nothing) => return Ok(false),
            Ok(Read::Overtaken { missed }) => {
                inbox.buffer.miss(missed);
                counts.missed = missed;
            }
            Ok(Read::Message { position, envelope }) => {
                let payload = inbox.payload.as_slice().into();
                counts.dropped = inbox.buffer.push(Message { position, envelope, payload });
            }
            Err(_) => counts.missed = 1,
        }
        self.place.count(counts);
        self.place.advance(inbox.log.position().sequence);
        self.sequencer.tell_room();
        read.map(|_| true).map_err(RecvError::from)
    }

    fn cut_off(&self, inbox: &mut Inbox) -> RecvError {
        *inbox.cut_off.get_or_insert_with(|| {
            let here = inbox.log.position();
            let at = Position { sequence: self.place.cut_at(), ..here };
            let missed = at.sequence.saturating_sub(here.sequence);
            self.place.count(Counts { missed, ..Counts::default() });
            RecvError::CutOff { at, patience: self.sequencer.patience(), missed }
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.sequencer.leave(&self.place);
    }
}

/// How long a receive may wait.
#[derive(Clone, Copy)]
struct Patience {
    timeout: Option<Duration>,
    /// `None`: for ever.
    until: Option<Instant>,
}

impl Patience {
    fn new(timeout: Option<Duration>) -> Self {
        Self { timeout, until: timeout.and_then(|timeout| Instant::now().checked_add(timeout)) }
    }

    fn is_over(self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn over(self) -> RecvError {
        RecvError::Timeout { waited: self.timeout.unwrap_or(Duration::MAX) }
    }
}
