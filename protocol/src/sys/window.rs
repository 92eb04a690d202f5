//! The daemon's view of segments that a client can truncate: windows in one reserved range.
//!
//! Invariants: the range is reserved once and never given back, so an address in it is never the
//! heap's or another library's (a late SIGBUS handler once zeroed somebody's heap: measured). A
//! window is mapped and registered for [`absorb`] in one step, is never in a child's memory, has
//! an inaccessible page behind it, and is inaccessible again from its drop to its next use.
//! What it does not do: know who still reads. Whoever drops a [`Window`] says that nobody does:
//! the poller and every job have let go of it. Nor does it install the handler (the daemon does).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::{Arc, Mutex, PoisonError};

use nix::libc;

use super::fork::ForkStamp;
use super::mapping::{MapError, check_received};
use ranges::Ranges;
use table::Registration;

mod ranges;
mod table;

pub use table::{MAX_WINDOWS, absorb};

/// x86_64's; a window begins and ends on it.
pub(super) const PAGE_BYTES: usize = 4096;

/// Why a segment got no window.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// The descriptor is no segment of that size.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The reserved range has no gap of that size.
    #[error(
        "no window of {wanted} bytes is left of {total} reserved; reserve more, or lower quotas"
    )]
    Full {
        /// Bytes asked for, with the guard page.
        wanted: usize,
        /// Bytes of the whole range.
        total: usize,
    },
    /// The table has no free entry.
    #[error("{MAX_WINDOWS} segments are mapped, which is the limit; close sessions or lanes")]
    TooMany,
    /// A system call failed.
    #[error("{call} for {len} bytes failed: {source}")]
    Os {
        /// The call.
        call: &'static str,
        /// The bytes concerned.
        len: usize,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What the daemon may do in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A client's `up`.
    ReadOnly,
    /// The daemon's own `down`, board, topics.
    ReadWrite,
}

/// A range of addresses for windows. Clones share it.
#[derive(Debug, Clone)]
pub struct Reserve(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    base: usize,
    len: usize,
    free: Mutex<Ranges>,
}

impl Reserve {
    /// Reserves `bytes` of address space; it costs no memory, and is never given back.
    ///
    /// # Errors
    /// No address space (RLIMIT_AS).
    pub fn new(bytes: usize) -> Result<Self, WindowError> {
        let len = bytes.checked_next_multiple_of(PAGE_BYTES).unwrap_or(bytes);
        // SAFETY: at an address of the kernel's choice; touches nothing that exists.
        let base = unsafe { libc::mmap(null_mut(), len, libc::PROT_NONE, NO_MEMORY, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(os("mmap(PROT_NONE); raise LimitAS; reserving", len));
        }
        let free = Mutex::new(Ranges::new(len));
        Ok(Self(Arc::new(Inner { base: base.addr(), len, free })))
    }

    /// Maps a whole segment into a free window, and registers it for [`absorb`].
    ///
    /// # Errors
    /// [`WindowError`]; nothing is mapped then.
    pub fn map(
        &self,
        fd: BorrowedFd<'_>,
        len: usize,
        access: Access,
    ) -> Result<Window, WindowError> {
        check_received(fd, len)?;
        let pages_len = len.next_multiple_of(PAGE_BYTES);
        let wanted = pages_len + PAGE_BYTES;
        let free = || self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        let full = WindowError::Full { wanted, total: self.0.len };
        let offset = free().take(wanted).ok_or(full)?;
        let address = self.0.base + offset;
        let Some(registration) = Registration::new(address, pages_len) else {
            free().give(offset, wanted);
            return Err(WindowError::TooMany);
        };
        let base = match map_at(address, pages_len, fd, access) {
            Ok(base) => base,
            Err(error) => {
                // A MAP_FIXED that fails may leave a hole, into which anybody's next mapping can
                // fall. The window is given up for good; it is only address space.
                registration.cancel();
                return Err(error);
            }
        };
        let (reserve, stamp) = (self.clone(), ForkStamp::now());
        Ok(Window { base, len, access, offset, reserve, registration, stamp })
    }
}

/// One segment, mapped whole and shared, that survives its truncation as zeros.
#[derive(Debug)]
pub struct Window {
    base: NonNull<u8>,
    len: usize,
    access: Access,
    offset: usize,
    reserve: Reserve,
    registration: Registration,
    stamp: ForkStamp,
}

// SAFETY: the pointer is only handed out; whoever reads through it answers for the accesses.
unsafe impl Send for Window {}
// SAFETY: as above; `&Window` changes nothing but atomics.
unsafe impl Sync for Window {}

impl Window {
    /// Its first byte, valid for [`Self::len`] bytes while this value lives.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The segment's size in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no segment is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// What may be done in it.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// Whether the segment was truncated, and zeros stand for it. Asked *after* each copy out of
    /// it and before the copy is used: if this is false, no byte of the copy was such a zero.
    #[inline]
    #[must_use]
    pub fn dead(&self) -> bool {
        self.registration.dead()
    }

    /// The mark that [`dead`](Self::dead) reads, this window's as long as it lives.
    pub(crate) fn dead_mark(&self) -> &'static std::sync::atomic::AtomicBool {
        self.registration.mark()
    }

    /// Fills the page tables now, not at the first touches. Best effort (Linux 5.14), and no
    /// signal is raised for a truncated segment.
    pub fn populate(&self) {
        let advice = match self.access {
            Access::ReadOnly => libc::MADV_POPULATE_READ,
            Access::ReadWrite => libc::MADV_POPULATE_WRITE,
        };
        // SAFETY: the window's own range; populating changes no contents.
        unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, advice) };
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // DONTFORK left a hole in a child, and what lies there now is the child's own.
        if self.stamp.is_child() {
            return;
        }
        let pages_len = self.len.next_multiple_of(PAGE_BYTES);
        let closed = close(self.base, pages_len);
        self.registration.cancel();
        // If it could not be closed (no memory for the kernel's bookkeeping), it is given up.
        if closed {
            let mut free = self.reserve.0.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.give(self.offset, pages_len + PAGE_BYTES);
        }
    }
}

/// Address space without memory; NORESERVE so that strict overcommit does not count it.
const NO_MEMORY: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

fn map_at(
    address: usize,
    len: usize,
    fd: BorrowedFd<'_>,
    access: Access,
) -> Result<NonNull<u8>, WindowError> {
    let protection = match access {
        Access::ReadOnly => libc::PROT_READ,
        Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
    };
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    let at = std::ptr::with_exposed_provenance_mut(address);
    // SAFETY: the range was just taken from the free part of the reserved range, which is
    // PROT_NONE and ours for ever: MAP_FIXED replaces nothing that anybody refers to.
    let mapped = unsafe { libc::mmap(at, len, protection, flags, fd.as_raw_fd(), 0) };
    if mapped == libc::MAP_FAILED {
        return Err(os("mmap(MAP_FIXED)", len));
    }
    // SAFETY: the range mapped above, which nobody else knows yet.
    if unsafe { libc::madvise(mapped, len, libc::MADV_DONTFORK) } != 0 {
        return Err(os("madvise(MADV_DONTFORK)", len));
    }
    NonNull::new(mapped.cast()).ok_or_else(|| os("mmap(MAP_FIXED)", len))
}

/// Makes a window inaccessible again; whether it could.
fn close(base: NonNull<u8>, len: usize) -> bool {
    let at = base.as_ptr().cast();
    let flags = NO_MEMORY | libc::MAP_FIXED;
    // SAFETY: the window's own range, inside the reserved one, which by contract nobody uses.
    unsafe { libc::mmap(at, len, libc::PROT_NONE, flags, -1, 0) != libc::MAP_FAILED }
}

fn os(call: &'static str, len: usize) -> WindowError {
    WindowError::Os { call, len, source: io::Error::last_os_error() }
}

#[cfg(test)]
mod tests;
