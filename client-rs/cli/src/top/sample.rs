//! The shape of `ringfence top --json`, and how it is made of two looks at a board.
//!
//! Invariant: rates are of the time between two sweeps of the daemon, which is when the numbers were
//! true, not of the time that the reader waited. It does *not* print.

use ringfence::Info;
use ringfence::board_rows::{Histogram, MethodRow, SessionRow, Snapshot, Totals};
use serde::Serialize;

use crate::board::{Daemon, Moment, Who};

/// A daemon between two looks at it.
#[derive(Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) now_unix_ms: u64,
    /// How old the numbers are.
    pub(crate) beat_age_ms: u64,
    /// What rates are of; 0 if the daemon has not written meanwhile.
    pub(crate) interval_ms: u64,
    pub(crate) daemon: Daemon,
    pub(crate) totals: Sum,
    /// The busiest first.
    pub(crate) methods: Vec<Method>,
    /// The busiest first.
    pub(crate) sessions: Vec<Session>,
    /// Rows that could not be read.
    pub(crate) torn_rows: usize,
}

/// The whole daemon.
#[derive(Debug, Serialize)]
pub(crate) struct Sum {
    pub(crate) calls_per_s: f64,
    pub(crate) errors_per_s: f64,
    pub(crate) bytes_in_per_s: f64,
    pub(crate) bytes_out_per_s: f64,
    pub(crate) sessions_open: u64,
    pub(crate) lanes_open: u64,
    pub(crate) queue_depth: u64,
    pub(crate) faults: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) leased_bytes: u64,
}

/// One method.
#[derive(Debug, Serialize)]
pub(crate) struct Method {
    /// `engine.method`.
    pub(crate) name: String,
    pub(crate) calls_per_s: f64,
    pub(crate) errors_per_s: f64,
    /// Of the interval; the quantiles are `null` without any.
    pub(crate) samples: u64,
    pub(crate) p50_ns: Option<u64>,
    pub(crate) p99_ns: Option<u64>,
    /// Since the daemon's start.
    pub(crate) calls: u64,
    pub(crate) errors: u64,
}

/// One open session.
#[derive(Debug, Serialize)]
pub(crate) struct Session {
    #[serde(flatten)]
    pub(crate) who: Who,
    pub(crate) calls_per_s: f64,
    pub(crate) calls: u64,
    pub(crate) leases: u64,
    /// Is it the one of this command?
    pub(crate) own: bool,
}

/// Growth of counters as a rate.
#[derive(Clone, Copy)]
struct Span {
    ns: u64,
}

impl Span {
    fn rate(self, before: u64, after: u64) -> f64 {
        match self.ns {
            0 => 0.0,
            ns => after.saturating_sub(before) as f64 * 1e9 / ns as f64,
        }
    }
}

impl Sample {
    pub(crate) fn between(before: &Snapshot, after: &Snapshot, info: Info, now: &Moment) -> Self {
        let same = before.header.epoch == after.header.epoch;
        let none = Snapshot {
            header: before.header,
            totals: Totals::default(),
            methods: Vec::new(),
            sessions: Vec::new(),
            errors: Vec::new(),
            torn_rows: 0,
        };
        let uptime_ms = now.since_unix_ms(after.header.started_unix_ns);
        let (before, ns) = match same {
            true => (before, after.totals.beat_ns.saturating_sub(before.totals.beat_ns)),
            false => (&none, uptime_ms * 1_000_000),
        };
        let span = Span { ns };
        let own = info.session;
        Self {
            now_unix_ms: now.unix_ms(),
            beat_age_ms: now.since_beat_ms(&after.totals),
            interval_ms: ns / 1_000_000,
            daemon: Daemon::of_board(&after.header, info, uptime_ms),
            totals: Sum::between(&before.totals, &after.totals, span),
            methods: methods(&before.methods, &after.methods, span),
            sessions: sessions(&before.sessions, &after.sessions, span, own),
            torn_rows: after.torn_rows,
        }
    }
}

impl Sum {
    fn between(before: &Totals, after: &Totals, span: Span) -> Self {
        Self {
            calls_per_s: span.rate(before.completions, after.completions),
            errors_per_s: span.rate(before.errors, after.errors),
            bytes_in_per_s: span.rate(before.bytes_in, after.bytes_in),
            bytes_out_per_s: span.rate(before.bytes_out, after.bytes_out),
            sessions_open: after.sessions_open,
            lanes_open: after.lanes_open,
            queue_depth: after.queue_depth,
            faults: after.faults,
            segment_bytes: after.segment_bytes,
            leased_bytes: after.leased_bytes,
        }
    }
}

fn methods(before: &[MethodRow], after: &[MethodRow], span: Span) -> Vec<Method> {
    let mut methods: Vec<Method> = Vec::with_capacity(after.len());
    for row in after {
        let fresh = MethodRow::new(row.method, "");
        let was = before.iter().find(|old| old.method == row.method).unwrap_or(&fresh);
        let times = growth(&was.service, &row.service);
        methods.push(Method {
            name: row.name.to_string(),
            calls_per_s: span.rate(was.calls, row.calls),
            errors_per_s: span.rate(was.errors, row.errors),
            samples: times.samples,
            p50_ns: times.quantile_ns(0.5),
            p99_ns: times.quantile_ns(0.99),
            calls: row.calls,
            errors: row.errors,
        });
    }
    // Stable, so that methods nobody calls stay where they are.
    methods.sort_by(|a, b| b.calls_per_s.total_cmp(&a.calls_per_s).then(b.calls.cmp(&a.calls)));
    methods
}

fn sessions(before: &[SessionRow], after: &[SessionRow], span: Span, own: u64) -> Vec<Session> {
    let was = |id: u64| before.iter().find(|old| old.id == id).map_or(0, |old| old.calls);
    let session = |row: &SessionRow| Session {
        who: Who::of(row),
        calls_per_s: span.rate(was(row.id), row.calls),
        calls: row.calls,
        leases: row.leases,
        own: row.id == own,
    };
    let mut sessions: Vec<Session> = after.iter().map(session).collect();
    sessions.sort_by(|a, b| b.calls_per_s.total_cmp(&a.calls_per_s).then(a.who.id.cmp(&b.who.id)));
    sessions
}

/// What a histogram has got since.
fn growth(before: &Histogram, after: &Histogram) -> Histogram {
    let mut grown = Histogram {
        sum_ns: after.sum_ns.wrapping_sub(before.sum_ns),
        samples: after.samples.wrapping_sub(before.samples),
        ..Histogram::default()
    };
    for (index, bucket) in grown.buckets.iter_mut().enumerate() {
        *bucket = after.buckets[index].wrapping_sub(before.buckets[index]);
    }
    grown
}

#[cfg(test)]
pub(super) use tests::busy as tests_sample;

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence::board_rows::Header;

    fn board(epoch: u64, beat_ms: u64, calls: u64, times_ns: &[u64]) -> Snapshot {
        let mut method = MethodRow::new(0x1_0002, "trial.nap");
        (method.calls, method.errors) = (calls, calls / 10);
        times_ns.iter().for_each(|ns| method.service.record(*ns));
        let session = |id, calls| SessionRow { id, calls, ..SessionRow::default() };
        let mut totals = Totals::default();
        (totals.beat_ns, totals.completions) = (beat_ms * 1_000_000, calls);
        Snapshot {
            header: Header::new(epoch, 1, 0, "prod"),
            totals,
            methods: vec![MethodRow::new(1, "never.called"), method],
            sessions: vec![session(3, 1), session(4, calls)],
            errors: Vec::new(),
            torn_rows: 0,
        }
    }

    fn between(before: &Snapshot, after: &Snapshot) -> Sample {
        Sample::between(before, after, Info::default(), &Moment::now())
    }

    /// For the tests of what is shown.
    pub(in crate::top) fn busy() -> Sample {
        let mut sample = between(&board(7, 1_000, 100, &[]), &board(7, 1_500, 200, &[]));
        sample.beat_age_ms = 50;
        sample
    }

    #[test]
    fn rates_and_quantiles_are_those_of_the_interval() {
        let before = board(7, 1_000, 100, &[1 << 30, 1 << 30]);
        let after = board(7, 1_500, 200, &[1 << 30, 1 << 30, 100, 1_000]);
        let sample = between(&before, &after);
        assert_eq!((sample.interval_ms, sample.totals.calls_per_s), (500, 200.0));
        let nap = &sample.methods[0];
        assert_eq!(
            (nap.name.as_str(), nap.calls_per_s, nap.errors_per_s),
            ("trial.nap", 200.0, 20.0)
        );
        assert_eq!((nap.samples, nap.p50_ns, nap.p99_ns), (2, Some(127), Some(1_023)));
        assert_eq!(sample.methods[1].p50_ns, None);
        let busy: Vec<_> =
            sample.sessions.iter().map(|one| (one.who.id, one.calls_per_s)).collect();
        assert_eq!(busy, [(4, 200.0), (3, 0.0)]);
    }

    #[test]
    fn a_daemon_that_stands_still_has_no_rates_and_another_daemon_has_its_own() {
        let before = board(7, 1_000, 100, &[]);
        let still = between(&before, &before);
        assert_eq!((still.interval_ms, still.totals.calls_per_s), (0, 0.0));
        let other = between(&before, &board(8, 2_000, 10, &[5]));
        assert!(other.totals.calls_per_s > 0.0 && other.methods[0].samples == 1);
    }
}
