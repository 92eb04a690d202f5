//! Latency benchmarks: every case in one run, interleaved, as ratios to the limit of the machine.
//!
//! `harness` takes turns between the `cases`, `goals` judges what came out, `report` writes it
//! down. A case that needs the other core runs its far half in a process of its own (`peer`), whose files
//! lie in one `place`.
//! `raw` is the only file with unsafe code. `cli` is what a program of such cases is. Nobody imports this
//! crate but the rivals' package, `compare`.

pub mod cases;
pub mod cli;
pub mod clock;
pub mod error;
pub mod goals;
pub mod harness;
pub mod machine;
pub mod peer;
pub mod place;
pub mod raw;
pub mod report;
pub mod wedge;

pub use error::BenchError;
