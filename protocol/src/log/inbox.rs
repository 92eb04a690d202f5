//! A subscription's reading side: a log, and if it asked for one a bounded store of its own.
//!
//! Invariant: for each subscription the messages received, missed and dropped are all that was
//! published since its start, exactly. The same code serves subscriptions of this process and of
//! others. It does *not* wait, nor does it tell anybody how far it is: its owner does both.

use super::buffer::Buffer;
use super::{BlockUse, Envelope, InPlace, LogFault, LogReader, Position, Read, Short};
use crate::limits;
use crate::memory::Memory;

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

/// Where a subscription keeps what it has not handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// In the topic's log only. What is lost is what the log overwrites.
    InLog,
    /// In a buffer of its own, filled at each receive; if that is full its oldest message is dropped.
    DropOldest {
        /// Messages of the buffer.
        buffer: usize,
    },
    /// In a buffer of its own, filled at each receive; if that is full the new message is dropped.
    DropNewest {
        /// Messages of the buffer.
        buffer: usize,
    },
}

/// A buffer that no subscription can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a buffer of {messages} messages: use {} to {}",
    limits::BUFFERED.start(),
    limits::BUFFERED.end()
)]
pub struct BufferError {
    /// How many messages were asked for.
    pub messages: usize,
}

impl Keep {
    /// The same, if its buffer is within limits.
    ///
    /// # Errors
    /// [`BufferError`] with the numbers.
    pub fn validated(self) -> Result<Self, BufferError> {
        match self {
            Keep::DropOldest { buffer: messages } | Keep::DropNewest { buffer: messages }
                if !limits::BUFFERED.contains(&messages) =>
            {
                Err(BufferError { messages })
            }
            keep => Ok(keep),
        }
    }
}

/// What became of the messages published since a subscription's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handed out.
    pub received: u64,
    /// Overwritten before they were read, or published and not read when it was cut off.
    pub missed: u64,
    /// Read, and dropped from its buffer or instead of entering it.
    pub dropped: u64,
}

/// An event, and where its payload lies if it is held.
pub type Found<H> = (Event, Option<InPlace<H>>);

/// A log's reader with its store.
#[derive(Debug)]
pub struct Inbox<M> {
    log: LogReader<M>,
    buffer: Buffer,
    payload: Vec<u8>,
}

impl<M: Memory> Inbox<M> {
    /// Delivers what the reader finds from where it stands.
    #[must_use]
    pub fn new(log: LogReader<M>, keep: Keep) -> Self {
        Self { log, buffer: Buffer::new(keep), payload: Vec::new() }
    }

    /// Where the next message to be read from the log stands.
    #[must_use]
    pub fn position(&self) -> Position {
        self.log.position()
    }

    /// Reads from the log what the store may hold: one event, or all that was published when it was
    /// called, however fast more comes. After each step `moved` hears what became of messages, and
    /// where the reader stands; it reads on only while `may_go_on`.
    ///
    /// # Errors
    /// [`LogFault`]: a message that makes no sense, counted as missed.
    pub fn fill(
        &mut self,
        may_go_on: impl Fn() -> bool,
        mut moved: impl FnMut(Counts, u64),
    ) -> Result<(), LogFault> {
        // The log's end is a line that every publish changes: not looked at for one event.
        let reads_ahead = self.buffer.reads_ahead();
        let end = if reads_ahead { self.log.end() } else { 0 };
        while may_go_on() {
            let wanted = if reads_ahead {
                // Sequences wrap.
                end.wrapping_sub(self.log.position().sequence) as i64 > 0
            } else {
                self.buffer.is_empty()
            };
            if !wanted || !self.read_one(&mut moved)? {
                break;
            }
        }
        Ok(())
    }

    /// Would [`next`](Self::next) find something? A look for who waits.
    #[inline]
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.buffer.is_empty() || self.log.is_ready()
    }

    /// The next message straight from the log, if it is short and nothing is stored. `None` says nothing:
    /// [`next`](Self::next) knows more. See [`LogReader::read_short`].
    #[inline(always)]
    pub fn next_short(&mut self) -> Option<Short> {
        if self.is_buffered() { None } else { self.log.read_short() }
    }

    /// Does what comes next come from the store?
    #[inline(always)]
    fn is_buffered(&self) -> bool {
        self.buffer.reads_ahead() || !self.buffer.is_empty()
    }

    /// The next event, if there is one: what is stored, or what the log holds. See [`fill`](Self::fill).
    /// A message in a block is read in place if the caller can `hold` it (see
    /// [`LogReader::read_held`]) and no store is between; then its payload here is empty.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    #[inline]
    pub fn next<H>(
        &mut self,
        may_go_on: impl Fn() -> bool,
        mut moved: impl FnMut(Counts, u64),
        hold: impl FnOnce(BlockUse, usize) -> Option<H>,
    ) -> Result<Option<Found<H>>, LogFault> {
        if self.is_buffered() {
            self.fill(may_go_on, moved)?;
            return Ok(self.buffer.pop().map(|event| (event, None)));
        }
        if !may_go_on() {
            return Ok(None);
        }
        // Nothing is stored: straight from the log, into memory that the message keeps.
        let read = self.log.read_held(&mut self.payload, hold);
        let here = self.log.position().sequence;
        match read {
            Ok((Read::Nothing, _)) => Ok(None),
            Ok((Read::Overtaken { missed }, _)) => {
                moved(Counts { missed, ..Counts::default() }, here);
                Ok(Some((Event::Overtaken { missed }, None)))
            }
            Ok((Read::Message { position, envelope }, in_place)) => {
                moved(Counts::default(), here);
                let payload = match in_place {
                    None => std::mem::take(&mut self.payload).into_boxed_slice(),
                    Some(_) => Box::default(),
                };
                Ok(Some((Event::Message(Message { position, envelope, payload }), in_place)))
            }
            Err(fault) => {
                moved(Counts { missed: 1, ..Counts::default() }, here);
                Err(fault)
            }
        }
    }

    /// `false`: there is nothing.
    fn read_one(&mut self, moved: &mut impl FnMut(Counts, u64)) -> Result<bool, LogFault> {
        let read = self.log.read(&mut self.payload);
        let mut counts = Counts::default();
        match read {
            Ok(Read::Nothing) => return Ok(false),
            Ok(Read::Overtaken { missed }) => {
                self.buffer.miss(missed);
                counts.missed = missed;
            }
            Ok(Read::Message { position, envelope }) => {
                let payload = self.payload.as_slice().into();
                counts.dropped = self.buffer.push(Message { position, envelope, payload });
            }
            Err(_) => counts.missed = 1,
        }
        moved(counts, self.log.position().sequence);
        read.map(|_| true)
    }

    /// Is there something in the log that was not read? For who is about to sleep: it sees what was
    /// published before the sleep was announced.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.log.end() != self.log.position().sequence
    }

    /// What comes next.
    pub fn pop(&mut self) -> Option<Event> {
        self.buffer.pop()
    }

    /// Throws away what was read and not handed out; how many messages that were.
    pub fn clear(&mut self) -> u64 {
        self.buffer.clear()
    }
}
