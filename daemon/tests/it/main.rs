//! The daemon as a process, from outside: a foreign client that speaks SPEC.md by hand, well and badly.
#![allow(clippy::unwrap_used)]

mod crash;
mod daemon;
mod deferred;
#[cfg(feature = "vectors")]
mod engines;
mod hostile;
mod hostile_topics;
mod metrics;
mod pages;
mod raw;
mod scarcity;
mod spine;
mod topics;
