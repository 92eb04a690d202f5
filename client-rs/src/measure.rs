//! Measuring one call in 64, off the way of the others (protocol SPEC, section M).
//!
//! Which call is measured is decided before it starts, by a [`Countdown`] of its lane: a decrement and a
//! branch. What a measured call costs more, two looks at the clock and taking the lane once again, the
//! others do not see. Only blocking calls that were answered count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ringfence_protocol::ledger::Ledger;
use ringfence_protocol::measures::SAMPLE_EVERY;

use crate::call::{Request, Started};
use crate::error::Error;
use crate::lane::Answer;
use crate::method::Method;
use crate::options::CallOptions;
use crate::remote::Remote;
use crate::reply::Sink;

/// Calls until the next one that is measured. Threads that count at once may lose a count: then it is
/// a call more or less.
#[derive(Debug)]
pub(crate) struct Countdown {
    left: AtomicU32,
    seed: AtomicU32,
}

impl Default for Countdown {
    fn default() -> Self {
        Self { left: AtomicU32::new(SAMPLE_EVERY), seed: AtomicU32::new(0) }
    }
}

impl Countdown {
    /// Counts a call. Is it to be measured?
    #[inline(always)]
    pub(crate) fn is_over(&self) -> bool {
        let left = self.left.load(Relaxed).wrapping_sub(1);
        self.left.store(left, Relaxed);
        // Below 0 where two threads took the same step.
        left as i32 <= 0
    }

    /// Starts anew. At irregular distances (Numerical Recipes' quick generator, its six best bits), so
    /// that a client that makes its calls in turn measures each of them.
    fn restart(&self) {
        let seed = self.seed.load(Relaxed).wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.seed.store(seed, Relaxed);
        self.left.store(SAMPLE_EVERY / 2 + (seed >> 26), Relaxed);
    }
}

/// A measured call that has not been answered yet, as its [`Call`](crate::pending::Call) keeps it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    since: Instant,
    method: u32,
}

/// The measurement of a call whose caller waits for more than the answer: for the lock of an
/// interpreter. From [`Pending::take_measurement`](crate::Pending::take_measurement). Dropped, the call
/// is not measured.
///
/// ```
/// # use ringfence::CallOptions;
/// use std::time::Instant;
/// let client = ringfence::doctest_client();
/// let ping = client.method("system", "ping")?;
/// let mut pending = client.submit(&ping, b"", &CallOptions::default())?;
/// let measurement = pending.take_measurement();
/// client.wait(pending)?;
/// let answered = Instant::now();
/// // Here a binding takes its interpreter's lock.
/// if let Some(measurement) = measurement {
///     measurement.finish(answered);
/// }
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Debug)]
pub struct Measurement {
    pub(crate) remote: Arc<Remote>,
    pub(crate) lane: usize,
    pub(crate) serial: u32,
    pub(crate) measured: Measured,
}

impl Measurement {
    /// The call was answered at `answered`, and its caller goes on only now.
    pub fn finish(self, answered: Instant) {
        self.record(Some(answered.elapsed()));
    }

    pub(crate) fn record(self, wait: Option<Duration>) {
        let Self { remote, lane, serial, measured } = self;
        let number = |now: u32| (now == serial).then_some(measured.method);
        remote.record(lane, number, measured.since.elapsed(), wait);
    }
}

impl Remote {
    /// As [`call_at`](Self::call_at), and measures. The parts of a request, since a whole one would be put
    /// together in memory on the way of the others.
    #[cold]
    #[inline(never)]
    pub(crate) fn call_measured(
        self: &Arc<Self>,
        index: usize,
        method: &Method,
        payload: &[u8],
        options: &CallOptions,
        turns: u32,
    ) -> Answer {
        let cell = &self.lanes[index];
        cell.countdown.restart();
        let since = Instant::now();
        let answer =
            self.call_at(index, cell, Request { method, payload, options, turns, stays: true });
        if answer.is_ok() {
            self.record(index, |serial| method.number(serial), since.elapsed(), None);
        }
        answer
    }

    /// As [`start_at`](Self::start_at), and measures; a call that is not answered yet is measured by
    /// whoever waits for it.
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn start_measured<S: Sink>(
        self: &Arc<Self>,
        index: usize,
        method: &Method,
        payload: &[u8],
        options: &CallOptions,
        turns: u32,
        stays: bool,
        sink: S,
    ) -> Result<Started<S::Out>, Error> {
        let cell = &self.lanes[index];
        cell.countdown.restart();
        let since = Instant::now();
        let request = Request { method, payload, options, turns, stays };
        let mut started = self.start_at(index, cell, request, sink)?;
        let number = |serial| method.number(serial);
        match &mut started {
            Started::Done(_) => self.record(index, number, since.elapsed(), None),
            Started::Open(pending) => {
                pending.measure(|serial| Some(Measured { since, method: number(serial)? }));
            }
        }
        Ok(started)
    }

    /// The ledger of the call of the first lane that was answered last.
    pub(crate) fn ledger(&self) -> Option<Ledger> {
        if self.stamp.is_child() {
            return None;
        }
        self.lanes[0].hold().as_ref()?.ring.ledger()
    }

    /// Adds a call to the sums of its lane, if that still is of the session that the number is of.
    fn record(
        self: &Arc<Self>,
        index: usize,
        number: impl FnOnce(u32) -> Option<u32>,
        call: Duration,
        wait: Option<Duration>,
    ) {
        if self.stamp.is_child() {
            return;
        }
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let cell = &self.lanes[index];
        let mut holder = cell.hold();
        if let Some(lane) = holder.as_mut()
            && let Some(number) = number(lane.serial)
        {
            lane.measured(number, ns(call), wait.map(ns));
        }
        cell.let_go(holder, self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_64_at_distances_that_no_pattern_of_calls_has() {
        let countdown = Countdown::default();
        let (mut measured, mut of_period) = (0, [0; 4]);
        for call in 0..640_000_usize {
            if countdown.is_over() {
                countdown.restart();
                measured += 1;
                of_period[call % 4] += 1;
            }
        }
        assert!((9_500..=10_500).contains(&measured), "{measured} of 640000");
        assert!(of_period.iter().all(|count| *count > 2_000), "{of_period:?}");
    }
}
