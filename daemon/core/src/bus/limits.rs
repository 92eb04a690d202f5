//! Every bound of the bus, in one place. Those of a log's sizes are the protocol's.

/// Bytes of a topic's name.
pub(super) const NAME_BYTES: usize = 128;

/// Publishes that wait in one topic.
pub(super) const QUEUED: usize = 4096;

/// Bytes of the publishes that wait in one topic; as many as its log has, if that is longer.
pub(super) const QUEUE_BYTES: usize = 256 * 1024;

/// Publishes that wait of which one look asks whether their callers still do.
pub(super) const QUEUE_LOOKS: usize = 64;

/// Publishes that one look at a topic's queue lets go on.
pub(super) const SERVED: usize = 64;

/// Bytes of those together; a lone one may be longer.
pub(super) const SERVED_BYTES: usize = 256 * 1024;

/// What one bus may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Number of topics.
    pub topics: usize,
    /// Number of subscriptions of one topic.
    pub subscriptions: usize,
    /// Bytes of all logs together.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { topics: 1024, subscriptions: 1024, bytes: 1 << 30 }
    }
}
