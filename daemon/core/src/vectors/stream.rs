//! A graph as usearch writes it, checked before usearch reads it.
//!
//! usearch 2.26 believes what it loads: an edge to a row that does not exist, or a list that is
//! longer than its place, is memory that is not its own. So every number is checked here that it
//! will follow, read from its `index_dense.hpp` and `index.hpp` (`save_to_stream`,
//! `load_from_stream`):
//!
//! ```text
//! u32 rows, u32 bytes of a row, the rows
//! 64 bytes: "usearch", version 3 x u16, kinds of metric, number, key and slot, u64 keys present,
//!           u64 deleted, u64 dimensions, bool several rows a key, zeros
//! u64 rows, u64 connectivity, u64 that of the ground level, u64 highest level, u64 entry
//! i16 level of each node
//! for each node: u64 key, i16 level, for level 0 and each up to its own: u32 count, u32 slots,
//!                as many as there is room for
//! ```
//!
//! What it does not check: whether the graph is a good one. A bad one finds less, and does no harm.

use ringfence_protocol::api::vectors::Metric;

use super::image::Damage;
use super::limits;
use super::validate::Shape;

const HEAD_BYTES: usize = 64;
const MAGIC: &[u8] = b"usearch";
/// The format goes with the major version: usearch itself compares it and nothing else.
const MAJOR: u16 = 2;
/// f32, u64 and u32 in usearch's `scalar_kind_t`.
const KINDS: [u8; 3] = [11, 14, 15];

/// A graph that usearch may read.
#[derive(Debug)]
pub(super) struct Stream<'b> {
    pub(super) bytes: &'b [u8],
    /// The values of the row in each slot, one after the other, little endian.
    rows: &'b [u8],
    /// The slot of each row, [`NO_SLOT`] for rows that never got into the graph.
    slots: Vec<u32>,
    dim: usize,
}

const NO_SLOT: u32 = u32::MAX;

impl<'b> Stream<'b> {
    /// Checks a graph over rows that are numbered below `rows`.
    pub(super) fn check(bytes: &'b [u8], shape: &Shape, rows: usize) -> Result<Self, Damage> {
        let mut stream = Self { bytes, rows: &[], slots: Vec::new(), dim: shape.dim };
        let slots = &mut stream.slots;
        slots.try_reserve_exact(rows).map_err(|_| Damage::NoMemory { rows })?;
        slots.resize(rows, NO_SLOT);
        if bytes.is_empty() {
            return if rows == 0 { Ok(stream) } else { Err(Damage::Graph { what: "it is empty" }) };
        }
        let mut reader = Reader { left: bytes };
        let (count, row_bytes) = (reader.u32()? as usize, reader.u32()? as usize);
        ensure(row_bytes == shape.dim * size_of::<f32>(), "rows of another dimension")?;
        ensure((1..=rows).contains(&count), "another number of rows")?;
        // Both are bounded: no more than 2^32 * 2^14.
        stream.rows = reader.take(count * row_bytes)?;
        check_head(reader.take(HEAD_BYTES)?, shape, count)?;
        let highest = check_graph(&mut reader, shape, count, slots)?;
        ensure(reader.left.is_empty(), "bytes are left at its end")?;
        ensure(highest < limits::LEVELS, "too many levels")?;
        Ok(stream)
    }

    /// Rows in the graph.
    pub(super) fn count(&self) -> usize {
        self.rows.len() / (self.dim * size_of::<f32>())
    }

    /// Reads a row into `values`; `false`, and zeros, if it never got into the graph.
    pub(super) fn row(&self, row: usize, values: &mut [f32]) -> bool {
        let row_bytes = self.dim * size_of::<f32>();
        let slot = self.slots[row];
        if slot == NO_SLOT {
            values.fill(0.0);
            return false;
        }
        let bytes = &self.rows[slot as usize * row_bytes..][..row_bytes];
        for (value, four) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*four);
        }
        true
    }
}

fn check_head(head: &[u8], shape: &Shape, count: usize) -> Result<(), Damage> {
    let mut reader = Reader { left: head };
    ensure(reader.take(MAGIC.len())? == MAGIC, "it is none of usearch's")?;
    let [major, _minor, _patch] = [reader.u16()?, reader.u16()?, reader.u16()?];
    ensure(major == MAJOR, "it is of another version of usearch")?;
    let metric = match shape.metric {
        Metric::L2 => b'e',
        Metric::Cosine => b'c',
        Metric::Dot => b'i',
    };
    ensure(reader.take(1)? == [metric], "another metric")?;
    ensure(reader.take(KINDS.len())? == KINDS, "numbers of another kind")?;
    ensure(reader.u64()? == count as u64 && reader.u64()? == 0, "another number of keys")?;
    ensure(reader.u64()? == shape.dim as u64, "another dimension")?;
    ensure(reader.take(1)? == [0], "several rows a key")
}

/// Checks nodes and edges, and notes the slot of each row; returns the highest level.
fn check_graph(
    reader: &mut Reader<'_>,
    shape: &Shape,
    count: usize,
    slots: &mut [u32],
) -> Result<u16, Damage> {
    let edges = (shape.connectivity, 2 * shape.connectivity);
    ensure(reader.u64()? == count as u64, "another number of nodes")?;
    ensure(reader.u64()? == edges.0 as u64, "another connectivity")?;
    ensure(reader.u64()? == edges.1 as u64, "another connectivity of the ground level")?;
    let (highest, entry) = (reader.u64()?, reader.u64()?);
    let levels = Levels(reader.take(count * size_of::<i16>())?);
    ensure(entry < count as u64, "its entry is no node")?;
    ensure(u64::from(levels.of(entry as usize)) == highest, "its entry is not at its top")?;
    for slot in 0..count {
        let (key, level) = (reader.u64()?, levels.of(slot));
        ensure(u64::from(level) <= highest, "a node above its top")?;
        ensure(reader.u16()? == level, "a node of two levels")?;
        let place = usize::try_from(key).ok().and_then(|key| slots.get_mut(key));
        let place = place.ok_or(Damage::Graph { what: "a node of no row" })?;
        ensure(std::mem::replace(place, slot as u32) == NO_SLOT, "two nodes of one row")?;
        check_edges(reader, &levels, slot, 0, edges.1)?;
        for level in 1..=level {
            check_edges(reader, &levels, slot, level, edges.0)?;
        }
    }
    Ok(highest as u16)
}

fn check_edges(
    reader: &mut Reader<'_>,
    levels: &Levels<'_>,
    slot: usize,
    level: u16,
    most: usize,
) -> Result<(), Damage> {
    let count = reader.u32()? as usize;
    let places = reader.take(most * size_of::<u32>())?.as_chunks::<4>().0;
    let edges = places.get(..count).ok_or(Damage::Graph { what: "more edges than places" })?;
    let fine = |edge: &[u8; 4]| {
        let to = u32::from_le_bytes(*edge) as usize;
        // A node has edges on its own levels only: above, they would be read past its end.
        to < levels.count() && to != slot && levels.of(to) >= level
    };
    ensure(edges.iter().all(fine), "an edge that leads nowhere")
}

/// The level of each node, checked to be none below 0 where it is compared: as `u16` these are
/// above every other.
struct Levels<'b>(&'b [u8]);

impl Levels<'_> {
    fn count(&self) -> usize {
        self.0.len() / size_of::<i16>()
    }

    fn of(&self, slot: usize) -> u16 {
        u16::from_le_bytes(self.0.as_chunks::<2>().0[slot])
    }
}

/// What is left of the bytes.
struct Reader<'b> {
    left: &'b [u8],
}

impl<'b> Reader<'b> {
    fn take(&mut self, bytes: usize) -> Result<&'b [u8], Damage> {
        let (taken, left) =
            self.left.split_at_checked(bytes).ok_or(Damage::Graph { what: "it ends early" })?;
        self.left = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        self.take(N)?.try_into().map_err(|_| Damage::Graph { what: "it ends early" })
    }

    fn u16(&mut self) -> Result<u16, Damage> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Damage> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Damage> {
        self.array().map(u64::from_le_bytes)
    }
}

fn ensure(fine: bool, what: &'static str) -> Result<(), Damage> {
    if fine { Ok(()) } else { Err(Damage::Graph { what }) }
}
