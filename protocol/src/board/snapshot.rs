//! Reading a board: header, then every used row, each consistent in itself.
//!
//! Invariants: no more is read than the segment has; the effort per row is bounded, so a daemon
//! that died in the middle of a row costs that row and no more. Rows are consistent, the
//! snapshot as a whole is not: two rows may be of two sweeps.

use zerocopy::IntoBytes;

use super::{
    BoardError, ErrorRow, GUARD_BYTES, Geometry, Header, LAYOUT_VERSION, MAGIC, MethodRow, Row,
    SessionRow, Totals, Words,
};

/// Tries per row. A writer needs well under a microsecond for one, so thousands of tries with
/// yields between them only run out if it is dead or has lost its CPU for long.
const TRIES: u32 = 4096;
const TRIES_PER_YIELD: u32 = 32;

/// A copy of a board.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Who writes it.
    pub header: Header,
    /// Numbers of the whole daemon.
    pub totals: Totals,
    /// Methods in the order of the catalogue.
    pub methods: Vec<MethodRow>,
    /// Open sessions, in no order.
    pub sessions: Vec<SessionRow>,
    /// Distinct errors, the latest first.
    pub errors: Vec<ErrorRow>,
    /// Rows that were being written for all the time that was spent on them: left out above (the
    /// totals are then zeros). Not 0 for longer than a moment means that the daemon is gone.
    pub torn_rows: usize,
}

impl Snapshot {
    /// Reads everything.
    ///
    /// # Errors
    /// The segment is no board, is of another version, or is smaller than it says.
    pub fn read(words: &impl Words) -> Result<Self, BoardError> {
        let (header, geometry) = read_header(words)?;
        let mut torn_rows = 0;
        let totals = match read_row(words, geometry.totals_at()) {
            Some(totals) => totals,
            None => {
                torn_rows += 1;
                Totals::default()
            }
        };
        let at = (0..geometry.methods()).map(|index| geometry.method_at(index));
        let methods = table(words, at, &mut torn_rows, |row: &MethodRow| row.used != 0);
        let at = (0..geometry.sessions()).map(|index| geometry.session_at(index));
        let sessions = table(words, at, &mut torn_rows, |row: &SessionRow| row.id != 0);
        let at = (0..geometry.errors()).map(|index| geometry.error_at(index));
        let mut errors = table(words, at, &mut torn_rows, |row: &ErrorRow| row.count != 0);
        errors.sort_by_key(|row| std::cmp::Reverse(row.last_seen_ns));
        Ok(Self { header, totals, methods, sessions, errors, torn_rows })
    }
}

fn read_header(words: &impl Words) -> Result<(Header, Geometry), BoardError> {
    let have = words.len_bytes();
    if have < size_of::<Header>() {
        return Err(BoardError::TooSmall { have, need: size_of::<Header>() });
    }
    let found = words.load(0);
    if found != MAGIC {
        return Err(BoardError::NotABoard { found });
    }
    // The magic was stored last: behind this fence the rest of the header stands.
    words.fence_acquire();
    let mut header = Header::default();
    load_bytes(words, 0, header.as_mut_bytes());
    if header.version != LAYOUT_VERSION {
        return Err(BoardError::Version { found: header.version });
    }
    let geometry = Geometry::from_words(header.methods, header.sessions, header.errors)?;
    let need = geometry.size_bytes();
    if have < need {
        return Err(BoardError::TooSmall { have, need });
    }
    Ok((header, geometry))
}

/// The rows at these offsets that are in use; adds the unreadable ones to `torn_rows`.
fn table<R: Row>(
    words: &impl Words,
    offsets: impl Iterator<Item = usize>,
    torn_rows: &mut usize,
    used: impl Fn(&R) -> bool,
) -> Vec<R> {
    let mut rows = Vec::new();
    for at in offsets {
        match read_row(words, at) {
            Some(row) if used(&row) => rows.push(row),
            Some(_) => {}
            None => *torn_rows += 1,
        }
    }
    rows
}

/// Reads a guarded row; nothing if it was being written at every try.
pub fn read_row<R: Row>(words: &impl Words, at: usize) -> Option<R> {
    let mut row = R::new_zeroed();
    for attempt in 1..=TRIES {
        let before = words.load(at);
        if before.is_multiple_of(2) {
            words.fence_acquire();
            load_bytes(words, at + GUARD_BYTES, row.as_mut_bytes());
            words.fence_acquire();
            if words.load(at) == before {
                return Some(row);
            }
        }
        if attempt % TRIES_PER_YIELD == 0 {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
    None
}

fn load_bytes(words: &impl Words, at: usize, bytes: &mut [u8]) {
    let (chunks, rest) = bytes.as_chunks_mut::<{ size_of::<u64>() }>();
    debug_assert!(rest.is_empty());
    for (index, chunk) in chunks.iter_mut().enumerate() {
        *chunk = words.load(at + index * size_of::<u64>()).to_ne_bytes();
    }
}
