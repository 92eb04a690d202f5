//! Every bound of the engine, in one place.

/// Bytes of a collection's name.
pub(super) const NAME_BYTES: usize = 64;

/// Dimensions of a vector.
pub(super) const DIM: u32 = 4096;

/// Neighbours asked for.
pub(super) const K: u32 = 10_000;

/// Candidates kept while searching.
pub(super) const EF: u32 = 10_000;

/// Candidates kept while adding.
pub(super) const EF_ADD: u32 = 4096;

/// Edges a node. With fewer than 4 the graph falls apart.
pub(super) const CONNECTIVITY: std::ops::RangeInclusive<u32> = 4..=64;

/// Rows of one collection, deleted ones included until the next rebuild: numbered by u32, of which
/// the last means "none".
pub(super) const ROWS: u64 = u32::MAX as u64;

/// Largest number in a vector: the squared distance of two vectors of [`DIM`] such numbers is
/// 4096 * (2e17)^2 = 1.6e38, below the largest float32, 3.4e38.
pub(super) const MAGNITUDE: f32 = 1e17;

/// Least length under `cosine`: products of two such vectors are 1e-30, well above the smallest
/// normal float32, 1.2e-38.
pub(super) const SHORTEST: f64 = 1e-15;

/// Edges a node by default.
pub(super) const DEFAULT_CONNECTIVITY: u32 = 16;

/// Candidates kept while adding by default.
pub(super) const DEFAULT_EF_ADD: u32 = 128;

/// Candidates kept while searching by default. Measured in `mod.rs`.
pub(super) const DEFAULT_EF_SEARCH: u32 = 64;

/// Levels of the graph. With 4 edges a node, four thousand million rows have 16 on average.
pub(super) const LEVELS: u16 = 64;

/// Bytes of a file that are written or read between two looks at the deadline.
pub(super) const FILE_STRETCH: usize = 4 << 20;

/// What one instance of the engine may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all collections together. A rebuild, which takes as much again as its collection's
    /// rows while it goes on, counts but is not refused.
    pub memory_bytes: u64,
    /// Number of collections.
    pub collections: usize,
    /// Number of files in the state directory. One has at most `memory_bytes`.
    pub files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 8 << 30, collections: 1024, files: 1024 }
    }
}
