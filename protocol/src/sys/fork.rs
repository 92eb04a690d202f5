//! Knowing, for the price of one load, that this process is a forked child.
//!
//! A page that the kernel empties on fork (MADV_WIPEONFORK) holds a generation. A [`ForkStamp`]
//! remembers the generation of the process that made it. In a child the word reads 0, or, once
//! the child has stamped something of its own, a generation that no ancestor ever had.
//!
//! Invariants: no stamp holds 0; generations only grow along a line of ancestors. It uses no pid:
//! pids are reused, and `getpid` is a system call.
//! What it does not do: notice `vfork` or a thread (they share the memory, so nothing changed).
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::libc;

const PAGE_BYTES: usize = 4096;

/// The last generation given out. Copied by fork like any memory, so a child goes on from here.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Used where the kernel (gVisor, before 4.14) has no MADV_WIPEONFORK: a fork hook clears it.
static FALLBACK: AtomicU64 = AtomicU64::new(0);

/// The word that fork clears. Initialised once, and inherited initialised.
static WORD: OnceLock<&'static AtomicU64> = OnceLock::new();

/// The process that made this value, by fork generation.
#[derive(Debug, Clone, Copy)]
pub struct ForkStamp {
    word: &'static AtomicU64,
    generation: u64,
}

impl ForkStamp {
    /// The stamp of the calling process.
    #[must_use]
    pub fn now() -> Self {
        let word = *WORD.get_or_init(wiped_word);
        let found = word.load(Relaxed);
        if found != 0 {
            return Self { word, generation: found };
        }
        let fresh = LAST.fetch_add(1, Relaxed) + 1;
        // Two threads may arrive here at once in a fresh child; the first one's number holds.
        let generation = match word.compare_exchange(0, fresh, Relaxed, Relaxed) {
            Ok(_) => fresh,
            Err(winner) => winner,
        };
        Self { word, generation }
    }

    /// The number that tells this process from its ancestors and children; never 0.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The generation of the calling process, or 0 if it has made no stamp (yet, or since the
    /// fork). Initialises nothing, so a signal handler may ask.
    pub(super) fn current_generation() -> u64 {
        WORD.get().map_or(0, |word| word.load(Relaxed))
    }

    /// Whether the calling process is a child (of any depth) of the one that made this stamp.
    #[inline(always)]
    #[must_use]
    pub fn is_child(&self) -> bool {
        self.word.load(Relaxed) != self.generation
    }
}

fn wiped_word() -> &'static AtomicU64 {
    match wiped_page() {
        // SAFETY: the page is never unmapped, is aligned, holds zeros (a valid AtomicU64), and
        // this function runs once, so nobody else has a pointer to it.
        Some(page) => unsafe { page.cast::<AtomicU64>().as_ref() },
        None => {
            // SAFETY: the hook only stores to a static atomic, which is async-signal-safe. It
            // can fail only for lack of memory, in which case a fork goes unnoticed.
            unsafe { libc::pthread_atfork(None, None, Some(clear_fallback)) };
            &FALLBACK
        }
    }
}

fn wiped_page() -> Option<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE_BYTES, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the page was mapped above, whole, and belongs to this function.
    if unsafe { libc::madvise(page, PAGE_BYTES, libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: as above, and no pointer to it leaves this function.
        unsafe { libc::munmap(page, PAGE_BYTES) };
        return None;
    }
    NonNull::new(page.cast())
}

extern "C" fn clear_fallback() {
    FALLBACK.store(0, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::in_child;

    #[test]
    fn one_process_has_one_generation() {
        let first = ForkStamp::now();
        let second = std::thread::spawn(ForkStamp::now).join().expect("thread");
        assert_eq!(first.generation, second.generation);
        assert!(!first.is_child() && !second.is_child());
    }

    #[test]
    fn a_child_and_a_grandchild_know_it() {
        let parent = ForkStamp::now();
        let verdict = in_child(|| {
            if !parent.is_child() {
                return 1;
            }
            let child = ForkStamp::now();
            // Having stamped something itself must not make it the parent's equal.
            if child.is_child() || !parent.is_child() {
                return 2;
            }
            let grandchild = in_child(|| {
                let own = ForkStamp::now();
                i32::from(!parent.is_child() || !child.is_child() || own.is_child())
            });
            if grandchild != 0 { 3 } else { 0 }
        });
        assert_eq!(verdict, 0);
        assert!(!parent.is_child());
    }

    #[test]
    fn the_fork_hook_clears_the_word_without_wipeonfork() {
        // SAFETY: see `wiped_word`; the hook stores to an atomic that only this test reads.
        unsafe { libc::pthread_atfork(None, None, Some(clear_fallback)) };
        FALLBACK.store(7, Relaxed);
        let stamp = ForkStamp { word: &FALLBACK, generation: 7 };
        assert_eq!(in_child(|| i32::from(!stamp.is_child())), 0);
        assert!(!stamp.is_child());
    }
}
