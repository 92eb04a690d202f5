//! `system`: the engine that every daemon has, as engine number 0.

use crate::message;
use crate::schema::{EngineSchema, MethodSchema};

/// The engine's name.
pub const NAME: &str = "system";
/// The engine's number: always 0.
pub const ENGINE: u16 = 0;

/// Number of `ping`.
pub const PING: u16 = 0;
/// Number of `echo`.
pub const ECHO: u16 = 1;
/// Number of `catalogue`.
pub const CATALOGUE: u16 = 2;
/// Number of `stats`.
pub const STATS: u16 = 3;

message! {
    /// Nothing.
    pub struct Nothing {}
}

message! {
    /// Any bytes.
    pub struct Bytes<'a> {
        /// The bytes.
        data: &'a [u8],
    }
}

message! {
    /// The daemon as it sees itself; counts since its start. They lag by up to one sweep (100 ms).
    pub struct Stats<'a> {
        /// Milliseconds since the daemon started.
        uptime_ms: u64,
        /// Sessions open now.
        sessions: u64,
        /// Lanes open now.
        lanes: u64,
        /// Requests answered, errors included.
        calls: u64,
        /// Requests answered with an error.
        errors: u64,
        /// Sessions ended by a broken rule.
        faults: u64,
        /// Bytes of reply memory that this session's client still holds.
        leased_bytes: u64,
        /// Bytes of segments that this session owns.
        segment_bytes: u64,
        /// The daemon's process id.
        pid: u32,
        /// The daemon's version.
        version: &'a str,
    }
}

/// The engine's schema.
#[must_use]
pub fn schema() -> EngineSchema {
    EngineSchema::new(
        NAME,
        "What every daemon answers.",
        vec![
            MethodSchema::new::<Nothing, Nothing>(PING, "ping", "Answers nothing, quickly.")
                .idempotent(),
            MethodSchema::new::<Bytes, Bytes>(ECHO, "echo", "Answers the bytes that it was sent.")
                .idempotent(),
            MethodSchema::new::<Nothing, Bytes>(
                CATALOGUE,
                "catalogue",
                "All engines with their methods and layouts, bincode.",
            )
            .idempotent(),
            MethodSchema::new::<Nothing, Stats>(STATS, "stats", "The daemon as it sees itself.")
                .idempotent(),
        ],
    )
}
