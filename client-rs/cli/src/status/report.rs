//! The shape of `ringfence status --json`, and how it is made.
//!
//! Names end in their units. What is `null` is not known, because this user may not read the board.
//! It does *not* print.

use ringfence::board_rows::{ErrorRow, Histogram, MethodRow, SessionRow, Snapshot};
use ringfence::{ErrorCode, Info};
use ringfence_protocol::api::system::Stats;
use serde::Serialize;

use crate::board::{Daemon, Moment, NS_PER_MS, Who};

/// Everything that is known about a daemon.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// `board` or `stats`.
    pub(crate) source: &'static str,
    /// Why it is not the board.
    pub(crate) restricted: Option<String>,
    pub(crate) now_unix_ms: u64,
    /// How old the numbers are.
    pub(crate) beat_age_ms: Option<u64>,
    pub(crate) daemon: Daemon,
    pub(crate) totals: Totals,
    pub(crate) methods: Option<Vec<Method>>,
    pub(crate) sessions: Option<Vec<Session>>,
    pub(crate) errors: Option<Vec<ErrorLine>>,
    /// Rows that could not be read.
    pub(crate) torn_rows: usize,
}

/// Numbers of the whole daemon.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Totals {
    pub(crate) sessions_open: u64,
    pub(crate) sessions_total: Option<u64>,
    pub(crate) sessions_refused: Option<u64>,
    pub(crate) sessions_without_row: Option<u64>,
    pub(crate) lanes_open: u64,
    /// Requests that were taken.
    pub(crate) requests: Option<u64>,
    /// Requests that were answered.
    pub(crate) calls: u64,
    pub(crate) errors: u64,
    pub(crate) errors_evicted: Option<u64>,
    pub(crate) faults: u64,
    pub(crate) bytes_in: Option<u64>,
    pub(crate) bytes_out: Option<u64>,
    pub(crate) queue_depth: Option<u64>,
    pub(crate) leased_bytes: Option<u64>,
    pub(crate) segment_bytes: Option<u64>,
}

/// One method.
#[derive(Debug, Serialize)]
pub(crate) struct Method {
    /// `engine.method`.
    pub(crate) name: String,
    pub(crate) engine_number: u16,
    pub(crate) number: u16,
    pub(crate) calls: u64,
    pub(crate) errors: u64,
    pub(crate) service: Service,
}

/// Sampled service times; quantiles are upper bounds, at most twice the true value.
#[derive(Debug, Serialize)]
pub(crate) struct Service {
    pub(crate) samples: u64,
    pub(crate) mean_ns: Option<u64>,
    pub(crate) p50_ns: Option<u64>,
    pub(crate) p90_ns: Option<u64>,
    pub(crate) p99_ns: Option<u64>,
    pub(crate) max_ns: Option<u64>,
    /// The buckets that are not empty.
    pub(crate) histogram: Vec<Bucket>,
}

/// Samples up to a time and above that of the bucket before.
#[derive(Debug, Serialize)]
pub(crate) struct Bucket {
    pub(crate) up_to_ns: u64,
    pub(crate) samples: u64,
}

/// One open session.
#[derive(Debug, Serialize)]
pub(crate) struct Session {
    #[serde(flatten)]
    pub(crate) who: Who,
    pub(crate) calls: u64,
    pub(crate) leases: u64,
    pub(crate) opened_unix_ms: u64,
    pub(crate) open_ms: u64,
    /// Is it the one of this command?
    pub(crate) own: bool,
}

/// One distinct error.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorLine {
    pub(crate) code: u64,
    pub(crate) name: Option<&'static str>,
    pub(crate) count: u64,
    pub(crate) first_seen_unix_ms: u64,
    pub(crate) last_seen_unix_ms: u64,
    pub(crate) text: String,
}

impl Report {
    pub(crate) fn of_board(board: &Snapshot, info: Info, now: &Moment) -> Self {
        let totals = &board.totals;
        let mut sessions: Vec<Session> =
            board.sessions.iter().map(|row| Session::of(row, info.session, now)).collect();
        sessions.sort_by_key(|session| session.who.id);
        let uptime_ms = now.since_unix_ms(board.header.started_unix_ns);
        Self {
            source: "board",
            restricted: None,
            now_unix_ms: now.unix_ms(),
            beat_age_ms: Some(now.since_beat_ms(totals)),
            daemon: Daemon::of_board(&board.header, info, uptime_ms),
            totals: Totals {
                sessions_open: totals.sessions_open,
                sessions_total: Some(totals.sessions_total),
                sessions_refused: Some(totals.sessions_refused),
                sessions_without_row: Some(totals.sessions_without_row),
                lanes_open: totals.lanes_open,
                requests: Some(totals.requests),
                calls: totals.completions,
                errors: totals.errors,
                errors_evicted: Some(totals.errors_evicted),
                faults: totals.faults,
                bytes_in: Some(totals.bytes_in),
                bytes_out: Some(totals.bytes_out),
                queue_depth: Some(totals.queue_depth),
                leased_bytes: Some(totals.leased_bytes),
                segment_bytes: Some(totals.segment_bytes),
            },
            methods: Some(board.methods.iter().map(Method::of).collect()),
            sessions: Some(sessions),
            errors: Some(board.errors.iter().map(ErrorLine::of).collect()),
            torn_rows: board.torn_rows,
        }
    }

    pub(crate) fn of_stats(
        stats: &Stats<'_>,
        info: Info,
        restricted: String,
        now: &Moment,
    ) -> Self {
        Self {
            source: "stats",
            restricted: Some(restricted),
            now_unix_ms: now.unix_ms(),
            beat_age_ms: None,
            daemon: Daemon::of(info, stats.uptime_ms),
            totals: Totals {
                sessions_open: stats.sessions,
                lanes_open: stats.lanes,
                calls: stats.calls,
                errors: stats.errors,
                faults: stats.faults,
                ..Totals::default()
            },
            methods: None,
            sessions: None,
            errors: None,
            torn_rows: 0,
        }
    }
}

impl Method {
    fn of(row: &MethodRow) -> Self {
        Self {
            name: row.name.to_string(),
            engine_number: row.engine(),
            number: row.operation(),
            calls: row.calls,
            errors: row.errors,
            service: Service::of(&row.service),
        }
    }
}

impl Service {
    fn of(times: &Histogram) -> Self {
        let bucket = |(index, samples): (usize, &u64)| Bucket {
            up_to_ns: Histogram::upper_bound_ns(index),
            samples: *samples,
        };
        let used = times.buckets.iter().enumerate().filter(|(_, samples)| **samples > 0);
        Self {
            samples: times.samples,
            mean_ns: times.mean_ns(),
            p50_ns: times.quantile_ns(0.5),
            p90_ns: times.quantile_ns(0.9),
            p99_ns: times.quantile_ns(0.99),
            max_ns: times.quantile_ns(1.0),
            histogram: used.map(bucket).collect(),
        }
    }
}

impl Session {
    fn of(row: &SessionRow, own: u64, now: &Moment) -> Self {
        Self {
            who: Who::of(row),
            calls: row.calls,
            leases: row.leases,
            opened_unix_ms: row.opened_unix_ns / NS_PER_MS,
            open_ms: now.since_unix_ms(row.opened_unix_ns),
            own: row.id == own,
        }
    }
}

impl ErrorLine {
    fn of(row: &ErrorRow) -> Self {
        let code = u16::try_from(row.code).ok().and_then(ErrorCode::from_u16);
        Self {
            code: row.code,
            name: code.map(ErrorCode::name),
            count: row.count,
            first_seen_unix_ms: row.first_seen_ns / NS_PER_MS,
            last_seen_unix_ms: row.last_seen_ns / NS_PER_MS,
            text: row.text.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence::board_rows::Header;

    #[test]
    fn a_report_says_what_the_board_says() {
        let mut method = MethodRow::new(0x1_0002, "trial.nap");
        method.calls = 3;
        for ns in [100, 1_000, 100_000] {
            method.service.record(ns);
        }
        let session = |id| SessionRow { id, opened_unix_ns: 2 * NS_PER_MS, ..Default::default() };
        let board = Snapshot {
            header: Header::new(1, 7, NS_PER_MS, "prod"),
            totals: Default::default(),
            methods: vec![method],
            sessions: vec![session(9), session(4)],
            errors: Vec::new(),
            torn_rows: 0,
        };
        let now = Moment { unix_ns: 5 * NS_PER_MS, monotonic_ns: 3 * NS_PER_MS };
        let mut info = Info::default();
        info.session = 4;
        let report = Report::of_board(&board, info, &now);
        assert_eq!(report.daemon.instance.as_deref(), Some("prod"));
        assert_eq!((report.daemon.uptime_ms, report.beat_age_ms), (4, Some(3)));
        let sessions = report.sessions.unwrap();
        assert_eq!(
            sessions.iter().map(|s| (s.who.id, s.own)).collect::<Vec<_>>(),
            [(4, true), (9, false)]
        );
        assert_eq!(sessions[0].open_ms, 3);
        let service = &report.methods.unwrap()[0].service;
        assert_eq!((service.samples, service.histogram.len()), (3, 3));
        assert!(service.p50_ns < service.p99_ns && service.p99_ns == service.max_ns);
    }
}
