//! Faults: one variant per rule of SPEC.md that a client can break.
//!
//! A fault ends the session that broke the rule, is counted, and is logged once per session with its
//! code. It touches nobody else. A user of a client library should not vary its behaviour on these:
//! they mean a bug or an attack.

/// A broken rule, with the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// SPEC S4: a payload in the slot is longer than the slot.
    #[error("inline payload of {len} bytes in a slot that holds {max}")]
    InlineLength {
        /// Bytes that the slot claimed.
        len: u32,
        /// Bytes that fit.
        max: u32,
    },
    /// SPEC S5: reserved bits of a request are set, or words that only completions use.
    #[error("reserved bits set in a request: flags {flags:#x}, status {status}, ticket {ticket}")]
    Reserved {
        /// The flags.
        flags: u16,
        /// The status.
        status: u16,
        /// The ticket.
        ticket: u64,
    },
    /// SPEC A2: a block index outside the arena, or a payload that runs over its end.
    #[error("payload of {len} bytes at block {block} of an arena of {blocks}")]
    Block {
        /// Zero-based block.
        block: u32,
        /// Bytes of the payload.
        len: u32,
        /// Blocks of the arena.
        blocks: u32,
    },
    /// SPEC A3: a bulk segment that the session does not have, or a payload larger than it.
    #[error("payload of {len} bytes in bulk segment {segment}, which has {has}")]
    Bulk {
        /// Number of the segment.
        segment: u32,
        /// Bytes of the payload.
        len: u32,
        /// Bytes of the segment, 0 if there is none.
        has: u64,
    },
    /// SPEC F3: `consumed` is not between what it was and `done`.
    #[error("consumed {consumed} is not in {from}..={done}")]
    Consumed {
        /// What the client stored.
        consumed: u64,
        /// What it had stored before.
        from: u64,
        /// Completions published.
        done: u64,
    },
    /// SPEC G6: a segment was truncated.
    #[error("segment `{segment}` was truncated")]
    Truncated {
        /// Which.
        segment: &'static str,
    },
    /// SPEC G6: a segment was made longer, or has lost pages.
    #[error("segment `{segment}` of {len} bytes has {has} now, {allocated} of them allocated")]
    Altered {
        /// Which.
        segment: &'static str,
        /// Bytes that it was made with, all of them allocated.
        len: u64,
        /// Bytes that it has.
        has: u64,
        /// Bytes that take memory.
        allocated: u64,
    },
    /// SPEC W2: a control message that cannot be decoded, or at the wrong moment.
    #[error("control message is malformed or out of order")]
    Control,
    /// SPEC W3: more control messages than the limit in a short time.
    #[error("{count} control messages in a short time, the limit is {limit}")]
    ControlFlood {
        /// How many.
        count: u32,
        /// How many are allowed.
        limit: u32,
    },
    /// SPEC W4: the client sent descriptors.
    #[error("the client sent descriptors")]
    Descriptors,
    /// SPEC P5: more useless bells than the limit.
    #[error("{count} useless bells in a second, the limit is {limit}")]
    BellStorm {
        /// How many.
        count: u32,
        /// How many are allowed.
        limit: u32,
    },
}

impl Fault {
    /// A short constant name for logs and counters.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Fault::InlineLength { .. } => "inline-length",
            Fault::Reserved { .. } => "reserved",
            Fault::Block { .. } => "block",
            Fault::Bulk { .. } => "bulk",
            Fault::Consumed { .. } => "consumed",
            Fault::Truncated { .. } => "truncated",
            Fault::Altered { .. } => "altered",
            Fault::Control => "control",
            Fault::ControlFlood { .. } => "control-flood",
            Fault::Descriptors => "descriptors",
            Fault::BellStorm { .. } => "bell-storm",
        }
    }
}
