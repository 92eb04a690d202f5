//! One collection: what is read from it. What changes it is in `change.rs`.
//!
//! Locks, always taken in this order: `turn` (one change at a time), `places` (id to row), `state`
//! (rows and graph). A search takes `state` only, shared; a change takes it alone for a row at a
//! time and for the moment when a whole batch is shown, which is what makes it all or none.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::{Mutex, RwLock};
use ringfence_protocol::api::vectors::CollectionStats;
use ringfence_protocol::error::Error;

use super::change::Rebuild;
use super::index::{Index, TABLE_BYTES};
use super::measure::{distance, length};
use super::memory::Meter;
use super::scan::scan;
use super::table::{HIDDEN, Table};
use super::validate::Shape;
use crate::engine::Call;

/// Rows and the graph over them.
#[derive(Debug)]
pub(super) struct State {
    pub(super) table: Table,
    pub(super) index: Index,
}

impl State {
    pub(super) fn new(shape: &Shape) -> Result<Self, Error> {
        Ok(Self { table: Table::new(shape.dim), index: Index::new(shape)? })
    }

    /// Where the row of `id` is, if there is one.
    pub(super) fn place(&self, places: &HashMap<u64, u32>, id: u64) -> Option<u32> {
        places.get(&id).copied().filter(|row| self.table.id(*row) == id)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes() + self.index.memory_bytes()
    }
}

/// Counts since the collection was made. Independent of each other, so `Relaxed`.
#[derive(Debug, Default)]
pub(super) struct Counters {
    searches: AtomicU64,
    visited: AtomicU64,
    exact_searches: AtomicU64,
    pub(super) added: AtomicU64,
    pub(super) deleted: AtomicU64,
    pub(super) rebuilds: AtomicU64,
}

/// A collection.
#[derive(Debug)]
pub(super) struct Collection {
    pub(super) shape: Shape,
    /// Whose turn it is to change something, and the rebuild under way.
    pub(super) turn: Mutex<Option<Rebuild>>,
    /// Where the row of an id is, or was: see [`State::place`].
    pub(super) places: RwLock<HashMap<u64, u32>>,
    pub(super) state: RwLock<State>,
    /// Rows shown, for whoever must not wait for `state`: estimates, `count`.
    pub(super) shown: AtomicU64,
    /// Rows hidden, likewise.
    pub(super) hidden: AtomicU64,
    pub(super) counters: Counters,
    pub(super) meter: Arc<Meter>,
    /// What `meter` has us down for.
    charged: AtomicU64,
}

/// How to search.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub(super) k: usize,
    /// Candidates kept, at least `k`.
    pub(super) width: usize,
    pub(super) exact: bool,
}

/// Answers to one query or, one after the other, to many.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) visited: u64,
    pub(super) counts: Vec<u32>,
    pub(super) ids: Vec<u64>,
    pub(super) distances: Vec<f32>,
}

impl Collection {
    pub(super) fn new(shape: Shape, meter: Arc<Meter>) -> Result<Self, Error> {
        Ok(Self {
            shape,
            turn: Mutex::new(None),
            places: RwLock::default(),
            state: RwLock::new(State::new(&shape)?),
            shown: AtomicU64::new(0),
            hidden: AtomicU64::new(0),
            counters: Counters::default(),
            meter,
            charged: AtomicU64::new(0),
        })
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> u64 {
        self.shown.load(Relaxed)
    }

    /// Appends the rows of those `ids` that exist, and for each id whether it does.
    pub(super) fn get(&self, ids: &[u64], found: &mut Vec<u8>, rows: &mut Vec<f32>) {
        let places = self.places.read();
        let state = self.state.read();
        for id in ids {
            let row = state.place(&places, *id);
            found.push(u8::from(row.is_some()));
            if let Some(row) = row {
                rows.extend_from_slice(state.table.row(row));
            }
        }
    }

    /// Appends the rows nearest to `query`, which was checked, to `answers`.
    pub(super) fn search(
        &self,
        query: &[f32],
        how: How,
        call: &Call<'_>,
        answers: &mut Answers,
    ) -> Result<(), Error> {
        let (state, metric) = (self.state.read(), self.shape.metric);
        let walked = if how.exact { None } else { state.walk(query, how)? };
        let (rows, visited) = match walked {
            Some(walked) => walked,
            None => (scan(&state.table, metric, query, how.k, call)?, state.table.len() as u64),
        };
        let length = length(query);
        let mut hits: Vec<(f32, u64)> = rows
            .into_iter()
            .map(|row| {
                let values = state.table.row(row);
                (distance(metric, query, length, values), state.table.id(row))
            })
            .collect();
        drop(state);
        hits.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        hits.truncate(how.k);
        answers.take(&hits, visited);
        let counters = &self.counters;
        if how.exact {
            counters.exact_searches.fetch_add(1, Relaxed);
        } else {
            counters.searches.fetch_add(1, Relaxed);
            counters.visited.fetch_add(visited, Relaxed);
        }
        Ok(())
    }

    /// The collection as it is now.
    pub(super) fn stats(&self) -> CollectionStats {
        let (shape, counters) = (&self.shape, &self.counters);
        CollectionStats {
            count: self.count(),
            dim: shape.dim as u32,
            metric: shape.metric as u8,
            connectivity: shape.connectivity as u32,
            ef_add: shape.ef_add as u32,
            ef_search: shape.ef_search as u32,
            capacity: self.state.read().index.capacity() as u64,
            memory_bytes: self.charged.load(Relaxed),
            searches: counters.searches.load(Relaxed),
            visited: counters.visited.load(Relaxed),
            exact_searches: counters.exact_searches.load(Relaxed),
            added: counters.added.load(Relaxed),
            deleted: counters.deleted.load(Relaxed),
        }
    }

    /// About how many bytes `rows` further rows will take: each twice, once in the table and once
    /// in the graph, with its edges, its id and its place.
    pub(super) fn bytes_of(&self, rows: usize) -> u64 {
        let values = self.shape.dim * size_of::<f32>();
        let edges = (2 * self.shape.connectivity + 4) * size_of::<u32>();
        (rows * (2 * values + edges + TABLE_BYTES + size_of::<u64>() + 2 * PLACE_BYTES)) as u64
    }

    /// Tells the meter and the estimates how things stand after a change.
    pub(super) fn settle(&self, rebuild: Option<&Rebuild>) {
        let places = self.places.read().capacity() * PLACE_BYTES;
        let state = self.state.read();
        let fresh = rebuild.map_or(0, |rebuild| rebuild.state.memory_bytes());
        let now = (places + state.memory_bytes() + fresh) as u64;
        self.meter.settle(self.charged.swap(now, Relaxed), now);
        self.shown.store(state.table.shown() as u64, Relaxed);
        self.hidden.store(state.table.hidden() as u64, Relaxed);
    }
}

/// Bytes of an id and its place in a hash map: a pair of 16 and a control byte.
const PLACE_BYTES: usize = 17;

impl Drop for Collection {
    fn drop(&mut self) {
        self.meter.settle(*self.charged.get_mut(), 0);
    }
}

impl State {
    /// Candidates found by way of the graph, and how many rows were visited. `None` if it is
    /// better, or the only way to find as many as there are, to look at every row.
    fn walk(&self, query: &[f32], how: How) -> Result<Option<(Vec<u32>, u64)>, Error> {
        let (rows, shown) = (self.table.len(), self.table.shown());
        // A walk this wide meets nearly every row anyway; one among so many tombstones too.
        if rows <= 2 * how.width || 2 * shown < rows {
            return Ok(None);
        }
        let visible = |row| shown == rows || self.table.id(row) != HIDDEN;
        let (found, visited) = self.index.search(query, how.width, visible)?;
        if found.len() < how.k.min(shown) {
            return Ok(None);
        }
        let nearest = found.into_iter().take(how.k).map(|row| row as u32);
        Ok(Some((nearest.collect(), visited)))
    }
}

impl Answers {
    fn take(&mut self, hits: &[(f32, u64)], visited: u64) {
        self.visited += visited;
        self.counts.push(hits.len() as u32);
        self.distances.extend(hits.iter().map(|hit| hit.0));
        self.ids.extend(hits.iter().map(|hit| hit.1));
    }
}
