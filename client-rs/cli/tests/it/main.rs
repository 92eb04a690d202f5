//! The command line against real daemons: exit codes, shapes of output, pipes.

// Helpers are test code too.
#![allow(clippy::unwrap_used)]

mod bench;
mod call;
mod codegen;
mod daemon;
mod doctor;
mod pages;
mod ping;
mod schema;
mod shell;
#[path = "../../../../protocol/tests/common/skip.rs"]
mod skip;
mod status;
mod top;
mod topology;
mod torture;
