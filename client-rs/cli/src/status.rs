//! `ringfence status`: what a daemon is doing, read from its board.
//!
//! Where this user may not read the board, the totals of `system.stats` are shown instead: tables
//! are then absent (`null` in JSON), not empty. [`report`] is the shape of the JSON.

mod report;

use std::time::Duration;

use ringfence::message::Message as _;
use ringfence::{Client, Error};
use ringfence_protocol::api::system;

use crate::args::{Global, Status};
use crate::board::{Moment, fresh, session_columns};
use crate::exit::Failure;
use crate::output::{self, age, bold, bytes, printable, time, wrapped};
use crate::table::{Column, WIDTH, table};
use report::{ErrorLine, Method, Report, Session};

pub(crate) fn run(global: &Global, status: &Status) -> Result<(), Failure> {
    let client = global.connect()?;
    let report = look(&client, global)?;
    if global.json { output::json(&report) } else { output::text(&text(&report, status.all)) }
}

fn look(client: &Client, global: &Global) -> Result<Report, Failure> {
    match client.board().and_then(|board| fresh(&board)) {
        Ok(snapshot) => Ok(Report::of_board(&snapshot, client.info(), &Moment::now())),
        Err(Error::PermissionDenied { reason }) => {
            let method = client.method(system::NAME, "stats")?;
            let reply = client.call(&method, &[], &global.options())?;
            let stats = system::Stats::decode(&reply).map_err(Error::from)?;
            Ok(Report::of_stats(&stats, client.info(), reason, &Moment::now()))
        }
        Err(error) => Err(error.into()),
    }
}

fn text(report: &Report, all: bool) -> String {
    let mut out = head(report);
    if let Some(reason) = &report.restricted {
        out.push_str(&format!("\n{}\n", wrapped(&printable(reason), WIDTH).join("\n")));
    }
    if let Some(methods) = &report.methods {
        out.push_str(&method_table(methods, all));
    }
    if let Some(sessions) = &report.sessions {
        out.push_str(&session_table(sessions));
    }
    if let Some(errors) = &report.errors {
        out.push_str(&error_list(errors, report.now_unix_ms));
    }
    if report.torn_rows > 0 {
        out.push_str(&format!(
            "\nunreadable rows: {} (written all the time: is the daemon stopped?)\n",
            report.torn_rows
        ));
    }
    out
}

fn head(report: &Report) -> String {
    let daemon = &report.daemon;
    let private = if daemon.private { "  private" } else { "" };
    let mut out = format!("{}{private}\n", daemon.title());
    if let Some(socket) = &daemon.socket {
        out.push_str(&format!("{}\n", printable(socket)));
    }
    out.push('\n');
    for line in figures(&report.totals, report.beat_age_ms) {
        out.push_str(&format!("{}\n", line.join("   ")));
    }
    out
}

/// The totals in lines; what is not known is left out.
fn figures(totals: &report::Totals, beat_age_ms: Option<u64>) -> Vec<Vec<String>> {
    let plain = |name: &str, value: Option<u64>| value.map(|value| format!("{name} {value}"));
    let sized = |name: &str, value: Option<u64>| value.map(|v| format!("{name} {}", bytes(v)));
    let beat = beat_age_ms.map(|ms| format!("as of {ms} ms ago"));
    let lines = [
        vec![
            plain("sessions", Some(totals.sessions_open)),
            plain("ever", totals.sessions_total),
            plain("refused", totals.sessions_refused),
            plain("lanes", Some(totals.lanes_open)),
            plain("queued jobs", totals.queue_depth),
        ],
        vec![
            plain("calls", Some(totals.calls)),
            plain("errors", Some(totals.errors)),
            plain("faults", Some(totals.faults)),
            sized("in", totals.bytes_in),
            sized("out", totals.bytes_out),
        ],
        vec![sized("segments", totals.segment_bytes), sized("leased", totals.leased_bytes), beat],
    ];
    let known = |line: Vec<Option<String>>| line.into_iter().flatten().collect::<Vec<_>>();
    lines.into_iter().map(known).filter(|line| !line.is_empty()).collect()
}

fn method_table(methods: &[Method], all: bool) -> String {
    let columns = [
        Column::Cut("METHOD"),
        Column::Right("CALLS"),
        Column::Right("ERRORS"),
        Column::Right("P50"),
        Column::Right("P99"),
    ];
    let row = |method: &Method| {
        let (calls, errors) = (method.calls.to_string(), method.errors.to_string());
        let service = &method.service;
        vec![method.name.clone(), calls, errors, time(service.p50_ns), time(service.p99_ns)]
    };
    let rows: Vec<_> = methods.iter().filter(|m| all || m.calls > 0).map(row).collect();
    let hidden = methods.len() - rows.len();
    let mut out = String::new();
    if !rows.is_empty() {
        out.push_str(&format!("\n{}", table(&columns, &rows)));
    }
    if hidden > 0 {
        out.push_str(&format!("\nmethods not called: {hidden} (--all shows them)\n"));
    }
    out
}

fn session_table(sessions: &[Session]) -> String {
    let columns = session_columns(&["CALLS", "LEASES", "OPEN FOR"]);
    let row = |session: &Session| {
        let (calls, leases) = (session.calls.to_string(), session.leases.to_string());
        let open_for = age(Duration::from_millis(session.open_ms));
        session.who.line(session.own, [calls, leases, open_for])
    };
    let rows: Vec<_> = sessions.iter().map(row).collect();
    if rows.is_empty() { String::new() } else { format!("\n{}", table(&columns, &rows)) }
}

fn error_list(errors: &[ErrorLine], now_unix_ms: u64) -> String {
    let mut out = String::new();
    if !errors.is_empty() {
        out.push_str(&format!("\n{}\n", bold("ERRORS, the latest first")));
    }
    let ago = |ms: u64| age(Duration::from_millis(now_unix_ms.saturating_sub(ms)));
    for error in errors {
        let name = error.name.unwrap_or("of a newer daemon");
        out.push_str(&format!(
            "{}x  {} {name}  last {} ago, first {} ago\n",
            error.count,
            error.code,
            ago(error.last_seen_unix_ms),
            ago(error.first_seen_unix_ms)
        ));
        for line in wrapped(&printable(&error.text), WIDTH - 4) {
            out.push_str(&format!("    {line}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence::Info;
    use ringfence::board_rows::{ErrorRow, Header, MethodRow, SessionRow, Snapshot, Text, Totals};

    fn everything() -> Report {
        let mut method = MethodRow::new(0x1_0002, &"engine.".repeat(9));
        (method.calls, method.errors) = (u64::MAX, u64::MAX);
        method.service.record(u64::MAX);
        let session = SessionRow {
            id: 1 << 30,
            pid: 1 << 22, // the kernel's PID_MAX_LIMIT
            uid: u32::MAX,
            name: Text::new(&"n\x1b".repeat(40)),
            lanes: 64,
            calls: 1 << 36,
            leases: 1 << 20,
            ..SessionRow::default()
        };
        let text = Text::new(&"a client broke a rule; ".repeat(20));
        let mut totals = Totals::default();
        (totals.bytes_in, totals.faults) = (u64::MAX, 3);
        let board = Snapshot {
            header: Header::new(1, 7, 0, "prod"),
            totals,
            methods: vec![method, MethodRow::new(1, "never.called")],
            sessions: vec![session],
            errors: vec![ErrorRow::new(5006, text, 0)],
            torn_rows: 2,
        };
        Report::of_board(&board, Info::default(), &Moment::now())
    }

    #[test]
    fn whatever_the_board_says_fits_80_columns() {
        let shown = text(&everything(), false);
        let plain = shown.replace("\x1b[1m", "").replace("\x1b[0m", "");
        assert!(plain.lines().all(|line| line.chars().count() <= WIDTH), "{plain}");
        assert!(!plain.contains('\x1b'), "{plain}");
        for part in [
            "faults 3",
            "1x  5006 SessionKilled",
            "    a client",
            "rows: 2",
            "methods not called: 1",
        ] {
            assert!(plain.contains(part), "{part}: {plain}");
        }
    }

    #[test]
    fn without_the_board_there_are_totals_and_the_reason() {
        let stats = system::Stats {
            uptime_ms: 61_000,
            sessions: 2,
            lanes: 3,
            calls: 4,
            errors: 5,
            faults: 6,
            leased_bytes: 0,
            segment_bytes: 0,
            pid: 7,
            version: "0.1.0",
        };
        let reason = "user 8 may not read the board".to_owned();
        let report = Report::of_stats(&stats, Info::default(), reason, &Moment::now());
        let shown = text(&report, true);
        for part in ["up 1m 01s", "sessions 2   lanes 3", "calls 4   errors 5", "user 8 may not"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("METHOD") && !shown.contains("as of"), "{shown}");
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["methods"].is_null() && json["totals"]["bytes_in"].is_null());
    }
}
