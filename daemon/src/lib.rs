//! The Ringfence sidecar as a library.

pub mod board;
pub mod cli;
pub mod config;
pub mod logging;
pub mod notify;
