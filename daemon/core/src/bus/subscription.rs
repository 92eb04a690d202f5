//! A subscription: a reader of the topic's log, with a buffer if it asked for one.
//!
//! One thread at a time receives; the others wait for their turn within their own time. Locks are
//! taken in one order: the receiver, then the topic.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use ringfence_protocol::log::{Counts, Event, Inbox, Keep, LogReader, Position};
use ringfence_protocol::memory::{Heap, Memory};

use super::error::RecvError;
use super::place::{Place, Standing};
use super::sequencer::Sequencer;

/// A subscription. It ends when it is dropped.
pub struct Subscription<M: Memory = Heap> {
    sequencer: Arc<Sequencer<M>>,
    place: Arc<Place>,
    receiver: Mutex<Receiver<M>>,
}

struct Receiver<M> {
    inbox: Inbox<M>,
    /// What is said again and again after it was cut off.
    cut_off: Option<RecvError>,
}

impl<M: Memory> fmt::Debug for Subscription<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("standing", &self.place.standing())
            .field("counts", &self.place.counts())
            .finish_non_exhaustive()
    }
}

impl<M: Memory> Subscription<M> {
    pub(super) fn new(
        sequencer: Arc<Sequencer<M>>,
        place: Arc<Place>,
        log: LogReader<M>,
        keep: Keep,
    ) -> Self {
        let receiver = Receiver { inbox: Inbox::new(log, keep), cut_off: None };
        Self { sequencer, place, receiver: Mutex::new(receiver) }
    }

    /// The next event; waits for it, at most so long.
    ///
    /// # Errors
    /// [`RecvError`].
    pub fn recv(&self, timeout: Option<Duration>) -> Result<Event, RecvError> {
        let patience = Patience::new(timeout);
        let mut receiver = self.receiver(patience)?;
        self.next(&mut receiver, patience)
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
        let mut receiver = match self.receiver(patience) {
            Err(RecvError::Timeout { .. }) => return Ok(batch),
            taken => taken?,
        };
        while batch.len() < max {
            match self.next(&mut receiver, patience) {
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

    /// Was it closed?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.place.standing() == Standing::Closed
    }

    /// Ends it. Whoever receives from it is woken; when this returns nothing more is received. From
    /// any thread, again and again.
    pub fn close(&self) {
        self.sequencer.leave(&self.place);
        // Who was in the middle of a receive has left when the lock is ours.
        let mut receiver = self.receiver.lock();
        let dropped = receiver.inbox.clear();
        self.place.count(Counts { dropped, ..Counts::default() });
    }

    #[cfg(test)]
    pub(super) fn is_cut_off(&self) -> bool {
        self.place.standing() == Standing::CutOff
    }

    fn receiver(&self, patience: Patience) -> Result<MutexGuard<'_, Receiver<M>>, RecvError> {
        match patience.until {
            None => Ok(self.receiver.lock()),
            Some(until) => self.receiver.try_lock_until(until).ok_or_else(|| patience.over()),
        }
    }

    fn next(&self, receiver: &mut Receiver<M>, patience: Patience) -> Result<Event, RecvError> {
        loop {
            if let Some(event) = self.look(receiver)? {
                return Ok(event);
            }
            if patience.is_over() {
                return Err(patience.over());
            }
            let sequence = receiver.inbox.position().sequence;
            if !self.sequencer.wait_for_news(&self.place, sequence, patience.until) {
                return Err(RecvError::BusClosed);
            }
        }
    }

    /// The next event, if there is one.
    fn look(&self, receiver: &mut Receiver<M>) -> Result<Option<Event>, RecvError> {
        if self.place.standing() == Standing::Closed {
            return Err(RecvError::Closed);
        }
        let is_open = || self.place.standing() == Standing::Open;
        let moved = |counts, cursor| self.moved(counts, cursor);
        let event = receiver.inbox.next(is_open, moved, |_, _| None::<Infallible>)?;
        if let Some((event, _)) = event {
            let received = matches!(event, Event::Message(_)).into();
            self.place.count(Counts { received, ..Counts::default() });
            return Ok(Some(event));
        }
        match self.place.standing() {
            Standing::CutOff => Err(self.cut_off(receiver)),
            _ => Ok(None),
        }
    }

    fn moved(&self, counts: Counts, cursor: u64) {
        self.place.count(counts);
        self.place.advance(cursor);
        self.sequencer.tell_room();
    }

    fn cut_off(&self, receiver: &mut Receiver<M>) -> RecvError {
        let here = receiver.inbox.position();
        *receiver.cut_off.get_or_insert_with(|| {
            let at = Position { sequence: self.place.cut_at(), ..here };
            let missed = at.sequence.saturating_sub(here.sequence);
            self.place.count(Counts { missed, ..Counts::default() });
            RecvError::CutOff { at, patience: self.sequencer.patience(), missed }
        })
    }
}

impl<M: Memory> Drop for Subscription<M> {
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
