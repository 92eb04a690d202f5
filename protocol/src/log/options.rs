//! How a topic may be made.

use std::time::Duration;

use super::{LogGeometry, LogGeometryError, slot};
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
    /// Bytes of the longest payload that lies in a slot.
    pub payload_bytes: usize,
    /// Longer messages that the log holds besides, each in a block of its own.
    pub blocks: u32,
    /// Bytes of the longest payload in a block: a multiple of 4096, 0 without blocks.
    pub block_bytes: u32,
}

impl Default for TopicOptions {
    fn default() -> Self {
        let sizes = LogGeometry::default();
        Self {
            policy: Policy::Overwrite,
            slots: limits::DEFAULT_LOG_SLOTS,
            payload_bytes: sizes.payload_bytes(),
            blocks: 0,
            block_bytes: 0,
        }
    }
}

impl TopicOptions {
    /// For messages of up to so many bytes: in slots, or where that is too much for a slot each in a block,
    /// of which there are eight.
    #[must_use]
    pub fn for_messages(slots: u32, longest: usize) -> Self {
        const BLOCKS: u32 = 8;
        let options = Self { slots, ..Self::default() };
        if longest <= *limits::LOG_STRIDES.end() as usize - slot::REST {
            return Self { payload_bytes: longest, ..options };
        }
        let block = longest.checked_next_multiple_of(limits::BLOCK_BYTES);
        let block_bytes = block.and_then(|bytes| bytes.try_into().ok()).unwrap_or(u32::MAX);
        Self { blocks: BLOCKS, block_bytes, ..options }
    }

    /// The sizes of its log.
    ///
    /// # Errors
    /// [`LogGeometryError`] with the numbers.
    pub fn geometry(self) -> Result<LogGeometry, LogGeometryError> {
        let Self { slots, payload_bytes, blocks, block_bytes, .. } = self;
        let slots = LogGeometry::for_payloads(slots, payload_bytes)?;
        LogGeometry { blocks, block_bytes, ..slots }.validated()
    }
}
