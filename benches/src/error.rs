//! What can go wrong before or while something is measured.
//!
//! `Skipped` is no failure of the benchmarks; every other variant makes the run exit with 1.

use std::path::PathBuf;

/// Why a case has no figures, or why a report was not written.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The case cannot run on this machine as it is set up; the text says what to do.
    #[error("skipped: {0}")]
    Skipped(String),
    /// `--only` named something else.
    #[error("there is no case `{0}`; --list names them all")]
    NoCase(String),
    /// The other half of a case did not start, or ended.
    #[error("the peer `{what}` {detail}; run the peer by hand to see its error")]
    Peer {
        /// The peer's role, as in `serve ROLE`.
        what: String,
        /// What it did instead of answering.
        detail: String,
    },
    /// An answer was wrong, so its time is worthless.
    #[error("wrong answer to request {request}: expected {expected}, got {got}")]
    WrongAnswer {
        /// Number of the request within the check.
        request: u64,
        /// What an echo must say.
        expected: String,
        /// What came back.
        got: String,
    },
    /// A core is missing or forbidden.
    #[error("cannot pin to core {core}: {source}; allow two cores (taskset -p, cpuset)")]
    Pin {
        /// The core asked for.
        core: usize,
        /// The kernel's answer.
        source: nix::Error,
    },
    /// A segment could not be made or opened.
    #[error("shared memory `{name}`: {source}; is /dev/shm mounted and not full?")]
    Segment {
        /// Name under /dev/shm.
        name: String,
        /// What shared_memory said.
        source: shared_memory::ShmemError,
    },
    /// A segment is smaller than what is to live in it.
    #[error("line {line} + {span} is past the {lines} lines of the segment")]
    SegmentBounds {
        /// First line wanted.
        line: usize,
        /// Lines wanted.
        span: usize,
        /// Lines there are.
        lines: usize,
    },
    /// raw_sync reports all its errors as text.
    #[error("raw_sync: {0}")]
    RawSync(String),
    /// A system call failed.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: nix::Error,
    },
    /// Reading from or writing to a peer failed.
    #[error("talking to the peer: {0}")]
    Io(#[from] std::io::Error),
    /// The Python driver said something that is not its protocol.
    #[error("the Python driver answered `{line}`: {source}")]
    Driver {
        /// The start of its answer.
        line: String,
        /// Why it is not an answer.
        source: serde_json::Error,
    },
    /// The Python driver raised an exception.
    #[error("the Python driver failed: {0}")]
    Python(String),
    /// A report could not be written.
    #[error("cannot write {}: {detail}; choose another directory with --out", path.display())]
    Report {
        /// The file.
        path: PathBuf,
        /// Why not.
        detail: String,
    },
}

impl BenchError {
    /// True when the case was left out on purpose.
    #[must_use]
    pub fn is_skip(&self) -> bool {
        matches!(self, Self::Skipped(_))
    }
}
