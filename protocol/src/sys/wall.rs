//! CLOCK_REALTIME for who asks at every message: by the processor's time stamp counter, anchored to the
//! kernel's clock every millisecond.
//!
//! The kernel's own reading waits until all loads before it are done, and again before it goes on: several
//! times as long as the counter alone. Invariant: within a microsecond of CLOCK_REALTIME, unless
//! that was set within the last millisecond. Only where the kernel itself trusts the counter (its clock
//! source is `tsc`: the same on all cores, at a constant rate); elsewhere this is the kernel's clock.
//! It is *not* monotonic: CLOCK_REALTIME is not.
#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Now, in nanoseconds since 1970. Before 1970 it reads 0, after 2554 the largest number.
#[inline]
#[must_use]
pub fn wall_ns() -> u64 {
    static CLOCK: Clock = Clock::new();
    CLOCK.now()
}

/// How long an anchor is good for.
const ANCHORED_FOR_NS: u64 = 1_000_000;
/// How long the counter is watched before its rate is believed: two readings, each off by less than a
/// microsecond, make an error of 100 parts in a million, 100 ns in a millisecond.
const WATCHED_FOR_NS: u128 = 20_000_000;
/// Ticks that a reading of the kernel's clock may take: if it was interrupted nobody knows when it read.
const NARROW: u64 = 4_000;

#[derive(Debug)]
struct Clock {
    /// The first readings of the counter, and of the kernel's monotonic clock.
    first: OnceLock<Option<(u64, Instant)>>,
    /// Nanoseconds of a tick, times 2^32. Stored once, before `until`.
    scale: AtomicU64,
    /// What is to be added to a reading of the counter in nanoseconds.
    offset: AtomicU64,
    /// The reading at which the anchor is not good any more; 0: there is none.
    until: AtomicU64,
}

impl Clock {
    const fn new() -> Self {
        let (scale, offset, until) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { first: OnceLock::new(), scale, offset, until }
    }

    #[inline]
    fn now(&self) -> u64 {
        let ticks = ticks();
        // Pairs with the store in `anchor`: scale and offset are not older.
        let left = self.until.load(Acquire).wrapping_sub(ticks);
        let scale = self.scale.load(Relaxed);
        // Too much is left if it is over, or if the counter began anew (the machine has slept).
        if scaled(left, scale) > ANCHORED_FOR_NS || scale == 0 {
            return self.anchor();
        }
        scaled(ticks, scale).wrapping_add(self.offset.load(Relaxed))
    }

    /// Reads the kernel's clock, and keeps what it says.
    #[cold]
    fn anchor(&self) -> u64 {
        let before = ticks();
        let (now, instant) = (of_kernel(), Instant::now());
        let took = ticks().wrapping_sub(before);
        if took > NARROW {
            return now;
        }
        let at = before.wrapping_add(took / 2);
        let first = self.first.get_or_init(|| is_trusted().then_some((at, instant)));
        if let Some(scale) = first.and_then(|first| self.scale(first, at, instant)) {
            self.offset.store(now.wrapping_sub(scaled(at, scale)), Relaxed);
            let good_for = (u128::from(ANCHORED_FOR_NS) << 32) / u128::from(scale);
            // Pairs with the load in `now`.
            self.until.store(at.wrapping_add(good_for as u64), Release);
        }
        now
    }

    /// The scale, if the counter was watched long enough. One value for all: offsets count from tick 0.
    fn scale(&self, first: (u64, Instant), at: u64, instant: Instant) -> Option<u64> {
        let scale = self.scale.load(Relaxed);
        if scale != 0 {
            return Some(scale);
        }
        let watched = instant.saturating_duration_since(first.1).as_nanos();
        let ticks = at.wrapping_sub(first.0);
        if watched < WATCHED_FOR_NS || ticks == 0 {
            return None;
        }
        let scale =
            u64::try_from((watched << 32) / u128::from(ticks)).ok().filter(|new| *new > 0)?;
        let before = self.scale.compare_exchange(0, scale, Relaxed, Relaxed);
        Some(before.err().unwrap_or(scale))
    }
}

/// A reading of the counter in nanoseconds.
#[inline]
fn scaled(ticks: u64, scale: u64) -> u64 {
    ((u128::from(ticks) * u128::from(scale)) >> 32) as u64
}

fn of_kernel() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Does the kernel keep its own time by the counter?
fn is_trusted() -> bool {
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    cfg!(target_arch = "x86_64")
        && std::fs::read_to_string(SOURCE).is_ok_and(|source| source.trim() == "tsc")
}

#[inline(always)]
fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: RDTSC exists on every x86_64 processor and touches no memory.
    let ticks = unsafe { core::arch::x86_64::_rdtsc() };
    #[cfg(not(target_arch = "x86_64"))]
    let ticks = 0;
    ticks
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(clock: &Clock) {
        let (before, found, after) = (of_kernel(), clock.now(), of_kernel());
        assert!(found + 1_000 >= before && found <= after + 1_000, "{before} {found} {after}");
    }

    #[test]
    fn it_follows_the_kernel() {
        let clock = Clock::new();
        check(&clock);
        while is_trusted() && clock.scale.load(Relaxed) == 0 {
            check(&clock);
        }
        for pause_us in [0, 0, 100, 900, 1_100, 5_000, 0] {
            std::thread::sleep(Duration::from_micros(pause_us));
            check(&clock);
        }
    }

    #[test]
    fn an_anchor_that_is_over_or_ahead_is_not_used() {
        let clock = Clock::new();
        clock.scale.store(1 << 32, Relaxed);
        // Would be wrong by all of it.
        clock.offset.store(7, Relaxed);
        for until in [0, ticks() - 1, ticks() + (1 << 40)] {
            clock.until.store(until, Relaxed);
            check(&clock);
            clock.offset.store(7, Relaxed);
        }
    }
}
