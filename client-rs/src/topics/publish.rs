//! A message to be published, and its bytes on the way to the daemon.

use ringfence_protocol::api::bus as api;
use ringfence_protocol::limits::{INLINE_BYTES, LINE_BYTES, LINE_WORDS};
use ringfence_protocol::memory::line_words;
use ringfence_protocol::message::Message;

use crate::error::Error;

/// Bytes before the payload of a message without ids.
pub(super) const HEAD: usize = 16;

/// A request of a slot, in the pieces in which it is written there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines<'p> {
    /// Bytes in all.
    pub(super) len: usize,
    pub(super) line: [u64; LINE_WORDS],
    pub(super) behind: &'p [u8],
}

impl<'p> Lines<'p> {
    /// Of bytes, if they fit a slot.
    fn of(bytes: &'p [u8]) -> Option<Self> {
        let (line, behind) = bytes.split_at(bytes.len().min(LINE_BYTES));
        let fits = bytes.len() <= INLINE_BYTES;
        fits.then(|| Self { len: bytes.len(), line: line_words(line), behind })
    }
}

/// A message to be published.
///
/// ```
/// use ringfence::Publication;
/// let order = Publication::new(b"buy").type_id(1000).correlation(7);
/// assert_eq!(order.payload(), b"buy");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Publication<'p> {
    payload: &'p [u8],
    type_id: u16,
    trace: u128,
    correlation: u128,
    must_be_heard: bool,
}

impl<'p> Publication<'p> {
    /// A message with this payload.
    pub const fn new(payload: &'p [u8]) -> Self {
        Self { payload, type_id: 0, trace: 0, correlation: 0, must_be_heard: false }
    }

    /// What the payload is: a number of the message schema. Any number is delivered.
    pub const fn type_id(self, type_id: u16) -> Self {
        Self { type_id, ..self }
    }

    /// A trace id; 0 is none.
    pub const fn trace(self, trace: u128) -> Self {
        Self { trace, ..self }
    }

    /// What it answers or belongs to; 0 is nothing.
    pub const fn correlation(self, correlation: u128) -> Self {
        Self { correlation, ..self }
    }

    /// It is an error if nobody has subscribed.
    pub const fn must_be_heard(self) -> Self {
        Self { must_be_heard: true, ..self }
    }

    /// The payload.
    #[must_use]
    pub const fn payload(&self) -> &'p [u8] {
        self.payload
    }

    #[cfg(feature = "inproc")]
    pub(super) fn outgoing(&self) -> ringfence_core::bus::Outgoing<'p> {
        let Self { payload, type_id, trace, correlation, must_be_heard } = *self;
        let publisher = 0;
        ringfence_core::bus::Outgoing {
            type_id,
            payload,
            publisher,
            trace,
            correlation,
            must_be_heard,
        }
    }

    /// What the payload is.
    pub(super) const fn kind(&self) -> u16 {
        self.type_id
    }

    pub(super) const fn flags(&self) -> u32 {
        if self.must_be_heard { api::MUST_BE_HEARD } else { 0 }
    }

    /// Is it published with ids?
    pub(super) const fn has_ids(&self) -> bool {
        self.trace != 0 || self.correlation != 0
    }

    /// The request, if it fits a slot: its words in the first line, and what of the payload is behind
    /// them, where it lies. Put together on the stack, it would be read in other pieces than it was
    /// written in, and each of them wait for the stores.
    #[inline(always)]
    pub(super) fn lines(&self, topic: u64) -> Option<Lines<'p>> {
        let len = HEAD + self.payload.len();
        if self.has_ids() || len > INLINE_BYTES {
            return None;
        }
        let (first, behind) = self.payload.split_at(self.payload.len().min(LINE_BYTES - HEAD));
        let kind = u64::from(self.type_id) | u64::from(self.flags()) << 32;
        let [first] = line_words(first);
        Some(Lines { len, line: [topic, kind, first], behind })
    }

    /// Gives the request to `send` as it goes in a slot; `None` if it does not fit one.
    #[inline(always)]
    pub(super) fn in_slot<T>(&self, topic: u64, send: impl FnOnce(Lines<'_>) -> T) -> Option<T> {
        match self.lines(topic) {
            Some(lines) => Some(send(lines)),
            None if self.payload.len() > INLINE_BYTES => None,
            None => Lines::of(&self.encoded_long(topic)).map(send),
        }
    }

    /// Gives the request's bytes to `send`: on the stack where they fit a slot.
    #[inline]
    pub(super) fn encoded<T>(&self, topic: u64, send: impl FnOnce(&[u8]) -> T) -> T {
        let Some(Lines { len, line, behind }) = self.lines(topic) else {
            return send(&self.encoded_long(topic));
        };
        let mut bytes = [0; INLINE_BYTES];
        for (to, word) in bytes.chunks_exact_mut(8).zip(line) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes[LINE_BYTES..LINE_BYTES + behind.len()].copy_from_slice(behind);
        send(&bytes[..len])
    }

    fn encoded_long(&self, topic: u64) -> Vec<u8> {
        let Self { payload, type_id, trace, correlation, .. } = *self;
        let mut bytes = Vec::with_capacity(payload.len() + 64);
        let flags = self.flags();
        if self.has_ids() {
            let (trace_low, trace_high) = (trace as u64, (trace >> 64) as u64);
            let (correlation_low, correlation_high) =
                (correlation as u64, (correlation >> 64) as u64);
            let traced = api::PublishTraced {
                topic,
                type_id,
                flags,
                trace_low,
                trace_high,
                correlation_low,
                correlation_high,
                payload,
            };
            traced.encode(&mut bytes);
        } else {
            api::Publish { topic, type_id, flags, payload }.encode(&mut bytes);
        }
        bytes
    }
}

/// The sequence in an answer.
#[inline]
pub(super) fn sequence(reply: &[u8]) -> Result<u64, Error> {
    Ok(api::Published::decode(reply)?.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_messages_have_the_layout_of_the_schema() {
        for len in [0, 1, 7, 8, 64, INLINE_BYTES - HEAD, INLINE_BYTES - HEAD + 1, 5000] {
            let payload: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
            for message in [
                Publication::new(&payload).type_id(0xabcd),
                Publication::new(&payload).must_be_heard(),
            ] {
                let mut expected = Vec::new();
                let (topic, type_id, flags) =
                    (0x0102_0304_0506_0708, message.type_id, message.flags());
                api::Publish { topic, type_id, flags, payload: &payload }.encode(&mut expected);
                message.encoded(topic, |bytes| assert_eq!(bytes, expected, "{len}"));
            }
        }
    }

    #[test]
    fn ids_travel_in_halves() {
        let (trace, correlation) = (1 | 2 << 64, u128::MAX - 1);
        let message = Publication::new(b"x").trace(trace).correlation(correlation);
        message.encoded(9, |bytes| {
            let words: Vec<u64> = vec![0; bytes.len().div_ceil(8)];
            drop(words);
            let mut aligned = zerocopy::transmute!([0_u64; 8]);
            let aligned: &mut [u8; 64] = &mut aligned;
            aligned[..bytes.len()].copy_from_slice(bytes);
            let read = api::PublishTraced::decode(&aligned[..bytes.len()]).unwrap();
            assert_eq!((read.trace_low, read.trace_high, read.payload), (1, 2, &b"x"[..]));
            assert_eq!((read.correlation_low, read.correlation_high), (u64::MAX - 1, u64::MAX));
        });
    }
}
