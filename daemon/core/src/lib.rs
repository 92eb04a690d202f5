//! The compute core of Ringfence: engines behind one trait. It knows nothing of segments, sockets
//! or Python; the daemon, the in-process mode and the tests call it the same way.

pub mod engine;
pub mod registry;
pub mod system;
pub mod vectors;

pub use engine::{Call, Cost, Engine, Stop, Surroundings, Unbounded};
pub use registry::{Method, Registry, RegistryError};

/// The engines that come with Ringfence, besides `system`.
#[must_use]
pub fn builtin() -> Vec<Box<dyn Engine>> {
    vec![Box::new(vectors::Vectors::new(vectors::Limits::default()))]
}
