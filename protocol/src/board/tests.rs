//! Round trips, refusals, quantiles, and a reader beside a writer.

use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;

fn geometry() -> Geometry {
    Geometry::new(2, 3, 2).unwrap()
}

fn board() -> HeapWords {
    let words = HeapWords::new(geometry().size_bytes());
    let header = Header::new(9, 77, 1_000, "default");
    write_header(&words, &geometry(), &header).unwrap();
    words
}

/// A row whose words all say the same, so that a torn one shows.
fn uniform(value: u64) -> MethodRow {
    let mut row = MethodRow::new(3 << 16 | 4, "vectors.search");
    row.calls = value;
    row.errors = value;
    row.service = Histogram { sum_ns: value, samples: value, buckets: [value; HISTOGRAM_BUCKETS] };
    row
}

#[test]
fn what_is_written_is_read() {
    let (words, geometry) = (board(), geometry());
    let mut totals = Totals::default();
    (totals.beat_ns, totals.sessions_open, totals.sessions_without_row) = (5, 1, 12);
    let session =
        SessionRow { id: 4, uid: 1000, pid: 2, name: Text::new("n"), ..Default::default() };
    let older = ErrorRow::new(11, Text::new("old"), 100);
    let newer = ErrorRow::new(12, Text::new("new"), 200);
    write_row(&words, geometry.totals_at(), &totals);
    write_row(&words, geometry.method_at(1), &uniform(6));
    write_row(&words, geometry.session_at(2), &session);
    write_row(&words, geometry.error_at(0), &older);
    write_row(&words, geometry.error_at(1), &newer);
    let snapshot = Snapshot::read(&words).unwrap();
    assert_eq!(snapshot.totals, totals);
    assert_eq!(snapshot.methods, [uniform(6)]);
    assert_eq!((snapshot.methods[0].engine(), snapshot.methods[0].operation()), (3, 4));
    assert_eq!(snapshot.sessions, [session]);
    assert_eq!(snapshot.errors, [newer, older], "latest first");
    assert_eq!(snapshot.torn_rows, 0);
    let header = snapshot.header;
    assert_eq!((header.epoch, header.pid, header.started_unix_ns), (9, 77, 1_000));
    assert_eq!(header.instance.to_string(), "default");
    assert_eq!(header.size_bytes, geometry.size_bytes() as u64);
}

#[test]
fn tables_follow_one_another_and_end_within_the_segment() {
    let geometry = geometry();
    assert_eq!(geometry.totals_at(), 128);
    assert_eq!(geometry.method_at(0), 384);
    assert_eq!(geometry.session_at(0), 384 + 2 * 640);
    assert_eq!(geometry.error_at(0), 384 + 2 * 640 + 3 * 128);
    assert_eq!(geometry.size_bytes(), 4096);
    let most = Geometry::new(METHODS_MAX, SESSIONS_MAX, ERRORS_MAX).unwrap();
    assert!(most.error_at(most.errors()) <= most.size_bytes());
    for (methods, sessions, errors) in
        [(METHODS_MAX + 1, 1, 1), (1, SESSIONS_MAX + 1, 1), (1, 1, ERRORS_MAX + 1)]
    {
        let refused = Geometry::new(methods, sessions, errors);
        assert!(matches!(refused, Err(BoardError::Geometry { .. })));
    }
}

#[test]
fn what_is_no_board_is_refused() {
    let empty = HeapWords::new(4096);
    assert_eq!(Snapshot::read(&empty), Err(BoardError::NotABoard { found: 0 }));
    let none = HeapWords::new(0);
    assert_eq!(Snapshot::read(&none), Err(BoardError::TooSmall { have: 0, need: 128 }));
    let small = HeapWords::new(4088);
    let written = write_header(&small, &geometry(), &Header::default());
    assert_eq!(written, Err(BoardError::TooSmall { have: 4088, need: 4096 }));

    let words = board();
    words.store(8, LAYOUT_VERSION + 1);
    assert_eq!(Snapshot::read(&words), Err(BoardError::Version { found: LAYOUT_VERSION + 1 }));
    let words = board();
    words.store(std::mem::offset_of!(Header, sessions), u64::MAX);
    assert!(matches!(Snapshot::read(&words), Err(BoardError::Geometry { .. })));
    let words = board();
    words.store(std::mem::offset_of!(Header, sessions), SESSIONS_MAX.into());
    assert!(matches!(Snapshot::read(&words), Err(BoardError::TooSmall { have: 4096, .. })));
}

#[test]
fn a_row_that_its_writer_left_unfinished_is_counted_and_then_repaired() {
    let (words, geometry) = (board(), geometry());
    write_row(&words, geometry.method_at(0), &uniform(1));
    write_row(&words, geometry.method_at(1), &uniform(2));
    let guard = geometry.method_at(0);
    words.store(guard, words.load(guard) + 1);
    let snapshot = Snapshot::read(&words).unwrap();
    assert_eq!((snapshot.torn_rows, snapshot.methods), (1, vec![uniform(2)]));
    write_row(&words, guard, &uniform(3));
    let snapshot = Snapshot::read(&words).unwrap();
    assert_eq!((snapshot.torn_rows, snapshot.methods), (0, vec![uniform(3), uniform(2)]));
}

#[test]
fn a_reader_beside_the_writer_sees_whole_rows_in_order() {
    const ROWS: u64 = 20_000;
    let (words, at) = (board(), geometry().method_at(0));
    write_row(&words, at, &uniform(0));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for value in 1..=ROWS {
                write_row(&words, at, &uniform(value));
            }
            done.store(true, Ordering::Release);
        });
        let mut last = 0;
        while last < ROWS {
            let finished = done.load(Ordering::Acquire);
            match read_row::<MethodRow>(&words, at) {
                Some(row) => {
                    assert_eq!(row, uniform(row.calls), "torn");
                    assert!(row.calls >= last, "{} after {last}", row.calls);
                    last = row.calls;
                }
                None => assert!(!finished, "unreadable with nobody writing"),
            }
            assert!(!finished || last == ROWS, "the last row is {last} of {ROWS}");
        }
    });
}

#[test]
fn text_is_cut_between_characters_and_shown_without_its_zeros() {
    let text = Text::<8>::new("abcdefgä");
    assert_eq!(text.to_string(), "abcdefg");
    assert_eq!(Text::<8>::new("abcdefgh").to_string(), "abcdefgh");
    assert_eq!(format!("{:>4}|{:?}", Text::<8>::new("ab"), Text::<8>::new("a\n")), "  ab|\"a\\n\"");
    assert!(Text::<8>::new("").is_empty() && !text.is_empty());
}

#[test]
fn buckets_are_powers_of_two() {
    for (ns, bucket) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (1023, 9), (1024, 10)] {
        assert_eq!(Histogram::bucket_of(ns), bucket, "{ns} ns");
        assert!(ns <= Histogram::upper_bound_ns(bucket));
    }
    assert_eq!(Histogram::bucket_of(u64::MAX), 63);
    assert_eq!(Histogram::upper_bound_ns(63), u64::MAX);
    assert_eq!(Histogram::upper_bound_ns(9), 1023);
}

#[test]
fn quantiles_are_upper_bounds_of_buckets() {
    let mut histogram = Histogram::default();
    assert_eq!((histogram.quantile_ns(0.5), histogram.mean_ns()), (None, None));
    for _ in 0..98 {
        histogram.record(100);
    }
    histogram.record(5_000);
    assert_eq!(histogram.quantile_ns(0.98), Some(127), "rank 98 of 99: 0.98 * 99 = 97.02");
    assert_eq!(histogram.quantile_ns(0.99), Some(8191), "rank 99 of 99: 0.99 * 99 = 98.01");
    histogram.record(5_000);
    assert_eq!(histogram.quantile_ns(0.0), Some(127));
    assert_eq!(histogram.quantile_ns(0.5), Some(127));
    assert_eq!(histogram.quantile_ns(0.98), Some(127));
    assert_eq!(histogram.quantile_ns(0.99), Some(8191));
    assert_eq!(histogram.quantile_ns(1.0), Some(8191));
    assert_eq!(histogram.mean_ns(), Some(198));
    let mut double = histogram;
    double.add(&histogram);
    assert_eq!((double.samples, double.sum_ns), (200, 39_600));
    assert_eq!(double.quantile_ns(0.99), Some(8191));
}

proptest! {
    /// Rows in any order, one of them perhaps left in the middle by a writer that died: each is the last one that
    /// was finished there, or counted.
    #[test]
    fn rows_are_the_last_that_were_written(
        writes in prop::collection::vec((0usize..2, 1u64..1000), 1..30),
        torn in prop::option::of(0usize..2),
    ) {
        let (words, geometry) = (board(), geometry());
        let mut last = [None; 2];
        for (index, value) in writes {
            write_row(&words, geometry.method_at(index), &uniform(value));
            last[index] = Some(uniform(value));
        }
        if let Some(index) = torn {
            let guard = geometry.method_at(index);
            words.store(guard, words.load(guard).wrapping_add(1));
            last[index] = None;
        }
        let snapshot = Snapshot::read(&words).unwrap();
        let there: Vec<_> = last.into_iter().flatten().collect();
        prop_assert_eq!((snapshot.methods, snapshot.torn_rows), (there, usize::from(torn.is_some())));
    }
}
