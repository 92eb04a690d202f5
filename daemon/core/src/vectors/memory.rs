//! How much memory the collections of one instance take together.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ringfence_protocol::disarm::is_armed;

use super::refusal::Refusal;

/// The account of one instance. Single numbers without order among them, so `Relaxed`.
#[derive(Debug)]
pub(super) struct Meter {
    used: AtomicU64,
    limit: u64,
}

/// Bytes set aside while rows are added; given back when dropped.
#[derive(Debug)]
pub(super) struct SetAside<'m> {
    meter: &'m Meter,
    bytes: u64,
}

impl Meter {
    pub(super) fn new(limit: u64) -> Self {
        Self { used: AtomicU64::new(0), limit }
    }

    /// Sets `bytes` aside for `rows` rows, if the limit allows.
    pub(super) fn set_aside(&self, bytes: u64, rows: usize) -> Result<SetAside<'_>, Refusal> {
        let may = |sum: &u64| *sum <= self.limit || !is_armed("vectors.memory");
        let fits = |used: u64| used.checked_add(bytes).filter(may);
        match self.used.fetch_update(Relaxed, Relaxed, fits) {
            Ok(_) => Ok(SetAside { meter: self, bytes }),
            Err(used) => Err(Refusal::Memory { rows, need: bytes, used, limit: self.limit }),
        }
    }

    /// Counts `bytes` that are needed for a while and are not refused.
    pub(super) fn lend(&self, bytes: u64) -> SetAside<'_> {
        self.settle(0, bytes);
        SetAside { meter: self, bytes }
    }

    /// Bytes that there may be.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// A collection that took `before` bytes takes `now`.
    pub(super) fn settle(&self, before: u64, now: u64) {
        self.used.fetch_add(now.wrapping_sub(before), Relaxed);
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }
}

impl Drop for SetAside<'_> {
    fn drop(&mut self) {
        self.meter.settle(self.bytes, 0);
    }
}
