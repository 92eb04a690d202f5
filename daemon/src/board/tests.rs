//! What the daemon writes is what a reader sees, also while it writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringfence_protocol::board::{HeapWords, Snapshot};

use super::*;

const METHODS: [(u32, &str); 3] =
    [(1 << 16 | 1, "system.echo"), (2 << 16 | 1, "vectors.add"), (2 << 16 | 2, "vectors.search")];

fn board(sessions: u32) -> (Board<Arc<HeapWords>>, Arc<HeapWords>) {
    let geometry = Board::<Arc<HeapWords>>::geometry(METHODS.len(), sessions).unwrap();
    let words = Arc::new(HeapWords::new(geometry.size_bytes()));
    let header = Header::new(1, 2, 3, "default");
    (Board::create(Arc::clone(&words), geometry, &header, &METHODS).unwrap(), words)
}

fn opened(id: u64, name: &str) -> Opened<'_> {
    Opened { id, uid: 1000, pid: 7, name, now_unix_ns: 5 }
}

#[test]
fn counters_are_added_and_set_back() {
    let (mut board, words) = board(4);
    let (mut first, mut second) = (Counters::new(3), Counters::new(3));
    first.requests(1);
    first.answer(0, false, (24, 24));
    first.sample(0, 1_000);
    second.requests(1);
    second.answer(2, true, (100, 8));
    second.answer(usize::MAX, true, (0, 1));
    second.sample(usize::MAX, 1);
    second.fault();
    for _ in 0..2 {
        board.publish(&mut first);
        board.publish(&mut second);
    }
    let gauges = Gauges {
        lanes_open: 1,
        queue_depth: 2,
        workers_busy: 5,
        leased_bytes: 3,
        segment_bytes: 4,
    };
    board.beat(&gauges, 99);
    let snapshot = Snapshot::read(&words).unwrap();
    let totals = snapshot.totals;
    assert_eq!(totals, *board.totals());
    assert_eq!((totals.requests, totals.completions, totals.errors, totals.faults), (2, 3, 2, 1));
    assert_eq!((totals.bytes_in, totals.bytes_out, totals.beat_ns), (124, 33, 99));
    assert_eq!((totals.lanes_open, totals.queue_depth), (1, 2));
    assert_eq!((totals.leased_bytes, totals.segment_bytes), (3, 4));
    let calls: Vec<_> = snapshot.methods.iter().map(|row| (row.calls, row.errors)).collect();
    assert_eq!(calls, [(1, 0), (0, 0), (1, 1)]);
    assert_eq!(snapshot.methods[0].service.quantile_ns(0.5), Some(1_023));
    let names: Vec<_> = snapshot.methods.iter().map(|row| row.name.to_string()).collect();
    assert_eq!(names, METHODS.map(|(_, name)| name));
}

#[test]
fn sessions_come_change_and_go() {
    let (mut board, words) = board(2);
    let first = board.session_opened(&opened(11, "a\nb"));
    let second = board.session_opened(&opened(12, "second"));
    let third = board.session_opened(&opened(13, "without a row"));
    let counts = SessionCounts { lanes: 1, calls: 2, faults: 3, leases: 4 };
    board.session_counts(&second, &counts);
    board.session_counts(&third, &counts);
    board.session_refused();
    board.beat(&Gauges::default(), 1);
    let snapshot = Snapshot::read(&words).unwrap();
    let rows = &snapshot.sessions;
    assert_eq!((rows.len(), rows[0].id, rows[1].id), (2, 11, 12));
    assert_eq!((rows[0].uid, rows[0].pid, rows[0].opened_unix_ns), (1000, 7, 5));
    assert_eq!(rows[0].name.to_string(), "a\\nb");
    assert_eq!((rows[1].lanes, rows[1].calls, rows[1].faults, rows[1].leases), (1, 2, 3, 4));
    let totals = snapshot.totals;
    assert_eq!((totals.sessions_open, totals.sessions_without_row), (3, 1));
    assert_eq!((totals.sessions_total, totals.sessions_refused), (3, 1));

    board.session_closed(first);
    board.session_closed(third);
    let fourth = board.session_opened(&opened(14, "fourth"));
    board.beat(&Gauges::default(), 2);
    let snapshot = Snapshot::read(&words).unwrap();
    let ids: Vec<_> = snapshot.sessions.iter().map(|row| (row.id, row.calls)).collect();
    assert_eq!(ids, [(14, 0), (12, 2)]);
    assert_eq!((snapshot.totals.sessions_open, snapshot.totals.sessions_without_row), (2, 0));
    board.session_closed(second);
    board.session_closed(fourth);
    assert_eq!(Snapshot::read(&words).unwrap().sessions, []);
}

#[test]
fn the_same_error_is_one_row_with_a_count() {
    let (mut board, words) = board(1);
    board.record_error(7, "ring R7 broken by \x1b[31m", 100);
    board.record_error(8, "ring R7 broken by \x1b[31m", 150);
    board.record_error(7, "ring R7 broken by \x1b[31m", 200);
    board.record_error(7, "ring R7 broken by \x1b[31m", 90);
    let errors = Snapshot::read(&words).unwrap().errors;
    let seen: Vec<_> = errors
        .iter()
        .map(|row| (row.code, row.count, row.first_seen_ns, row.last_seen_ns))
        .collect();
    assert_eq!(seen, [(7, 3, 100, 200), (8, 1, 150, 150)]);
    assert_eq!(errors[0].text.to_string(), "ring R7 broken by \\u{1b}[31m");
    board.record_error(9, &format!("{}one", "x".repeat(300)), 300);
    board.record_error(9, &format!("{}two", "x".repeat(300)), 301);
    let errors = Snapshot::read(&words).unwrap().errors;
    assert_eq!(errors[0].count, 2, "equal in all that is kept");
    assert!(errors[0].text.to_string().ends_with("x…"));
}

#[test]
fn a_full_error_log_drops_what_was_not_seen_for_longest() {
    let (mut board, words) = board(1);
    let rows = u64::from(Geometry::ERRORS);
    for now in 0..rows {
        board.record_error(1, &format!("error {now}"), 1_000 + now);
    }
    // The oldest is seen again, so the second oldest makes room.
    board.record_error(1, "error 0", 2_000);
    board.record_error(1, "new", 3_000);
    board.beat(&Gauges::default(), 1);
    let snapshot = Snapshot::read(&words).unwrap();
    let texts: Vec<_> = snapshot.errors.iter().map(|row| row.text.to_string()).collect();
    assert_eq!(texts.len() as u64, rows);
    assert_eq!(texts[..2], ["new", "error 0"]);
    assert!(!texts.contains(&"error 1".to_owned()) && texts.contains(&"error 2".to_owned()));
    assert_eq!(snapshot.totals.errors_evicted, 1);
}

#[test]
fn a_reader_beside_the_sweep_sees_consistent_rows() {
    const SWEEPS: u64 = 3_000;
    let (mut board, words) = board(4);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut counters = Counters::new(METHODS.len());
            for sweep in 1..=SWEEPS {
                counters.requests(1);
                counters.answer(1, true, (1, 1));
                counters.sample(1, 100);
                board.publish(&mut counters);
                let slot = board.session_opened(&opened(sweep, "busy"));
                let counts =
                    SessionCounts { lanes: sweep, calls: sweep, faults: sweep, leases: sweep };
                board.session_counts(&slot, &counts);
                board.beat(&Gauges::default(), sweep);
                board.session_closed(slot);
            }
            done.store(true, Ordering::Release);
        });
        let mut last_beat = 0;
        while last_beat < SWEEPS {
            let finished = done.load(Ordering::Acquire);
            let snapshot = Snapshot::read(&words).unwrap();
            let (totals, row) = (snapshot.totals, &snapshot.methods[1]);
            if snapshot.torn_rows == 0 {
                assert!(totals.beat_ns >= last_beat, "{} after {last_beat}", totals.beat_ns);
                assert_eq!((totals.requests, totals.completions), (totals.beat_ns, totals.beat_ns));
                assert_eq!((row.errors, row.service.samples), (row.calls, row.calls));
                assert_eq!(row.service.sum_ns, 100 * row.calls);
                last_beat = totals.beat_ns;
            }
            for row in &snapshot.sessions {
                assert!([0, row.id].contains(&row.calls), "{row:?}");
                assert_eq!((row.lanes, row.faults, row.leases), (row.calls, row.calls, row.calls));
            }
            assert!(!finished || last_beat == SWEEPS, "the last beat is {last_beat}");
        }
    });
}
