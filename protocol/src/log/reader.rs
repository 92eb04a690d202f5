//! A reader of a log, with a place of its own.
//!
//! It trusts the writer, and still checks lengths: whatever stands in the memory, it never panics,
//! never reads outside a slot and never allocates more than a slot's payload. It never waits: where
//! there is nothing it says so.

use std::sync::atomic::Ordering;

use super::layout::{Envelope, Head, IDS, header, slot};
use super::{LogGeometry, LogGeometryError, Position};
use crate::memory::Memory;

/// Why memory cannot be used as a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// It does not start as a log does.
    #[error("no log: it starts with {found:#018x}, a log with {:#018x}", header::MAGIC_VALUE)]
    NotALog {
        /// The first word.
        found: u64,
    },
    /// It is smaller than its sizes say.
    #[error("{len} bytes are too few for this log: it needs {needed}")]
    Small {
        /// Bytes that are there.
        len: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// The sizes are out of range.
    #[error(transparent)]
    Geometry(#[from] LogGeometryError),
}

/// A message that is whole and makes no sense: a mistake of the writer's. The reader has gone past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogFault {
    /// SPEC B8: the payload would not fit the slot.
    #[error("message {sequence} has {len} bytes in a slot that holds {max}")]
    Length {
        /// Where.
        sequence: u64,
        /// Bytes claimed.
        len: u32,
        /// Bytes that fit.
        max: usize,
    },
    /// SPEC B8: flags that this layout does not have.
    #[error("message {sequence} has flags {flags:#x}, which nobody knows")]
    Flags {
        /// Where.
        sequence: u64,
        /// The flags.
        flags: u16,
    },
}

/// Where a reader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that the log still holds.
    Oldest,
    /// With the next message to be written: nothing of what is there.
    Newest,
    /// With this one. If it has been overwritten the first read says how many were missed.
    At(Position),
}

/// Why a reader cannot start there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeekError {
    /// The position was given by another daemon.
    #[error(
        "position {asked} is of epoch {}, this log is of epoch {here}: start from oldest or newest",
        asked.epoch
    )]
    OtherEpoch {
        /// The position asked for.
        asked: Position,
        /// The log's epoch.
        here: u64,
    },
    /// Nothing was written there yet.
    #[error("position {asked} is not written yet, the next is {next}: start from newest")]
    NotYet {
        /// The position asked for.
        asked: Position,
        /// Sequence of the next message.
        next: u64,
    },
}

/// What a reader found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// No message yet.
    Nothing,
    /// A message; its payload was copied.
    Message {
        /// Where it stands.
        position: Position,
        /// What is said of it.
        envelope: Envelope,
    },
    /// The writer has lapped the reader, which now stands at the oldest message that is left, or
    /// half a log later where it was lapped twice in a row.
    Overtaken {
        /// How many messages lie between where it stood and where it stands.
        missed: u64,
    },
}

/// A reader's side.
#[derive(Clone, Debug)]
pub struct LogReader<M> {
    memory: M,
    geometry: LogGeometry,
    epoch: u64,
    /// Position of the first message of the log.
    first: u64,
    /// Position of the next message to be read.
    next: u64,
    /// Was the last thing read that it was overtaken?
    lapped: bool,
}

impl<M: Memory> LogReader<M> {
    /// A reader that stands at the oldest message.
    ///
    /// # Errors
    /// [`LogError`]: this is no log.
    pub fn open(memory: M) -> Result<Self, LogError> {
        if memory.len() < header::RING {
            return Err(LogError::Small { len: memory.len(), needed: header::RING });
        }
        let found = memory.load_acquire(header::MAGIC);
        if found != header::MAGIC_VALUE {
            return Err(LogError::NotALog { found });
        }
        let sizes = memory.load(header::SLOTS);
        let blocks = memory.load(header::BLOCKS) as u32;
        let geometry = LogGeometry { slots: sizes as u32, stride: (sizes >> 32) as u32, blocks };
        let geometry = geometry.validated()?;
        if memory.len() < geometry.bytes() {
            return Err(LogError::Small { len: memory.len(), needed: geometry.bytes() });
        }
        let (epoch, first) = (memory.load(header::EPOCH), memory.load(header::FIRST));
        let mut reader = Self { memory, geometry, epoch, first, next: first, lapped: false };
        reader.next = reader.oldest();
        Ok(reader)
    }

    /// The log's sizes.
    #[must_use]
    pub fn geometry(&self) -> LogGeometry {
        self.geometry
    }

    /// Where the next message to be read stands.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, sequence: self.next }
    }

    /// Sequence of the next message to be written, or of a little earlier one.
    #[must_use]
    pub fn end(&self) -> u64 {
        // T, pairs with S: all messages below are visible to this reader, or overwritten.
        self.memory.load_acquire(header::NEXT)
    }

    /// Sequence of the oldest message that is left.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        let (end, slots) = (self.end(), u64::from(self.geometry.slots));
        if end.wrapping_sub(self.first) <= slots { self.first } else { end.wrapping_sub(slots) }
    }

    /// Goes elsewhere.
    ///
    /// # Errors
    /// [`SeekError`]; the reader stays where it is.
    pub fn seek(&mut self, start: Start) -> Result<(), SeekError> {
        self.next = match start {
            Start::Oldest => self.oldest(),
            Start::Newest => self.end(),
            Start::At(asked) => self.checked(asked)?,
        };
        self.lapped = false;
        Ok(())
    }

    fn checked(&self, asked: Position) -> Result<u64, SeekError> {
        if asked.epoch != self.epoch {
            return Err(SeekError::OtherEpoch { asked, here: self.epoch });
        }
        let next = self.end();
        if asked.sequence.wrapping_sub(self.first) > next.wrapping_sub(self.first) {
            return Err(SeekError::NotYet { asked, next });
        }
        Ok(asked.sequence)
    }

    /// Copies the next message, if there is one, and goes on to the one behind it. `payload` holds
    /// its payload only after [`Read::Message`].
    ///
    /// # Errors
    /// [`LogFault`]: a message that makes no sense; the reader has gone past it.
    pub fn read(&mut self, payload: &mut Vec<u8>) -> Result<Read, LogFault> {
        let at = self.geometry.slot(self.next);
        let ready = self.next.wrapping_add(1);
        // R, pairs with Q.
        let seq = self.memory.load_acquire(at + slot::SEQ);
        if seq != ready {
            return Ok(self.not_here(seq));
        }
        let mut head = Head::from_words(self.memory.load_words(at + slot::LEN));
        if head.has(IDS) {
            head = head.with_ids(self.memory.load_words(at + slot::BODY));
        }
        let len = head.len as usize;
        if len <= self.geometry.payload_bytes() {
            payload.resize(len, 0);
            self.memory.read(at + head.payload(), payload);
        }
        // P, pairs with O: if a word of the copy is newer, so is `seq`.
        self.memory.fence(Ordering::Acquire);
        let seq = self.memory.load(at + slot::SEQ);
        if seq != ready {
            return Ok(self.not_here(seq));
        }
        let position = self.position();
        (self.next, self.lapped) = (ready, false);
        self.check(head, position.sequence)?;
        Ok(Read::Message { position, envelope: head.envelope })
    }

    fn check(&self, head: Head, sequence: u64) -> Result<(), LogFault> {
        let Head { len, flags, .. } = head;
        if flags & !IDS != 0 {
            return Err(LogFault::Flags { sequence, flags });
        }
        let max = self.geometry.payload_bytes();
        if len as usize > max {
            return Err(LogFault::Length { sequence, len, max });
        }
        Ok(())
    }

    /// What a `seq` means that is not the one of the next message.
    #[cold]
    fn not_here(&mut self, seq: u64) -> Read {
        let slots = u64::from(self.geometry.slots);
        let ahead = seq.wrapping_sub(self.next);
        // Being written, or an earlier lap's; in the log of an honest writer nothing lies between.
        if ahead < slots || ahead as i64 <= 0 {
            return Read::Nothing;
        }
        // The slot holds q, or gets it: no multiple of the slots away is p + 1.
        let held = if ahead.is_multiple_of(slots) { seq } else { seq.wrapping_sub(1) };
        let missed_at_least = held.wrapping_add(1).wrapping_sub(slots).wrapping_sub(self.next);
        let missed_by_hint = self.end().wrapping_sub(slots).wrapping_sub(self.next);
        let mut missed = match missed_by_hint as i64 {
            beyond if beyond > missed_at_least as i64 => missed_by_hint,
            _ => missed_at_least,
        };
        // The oldest message is the next to be overwritten: who lost that race once tends to lose it
        // again (a writer at full speed on two busy cores, one run each: 10 598 of 40 million messages
        // read without this step, 200 008 of 32 million with it).
        if std::mem::replace(&mut self.lapped, true) {
            missed = missed.wrapping_add(slots / 2);
        }
        self.next = self.next.wrapping_add(missed);
        Read::Overtaken { missed }
    }
}
