//! Finding.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::*;

/// Recall@10 of graph searches by distance, against the exact ones.
pub(super) fn recall(engine: &Vectors, queries: &[f32]) -> f64 {
    let mut found = 0;
    for query in queries.chunks_exact(DIM) {
        let farthest = search(engine, query, 10, true).unwrap().distances[9];
        let hits = search(engine, query, 10, false).unwrap();
        found += hits.distances.iter().filter(|distance| **distance <= farthest).count();
    }
    found as f64 / (queries.len() / DIM * 10) as f64
}

/// All distances in plain float64, sorted.
fn oracle(metric: Metric, query: &[f32], rows: &[f32]) -> Vec<f64> {
    let product = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let mut all: Vec<f64> = rows
        .chunks_exact(query.len())
        .map(|row| match metric {
            Metric::L2 => product(query, query) + product(row, row) - 2.0 * product(query, row),
            Metric::Dot => 1.0 - product(query, row),
            Metric::Cosine => {
                1.0 - product(query, row) / (product(query, query) * product(row, row)).sqrt()
            }
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all
}

#[test]
fn the_nearest_are_found_under_each_metric() {
    let (rows, queries) = (clustered(4000, 1), clustered(60, 2));
    let ids: Vec<u64> = (0..4000).collect();
    for (metric, least) in [(Metric::L2, 0.98), (Metric::Cosine, 0.98), (Metric::Dot, 0.9)] {
        let engine = engine(DIM as u32, metric);
        add(&engine, false, &ids, &rows).unwrap();
        for query in queries.chunks_exact(DIM) {
            let hits = search(&engine, query, 10, true).unwrap();
            assert_eq!(hits.visited, 4000);
            for (got, wanted) in hits.distances.iter().zip(oracle(metric, query, &rows)) {
                assert!((f64::from(*got) - wanted).abs() < 1e-5, "{got} for {wanted}");
            }
            // The same rows have the same distances, however they were found.
            let walked = search(&engine, query, 10, false).unwrap();
            for (id, distance) in walked.ids.iter().zip(&walked.distances) {
                if let Some(at) = hits.ids.iter().position(|exact| exact == id) {
                    assert_eq!(*distance, hits.distances[at]);
                }
            }
        }
        let recall = recall(&engine, &queries);
        assert!(recall >= least, "{}: recall {recall}", metric.name());
        let stats = stats(&engine);
        assert_eq!((stats.searches, stats.exact_searches), (120, 120));
        let mean = stats.visited / stats.searches;
        assert!((100..2000).contains(&mean), "{}: {mean} visited", metric.name());
    }
}

#[test]
fn more_candidates_are_asked_for_search_by_search() {
    let engine = engine(DIM as u32, Metric::L2);
    let ids: Vec<u64> = (0..4000).collect();
    add(&engine, false, &ids, &clustered(4000, 1)).unwrap();
    let query = clustered(1, 2);
    let visited = |ef: u32| {
        let request = api::Search { k: 1, ef, exact: false, collection: "c", query: &query };
        let reply = call(&engine, api::SEARCH, &request).unwrap();
        api::Hits::decode(&reply).unwrap().visited
    };
    let (default, narrow, wide) = (visited(0), visited(8), visited(256));
    assert!(narrow < default && default < wide, "{narrow}, {default}, {wide}");
}

#[test]
fn a_batch_answers_like_its_queries_one_by_one() {
    let engine = engine(DIM as u32, Metric::L2);
    let ids: Vec<u64> = (0..2000).collect();
    add(&engine, false, &ids, &clustered(2000, 1)).unwrap();
    let queries = &clustered(30, 2);
    for exact in [false, true] {
        // One search, so that the batch is not the one that samples.
        search(&engine, &queries[..DIM], 7, exact).unwrap();
        let batch = api::SearchBatch { k: 7, ef: 0, exact, collection: "c", queries };
        let reply = call(&engine, api::SEARCH_BATCH, &batch).unwrap();
        let batch = api::BatchHits::decode(&reply).unwrap();
        let mut single = Hits { ids: Vec::new(), distances: Vec::new(), visited: 0 };
        for query in queries.chunks_exact(DIM) {
            let hits = search(&engine, query, 7, exact).unwrap();
            single.ids.extend(hits.ids);
            single.distances.extend(hits.distances);
            single.visited += hits.visited;
        }
        assert_eq!(batch.counts, [7; 30]);
        assert_eq!((batch.ids, batch.distances), (&single.ids[..], &single.distances[..]));
        assert_eq!(batch.visited, single.visited);
    }
}

#[test]
fn eight_threads_find_what_one_finds() {
    let engine = engine(DIM as u32, Metric::L2);
    let ids: Vec<u64> = (0..2000).collect();
    add(&engine, false, &ids, &clustered(2000, 1)).unwrap();
    let queries = clustered(200, 2);
    let all = || -> Vec<Vec<u64>> {
        let queries = queries.chunks_exact(DIM);
        queries.map(|query| search(&engine, query, 5, false).unwrap().ids).collect()
    };
    let alone = all();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(all)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), alone);
        }
    });
}

#[test]
fn a_batch_is_seen_whole_or_not_at_all_while_it_is_added() {
    let engine = &engine(DIM as u32, Metric::L2);
    let ids: Vec<u64> = (0..1000).collect();
    add(engine, false, &ids, &clustered(1000, 1)).unwrap();
    // Thirty rows about one place, where nothing else is.
    let place = vec![30.0; DIM];
    let ids: Vec<u64> = (5000..5030).collect();
    let enough = &AtomicBool::new(false);
    let mut seen = [0; 31];
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut random = Random(3);
            while !enough.load(Relaxed) {
                let batch: Vec<f32> = (0..30 * DIM).map(|_| 30.0 + random.next()).collect();
                add(engine, false, &ids, &batch).unwrap();
                assert_eq!(delete(engine, &ids), 30);
            }
        });
        // What is wrong is told after the writer was told to end.
        let part = |seen: &[u32; 31]| seen[1..30].iter().any(|times| *times > 0);
        while (seen[0].min(seen[30]) < 20) && !part(&seen) {
            let exact = (seen[0] + seen[30]) % 2 == 0;
            let hits = search(engine, &place, 30, exact);
            let new = hits.map(|hits| hits.ids.iter().filter(|id| **id >= 5000).count());
            seen[new.unwrap_or(1)] += 1;
        }
        enough.store(true, Relaxed);
    });
    assert_eq!(seen[1..30], [0; 29], "times that so many of 30 were seen");
}

#[test]
fn as_many_come_back_as_there_are() {
    let engine = engine(DIM as u32, Metric::L2);
    let rows = clustered(1000, 1);
    let ids: Vec<u64> = (0..1000).collect();
    add(&engine, false, &ids, &rows).unwrap();
    for exact in [false, true] {
        assert_eq!(search(&engine, &rows[..DIM], 10_000, exact).unwrap().ids.len(), 1000);
        assert_eq!(search(&engine, &rows[..DIM], 400, exact).unwrap().ids.len(), 400);
    }
    // All but the farthest twenty: every walk begins among tombstones.
    let far = search(&engine, &rows[..DIM], 1000, true).unwrap().ids;
    delete(&engine, &far[..980]);
    let left = search(&engine, &rows[..DIM], 20, false).unwrap().ids;
    assert_eq!(left, far[980..]);
}

#[test]
fn estimates_follow_sizes() {
    let engine = engine(DIM as u32, Metric::L2);
    let ids: Vec<u64> = (0..3000).collect();
    let rows = clustered(3000, 1);
    let micros = |op: u16, request: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        request(&mut bytes);
        engine.cost(op, &bytes).micros
    };
    let query = &rows[..DIM];
    let one = |ef: u32, exact: bool| {
        let request = api::Search { k: 10, ef, exact, collection: "c", query };
        micros(api::SEARCH, &|bytes| request.encode(bytes))
    };
    assert_eq!(one(0, false), 0);
    let filling = api::Add { upsert: false, collection: "c", ids: &ids, rows: &rows };
    assert!(micros(api::ADD, &|bytes| filling.encode(bytes)) > 50_000);
    add(&engine, false, &ids, &rows).unwrap();
    assert!(one(0, false) > 0 && one(256, false) > one(64, false));
    assert!(one(0, true) > one(0, false));
    let queries = &rows[..100 * DIM];
    let many = api::SearchBatch { k: 10, ef: 0, exact: false, collection: "c", queries };
    assert!(micros(api::SEARCH_BATCH, &|bytes| many.encode(bytes)) >= 100 * one(0, false));
    let little = api::Ids { collection: "c", ids: &ids[..500] };
    let much = api::Ids { collection: "c", ids: &ids[..800] };
    let delete = |ids: &api::Ids<'_>| micros(api::DELETE, &|bytes| ids.encode(bytes));
    // The larger one brings a rebuild about.
    assert!(delete(&much) > 100 * delete(&little));
}
