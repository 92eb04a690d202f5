//! All that two Ringfence processes must agree on.

pub mod board;
pub mod listen_fds;
