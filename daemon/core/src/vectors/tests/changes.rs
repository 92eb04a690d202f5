//! Adding, deleting, rebuilding.

use std::sync::atomic::Ordering::Relaxed;

use super::searches::recall;
use super::*;

#[test]
fn rows_come_back_bit_for_bit() {
    let engine = engine(4, Metric::Cosine);
    let rows = [-0.0, 1e-40, 0.1, -3.0, 1e17, -1e-15, f32::MIN_POSITIVE, 0.3];
    add(&engine, false, &[5, u64::MAX - 1], &rows).unwrap();
    let (found, got) = get(&engine, &[u64::MAX - 1, u64::MAX, 5, 5]);
    assert_eq!(found, [1, 0, 1, 1]);
    let bits = |rows: &[f32]| rows.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&got), bits(&[&rows[4..], &rows[..4], &rows[..4]].concat()));
}

#[test]
fn an_upsert_moves_a_row() {
    let engine = engine(DIM as u32, Metric::L2);
    let rows = clustered(1000, 1);
    let ids: Vec<u64> = (0..1000).collect();
    assert_eq!(add(&engine, true, &ids, &rows), Ok((1000, 0)));
    let there = &rows[900 * DIM..901 * DIM];
    assert_eq!(add(&engine, true, &[3, 1000], &[there, there].concat()), Ok((1, 1)));
    assert_eq!(count(&engine), 1001);
    for exact in [false, true] {
        let hits = search(&engine, there, 3, exact).unwrap();
        assert_eq!((hits.ids, hits.distances), (vec![3, 900, 1000], vec![0.0; 3]));
        let gone = search(&engine, &rows[3 * DIM..4 * DIM], 1, exact).unwrap();
        assert!(gone.ids != [3] && gone.distances[0] > 0.0);
    }
}

#[test]
fn rows_that_are_replaced_by_themselves_are_found_for_ever() {
    let engine = engine(DIM as u32, Metric::L2);
    let ids: Vec<u64> = (0..1000).collect();
    add(&engine, false, &ids, &clustered(1000, 1)).unwrap();
    // Thirty in one place: where hundreds of tombstones lie, edges lead to these alone.
    let (place, ids) = (vec![30.0; DIM], Vec::from_iter(5000..5030));
    let rows = place.repeat(30);
    add(&engine, false, &ids, &rows).unwrap();
    for round in 0..20 {
        if round % 2 == 0 {
            assert_eq!(add(&engine, true, &ids, &rows), Ok((0, 30)));
        } else {
            assert_eq!(delete(&engine, &ids), 30);
            assert_eq!(get(&engine, &ids[..1]), (vec![0], vec![]));
            assert_eq!(add(&engine, false, &ids, &rows), Ok((30, 0)));
        }
        let mut found = search(&engine, &place, 30, false).unwrap().ids;
        found.sort_unstable();
        assert_eq!(found, ids, "round {round}");
    }
    assert_eq!(here(&engine).hidden.load(Relaxed), 0);
}

#[test]
fn deleting_skips_what_is_not_there() {
    let engine = engine(1, Metric::L2);
    add(&engine, false, &[1, 2, 3], &[1.0, 2.0, 3.0]).unwrap();
    assert_eq!(delete(&engine, &[2, 9, 2, u64::MAX]), 1);
    assert_eq!(search(&engine, &[2.1], 5, false).unwrap().ids, [3, 1]);
    assert_eq!(delete(&engine, &[1, 3]), 2);
    assert_eq!(search(&engine, &[2.1], 5, false).unwrap().ids, []);
    assert_eq!(add(&engine, false, &[2], &[7.0]), Ok((1, 0)));
    let stats = stats(&engine);
    assert_eq!((stats.count, stats.added, stats.deleted), (1, 4, 3));
}

#[test]
fn an_add_that_ends_early_leaves_nothing() {
    let engine = engine(DIM as u32, Metric::L2);
    let rows = clustered(1200, 1);
    let ids: Vec<u64> = (0..1200).collect();
    add(&engine, false, &ids[..1000], &rows[..1000 * DIM]).unwrap();
    let ends = Ends::after(150);
    let late =
        api::Add { upsert: true, collection: "c", ids: &ids[900..], rows: &rows[900 * DIM..] };
    let error = run(&engine, api::ADD, &late, &ends).unwrap_err();
    assert_eq!(error.code, ErrorCode::Expired);
    // One look before its turn, then one before each row.
    assert_eq!(ends.progress.get(), 149);
    assert_eq!(count(&engine), 1000);
    assert_eq!(get(&engine, &ids[999..1001]).0, [1, 0]);
    for exact in [false, true] {
        for row in 890..1100 {
            let hits = search(&engine, &rows[row * DIM..][..DIM], 20, exact).unwrap();
            assert_eq!(hits.ids.len(), 20);
            assert!(hits.ids.iter().all(|id| *id < 1000));
        }
    }
    assert_eq!(add(&engine, true, late.ids, late.rows), Ok((200, 100)));
}

#[test]
fn a_search_looks_at_its_deadline() {
    let engine = engine(DIM as u32, Metric::L2);
    let rows = clustered(9000, 1);
    let ids: Vec<u64> = (0..9000).collect();
    let create = api::Create { dim: DIM as u32, ef_add: 20, name: "d", ..DEFAULTS };
    call(&engine, api::CREATE, &create).unwrap();
    call(&engine, api::ADD, &api::Add { upsert: false, collection: "d", ids: &ids, rows: &rows })
        .unwrap();
    let queries = &rows[..50 * DIM];
    let batch = api::SearchBatch { k: 3, ef: 0, exact: false, collection: "d", queries };
    let ends = Ends::after(30);
    let error = run(&engine, api::SEARCH_BATCH, &batch, &ends).unwrap_err();
    assert_eq!((error.code, ends.progress.get()), (ErrorCode::Expired, 30));
    let exact = api::Search { k: 3, ef: 0, exact: true, collection: "d", query: &rows[..DIM] };
    let error = run(&engine, api::SEARCH, &exact, &Ends::after(3)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Expired);
    run(&engine, api::SEARCH, &exact, &Ends::after(4)).unwrap();
}

#[test]
fn recall_and_memory_are_kept_under_churn() {
    let engine = engine(DIM as u32, Metric::L2);
    let ids: Vec<u64> = (0..3000).collect();
    add(&engine, false, &ids, &clustered(3000, 1)).unwrap();
    let before = stats(&engine).memory_bytes;
    for round in 0..40 {
        let from = round * 350 % 2500;
        add(&engine, true, &ids[from..from + 400], &clustered(400, round as u64 + 9)).unwrap();
        delete(&engine, &ids[from..from + 100]);
        let (shown, hidden) =
            (here(&engine).shown.load(Relaxed), here(&engine).hidden.load(Relaxed));
        assert!(hidden < shown, "{hidden} tombstones, {shown} rows");
    }
    assert!(here(&engine).counters.rebuilds.load(Relaxed) > 3);
    let recall = recall(&engine, &clustered(100, 5));
    assert!(recall >= 0.98, "recall {recall}");
    // The old state and the new one are there together for a while, never more.
    assert!(stats(&engine).memory_bytes < 5 * before);
}

#[test]
fn a_rebuild_goes_on_with_later_changes_and_misses_none() {
    let engine = engine(DIM as u32, Metric::L2);
    let rows = clustered(3000, 1);
    let ids: Vec<u64> = (0..3000).collect();
    add(&engine, false, &ids, &rows).unwrap();
    delete(&engine, &ids[..700]);
    assert!(here(&engine).turn.lock().is_some(), "700 deletions move 2100 of 2300 rows");
    // Deleted after they were moved, and added after the rebuild began.
    assert_eq!(delete(&engine, &ids[700..720]), 20);
    add(&engine, false, &ids[..2], &rows[..2 * DIM]).unwrap();
    while here(&engine).turn.lock().is_some() {
        delete(&engine, &ids[2999..]);
        add(&engine, true, &ids[2999..], &rows[2999 * DIM..]).unwrap();
    }
    assert_eq!(here(&engine).counters.rebuilds.load(Relaxed), 1);
    assert_eq!(count(&engine), 2282);
    let (found, got) = get(&engine, &ids);
    assert!(found.iter().enumerate().all(|(id, found)| (*found == 1) != (2..720).contains(&id)));
    assert_eq!(got, [&rows[..2 * DIM], &rows[720 * DIM..]].concat());
    assert!(recall(&engine, &clustered(50, 5)) >= 0.98);
}

#[test]
fn dropping_gives_the_memory_back() {
    let engine = engine(DIM as u32, Metric::L2);
    let ids: Vec<u64> = (0..2000).collect();
    add(&engine, false, &ids, &clustered(2000, 1)).unwrap();
    let used = engine.meter.used();
    assert_eq!(used, stats(&engine).memory_bytes);
    // Each row is there twice.
    assert!(used > 2 * 4 * (2000 * DIM) as u64, "{used}");
    assert!(used < 2 * here(&engine).bytes_of(2000) + (1 << 20), "{used}");
    call(&engine, api::DROP, &api::Collection { collection: "c" }).unwrap();
    assert_eq!(engine.meter.used(), 0);
}
