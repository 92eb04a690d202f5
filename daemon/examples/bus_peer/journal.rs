//! What a peer of the chaos test writes down as it happens, and what its messages are made of. The
//! test reads the same.
//!
//! A record is one line in one write(2), so that a kill leaves all of it or nothing. Each message is known by
//! its publisher's key and its number there; length and bytes follow from these, so whoever has a
//! message can say what it must be.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use ringfence::{Policy, TopicOptions};
use serde::{Deserialize, Serialize};

/// The topics: small, so that they are lapped, and with few blocks.
pub(crate) const TOPICS: [(&str, TopicOptions); 3] = [
    ("chaos.overwrite", options(Policy::Overwrite, 64)),
    ("chaos.block", options(Policy::Block { patience: Duration::from_millis(60) }, 16)),
    ("chaos.reject", options(Policy::Reject, 16)),
];

/// Bytes of the longest payload that lies in a slot.
pub(crate) const SLOT_BYTES: usize = 64;
/// Bytes of the longest payload that lies in a block.
const BLOCK_BYTES: u32 = 8192;

const fn options(policy: Policy, slots: u32) -> TopicOptions {
    TopicOptions { policy, slots, payload_bytes: SLOT_BYTES, blocks: 6, block_bytes: BLOCK_BYTES }
}

/// One thing that happened. Topics are numbers in [`TOPICS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Record {
    /// A publish was answered.
    Published { topic: usize, number: u64, epoch: u64, sequence: u64 },
    /// A publish raised. Is it certain that it took no effect?
    Failed { topic: usize, number: u64, certain: bool },
    /// A subscription was opened; its number is the peer's own.
    Subscribed { topic: usize, subscription: u64 },
    /// A message was received.
    Received { topic: usize, subscription: u64, message: Received },
    /// So many were missed.
    Overtaken { topic: usize, subscription: u64, missed: u64 },
    /// The topic cut it off.
    CutOff { topic: usize, subscription: u64, at: u64, missed: u64 },
    /// The daemon went away under it.
    Restarted { topic: usize, subscription: u64 },
    /// It was closed by its owner, with these counts; with nothing left to read?
    Closed { topic: usize, subscription: u64, received: u64, missed: u64, drained: bool },
    /// A message that was held for a while is given back.
    Released { topic: usize, epoch: u64, sequence: u64, digest: u64 },
    /// What no peer may ever see.
    Unexpected { what: String },
}

/// A message as its reader saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    /// The session that published it, as the daemon says.
    pub(crate) session: u64,
    /// Its publisher's key, as the message says.
    pub(crate) key: u64,
    pub(crate) number: u64,
    /// Of its bytes; `None` if they are looked at later, when the block is given back.
    pub(crate) digest: Option<u64>,
}

/// Where a peer writes.
#[derive(Debug)]
pub(crate) struct Journal(File);

impl Journal {
    /// A new one.
    pub(crate) fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self(OpenOptions::new().create(true).append(true).open(path)?))
    }

    /// Writes it down.
    pub(crate) fn note(&self, record: &Record) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        (&self.0).write_all(&line)
    }
}

/// The payload of a message.
pub(crate) fn payload(key: u64, number: u64) -> Vec<u8> {
    let mut random = Random(key.rotate_left(32) ^ number);
    let len = match random.below(8) {
        0 => SLOT_BYTES + 1 + random.below(BLOCK_BYTES as u64 - SLOT_BYTES as u64) as usize,
        _ => 16 + random.below(SLOT_BYTES as u64 - 15) as usize,
    };
    let mut bytes = [key, number].map(u64::to_le_bytes).concat();
    while bytes.len() < len {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A number that bytes of another content do not have (FNV-1a).
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Numbers that follow from a seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next one.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// One below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Happens once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
