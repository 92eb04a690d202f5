//! The one writer of a log.
//!
//! It never waits and never allocates. It knows nothing but what it wrote itself: no word of the log
//! is read again. Of its readers it asks one thing, through its caller: whether a block that it is
//! about to reuse is kept.

use std::sync::atomic::Ordering;

use super::blocks::{BlockUse, Blocks};
use super::layout::{Envelope, Head, IDS, LINE_WORDS, header, slot};
use super::{LogError, LogGeometry, Position};
use crate::memory::{Memory, line_words};

/// A payload fits neither slot nor block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a payload of {len} bytes: this log takes {max}, make its slots or blocks larger")]
pub struct TooLong {
    /// Bytes of the payload.
    pub len: usize,
    /// Bytes that fit.
    pub max: usize,
}

/// Why a message was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It is too long.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// It needs a block, and all of them are kept.
    #[error(
        "subscribers hold all {held} blocks: publish again when they have read on, or make more blocks"
    )]
    Held {
        /// How many are held.
        held: u32,
    },
}

/// The writer's side.
#[derive(Debug)]
pub struct LogWriter<M> {
    memory: M,
    geometry: LogGeometry,
    epoch: u64,
    /// Position of the next message.
    next: u64,
    blocks: Blocks,
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
        let blocks = u64::from(geometry.blocks) | u64::from(geometry.block_bytes) << 32;
        memory.store(header::BLOCKS, blocks);
        memory.store(header::NEXT, first.sequence);
        memory.store_release(header::MAGIC, header::MAGIC_VALUE);
        let (epoch, next) = (first.epoch, first.sequence);
        let blocks = Blocks::new(geometry.blocks);
        Ok(Self { memory, geometry, epoch, next, blocks })
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
    /// One that does not fit a slot takes the oldest block that nobody `keeps`, and the message that was
    /// in it is gone. `keeps` is asked for a message and the use of its block: is the block held
    /// ([`Holds::has`](super::Holds::has)), or shall the message stay for another reason? Before a
    /// block is taken it is asked twice: a hold may come between.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written.
    pub fn write(
        &mut self,
        envelope: Envelope,
        payload: &[u8],
        keeps: impl FnMut(u64, BlockUse) -> bool,
    ) -> Result<Position, WriteError> {
        let (len, max) = (payload.len(), self.geometry.message_bytes());
        if len > max {
            return Err(TooLong { len, max }.into());
        }
        if len <= self.geometry.payload_bytes() {
            return Ok(self.write_in_slot(envelope, payload));
        }
        let of = self.take_block(keeps)?;
        self.memory.write_block(self.geometry.block(of.block), payload);
        Ok(self.write_taken(envelope, of, len))
    }

    /// Writes a message whose payload of so many bytes was copied into a block that was
    /// [taken](Self::take_block) for it. Its position.
    pub fn write_taken(&mut self, envelope: Envelope, of: BlockUse, len: usize) -> Position {
        self.blocks.enter(of, self.next);
        let head = Head::new(len as u32, envelope).in_block();
        self.enter(head, &of.word().to_le_bytes())
    }

    /// As [`write`](Self::write) of a payload that fits a slot: nothing is asked, and nothing refused.
    ///
    /// # Panics
    /// If it does not fit.
    #[inline(always)]
    pub fn write_in_slot(&mut self, envelope: Envelope, payload: &[u8]) -> Position {
        assert!(payload.len() <= self.geometry.payload_bytes(), "it fits a slot");
        self.enter(Head::new(payload.len() as u32, envelope), payload)
    }

    /// Writes the next slot.
    ///
    /// Inlined, as all on the way of a message: what passes through memory from one function to the next
    /// is read in other pieces than it was written in, and waits for all stores before it.
    #[inline(always)]
    fn enter(&mut self, head: Head, payload: &[u8]) -> Position {
        let position = self.next();
        let at = self.geometry.slot(position.sequence);
        // O, pairs with P: who copies a word stored below sees the mark when it looks again.
        self.memory.store(at + slot::SEQ, position.sequence);
        self.memory.fence(Ordering::Release);
        self.fill(at, head, payload);
        self.next = position.sequence.wrapping_add(1);
        // Q, pairs with R: the words above happen before a reader sees this one.
        self.memory.store_release(at + slot::SEQ, self.next);
        // S, pairs with T: who joins finds all messages below.
        self.memory.store_release(header::NEXT, self.next);
        position
    }

    /// To be called between what was written and the look at who sleeps until there is news, once for
    /// all of it (SPEC P2, P8).
    #[inline]
    pub fn before_waking(&self) {
        // AC, pairs with AD (`ring/listening.rs`): either we see a subscription listen, or it sees `next`.
        self.memory.fence(Ordering::SeqCst);
    }

    /// Is there a block for a long message: one that was never used, or that `is_free` by the message in
    /// it and its use? For who can wait with the message: nothing is taken, no reader notices.
    #[must_use]
    pub fn any_block(&self, is_free: impl FnMut(u64, BlockUse) -> bool) -> bool {
        self.blocks.any(is_free)
    }

    /// Takes a block as [`write`](Self::write) does, for who copies a long payload while others write: the
    /// message that was in it is gone, and nobody else gets it until it is [written](Self::write_taken) or
    /// [given back](Self::give_back).
    ///
    /// # Errors
    /// [`WriteError::Held`]: there is none.
    pub fn take_block(
        &mut self,
        mut keeps: impl FnMut(u64, BlockUse) -> bool,
    ) -> Result<BlockUse, WriteError> {
        let Self { memory, geometry, next, blocks, .. } = self;
        let slots = u64::from(geometry.slots);
        let is_free = |sequence: u64, of| {
            if keeps(sequence, of) {
                return false;
            }
            // If its slot is not reused yet, it says from now on that it is about to be. W, pairs
            // with X: either a reader sees that after its hold, or we see its hold.
            if next.wrapping_sub(sequence) <= slots {
                let reused = sequence.wrapping_add(slots);
                memory.store(geometry.slot(sequence) + slot::SEQ, reused);
            }
            memory.fence(Ordering::SeqCst);
            !keeps(sequence, of)
        };
        blocks.take(is_free).ok_or(WriteError::Held { held: geometry.blocks })
    }

    /// A block that was taken is not needed after all.
    pub fn give_back(&mut self, of: BlockUse) {
        self.blocks.give_back(of);
    }

    /// Writes all of a slot but its `seq`. The first line comes last, right before `seq`: readers
    /// poll it, and take it away from a writer who turns to another line meanwhile.
    #[inline(always)]
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
