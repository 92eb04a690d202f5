//! The board: counters, histograms and errors of a daemon, in one read-only-shared segment.
//!
//! The daemon is the only writer. Readers (`ringfence top`, exporters, tests) map the segment
//! read-only and take a [`Snapshot`]; they cost the daemon nothing, and nothing they do can reach
//! it. The daemon publishes from its sweep, so numbers are up to 100 ms old;
//! [`Totals::beat_ns`] says when it last did.
//!
//! ```text
//!      0  Header         128 bytes   written once; the magic last, with Release
//!    128  Totals         256 bytes   one guarded row
//!    384  MethodRow      640 bytes   x methods
//!    ...  SessionRow     128 bytes   x sessions; id 0 = free
//!    ...  ErrorRow       256 bytes   x errors; count 0 = free
//!    ...  zeros up to a multiple of 4096
//! ```
//!
//! A guarded row is a sequence word, odd while the row is being written, and then the row: see
//! [`write_row`] and [`read_row`], which are the only two that know it.
//!
//! Invariants: one writer; every offset comes from a checked [`Geometry`]; all words are loaded
//! and stored as Relaxed atomics, ordered by the fences of [`Words`].
//!
//! Not here: mapping, permissions, counting. The daemon counts in private memory.

mod layout;
mod snapshot;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use zerocopy::IntoBytes as _;

pub use layout::{
    ErrorRow, HISTOGRAM_BUCKETS, Header, Histogram, MethodRow, Row, SessionRow, Text, Totals,
};
pub use snapshot::{Snapshot, read_row};

/// First word of a board: `RFBOARD1` in the order of memory.
pub const MAGIC: u64 = u64::from_le_bytes(*b"RFBOARD1");
/// Changes with any row or offset; a reader refuses another one.
pub const LAYOUT_VERSION: u64 = 1;

/// Most method rows a board can have: every engine with dozens of methods.
pub const METHODS_MAX: u32 = 4096;
/// Most session rows, the greatest `[sessions] max` of the daemon.
pub const SESSIONS_MAX: u32 = 16_384;
/// Most rows of distinct errors.
pub const ERRORS_MAX: u32 = 1024;

/// The sequence word in front of each guarded row.
const GUARD_BYTES: usize = size_of::<u64>();
const PAGE_BYTES: usize = 4096;

const TOTALS_AT: usize = size_of::<Header>();
const METHODS_AT: usize = TOTALS_AT + guarded::<Totals>();

const _: () = assert!(size_of::<Header>() == 128);
const _: () = assert!(guarded::<Totals>() == 256);
const _: () = assert!(guarded::<MethodRow>() == 640);
const _: () = assert!(guarded::<SessionRow>() == 128);
const _: () = assert!(guarded::<ErrorRow>() == 256);

const fn guarded<R>() -> usize {
    assert!(size_of::<R>().is_multiple_of(size_of::<u64>()));
    GUARD_BYTES + size_of::<R>()
}

/// Shared memory as the board sees it: aligned 64-bit words at byte offsets.
///
/// Implementations must be bounds-checked. The board never passes an offset outside
/// `0..len_bytes()` or one that is not a multiple of 8.
pub trait Words {
    /// Bytes that can be addressed.
    fn len_bytes(&self) -> usize;
    /// One Relaxed load.
    fn load(&self, byte_offset: usize) -> u64;
    /// One Relaxed store.
    fn store(&self, byte_offset: usize, value: u64);
    /// `fence(Acquire)`: partner of [`Words::fence_release`] of the writer.
    fn fence_acquire(&self) {
        fence(Ordering::Acquire);
    }
    /// `fence(Release)`: partner of [`Words::fence_acquire`] of the readers.
    fn fence_release(&self) {
        fence(Ordering::Release);
    }
}

impl<W: Words + ?Sized> Words for Arc<W> {
    fn len_bytes(&self) -> usize {
        (**self).len_bytes()
    }
    fn load(&self, byte_offset: usize) -> u64 {
        (**self).load(byte_offset)
    }
    fn store(&self, byte_offset: usize, value: u64) {
        (**self).store(byte_offset, value);
    }
    fn fence_acquire(&self) {
        (**self).fence_acquire();
    }
    fn fence_release(&self) {
        (**self).fence_release();
    }
}

/// A board in private memory: for tests, and for a core that runs inside its caller.
#[derive(Debug)]
pub struct HeapWords(Vec<AtomicU64>);

impl HeapWords {
    /// Zeroed words, at least `len_bytes`.
    pub fn new(len_bytes: usize) -> Self {
        Self((0..len_bytes.div_ceil(size_of::<u64>())).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Words for HeapWords {
    fn len_bytes(&self) -> usize {
        self.0.len() * size_of::<u64>()
    }
    fn load(&self, byte_offset: usize) -> u64 {
        self.0[byte_offset / size_of::<u64>()].load(Ordering::Relaxed)
    }
    fn store(&self, byte_offset: usize, value: u64) {
        self.0[byte_offset / size_of::<u64>()].store(value, Ordering::Relaxed);
    }
}

/// How many rows each table has. Within the limits by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    methods: u32,
    sessions: u32,
    errors: u32,
}

impl Geometry {
    /// Rows of the error log unless there is a reason for another number.
    pub const ERRORS: u32 = 64;

    /// Checks the numbers of rows against the limits.
    ///
    /// # Errors
    /// [`BoardError::Geometry`] with the numbers.
    pub fn new(methods: u32, sessions: u32, errors: u32) -> Result<Self, BoardError> {
        Self::from_words(methods.into(), sessions.into(), errors.into())
    }

    fn from_words(methods: u64, sessions: u64, errors: u64) -> Result<Self, BoardError> {
        let within = |count: u64, max: u32| u32::try_from(count).ok().filter(|count| *count <= max);
        let counts = (
            within(methods, METHODS_MAX),
            within(sessions, SESSIONS_MAX),
            within(errors, ERRORS_MAX),
        );
        let (Some(methods), Some(sessions), Some(errors)) = counts else {
            return Err(BoardError::Geometry { methods, sessions, errors });
        };
        Ok(Self { methods, sessions, errors })
    }

    /// Rows of methods.
    pub fn methods(&self) -> usize {
        self.methods as usize
    }

    /// Rows of sessions.
    pub fn sessions(&self) -> usize {
        self.sessions as usize
    }

    /// Rows of distinct errors.
    pub fn errors(&self) -> usize {
        self.errors as usize
    }

    /// Bytes of the segment, a multiple of the page.
    pub fn size_bytes(&self) -> usize {
        self.error_at(self.errors()).next_multiple_of(PAGE_BYTES)
    }

    /// Offset of the totals.
    pub fn totals_at(&self) -> usize {
        TOTALS_AT
    }

    /// Offset of a method row; `index` up to and including the number of rows.
    pub fn method_at(&self, index: usize) -> usize {
        debug_assert!(index <= self.methods());
        METHODS_AT + index * guarded::<MethodRow>()
    }

    /// Offset of a session row; `index` up to and including the number of rows.
    pub fn session_at(&self, index: usize) -> usize {
        debug_assert!(index <= self.sessions());
        self.method_at(self.methods()) + index * guarded::<SessionRow>()
    }

    /// Offset of an error row; `index` up to and including the number of rows.
    pub fn error_at(&self, index: usize) -> usize {
        debug_assert!(index <= self.errors());
        self.session_at(self.sessions()) + index * guarded::<ErrorRow>()
    }
}

/// Why a segment is not a board that this code can read or write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// The segment ends before its tables do.
    #[error("the board needs {need} bytes but its segment has {have}: ask the daemon for it anew")]
    TooSmall {
        /// Bytes of the segment.
        have: usize,
        /// Bytes of the tables.
        need: usize,
    },
    /// Another kind of segment, or a daemon that died before its board was ready.
    #[error("no board: it starts with {found:#018x}, a board with {MAGIC:#018x}")]
    NotABoard {
        /// The first word.
        found: u64,
    },
    /// A board of another version.
    #[error(
        "board layout {found}, this program reads {LAYOUT_VERSION}: use the `ringfence` that came \
         with the daemon"
    )]
    Version {
        /// The version in the header.
        found: u64,
    },
    /// More rows than a board can have.
    #[error(
        "a board with {methods} methods, {sessions} sessions and {errors} errors; the limits are \
         {METHODS_MAX}, {SESSIONS_MAX} and {ERRORS_MAX}"
    )]
    Geometry {
        /// Rows of methods.
        methods: u64,
        /// Rows of sessions.
        sessions: u64,
        /// Rows of errors.
        errors: u64,
    },
}

/// Stores the header of a fresh board, the magic last.
///
/// # Errors
/// [`BoardError::TooSmall`] if the segment does not hold the tables.
pub fn write_header(
    words: &impl Words,
    geometry: &Geometry,
    header: &Header,
) -> Result<(), BoardError> {
    let (have, need) = (words.len_bytes(), geometry.size_bytes());
    if have < need {
        return Err(BoardError::TooSmall { have, need });
    }
    let header = Header {
        magic: 0,
        version: LAYOUT_VERSION,
        size_bytes: need as u64,
        methods: geometry.methods.into(),
        sessions: geometry.sessions.into(),
        errors: geometry.errors.into(),
        ..*header
    };
    store_bytes(words, 0, header.as_bytes());
    words.fence_release();
    words.store(0, MAGIC);
    Ok(())
}

/// Writes a guarded row. Only the one writer may call it.
///
/// A seqlock: odd, fence, row, fence, even. Whoever reads a word of the new row and then
/// fences sees at least the odd number behind it; whoever reads the even one and fences sees
/// the whole row.
pub fn write_row<R: Row>(words: &impl Words, at: usize, row: &R) {
    // Odd also if the word was odd: a predecessor died here, or a reader of our uid scribbled.
    let odd = words.load(at).wrapping_add(1) | 1;
    words.store(at, odd);
    words.fence_release();
    store_bytes(words, at + GUARD_BYTES, row.as_bytes());
    words.fence_release();
    words.store(at, odd.wrapping_add(1));
}

fn store_bytes(words: &impl Words, at: usize, bytes: &[u8]) {
    let (chunks, rest) = bytes.as_chunks::<{ size_of::<u64>() }>();
    debug_assert!(rest.is_empty());
    for (index, chunk) in chunks.iter().enumerate() {
        words.store(at + index * size_of::<u64>(), u64::from_ne_bytes(*chunk));
    }
}
