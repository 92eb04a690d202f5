//! What the words of a lane mean, who writes each, and by which rule. Data only.
//!
//! ```text
//! up: the client writes, the daemon maps it PROT_READ          offset
//!   consumed   u64   answers read; cached <= consumed <= done       0
//!   parked     u32   even awake, odd asleep                       128
//!   measures   u64s  client-side measurements, untrusted          256
//!   listening  u32   a subscription sleeps: an odd value a sleep  384
//!   cancel     u64   per entry: ticket + 1 of the call to cancel  512
//!   release    u64   per lease: generation given back             ..
//!   cursors    u64   per subscription: sequence it reads next     ..
//!   holds      u64   per held block of a log; 0 = none            ..
//!   ring             submission slots                             ..
//!   arena            request blocks                               ..
//!
//! down: the daemon writes, clients map it by a read-only descriptor
//!   epoch      u64   of the daemon that serves the lane             0
//!   beat       u64   stored each sweep; stalled or busy?            8
//!   claimed    u64   requests taken; store order: SPEC F1         128
//!   done       u64   completions published                        136
//!   released   u64   below it submission slots may be reused      144
//!   parked     u32   even awake, odd asleep                       256
//!   wake       u32   the client's futex                           384
//!   news       u32   the futex of its sleeping subscriptions      512
//!   ledger     u64s  when a call passed which place               640
//!   lease            {generation u64, ticket u64} per lease       768
//!   entries          the in-flight table                          ..
//!   ring             completion slots                             ..
//!   arena            reply blocks                                 ..
//! ```
//!
//! `listening`, `cursors`, `holds` and `news` serve subscriptions: in a session's first lane only
//! (SPEC P8, B11).
//!
//! Word placement is measured: `parked`, `wake` and their like alone, `claimed/done/released`
//! together, `consumed` alone (one shared line costs 90 -> 100 ns p50, 139 -> 185 ns p99).
//!
//! A slot, in both rings (stride 256):
//!
//! ```text
//!   0  seq       u64  position + 1, stored last with Release. "Ready" is this word, exactly equal
//!   8  ticket    u64  in a completion: the position of the request it answers; in a request 0
//!  16  method    u32  engine << 16 | operation
//!  20  len       u32  payload bytes
//!  24  flags     u16  reserved, 0
//!  26  status    u16  in a completion: 0 or a number of the error table; in a request 0
//!  28  block     u32  0 = inline; else segment << 24 | (block index + 1)
//!  32  deadline  u32  CLOCK_MONOTONIC_COARSE in 64 us units, low 32 bits, 0 = none
//!  36  trace     u32  a number for logs, chosen by the client
//!  40  payload        216 bytes
//! ```

/// Bytes between words that different processes write: two lines, because neighbours are fetched in
/// pairs (Intel 64 Optimization Manual, "Spatial Prefetcher").
pub const LINE: usize = 128;

/// Offsets of words in `up`.
pub mod up {
    /// Answers read.
    pub const CONSUMED: usize = 0;
    /// The client's parking word.
    pub const PARKED: usize = super::LINE;
    /// Client-side measurements: [`crate::measures`].
    pub const MEASURES: usize = 2 * super::LINE;
    /// The parking word of the session's subscriptions.
    pub const LISTENING: usize = 3 * super::LINE;
}

/// Offsets of words in `down`.
pub mod down {
    /// Epoch of the daemon that serves the lane.
    pub const EPOCH: usize = 0;
    /// Stored each sweep.
    pub const BEAT: usize = 8;
    /// Requests taken.
    pub const CLAIMED: usize = super::LINE;
    /// Completions published.
    pub const DONE: usize = super::LINE + 8;
    /// Below it submission slots may be reused.
    pub const RELEASED: usize = super::LINE + 16;
    /// The daemon's parking word.
    pub const PARKED: usize = 2 * super::LINE;
    /// The client's futex.
    pub const WAKE: usize = 3 * super::LINE;
    /// The futex of its sleeping subscriptions.
    pub const NEWS: usize = 4 * super::LINE;
    /// When a call passed which place: [`crate::ledger`].
    pub const LEDGER: usize = 5 * super::LINE;
}

/// Offsets in an entry of the in-flight table.
pub mod entry {
    /// Ticket + 1 of the call that the entry holds, 0 = free.
    pub const TICKET: usize = 0;
    /// How often the call was started, the run that is under way included.
    pub const ATTEMPTS: usize = 8;
    /// How far the call is, in its engine's units.
    pub const PROGRESS: usize = 16;
    /// The validated copy of the slot, from its `ticket` word on.
    pub const SLOT: usize = 64;
}

/// Bytes of an entry: a line of words and a slot.
pub const ENTRY_BYTES: usize = entry::SLOT + crate::limits::STRIDE;

/// Offsets in a slot.
pub mod slot {
    /// Position + 1, stored last.
    pub const SEQ: usize = 0;
    /// The position of the request that a completion answers.
    pub const TICKET: usize = 8;
    /// `method` and `len`.
    pub const METHOD: usize = 16;
    /// `flags`, `status` and `block`.
    pub const FLAGS: usize = 24;
    /// `deadline` and `trace`.
    pub const DEADLINE: usize = 32;
    /// The payload.
    pub const PAYLOAD: usize = 40;
}

const _: () = assert!(slot::PAYLOAD + crate::limits::INLINE_BYTES == crate::limits::STRIDE);
const _: () = assert!(ENTRY_BYTES.is_multiple_of(64));

/// The header of a slot, in private memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// See the diagram above.
    pub ticket: u64,
    /// Engine << 16 | operation.
    pub method: u32,
    /// Payload bytes.
    pub len: u32,
    /// Reserved, 0.
    pub flags: u16,
    /// 0 or a number of the error table.
    pub status: u16,
    /// 0 = inline; else segment << 24 | (block index + 1).
    pub block: u32,
    /// Coarse ticks, 0 = none.
    pub deadline: u32,
    /// A number for logs.
    pub trace: u32,
}

impl Header {
    /// The four words behind `seq`.
    #[inline(always)]
    #[must_use]
    pub const fn words(self) -> [u64; 4] {
        [
            self.ticket,
            self.method as u64 | (self.len as u64) << 32,
            self.flags as u64 | (self.status as u64) << 16 | (self.block as u64) << 32,
            self.deadline as u64 | (self.trace as u64) << 32,
        ]
    }

    /// The header that these four words hold.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u64; 4]) -> Self {
        Self {
            ticket: words[0],
            method: words[1] as u32,
            len: (words[1] >> 32) as u32,
            flags: words[2] as u16,
            status: (words[2] >> 16) as u16,
            block: (words[2] >> 32) as u32,
            deadline: words[3] as u32,
            trace: (words[3] >> 32) as u32,
        }
    }
}

/// A block of a log that a subscription of this session keeps from being reused: what a word of
/// `holds` says. One word, so that it is whole whenever it is read. It is compared, never taken
/// apart, by who asks whether a block is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Number of the subscription, which says of which log.
    pub subscription: u8,
    /// Zero-based block of that log.
    pub block: u32,
    /// Which use of the block.
    pub generation: u32,
}

impl Hold {
    /// Does this word say a hold of that subscription?
    #[inline]
    #[must_use]
    pub const fn is_by(word: u64, subscription: u8) -> bool {
        word != 0 && (word >> 24) as u8 == subscription
    }

    /// {generation u32, subscription u8, block + 1 u24}: never 0, which is "none".
    #[inline]
    #[must_use]
    pub const fn word(self) -> u64 {
        let block = (self.block + 1) as u64;
        (self.generation as u64) << 32 | (self.subscription as u64) << 24 | block
    }
}

const _: () = assert!(crate::limits::SUBSCRIPTIONS <= 1 << 8);
const _: () = assert!(crate::limits::LOG_BYTES / crate::limits::BLOCK_BYTES < 1 << 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_one_word_and_never_none() {
        let hold = Hold { subscription: 0, block: 0, generation: 0 };
        assert_eq!(hold.word(), 1);
        let last = Hold { subscription: 63, block: 0x3_ffff, generation: u32::MAX };
        assert_eq!(last.word(), 0xffff_ffff_3f04_0000);
    }

    #[test]
    fn the_header_survives_its_words() {
        let header = Header {
            ticket: u64::MAX - 1,
            method: 0x0003_0007,
            len: 216,
            flags: 0,
            status: 1002,
            block: 0xff00_0001,
            deadline: 77,
            trace: u32::MAX,
        };
        assert_eq!(Header::from_words(header.words()), header);
        // The diagram's offsets: method at 16 (word 1, low half), status at 26, block at 28.
        assert_eq!(header.words()[1] as u32, 0x0003_0007);
        assert_eq!((header.words()[2] >> 16) as u16, 1002);
    }

    /// The diagram at the top must say what the constants say.
    #[test]
    fn the_diagram_has_the_offsets_of_the_constants() {
        let text = include_str!("layout.rs");
        let said = |name: &str, after: &str| -> usize {
            let section = &text[text.find(after).expect("section")..];
            let line = section
                .lines()
                .find(|line| line.starts_with(&format!("//!   {name} ")))
                .expect("line");
            line.rsplit(' ').next().expect("offset").parse().expect("number")
        };
        assert_eq!(said("consumed", "up: the client"), up::CONSUMED);
        assert_eq!(said("parked", "up: the client"), up::PARKED);
        assert_eq!(said("measures", "up: the client"), up::MEASURES);
        assert_eq!(said("listening", "up: the client"), up::LISTENING);
        assert_eq!(
            said("cancel", "up: the client"),
            crate::geometry::Geometry::default().up().cancel
        );
        assert_eq!(said("beat", "down: the daemon"), down::BEAT);
        assert_eq!(said("claimed", "down: the daemon"), down::CLAIMED);
        assert_eq!(said("done", "down: the daemon"), down::DONE);
        assert_eq!(said("released", "down: the daemon"), down::RELEASED);
        assert_eq!(said("parked", "down: the daemon"), down::PARKED);
        assert_eq!(said("wake", "down: the daemon"), down::WAKE);
        assert_eq!(said("news", "down: the daemon"), down::NEWS);
        assert_eq!(said("ledger", "down: the daemon"), down::LEDGER);
        assert_eq!(
            said("lease", "down: the daemon"),
            crate::geometry::Geometry::default().down().lease
        );
    }
}
