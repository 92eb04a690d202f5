//! The typed requests and replies of the engines that come with Ringfence, one file an engine.
//!
//! These declarations are the single source of layouts, catalogue and digests.

pub mod bus;
pub mod serving;
pub mod system;
pub mod vectors;
