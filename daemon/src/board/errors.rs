//! The log of distinct errors: which rows, and which one makes room. Private memory only.
//!
//! Invariant: at most as many rows as the board has, found by a linear search, so the effort per
//! error is bounded whatever clients provoke.

use ringfence_protocol::board::{ErrorRow, Text};

use crate::logging::escape;

/// Bytes of an error's text on the board.
const TEXT_BYTES: usize = 192;

#[derive(Debug)]
pub(super) struct ErrorLog {
    rows: Vec<ErrorRow>,
    capacity: usize,
}

/// The row to show.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) index: usize,
    pub(super) row: ErrorRow,
    /// Whether another error made room.
    pub(super) evicted: bool,
}

impl ErrorLog {
    pub(super) fn new(capacity: usize) -> Self {
        Self { rows: Vec::with_capacity(capacity), capacity }
    }

    /// Counts an error; nothing only if there is no room for any.
    pub(super) fn note(&mut self, code: u32, text: &str, now_ns: u64) -> Option<Noted> {
        let text = Text::<TEXT_BYTES>::new(&escape(text, TEXT_BYTES));
        let same = |row: &ErrorRow| row.code == u64::from(code) && row.text == text;
        if let Some(index) = self.rows.iter().position(same) {
            let row = &mut self.rows[index];
            row.count += 1;
            // Clocks can be set back; a row must not look older for being hit again.
            row.last_seen_ns = row.last_seen_ns.max(now_ns);
            return Some(Noted { index, row: *row, evicted: false });
        }
        let row = ErrorRow::new(code, text, now_ns);
        if self.rows.len() < self.capacity {
            self.rows.push(row);
            return Some(Noted { index: self.rows.len() - 1, row, evicted: false });
        }
        let index = (0..self.rows.len()).min_by_key(|index| self.rows[*index].last_seen_ns)?;
        self.rows[index] = row;
        Some(Noted { index, row, evicted: true })
    }
}
