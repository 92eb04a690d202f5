//! The operating system, as far as the protocol needs it: each file wraps one kernel facility.
//!
//! Invariants: every descriptor is close-on-exec; every system call that a signal may interrupt
//! is repeated here, never by the caller (futex waits excepted: they say `Interrupted`); every
//! guard whose drop would reach beyond its own process checks its [`fork::ForkStamp`] first.
//! What it does not do: know layouts, rings or messages.

pub mod bell;
pub mod clock;
pub mod fork;
pub mod futex;
pub mod lock;
pub mod mapping;
pub mod random;
pub mod segment;
pub mod socket;
pub mod ticks;
pub mod wall;
pub mod window;

#[cfg(test)]
pub(crate) mod testing;
