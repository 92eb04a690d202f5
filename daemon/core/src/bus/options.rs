//! What a topic, a subscription and a message may be.

use std::time::Duration;

use ringfence_protocol::limits;
use ringfence_protocol::log::{LogGeometry, LogGeometryError};

/// What happens to a publish that would overwrite a message that a subscription has not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It is written all the same; who was lapped learns how many it missed.
    #[default]
    Overwrite,
    /// It waits, and all later ones of the topic behind it, at most so long. Then the subscriptions
    /// that are in the way are cut off, and told.
    Block {
        /// How long a publish waits.
        patience: Duration,
    },
    /// It is refused.
    Reject,
}

/// How a topic is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicOptions {
    /// What happens when a subscription is slow.
    pub policy: Policy,
    /// Messages that the log holds, a power of two.
    pub slots: u32,
    /// Bytes of the longest payload.
    pub payload_bytes: usize,
}

impl Default for TopicOptions {
    fn default() -> Self {
        let sizes = LogGeometry::default();
        Self {
            policy: Policy::Overwrite,
            slots: limits::DEFAULT_LOG_SLOTS,
            payload_bytes: sizes.payload_bytes(),
        }
    }
}

impl TopicOptions {
    pub(super) fn geometry(self) -> Result<LogGeometry, LogGeometryError> {
        LogGeometry::for_payloads(self.slots, self.payload_bytes)
    }
}

/// A message to be published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outgoing<'p> {
    /// What the payload is: a number of the message schema. Any number is delivered.
    pub type_id: u16,
    /// The payload.
    pub payload: &'p [u8],
    /// Who publishes.
    pub publisher: u64,
    /// A trace id; 0 = none.
    pub trace: u128,
    /// What it answers or belongs to; 0 = none.
    pub correlation: u128,
    /// Is it an error if nobody has subscribed?
    pub must_be_heard: bool,
}
