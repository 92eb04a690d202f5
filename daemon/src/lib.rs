//! The Ringfence sidecar as a library.

pub mod cli;
pub mod config;
