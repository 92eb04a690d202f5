//! Every bound of the bus, in one place. Those of a log's sizes are the protocol's.

/// Bytes of a topic's name.
pub(super) const NAME_BYTES: usize = 128;

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
