//! What a subscription delivers.

use std::fmt;
use std::ops::Deref;

use ringfence_protocol::log::{self, Envelope, InPlace, Position, SHORT_WORDS, Short};
use ringfence_protocol::region::Region;
use zerocopy::IntoBytes;

use super::ears::Hold;
use crate::reply::Reply;

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it stands in its topic.
    pub position: Position,
    /// What is said of it.
    pub envelope: Envelope,
    /// The payload.
    pub payload: Payload,
}

impl From<Short> for Message {
    #[inline(always)]
    fn from(short: Short) -> Self {
        let Short { position, envelope, len, words } = short;
        Self { position, envelope, payload: Payload::short(len, words) }
    }
}

/// What a subscription delivers, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message.
    Message(Message),
    /// So many messages were overwritten here before they were read.
    Overtaken {
        /// How many, exactly.
        missed: u64,
    },
}

impl Event {
    /// What was found in a log, whose memory this is.
    pub(super) fn of_log(
        event: log::Event,
        in_place: Option<InPlace<Hold>>,
        memory: &Region,
    ) -> Self {
        match (event, in_place) {
            (log::Event::Overtaken { missed }, _) => Self::Overtaken { missed },
            (log::Event::Message(log::Message { position, envelope, payload }), in_place) => {
                let payload = match in_place {
                    None => Payload::copied(payload),
                    Some(InPlace { hold, at, len }) => {
                        Payload::held(Reply::held(memory.clone(), at, len, hold))
                    }
                };
                Self::Message(Message { position, envelope, payload })
            }
        }
    }
}

/// The payload of a message: copied out of the topic's log, or a block of it that is held as long as
/// somebody has the payload.
#[derive(Clone)]
pub struct Payload(Kind);

#[derive(Clone)]
enum Kind {
    /// Copied, without an allocation.
    Short {
        len: u8,
        words: [u64; SHORT_WORDS],
    },
    Copied(Box<[u8]>),
    Held(std::sync::Arc<Reply>),
}

impl Payload {
    /// The first `len` bytes of these words.
    #[inline(always)]
    pub(super) fn short(len: u8, words: [u64; SHORT_WORDS]) -> Self {
        Self(Kind::Short { len, words })
    }

    pub(super) fn copied(bytes: Box<[u8]>) -> Self {
        Self(Kind::Copied(bytes))
    }

    pub(super) fn held(reply: Reply) -> Self {
        Self(Kind::Held(std::sync::Arc::new(reply)))
    }

    /// Is it a block of the log, which is copied only when it is looked at as a slice?
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.0, Kind::Held(_))
    }

    /// The block where it lies, for a view of it ([`Reply::as_ptr`](crate::Reply::as_ptr)).
    ///
    /// # Errors
    /// The payload itself, if it was copied.
    pub fn into_view(self) -> Result<std::sync::Arc<Reply>, Self> {
        match self.0 {
            Kind::Held(reply) => Ok(reply),
            copied => Err(Self(copied)),
        }
    }
}

impl Deref for Payload {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kind::Short { len, words } => &words.as_bytes()[..usize::from(*len)],
            Kind::Copied(bytes) => bytes,
            Kind::Held(reply) => reply,
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, held) = (self.len(), self.is_held());
        f.debug_struct("Payload").field("len", &len).field("held", &held).finish()
    }
}
