//! `vectors`: named collections of f32 vectors with u64 ids, nearest neighbours by HNSW or exactly.
//!
//! Distances, smaller is nearer: `l2` is the *squared* Euclidean distance, `cosine` is
//! 1 - cos(a, b), `dot` is 1 - a.b (usearch's inner-product distance).
//!
//! `visited` is the number of rows whose distance was computed. Exact searches know it. A search by
//! graph gives an upper estimate, usually 1.5 to 2 times the true number: usearch does not hand its
//! own count out, so one search in 256 counts the rows next to all that it went on from, and the
//! others are scaled from it by how many they went on from themselves.

use crate::message;
use crate::schema::{EngineSchema, MethodSchema};

/// The engine's name.
pub const NAME: &str = "vectors";

/// Number of `create`.
pub const CREATE: u16 = 0;
/// Number of `drop`.
pub const DROP: u16 = 1;
/// Number of `list`.
pub const LIST: u16 = 2;
/// Number of `add`.
pub const ADD: u16 = 3;
/// Number of `get`.
pub const GET: u16 = 4;
/// Number of `delete`.
pub const DELETE: u16 = 5;
/// Number of `search`.
pub const SEARCH: u16 = 6;
/// Number of `search_batch`.
pub const SEARCH_BATCH: u16 = 7;
/// Number of `count`.
pub const COUNT: u16 = 8;
/// Number of `stats`.
pub const STATS: u16 = 9;
/// Number of `save`.
pub const SAVE: u16 = 10;
/// Number of `load`.
pub const LOAD: u16 = 11;

/// How distance is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Metric {
    /// Squared Euclidean distance.
    #[default]
    L2 = 0,
    /// 1 - cos(a, b). Vectors of length zero are refused.
    Cosine = 1,
    /// 1 - a.b
    Dot = 2,
}

impl Metric {
    /// The metric with this number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Metric::L2),
            1 => Some(Metric::Cosine),
            2 => Some(Metric::Dot),
            _ => None,
        }
    }

    /// The metric of this name: `l2`, `cosine` or `dot`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "l2" => Some(Metric::L2),
            "cosine" => Some(Metric::Cosine),
            "dot" => Some(Metric::Dot),
            _ => None,
        }
    }

    /// The metric's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Metric::L2 => "l2",
            Metric::Cosine => "cosine",
            Metric::Dot => "dot",
        }
    }
}

message! {
    /// Make a collection.
    pub struct Create<'a> {
        /// Dimensions of each vector, 1 to 4096.
        dim: u32,
        /// Number of a [`Metric`].
        metric: u8,
        /// If the collection exists with equal `dim` and `metric`, that is no error.
        exist_ok: bool,
        /// Edges a node in the graph (HNSW's M), 0 = default.
        connectivity: u32,
        /// Candidates kept while a vector is added, 0 = default.
        ef_add: u32,
        /// Candidates kept while searching if the search does not say, 0 = default.
        ef_search: u32,
        /// Its name, 1 to 64 bytes, no control characters.
        name: &'a str,
    }
}

message! {
    /// Names a collection.
    pub struct Collection<'a> {
        /// Its name.
        collection: &'a str,
    }
}

message! {
    /// Names of collections.
    pub struct Names<'a> {
        /// Sorted, separated by newlines.
        names: &'a str,
    }
}

message! {
    /// Add rows, all or none.
    pub struct Add<'a> {
        /// Replace rows whose id exists; otherwise such an id is an error.
        upsert: bool,
        /// Where to.
        collection: &'a str,
        /// An id a row; 2^64 - 1 is reserved.
        ids: &'a [u64],
        /// The rows one after the other, `ids.len() * dim` numbers.
        rows: &'a [f32],
    }
}

message! {
    /// What an `add` did.
    pub struct Added {
        /// Rows that are new.
        added: u64,
        /// Rows that replaced one of the same id.
        updated: u64,
    }
}

message! {
    /// Names rows.
    pub struct Ids<'a> {
        /// Where.
        collection: &'a str,
        /// Which.
        ids: &'a [u64],
    }
}

message! {
    /// Rows as they were put in.
    pub struct Rows<'a> {
        /// Dimensions of each row.
        dim: u32,
        /// For each id asked for, 1 if it exists.
        found: &'a [u8],
        /// The rows that exist, one after the other.
        rows: &'a [f32],
    }
}

message! {
    /// A number of rows.
    pub struct Count {
        /// How many.
        count: u64,
    }
}

message! {
    /// Look for the nearest rows.
    pub struct Search<'a> {
        /// How many, 1 to 10 000; fewer come back if fewer exist.
        k: u32,
        /// Candidates kept while searching, 0 = the collection's; raised to `k`.
        ef: u32,
        /// Look at every row.
        exact: bool,
        /// Where.
        collection: &'a str,
        /// One vector of the collection's dimensions.
        query: &'a [f32],
    }
}

message! {
    /// The nearest rows, nearest first.
    pub struct Hits<'a> {
        /// Rows whose distance was computed; by graph an upper estimate (see above).
        visited: u64,
        /// Their ids.
        ids: &'a [u64],
        /// Their distances.
        distances: &'a [f32],
    }
}

message! {
    /// Look for the nearest rows of each of many vectors.
    pub struct SearchBatch<'a> {
        /// How many of each, 1 to 10 000.
        k: u32,
        /// Candidates kept while searching, 0 = the collection's; raised to `k`.
        ef: u32,
        /// Look at every row.
        exact: bool,
        /// Where.
        collection: &'a str,
        /// The vectors one after the other.
        queries: &'a [f32],
    }
}

message! {
    /// The nearest rows of each query, query after query, nearest first.
    pub struct BatchHits<'a> {
        /// Rows whose distance was computed, over all queries; by graph an upper estimate.
        visited: u64,
        /// Hits of each query (at most `k`).
        counts: &'a [u32],
        /// Their ids.
        ids: &'a [u64],
        /// Their distances.
        distances: &'a [f32],
    }
}

message! {
    /// A collection and what was done with it.
    pub struct CollectionStats {
        /// Rows.
        count: u64,
        /// Dimensions of each row.
        dim: u32,
        /// Number of a [`Metric`].
        metric: u8,
        /// Edges a node in the graph.
        connectivity: u32,
        /// Candidates kept while a vector is added.
        ef_add: u32,
        /// Candidates kept while searching by default.
        ef_search: u32,
        /// Rows that fit before the index grows.
        capacity: u64,
        /// Bytes that index and rows take.
        memory_bytes: u64,
        /// Queries answered by the graph.
        searches: u64,
        /// Rows whose distance these computed, an upper estimate.
        visited: u64,
        /// Queries answered exactly.
        exact_searches: u64,
        /// Rows added, replaced ones included, since the collection was made.
        added: u64,
        /// Rows deleted since the collection was made.
        deleted: u64,
    }
}

message! {
    /// What a `save` wrote.
    pub struct Saved {
        /// Rows.
        rows: u64,
        /// Bytes of the file.
        bytes: u64,
    }
}

message! {
    /// Make a collection from its file.
    pub struct Load<'a> {
        /// Put it in the place of a collection of this name; otherwise that is an error.
        replace: bool,
        /// Its name, the same as when it was saved.
        collection: &'a str,
    }
}

message! {
    /// What a `load` read.
    pub struct Loaded {
        /// Rows.
        rows: u64,
        /// Bytes of the file.
        bytes: u64,
        /// Dimensions of each row.
        dim: u32,
        /// Number of a [`Metric`].
        metric: u8,
    }
}

/// The engine's schema.
#[must_use]
pub fn schema() -> EngineSchema {
    use super::system::Nothing;
    EngineSchema::new(
        NAME,
        "Named collections of vectors and their nearest neighbours.",
        vec![
            MethodSchema::new::<Create, Nothing>(CREATE, "create", "Makes a collection."),
            MethodSchema::new::<Collection, Nothing>(
                DROP,
                "drop",
                "Removes a collection with all its rows.",
            ),
            MethodSchema::new::<Nothing, Names>(LIST, "list", "Names all collections.")
                .idempotent(),
            MethodSchema::new::<Add, Added>(ADD, "add", "Adds rows, all or none.").timeout_ms(None),
            MethodSchema::new::<Ids, Rows>(GET, "get", "Gives rows back as they were put in.")
                .idempotent(),
            MethodSchema::new::<Ids, Count>(
                DELETE,
                "delete",
                "Deletes rows; ids that do not exist are skipped.",
            ),
            MethodSchema::new::<Search, Hits>(
                SEARCH,
                "search",
                "Finds the nearest rows of a vector.",
            )
            .idempotent(),
            MethodSchema::new::<SearchBatch, BatchHits>(
                SEARCH_BATCH,
                "search_batch",
                "Finds the nearest rows of many vectors.",
            )
            .idempotent()
            .timeout_ms(None),
            MethodSchema::new::<Collection, Count>(COUNT, "count", "Counts the rows.").idempotent(),
            MethodSchema::new::<Collection, CollectionStats>(
                STATS,
                "stats",
                "Describes a collection.",
            )
            .idempotent(),
            MethodSchema::new::<Collection, Saved>(
                SAVE,
                "save",
                "Writes a collection to its file in the daemon's state directory.",
            )
            .timeout_ms(None),
            MethodSchema::new::<Load, Loaded>(
                LOAD,
                "load",
                "Makes a collection from its file in the daemon's state directory.",
            )
            .timeout_ms(None),
        ],
    )
}
