//! [`Region`]: a bounds-checked view of a mapped segment; the only place that turns addresses into
//! words.
//!
//! Rust has no stable bytewise atomic copy, so bytes move as Relaxed `AtomicU64` accesses (the same
//! machine code as a plain copy, but each word is read exactly once), or, for large blocks, by
//! `copy_once`. No `&[u8]` to shared memory is ever made. What this relies on, beyond the Rust
//! reference: that a Relaxed atomic access to memory which another *process* changes by ordinary stores
//! yields some value (what every shared-memory program of the platform relies on).
//!
//! A region does *not* know what its words mean, and does not protect from SIGBUS: that is the
//! window's work ([`crate::sys::window`]).
#![allow(unsafe_code)]

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use crate::memory::{Memory, words_of};

mod copy;

use copy::copy_once;

/// Blocks up to this are read word by word: loads of lines that another core has overlap, those of
/// `rep movsb` do less (measured: 8 % of an echo of 432 bytes). Not so for stores.
const FEW_BYTES: usize = 2048;

/// What keeps the mapping behind a [`Region`] alive.
///
/// # Safety
/// `base()` is 8-aligned, stays the same, and `len()` bytes from it stay mapped readable as long as
/// `self` lives; writable unless the region is only read from.
#[allow(clippy::len_without_is_empty, reason = "no mapping is empty")]
pub unsafe trait Backing: Send + Sync {
    /// First byte.
    fn base(&self) -> NonNull<u8>;
    /// Bytes.
    fn len(&self) -> usize;
    /// The mark that is set, before the first zero page exists, when the memory is taken away by a
    /// truncation; meaningful as long as `self` lives.
    fn dead_mark(&self) -> Option<&'static AtomicBool> {
        None
    }
}

/// A view of a mapped segment. Clones share it and keep the mapping alive.
#[derive(Clone)]
pub struct Region {
    base: NonNull<u8>,
    len: usize,
    dead: Option<&'static AtomicBool>,
    /// Keeps the mapping, and with it `base` and `dead`, alive.
    _backing: Arc<dyn Backing>,
}

// SAFETY: all access goes through atomics, and the backing, which is Send and Sync, keeps the
// addresses valid from whichever thread.
unsafe impl Send for Region {}
// SAFETY: as for Send.
unsafe impl Sync for Region {}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Region {
    /// A view of all of `backing`.
    #[must_use]
    pub fn new(backing: Arc<dyn Backing>) -> Self {
        let (base, len, dead) = (backing.base(), backing.len(), backing.dead_mark());
        Self { base, len, dead, _backing: backing }
    }

    /// Memory of this process alone, at least `len` bytes of zeros, at the start of a page.
    #[must_use]
    pub fn private(len: usize) -> Self {
        Self::new(Arc::new(Private::new(len)))
    }

    /// Has the memory been taken away by a truncation? To be asked *after* a copy and before the
    /// copy is used.
    #[inline]
    #[must_use]
    pub fn is_dead(&self) -> bool {
        let Some(dead) = self.dead else { return false };
        // Keeps the loads of the copy before the load of the mark.
        fence(Ordering::Acquire);
        dead.load(Ordering::Relaxed)
    }

    /// The address of a half-word, for a futex call and for a foreign view of the bytes. Never to be
    /// made a Rust reference.
    ///
    /// # Panics
    /// If `at` or `at + len` lies outside.
    #[must_use]
    pub fn address(&self, at: usize, len: usize) -> *const u8 {
        assert!(
            at <= self.len && len <= self.len - at,
            "offset {at} + {len} outside {} bytes",
            self.len
        );
        // SAFETY: `at <= len`, so the result is within or one past the mapping (`Backing`).
        unsafe { self.base.as_ptr().add(at) }
    }

    /// The half-word at `at` as a futex that other processes share.
    ///
    /// # Panics
    /// If it lies outside, or `at` is no multiple of 4.
    #[must_use]
    pub fn futex(&self, at: usize) -> crate::sys::futex::Word<'_> {
        let half: *const AtomicU32 = self.half(at);
        // SAFETY: `half` checked that it is 4 aligned bytes of the mapping, which lives as long as
        // `self`, which the result borrows.
        unsafe { crate::sys::futex::Word::shared(half.cast()) }
    }

    /// The words of `count` * 8 bytes at `at`. One check for all of them: with one a word, a quarter
    /// of a call's instructions were checks.
    #[inline(always)]
    fn words(&self, at: usize, count: usize) -> &[AtomicU64] {
        // The word's number; turned right, an offset that is no multiple of 8 is a number beyond all.
        let (first, all) = (at.rotate_right(3), self.len / 8);
        if first >= all || count > all - first {
            outside(at, count * 8, self.len);
        }
        // SAFETY: `first + count <= len / 8`, so the bytes lie inside the mapping, which `_backing`
        // keeps alive as long as `self`; its base is 8-aligned (`Backing`), so is `at`, which is
        // `first * 8`. References to `AtomicU64` assert nothing about values not changing.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(at).cast(), count) }
    }

    #[inline(always)]
    fn word(&self, at: usize) -> &AtomicU64 {
        &self.words(at, 1)[0]
    }

    #[inline(always)]
    fn half(&self, at: usize) -> &AtomicU32 {
        if at.rotate_right(2) >= self.len / 4 {
            outside(at, 4, self.len);
        }
        // SAFETY: as for `words`, with 4 bytes.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(at).cast()) }
    }
}

#[cold]
#[inline(never)]
fn outside(at: usize, bytes: usize, len: usize) -> ! {
    panic!("{bytes} aligned bytes at {at} are not in {len}");
}

/// A hint about the cache line at an offset of a region; nothing where the processor has no such hints.
macro_rules! hint {
    ($instruction:literal, $region:expr, $at:expr) => {{
        let line = $region.base.as_ptr().wrapping_add($at);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `prefetchw` (AMD64 manual, volume 3), `prefetcht0` and `cldemote` (Intel 64 manual, volume 2) change no
        // register and no memory, and never fault, wherever they point; `cldemote` is a no-op where it is not known.
        unsafe {
            std::arch::asm!($instruction, in(reg) line, options(readonly, nostack, preserves_flags));
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _no_such_hint = line;
    }};
}

impl Memory for Region {
    #[inline]
    fn len(&self) -> usize {
        self.len
    }
    #[inline(always)]
    fn load(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Relaxed)
    }
    #[inline(always)]
    fn store(&self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::Relaxed);
    }
    #[inline(always)]
    fn store_release(&self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::Release);
    }
    #[inline(always)]
    fn load_u32(&self, at: usize) -> u32 {
        self.half(at).load(Ordering::Relaxed)
    }
    #[inline(always)]
    fn store_u32(&self, at: usize, value: u32) {
        self.half(at).store(value, Ordering::Release);
    }

    #[inline(always)]
    fn prefetch_write(&self, at: usize) {
        hint!("prefetchw [{}]", self, at);
    }

    #[inline(always)]
    fn prefetch_read(&self, at: usize) {
        hint!("prefetcht0 [{}]", self, at);
    }

    #[inline(always)]
    fn demote(&self, at: usize) {
        hint!("cldemote [{}]", self, at);
    }

    #[inline(always)]
    fn load_words<const N: usize>(&self, at: usize) -> [u64; N] {
        let words = self.words(at, N);
        std::array::from_fn(|index| words[index].load(Ordering::Relaxed))
    }
    #[inline(always)]
    fn store_words<const N: usize>(&self, at: usize, values: [u64; N]) {
        for (word, value) in self.words(at, N).iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
    }
    #[inline(always)]
    fn read_words(&self, at: usize, out: &mut [u64]) {
        let words = self.words(at, out.len());
        for (to, word) in out.iter_mut().zip(words) {
            *to = word.load(Ordering::Relaxed);
        }
    }
    #[inline(always)]
    fn read(&self, at: usize, out: &mut [u8]) {
        let mut rest = out;
        for word in self.words(at, words_of(rest.len())) {
            let bytes = word.load(Ordering::Relaxed).to_le_bytes();
            let left = std::mem::take(&mut rest);
            if left.len() < 8 {
                left.copy_from_slice(&bytes[..left.len()]);
                break;
            }
            let (whole, behind) = left.split_at_mut(8);
            whole.copy_from_slice(&bytes);
            rest = behind;
        }
    }
    #[inline(always)]
    fn write(&self, at: usize, bytes: &[u8]) {
        let mut rest = bytes;
        for word in self.words(at, words_of(rest.len())) {
            let mut value = [0; 8];
            match rest.split_first_chunk() {
                Some((whole, behind)) => {
                    value = *whole;
                    rest = behind;
                }
                None => value[..rest.len()].copy_from_slice(rest),
            }
            word.store(u64::from_le_bytes(value), Ordering::Relaxed);
        }
    }

    fn read_block(&self, at: usize, out: &mut [u8]) {
        if out.len() <= FEW_BYTES && at.is_multiple_of(8) {
            return self.read(at, out);
        }
        let from = self.address(at, out.len());
        // SAFETY: `from` is readable for `out.len()` bytes (`address` checked, `Backing` promises),
        // `out` is exclusively ours and cannot overlap a mapping that no Rust object lives in.
        unsafe { copy_once(from, out.as_mut_ptr(), out.len()) };
    }

    fn write_block(&self, at: usize, bytes: &[u8]) {
        let to = self.address(at, bytes.len()).cast_mut();
        // SAFETY: `to` is writable for `bytes.len()` bytes: only regions of segments that this
        // process writes are written (`Backing`); `bytes` is a live slice that cannot overlap.
        unsafe { copy_once(bytes.as_ptr(), to, bytes.len()) };
    }
}

impl crate::board::Words for Region {
    fn len_bytes(&self) -> usize {
        self.len
    }
    fn load(&self, byte_offset: usize) -> u64 {
        Memory::load(self, byte_offset)
    }
    fn store(&self, byte_offset: usize, value: u64) {
        Memory::store(self, byte_offset, value);
    }
}

/// Words of this process, and the first of them that a page begins with.
struct Private {
    words: Box<[AtomicU64]>,
    first: usize,
}

impl Private {
    fn new(len: usize) -> Self {
        const PAGE: usize = 4096;
        let words: Box<[AtomicU64]> =
            std::iter::repeat_with(|| AtomicU64::new(0)).take(words_of(len) + PAGE / 8).collect();
        let first = words.as_ptr().align_offset(PAGE).min(PAGE / 8);
        Self { words, first }
    }
}

// SAFETY: the boxed slice neither moves nor dies before `self`, is 8-aligned and writable through a
// shared reference, being atomics.
unsafe impl Backing for Private {
    fn base(&self) -> NonNull<u8> {
        NonNull::from(&self.words[self.first..]).cast()
    }
    fn len(&self) -> usize {
        (self.words.len() - self.first) * 8
    }
}

// SAFETY: a `Mapping` keeps its base and length as long as it lives (its own contract); pages of a
// DONTFORK mapping are gone in a forked child, where clients check the fork generation before each
// operation and make no further access.
unsafe impl Backing for crate::sys::mapping::Mapping {
    fn base(&self) -> NonNull<u8> {
        self.base()
    }
    fn len(&self) -> usize {
        self.len()
    }
}

// SAFETY: a `Window` keeps its base and length as long as it lives; after a truncation zero pages
// stand in the place of the segment's, so the addresses stay readable.
unsafe impl Backing for crate::sys::window::Window {
    fn base(&self) -> NonNull<u8> {
        self.base()
    }
    fn len(&self) -> usize {
        self.len()
    }
    fn dead_mark(&self) -> Option<&'static AtomicBool> {
        Some(self.dead_mark())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Words(Box<[AtomicU64]>);
    // SAFETY: the boxed slice does not move or die before `self`, and is 8-aligned.
    unsafe impl Backing for Words {
        fn base(&self) -> NonNull<u8> {
            NonNull::from(&self.0[0]).cast()
        }
        fn len(&self) -> usize {
            self.0.len() * 8
        }
    }

    fn region() -> Region {
        Region::new(Arc::new(Words((0..64).map(|_| AtomicU64::new(0)).collect())))
    }

    #[test]
    fn blocks_and_words_see_the_same_bytes() {
        let region = region();
        let bytes: Vec<u8> = (0..77).collect();
        region.write_block(8, &bytes);
        let (mut by_words, mut by_block) = ([0; 77], [0; 77]);
        region.read(8, &mut by_words);
        region.read_block(8, &mut by_block);
        assert_eq!((&by_words[..], &by_block[..]), (&bytes[..], &bytes[..]));
        region.write(8, &[9; 77]);
        region.read_block(8, &mut by_block);
        assert_eq!(by_block, [9; 77]);
        assert_eq!(region.load(88), 0, "nothing behind the last partial word");
    }

    #[test]
    fn offsets_outside_are_our_own_bug() {
        for at in [512, 508, 4, usize::MAX & !7] {
            assert!(std::panic::catch_unwind(|| region().load(at)).is_err(), "{at}");
            assert!(std::panic::catch_unwind(|| region().load_words::<4>(at)).is_err(), "{at}");
        }
        for at in [512, 2, usize::MAX & !3] {
            assert!(std::panic::catch_unwind(|| region().load_u32(at)).is_err(), "{at}");
        }
        assert!(std::panic::catch_unwind(|| region().load_words::<4>(488)).is_err());
        assert!(std::panic::catch_unwind(|| region().read(504, &mut [0; 9])).is_err());
        assert!(std::panic::catch_unwind(|| region().write(504, &[0; 9])).is_err());
        region().load_words::<4>(480);
        assert!(std::panic::catch_unwind(|| region().read_block(500, &mut [0; 13])).is_err());
        region().read_block(500, &mut [0; 12]);
    }
}
