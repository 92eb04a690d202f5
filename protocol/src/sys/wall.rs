//! CLOCK_REALTIME for who asks at every message: by the processor's time stamp counter, anchored to the
//! kernel's clock every millisecond.
//!
//! Invariant: within a microsecond of CLOCK_REALTIME, unless that was set within the last millisecond. Where the
//! counter is not to be trusted ([`ticks`](super::ticks)), this is the kernel's clock.
//! It is *not* monotonic: CLOCK_REALTIME is not.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::sys::ticks::{RATE, Rate, scaled, ticks};

/// Now, in nanoseconds since 1970. Before 1970 it reads 0, after 2554 the largest number.
#[inline]
#[must_use]
pub fn wall_ns() -> u64 {
    static CLOCK: Clock = Clock::new(&RATE);
    CLOCK.now()
}

/// How long an anchor is good for.
const ANCHORED_FOR_NS: u64 = 1_000_000;

#[derive(Debug)]
struct Clock {
    rate: &'static Rate,
    /// What is to be added to a reading of the counter in nanoseconds.
    offset: AtomicU64,
    /// The reading at which the anchor is not good any more; 0: there is none. Stored after the rate is known.
    until: AtomicU64,
}

impl Clock {
    const fn new(rate: &'static Rate) -> Self {
        Self { rate, offset: AtomicU64::new(0), until: AtomicU64::new(0) }
    }

    #[inline]
    fn now(&self) -> u64 {
        let ticks = ticks();
        // Pairs with the store in `anchor`: scale and offset are not older.
        let left = self.until.load(Acquire).wrapping_sub(ticks);
        let scale = self.rate.scale();
        // Too much is left if it is over, or if the counter began anew (the machine has slept).
        if scaled(left, scale) > ANCHORED_FOR_NS || scale == 0 {
            return self.anchor();
        }
        scaled(ticks, scale).wrapping_add(self.offset.load(Relaxed))
    }

    /// Reads the kernel's clock, and keeps what it says.
    #[cold]
    fn anchor(&self) -> u64 {
        let (now, at) = self.rate.read_kernel(of_kernel);
        if let Some((at, scale)) = at {
            self.offset.store(now.wrapping_sub(scaled(at, scale)), Relaxed);
            let good_for = (u128::from(ANCHORED_FOR_NS) << 32) / u128::from(scale);
            // Pairs with the load in `now`.
            self.until.store(at.wrapping_add(good_for as u64), Release);
        }
        now
    }
}

fn of_kernel() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::ticks::is_trusted;

    fn check(clock: &Clock) {
        let (before, found, after) = (of_kernel(), clock.now(), of_kernel());
        assert!(found + 1_000 >= before && found <= after + 1_000, "{before} {found} {after}");
    }

    #[test]
    fn it_follows_the_kernel() {
        static FRESH: Rate = Rate::new();
        let clock = Clock::new(&FRESH);
        check(&clock);
        while is_trusted() && FRESH.scale() == 0 {
            check(&clock);
        }
        for pause_us in [0, 0, 100, 900, 1_100, 5_000, 0] {
            std::thread::sleep(Duration::from_micros(pause_us));
            check(&clock);
        }
    }

    #[test]
    fn an_anchor_that_is_over_or_ahead_is_not_used() {
        static KNOWN: Rate = Rate::of(1 << 32);
        let clock = Clock::new(&KNOWN);
        // Would be wrong by all of it.
        clock.offset.store(7, Relaxed);
        for until in [0, ticks() - 1, ticks() + (1 << 40)] {
            clock.until.store(until, Relaxed);
            check(&clock);
            clock.offset.store(7, Relaxed);
        }
    }
}
