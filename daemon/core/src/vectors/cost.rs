//! What a request will take, estimated from its sizes before it runs.
//!
//! Constants measured with `examples/vectors_latency.rs` on an AMD EPYC (1 MiB L2 a core, 32 MiB
//! L3), 134 196 x 108. They decide where a call runs, not how: wrong by half does no harm.

use std::sync::atomic::Ordering::Relaxed;

use super::change::{MOVED_PER_CHANGED, needs_rebuild};
use super::collection::Collection;
use super::index::WAY_DOWN;

/// Rows really visited for each candidate kept, by a metric that counted them.
const VISITED_PER_WIDTH: usize = 5;

/// The same while adding, with the edges that other rows get.
const VISITED_PER_WIDTH_ADDING: usize = 8;

/// Nanoseconds for a row somewhere in memory: misses and the walk's own work.
const ROW_NS: usize = 50;

/// Nanoseconds for 16 dimensions of a row.
const LINE_NS: usize = 6;

/// Nanoseconds for the next row in memory, without its dimensions.
const NEXT_ROW_NS: usize = 4;

impl Collection {
    /// Microseconds of `queries` searches that keep `width` candidates.
    pub(super) fn search_micros(&self, queries: usize, width: usize, exact: bool) -> u32 {
        let rows = self.rows();
        let nanos = if exact || rows <= 2 * width {
            rows.saturating_mul(NEXT_ROW_NS + self.line_nanos())
        } else {
            self.walk_nanos(VISITED_PER_WIDTH * width).min(rows * (ROW_NS + self.line_nanos()))
        };
        micros(nanos.saturating_mul(queries))
    }

    /// Microseconds of adding `rows` rows, which may replace others.
    pub(super) fn add_micros(&self, rows: usize, upsert: bool) -> u32 {
        let moved = self.moved_after(rows, if upsert { rows } else { 0 });
        micros(rows.saturating_add(moved).saturating_mul(self.link_nanos()))
    }

    /// Microseconds of deleting `rows` rows.
    pub(super) fn delete_micros(&self, rows: usize) -> u32 {
        let moved = self.moved_after(rows, rows).saturating_mul(self.link_nanos());
        micros(rows.saturating_mul(100).saturating_add(moved))
    }

    /// Microseconds of reading `rows` rows.
    pub(super) fn get_micros(&self, rows: usize) -> u32 {
        micros(rows.saturating_mul(100 + self.shape.dim))
    }

    /// Rows, hidden ones included.
    pub(super) fn rows(&self) -> usize {
        (self.shown.load(Relaxed) + self.hidden.load(Relaxed)) as usize
    }

    /// Rows that a change of `changed` rows which hides `more` moves in a rebuild.
    fn moved_after(&self, changed: usize, more: usize) -> usize {
        let shown = self.count() as usize;
        let left = shown.saturating_sub(more);
        if needs_rebuild(left, self.hidden.load(Relaxed) as usize + more.min(shown)) {
            left.min(changed.saturating_mul(MOVED_PER_CHANGED))
        } else {
            0
        }
    }

    fn line_nanos(&self) -> usize {
        LINE_NS * self.shape.dim.div_ceil(16)
    }

    fn walk_nanos(&self, visited: usize) -> usize {
        (WAY_DOWN + visited) * (ROW_NS + self.line_nanos())
    }

    /// The collection may grow while it adds, so its size says nothing.
    fn link_nanos(&self) -> usize {
        self.walk_nanos(VISITED_PER_WIDTH_ADDING * self.shape.ef_add)
    }
}

fn micros(nanos: usize) -> u32 {
    u32::try_from(nanos / 1000).unwrap_or(u32::MAX)
}
