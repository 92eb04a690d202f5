//! Engines that come with Ringfence, typed: one file an engine.

pub mod vectors;
