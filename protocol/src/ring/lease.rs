//! Reply memory that a client holds: the daemon's private record of it.
//!
//! Each lease has a number: a run of arena blocks goes by its first block, bulk segment n by
//! `down_blocks + n - 1`. Before a completion names a lease, {generation, ticket} stand in `down`; the
//! client gives it back by copying the generation into its own word. Free if and only if equal: a
//! forged word can only free what its forger holds. The words are read only when memory is needed.
//!
//! To the client a generation is opaque. In it are a count, so that no two leases of a number look
//! alike, and the pages held, so that the successor of a killed daemon knows what is still lent out:
//! without that it would write new answers over views that the client is reading.

use crate::disarm::is_armed;
use crate::geometry::{Down, Geometry, Up};
use crate::limits::{BLOCK_BYTES, BULK_SEGMENTS};
use crate::memory::Memory;
use crate::ring::{Blocks, RecoveryError};

/// Bits of a generation that hold the pages of `BLOCK_BYTES` bytes; the count is above them. Enough
/// for 64 GiB, far above `PAYLOAD_BYTES`.
const PAGE_BITS: u32 = 24;

/// The ticket of a lease that no answer will ever name. No position: `position + 1` is never 0.
const NOBODY: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, Default)]
struct Lease {
    /// As in `down`.
    generation: u64,
    /// Bytes held, 0 = free.
    bytes: u64,
}

/// The leases of one lane.
#[derive(Debug)]
pub struct Leases {
    arena: Blocks,
    arena_blocks: u32,
    leases: Vec<Lease>,
    up: Up,
    down: Down,
}

impl Leases {
    /// Nothing held.
    #[must_use]
    pub fn new(geometry: Geometry) -> Self {
        Self {
            arena: Blocks::new(geometry.down_blocks),
            arena_blocks: geometry.down_blocks,
            leases: vec![Lease::default(); geometry.down_blocks as usize + BULK_SEGMENTS],
            up: geometry.up(),
            down: geometry.down(),
        }
    }

    /// What a dead daemon had lent out: leases of answered tickets that were not given back. Those of
    /// unanswered tickets are void, so that the call can run again and answer from other blocks.
    ///
    /// # Errors
    /// [`RecoveryError::Lease`] if a lease runs over the arena's end or into another.
    pub(super) fn recover(
        up: &impl Memory,
        down: &impl Memory,
        geometry: Geometry,
        is_answered: impl Fn(u64) -> bool,
    ) -> Result<Self, RecoveryError> {
        let mut leases = Self::new(geometry);
        for number in 0..leases.leases.len() {
            let at = leases.down.lease + number * 16;
            let (generation, ticket) = (down.load_acquire(at), down.load(at + 8));
            leases.leases[number].generation = generation;
            // N: what the client read of the block happened before we write it again.
            let given_back = up.load_acquire(leases.up.release + number * 8) == generation;
            if generation == 0 || given_back || ticket == NOBODY {
                continue;
            }
            if is_answered(ticket) {
                leases.hold_again(number, generation)?;
            } else {
                down.store_release(at + 8, NOBODY);
            }
        }
        Ok(leases)
    }

    fn hold_again(&mut self, number: usize, generation: u64) -> Result<(), RecoveryError> {
        let pages = generation & ((1 << PAGE_BITS) - 1);
        let in_arena = number < self.arena_blocks as usize;
        if pages == 0 || in_arena && !self.arena.take_at(number as u32, pages as u32) {
            return Err(RecoveryError::Lease { number, pages });
        }
        self.leases[number].bytes = pages * BLOCK_BYTES as u64;
        Ok(())
    }

    /// Takes a run of reply blocks for `len` bytes that answer `ticket`: its first block. Looks at
    /// the client's release words only if nothing is free.
    pub fn take_blocks(
        &mut self,
        up: &impl Memory,
        down: &impl Memory,
        len: usize,
        ticket: u64,
    ) -> Option<u32> {
        let run = Blocks::needed(len);
        let first = match self.arena.take(run) {
            Some(first) => first,
            None => {
                self.reclaim(up);
                self.arena.take(run)?
            }
        };
        self.record(down, first as usize, u64::from(run) * BLOCK_BYTES as u64, ticket);
        Some(first)
    }

    /// Records bulk segment `segment` (from 1) of `bytes` bytes as held for `ticket`.
    ///
    /// # Panics
    /// If there is no such segment, or it is held: a bug of the pool's owner.
    pub fn take_bulk(&mut self, down: &impl Memory, segment: u32, bytes: u64, ticket: u64) {
        let number = self.bulk_number(segment);
        assert!(self.leases[number].bytes == 0, "bulk segment {segment} is held");
        self.record(down, number, bytes, ticket);
    }

    /// Is bulk segment `segment` still held by the client?
    pub fn bulk_is_held(&mut self, up: &impl Memory, segment: u32) -> bool {
        let number = self.bulk_number(segment);
        self.settle(up, number);
        self.leases[number].bytes != 0
    }

    /// Bytes of reply memory that the client has not given back.
    pub fn leased_bytes(&mut self, up: &impl Memory) -> u64 {
        self.reclaim(up);
        self.leases.iter().map(|lease| lease.bytes).sum()
    }

    /// How many leases the client holds.
    #[must_use]
    pub fn count(&self) -> usize {
        self.leases.iter().filter(|lease| lease.bytes != 0).count()
    }

    fn bulk_number(&self, segment: u32) -> usize {
        assert!((1..=BULK_SEGMENTS as u32).contains(&segment), "no bulk segment {segment}");
        (self.arena_blocks + segment - 1) as usize
    }

    fn record(&mut self, down: &impl Memory, number: usize, bytes: u64, ticket: u64) {
        let lease = &mut self.leases[number];
        let count = (lease.generation >> PAGE_BITS).wrapping_add(1);
        lease.generation = count << PAGE_BITS | bytes.div_ceil(BLOCK_BYTES as u64);
        lease.bytes = bytes;
        // Published by the completion that names the lease (C). The ticket first: a kill in between
        // must not leave a new generation with an old ticket, which nobody would ever give back.
        down.store(self.down.lease + number * 16 + 8, ticket);
        down.store_release(self.down.lease + number * 16, lease.generation);
    }

    fn reclaim(&mut self, up: &impl Memory) {
        for number in 0..self.leases.len() {
            self.settle(up, number);
        }
    }

    fn settle(&mut self, up: &impl Memory, number: usize) {
        let lease = &mut self.leases[number];
        // N: what the client read of the block happened before we write it again.
        let given_back = || up.load_acquire(self.up.release + number * 8) == lease.generation;
        if lease.bytes != 0 && (given_back() || !is_armed("lease")) {
            if number < self.arena_blocks as usize {
                self.arena.give_back(number as u32, (lease.bytes / BLOCK_BYTES as u64) as u32);
            }
            lease.bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Heap;

    #[test]
    fn only_the_exact_generation_frees() {
        let geometry = Geometry { slots: 8, up_blocks: 1, down_blocks: 4 };
        let (up, down) = (Heap::new(geometry.up().len), Heap::new(geometry.down().len));
        let mut leases = Leases::new(geometry);
        assert_eq!(leases.take_blocks(&up, &down, 3 * BLOCK_BYTES, 7), Some(0));
        assert_eq!(leases.take_blocks(&up, &down, 2 * BLOCK_BYTES, 8), None);
        let generation = down.load(geometry.down().lease);
        assert_eq!(generation, 1 << PAGE_BITS | 3);
        assert_eq!(down.load(geometry.down().lease + 8), 7);
        up.store(geometry.up().release, generation + (1 << PAGE_BITS)); // forged
        assert_eq!(leases.take_blocks(&up, &down, 2 * BLOCK_BYTES, 8), None);
        up.store(geometry.up().release, generation);
        assert_eq!(leases.take_blocks(&up, &down, 2 * BLOCK_BYTES, 8), Some(0));
        assert_eq!(leases.leased_bytes(&up), 2 * BLOCK_BYTES as u64);
    }

    #[test]
    fn a_successor_holds_what_was_answered_and_frees_the_rest() {
        let geometry = Geometry { slots: 8, up_blocks: 1, down_blocks: 4 };
        let (up, down) = (Heap::new(geometry.up().len), Heap::new(geometry.down().len));
        let mut dead = Leases::new(geometry);
        assert_eq!(dead.take_blocks(&up, &down, 2 * BLOCK_BYTES, 7), Some(0));
        assert_eq!(dead.take_blocks(&up, &down, 1, 8), Some(2));
        dead.take_bulk(&down, 64, 5 * BLOCK_BYTES as u64, 7);
        let mut next = Leases::recover(&up, &down, geometry, |ticket| ticket == 7).unwrap();
        assert_eq!(next.leased_bytes(&up), 7 * BLOCK_BYTES as u64);
        assert_eq!(next.take_blocks(&up, &down, 2 * BLOCK_BYTES, 9), Some(2), "8 was not answered");
        assert_eq!(next.take_blocks(&up, &down, 1, 9), None);
        up.store(geometry.up().release, down.load(geometry.down().lease));
        assert_eq!(next.take_blocks(&up, &down, 2 * BLOCK_BYTES, 9), Some(0));
        assert!(next.bulk_is_held(&up, 64));
        // A forged release word can make two leases overlap: that session ends, nobody panics.
        let third = Leases::recover(&up, &down, geometry, |_| true);
        assert!(third.is_ok());
        down.store(geometry.down().lease + 16, 1 << PAGE_BITS | 1);
        let overlap = Leases::recover(&up, &down, geometry, |_| true);
        assert!(matches!(overlap, Err(RecoveryError::Lease { number: 1, pages: 1 })));
    }
}
