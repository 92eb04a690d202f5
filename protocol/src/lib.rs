//! All that two Ringfence processes must agree on. `SPEC.md` beside this crate is the law; this is
//! its only implementation.

pub mod api;
pub mod board;
pub mod contract;
pub mod crash;
pub mod disarm;
pub mod dynamic;
pub mod error;
pub mod fault;
pub mod geometry;
pub mod layout;
pub mod ledger;
pub mod limits;
pub mod listen_fds;
pub mod log;
pub mod measures;
pub mod memory;
pub mod message;
pub mod names;
pub mod region;
pub mod ring;
pub mod schema;
pub mod sys;
#[cfg(feature = "topology")]
pub mod topology;
pub mod wait;
pub mod wire;
