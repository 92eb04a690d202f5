//! What a lane's table knows of an open call: who wants its answer, and which memory it holds until then.

use std::sync::Arc;

use crate::bulk::Bulk;
use crate::pending::Entry;
use crate::topics::Tally;

/// Who wants an answer.
#[derive(Debug)]
pub(crate) enum Owner {
    /// The place in the table is free.
    Free,
    /// Nobody any more; the ticket's request memory is still the daemon's.
    Nobody,
    /// Whoever waits for this entry.
    Entry(Arc<Entry>),
    /// One item of the batch `key`.
    Item { key: u32, index: u32 },
    /// So many messages that were posted: their answer is only counted.
    Post(Arc<Tally>, u32),
    /// A subscription of this number, which is free when the daemon has forgotten it.
    Farewell(u32),
}

/// Request memory of an open call.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// None: the payload was inline.
    Nothing,
    /// Blocks of the lane's arena.
    Arena { block: u32, len: usize },
    /// A segment of its own.
    Bulk(Arc<Bulk>),
}
