//! The client against a daemon that is played, well or badly, by threads of this process.

// Clippy knows tests by their attribute, not their helpers.
#![allow(clippy::unwrap_used)]

mod calls;
mod fork;
mod handshake;
mod large;
mod later;
mod many;
mod measures;
mod mock;
mod mock_session;
mod restart;
mod saving;
mod tasks;
mod threads;
mod waiting;
