//! The Ringfence sidecar as a library: put your own engine into a daemon of your own.
//!
//! [`Daemon::builder`] is the way in. The rest is public for tests, benches and the curious.

pub mod board;
mod bus;
pub mod cli;
pub mod config;
mod daemon;
#[cfg(test)]
mod fuzzing;
mod handshake;
mod inbox;
mod inflight;
mod lane;
pub mod logging;
mod measure;
mod metrics;
pub mod notify;
mod overhead;
mod policy;
mod poller;
mod reports;
mod scarce;
mod segments;
mod server;
mod session;
pub mod sigbus;
mod sight;
mod workers;

pub use daemon::{Builder, Daemon, StartError};
pub use ringfence_core::{Call, Cost, Deferred, Engine, Stop, Surroundings, Unbounded};
pub use ringfence_protocol::error::{Error, ErrorCode};
pub use ringfence_protocol::message;
pub use ringfence_protocol::schema::{EngineSchema, MethodSchema};
