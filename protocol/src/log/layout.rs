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
//! by the writer
//!   next         u64   position of the next message: a hint      128
//! ring           slots                                           256
//! arena          blocks of 4096 bytes
//! ```
//!
//! A slot; everything but `seq` is stored between O and Q (`log/mod.rs`):
//!
//! ```text
//!   0  seq          u64   p + 1: the message at p is here. p: it is being written
//!   8  position     u64   p
//!  16  len          u32   payload bytes
//!  20  type_id      u16   what the payload is
//!  22  flags        u16   reserved, 0
//!  24  block        u64   reserved, 0: the payload is in the slot
//!  32  timestamp    u64   CLOCK_REALTIME in ns, when the message got its position
//!  40  publisher    u64   session that published it
//!  48  trace        u128  a trace id, the publisher's; 0 = none
//!  64  correlation  u128  what it answers or belongs to, the publisher's; 0 = none
//!  80  payload            up to the end of the slot
//! ```

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
    /// `blocks`.
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
    /// Position.
    pub const POSITION: usize = 8;
    /// `len`, `type_id` and `flags`.
    pub const LEN: usize = 16;
    /// Reserved.
    pub const BLOCK: usize = 24;
    /// When.
    pub const TIMESTAMP: usize = 32;
    /// Who.
    pub const PUBLISHER: usize = 40;
    /// Trace id.
    pub const TRACE: usize = 48;
    /// Correlation id.
    pub const CORRELATION: usize = 64;
    /// The payload.
    pub const PAYLOAD: usize = 80;
}

/// Words between `seq` and the payload.
pub(super) const HEAD_WORDS: usize = (slot::PAYLOAD - slot::POSITION) / 8;

const _: () = assert!(header::BLOCKS + 8 <= header::NEXT && header::NEXT + 8 <= header::RING);
const _: () = assert!(header::RING.is_multiple_of(crate::limits::LOG_STRIDE_STEP as usize));
const _: () = assert!(slot::CORRELATION + 16 == slot::PAYLOAD && HEAD_WORDS == 9);
const _: () = assert!(slot::PAYLOAD < *crate::limits::LOG_STRIDES.start() as usize);

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
    pub(super) position: u64,
    pub(super) len: u32,
    pub(super) flags: u16,
    pub(super) block: u64,
    pub(super) envelope: Envelope,
}

impl Head {
    #[inline]
    pub(super) const fn words(self) -> [u64; HEAD_WORDS] {
        let Envelope { type_id, timestamp, publisher, trace, correlation } = self.envelope;
        [
            self.position,
            self.len as u64 | (type_id as u64) << 32 | (self.flags as u64) << 48,
            self.block,
            timestamp,
            publisher,
            trace as u64,
            (trace >> 64) as u64,
            correlation as u64,
            (correlation >> 64) as u64,
        ]
    }

    #[inline]
    pub(super) const fn from_words(words: [u64; HEAD_WORDS]) -> Self {
        Self {
            position: words[0],
            len: words[1] as u32,
            flags: (words[1] >> 48) as u16,
            block: words[2],
            envelope: Envelope {
                type_id: (words[1] >> 32) as u16,
                timestamp: words[3],
                publisher: words[4],
                trace: words[5] as u128 | (words[6] as u128) << 64,
                correlation: words[7] as u128 | (words[8] as u128) << 64,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_its_words() {
        let head = Head {
            position: u64::MAX,
            len: 0x0102_0304,
            flags: 0xfffe,
            block: 7,
            envelope: Envelope {
                type_id: 0xabcd,
                timestamp: 3,
                publisher: 4,
                trace: 5 | 6 << 64,
                correlation: u128::MAX - 1,
            },
        };
        let words = head.words();
        assert_eq!(Head::from_words(words), head);
        let word = |offset: usize| words[(offset - slot::POSITION) / 8];
        assert_eq!((word(slot::POSITION), word(slot::BLOCK)), (u64::MAX, 7));
        assert_eq!(word(slot::LEN).to_le_bytes()[4..6], 0xabcd_u16.to_le_bytes());
        assert_eq!((word(slot::TIMESTAMP), word(slot::PUBLISHER)), (3, 4));
        assert_eq!((word(slot::TRACE), word(slot::TRACE + 8)), (5, 6));
        assert_eq!(word(slot::CORRELATION), u64::MAX - 1);
    }

    const HEADER: [(&str, usize); 7] = [
        ("magic", header::MAGIC),
        ("epoch", header::EPOCH),
        ("first", header::FIRST),
        ("slots", header::SLOTS),
        ("stride", header::SLOTS + 4),
        ("blocks", header::BLOCKS),
        ("next", header::NEXT),
    ];
    const SLOT: [(&str, usize); 10] = [
        ("seq", slot::SEQ),
        ("position", slot::POSITION),
        ("len", slot::LEN),
        ("type_id", slot::LEN + 4),
        ("flags", slot::LEN + 6),
        ("block", slot::BLOCK),
        ("timestamp", slot::TIMESTAMP),
        ("publisher", slot::PUBLISHER),
        ("trace", slot::TRACE),
        ("correlation", slot::CORRELATION),
    ];

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
        for (name, offset) in SLOT.into_iter().chain([("payload", slot::PAYLOAD)]) {
            let of_slot = |line: &&str| line.split_whitespace().nth(1) == Some(name);
            let line = lines().find(of_slot).expect(name);
            assert_eq!(line.split_whitespace().next(), Some(&*offset.to_string()), "{name}");
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
        assert!(section.contains(&format!("| {} | payload |", slot::PAYLOAD)));
        assert!(section.contains(&format!("| {} | slots |", header::RING)));
        assert!(section.contains(&format!("at most stride - {}", slot::PAYLOAD)));
    }
}
