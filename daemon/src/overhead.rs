//! How much of a call's time is not its engine's: judged by method, once a window.
//!
//! A call's time is what clients measure (one call in 64); the engine's is the service time that the
//! daemon measures. What lies between the two is the way there and back, waking, waiting for a worker
//! and for an interpreter's lock. Both are means over the same window, not over the same calls, so a
//! ratio is as good as its samples: a method with fewer than [`ENOUGH`] keeps collecting.
//!
//! Invariants: no clock is read and no call is touched here. Numbers of clients are untrusted: a lie
//! moves a gauge and the warning of its method, no more.

use std::time::{Duration, Instant};

use ringfence_protocol::board::MethodRow;

/// A method that works shorter than this is not judged: its calls are mostly way.
const LEAST_SERVICE_NS: u64 = 20_000;
/// Measured calls below which nothing is said.
const ENOUGH: u64 = 4;
/// A method that was not measured for so long, or for as many windows, has no ratio any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);
const FORGOTTEN_WINDOWS: u32 = 5;
/// A ratio above this is worth a warning.
const TOLERATED: f64 = 0.05;

/// What a method's sums were when it was last judged.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    client_calls: u64,
    client_ns: u64,
    samples: u64,
    service_ns: u64,
}

impl Sums {
    fn of(row: &MethodRow) -> Self {
        Self {
            client_calls: row.client_calls,
            client_ns: row.client_ns,
            samples: row.service.samples,
            service_ns: row.service.sum_ns,
        }
    }
}

/// What is known about a method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    call_ns: u64,
    service_ns: u64,
}

impl Verdict {
    /// Between two sums; nothing without calls, or if the method is too short.
    fn between(before: Sums, after: Sums) -> Option<Self> {
        let mean = |(ns, count): (u64, u64)| ns.checked_div(count);
        let grown = |after: u64, before: u64| after.saturating_sub(before);
        let call_ns = mean((
            grown(after.client_ns, before.client_ns),
            grown(after.client_calls, before.client_calls),
        ))?;
        let service_ns = mean((
            grown(after.service_ns, before.service_ns),
            grown(after.samples, before.samples),
        ))?;
        (service_ns >= LEAST_SERVICE_NS).then_some(Self { call_ns, service_ns })
    }

    /// The part of a call's time that is not its engine's.
    fn ratio(self) -> f64 {
        (1.0 - self.service_ns as f64 / self.call_ns.max(1) as f64).max(0.0)
    }

    /// The same in millionths.
    pub(crate) fn millionths(self) -> u64 {
        (self.ratio() * 1e6) as u64
    }
}

/// The windows.
#[derive(Debug)]
pub(crate) struct Overhead {
    every: Duration,
    next: Instant,
    methods: Vec<Known>,
}

/// What is known about a method from window to window.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// As of when it was last judged.
    before: Sums,
    verdict: Option<Verdict>,
    /// As of the last window, and since when they have been so.
    client_calls: u64,
    since: Instant,
}

impl Overhead {
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, next: Instant::now() + every, methods: Vec::new() }
    }

    /// Has a window ended? Then the next one begins.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.every;
        }
        due
    }

    /// What the window says of each method; of those that were not called enough, what the last one
    /// did.
    pub(crate) fn judge(&mut self, rows: &[MethodRow], now: Instant) -> Vec<Option<Judged>> {
        let fresh = Known { before: Sums::default(), verdict: None, client_calls: 0, since: now };
        self.methods.resize(rows.len(), fresh);
        let patience = FORGOTTEN_AFTER.max(self.every * FORGOTTEN_WINDOWS);
        let both = self.methods.iter_mut().zip(rows);
        both.map(|(known, row)| known.judge(Sums::of(row), now, patience)).collect()
    }
}

impl Known {
    fn judge(&mut self, after: Sums, now: Instant, patience: Duration) -> Option<Judged> {
        let enough = after.client_calls.saturating_sub(self.before.client_calls) >= ENOUGH;
        let fresh = enough && after.samples > self.before.samples;
        if fresh {
            self.verdict = Verdict::between(self.before, after);
            self.before = after;
        }
        if after.client_calls != self.client_calls {
            (self.client_calls, self.since) = (after.client_calls, now);
        } else if now.saturating_duration_since(self.since) >= patience {
            self.verdict = None;
        }
        self.verdict.map(|verdict| Judged { verdict, fresh })
    }
}

/// A verdict, and whether it is of this window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Judged {
    verdict: Verdict,
    fresh: bool,
}

impl Judged {
    pub(crate) fn millionths(self) -> u64 {
        self.verdict.millionths()
    }
}

/// The method with the largest ratio, of those that are above what is tolerated.
#[derive(Debug, PartialEq)]
pub(crate) struct Worst {
    method: String,
    verdict: Verdict,
    methods: usize,
}

/// What this window gives reason to warn of.
pub(crate) fn worst(rows: &[MethodRow], judged: &[Option<Judged>]) -> Option<Worst> {
    let bad = |judged: &Option<Judged>| {
        judged.filter(|judged| judged.fresh && judged.verdict.ratio() > TOLERATED)
    };
    let bad: Vec<_> = rows
        .iter()
        .zip(judged)
        .filter_map(|(row, judged)| bad(judged).map(|judged| (row, judged.verdict)))
        .collect();
    let (row, verdict) = bad.iter().max_by(|a, b| a.1.ratio().total_cmp(&b.1.ratio()))?;
    Some(Worst { method: row.name.to_string(), verdict: *verdict, methods: bad.len() })
}

impl Worst {
    /// The window's one warning.
    pub(crate) fn warn(&self) {
        let Self { method, verdict, methods } = self;
        let Verdict { call_ns, service_ns } = *verdict;
        tracing::warn!(
            %method,
            overhead_ratio = verdict.ratio(),
            methods,
            "{:.1} % of the time of {method} is not its engine's: {} us a call, of which it works \
             {} us ({methods} above {:.0} %); docs/operations.md says what to look at",
            verdict.ratio() * 100.0,
            call_ns / 1000,
            service_ns / 1000,
            TOLERATED * 100.0,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;

    /// A method with so many more calls of these times.
    fn call(row: &mut MethodRow, calls: u64, call_ns: u64, service_ns: u64) {
        row.client_calls += calls;
        row.client_ns += calls * call_ns;
        for _ in 0..calls {
            row.service.record(service_ns);
        }
    }

    fn ratio(overhead: &mut Overhead, row: &MethodRow) -> Option<u64> {
        overhead.judge(std::slice::from_ref(row), Instant::now())[0].map(Judged::millionths)
    }

    #[test]
    fn the_ratio_is_of_the_window_alone() {
        let mut overhead = Overhead::new(Duration::from_secs(60));
        let mut row = MethodRow::new(1, "e.m");
        call(&mut row, 10, 100 * US, 50 * US);
        assert_eq!(ratio(&mut overhead, &row), Some(500_000));
        call(&mut row, 10, 100 * US, 99 * US);
        assert_eq!(ratio(&mut overhead, &row), Some(10_000));
        call(&mut row, 10, 100 * US, 150 * US);
        assert_eq!(ratio(&mut overhead, &row), Some(0), "other calls were measured: never below 0");
    }

    #[test]
    fn a_rare_method_collects_and_a_short_one_is_not_judged() {
        let mut overhead = Overhead::new(Duration::from_secs(60));
        let mut row = MethodRow::new(1, "e.m");
        call(&mut row, 2, 100 * US, 50 * US);
        assert_eq!(ratio(&mut overhead, &row), None);
        call(&mut row, 2, 100 * US, 50 * US);
        assert_eq!(ratio(&mut overhead, &row), Some(500_000));
        let mut short = MethodRow::new(1, "e.m");
        call(&mut short, 10, 100 * US, 19 * US);
        assert_eq!(ratio(&mut Overhead::new(Duration::ZERO), &short), None);
    }

    #[test]
    fn a_window_has_one_warning_and_only_for_what_it_saw() {
        let mut overhead = Overhead::new(Duration::from_secs(60));
        let now = Instant::now();
        let mut rows =
            [MethodRow::new(1, "e.a"), MethodRow::new(2, "e.b"), MethodRow::new(3, "e.c")];
        call(&mut rows[0], 10, 100 * US, 90 * US);
        call(&mut rows[1], 10, 100 * US, 80 * US);
        call(&mut rows[2], 10, 100 * US, 96 * US);
        let judged = overhead.judge(&rows, now);
        let found = worst(&rows, &judged).unwrap();
        assert_eq!((found.method.as_str(), found.methods), ("e.b", 2));
        let judged = overhead.judge(&rows, now);
        assert!(judged[1].is_some(), "the gauge stays");
        assert_eq!(worst(&rows, &judged), None, "the warning does not come again");
        let later = now + FORGOTTEN_AFTER;
        assert_eq!(overhead.judge(&rows, later), [None; 3], "nor does the gauge stay for ever");
    }

    #[test]
    fn windows_follow_one_another() {
        let mut overhead = Overhead::new(Duration::from_secs(60));
        let end = overhead.next;
        assert!(!overhead.is_due(end - Duration::from_nanos(1)));
        assert!(overhead.is_due(end) && !overhead.is_due(end));
        assert!(overhead.is_due(end + Duration::from_secs(60)));
    }
}
