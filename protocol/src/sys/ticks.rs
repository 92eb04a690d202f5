//! The processor's time stamp counter: how long something took, for who asks at every call.
//!
//! The kernel's own reading waits until all loads before it are done, and again before it goes on: several
//! times as long as the counter alone. The counter is used only where the kernel itself trusts it (its clock source is
//! `tsc`: the same on all cores, at a constant rate), and from when its rate is known; elsewhere the kernel's clock is.
#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::sys::clock::monotonic_ns;

/// The rate of this machine's counter.
pub(super) static RATE: Rate = Rate::new();

/// How long the counter is watched before its rate is believed: two readings, each off by less than a
/// microsecond, make an error of 100 parts in a million, 100 ns in a millisecond.
const WATCHED_FOR_NS: u128 = 20_000_000;
/// Ticks that a reading of the kernel's clock may take: if it was interrupted nobody knows when it read.
const NARROW: u64 = 4_000;

/// Measures how long something takes.
///
/// ```
/// use ringfence_protocol::sys::ticks::Stopwatch;
///
/// let watch = Stopwatch::start();
/// assert!(watch.elapsed_ns() < 60_000_000_000);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    /// The counter, or nanoseconds of the kernel's clock.
    from: u64,
    /// As [`Rate::scale`]; 0: the kernel's clock.
    scale: u64,
}

impl Stopwatch {
    /// Starts to measure.
    #[inline]
    #[must_use]
    pub fn start() -> Self {
        match RATE.scale() {
            0 => Self::by_kernel(),
            scale => Self { from: ticks(), scale },
        }
    }

    #[cold]
    fn by_kernel() -> Self {
        // Once the rate is known the next one runs by it.
        let (from, _) = RATE.read_kernel(monotonic_ns);
        Self { from, scale: 0 }
    }

    /// Nanoseconds since it was started; 0 if the clock went backwards.
    #[inline]
    #[must_use]
    pub fn elapsed_ns(self) -> u64 {
        match self.scale {
            0 => monotonic_ns().saturating_sub(self.from),
            scale => scaled(ticks().saturating_sub(self.from), scale),
        }
    }
}

/// How fast the counter is, learnt by watching it beside the kernel's clock.
#[derive(Debug)]
pub(super) struct Rate {
    /// The first readings of the counter, and of the kernel's monotonic clock; none if it is not trusted.
    first: OnceLock<Option<(u64, Instant)>>,
    /// Nanoseconds of a tick, times 2^32. Stored once.
    scale: AtomicU64,
}

impl Rate {
    pub(super) const fn new() -> Self {
        Self { first: OnceLock::new(), scale: AtomicU64::new(0) }
    }

    /// One that is known.
    #[cfg(test)]
    pub(super) const fn of(scale: u64) -> Self {
        Self { first: OnceLock::new(), scale: AtomicU64::new(scale) }
    }

    /// Nanoseconds of a tick, times 2^32; 0: not known, or the counter is not to be trusted.
    #[inline]
    pub(super) fn scale(&self) -> u64 {
        self.scale.load(Relaxed)
    }

    /// Reads a clock of the kernel's: the reading, and the counter then with the rate, unless it was interrupted or the
    /// rate is not known.
    pub(super) fn read_kernel<T>(&self, read: impl FnOnce() -> T) -> (T, Option<(u64, u64)>) {
        let before = ticks();
        let (reading, instant) = (read(), Instant::now());
        let took = ticks().wrapping_sub(before);
        if took > NARROW {
            return (reading, None);
        }
        let at = before.wrapping_add(took / 2);
        let first = self.first.get_or_init(|| is_trusted().then_some((at, instant)));
        let scale = first.and_then(|first| self.learn(first, at, instant));
        (reading, scale.map(|scale| (at, scale)))
    }

    /// The scale, if the counter was watched long enough. One value for all: who adds offsets counts from tick 0.
    fn learn(&self, first: (u64, Instant), at: u64, instant: Instant) -> Option<u64> {
        let scale = self.scale();
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
pub(super) fn scaled(ticks: u64, scale: u64) -> u64 {
    ((u128::from(ticks) * u128::from(scale)) >> 32) as u64
}

/// Does the kernel keep its own time by the counter?
pub(super) fn is_trusted() -> bool {
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    cfg!(target_arch = "x86_64")
        && std::fs::read_to_string(SOURCE).is_ok_and(|source| source.trim() == "tsc")
}

#[inline(always)]
pub(super) fn ticks() -> u64 {
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

    /// What a stopwatch says of a sleep lies between what the kernel's clock says within and around it.
    fn check(sleep: Duration) {
        let around = Instant::now();
        let watch = Stopwatch::start();
        let within = Instant::now();
        std::thread::sleep(sleep);
        let at_least = within.elapsed();
        let found = Duration::from_nanos(watch.elapsed_ns());
        let at_most = around.elapsed();
        // The rate's error.
        let error = Duration::from_micros(1) + at_most / 5_000;
        assert!(
            found + error >= at_least && found <= at_most + error,
            "{at_least:?} {found:?} {at_most:?}"
        );
    }

    #[test]
    fn a_stopwatch_follows_the_kernel_before_and_after_the_rate_is_known() {
        check(Duration::from_millis(1));
        while is_trusted() && RATE.scale() == 0 {
            check(Duration::from_millis(5));
        }
        for sleep_us in [0, 0, 100, 1_100, 20_000] {
            check(Duration::from_micros(sleep_us));
        }
    }

    #[test]
    fn a_counter_that_began_anew_took_no_time() {
        let watch = Stopwatch { from: u64::MAX, scale: 1 << 32 };
        assert_eq!(watch.elapsed_ns(), 0);
        assert_eq!(Stopwatch { from: u64::MAX, scale: 0 }.elapsed_ns(), 0);
    }
}
