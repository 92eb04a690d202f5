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
//!   W  seq = q + S; fence(SeqCst); look at the holds
//!                                                 X  hold; fence(SeqCst); seq again
//!   Z  hold: load, fence(Acquire)            <-   Y  hold = 0, Release store          a block may be reused
//!   AJ cursor: load, fence(Acquire)          <-   AI cursor, Release store            a message may be overwritten
//! ```
//!
//! O pairs with P: a reader that copied a word stored behind the writer's fence sees, after its own
//! fence, at least the `seq` stored before the writer's (Rust reference, `fence`, fence-fence
//! synchronisation; the argument of a sequence lock). Without the step O, 376 075 of 20 million
//! accepted reads were torn (measured with a small program; `tests/log.rs` shows it anew).
//!
//! A message that fits no slot lies in a block of the log's arena. Before a block is used
//! again the slot of its message q says what it will say a lap later, that q + S is being written: so
//! a reader that copies from the block finds out by P as it does for a slot. (W's fence is O's here.)
//! One that reads in place holds the block first. Of the fences W and X one is the first in their
//! total order, so either the reader sees the new `seq` and gives the hold back, or the writer sees
//! the hold and leaves the block alone.
//!
//! AI and AJ are for topics in which every message counts. A copy that is made too late is found out by P there
//! too, and would be a message missed that nobody was to miss.
//!
//! What it does not do: wake anybody, decide who may publish, hold up a publisher for a slow reader
//! (ringfence-core, `bus`), know who may hold how much.

mod blocks;
mod buffer;
mod cursors;
mod geometry;
mod inbox;
mod layout;
mod options;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;

pub use blocks::{BlockUse, Holds};
pub use cursors::Cursors;
pub use geometry::{LogGeometry, LogGeometryError};
pub use inbox::{BufferError, Counts, Event, Found, Inbox, Keep, Message};
pub use layout::{Envelope, header, slot};
pub use options::{Policy, TopicOptions};
pub use reader::{
    InPlace, LogError, LogFault, LogReader, Read, SHORT_WORDS, SeekError, Short, Start,
};
pub use writer::{LogWriter, TooLong, WriteError};

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
