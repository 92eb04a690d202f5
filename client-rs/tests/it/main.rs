//! The client against a daemon that is played, well or badly, by threads of this process.

mod calls;
mod handshake;
mod large;
mod mock;
mod restart;
mod threads;
mod waiting;
