//! How a topic may be made.

use std::time::Duration;

use super::{LogGeometry, LogGeometryError};
use crate::limits;

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
    /// The sizes of its log.
    ///
    /// # Errors
    /// [`LogGeometryError`] with the numbers.
    pub fn geometry(self) -> Result<LogGeometry, LogGeometryError> {
        LogGeometry::for_payloads(self.slots, self.payload_bytes)
    }
}
