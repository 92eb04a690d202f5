//! `bus`: topics that many publish to and many read from, each with one order of messages.
//!
//! A publish is a call; what it publishes is read from the topic's log (SPEC section B), which the
//! daemon writes and subscribers map. Names of topics are for opening only: everything else names
//! a topic by its handle, which means nothing to another run of the daemon.

use crate::message;
use crate::schema::{EngineSchema, MethodSchema};

/// The engine's name.
pub const NAME: &str = "bus";

/// Number of `open`.
pub const OPEN: u16 = 0;
/// Number of `publish`.
pub const PUBLISH: u16 = 1;
/// Number of `publish_traced`.
pub const PUBLISH_TRACED: u16 = 2;
/// Number of `subscribe`.
pub const SUBSCRIBE: u16 = 3;
/// Number of `unsubscribe`.
pub const UNSUBSCRIBE: u16 = 4;
/// Number of `stats`.
pub const STATS: u16 = 5;
/// Number of `topics`.
pub const TOPICS: u16 = 6;

/// Number of `publish_many`.
pub const PUBLISH_MANY: u16 = 7;

/// Messages of one [`PublishMany`]: as many as are written while nobody else waits.
pub const MANY: usize = 256;

/// [`Open::policy`]: the log goes on; who is lapped learns how many messages it missed.
pub const OVERWRITE: u8 = 0;
/// [`Open::policy`]: a publish that would lap a subscription waits.
pub const BLOCK: u8 = 1;
/// [`Open::policy`]: a publish that would lap a subscription is refused.
pub const REJECT: u8 = 2;

/// [`Publish::flags`]: it is an error if nobody has subscribed.
pub const MUST_BE_HEARD: u32 = 1;

/// [`Subscribe::start`]: the oldest message that the log holds.
pub const FROM_OLDEST: u8 = 0;
/// [`Subscribe::start`]: the next message.
pub const FROM_NEWEST: u8 = 1;
/// [`Subscribe::start`]: the position that stands beside it.
pub const FROM_POSITION: u8 = 2;

/// The handle of a topic by its number and the epoch of its daemon.
#[must_use]
pub const fn handle(epoch: u64, number: u32) -> u64 {
    epoch << 32 | number as u64
}

/// The number in a handle, if the handle is of this epoch.
#[inline]
#[must_use]
pub const fn number(epoch: u64, handle: u64) -> Option<u32> {
    if (epoch << 32 ^ handle) >> 32 == 0 { Some(handle as u32) } else { None }
}

message! {
    /// How a topic is to be. With 0 slots it must be there already, however it is.
    pub struct Open<'a> {
        /// Messages that its log holds: a power of two.
        slots: u32,
        /// Bytes of the longest payload that lies in a slot.
        payload_bytes: u32,
        /// Messages of up to `block_bytes` that its log holds besides.
        blocks: u32,
        /// Bytes of the longest payload that lies in a block; 0 with `blocks` 0.
        block_bytes: u32,
        /// How long a publish waits, in milliseconds, if `policy` is 1.
        patience_ms: u32,
        /// 0 overwrite, 1 block, 2 reject.
        policy: u8,
        /// Its name.
        name: &'a str,
    }
}

message! {
    /// How a topic is.
    pub struct Opened {
        /// Of this run of the daemon; part of every position.
        epoch: u64,
        /// Its handle: the lower half of the epoch in the upper half, its number in the lower.
        topic: u64,
        /// Messages that its log holds.
        slots: u32,
        /// Bytes of the longest payload that lies in a slot.
        payload_bytes: u32,
        /// Messages in blocks that its log holds besides.
        blocks: u32,
        /// Bytes of the longest payload that lies in a block.
        block_bytes: u32,
        /// How long a publish waits, in milliseconds.
        patience_ms: u32,
        /// 0 overwrite, 1 block, 2 reject.
        policy: u8,
    }
}

message! {
    /// A message.
    pub struct Publish<'a> {
        /// The topic's handle.
        topic: u64,
        /// What the payload is.
        type_id: u16,
        /// 1: it is an error if nobody has subscribed. Of 32 bits, so that the payload is aligned to words:
        /// it is copied in words on its whole way.
        flags: u32,
        /// The payload.
        payload: &'a [u8],
    }
}

message! {
    /// A message with ids of 128 bits, each in two halves.
    pub struct PublishTraced<'a> {
        /// The topic's handle.
        topic: u64,
        /// What the payload is.
        type_id: u16,
        /// 1: it is an error if nobody has subscribed.
        flags: u32,
        /// Lower half of the trace id.
        trace_low: u64,
        /// Upper half.
        trace_high: u64,
        /// Lower half of the id of what it answers or belongs to.
        correlation_low: u64,
        /// Upper half.
        correlation_high: u64,
        /// The payload.
        payload: &'a [u8],
    }
}

message! {
    /// Messages that stand one behind the other in their topic: at most 256, all of one type, into a topic
    /// whose policy is 0.
    pub struct PublishMany<'a> {
        /// The topic's handle.
        topic: u64,
        /// What the payloads are.
        type_id: u16,
        /// 1: it is an error if nobody has subscribed.
        flags: u32,
        /// Bytes of each payload.
        lens: &'a [u32],
        /// The payloads, without gaps.
        payloads: &'a [u8],
    }
}

message! {
    /// Where a message stands in its topic; of many, the first.
    pub struct Published {
        /// Its sequence; the epoch is the daemon's.
        sequence: u64,
    }
}

message! {
    /// A subscription by the first lane of a session (SPEC B11).
    pub struct Subscribe {
        /// The topic's handle.
        topic: u64,
        /// Its number among the session's subscriptions, chosen by the client.
        subscription: u32,
        /// 0 oldest, 1 newest, 2 at a position.
        start: u8,
        /// Epoch of that position.
        epoch: u64,
        /// Its sequence.
        sequence: u64,
    }
}

message! {
    /// Where a subscription starts. The topic's log was announced on the control socket before.
    pub struct Subscribed {
        /// Sequence of the first message that it reads.
        sequence: u64,
    }
}

message! {
    /// A subscription of this session.
    pub struct Unsubscribe {
        /// Its number.
        subscription: u32,
    }
}

message! {
    /// A topic.
    pub struct Topic {
        /// Its handle.
        topic: u64,
    }
}

message! {
    /// How a topic stands.
    pub struct Stats {
        /// Sequence of the next message: how many were published.
        published: u64,
        /// Subscriptions that are open.
        subscriptions: u64,
        /// Publishes that wait for room.
        waiting: u64,
    }
}

message! {
    /// Names, one a line.
    pub struct Names<'a> {
        /// The names.
        names: &'a str,
    }
}

/// The engine's schema.
#[must_use]
pub fn schema() -> EngineSchema {
    use crate::api::system::Nothing;
    EngineSchema::new(
        NAME,
        "Topics: many publish, many read, one order.",
        vec![
            MethodSchema::new::<Open, Opened>(OPEN, "open", "Finds a topic, or makes it.")
                .idempotent(),
            MethodSchema::new::<Publish, Published>(PUBLISH, "publish", "Publishes a message."),
            MethodSchema::new::<PublishTraced, Published>(
                PUBLISH_TRACED,
                "publish_traced",
                "Publishes a message with a trace and a correlation id.",
            ),
            MethodSchema::new::<Subscribe, Subscribed>(
                SUBSCRIBE,
                "subscribe",
                "Lets the session read a topic's log. Clients call it, people do not.",
            ),
            MethodSchema::new::<Unsubscribe, Nothing>(
                UNSUBSCRIBE,
                "unsubscribe",
                "Ends a subscription; there may be none.",
            )
            .idempotent(),
            MethodSchema::new::<Topic, Stats>(STATS, "stats", "How a topic stands.").idempotent(),
            MethodSchema::new::<PublishMany, Published>(
                PUBLISH_MANY,
                "publish_many",
                "Publishes messages that stand one behind the other: all or none.",
            ),
            MethodSchema::new::<Nothing, Names>(TOPICS, "topics", "The names of all topics.")
                .idempotent(),
        ],
    )
}
