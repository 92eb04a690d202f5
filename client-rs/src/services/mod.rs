//! Engines that come with Ringfence, typed: one file an engine. They only encode and decode.

pub mod serving;
pub mod vectors;
