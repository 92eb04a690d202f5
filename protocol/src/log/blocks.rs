//! Blocks of a log's arena, for messages that fit no slot.
//!
//! [`BlockUse`] names what a slot says of its block, [`Holds`] are the words by which the readers of
//! a session keep blocks from being reused, [`Blocks`] is the writer's own book: nothing in it is
//! read from memory that others see. A message has one block or none.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use crate::disarm::is_armed;
use crate::geometry::Geometry;
use crate::layout::Hold;
use crate::limits::HOLDS;
use crate::memory::Memory;

/// One use of a block. Blocks are used again, uses are not (but after 2^32 of them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockUse {
    /// Zero-based block.
    pub block: u32,
    /// How often the block was used before.
    pub generation: u32,
}

impl BlockUse {
    /// The hold by which this subscription of a session keeps it.
    #[must_use]
    pub const fn held_by(self, subscription: u8) -> Hold {
        Hold { subscription, block: self.block, generation: self.generation }
    }

    pub(super) const fn word(self) -> u64 {
        self.block as u64 | (self.generation as u64) << 32
    }

    pub(super) const fn from_word(word: u64) -> Self {
        Self { block: word as u32, generation: (word >> 32) as u32 }
    }
}

/// The hold words in a session's `up`. The client stores them, the daemon only asks.
#[derive(Debug)]
pub struct Holds<'m, M> {
    up: &'m M,
    at: usize,
}

impl<'m, M: Memory> Holds<'m, M> {
    /// Those of a session whose first lane this is.
    #[must_use]
    pub const fn new(up: &'m M, geometry: Geometry) -> Self {
        Self { up, at: geometry.up().holds }
    }

    /// The client: stores a hold into a word that is free. It counts only after
    /// [`LogReader::read_held`](super::LogReader::read_held) has looked at the slot once more.
    pub fn store(&self, number: usize, hold: Hold) {
        self.up.store(self.word(number), hold.word());
    }

    /// The client: what was held is not read any more.
    pub fn give_back(&self, number: usize) {
        // Y, pairs with Z: all reads of the block happen before its reuse.
        self.up.store_release(self.word(number), 0);
    }

    /// The daemon: does this session hold it?
    #[must_use]
    pub fn has(&self, hold: Hold) -> bool {
        let is_held = (0..HOLDS).any(|number| self.up.load(self.word(number)) == hold.word());
        // Z, pairs with Y.
        self.up.fence(Ordering::Acquire);
        is_held && is_armed("topic.hold")
    }

    /// The daemon: does this subscription of the session hold any block?
    #[must_use]
    pub fn has_any(&self, subscription: u8) -> bool {
        (0..HOLDS).any(|number| Hold::is_by(self.up.load(self.word(number)), subscription))
    }

    const fn word(&self, number: usize) -> usize {
        assert!(number < HOLDS, "a session has fewer hold words");
        self.at + number * 8
    }
}

/// The writer's book of its blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    /// The longest used first; one that was not free goes behind all others.
    by_age: VecDeque<Used>,
}

#[derive(Clone, Copy, Debug)]
struct Used {
    of: BlockUse,
    /// The message in it; `None` before its first use.
    sequence: Option<u64>,
}

impl Blocks {
    pub(super) fn new(count: u32) -> Self {
        let unused = |block| Used { of: BlockUse { block, generation: 0 }, sequence: None };
        Self { by_age: (0..count).map(unused).collect() }
    }

    /// Is there a block that was never used, or of which `is_free` says so, given its message and its
    /// use? Nothing is taken.
    pub(super) fn any(&self, mut is_free: impl FnMut(u64, BlockUse) -> bool) -> bool {
        let mut used = self.by_age.iter();
        used.any(|used| used.sequence.is_none_or(|sequence| is_free(sequence, used.of)))
    }

    /// Takes the oldest block of which `is_free` says so, given its message and its use; each is asked
    /// for once. `None`: none is. The block is in no book until it is entered or given back.
    pub(super) fn take(
        &mut self,
        mut is_free: impl FnMut(u64, BlockUse) -> bool,
    ) -> Option<BlockUse> {
        for _ in 0..self.by_age.len() {
            let oldest = self.by_age.pop_front()?;
            let Used { mut of, sequence: before } = oldest;
            if before.is_some_and(|before| !is_free(before, of)) {
                self.by_age.push_back(oldest);
                continue;
            }
            of.generation = of.generation.wrapping_add(u32::from(before.is_some()));
            return Some(of);
        }
        None
    }

    /// It was taken, and this message is in it now.
    pub(super) fn enter(&mut self, of: BlockUse, sequence: u64) {
        self.by_age.push_back(Used { of, sequence: Some(sequence) });
    }

    /// It was taken, and no message names it.
    pub(super) fn give_back(&mut self, of: BlockUse) {
        self.by_age.push_front(Used { of, sequence: None });
    }
}
