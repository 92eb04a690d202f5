//! The rows of a collection and their ids, side by side, in order of arrival.
//!
//! A row's place never changes. It is born hidden and shown later, together with all rows of its
//! batch; deleting hides it again. A hidden row stays where it is, as a stepping stone in the
//! graph, until the collection is built anew.

use std::collections::TryReserveError;

/// The id of a row that nobody may see. Callers cannot use it.
pub(super) const HIDDEN: u64 = u64::MAX;

/// Rows of one block. Blocks do not move: nobody waits while millions of rows are copied, as they
/// would be whenever one large array grows.
const BLOCK_ROWS: usize = 1024;

/// Rows and ids.
#[derive(Debug)]
pub(super) struct Table {
    dim: usize,
    blocks: Vec<Vec<f32>>,
    ids: Vec<u64>,
    shown: usize,
}

impl Table {
    pub(super) fn new(dim: usize) -> Self {
        Self { dim, blocks: Vec::new(), ids: Vec::new(), shown: 0 }
    }

    /// Rows, hidden ones included.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Rows that are not hidden.
    pub(super) fn shown(&self) -> usize {
        self.shown
    }

    /// Rows that are hidden.
    pub(super) fn hidden(&self) -> usize {
        self.ids.len() - self.shown
    }

    /// Adds a hidden row and returns its place. Nothing has changed if there is no memory.
    pub(super) fn push(&mut self, values: &[f32]) -> Result<u32, TryReserveError> {
        let row = self.ids.len();
        self.ids.try_reserve(1)?;
        self.blocks.try_reserve(1)?;
        if row / BLOCK_ROWS == self.blocks.len() {
            self.blocks.push(Vec::new());
        }
        let block = &mut self.blocks[row / BLOCK_ROWS];
        block.try_reserve(self.dim)?;
        block.extend_from_slice(values);
        self.ids.push(HIDDEN);
        Ok(row as u32)
    }

    /// Gives a hidden row its id.
    pub(super) fn show(&mut self, row: u32, id: u64) {
        let old = std::mem::replace(&mut self.ids[row as usize], id);
        self.shown += usize::from(old == HIDDEN);
    }

    /// Hides a row.
    pub(super) fn hide(&mut self, row: u32) {
        let old = std::mem::replace(&mut self.ids[row as usize], HIDDEN);
        self.shown -= usize::from(old != HIDDEN);
    }

    /// The id of a row, [`HIDDEN`] if it is hidden.
    #[inline]
    pub(super) fn id(&self, row: u32) -> u64 {
        self.ids[row as usize]
    }

    /// The values of a row.
    #[inline]
    pub(super) fn row(&self, row: u32) -> &[f32] {
        let (block, at) = (row as usize / BLOCK_ROWS, row as usize % BLOCK_ROWS);
        &self.blocks[block][at * self.dim..][..self.dim]
    }

    /// Bytes that rows and ids take, room for further ones included.
    pub(super) fn memory_bytes(&self) -> usize {
        let values: usize = self.blocks.iter().map(Vec::capacity).sum();
        values * size_of::<f32>() + self.ids.capacity() * size_of::<u64>()
    }
}
