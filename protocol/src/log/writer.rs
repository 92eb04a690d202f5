//! The one writer of a log.
//!
//! It never waits, never looks at a reader and never allocates. It knows nothing but what it wrote
//! itself: no word of the log is read again.

use std::sync::atomic::Ordering;

use super::layout::{Envelope, Head, header, slot};
use super::{LogError, LogGeometry, Position};
use crate::memory::Memory;

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
        let len = payload.len() as u32;
        let head = Head { position: position.sequence, len, flags: 0, block: 0, envelope };
        // O, pairs with P: who copies a word stored below sees this when it looks again.
        self.memory.store(at + slot::SEQ, position.sequence);
        self.memory.fence(Ordering::Release);
        self.memory.store_words(at + slot::POSITION, head.words());
        self.memory.write(at + slot::PAYLOAD, payload);
        self.next = position.sequence.wrapping_add(1);
        // Q, pairs with R: the words above happen before a reader sees this one.
        self.memory.store_release(at + slot::SEQ, self.next);
        // S, pairs with T: who joins finds all messages below.
        self.memory.store_release(header::NEXT, self.next);
        Ok(position)
    }
}
