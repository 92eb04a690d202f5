//! Time: the time stamp counter, read once per operation, the same way for every Rust case.
//!
//! A sample runs from the end of one operation to the end of the next, so samples add up to the
//! time that passed: nothing is subtracted and nothing falls between two samples. The counter is
//! read without a fence: a reading may come early, but then the next one does too.
//!
//! On many machines the counter moves in steps (10 ns on some AMD servers). A sample then says
//! "within half a step of this", and `to_ps` spreads samples evenly over their step; otherwise
//! every percentile near 100 ns would be rounded by up to 10 %.

use std::hint::black_box;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::raw::ticks;

/// Long enough that Instant's own 50 ns are 1 part in a million.
const CALIBRATION: Duration = Duration::from_millis(50);
const GAPS: usize = 20_000;
/// Enough to make gaps differ by several steps, and prime, so that it is a multiple of none.
const MOST_VARIED_WORK: usize = 199;
/// Steps worth noticing, in ticks: below, "give or take one" would fit anything; above, there are
/// no counters.
const STEPS: RangeInclusive<u64> = 8..=200;
const PS_PER_SECOND: f64 = 1e12;
/// The golden ratio's fraction: its multiples spread evenly over 0..1, without a random source.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// What a tick is worth on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    ps_per_tick: f64,
    step_ticks: u64,
    overhead_ticks: f64,
}

impl Clock {
    /// Compares the counter with the kernel's monotonic clock.
    #[must_use]
    pub fn calibrate() -> Self {
        let (start, start_ticks) = (Instant::now(), ticks());
        while start.elapsed() < CALIBRATION {
            std::hint::spin_loop();
        }
        let passed_ticks = ticks() - start_ticks;
        let ps_per_tick = start.elapsed().as_secs_f64() * PS_PER_SECOND / passed_ticks as f64;
        Self {
            ps_per_tick,
            step_ticks: step_of(&gaps(MOST_VARIED_WORK)),
            overhead_ticks: undisturbed_mean(gaps(1)),
        }
    }

    /// A sample in picoseconds; `nth` is its number, which decides where in its step it falls.
    #[must_use]
    pub fn to_ps(&self, sample_ticks: u64, nth: usize) -> u64 {
        let spread = (nth as f64 * GOLDEN).fract() - 0.5;
        let exact = sample_ticks as f64 + spread * self.step_ticks as f64;
        (exact.max(0.0) * self.ps_per_tick) as u64
    }

    /// The smallest difference two readings show, in nanoseconds.
    #[must_use]
    pub fn step_ns(&self) -> f64 {
        self.step_ticks as f64 * self.ps_per_tick / 1e3
    }

    /// What one reading costs, in nanoseconds; it is part of every sample.
    #[must_use]
    pub fn overhead_ns(&self) -> f64 {
        self.overhead_ticks * self.ps_per_tick / 1e3
    }

    /// Ticks a second, in GHz.
    #[must_use]
    pub fn ghz(&self) -> f64 {
        1e3 / self.ps_per_tick
    }
}

/// Gaps between readings with 0 to `varied_work - 1` units of work between them.
fn gaps(varied_work: usize) -> Vec<u64> {
    let mut gaps = Vec::with_capacity(GAPS);
    let mut last = ticks();
    for nth in 0..GAPS {
        (0..nth % varied_work).for_each(|unit| _ = black_box(unit));
        let now = ticks();
        gaps.push(now.saturating_sub(last));
        last = now;
    }
    gaps
}

/// The largest step that nearly all gaps are multiples of, give or take the one tick by which a
/// hypervisor's scaling rounds; 1 if there is none. The rest are interrupts.
fn step_of(gaps: &[u64]) -> u64 {
    let off_by = |gap: u64, step: u64| (gap % step).min(step - gap % step);
    let fits = |step: &u64| {
        let fitting = gaps.iter().filter(|gap| off_by(**gap, *step) <= 1).count();
        !gaps.is_empty() && fitting * 100 >= gaps.len() * 95
    };
    STEPS.rev().find(fits).unwrap_or(1)
}

/// The mean without the slowest hundredth, which was interrupted.
fn undisturbed_mean(mut gaps: Vec<u64>) -> f64 {
    gaps.sort_unstable();
    gaps.truncate(gaps.len() - gaps.len() / 100);
    gaps.iter().sum::<u64>() as f64 / gaps.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_in_steps_is_recognised() {
        // As seen under a hypervisor: steps of 26, some of which are split into 1 and 25.
        let mut gaps = [26_u64, 52, 78, 1, 25, 103].repeat(500);
        gaps.push(3_333);
        assert_eq!(step_of(&gaps), 26);
        assert_eq!(step_of(&(20..400).collect::<Vec<_>>()), 1);
        assert_eq!(step_of(&[]), 1);
    }

    #[test]
    fn spread_samples_keep_their_mean() {
        let clock = Clock { ps_per_tick: 385.0, step_ticks: 26, overhead_ticks: 0.0 };
        let sum: u64 = (0..10_000).map(|nth| clock.to_ps(260, nth)).sum();
        let mean_ps = sum as f64 / 10_000.0;
        assert!((mean_ps - 260.0 * 385.0).abs() < 20.0, "{mean_ps}");
    }
}
