//! The topic of a type of message: name and size follow from the type, so that all who exchange it meet,
//! in whichever language, and name no topic.

use std::ops::RangeInclusive;

use crate::log::TopicOptions;

/// About what the log of such a topic takes.
const LOG_BYTES: usize = 1 << 20;

/// About what a message takes besides its payload.
const HEAD_BYTES: usize = 128;

/// Messages that such a log holds.
const SLOTS: RangeInclusive<usize> = 64..=4096;

/// Name and options of the topic of a type, whose messages have at most so many bytes.
///
/// ```
/// let (name, options) = ringfence_protocol::contract::topic(1002, 16);
/// assert_eq!((name.as_str(), options.slots, options.payload_bytes), ("type.1002", 4096, 16));
/// ```
#[must_use]
pub fn topic(type_id: u16, longest: usize) -> (String, TopicOptions) {
    let fitting = LOG_BYTES / longest.saturating_add(HEAD_BYTES);
    let slots = 1 << fitting.clamp(*SLOTS.start(), *SLOTS.end()).ilog2();
    (format!("type.{type_id}"), TopicOptions::for_messages(slots, longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_a_log_of_about_a_mebibyte() {
        for (longest, slots) in
            [(0, 4096), (128, 4096), (129, 2048), (4096, 128), (16_256, 64), (usize::MAX, 64)]
        {
            let (name, options) = topic(7, longest);
            assert_eq!((name.as_str(), options.slots), ("type.7", slots), "{longest}");
            assert!(options.slots.is_power_of_two());
        }
        assert!(topic(7, 60_000).1.geometry().is_ok());
        let long = topic(7, 4 << 20).1.geometry().unwrap();
        assert_eq!((long.blocks, long.message_bytes()), (8, 4 << 20));
        assert!(topic(7, usize::MAX).1.geometry().is_err());
    }
}
