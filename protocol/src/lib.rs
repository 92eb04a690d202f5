//! All that two Ringfence processes must agree on. `SPEC.md` beside this crate is the law; this is
//! its only implementation.

pub mod api;
pub mod error;
pub mod limits;
pub mod message;
pub mod schema;
