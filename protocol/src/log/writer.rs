//! The one writer of a log.
//!
//! It never waits, never looks at a reader and never allocates. It knows nothing but what it wrote
//! itself: no word of the log is read again.

use std::sync::atomic::Ordering;

use super::layout::{Envelope, Head, IDS, LINE_WORDS, header, slot};
use super::{LogError, LogGeometry, Position};
use crate::memory::{Memory, line_words};

/// A payload does not fit a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a payload of {len} bytes: this log takes {max}, make its slots larger")]
pub struct TooLong {
    /// Bytes of the payload.
    pub len: usize,
    /// Bytes that fit.
    pub max: usize,
}

/// The writer's side.
#[derive(Debug)]
pub struct LogWriter<M> {
    memory: M,
    geometry: LogGeometry,
    epoch: u64,
    /// Position of the next message.
    next: u64,
}

impl<M: Memory> LogWriter<M> {
    /// Makes an empty log whose first message will stand at `first`. To be called before anybody
    /// else sees the memory.
    ///
    /// # Errors
    /// [`LogError`]: sizes out of range, or memory that is smaller than they need.
    pub fn create(memory: M, geometry: LogGeometry, first: Position) -> Result<Self, LogError> {
        let geometry = geometry.validated()?;
        if memory.len() < geometry.bytes() {
            return Err(LogError::Small { len: memory.len(), needed: geometry.bytes() });
        }
        for ahead in 0..u64::from(geometry.slots) {
            let position = first.sequence.wrapping_add(ahead);
            memory.store(geometry.slot(position) + slot::SEQ, position);
        }
        let sizes = u64::from(geometry.slots) | u64::from(geometry.stride) << 32;
        memory.store(header::EPOCH, first.epoch);
        memory.store(header::FIRST, first.sequence);
        memory.store(header::SLOTS, sizes);
        memory.store(header::BLOCKS, geometry.blocks.into());
        memory.store(header::NEXT, first.sequence);
        memory.store_release(header::MAGIC, header::MAGIC_VALUE);
        Ok(Self { memory, geometry, epoch: first.epoch, next: first.sequence })
    }

    /// Where the next message will stand.
    #[must_use]
    pub fn next(&self) -> Position {
        Position { epoch: self.epoch, sequence: self.next }
    }

    /// The log's sizes.
    #[must_use]
    pub fn geometry(&self) -> LogGeometry {
        self.geometry
    }

    /// The log's memory, for a reader of this process.
    #[must_use]
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Writes a message over the oldest one. Its position: whoever looks from now on finds it there.
    ///
    /// # Errors
    /// [`TooLong`]; nothing was written.
    pub fn write(&mut self, envelope: Envelope, payload: &[u8]) -> Result<Position, TooLong> {
        let max = self.geometry.payload_bytes();
        if payload.len() > max {
            return Err(TooLong { len: payload.len(), max });
        }
        let position = self.next();
        let at = self.geometry.slot(position.sequence);
        let head = Head::new(payload.len() as u32, envelope);
        // O, pairs with P: who copies a word stored below sees this when it looks again.
        self.memory.store(at + slot::SEQ, position.sequence);
        self.memory.fence(Ordering::Release);
        self.fill(at, head, payload);
        self.next = position.sequence.wrapping_add(1);
        // Q, pairs with R: the words above happen before a reader sees this one.
        self.memory.store_release(at + slot::SEQ, self.next);
        // S, pairs with T: who joins finds all messages below.
        self.memory.store_release(header::NEXT, self.next);
        Ok(position)
    }

    /// Writes all of a slot but its `seq`. The first line comes last, right before `seq`: readers
    /// poll it, and take it away from a writer who turns to another line meanwhile.
    fn fill(&self, at: usize, head: Head, payload: &[u8]) {
        let (line, rest) = if head.has(IDS) {
            (head.ids(), payload)
        } else {
            let (line, rest) = payload.split_at(payload.len().min(LINE_WORDS * 8));
            (line_words(line), rest)
        };
        if !rest.is_empty() {
            self.memory.write(at + slot::REST, rest);
        }
        let [len, timestamp, publisher] = head.words();
        let [a, b, c, d] = line;
        self.memory.store_words(at + slot::LEN, [len, timestamp, publisher, a, b, c, d]);
    }
}
