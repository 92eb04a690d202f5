//! The Rust client of Ringfence: call engines that run in another process as if they were linked in.
//!
//! ```no_run
//! let client = ringfence::Client::connect()?;
//! assert_eq!(client.echo(b"hello")?, b"hello");
//! # Ok::<(), ringfence::Error>(())
//! ```
//!
//! A [`Client`] is cheap to clone and may be used from any thread. It finds the daemon again after a
//! restart, and a forked child finds it by itself. It needs no runtime, and starts no thread.

#![forbid(unsafe_code)]

mod any;
mod autostart;
mod board;
mod bulk;
mod call;
mod calling;
mod catalogue;
mod cell;
mod client;
mod control;
mod copies;
mod driver;
mod error;
mod info;
#[cfg(feature = "inproc")]
mod inproc;
mod lane;
mod lending;
mod linger;
mod link;
mod loan;
mod many;
mod measure;
mod method;
mod options;
mod owner;
mod pending;
mod reactor;
mod remote;
mod reply;
mod room;
mod services;
mod session;
mod submit;
mod target;
mod timers;
mod topics;
#[cfg(feature = "topology")]
pub mod topology;
mod wait;
mod way;

pub use any::wait_any;
pub use board::Board;
pub use calling::Calling;
pub use client::{Called, Client};
pub use copies::{copied_bytes, count_copied};
pub use driver::Driver;
pub use error::{Error, Outcome};
pub use info::{Info, Stats};
pub use loan::{Loan, LoanRef, Loaned};
pub use measure::Measurement;
pub use method::Method;
pub use options::{Builder, CallOptions, Spin, Timeout};
pub use pending::Pending;
pub use reply::Reply;
#[cfg(feature = "inproc")]
pub use ringfence_core::bus;
pub use ringfence_protocol::error::ErrorCode;
pub use ringfence_protocol::ledger::Ledger;
pub use ringfence_protocol::log::{Counts, Envelope, Keep, Policy, Position, Start, TopicOptions};
pub use ringfence_protocol::sys::fork::ForkStamp;
pub use ringfence_protocol::{
    board as board_rows, contract, dynamic, error as remote_error, message, schema,
};
pub use services::{serving, vectors};
pub use topics::{
    Event, Message, Payload, Publication, Publisher, Subscription, Topic, TopicStats,
};

/// For our own command line: the binary that a client starts where no daemon runs.
#[doc(hidden)]
pub use autostart::daemon_binary;

/// A client for the examples in this documentation: the engines inside this process.
#[cfg(feature = "inproc")]
#[doc(hidden)]
#[must_use]
#[allow(clippy::expect_used)]
pub fn doctest_client() -> Client {
    Client::builder().inproc().connect().expect("in process there is nothing to connect to")
}
