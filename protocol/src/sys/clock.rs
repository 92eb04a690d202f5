//! The clock of deadlines: CLOCK_MONOTONIC_COARSE in ticks of 64 us, low 32 bits.
//!
//! Invariants: 0 is "no deadline" and is never the deadline of a wait; by this clock a deadline is never
//! early (it is rounded up by one tick), and by an exact one by no more than this clock's step; both
//! sides read the same clock, so nothing is translated.
//! What it does not do: measure (the coarse clock moves every 1 to 4 ms; for that there is
//! [`monotonic_ns`]), or serve timeouts of more than [`MAX_SPAN`]: 32 bits compare correctly over half
//! their range only. Exact timeouts are the client's own.
#![allow(unsafe_code)]

use std::time::Duration;

use nix::libc;

/// One tick in nanoseconds.
pub const TICK_NS: u64 = 64_000;

/// 1 s / 64 us, exactly.
const TICKS_PER_S: u64 = 1_000_000_000 / TICK_NS;

/// The longest deadline, 38.2 hours: half the range of 32 bits, less the tick of rounding. Longer
/// ones are none.
pub const MAX_SPAN: Duration = Duration::from_nanos(((1 << 31) - 2) * TICK_NS);

/// The most milliseconds whose ticks times eight fit 32 bits: 9.5 hours.
const EASY_MS: u32 = u32::MAX / 125;

/// No deadline.
pub const NONE: u32 = 0;

/// Now, in ticks.
#[inline]
#[must_use]
pub fn coarse_ticks() -> u32 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live timespec; the vdso serves this clock without a system call, and it exists on
    // every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    // A monotonic clock is never negative, so both casts keep the value.
    let ticks =
        (now.tv_sec as u64).wrapping_mul(TICKS_PER_S).wrapping_add(now.tv_nsec as u64 / TICK_NS);
    ticks as u32
}

/// CLOCK_MONOTONIC in nanoseconds: what other processes of this machine read at the same time. For
/// measurements that both sides contribute to.
#[inline]
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: as in `coarse_ticks`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    // As there; 64 bits last for 584 years.
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// The deadline that passes not before `timeout` from now; [`NONE`] beyond [`MAX_SPAN`].
#[inline]
#[must_use]
pub fn deadline_after(timeout: Duration) -> u32 {
    deadline_from(coarse_ticks(), timeout)
}

/// The same for whole milliseconds, without arithmetic of 64 bits and more.
#[inline]
#[must_use]
pub fn deadline_after_ms(timeout_ms: u32) -> u32 {
    if timeout_ms > EASY_MS {
        return deadline_after(Duration::from_millis(timeout_ms.into()));
    }
    // A millisecond is 125 / 8 ticks, exactly.
    deadline_in(coarse_ticks(), (timeout_ms * 125).div_ceil(8))
}

#[inline]
fn deadline_from(now: u32, timeout: Duration) -> u32 {
    if timeout > MAX_SPAN {
        return NONE;
    }
    // At most 2^31 - 1 with the tick added, because of the check above, which also makes the
    // nanoseconds fit 64 bits (a division of 128 bits costs as much as a system clock).
    deadline_in(now, (timeout.as_nanos() as u64).div_ceil(TICK_NS) as u32)
}

#[inline]
fn deadline_in(now: u32, ticks: u32) -> u32 {
    match now.wrapping_add(ticks + 1) {
        NONE => 1,
        deadline => deadline,
    }
}

/// Whether `deadline` has come. [`NONE`] never does.
#[inline]
#[must_use]
pub fn expired(now: u32, deadline: u32) -> bool {
    deadline != NONE && now.wrapping_sub(deadline) < 1 << 31
}

/// How long it is from `now` until `deadline`; `None` if that is [`NONE`].
#[must_use]
pub fn left(now: u32, deadline: u32) -> Option<Duration> {
    let ticks = if expired(now, deadline) { 0 } else { deadline.wrapping_sub(now) };
    (deadline != NONE).then(|| Duration::from_nanos(u64::from(ticks) * TICK_NS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_nanos(TICK_NS);

    #[test]
    fn ticks_follow_the_clock() {
        let exact = || {
            let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE);
            Duration::from(now.expect("clock"))
        };
        let (before, ticks, after) = (exact(), coarse_ticks(), exact());
        let low_bits = |at: Duration| (at.as_nanos() / u128::from(TICK_NS)) as u32;
        let since = ticks.wrapping_sub(low_bits(before));
        assert!(since <= low_bits(after).wrapping_sub(low_bits(before)), "{since}");
    }

    #[test]
    fn a_deadline_is_never_early_and_at_most_a_tick_late() {
        for now in [0, 1, 7, u32::MAX - 3, u32::MAX, 1 << 31, (1 << 31) - 1] {
            for ticks in [0, 1, 2, 3, 15_625, (1 << 31) - 2] {
                let deadline = deadline_from(now, TICK * ticks);
                assert_ne!(deadline, NONE);
                assert!(!expired(now, deadline), "{now} {ticks}");
                assert!(!expired(now.wrapping_add(ticks), deadline), "{now} {ticks}");
                // One tick of rounding up, and one more where that would have been 0.
                assert!(expired(now.wrapping_add(ticks + 2), deadline), "{now} {ticks}");
            }
        }
        let rounded = deadline_from(100, TICK + Duration::from_nanos(1));
        assert_eq!(rounded, 103);
    }

    #[test]
    fn what_is_left_of_a_deadline_is_what_was_given_less_what_passed() {
        for now in [1, 7, u32::MAX - 3, 1 << 31] {
            let deadline = deadline_in(now, 100);
            let given = left(now, deadline);
            assert!(given == Some(TICK * 101) || given == Some(TICK * 102), "{given:?}");
            assert_eq!(left(deadline.wrapping_sub(1), deadline), Some(TICK));
            assert_eq!(left(deadline, deadline), Some(Duration::ZERO));
            assert_eq!(left(deadline.wrapping_add(50), deadline), Some(Duration::ZERO));
            assert_eq!(left(now, NONE), None);
        }
    }

    #[test]
    fn milliseconds_are_the_same_span() {
        for ms in [0, 1, 8, 30_000, EASY_MS, EASY_MS + 1, 120_000_000, u32::MAX] {
            let exact = Duration::from_millis(ms.into());
            let both = || (deadline_after(exact), deadline_after_ms(ms));
            // The clock may tick between the two readings, not three times in a row.
            assert!(
                (0..3).any(|_| {
                    let (a, b) = both();
                    a == b
                }),
                "{ms}: {:?}",
                both()
            );
        }
    }

    #[test]
    fn too_long_is_none_and_none_never_comes() {
        assert_eq!(deadline_after(MAX_SPAN + Duration::from_nanos(1)), NONE);
        assert_eq!(deadline_after(Duration::MAX), NONE);
        assert_ne!(deadline_after(Duration::ZERO), NONE);
        for now in [0, 1, 1 << 31, u32::MAX] {
            assert!(!expired(now, NONE));
        }
    }
}
