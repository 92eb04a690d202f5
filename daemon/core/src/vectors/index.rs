//! The graph: a narrow door to usearch, by row numbers instead of ids.
//!
//! Row numbers are never used twice, so usearch's own `remove` (whose slots are used again in the
//! middle of the graph, with old edges still leading there) is not needed: a row that must not be
//! found is kept out by `visible`, and goes when the collection is built anew.
//!
//! Rules of usearch 2.26, read in its source:
//! * `add` rewrites neighbour lists that a search reads without a lock: adding takes `&mut self`.
//! * `reserve` exchanges tables without a lock, and its failure may be silent: likewise, and the
//!   capacity is looked at afterwards.
//! * More searches at a time than reserved threads are an error: a gate lets only so many in.
//! * How many candidates a search keeps is a field of the index, but never less than the number of
//!   rows asked for: so the field is 1 and each search asks for as many rows as it wants kept.
//! * How many distances a search computed is counted but not handed out. Known is each *candidate*,
//!   a row that was near enough to go on from, because `visible` is asked about it. A distance is
//!   computed for the neighbours of candidates only, but not for all of them. So every
//!   [`SAMPLE_EVERY`]th search counts the neighbours of all its candidates, each once; from it and
//!   the number of its own candidates every search gets its *upper estimate* of rows visited. A
//!   metric of our own that counts would be exact, but is handed raw pointers: it needs `unsafe`.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use parking_lot::{Condvar, Mutex};
use ringfence_protocol::api::vectors::Metric;
use ringfence_protocol::error::{Error, ErrorCode};
use usearch::{IndexOptions, MetricKind, ScalarKind};

use super::refusal::Refusal;
use super::stream::Stream;
use super::validate::Shape;

/// Rows that the first reservation makes room for.
const FIRST_CAPACITY: usize = 64;

/// Bytes of usearch's tables for each row of its capacity: node and vector pointers, and a pair of
/// key and slot at most half of whose places are taken.
pub(super) const TABLE_BYTES: usize = 8 + 8 + 2 * 16;

/// One search in so many counts the neighbours of its candidates: that doubles its time, and must
/// stay rare enough not to show in a 99th percentile.
const SAMPLE_EVERY: u32 = 256;

/// Rows visited on the upper levels, on the way down to the ground level where candidates are
/// known.
pub(super) const WAY_DOWN: usize = 150;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Hands `search` a copy of `query` that starts with a cache line. A query is read again for each row that
/// is visited, by loads as wide as a line; where it lies in a message, every one of them would touch two.
fn on_a_line<T>(query: &[f32], search: impl FnOnce(&[f32]) -> T) -> T {
    thread_local! {
        static ROOM: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    const SLACK: usize = LINE / size_of::<f32>();
    ROOM.with_borrow_mut(|room| {
        room.resize(room.len().max(query.len() + SLACK), 0.0);
        // `align_offset` may give up, never in practice; a query that is not aligned is slower only.
        let start = room.as_ptr().align_offset(LINE).min(SLACK);
        let copy = &mut room[start..start + query.len()];
        copy.copy_from_slice(query);
        search(copy)
    })
}

/// A graph over rows.
pub(super) struct Index {
    inner: usearch::Index,
    threads: usize,
    free: Mutex<usize>,
    freed: Condvar,
    /// Searches since the last sample.
    unsampled: AtomicU32,
    /// Rows next to candidates for each candidate, in the last sample: an f32.
    spread: AtomicU32,
}

/// Rows found, nearest first, and how many were visited at most.
pub(super) type Walked = (Vec<u64>, u64);

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("rows", &self.inner.size()).finish_non_exhaustive()
    }
}

impl Index {
    /// A graph without rows.
    pub(super) fn new(shape: &Shape) -> Result<Self, Error> {
        let options = IndexOptions {
            dimensions: shape.dim,
            metric: match shape.metric {
                Metric::L2 => MetricKind::L2sq,
                Metric::Cosine => MetricKind::Cos,
                Metric::Dot => MetricKind::IP,
            },
            quantization: ScalarKind::F32,
            connectivity: shape.connectivity,
            expansion_add: shape.ef_add,
            expansion_search: 1,
            multi: false,
        };
        let inner = usearch::Index::new(&options).map_err(failed)?;
        let threads = std::thread::available_parallelism().map_or(4, usize::from).clamp(4, 64);
        Ok(Self {
            inner,
            threads,
            free: Mutex::new(threads),
            freed: Condvar::new(),
            unsampled: AtomicU32::new(SAMPLE_EVERY),
            spread: AtomicU32::new(0),
        })
    }

    /// The graph as usearch writes it, with its rows; nothing if there are none.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let rows = self.inner.size();
        let mut bytes = Vec::new();
        if rows > 0 {
            let length = self.inner.serialized_length();
            bytes.try_reserve_exact(length).map_err(|_| Refusal::Allocation { rows })?;
            bytes.resize(length, 0);
            self.inner.save_to_buffer(&mut bytes).map_err(failed)?;
        }
        Ok(bytes)
    }

    /// The graph that was written so.
    pub(super) fn from_stream(shape: &Shape, stream: &Stream<'_>) -> Result<Self, Error> {
        let mut index = Self::new(shape)?;
        let rows = stream.count();
        if rows == 0 {
            return Ok(index);
        }
        // usearch does not look whether it got the memory that it reads a row into.
        let mut probe: Vec<u8> = Vec::new();
        let bytes = stream.bytes.len() + rows * TABLE_BYTES;
        probe.try_reserve_exact(bytes).map_err(|_| Refusal::Allocation { rows })?;
        drop(probe);
        index.inner.load_from_buffer(stream.bytes).map_err(failed)?;
        if index.inner.size() != rows {
            return Err(failed(format_args!("{rows} rows became {}", index.inner.size())));
        }
        // It has room for the rows, and for one thread.
        index.reserve(index.inner.capacity().max(rows))?;
        Ok(index)
    }

    /// Links a row. If that fails the row may or may not be found later; its number is spent.
    pub(super) fn add(&mut self, row: u32, values: &[f32]) -> Result<(), Error> {
        let size = self.inner.size();
        if size == self.inner.capacity() {
            self.reserve((2 * size).max(FIRST_CAPACITY))?;
            // What was sampled in a much smaller graph says little about this one.
            *self.unsampled.get_mut() = SAMPLE_EVERY;
        }
        self.inner.add(u64::from(row), values).map_err(failed)
    }

    /// Makes room for `rows` rows in all.
    fn reserve(&mut self, rows: usize) -> Result<(), Error> {
        self.inner.reserve_capacity_and_threads(rows, self.threads).map_err(failed)?;
        if self.inner.capacity() < rows {
            return Err(failed(format_args!("out of memory for {rows} rows")));
        }
        Ok(())
    }

    /// The `width` visible rows nearest to `query`. `visible` must not panic.
    pub(super) fn search(
        &self,
        query: &[f32],
        width: usize,
        visible: impl Fn(u32) -> bool,
    ) -> Result<Walked, Error> {
        let _pass = self.enter();
        if self.unsampled.fetch_add(1, Relaxed) >= SAMPLE_EVERY {
            return self.sample(query, width, visible);
        }
        let candidates = Cell::new(0);
        let matches = on_a_line(query, |query| {
            self.inner.filtered_search(query, width, |row| {
                candidates.set(candidates.get() + 1);
                visible(row as u32)
            })
        });
        let spread = f32::from_bits(self.spread.load(Relaxed));
        let next_to = candidates.get() as f32 * spread;
        Ok((matches.map_err(failed)?.keys, self.visited(next_to as usize)))
    }

    #[cold]
    fn sample(
        &self,
        query: &[f32],
        width: usize,
        visible: impl Fn(u32) -> bool,
    ) -> Result<Walked, Error> {
        let candidates = RefCell::new(Vec::new());
        let matches = self.inner.filtered_search(query, width, |row| {
            candidates.borrow_mut().push(row);
            visible(row as u32)
        });
        let candidates = candidates.into_inner();
        let mut next_to: HashSet<u64> = candidates.iter().copied().collect();
        for row in &candidates {
            next_to.extend(self.inner.neighbors(*row, 0));
        }
        let spread = next_to.len() as f32 / candidates.len().max(1) as f32;
        self.spread.store(spread.to_bits(), Relaxed);
        self.unsampled.store(0, Relaxed);
        Ok((matches.map_err(failed)?.keys, self.visited(next_to.len())))
    }

    fn visited(&self, next_to: usize) -> u64 {
        (next_to + WAY_DOWN).min(self.inner.size()) as u64
    }

    fn enter(&self) -> Pass<'_> {
        let mut free = self.free.lock();
        while *free == 0 {
            self.freed.wait(&mut free);
        }
        *free -= 1;
        Pass(self)
    }

    /// Rows that fit before tables grow.
    pub(super) fn capacity(&self) -> usize {
        self.inner.capacity()
    }

    /// Bytes that the graph and its copy of the rows take.
    pub(super) fn memory_bytes(&self) -> usize {
        let stats = self.inner.memory_stats();
        // Reserved is what usearch has mapped but not touched yet.
        let graph = stats.graph_allocated.saturating_sub(stats.graph_reserved);
        let vectors = stats.vectors_allocated.saturating_sub(stats.vectors_reserved);
        graph + vectors + self.inner.capacity() * TABLE_BYTES
    }
}

/// Leave to search, given back when dropped.
struct Pass<'i>(&'i Index);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}

/// What usearch says, as our error.
#[cold]
fn failed(what: impl fmt::Display) -> Error {
    let what = what.to_string();
    let memory = ["memory", "alloc"].iter().any(|word| what.to_lowercase().contains(word));
    if memory {
        let text = format!("the index gets no memory ({what}): delete rows or drop a collection");
        return Error::new(ErrorCode::OutOfMemory, text);
    }
    Error::new(ErrorCode::Algorithm, format!("the index failed: {what}; drop the collection"))
}
