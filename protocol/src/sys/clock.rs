//! The clock of deadlines: CLOCK_MONOTONIC_COARSE in ticks of 64 us, low 32 bits.
//!
//! Invariants: 0 is "no deadline" and is never the deadline of a wait; a deadline is never early
//! (it is rounded up by one tick); both sides read the same clock, so nothing is translated.
//! What it does not do: measure (the coarse clock moves every 1 to 4 ms), or serve timeouts of
//! more than [`MAX_SPAN`]: 32 bits compare correctly over half their range only. Exact timeouts
//! are the client's own.
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

/// The deadline that passes not before `timeout` from now; [`NONE`] beyond [`MAX_SPAN`].
#[inline]
#[must_use]
pub fn deadline_after(timeout: Duration) -> u32 {
    deadline_from(coarse_ticks(), timeout)
}

#[inline]
fn deadline_from(now: u32, timeout: Duration) -> u32 {
    if timeout > MAX_SPAN {
        return NONE;
    }
    // At most 2^31 - 1 with the tick added, because of the check above, which also makes the
    // nanoseconds fit 64 bits (a division of 128 bits costs as much as a system clock).
    let span = (timeout.as_nanos() as u64).div_ceil(TICK_NS) as u32 + 1;
    match now.wrapping_add(span) {
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
    fn too_long_is_none_and_none_never_comes() {
        assert_eq!(deadline_after(MAX_SPAN + Duration::from_nanos(1)), NONE);
        assert_eq!(deadline_after(Duration::MAX), NONE);
        assert_ne!(deadline_after(Duration::ZERO), NONE);
        for now in [0, 1, 1 << 31, u32::MAX] {
            assert!(!expired(now, NONE));
        }
    }
}
