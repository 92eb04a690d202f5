//! What the words of a broadcast log mean. Data only.
//!
//! ```text
//! header: stored once, before anybody reads it                 offset
//!   magic        u64   RFTOPIC1                                    0
//!   epoch        u64   of the daemon that writes                   8
//!   first        u64   position of the first message              16
//!   slots        u32   a power of two                             24
//!   stride       u32   bytes of a slot                            28
//!   blocks       u32   of the arena                               32
//!   block_bytes  u32   bytes of a block                           36
//! by the writer
//!   next         u64   position of the next message: a hint      128
//! ring           slots                                           256
//! arena          blocks                   the next multiple of 4096
//! ```
//!
//! A slot; everything but `seq` is stored between O and Q (`log/mod.rs`):
//!
//! ```text
//!   0  seq          u64   p + 1: the message at p is here. p: it is being written
//!   8  len          u32   payload bytes
//!  12  type_id      u16   what the payload is
//!  14  flags        u16   1: ids stand before the payload. 2: the payload is in a block
//!  16  timestamp    u64   CLOCK_REALTIME in ns, when the message got its position
//!  24  publisher    u64   session that published it
//!  32  payload            up to the end of the slot; or, with flag 1:
//!  32  trace        u128  a trace id, the publisher's; 0 = none
//!  48  correlation  u128  what it answers or belongs to, the publisher's; 0 = none
//!  64  payload            up to the end of the slot
//! ```
//!
//! With flag 2 {block u32, generation u32} stand in place of the payload.
//!
//! A message of up to 32 bytes without ids is one cache line, one of up to 96 is two.

/// Offsets in the header.
pub mod header {
    use crate::layout::LINE;

    /// What a log starts with.
    pub const MAGIC_VALUE: u64 = u64::from_le_bytes(*b"RFTOPIC1");
    /// [`MAGIC_VALUE`].
    pub const MAGIC: usize = 0;
    /// Of the daemon that writes.
    pub const EPOCH: usize = 8;
    /// Position of the first message.
    pub const FIRST: usize = 16;
    /// `slots` and `stride`.
    pub const SLOTS: usize = 24;
    /// `blocks` and `block_bytes`.
    pub const BLOCKS: usize = 32;
    /// Position of the next message: away from what every reader loads once, and from the slots.
    pub const NEXT: usize = LINE;
    /// The slots.
    pub const RING: usize = 2 * LINE;
}

/// Offsets in a slot.
pub mod slot {
    /// Position + 1, or the position while it is being written.
    pub const SEQ: usize = 0;
    /// `len`, `type_id` and `flags`.
    pub const LEN: usize = 8;
    /// When.
    pub const TIMESTAMP: usize = 16;
    /// Who.
    pub const PUBLISHER: usize = 24;
    /// The payload, or the ids if there are any.
    pub const BODY: usize = 32;
    /// The second line: the payload behind the ids, or the rest of a payload that began at
    /// [`BODY`].
    pub const REST: usize = 64;
}

/// Flag: a trace or a correlation id stands before the payload.
pub(super) const IDS: u16 = 1;
/// Flag: the payload is in a block.
pub(super) const BLOCK: u16 = 2;

/// Words of the head, between `seq` and the body.
pub(super) const HEAD_WORDS: usize = (slot::BODY - slot::LEN) / 8;
/// Words of the body in the first line: as many as the ids have.
pub(super) const LINE_WORDS: usize = (slot::REST - slot::BODY) / 8;

const _: () = assert!(header::BLOCKS + 8 <= header::NEXT && header::NEXT + 8 <= header::RING);
const _: () = assert!(header::RING.is_multiple_of(crate::limits::LOG_STRIDE_STEP as usize));
const _: () = assert!(slot::REST == crate::limits::LOG_STRIDE_STEP as usize && LINE_WORDS == 4);
const _: () = assert!(slot::REST < *crate::limits::LOG_STRIDES.start() as usize);

/// What is said of a message besides its payload and its position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is: a number of the message schema.
    pub type_id: u16,
    /// CLOCK_REALTIME in nanoseconds, when the message got its position.
    pub timestamp: u64,
    /// Session that published it.
    pub publisher: u64,
    /// A trace id, the publisher's; 0 = none.
    pub trace: u128,
    /// What it answers or belongs to, the publisher's; 0 = none.
    pub correlation: u128,
}

/// The words of a slot between `seq` and the payload, in private memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) len: u32,
    pub(super) flags: u16,
    pub(super) envelope: Envelope,
}

impl Head {
    /// The head of a payload in its slot.
    #[inline]
    pub(super) const fn new(len: u32, envelope: Envelope) -> Self {
        let has_ids = envelope.trace != 0 || envelope.correlation != 0;
        Self { len, flags: if has_ids { IDS } else { 0 }, envelope }
    }

    /// The head of the same payload in a block.
    pub(super) const fn in_block(self) -> Self {
        Self { flags: self.flags | BLOCK, ..self }
    }

    #[inline]
    pub(super) const fn has(self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Offset in the slot of the payload, or of what stands in its place.
    #[inline]
    pub(super) const fn payload(self) -> usize {
        if self.has(IDS) { slot::REST } else { slot::BODY }
    }

    #[inline]
    pub(super) const fn words(self) -> [u64; HEAD_WORDS] {
        let Envelope { type_id, timestamp, publisher, .. } = self.envelope;
        let len = self.len as u64 | (type_id as u64) << 32 | (self.flags as u64) << 48;
        [len, timestamp, publisher]
    }

    #[inline]
    pub(super) const fn ids(self) -> [u64; LINE_WORDS] {
        let Envelope { trace, correlation, .. } = self.envelope;
        [trace as u64, (trace >> 64) as u64, correlation as u64, (correlation >> 64) as u64]
    }

    /// Without ids.
    #[inline]
    pub(super) const fn from_words([len, timestamp, publisher]: [u64; HEAD_WORDS]) -> Self {
        let type_id = (len >> 32) as u16;
        let envelope = Envelope { type_id, timestamp, publisher, trace: 0, correlation: 0 };
        Self { len: len as u32, flags: (len >> 48) as u16, envelope }
    }

    #[inline]
    pub(super) const fn with_ids(mut self, ids: [u64; LINE_WORDS]) -> Self {
        self.envelope.trace = ids[0] as u128 | (ids[1] as u128) << 64;
        self.envelope.correlation = ids[2] as u128 | (ids[3] as u128) << 64;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_its_words() {
        let envelope = Envelope {
            type_id: 0xabcd,
            timestamp: 3,
            publisher: 4,
            trace: 5 | 6 << 64,
            correlation: u128::MAX - 1,
        };
        let head = Head::new(0x0102_0304, envelope);
        let (words, ids) = (head.words(), head.ids());
        assert_eq!(Head::from_words(words).with_ids(ids), head);
        let word = |offset: usize| words[(offset - slot::LEN) / 8];
        assert_eq!(word(slot::LEN).to_le_bytes()[4..6], 0xabcd_u16.to_le_bytes());
        assert_eq!((word(slot::TIMESTAMP), word(slot::PUBLISHER)), (3, 4));
        assert_eq!(ids, [5, 6, u64::MAX - 1, u64::MAX]);
        assert_eq!((head.flags, head.payload()), (IDS, 64));
        let plain = Head::new(7, Envelope { trace: 0, correlation: 0, ..envelope });
        assert_eq!(Head::from_words(plain.words()), plain);
        assert_eq!((plain.flags, plain.payload()), (0, 32));
        for (trace, correlation) in [(1 << 64, 0), (0, 1 << 64)] {
            let either = Envelope { trace, correlation, ..envelope };
            assert!(Head::new(0, either).has(IDS));
        }
    }

    const HEADER: [(&str, usize); 8] = [
        ("magic", header::MAGIC),
        ("epoch", header::EPOCH),
        ("first", header::FIRST),
        ("slots", header::SLOTS),
        ("stride", header::SLOTS + 4),
        ("blocks", header::BLOCKS),
        ("block_bytes", header::BLOCKS + 4),
        ("next", header::NEXT),
    ];
    const SLOT: [(&str, usize); 8] = [
        ("seq", slot::SEQ),
        ("len", slot::LEN),
        ("type_id", slot::LEN + 4),
        ("flags", slot::LEN + 6),
        ("timestamp", slot::TIMESTAMP),
        ("publisher", slot::PUBLISHER),
        ("trace", slot::BODY),
        ("correlation", slot::BODY + 16),
    ];
    const PAYLOADS: [(&str, usize); 2] = [("payload", slot::BODY), ("payload", slot::REST)];

    /// The diagrams at the top must say what the constants say.
    #[test]
    fn the_diagrams_have_the_offsets_of_the_constants() {
        let lines =
            || include_str!("layout.rs").lines().filter_map(|line| line.strip_prefix("//! "));
        for (name, offset) in HEADER.into_iter().chain([("ring", header::RING)]) {
            let of_header = |line: &&str| line.split_whitespace().next() == Some(name);
            let line = lines().find(of_header).expect(name);
            assert_eq!(line.rsplit(' ').next(), Some(&*offset.to_string()), "{name}");
        }
        for (name, offset) in SLOT.into_iter().chain(PAYLOADS) {
            let of_slot =
                |line: &str| line.split_whitespace().take(2).eq([&*offset.to_string(), name]);
            assert!(lines().any(of_slot), "{offset} {name}");
        }
    }

    /// And so must the table in SPEC.
    #[test]
    fn the_table_in_spec_has_the_offsets_of_the_constants() {
        let spec = include_str!("../../SPEC.md");
        let section = &spec[spec.find("## B: ").expect("B")..spec.find("## W: ").expect("W")];
        for (name, offset) in HEADER.into_iter().chain(SLOT) {
            let cell = format!("| {offset} | `{name}`");
            assert!(section.contains(&cell), "{cell}");
        }
        for (name, offset) in PAYLOADS.into_iter().chain([("slots", header::RING)]) {
            assert!(section.contains(&format!("| {offset} | {name} |")), "{offset} {name}");
        }
        assert!(section.contains(&format!("at most stride - {}", slot::REST)));
    }
}
