//! The native classes of what topics hand out: messages, places, counts.
//!
//! Each is a value: nothing in it changes, and none does anything. They are `ringfence`'s own classes.

use pyo3::prelude::*;

/// Where a message stands: the daemon's run, and its number in the topic there.
#[pyclass(frozen, eq, ord, hash, module = "ringfence", get_all)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
}

#[pymethods]
impl Position {
    #[new]
    fn new(epoch: u64, sequence: u64) -> Self {
        Self { epoch, sequence }
    }

    fn __repr__(&self) -> String {
        format!("Position(epoch={}, sequence={})", self.epoch, self.sequence)
    }
}

impl Position {
    pub(crate) fn of(position: ringfence::Position) -> Self {
        Self { epoch: position.epoch, sequence: position.sequence }
    }
}

/// A message that was received.
#[pyclass(frozen, module = "ringfence", get_all)]
pub(crate) struct Message {
    /// The payload: bytes, or a view of the topic's log if it lies in a block of that.
    pub(crate) data: Py<PyAny>,
    /// Where it stands in its topic.
    pub(crate) position: Py<Position>,
    /// What the payload is: a number of the message schema.
    pub(crate) type_id: u16,
    /// When it got its position: nanoseconds since 1970.
    pub(crate) timestamp: u64,
    /// The session that published it; 0 in process.
    pub(crate) publisher: u64,
    /// The publisher's trace id; 0 is none.
    pub(crate) trace: u128,
    /// What it answers or belongs to; 0 is nothing.
    pub(crate) correlation: u128,
    /// Messages that were overwritten right before it, and are lost to this subscription.
    pub(crate) missed: u64,
}

#[pymethods]
impl Message {
    fn __repr__(&self, py: Python<'_>) -> String {
        let len = self.data.bind(py).len().unwrap_or_default();
        let (position, type_id) = (self.position.get(), self.type_id);
        format!("<message {} of type {type_id}, {len} bytes>", position.sequence)
    }
}

/// How a topic stands.
#[pyclass(frozen, eq, module = "ringfence", get_all)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicStats {
    /// Messages published so far.
    pub(crate) published: u64,
    /// Subscriptions that are open.
    pub(crate) subscriptions: u64,
    /// Publishes that wait for room.
    pub(crate) waiting: u64,
}

#[pymethods]
impl TopicStats {
    fn __repr__(&self) -> String {
        let Self { published, subscriptions, waiting } = self;
        format!(
            "TopicStats(published={published}, subscriptions={subscriptions}, waiting={waiting})"
        )
    }
}

/// What became of the messages since a subscription's start: together all that was published.
#[pyclass(frozen, eq, module = "ringfence", get_all)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Handed out.
    pub(crate) received: u64,
    /// Overwritten before they were read, or published and not read when it was cut off.
    pub(crate) missed: u64,
    /// Read, and dropped from its buffer or instead of entering it.
    pub(crate) dropped: u64,
}

#[pymethods]
impl Counts {
    fn __repr__(&self) -> String {
        let Self { received, missed, dropped } = self;
        format!("Counts(received={received}, missed={missed}, dropped={dropped})")
    }
}
