//! The compute core of Ringfence: engines behind one trait. It knows nothing of segments, sockets
//! or Python; the daemon, the in-process mode and the tests call it the same way.

pub mod bus;
pub mod engine;
pub mod registry;
pub mod system;
#[cfg(feature = "vectors")]
pub mod vectors;

use std::path::Path;

pub use engine::{Call, Cost, Engine, Stop, Surroundings, Unbounded};
pub use registry::{Method, Registry, RegistryError};

/// The names of the engines that come with Ringfence, besides `system`.
pub const BUILTIN: &[&str] = &[
    #[cfg(feature = "vectors")]
    "vectors",
];

/// Those engines. What they save goes below the directory `state`, where each has a folder of its
/// own name; without one they keep no files.
#[must_use]
pub fn builtin(state: Option<&Path>) -> Vec<Box<dyn Engine>> {
    let _ = state;
    vec![
        #[cfg(feature = "vectors")]
        Box::new(match state {
            None => vectors::Vectors::new(vectors::Limits::default()),
            Some(dir) => {
                vectors::Vectors::new(vectors::Limits::default()).saved_in(dir.join("vectors"))
            }
        }),
    ]
}
