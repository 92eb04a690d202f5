//! What `ringfence top` looks like, and how it is drawn in place.
//!
//! Invariant: a frame fits the terminal, else drawing in place would scroll. It does *not* hide the
//! cursor or change modes: a frame ends where the shell's prompt may follow.

use std::time::Duration;

use terminal_size::{Height, terminal_size};

use super::sample::{Method, Sample, Session};
use crate::board::session_columns;
use crate::exit::Failure;
use crate::output::{self, age, bytes, time};
use crate::table::{Column, table};

/// Lines of a terminal that does not say how many it has.
const LINES: usize = 24;
/// Home; clear to the end of the line, of the screen.
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";
/// Older numbers than this, and the daemon does not sweep as it should.
const STALE_MS: u64 = 1_000;

/// Draws frames over one another. Says whether there is still somebody to draw for.
pub(super) fn painter(interval: Duration) -> impl FnMut(&Sample) -> Result<bool, Failure> {
    let mut first = true;
    move |sample| {
        let lines = terminal_size().map_or(LINES, |(_, Height(lines))| usize::from(lines));
        // The last line is the cursor's.
        let note = format!("every {}, Ctrl-C ends it\n", age(interval));
        let text = text(sample, lines.saturating_sub(2)) + &note;
        let clear = if std::mem::take(&mut first) { "\x1b[2J" } else { "" };
        let body = output::wanted(&text).replace('\n', &format!("{REST_OF_LINE}\n"));
        output::next_raw(format!("{clear}{HOME}{body}{REST_OF_SCREEN}").as_bytes())
    }
}

/// A sample in at most so many lines, the least busy methods and sessions left out.
pub(super) fn text(sample: &Sample, lines: usize) -> String {
    let mut out = head(sample);
    let left = lines.saturating_sub(out.lines().count());
    let called: Vec<&Method> = sample.methods.iter().filter(|method| method.calls > 0).collect();
    // Each table has an empty line, a head, and a line for what is left out.
    let rows = left.saturating_sub(6);
    let most = rows.saturating_sub(sample.sessions.len().min(rows / 2));
    out.push_str(&methods(&called, most));
    out.push_str(&sessions(&sample.sessions, rows.saturating_sub(called.len().min(most))));
    out
}

fn head(sample: &Sample) -> String {
    let (daemon, totals) = (&sample.daemon, &sample.totals);
    let (calls, errors) = (rate(totals.calls_per_s), rate(totals.errors_per_s));
    let (into, out) = (totals.bytes_in_per_s as u64, totals.bytes_out_per_s as u64);
    let old = match sample.beat_age_ms {
        STALE_MS.. => format!("   not written for {} ms: stalled or gone", sample.beat_age_ms),
        _ => String::new(),
    };
    format!(
        "{}\ncalls/s {calls}   errors/s {errors}   in/s {}   out/s {}\n\
         sessions {}   lanes {}   queued jobs {}   faults {}\nsegments {}   leased {}{old}\n",
        daemon.title(),
        bytes(into),
        bytes(out),
        totals.sessions_open,
        totals.lanes_open,
        totals.queue_depth,
        totals.faults,
        bytes(totals.segment_bytes),
        bytes(totals.leased_bytes),
    )
}

fn methods(called: &[&Method], most: usize) -> String {
    let columns = [
        Column::Cut("METHOD"),
        Column::Right("CALLS/S"),
        Column::Right("ERRORS/S"),
        Column::Right("P50"),
        Column::Right("P99"),
        Column::Right("CALLS"),
    ];
    let row = |method: &&Method| {
        vec![
            method.name.clone(),
            rate(method.calls_per_s),
            rate(method.errors_per_s),
            time(method.p50_ns),
            time(method.p99_ns),
            method.calls.to_string(),
        ]
    };
    listed(
        "methods",
        &columns,
        &called.iter().take(most).map(row).collect::<Vec<_>>(),
        called.len(),
    )
}

fn sessions(sessions: &[Session], most: usize) -> String {
    let columns = session_columns(&["CALLS/S", "LEASES"]);
    let row = |session: &Session| {
        session.who.line(session.own, [rate(session.calls_per_s), session.leases.to_string()])
    };
    let rows: Vec<_> = sessions.iter().take(most).map(row).collect();
    listed("sessions", &columns, &rows, sessions.len())
}

fn listed(what: &str, columns: &[Column], rows: &[Vec<String>], all: usize) -> String {
    let more = match all - rows.len() {
        0 => String::new(),
        more => format!("and {more} more {what}\n"),
    };
    if all == 0 { String::new() } else { format!("\n{}{more}", table(columns, rows)) }
}

/// A number a second: whole, but for small ones.
fn rate(per_s: f64) -> String {
    if per_s > 0.0 && per_s < 9.95 { format!("{per_s:.1}") } else { format!("{per_s:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Who;
    use crate::table::WIDTH;

    fn sample(methods: usize, sessions: usize) -> Sample {
        let method = |number: usize| Method {
            name: format!("engine.{}{number}", "method".repeat(9)),
            calls_per_s: 123_456_789.0,
            errors_per_s: 1e6,
            samples: 1,
            p50_ns: Some(1_023),
            p99_ns: None,
            calls: u64::MAX >> 10,
            errors: 0,
        };
        let session = |id: usize| Session {
            who: Who {
                id: id as u64,
                pid: 1 << 22,
                uid: u32::MAX,
                name: "n\x1b".repeat(40),
                lanes: 64,
            },
            calls_per_s: 1e8,
            calls: 0,
            leases: 1 << 20,
            own: true,
        };
        let (methods, sessions) = ((0..methods).map(method), (0..sessions).map(session));
        let mut sample = super::super::sample::tests_sample();
        (sample.methods, sample.sessions) = (methods.collect(), sessions.collect());
        sample
    }

    #[test]
    fn a_frame_fits_the_terminal_and_says_what_it_leaves_out() {
        for (methods, sessions, lines) in
            [(0, 1, 22), (40, 1, 22), (3, 900, 22), (40, 900, 22), (9, 9, 12)]
        {
            let shown = output::plain(&text(&sample(methods, sessions), lines));
            assert!(shown.lines().count() <= lines, "{shown}");
            assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
            assert!(!shown.contains('\x1b'), "{shown}");
            let listed = shown.matches("engine.").count() + shown.matches("4194304").count();
            let more = shown
                .lines()
                .filter_map(|l| l.strip_prefix("and ")?.split(' ').next()?.parse::<usize>().ok());
            assert_eq!(listed + more.sum::<usize>(), methods + sessions, "{shown}");
        }
        let all = output::plain(&text(&sample(40, 90), usize::MAX));
        assert!(!all.contains(" more "), "{all}");
    }

    #[test]
    fn a_daemon_that_does_not_sweep_is_named() {
        let mut sample = sample(1, 1);
        assert!(!text(&sample, 24).contains("stalled"));
        sample.beat_age_ms = 5_000;
        assert!(text(&sample, 24).contains("not written for 5000 ms"));
    }

    #[test]
    fn small_rates_have_a_digit_more() {
        assert_eq!([0.0, 0.25, 9.96, 1234.5].map(rate), ["0", "0.2", "10", "1234"]);
    }
}
