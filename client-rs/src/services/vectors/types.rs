//! What goes into and comes out of the vectors engine, in owned Rust types.

use ringfence_protocol::api::vectors::Metric;

use super::CollectionHandle;

/// A collection that is to be made.
///
/// ```
/// use ringfence::vectors::{Collection, Metric};
/// let docs = Collection::new(384).metric(Metric::Cosine).ef_search(64);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Collection {
    pub(super) dim: u32,
    pub(super) metric: Metric,
    pub(super) exist_ok: bool,
    pub(super) connectivity: u32,
    pub(super) ef_add: u32,
    pub(super) ef_search: u32,
}

impl Collection {
    /// Of vectors of so many dimensions, compared by squared Euclidean distance.
    pub fn new(dim: u32) -> Self {
        let metric = Metric::default();
        Self { dim, metric, exist_ok: false, connectivity: 0, ef_add: 0, ef_search: 0 }
    }

    /// How distance is measured.
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// That it exists already, with equal dimensions and metric, is no error.
    pub fn exist_ok(mut self) -> Self {
        self.exist_ok = true;
        self
    }

    /// Edges a node in the graph; 0 is the engine's default.
    pub fn connectivity(mut self, edges: u32) -> Self {
        self.connectivity = edges;
        self
    }

    /// Candidates kept while a vector is added; 0 is the engine's default.
    pub fn ef_add(mut self, candidates: u32) -> Self {
        self.ef_add = candidates;
        self
    }

    /// Candidates kept while searching, if a search does not say; 0 is the engine's default.
    pub fn ef_search(mut self, candidates: u32) -> Self {
        self.ef_search = candidates;
        self
    }
}

/// How to search.
///
/// ```
/// use ringfence::vectors::Search;
/// let search = Search { exact: true, ..Search::nearest(10) };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// How many, 1 to 10 000; fewer come back if fewer exist.
    pub k: u32,
    /// Candidates kept while searching, 0 is the collection's.
    pub ef: u32,
    /// Look at every row.
    pub exact: bool,
}

impl Search {
    /// The nearest `k`, by the collection's own settings.
    #[must_use]
    pub fn nearest(k: u32) -> Self {
        Self { k, ef: 0, exact: false }
    }
}

impl From<u32> for Search {
    fn from(k: u32) -> Self {
        Self::nearest(k)
    }
}

/// What an add did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Rows that are new.
    pub added: u64,
    /// Rows that replaced one of the same id.
    pub updated: u64,
}

/// Rows as they were put in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Dimensions of each row.
    pub dim: u32,
    /// For each id asked for: does it exist?
    pub found: Vec<bool>,
    /// The rows that exist, one after the other.
    pub rows: Vec<f32>,
}

/// The nearest rows, nearest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hits {
    /// Their ids.
    pub ids: Vec<u64>,
    /// Their distances.
    pub distances: Vec<f32>,
    /// Rows whose distance was computed.
    pub visited: u64,
}

/// The nearest rows of each of many queries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchHits {
    /// Hits of each query.
    pub counts: Vec<u32>,
    /// Ids, query after query, nearest first.
    pub ids: Vec<u64>,
    /// Their distances.
    pub distances: Vec<f32>,
    /// Rows whose distance was computed, over all queries.
    pub visited: u64,
}

/// What a save wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Rows.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What a load read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The collection.
    pub collection: CollectionHandle,
    /// Rows.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Dimensions of each row.
    pub dim: u32,
    /// How distance is measured.
    pub metric: Metric,
}

/// A collection and what was done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectionStats {
    /// Rows.
    pub count: u64,
    /// Dimensions of each row.
    pub dim: u32,
    /// How distance is measured.
    pub metric: Metric,
    /// Edges a node in the graph.
    pub connectivity: u32,
    /// Candidates kept while a vector is added.
    pub ef_add: u32,
    /// Candidates kept while searching by default.
    pub ef_search: u32,
    /// Rows that fit before the index grows.
    pub capacity: u64,
    /// Bytes that index and rows take.
    pub memory_bytes: u64,
    /// Queries answered by the graph.
    pub searches: u64,
    /// Rows whose distance these computed.
    pub visited: u64,
    /// Queries answered exactly.
    pub exact_searches: u64,
    /// Rows added since the collection was made, replaced ones included.
    pub added: u64,
    /// Rows deleted since the collection was made.
    pub deleted: u64,
}
