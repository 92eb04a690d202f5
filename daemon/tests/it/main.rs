//! The daemon as a process, from outside: a foreign client that speaks SPEC.md by hand, well and badly.
#![allow(clippy::unwrap_used)]

mod actors;
mod bells;
mod crash;
mod crowds;
mod daemon;
mod deferred;
mod disarmed;
mod ends;
#[cfg(feature = "vectors")]
mod engines;
mod faults;
mod foreigners;
mod hellos;
mod hostile;
mod hostile_topics;
mod injected;
mod metrics;
mod namespaces;
mod pages;
mod raw;
mod scarcity;
#[path = "../../../protocol/tests/common/skip.rs"]
mod skip;
mod spine;
mod squatters;
mod stopped;
mod topics;
mod topics_of_tasks;
mod trial;
mod turns;
