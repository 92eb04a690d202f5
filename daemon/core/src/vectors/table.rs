//! The rows of a collection and their ids, side by side, in order of arrival.
//!
//! A row's place never changes. It is born hidden and shown later, together with all rows of its
//! batch; deleting hides it again. A hidden row stays where it is, as a stepping stone in the graph,
//! until the collection is built anew.

use std::collections::TryReserveError;

use super::blocks::Blocks;

/// The id of a row that nobody may see. Callers cannot use it.
pub(super) const HIDDEN: u64 = u64::MAX;

/// Rows and ids.
#[derive(Debug)]
pub(super) struct Table {
    rows: Blocks<f32>,
    ids: Blocks<u64>,
    shown: usize,
}

impl Table {
    pub(super) fn new(dim: usize) -> Self {
        Self { rows: Blocks::new(dim), ids: Blocks::new(1), shown: 0 }
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

    /// Adds a hidden row and returns its place.
    pub(super) fn push(&mut self, values: &[f32]) -> Result<u32, TryReserveError> {
        let place = self.ids.len() as u32;
        self.ids.reserve()?;
        self.rows.push(values)?;
        self.ids.push(&[HIDDEN])?;
        Ok(place)
    }

    /// Gives a hidden row its id.
    pub(super) fn show(&mut self, row: u32, id: u64) {
        let slot = &mut self.ids.get_mut(row as usize)[0];
        self.shown += usize::from(*slot == HIDDEN);
        *slot = id;
    }

    /// Hides a row.
    pub(super) fn hide(&mut self, row: u32) {
        let slot = &mut self.ids.get_mut(row as usize)[0];
        self.shown -= usize::from(*slot != HIDDEN);
        *slot = HIDDEN;
    }

    /// The id of a row, [`HIDDEN`] if it is hidden.
    #[inline]
    pub(super) fn id(&self, row: u32) -> u64 {
        self.ids.get(row as usize)[0]
    }

    /// The values of a row.
    #[inline]
    pub(super) fn row(&self, row: u32) -> &[f32] {
        self.rows.get(row as usize)
    }

    /// Bytes that rows and ids take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes() + self.ids.memory_bytes()
    }
}
