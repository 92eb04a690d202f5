//! What a caller can do wrong, with the numbers in it, and what to do next.

use std::fmt;

use ringfence_protocol::error::{Error, ErrorCode};

use super::limits;

/// A vector of a request, as it is named in an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// A row to be added.
    Row(usize),
    /// The query of a search.
    Query,
    /// One query of a batch.
    QueryOf(usize),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Row(at) => write!(f, "row {at}"),
            Which::Query => write!(f, "the query"),
            Which::QueryOf(at) => write!(f, "query {at}"),
        }
    }
}

/// Why a request is refused. Nothing has changed when it is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "collection name {name:?} has {bytes} bytes: use 1 to {}, no control characters",
        limits::NAME_BYTES
    )]
    Name { name: String, bytes: usize },
    #[error("dim is {dim}: a vector has 1 to {} dimensions", limits::DIM)]
    Dim { dim: u32 },
    #[error("metric number {number} is none of 0 (l2), 1 (cosine), 2 (dot)")]
    Metric { number: u8 },
    #[error("{option} is {value}: use {least} to {most}, or 0 for the default")]
    Option { option: &'static str, value: u32, least: u32, most: u32 },
    #[error(
        "collection {name:?} exists already, with {there}: drop it first, or use exist_ok=True"
    )]
    Exists { name: String, there: String },
    #[error(
        "collection {name:?} exists with {there}, not with {asked}: drop it, or use another name"
    )]
    ExistsOtherwise { name: String, there: String, asked: String },
    #[error("there are {count} collections, as many as this daemon takes: drop one first")]
    TooManyCollections { count: usize },
    #[error("there is no collection {name:?}; {existing}")]
    Unknown { name: String, existing: String },
    #[error("{which} has {got} dimensions, the collection has {expected}")]
    Dimensions { which: Which, got: usize, expected: usize },
    #[error(
        "{ids} ids and {numbers} numbers: vectors of {dim} dimensions need {} numbers",
        *ids as u128 * *dim as u128
    )]
    Length { ids: usize, numbers: usize, dim: usize },
    #[error("{numbers} numbers are no whole number of queries of {dim} dimensions")]
    Queries { numbers: usize, dim: usize },
    #[error("{which}, column {column} is {value}: only finite numbers can be compared")]
    NotFinite { which: Which, column: usize, value: f32 },
    #[error(
        "{which}, column {column} is {value}: numbers beyond {} overflow a float32 distance; \
         scale the vectors down",
        limits::MAGNITUDE
    )]
    TooFar { which: Which, column: usize, value: f32 },
    #[error(
        "{which} has length {length:e}: cosine needs a direction, \
         that is a length of at least {:e}",
        limits::SHORTEST
    )]
    Short { which: Which, length: f64 },
    #[error("row {row} has id 2^64 - 1, which is reserved: use another")]
    ReservedId { row: usize },
    #[error("id {id} is in the batch twice, as row {first} and as row {second}: nothing was added")]
    Twice { id: u64, first: usize, second: usize },
    #[error(
        "row {row} has id {id}, which exists: nothing was added; \
         upsert replaces it, or delete it first"
    )]
    IdExists { row: usize, id: u64 },
    #[error("k is {k}: use 1 to {}", limits::K)]
    K { k: u32 },
    #[error("the collection would have {rows} rows, it takes {}", limits::ROWS)]
    TooManyRows { rows: u64 },
    #[error(
        "{rows} rows need about {need} bytes, {used} of the {limit} bytes for vectors are in use: \
         delete rows, drop a collection, or raise `[engines] memory_bytes`"
    )]
    Memory { rows: usize, need: u64, used: u64, limit: u64 },
    #[error(
        "a reply of {items} items of {item_bytes} bytes is larger than one payload of {most} \
         bytes: ask for less at a time"
    )]
    Reply { items: usize, item_bytes: usize, most: usize },
    #[error("the system gives no more memory for {rows} rows: delete rows or drop a collection")]
    Allocation { rows: usize },
    #[error(
        "collections cannot be saved here: no state directory is configured; name one, as an \
         absolute path, by `[state] dir` of the daemon's configuration or RINGFENCE_STATE_DIR"
    )]
    NoStateDir,
    #[error("collection {name:?} was never saved here: there is no {path}")]
    NoFile { name: String, path: String },
    #[error("collection {name:?} exists already: drop it first, or load with replace=True")]
    InPlace { name: String },
    #[error("{path} is damaged: {what}; nothing was loaded, save the collection again")]
    Damaged { path: String, what: String },
    #[error(
        "{path} has {bytes} bytes, collections may take {limit}: raise the limit or load elsewhere"
    )]
    FileTooLarge { path: String, bytes: u64, limit: u64 },
    #[error("there are {count} saved collections in {dir}, as many as it takes: remove one first")]
    TooManyFiles { count: usize, dir: String },
    #[error("{doing} {path}: {error}; {hint}")]
    File { doing: &'static str, path: String, error: String, hint: &'static str },
}

impl Refusal {
    fn code(&self) -> ErrorCode {
        match self {
            Refusal::Name { .. }
            | Refusal::Dim { .. }
            | Refusal::Metric { .. }
            | Refusal::Option { .. }
            | Refusal::Short { .. }
            | Refusal::ReservedId { .. }
            | Refusal::Twice { .. }
            | Refusal::K { .. } => ErrorCode::InvalidArgument,
            Refusal::Dimensions { .. } | Refusal::Length { .. } | Refusal::Queries { .. } => {
                ErrorCode::WrongDimension
            }
            Refusal::NotFinite { .. } => ErrorCode::NotFinite,
            Refusal::TooFar { .. } => ErrorCode::OutOfRange,
            Refusal::Exists { .. }
            | Refusal::ExistsOtherwise { .. }
            | Refusal::IdExists { .. }
            | Refusal::InPlace { .. } => ErrorCode::AlreadyExists,
            Refusal::Unknown { .. } => ErrorCode::UnknownCollection,
            Refusal::TooManyCollections { .. }
            | Refusal::TooManyRows { .. }
            | Refusal::FileTooLarge { .. }
            | Refusal::TooManyFiles { .. }
            | Refusal::Reply { .. } => ErrorCode::TooLarge,
            Refusal::NoFile { .. } => ErrorCode::FileNotFound,
            Refusal::NoStateDir | Refusal::Damaged { .. } | Refusal::File { .. } => ErrorCode::Io,
            Refusal::Memory { .. } | Refusal::Allocation { .. } => ErrorCode::OutOfMemory,
        }
    }
}

impl From<Refusal> for Error {
    #[cold]
    fn from(refusal: Refusal) -> Self {
        Error::new(refusal.code(), refusal.to_string())
    }
}
