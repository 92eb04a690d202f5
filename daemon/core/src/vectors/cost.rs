//! What a request will take, estimated from its sizes before it runs.
//!
//! Constants measured with `examples/vectors_latency.rs` on an AMD EPYC (AVX-512, 1 MiB L2 a core,
//! 32 MiB L3), 134 196 x 108. They decide where a call runs, not how: wrong by half does no harm.

use super::change::needs_rebuild;
use super::collection::Collection;

/// Rows that a walk visits beside those that its width makes it visit: the way down.
const WAY_DOWN: usize = 150;

/// Rows visited for each candidate kept.
const VISITED_PER_WIDTH: usize = 6;

/// Nanoseconds for a row somewhere in memory: misses and the walk's own work.
const ROW_NS: usize = 50;

/// Nanoseconds for 16 dimensions of a row somewhere in memory.
const LINE_NS: usize = 6;

/// Nanoseconds for 16 dimensions of the next row in memory.
const NEXT_LINE_NS: usize = 2;

impl Collection {
    /// Microseconds of `queries` searches that keep `width` candidates.
    pub(super) fn search_micros(&self, queries: usize, width: usize, exact: bool) -> u32 {
        let rows = self.rows();
        let lines = self.shape.dim.div_ceil(16);
        let nanos = if exact || rows <= 2 * width {
            rows.saturating_mul(4 + NEXT_LINE_NS * lines)
        } else {
            self.walk_nanos(width)
        };
        micros(nanos.saturating_mul(queries))
    }

    /// Microseconds of adding `rows` rows, which may replace others.
    pub(super) fn add_micros(&self, rows: usize, upsert: bool) -> u32 {
        let rebuild = if upsert { self.rebuild_after(rows) } else { 0 };
        let rows = rows.saturating_add(rebuild);
        micros(rows.saturating_mul(self.link_nanos()))
    }

    /// Microseconds of deleting `rows` rows.
    pub(super) fn delete_micros(&self, rows: usize) -> u32 {
        let rebuild = self.rebuild_after(rows).saturating_mul(self.link_nanos());
        micros(rows.saturating_mul(100).saturating_add(rebuild))
    }

    /// Microseconds of reading `rows` rows.
    pub(super) fn get_micros(&self, rows: usize) -> u32 {
        micros(rows.saturating_mul(100 + self.shape.dim))
    }

    fn rows(&self) -> usize {
        use std::sync::atomic::Ordering::Relaxed;
        (self.shown.load(Relaxed) + self.hidden.load(Relaxed)) as usize
    }

    /// Rows linked anew if `more` are hidden.
    fn rebuild_after(&self, more: usize) -> usize {
        let shown = self.count() as usize;
        let hidden = self.rows() - shown.min(self.rows());
        let left = shown.saturating_sub(more);
        if needs_rebuild(left, hidden + more.min(shown)) { left } else { 0 }
    }

    /// A walk that keeps `width` candidates.
    fn walk_nanos(&self, width: usize) -> usize {
        let visited = (WAY_DOWN + VISITED_PER_WIDTH * width).min(self.rows().max(1));
        visited * (ROW_NS + LINE_NS * self.shape.dim.div_ceil(16))
    }

    /// A walk that links a row; the collection may grow while it adds, so its size says nothing.
    fn link_nanos(&self) -> usize {
        let visited = WAY_DOWN + VISITED_PER_WIDTH * self.shape.ef_add;
        visited * (ROW_NS + LINE_NS * self.shape.dim.div_ceil(16))
    }
}

fn micros(nanos: usize) -> u32 {
    u32::try_from(nanos / 1000).unwrap_or(u32::MAX)
}
