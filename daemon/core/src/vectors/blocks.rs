//! A growing array of equally long items that never moves what lies in it by more than one block.
//!
//! A plain `Vec` of 100 million rows copies them all when it grows, and whoever searches waits. Here
//! items lie in blocks of a fixed number of bytes; only the first block grows by doubling, so that a
//! small collection stays small.

use std::collections::TryReserveError;

/// Bytes of one block: large enough for huge pages and long scans, small enough that copying the
/// first one as it grows (about 0.4 ms) holds nobody up.
const BLOCK_BYTES: usize = 4 << 20;

/// Items of `stride` elements each.
#[derive(Debug)]
pub(super) struct Blocks<T> {
    blocks: Vec<Vec<T>>,
    stride: usize,
    /// Items of one block, as a power of two.
    shift: u32,
    len: usize,
}

impl<T: Clone> Blocks<T> {
    /// No items yet; each will have `stride` (at least 1) elements.
    pub(super) fn new(stride: usize) -> Self {
        let per_block = (BLOCK_BYTES / (stride * size_of::<T>())).max(1);
        Self { blocks: Vec::new(), stride, shift: per_block.ilog2(), len: 0 }
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The elements of item `at`.
    #[inline(always)]
    pub(super) fn get(&self, at: usize) -> &[T] {
        let (block, start) = self.place(at);
        &self.blocks[block][start..start + self.stride]
    }

    /// The elements of item `at`, to be changed.
    pub(super) fn get_mut(&mut self, at: usize) -> &mut [T] {
        let (block, start) = self.place(at);
        &mut self.blocks[block][start..start + self.stride]
    }

    #[inline(always)]
    fn place(&self, at: usize) -> (usize, usize) {
        (at >> self.shift, (at & ((1 << self.shift) - 1)) * self.stride)
    }

    /// Makes room for one more item, so that the next [`push`](Self::push) does not allocate.
    pub(super) fn reserve(&mut self) -> Result<(), TryReserveError> {
        let (block, start) = self.place(self.len);
        if block == self.blocks.len() {
            self.blocks.try_reserve(1)?;
            let mut fresh = Vec::new();
            if block > 0 {
                fresh.try_reserve_exact(self.stride << self.shift)?;
            }
            self.blocks.push(fresh);
        }
        let block = &mut self.blocks[block];
        debug_assert_eq!(block.len(), start);
        block.try_reserve(self.stride)
    }

    /// Adds one item.
    pub(super) fn push(&mut self, item: &[T]) -> Result<(), TryReserveError> {
        debug_assert_eq!(item.len(), self.stride);
        self.reserve()?;
        let (block, _) = self.place(self.len);
        self.blocks[block].extend_from_slice(item);
        self.len += 1;
        Ok(())
    }

    /// Bytes that the items take, room for further ones included.
    pub(super) fn memory_bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.capacity() * size_of::<T>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stay_what_they_are_across_blocks() {
        let stride = BLOCK_BYTES / 8 / 3; // two items a block of u64
        let mut blocks: Blocks<u64> = Blocks::new(stride);
        for item in 0..7u64 {
            blocks.push(&vec![item; stride]).unwrap();
        }
        assert_eq!(blocks.len(), 7);
        assert_eq!(blocks.blocks.len(), 4);
        for item in 0..7 {
            assert_eq!(blocks.get(item).len(), stride);
            assert!(blocks.get(item).iter().all(|value| *value == item as u64));
        }
        blocks.get_mut(3)[0] = 99;
        assert_eq!((blocks.get(3)[0], blocks.get(2)[0], blocks.get(4)[0]), (99, 2, 4));
        assert!(blocks.memory_bytes() >= 7 * stride * 8);
    }

    #[test]
    fn a_small_collection_stays_small() {
        let mut blocks: Blocks<u8> = Blocks::new(64);
        blocks.push(&[0; 64]).unwrap();
        assert!(blocks.memory_bytes() < 1024);
    }
}
