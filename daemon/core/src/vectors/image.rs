//! What a saved collection looks like: header, ids, graph, checksum.
//!
//! ```text
//! header    the fields of `Header`, little endian, as every message lays them out
//! ids       u64 a row, 2^64 - 1 for one that nobody may see (a stepping stone in the graph)
//! graph     as usearch writes it, with the values of all rows (see `stream`); nothing if there are
//!           no rows
//! checksum  SHA-256 of everything before
//! ```
//!
//! Reading trusts nothing: the sizes must add up to the file's own before any memory is asked for,
//! then the checksum must be right, then every number in ids and graph must make sense. The
//! checksum is against accidents; whoever can write the file can write the checksum too.

use std::fs::File;
use std::io::{self, Read, Write};

use ringfence_protocol::api::vectors::Create;
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::message;
use ringfence_protocol::message::Message;
use sha2::{Digest as _, Sha256};

use super::limits;
use super::validate::Shape;

const MAGIC: u64 = u64::from_le_bytes(*b"RINGFVEC");
const VERSION: u32 = 1;
const SUM_BYTES: u64 = 32;

message! {
    /// What a file starts with.
    pub(super) struct Header {
        /// `RINGFVEC`
        magic: u64,
        /// 1
        version: u32,
        dim: u32,
        metric: u8,
        connectivity: u32,
        ef_add: u32,
        ef_search: u32,
        /// Rows, hidden ones included.
        rows: u64,
        /// Rows that are not hidden.
        shown: u64,
        /// Bytes of the graph.
        graph_bytes: u64,
    }
}

/// A collection at one moment, in memory.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) shape: Shape,
    pub(super) shown: u64,
    pub(super) ids: Vec<u64>,
    pub(super) graph: Vec<u8>,
}

/// Why a file is no collection.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Damage {
    #[error("it does not start like a saved collection")]
    Magic,
    #[error("it has version {version}, this Ringfence reads {VERSION}")]
    Version { version: u32 },
    #[error("it has {bytes} bytes, its header says {need}")]
    Length { bytes: u64, need: u128 },
    #[error("its header makes no sense: {why}")]
    Header { why: String },
    #[error("its checksum is wrong")]
    Sum,
    #[error("row {row}: {why}")]
    Row { row: usize, why: String },
    #[error("two rows have id {id}")]
    Twice { id: u64 },
    #[error("{shown} rows have ids, its header says {expected}")]
    Shown { shown: u64, expected: u64 },
    #[error("the graph: {what}")]
    Graph { what: &'static str },
    #[error("the system gives no memory to check {rows} rows")]
    NoMemory { rows: usize },
}

/// Why a file was not read.
#[derive(Debug)]
pub(super) enum ReadError<E> {
    Io(io::Error),
    Damaged(Damage),
    /// There is no memory for so many rows.
    NoMemory(usize),
    /// The call should end.
    Stopped(E),
}

impl<E> From<Damage> for ReadError<E> {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl<E> From<io::Error> for ReadError<E> {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Header {
    /// Reads and checks the header of a file of `bytes` bytes; returns it and the shape in it.
    pub(super) fn read(file: &mut File, bytes: u64) -> io::Result<Result<(Self, Shape), Damage>> {
        let mut start = [0; Self::FIXED];
        if bytes < Self::FIXED as u64 {
            return Ok(Err(Damage::Magic));
        }
        file.read_exact(&mut start)?;
        Ok(Self::check(&start, bytes))
    }

    fn check(start: &[u8], bytes: u64) -> Result<(Self, Shape), Damage> {
        // What is no header should not be told which of its bytes is padding.
        if start[..8] != MAGIC.to_le_bytes() {
            return Err(Damage::Magic);
        }
        let header =
            Self::decode(start).map_err(|wrong| Damage::Header { why: wrong.to_string() })?;
        if header.version != VERSION {
            return Err(Damage::Version { version: header.version });
        }
        let need = u128::from(header.rows) * size_of::<u64>() as u128
            + u128::from(header.graph_bytes)
            + Self::FIXED as u128
            + u128::from(SUM_BYTES);
        if need != u128::from(bytes) {
            return Err(Damage::Length { bytes, need });
        }
        let Header { dim, metric, connectivity, ef_add, ef_search, rows, .. } = header;
        if rows > limits::ROWS {
            return Err(Damage::Header { why: format!("{rows} rows") });
        }
        // The same bounds as for one that is made; 0 would mean the default.
        let named = [dim, connectivity, ef_add, ef_search];
        let create =
            Create { dim, metric, exist_ok: false, connectivity, ef_add, ef_search, name: "" };
        match Shape::of(&create) {
            Ok(shape) if shape.numbers() == named => Ok((header, shape)),
            Ok(_) => Err(Damage::Header { why: "options of 0".into() }),
            Err(refusal) => Err(Damage::Header { why: refusal.to_string() }),
        }
    }
}

impl Image {
    fn header(&self) -> Header {
        let [dim, connectivity, ef_add, ef_search] = self.shape.numbers();
        Header {
            magic: MAGIC,
            version: VERSION,
            dim,
            metric: self.shape.metric as u8,
            connectivity,
            ef_add,
            ef_search,
            rows: self.ids.len() as u64,
            shown: self.shown,
            graph_bytes: self.graph.len() as u64,
        }
    }

    /// Bytes of its file.
    pub(super) fn bytes(&self) -> u64 {
        let parts = Header::FIXED + size_of_val(&self.ids[..]) + self.graph.len();
        parts as u64 + SUM_BYTES
    }

    /// Writes it, and calls `between` with the bytes so far now and then.
    pub(super) fn write<E: From<io::Error>>(
        &self,
        out: &mut dyn Write,
        mut between: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut sum = Sha256::new();
        let mut done = 0;
        let mut put = |piece: &[u8]| {
            out.write_all(piece)?;
            sum.update(piece);
            done += piece.len() as u64;
            between(done)
        };
        let mut start = Vec::with_capacity(Header::FIXED);
        self.header().encode(&mut start);
        put(&start)?;
        let mut piece = Vec::with_capacity(limits::FILE_STRETCH);
        for ids in self.ids.chunks(limits::FILE_STRETCH / size_of::<u64>()) {
            piece.clear();
            piece.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
            put(&piece)?;
        }
        self.graph.chunks(limits::FILE_STRETCH).try_for_each(&mut put)?;
        Ok(out.write_all(&sum.finalize())?)
    }

    /// Reads what follows a header that was checked, and compares the checksum.
    pub(super) fn read<E>(
        file: &mut File,
        header: &Header,
        shape: Shape,
        mut between: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<Self, ReadError<E>> {
        let mut sum = Sha256::new();
        let mut start = Vec::with_capacity(Header::FIXED);
        header.encode(&mut start);
        sum.update(&start);
        let mut done = start.len() as u64;
        let rows = header.rows as usize;
        let mut take = |bytes: usize| -> Result<Vec<u8>, ReadError<E>> {
            let mut taken = Vec::new();
            taken.try_reserve_exact(bytes).map_err(|_| ReadError::NoMemory(rows))?;
            while taken.len() < bytes {
                let at = taken.len();
                taken.resize(bytes.min(at + limits::FILE_STRETCH), 0);
                file.read_exact(&mut taken[at..])?;
                sum.update(&taken[at..]);
                done += (taken.len() - at) as u64;
                between(done).map_err(ReadError::Stopped)?;
            }
            Ok(taken)
        };
        let ids = take(rows * size_of::<u64>())?;
        let ids = ids.as_chunks::<8>().0.iter().map(|id| u64::from_le_bytes(*id)).collect();
        let graph = take(header.graph_bytes as usize)?;
        let mut expected = [0; SUM_BYTES as usize];
        file.read_exact(&mut expected)?;
        if sum.finalize()[..] != expected && is_armed("vectors.checksum") {
            return Err(Damage::Sum.into());
        }
        Ok(Self { shape, shown: header.shown, ids, graph })
    }
}
