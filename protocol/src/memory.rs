//! The one door to memory that another process may write: words, never references.
//!
//! A [`Memory`] is a range of bytes that is read and written in whole words, each access atomic and
//! Relaxed; order comes from [`Memory::fence`] and from the two Release stores. The rings are written
//! against this trait, so the code that ships is the code that loom checks ([`loom`](https://docs.rs/loom)
//! memory in `tests/loom.rs`), that the kill model replays, and that runs over mapped segments
//! ([`crate::region::Region`]).
//!
//! Offsets come from [`crate::geometry`] and are trusted; an offset outside is a bug of ours and
//! panics. Nothing here trusts a *value*.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Words that hold so many bytes. (`div_ceil` computes a remainder too: four instructions more, on the
/// way of every call.)
#[inline(always)]
pub(crate) const fn words_of(bytes: usize) -> usize {
    (bytes + 7) >> 3
}

/// At most `N` words of bytes as words, filled up with zeros.
#[inline(always)]
#[must_use]
pub fn line_words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let (whole, rest) = bytes.as_chunks();
    // One branch for what fills them all, as nearly everything does.
    if let Some(whole) = whole.first_chunk() {
        return whole.map(u64::from_le_bytes);
    }
    std::array::from_fn(|index| match whole.get(index) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None if index == whole.len() => {
            rest.iter().rfold(0, |word, byte| word << 8 | u64::from(*byte))
        }
        None => 0,
    })
}

/// A range of shared words. Offsets are in bytes; u64 accesses are 8-aligned, u32 ones 4-aligned.
pub trait Memory {
    /// Bytes of the range.
    fn len(&self) -> usize;

    /// No bytes at all?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Loads a word, Relaxed.
    fn load(&self, at: usize) -> u64;

    /// Stores a word, Relaxed.
    fn store(&self, at: usize, value: u64);

    /// Stores a word, Release.
    fn store_release(&self, at: usize, value: u64);

    /// Loads a half-word, Relaxed: the parking words, which are futexes.
    fn load_u32(&self, at: usize) -> u32;

    /// Stores a half-word, Release.
    fn store_u32(&self, at: usize, value: u32);

    /// An atomic fence. Acquire after a load that found what it looked for; SeqCst between a
    /// publication and the look at the other side's parking word.
    fn fence(&self, order: Ordering) {
        fence(order);
    }

    /// Asks for the cache line at `at` as one that will be written. A hint: it changes nothing.
    #[inline(always)]
    fn prefetch_write(&self, _at: usize) {}

    /// Asks for the cache line at `at` as one that will be read. A hint: it changes nothing.
    #[inline(always)]
    fn prefetch_read(&self, _at: usize) {}

    /// Says that another core will read the cache line at `at`, and that this one is done with it. A hint: it
    /// changes nothing.
    #[inline(always)]
    fn demote(&self, _at: usize) {}

    /// Loads a word, then fences: what was stored before the Release store of the value found is
    /// visible afterwards. Two steps, because Rust allows only Relaxed loads on read-only pages.
    #[inline]
    fn load_acquire(&self, at: usize) -> u64 {
        let value = self.load(at);
        self.fence(Ordering::Acquire);
        value
    }

    /// Loads consecutive words, each once, Relaxed.
    #[inline(always)]
    fn load_words<const N: usize>(&self, at: usize) -> [u64; N] {
        std::array::from_fn(|index| self.load(at + index * 8))
    }

    /// Stores consecutive words in ascending order, Relaxed.
    #[inline(always)]
    fn store_words<const N: usize>(&self, at: usize, words: [u64; N]) {
        for (index, word) in words.into_iter().enumerate() {
            self.store(at + index * 8, word);
        }
    }

    /// Copies words out, each loaded once.
    #[inline]
    fn read_words(&self, at: usize, out: &mut [u64]) {
        for (index, word) in out.iter_mut().enumerate() {
            *word = self.load(at + index * 8);
        }
    }

    /// Copies bytes out, from an 8-aligned offset. Each word is loaded once, into private memory:
    /// the optimiser may not read it again after a check (SPEC R4).
    #[inline]
    fn read(&self, at: usize, out: &mut [u8]) {
        let mut chunks = out.chunks_exact_mut(8);
        let mut from = at;
        for chunk in &mut chunks {
            chunk.copy_from_slice(&self.load(from).to_le_bytes());
            from += 8;
        }
        let rest = chunks.into_remainder();
        if !rest.is_empty() {
            rest.copy_from_slice(&self.load(from).to_le_bytes()[..rest.len()]);
        }
    }

    /// Copies bytes in, to an 8-aligned offset. A last partial word is filled up with zeros.
    #[inline]
    fn write(&self, at: usize, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        let mut to = at;
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.store(to, u64::from_le_bytes(word));
            to += 8;
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.store(to, u64::from_le_bytes(word));
        }
    }

    /// As [`read`](Self::read), for blocks of many lines.
    fn read_block(&self, at: usize, out: &mut [u8]) {
        self.read(at, out);
    }

    /// As [`write`](Self::write), for blocks of many lines.
    fn write_block(&self, at: usize, bytes: &[u8]) {
        self.write(at, bytes);
    }
}

/// Memory of this process, for tests, benches and the in-process bus. Clones share it.
#[derive(Clone, Debug)]
pub struct Heap {
    words: Arc<[AtomicU64]>,
}

impl Heap {
    /// `len` bytes of zeros, a multiple of 8.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self { words: (0..len.div_ceil(8)).map(|_| AtomicU64::new(0)).collect() }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.words[at / 8]
    }
}

impl Memory for Heap {
    fn len(&self) -> usize {
        self.words.len() * 8
    }
    fn load(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Relaxed)
    }
    fn store(&self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::Relaxed);
    }
    fn store_release(&self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::Release);
    }
    // A parking word is alone in its line, so its neighbour half is never used.
    fn load_u32(&self, at: usize) -> u32 {
        self.word(at).load(Ordering::Relaxed) as u32
    }
    fn store_u32(&self, at: usize, value: u32) {
        self.word(at).store(u64::from(value), Ordering::Release);
    }
}

const _: () = assert!(size_of::<AtomicU32>() == 4 && cfg!(target_endian = "little"));
