//! Where sizes that somebody else named become trusted, and the offsets that follow from them.
//!
//! A [`Geometry`] lives in private memory on both sides; nothing in it is ever read again from a
//! segment (SPEC R1). Its two maps, [`Up`] and [`Down`], are running sums: no offset is typed twice.
//! What the words mean, who writes them and when, is in [`crate::layout`].

use crate::layout::{ENTRY_BYTES, LINE};
use crate::limits;

/// The sizes of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Geometry {
    /// Slots of each of the two rings, a power of two; also the credit C.
    pub slots: u32,
    /// Blocks of the request arena in `up`.
    pub up_blocks: u32,
    /// Blocks of the reply arena in `down`.
    pub down_blocks: u32,
}

/// Why sizes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// Slots out of range.
    #[error("{slots} slots: a ring takes a power of two from {} to {}", limits::SLOTS.start(), limits::SLOTS.end())]
    Slots {
        /// How many were asked for.
        slots: u32,
    },
    /// Blocks out of range.
    #[error("{blocks} arena blocks: an arena takes {} to {} of 4096 bytes", limits::BLOCKS.start(), limits::BLOCKS.end())]
    Blocks {
        /// How many were asked for.
        blocks: u32,
    },
}

impl Default for Geometry {
    fn default() -> Self {
        Self {
            slots: limits::DEFAULT_SLOTS,
            up_blocks: limits::DEFAULT_BLOCKS,
            down_blocks: limits::DEFAULT_BLOCKS,
        }
    }
}

impl Geometry {
    /// The same sizes, if they are within limits.
    ///
    /// # Errors
    /// [`GeometryError`] with the numbers.
    pub fn validated(self) -> Result<Self, GeometryError> {
        if !self.slots.is_power_of_two() || !limits::SLOTS.contains(&self.slots) {
            return Err(GeometryError::Slots { slots: self.slots });
        }
        for blocks in [self.up_blocks, self.down_blocks] {
            if !limits::BLOCKS.contains(&blocks) {
                return Err(GeometryError::Blocks { blocks });
            }
        }
        Ok(self)
    }

    /// The offsets of `up`.
    #[must_use]
    pub const fn up(self) -> Up {
        let cancel = 4 * LINE;
        let release = cancel + self.slots as usize * 8;
        let cursors = (release + (self.down_blocks as usize + limits::BULK_SEGMENTS) * 8)
            .next_multiple_of(LINE);
        let holds = cursors + limits::SUBSCRIPTIONS * 8;
        let ring = self.ring_behind(holds + limits::HOLDS * 8);
        let arena = ring.end().next_multiple_of(limits::BLOCK_BYTES);
        Up {
            cancel,
            release,
            cursors,
            holds,
            ring,
            arena,
            len: arena + self.up_blocks as usize * limits::BLOCK_BYTES,
        }
    }

    /// The offsets of `down`.
    #[must_use]
    pub const fn down(self) -> Down {
        let lease = 6 * LINE;
        let entries = (lease + (self.down_blocks as usize + limits::BULK_SEGMENTS) * 16)
            .next_multiple_of(LINE);
        let ring = self.ring_behind(entries + self.slots as usize * ENTRY_BYTES);
        let arena = ring.end().next_multiple_of(limits::BLOCK_BYTES);
        Down {
            lease,
            entries,
            ring,
            arena,
            len: arena + self.down_blocks as usize * limits::BLOCK_BYTES,
        }
    }

    const fn ring_behind(self, end: usize) -> Slots {
        let mask = (self.slots as usize - 1) * limits::STRIDE;
        Slots { first: end.next_multiple_of(limits::STRIDE), mask }
    }
}

/// Where the slots of a ring lie in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    first: usize,
    /// Of what a position times a slot's bytes is, the offset of its slot from the first.
    mask: usize,
}

impl Slots {
    /// The slot of a position.
    #[inline(always)]
    #[must_use]
    pub const fn at(self, position: u64) -> usize {
        self.first + ((position as usize).wrapping_mul(limits::STRIDE) & self.mask)
    }

    /// Behind the last one.
    #[must_use]
    pub const fn end(self) -> usize {
        self.first + self.mask + limits::STRIDE
    }
}

/// Offsets in `up`, which the client writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Up {
    /// A cancel word per in-flight entry.
    pub cancel: usize,
    /// A release word per lease.
    pub release: usize,
    /// A cursor per subscription of the session.
    pub cursors: usize,
    /// The session's holds.
    pub holds: usize,
    /// The submission ring.
    pub ring: Slots,
    /// The request arena.
    pub arena: usize,
    /// Bytes of the segment.
    pub len: usize,
}

/// Offsets in `down`, which the daemon writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Down {
    /// {generation, ticket} per lease.
    pub lease: usize,
    /// The in-flight table.
    pub entries: usize,
    /// The completion ring.
    pub ring: Slots,
    /// The reply arena.
    pub arena: usize,
    /// Bytes of the segment.
    pub len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_lane_fits_the_memory_goal() {
        // P9: at most 256 KiB per default session.
        let geometry = Geometry::default();
        assert!(geometry.up().len + geometry.down().len <= 256 * 1024);
    }

    #[test]
    fn sizes_outside_are_refused_with_their_number() {
        let with =
            |slots, blocks| Geometry { slots, up_blocks: blocks, down_blocks: 1 }.validated();
        for slots in [0, 4, 100, 8192, u32::MAX] {
            assert_eq!(with(slots, 1), Err(GeometryError::Slots { slots }));
        }
        for blocks in [0, 65, u32::MAX] {
            assert_eq!(with(8, blocks), Err(GeometryError::Blocks { blocks }));
        }
        assert!(with(8, 64).is_ok() && with(4096, 1).is_ok());
    }

    #[test]
    fn ranges_follow_one_another_without_overlap() {
        for slots in [8, 128, 4096] {
            let geometry = Geometry { slots, up_blocks: 3, down_blocks: 64 };
            let (up, down) = (geometry.up(), geometry.down());
            assert!(
                up.cancel < up.release
                    && up.release < up.cursors
                    && up.cursors < up.holds
                    && up.holds < up.ring.at(0)
                    && up.ring.end() <= up.arena
                    && up.arena < up.len
            );
            assert!(
                down.lease < down.entries
                    && down.entries < down.ring.at(0)
                    && down.ring.end() <= down.arena
            );
            assert_eq!(up.holds - up.cursors, limits::SUBSCRIPTIONS * 8);
            assert!(up.ring.at(0) - up.holds >= limits::HOLDS * 8);
            assert_eq!(up.len - up.arena, 3 * 4096);
            assert_eq!(down.len - down.arena, 64 * 4096);
        }
    }
}
