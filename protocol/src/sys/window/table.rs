//! The table of windows that a SIGBUS handler reads: atomics only, no lock, no allocation.
//!
//! Invariants: an entry is found only between the end of [`Registration::new`] and
//! [`Registration::cancel`]; base and length are one atomic word, so a reader never sees half of
//! an old entry and half of a new one; entries that a forked child inherits are not its own and
//! match nothing there (what lies at those addresses in the child is the child's).
//! What it does not do: guard against a window dropped under a reader, see [`super`].
#![allow(unsafe_code)]

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, fence};

use nix::libc;

use super::PAGE_BYTES;
use crate::sys::fork::ForkStamp;

/// Most windows at a time, over all reserves of the process. An entry has 24 bytes, which cost
/// memory only once used; a handler passes over all of them in some 20 us.
pub const MAX_WINDOWS: usize = 16_384;

/// A window of so many pages (2 TiB) does not fit a [`Span`].
const PAGES_BITS: u32 = 29;

/// No window: a free entry.
const FREE: u64 = 0;
/// No window either: somebody is filling the entry in. As a span it would be at page 0.
const CLAIMED: u64 = 1;

/// Page number of the base (x86_64 has 47 bits of user addresses, 35 of pages), and length in
/// pages in the low [`PAGES_BITS`].
#[derive(Clone, Copy)]
struct Span(u64);

impl Span {
    fn new(base: usize, len: usize) -> Option<Self> {
        let (page, pages) = ((base / PAGE_BYTES) as u64, (len / PAGE_BYTES) as u64);
        let fits = page != 0 && page < 1 << (64 - PAGES_BITS) && pages < 1 << PAGES_BITS;
        fits.then_some(Self(page << PAGES_BITS | pages))
    }

    fn base(self) -> usize {
        (self.0 >> PAGES_BITS) as usize * PAGE_BYTES
    }

    fn len(self) -> usize {
        (self.0 & ((1 << PAGES_BITS) - 1)) as usize * PAGE_BYTES
    }

    fn contains(self, address: usize) -> bool {
        self.base() != 0 && address.wrapping_sub(self.base()) < self.len()
    }
}

struct Entry {
    span: AtomicU64,
    /// The process that registered it.
    generation: AtomicU64,
    dead: AtomicBool,
}

static TABLE: [Entry; MAX_WINDOWS] = [const {
    Entry {
        span: AtomicU64::new(FREE),
        generation: AtomicU64::new(0),
        dead: AtomicBool::new(false),
    }
}; MAX_WINDOWS];

/// Where the next search for a free entry begins; only a hint.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// An entry of the table. Not freed by drop: the window says when, after it has unmapped.
#[derive(Debug)]
pub(super) struct Registration {
    entry: &'static Entry,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let span = Span(self.span.load(Relaxed));
        let dead = self.dead.load(Relaxed);
        write!(f, "{:#x}+{:#x} dead={dead}", span.base(), span.len())
    }
}

impl Registration {
    /// Enters a range of whole pages; `None` when the table is full.
    pub(super) fn new(base: usize, len: usize) -> Option<Self> {
        let span = Span::new(base, len)?;
        let generation = ForkStamp::now().generation();
        let start = NEXT.fetch_add(1, Relaxed);
        let entry = (0..MAX_WINDOWS)
            .map(|step| &TABLE[start.wrapping_add(step) % MAX_WINDOWS])
            .find(|entry| entry.claim(generation))?;
        entry.generation.store(generation, Relaxed);
        entry.dead.store(false, Relaxed);
        // Partner: the Acquire in `absorb`, which then sees the two stores above.
        entry.span.store(span.0, Release);
        Some(Self { entry })
    }

    /// Frees the entry. The caller never uses this value again but for dropping it.
    pub(super) fn cancel(&self) {
        self.entry.span.store(FREE, Release);
    }

    /// The mark itself, of this range as long as this value lives.
    pub(super) fn mark(&self) -> &'static AtomicBool {
        &self.entry.dead
    }

    /// Whether the range was absorbed.
    #[inline]
    pub(super) fn dead(&self) -> bool {
        // Keeps the loads of the copy before the load of the flag. The handler sets the flag
        // before the first zero page exists, so a zero that was read implies the flag.
        fence(Acquire);
        self.entry.dead.load(Relaxed)
    }
}

impl Entry {
    fn claim(&self, generation: u64) -> bool {
        let span = self.span.load(Acquire);
        // An entry that was inherited by fork is as good as free.
        let inherited = self.generation.load(Relaxed) != generation && span != CLAIMED;
        (span == FREE || inherited)
            && self.span.compare_exchange(span, CLAIMED, Acquire, Relaxed).is_ok()
    }
}

/// For a SIGBUS handler: if `address` lies in a window, marks it dead, then maps zero pages over
/// the whole of it, so that whoever reads there goes on. False: not ours, or not possible.
///
/// Async-signal-safe: atomics and one system call. It may change errno.
pub fn absorb(address: usize) -> bool {
    let generation = ForkStamp::current_generation();
    for entry in &TABLE {
        let span = Span(entry.span.load(Acquire));
        if span.contains(address) && entry.generation.load(Relaxed) == generation {
            // First the flag, then the zeros: see `Registration::dead`.
            entry.dead.store(true, SeqCst);
            return map_zeros(span);
        }
    }
    false
}

fn map_zeros(span: Span) -> bool {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // SAFETY: a registered range lies inside a reserved one, and is this window's alone; the
    // thread that faulted in it is a reader, and a window is dropped only without readers, so it
    // is still the same window. Another thread may do the same at once: zeros over zeros.
    // The system call itself, not libc's wrapper, because a handler may run inside anything.
    let mapped = unsafe {
        libc::syscall(libc::SYS_mmap, span.base(), span.len(), protection, flags, -1_i64, 0_i64)
    };
    mapped != -1
}
