//! The compute core of Ringfence: engines behind one trait. It knows nothing of segments, sockets
//! or Python; the daemon, the in-process mode and the tests call it the same way.

pub mod bus;
pub mod deferred;
#[cfg(test)]
mod disarmed;
pub mod engine;
pub mod registry;
pub mod serving;
pub mod system;
#[cfg(feature = "vectors")]
pub mod vectors;

use std::path::PathBuf;

pub use deferred::{Answer, Deferred, Later};
pub use engine::{Call, Cost, Engine, Stop, Surroundings, Unbounded};
pub use registry::{Method, Registry, RegistryError};

/// What each of the engines that come with Ringfence may keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// What they save goes below this directory, where each has a folder of its own name; without one
    /// they keep no files.
    pub state: Option<PathBuf>,
    /// Bytes of the data of one engine.
    pub memory_bytes: u64,
    /// Who may serve which names.
    pub serving: serving::Rules,
}

impl Default for Allowance {
    /// No files, 8 GiB, and nobody but root serves anything to other processes.
    fn default() -> Self {
        Self { state: None, memory_bytes: 8 << 30, serving: serving::Rules::default() }
    }
}

/// Those engines.
#[must_use]
pub fn builtin(allowance: Allowance) -> Vec<Box<dyn Engine>> {
    let Allowance { state, memory_bytes, serving } = allowance;
    let _ = &state;
    vec![
        #[cfg(feature = "vectors")]
        {
            let limits = vectors::Limits { memory_bytes, ..vectors::Limits::default() };
            let vectors = vectors::Vectors::new(limits);
            Box::new(match state {
                None => vectors,
                Some(dir) => vectors.saved_in(dir.join("vectors")),
            })
        },
        Box::new(serving::Serving::new(serving, memory_bytes)),
    ]
}
