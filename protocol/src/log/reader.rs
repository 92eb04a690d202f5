//! A reader of a log, with a place of its own.
//!
//! It trusts the writer, and still checks lengths: whatever stands in the memory, it never panics,
//! never reads outside a slot or a block and never allocates more than the log's longest payload. It
//! never waits: where there is nothing it says so.

use std::convert::Infallible;
use std::sync::atomic::Ordering;

use super::blocks::BlockUse;
use super::layout::{BLOCK, Envelope, Head, IDS, header, slot};
use super::{LogGeometry, LogGeometryError, Position};
use crate::limits;
use crate::memory::Memory;

/// Why memory cannot be used as a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// It does not start as a log does.
    #[error("no log: it starts with {found:#018x}, a log with {:#018x}", header::MAGIC_VALUE)]
    NotALog {
        /// The first word.
        found: u64,
    },
    /// It is smaller than its sizes say.
    #[error("{len} bytes are too few for this log: it needs {needed}")]
    Small {
        /// Bytes that are there.
        len: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// The sizes are out of range.
    #[error(transparent)]
    Geometry(#[from] LogGeometryError),
}

/// A message that is whole and makes no sense: a mistake of the writer's. The reader has gone past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogFault {
    /// SPEC B8: the payload would not fit its slot or block.
    #[error("message {sequence} has {len} bytes in {max}")]
    Length {
        /// Where.
        sequence: u64,
        /// Bytes claimed.
        len: u32,
        /// Bytes that fit.
        max: usize,
    },
    /// SPEC B8: flags that this layout does not have.
    #[error("message {sequence} has flags {flags:#x}, which nobody knows")]
    Flags {
        /// Where.
        sequence: u64,
        /// The flags.
        flags: u16,
    },
    /// SPEC B9: there is no such block.
    #[error("message {sequence} is in block {block} of {blocks}")]
    Block {
        /// Where.
        sequence: u64,
        /// Zero-based block.
        block: u32,
        /// Blocks of the log.
        blocks: u32,
    },
}

/// Where a reader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that the log still holds.
    Oldest,
    /// With the next message to be written: nothing of what is there.
    Newest,
    /// With this one. If it has been overwritten the first read says how many were missed.
    At(Position),
}

/// Why a reader cannot start there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeekError {
    /// The position was given by another daemon.
    #[error(
        "position {asked} is of epoch {}, this log is of epoch {here}: start from oldest or newest",
        asked.epoch
    )]
    OtherEpoch {
        /// The position asked for.
        asked: Position,
        /// The log's epoch.
        here: u64,
    },
    /// Nothing was written there yet.
    #[error("position {asked} is not written yet, the next is {next}: start from newest")]
    NotYet {
        /// The position asked for.
        asked: Position,
        /// Sequence of the next message.
        next: u64,
    },
}

/// What a reader found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// No message yet.
    Nothing,
    /// A message; its payload was copied, if it is not read in place.
    Message {
        /// Where it stands.
        position: Position,
        /// What is said of it.
        envelope: Envelope,
    },
    /// The writer has lapped the reader, which now stands at the oldest message that is left, or
    /// in the middle of what is left where it was lapped twice in a row.
    Overtaken {
        /// How many messages lie between where it stood and where it stands.
        missed: u64,
    },
}

/// Bytes of a short payload: no slot has room for fewer.
const SHORT_BYTES: usize = 64;
/// Words of a short payload.
pub const SHORT_WORDS: usize = SHORT_BYTES / 8;

const _: () = assert!(*limits::LOG_STRIDES.start() as usize - slot::REST >= SHORT_BYTES);

/// A message whose payload is short: at most 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// Where it stands.
    pub position: Position,
    /// What is said of it.
    pub envelope: Envelope,
    /// Bytes of the payload.
    pub len: u8,
    /// They, and behind them whatever the slot held.
    pub words: [u64; SHORT_WORDS],
}

/// The payload of a message in a block that is read where it lies: whole and unchanged until the
/// hold is given back.
#[derive(Debug)]
pub struct InPlace<H> {
    /// The caller's: gives the hold back when it is dropped.
    pub hold: H,
    /// Offset in the log's memory.
    pub at: usize,
    /// Bytes.
    pub len: usize,
}

/// Where a payload is.
#[derive(Clone, Copy)]
enum Place {
    Slot { at: usize },
    Block(BlockUse),
}

/// A reader's side.
#[derive(Clone, Debug)]
pub struct LogReader<M> {
    memory: M,
    geometry: LogGeometry,
    epoch: u64,
    /// Position of the first message of the log.
    first: u64,
    /// Position of the next message to be read.
    next: u64,
    /// Was the last thing read that it was overtaken?
    lapped: bool,
}

impl<M: Memory> LogReader<M> {
    /// A reader that stands at the oldest message.
    ///
    /// # Errors
    /// [`LogError`]: this is no log.
    pub fn open(memory: M) -> Result<Self, LogError> {
        if memory.len() < header::RING {
            return Err(LogError::Small { len: memory.len(), needed: header::RING });
        }
        let found = memory.load_acquire(header::MAGIC);
        if found != header::MAGIC_VALUE {
            return Err(LogError::NotALog { found });
        }
        let sizes = memory.load(header::SLOTS);
        let arena = memory.load(header::BLOCKS);
        let [(slots, stride), (blocks, block_bytes)] =
            [sizes, arena].map(|word| (word as u32, (word >> 32) as u32));
        let geometry = LogGeometry { slots, stride, blocks, block_bytes }.validated()?;
        if memory.len() < geometry.bytes() {
            return Err(LogError::Small { len: memory.len(), needed: geometry.bytes() });
        }
        let (epoch, first) = (memory.load(header::EPOCH), memory.load(header::FIRST));
        let mut reader = Self { memory, geometry, epoch, first, next: first, lapped: false };
        reader.next = reader.oldest();
        Ok(reader)
    }

    /// The log's sizes.
    #[must_use]
    pub fn geometry(&self) -> LogGeometry {
        self.geometry
    }

    /// Where the next message to be read stands.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, sequence: self.next }
    }

    /// Sequence of the next message to be written, or of a little earlier one.
    #[must_use]
    pub fn end(&self) -> u64 {
        // T, pairs with S: all messages below are visible to this reader, or overwritten.
        self.memory.load_acquire(header::NEXT)
    }

    /// Sequence of the oldest message that is left.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        let end = self.end();
        self.skip_gone(self.last_lap(end), end)
    }

    /// Where the last lap before `end` began: nothing older is left.
    fn last_lap(&self, end: u64) -> u64 {
        let slots = u64::from(self.geometry.slots);
        if end.wrapping_sub(self.first) <= slots { self.first } else { end.wrapping_sub(slots) }
    }

    /// The first of the messages from `from` to `end` that is not gone. Of a lap at most, whatever
    /// stands in the memory.
    fn skip_gone(&self, from: u64, end: u64) -> u64 {
        let mut lap = (0..u64::from(self.geometry.slots)).map(|ahead| from.wrapping_add(ahead));
        let is_left = |sequence: &u64| {
            let seq = self.memory.load(self.geometry.slot(*sequence) + slot::SEQ);
            *sequence == end || !self.is_over(seq, *sequence)
        };
        lap.find(is_left).unwrap_or(from.wrapping_add(self.geometry.slots.into()))
    }

    /// Does `seq` say that its slot holds, or gets, a later message than this? Below it are: written,
    /// being written, and an earlier lap's; in the log of an honest writer nothing lies between.
    fn is_over(&self, seq: u64, sequence: u64) -> bool {
        let ahead = seq.wrapping_sub(sequence) as i64;
        ahead >= i64::from(self.geometry.slots)
    }

    /// Goes elsewhere.
    ///
    /// # Errors
    /// [`SeekError`]; the reader stays where it is.
    pub fn seek(&mut self, start: Start) -> Result<(), SeekError> {
        self.next = match start {
            Start::Oldest => self.oldest(),
            Start::Newest => self.end(),
            Start::At(asked) => self.checked(asked)?,
        };
        self.lapped = false;
        Ok(())
    }

    fn checked(&self, asked: Position) -> Result<u64, SeekError> {
        if asked.epoch != self.epoch {
            return Err(SeekError::OtherEpoch { asked, here: self.epoch });
        }
        let next = self.end();
        if asked.sequence.wrapping_sub(self.first) > next.wrapping_sub(self.first) {
            return Err(SeekError::NotYet { asked, next });
        }
        Ok(asked.sequence)
    }

    /// Has the writer been at the next message? A look for who waits: cheaper than a read that finds nothing.
    #[inline]
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let (at, ready) = self.here();
        // The read that follows pairs with Q.
        let seq = self.memory.load(at + slot::SEQ);
        seq == ready || self.is_over(seq, self.next)
    }

    /// The next message, if it is there and [short](Short); `None` says nothing, and nothing has changed:
    /// [`read_held`](Self::read_held) knows more. The way of nearly every message: each word goes from the
    /// log to where the caller puts it, by registers. (What is put together in memory word by word, and
    /// then moved in pairs of words, waits for the stores.)
    #[inline(always)]
    pub fn read_short(&mut self) -> Option<Short> {
        let (at, ready) = self.here();
        // R, pairs with Q.
        if self.memory.load_acquire(at + slot::SEQ) != ready {
            return None;
        }
        let head = self.head(at);
        if head.flags & !IDS != 0 || head.len as usize > SHORT_BYTES {
            return None;
        }
        // Also what is behind the payload: it is cheaper to have than to leave out.
        let words = self.memory.load_words(at + head.payload());
        // P, pairs with O: if a word of the copy is newer, so is `seq`.
        self.memory.fence(Ordering::Acquire);
        if self.memory.load(at + slot::SEQ) != ready {
            return None;
        }
        let position = self.go_past(ready);
        Some(Short { position, envelope: head.envelope, len: head.len as u8, words })
    }

    /// Offset of the next message's slot, and what its `seq` says once it is there.
    #[inline(always)]
    fn here(&self) -> (usize, u64) {
        let at = self.geometry.slot(self.next);
        // A message of two lines comes in one step: both are on their way before the first is looked at.
        self.memory.prefetch_read(at + slot::REST);
        (at, self.next.wrapping_add(1))
    }

    /// The next message was copied, and was whole: it stands there.
    #[inline(always)]
    fn go_past(&mut self, ready: u64) -> Position {
        let position = self.position();
        (self.next, self.lapped) = (ready, false);
        // Who reads many finds the one after the next on its way. Not the next: its line is the writer's.
        let soon = self.geometry.slot(ready.wrapping_add(2));
        self.memory.prefetch_read(soon);
        self.memory.prefetch_read(soon + slot::REST);
        position
    }

    /// Copies the next message, if there is one, and goes on to the one behind it. `payload` holds
    /// its payload only after [`Read::Message`].
    ///
    /// # Errors
    /// [`LogFault`]: a message that makes no sense; the reader has gone past it.
    pub fn read(&mut self, payload: &mut Vec<u8>) -> Result<Read, LogFault> {
        self.read_held(payload, |_, _| None::<Infallible>).map(|(read, _)| read)
    }

    /// As [`read`](Self::read), but a payload in a block is read where it lies if the caller can
    /// `hold` it: given the block's use and the payload's length it stores a hold
    /// ([`Holds::store`](super::Holds::store)) and returns what gives it back when it is dropped, which
    /// is at once where the hold came too late. If it returns `None` the payload is copied; else
    /// `payload` is left as it is.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_held<H>(
        &mut self,
        payload: &mut Vec<u8>,
        hold: impl FnOnce(BlockUse, usize) -> Option<H>,
    ) -> Result<(Read, Option<InPlace<H>>), LogFault> {
        let (at, ready) = self.here();
        // R, pairs with Q.
        let seq = self.memory.load_acquire(at + slot::SEQ);
        if seq != ready {
            return Ok((self.not_here(seq), None));
        }
        let head = self.head(at);
        let (place, len) = (self.place(at, head), head.len as usize);
        let held = match place {
            Ok(Place::Block(of)) => hold(of, len).map(|hold| (of, hold)),
            _ => None,
        };
        if held.is_some() {
            // X, pairs with W: either we see that the block is reused, or the writer sees the hold.
            // It is P for the head.
            self.memory.fence(Ordering::SeqCst);
        } else {
            self.copy(place, len, payload);
            // P, pairs with O: if a word of the copy is newer, so is `seq`.
            self.memory.fence(Ordering::Acquire);
        }
        let seq = self.memory.load(at + slot::SEQ);
        if seq != ready {
            return Ok((self.not_here(seq), None));
        }
        let position = self.go_past(ready);
        place?;
        let at = |of: BlockUse| self.geometry.block(of.block);
        let in_place = held.map(|(of, hold)| InPlace { hold, at: at(of), len });
        Ok((Read::Message { position, envelope: head.envelope }, in_place))
    }

    #[inline(always)]
    fn head(&self, at: usize) -> Head {
        let head = Head::from_words(self.memory.load_words(at + slot::LEN));
        if head.has(IDS) {
            return head.with_ids(self.memory.load_words(at + slot::BODY));
        }
        head
    }

    /// Where the payload is. What it says counts only if the copy of the head is whole.
    fn place(&self, at: usize, head: Head) -> Result<Place, LogFault> {
        let (sequence, Head { len, flags, .. }) = (self.next, head);
        if flags & !(IDS | BLOCK) != 0 {
            return Err(LogFault::Flags { sequence, flags });
        }
        let at = at + head.payload();
        let (place, max) = if head.has(BLOCK) {
            let of = BlockUse::from_word(self.memory.load(at));
            let (block, blocks) = (of.block, self.geometry.blocks);
            if block >= blocks {
                return Err(LogFault::Block { sequence, block, blocks });
            }
            (Place::Block(of), self.geometry.block_bytes as usize)
        } else {
            (Place::Slot { at }, self.geometry.payload_bytes())
        };
        if len as usize > max {
            return Err(LogFault::Length { sequence, len, max });
        }
        Ok(place)
    }

    fn copy(&self, place: Result<Place, LogFault>, len: usize, payload: &mut Vec<u8>) {
        let Ok(place) = place else { return };
        payload.resize(len, 0);
        match place {
            Place::Slot { at } => self.memory.read(at, payload),
            Place::Block(of) => self.memory.read_block(self.geometry.block(of.block), payload),
        }
    }

    /// What a `seq` means that is not the one of the next message.
    #[cold]
    fn not_here(&mut self, seq: u64) -> Read {
        if !self.is_over(seq, self.next) {
            return Read::Nothing;
        }
        let slots = u64::from(self.geometry.slots);
        // The slot holds q, or will hold it: when, a withdrawn message does not say (B9). Then what it
        // held before is certain.
        let is_written = !seq.wrapping_sub(self.next).is_multiple_of(slots);
        let held = seq.wrapping_sub(if is_written { 1 } else { slots });
        let ahead = |sequence: u64| sequence.wrapping_sub(self.next) as i64;
        let by_slot = ahead(held.wrapping_add(1).wrapping_sub(slots));
        let end = self.end();
        let least = by_slot.max(ahead(self.last_lap(end))).max(1);
        let mut to = self.next.wrapping_add(least as u64);
        // The oldest message is the next to be overwritten: who lost that race once tends to lose it
        // again (a writer at full speed on two busy cores, one run each: 10 598 of 40 million messages
        // read without this step, 200 008 of 32 million with it).
        if std::mem::replace(&mut self.lapped, true) {
            let left = end.wrapping_sub(to) as i64;
            to = to.wrapping_add(left.max(0) as u64 / 2);
        }
        to = self.skip_gone(to, end);
        let missed = to.wrapping_sub(self.next);
        self.next = to;
        Read::Overtaken { missed }
    }
}
