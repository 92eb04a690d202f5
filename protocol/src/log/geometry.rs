//! Where the sizes of a log become trusted, and the offsets that follow from them.
//!
//! A [`LogGeometry`] lives in private memory on both sides; a reader takes it from the header once,
//! when it opens the log, and never again (SPEC R1).

use super::layout::{header, slot};
use crate::limits;
use crate::memory::Memory;

/// The sizes of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogGeometry {
    /// Slots, a power of two: how many messages the log holds.
    pub slots: u32,
    /// Bytes of a slot.
    pub stride: u32,
    /// Blocks of the arena; with none no message is longer than a slot.
    pub blocks: u32,
    /// Bytes of a block; 0 if there are none.
    pub block_bytes: u32,
}

/// Why sizes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogGeometryError {
    /// Slots out of range.
    #[error(
        "{slots} slots: a log takes a power of two from {} to {}",
        limits::LOG_SLOTS.start(),
        limits::LOG_SLOTS.end()
    )]
    Slots {
        /// How many were asked for.
        slots: u32,
    },
    /// Stride out of range.
    #[error(
        "slots of {stride} bytes: use a multiple of {} from {} to {}",
        limits::LOG_STRIDE_STEP,
        limits::LOG_STRIDES.start(),
        limits::LOG_STRIDES.end()
    )]
    Stride {
        /// How many were asked for.
        stride: u32,
    },
    /// Blocks out of range.
    #[error("{blocks} arena blocks: a log takes {} to {}", limits::LOG_BLOCKS.start(), limits::LOG_BLOCKS.end())]
    Blocks {
        /// How many were asked for.
        blocks: u32,
    },
    /// Bytes of a block out of range.
    #[error(
        "blocks of {block_bytes} bytes: use a multiple of {} from {} to {}, and 0 without blocks",
        limits::BLOCK_BYTES,
        limits::LOG_BLOCK_BYTES.start(),
        limits::LOG_BLOCK_BYTES.end()
    )]
    BlockBytes {
        /// How many were asked for.
        block_bytes: u32,
    },
    /// All together are too many bytes.
    #[error(
        "a log of {bytes} bytes: at most {} are allowed, use fewer or smaller slots and blocks",
        limits::LOG_BYTES
    )]
    Bytes {
        /// How many it would have.
        bytes: usize,
    },
}

impl Default for LogGeometry {
    fn default() -> Self {
        let (slots, stride) = (limits::DEFAULT_LOG_SLOTS, limits::DEFAULT_LOG_STRIDE);
        Self { slots, stride, blocks: 0, block_bytes: 0 }
    }
}

impl LogGeometry {
    /// Slots that hold payloads of so many bytes, with ids or without, and no blocks.
    ///
    /// # Errors
    /// [`LogGeometryError`] with the numbers.
    pub fn for_payloads(slots: u32, payload_bytes: usize) -> Result<Self, LogGeometryError> {
        let wanted = payload_bytes.saturating_add(slot::REST);
        let stride = u32::try_from(wanted)
            .ok()
            .and_then(|bytes| bytes.checked_next_multiple_of(limits::LOG_STRIDE_STEP))
            .unwrap_or(u32::MAX)
            .max(*limits::LOG_STRIDES.start());
        Self { slots, stride, blocks: 0, block_bytes: 0 }.validated()
    }

    /// The same sizes, if they are within limits.
    ///
    /// # Errors
    /// [`LogGeometryError`] with the numbers.
    pub fn validated(self) -> Result<Self, LogGeometryError> {
        let Self { slots, stride, blocks, block_bytes } = self;
        if !slots.is_power_of_two() || !limits::LOG_SLOTS.contains(&slots) {
            return Err(LogGeometryError::Slots { slots });
        }
        if !stride.is_multiple_of(limits::LOG_STRIDE_STEP) || !limits::LOG_STRIDES.contains(&stride)
        {
            return Err(LogGeometryError::Stride { stride });
        }
        if !limits::LOG_BLOCKS.contains(&blocks) {
            return Err(LogGeometryError::Blocks { blocks });
        }
        let is_block = block_bytes.is_multiple_of(limits::BLOCK_BYTES as u32)
            && limits::LOG_BLOCK_BYTES.contains(&block_bytes);
        if (blocks > 0 && !is_block) || (blocks == 0 && block_bytes != 0) {
            return Err(LogGeometryError::BlockBytes { block_bytes });
        }
        if self.bytes() > limits::LOG_BYTES {
            return Err(LogGeometryError::Bytes { bytes: self.bytes() });
        }
        Ok(self)
    }

    /// Payload bytes that fit a slot, with ids or without.
    #[must_use]
    pub const fn payload_bytes(self) -> usize {
        self.stride as usize - slot::REST
    }

    /// Bytes of the longest payload, in a slot or in a block.
    #[must_use]
    pub const fn message_bytes(self) -> usize {
        let (slot, block) = (self.payload_bytes(), self.block_bytes as usize);
        if slot > block { slot } else { block }
    }

    /// Offset of the slot that a position lies in.
    #[inline]
    #[must_use]
    pub const fn slot(self, position: u64) -> usize {
        header::RING + (position as usize & (self.slots as usize - 1)) * self.stride as usize
    }

    /// Asks for the lines of the slot that a position lies in, for who is about to write it and has something to do
    /// before: they come meanwhile. (Asked for long before, they are taken away again by readers who look.)
    #[inline]
    pub fn prefetch_slot(self, memory: &impl Memory, position: u64) {
        let at = self.slot(position);
        memory.prefetch_write(at + slot::REST);
        // The line that readers poll comes last.
        memory.prefetch_write(at + slot::SEQ);
    }

    /// Offset of the arena.
    #[must_use]
    pub const fn arena(self) -> usize {
        let end = header::RING + self.slots as usize * self.stride as usize;
        end.next_multiple_of(limits::BLOCK_BYTES)
    }

    /// Offset of a block; of the end, if there are no more.
    #[must_use]
    pub const fn block(self, block: u32) -> usize {
        self.arena() + block as usize * self.block_bytes as usize
    }

    /// Bytes of the log.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.block(self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_outside_are_refused_with_their_number() {
        let all = |slots, stride, blocks, block_bytes| {
            LogGeometry { slots, stride, blocks, block_bytes }.validated()
        };
        let with = |slots, stride| all(slots, stride, 0, 0);
        for slots in [0, 1, 3, 1 << 21, u32::MAX] {
            assert_eq!(with(slots, 256), Err(LogGeometryError::Slots { slots }));
        }
        for stride in [0, 64, 80, 200, 65_600, u32::MAX] {
            assert_eq!(with(2, stride), Err(LogGeometryError::Stride { stride }));
        }
        let blocks = 65_537;
        assert_eq!(all(2, 128, blocks, 4096), Err(LogGeometryError::Blocks { blocks }));
        for (blocks, block_bytes) in
            [(0, 4096), (1, 0), (1, 2048), (1, 4097), (1, 512 << 20), (1, u32::MAX)]
        {
            let refused = Err(LogGeometryError::BlockBytes { block_bytes });
            assert_eq!(all(2, 128, blocks, block_bytes), refused);
        }
        let bytes = (256 + (1_usize << 36)).next_multiple_of(4096);
        assert_eq!(with(1 << 20, 1 << 16), Err(LogGeometryError::Bytes { bytes }));
        let bytes = 4096 + (1 << 30);
        assert_eq!(all(2, 128, 4, 256 << 20), Err(LogGeometryError::Bytes { bytes }));
        assert!(with(2, 128).is_ok() && LogGeometry::default().validated().is_ok());
    }

    #[test]
    fn blocks_lie_behind_the_slots_and_take_what_slots_do_not() {
        let sizes = LogGeometry { slots: 2, stride: 128, blocks: 3, block_bytes: 8192 };
        let starts = [0, 1, 2, 3].map(|block| sizes.block(block));
        assert_eq!(starts, [4096, 12_288, 20_480, 28_672]);
        assert_eq!((sizes.arena(), sizes.bytes()), (starts[0], starts[3]));
        assert_eq!((sizes.payload_bytes(), sizes.message_bytes()), (64, 8192));
        let wide = LogGeometry { stride: 65_536, ..sizes };
        assert_eq!(wide.message_bytes(), 65_472);
        assert_eq!(LogGeometry::default().message_bytes(), 192);
    }

    #[test]
    fn slots_are_made_as_large_as_their_payloads() {
        let stride = |bytes| LogGeometry::for_payloads(8, bytes).map(|sizes| sizes.stride);
        assert_eq!((stride(0), stride(64), stride(65)), (Ok(128), Ok(128), Ok(192)));
        for bytes in [0, 1, 192, 4096, 65_472] {
            let sizes = LogGeometry::for_payloads(8, bytes).unwrap();
            assert!(sizes.payload_bytes() >= bytes && sizes.payload_bytes() < bytes + 128);
        }
        assert!(stride(65_473).is_err() && stride(usize::MAX).is_err());
    }
}
