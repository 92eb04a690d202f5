//! How many bytes of large payloads this process copied: what a loan or a leased view spares.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static COPIED: AtomicU64 = AtomicU64::new(0);

/// Bytes of payloads over 64 KiB that the clients of this process have copied so far, there and back.
/// Zero for a request that was filled in a [`Loan`](crate::Loan), and for a reply that is viewed where it
/// lies.
///
/// ```
/// let before = ringfence::copied_bytes();
/// ringfence::doctest_client().ping()?;
/// assert_eq!(ringfence::copied_bytes(), before);
/// # Ok::<(), ringfence::Error>(())
/// ```
#[must_use]
pub fn copied_bytes() -> u64 {
    COPIED.load(Relaxed)
}

/// Counts a copy that a binding made.
#[doc(hidden)]
pub fn count_copied(bytes: usize) {
    COPIED.fetch_add(bytes as u64, Relaxed);
}
