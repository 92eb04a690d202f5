//! The broadcast log: one writer, any number of readers that never hold it up. SPEC section B is its
//! law.
//!
//! [`LogWriter`] writes messages into slots in turn and overwrites the oldest; [`LogReader`] has a
//! place of its own, copies a message out, and learns by the slot's `seq` whether the copy is whole.
//! A reader that was lapped learns exactly how many messages it missed. Both are generic over the
//! memory, so that what loom checks is what ships: on the heap within one process, in a `topic`
//! segment between processes, which only the daemon writes.
//!
//! Every ordering has a partner (the letters go on from those of the rings):
//!
//! ```text
//!   writer                                        reader
//!   O  seq = p, then fence(Release)          ->   P  fence(Acquire), then seq again   a copy is whole
//!   Q  seq = p + 1           Release store   ->   R  load, fence(Acquire)             a message's words
//!   S  next                  Release store   ->   T  load, fence(Acquire)             all below is there
//! ```
//!
//! O pairs with P: a reader that copied a word stored behind the writer's fence sees, after its own
//! fence, at least the `seq` stored before the writer's (Rust reference, `fence`, fence-fence
//! synchronisation; the argument of a sequence lock). Without the step O, 376 075 of 20 million
//! accepted reads were torn (measured with a small program; `tests/log.rs` shows it anew).
//!
//! What it does not do: wake anybody, decide who may publish, hold up a publisher for a slow reader
//! (ringfence-core, `bus`), carry messages larger than a slot.

mod buffer;
mod geometry;
mod inbox;
mod layout;
mod options;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;

pub use geometry::{LogGeometry, LogGeometryError};
pub use inbox::{BufferError, Counts, Event, Inbox, Keep, Message};
pub use layout::{Envelope, header, slot};
pub use options::{Policy, TopicOptions};
pub use reader::{LogError, LogFault, LogReader, Read, SeekError, Start};
pub use writer::{LogWriter, TooLong};

/// Where a message stands: its number within the life of one daemon. A daemon that starts anew has
/// another epoch, so no position ever names two messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Of the daemon that wrote the message.
    pub epoch: u64,
    /// Place in the log, free-running.
    pub sequence: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.sequence)
    }
}
