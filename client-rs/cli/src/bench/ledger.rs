//! Where the time of a call goes: the steps between the places that it passes on its way.
//!
//! The daemon says when a call was in its hands (it keeps a ledger of one call in 64), this side when it
//! left and when its answer came. Both read one clock. These calls are timed apart from those of the table
//! above, which nobody looks at.

use std::hint::spin_loop;
use std::time::{Duration, Instant};

use ringfence::{Client, Ledger};
use ringfence_protocol::sys::clock::monotonic_ns;
use serde::Serialize;

use crate::exit::Failure;
use crate::output::percentile;

/// The ledger is written behind the answer: turns of the processor's pause until it is looked at.
const PAUSES: u32 = 64;
/// No turn needs more samples.
const MOST: usize = 1 << 12;

/// Samples of each step, in nanoseconds.
#[derive(Default)]
pub(super) struct Steps {
    samples_ns: [Vec<u64>; Ledger::STEPS.len()],
}

/// One step.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) step: &'static str,
    pub(super) samples: usize,
    pub(super) p50_ns: u64,
    pub(super) p90_ns: u64,
}

impl Steps {
    /// Calls for so long, and keeps those of which there is a ledger.
    pub(super) fn turn(
        &mut self,
        turn: Duration,
        client: &Client,
        mut call: impl FnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (end, most) = (Instant::now() + turn, self.samples_ns[0].len() + MOST);
        while Instant::now() < end && self.samples_ns[0].len() < most {
            let submitted = monotonic_ns();
            call()?;
            let received = monotonic_ns();
            (0..PAUSES).for_each(|_| spin_loop());
            if let Some(ledger) = client.ledger() {
                self.add(submitted, ledger, received);
            }
        }
        Ok(())
    }

    fn add(&mut self, submitted: u64, ledger: Ledger, received: u64) {
        for (samples, ns) in self.samples_ns.iter_mut().zip(ledger.steps(submitted, received)) {
            samples.push(ns);
        }
    }

    /// All steps; none if no call was in a ledger.
    pub(super) fn summed(&mut self) -> Vec<Step> {
        let step = |(step, times): (&'static str, &mut Vec<u64>)| {
            times.sort_unstable();
            let at = |percent| percentile(times, percent);
            Some(Step { step, samples: times.len(), p50_ns: at(50)?, p90_ns: at(90)? })
        };
        Ledger::STEPS.into_iter().zip(&mut self.samples_ns).filter_map(step).collect()
    }
}

/// What one reading of the clock takes, which each step has one of.
pub(super) fn clock_ns() -> u64 {
    const READINGS: u64 = 1_000;
    let start = monotonic_ns();
    let last = (0..READINGS).map(|_| monotonic_ns()).max().unwrap_or(start);
    (last - start) / READINGS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_what_lies_between_two_places() {
        let mut steps = Steps::default();
        assert!(steps.summed().is_empty());
        steps.add(100, Ledger { seen: 150, dispatched: 170, done: 1_170, published: 1_180 }, 1_250);
        // Received while the daemon was about to read the clock.
        steps.add(0, Ledger { seen: 50, dispatched: 70, done: 1_070, published: 1_300 }, 1_100);
        let summed = steps.summed();
        let p50: Vec<_> = summed.iter().map(|step| step.p50_ns).collect();
        let p90: Vec<_> = summed.iter().map(|step| (step.step, step.p90_ns)).collect();
        assert_eq!(p50, [50, 20, 1_000, 10, 0]);
        assert_eq!(p90[0], ("submitted to seen", 50));
        assert!(summed.iter().all(|step| step.samples == 2));
    }
}
