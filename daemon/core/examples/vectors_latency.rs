//! Latency, recall and visited rows of the `vectors` engine, over the same interface as the daemon's.
//!
//! `cargo run --release -p ringfence-core --example vectors_latency [METRIC [DIM ROWS QUERIES]]`
//! where ROWS and QUERIES are files of little-endian f32. Without files: 134 196 x 108 numbers in
//! clusters. Uniform random vectors would mislead: nothing real is spread like them.

use std::error::Error;
use std::time::Instant;

use ringfence_core::vectors::{Limits, Vectors};
use ringfence_core::{Call, Engine, Unbounded};
use ringfence_protocol::api::vectors::{
    ADD, Add, CREATE, Collection, CollectionStats, Create, Hits, Metric, SEARCH, STATS, Search,
};
use ringfence_protocol::message::Message;

const K: u32 = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let metric = arguments.first().map_or(Some(Metric::L2), |name| Metric::from_name(name));
    let metric = metric.ok_or("METRIC is l2, cosine or dot")?;
    let (dim, rows, queries) = match &arguments[..] {
        [_, dim, rows, queries] => (dim.parse()?, load(rows)?, load(queries)?),
        _ => (108, clustered(134_196, 108, 1), clustered(1000, 108, 2)),
    };
    let engine = Vectors::new(Limits::default());
    fill(&engine, metric, dim, &rows)?;
    let exact = queries
        .chunks_exact(dim)
        .map(|query| search(&engine, query, 0, true).map(|answer| answer.distances))
        .collect::<Result<Vec<_>, _>>()?;
    report(&engine, "exact", dim, &queries[..100 * dim], &exact, 0, true)?;
    for ef in [16, 32, 48, 64, 128] {
        report(&engine, &format!("ef {ef}"), dim, &queries, &exact, ef, false)?;
    }
    report(&engine, "default", dim, &queries, &exact, 0, false)
}

fn fill(engine: &Vectors, metric: Metric, dim: usize, rows: &[f32]) -> Result<(), Box<dyn Error>> {
    let mut bytes = Vec::new();
    let create = Create {
        dim: dim as u32,
        metric: metric as u8,
        exist_ok: false,
        connectivity: 0,
        ef_add: 0,
        ef_search: 0,
        name: "rows",
    };
    call(engine, CREATE, &create, &mut bytes)?;
    let ids: Vec<u64> = (0..(rows.len() / dim) as u64).collect();
    let start = Instant::now();
    call(engine, ADD, &Add { upsert: false, collection: "rows", ids: &ids, rows }, &mut bytes)?;
    let took = start.elapsed();
    call(engine, STATS, &Collection { collection: "rows" }, &mut bytes)?;
    let stats = CollectionStats::decode(&bytes)?;
    println!(
        "{} rows of {dim}, {}: added in {took:.1?} ({:.0} us a row), {} MiB",
        stats.count,
        metric.name(),
        took.as_micros() as f64 / ids.len() as f64,
        stats.memory_bytes >> 20,
    );
    Ok(())
}

struct Answer {
    distances: Vec<f32>,
    visited: u64,
    nanos: u128,
    estimate_us: u32,
}

fn search(engine: &Vectors, query: &[f32], ef: u32, exact: bool) -> Result<Answer, Box<dyn Error>> {
    let (mut request, mut reply) = (Vec::new(), Vec::new());
    Search { k: K, ef, exact, collection: "rows", query }.encode(&mut request);
    let start = Instant::now();
    engine.call(SEARCH, &mut Call::new(&request, &mut reply, &Unbounded))?;
    let nanos = start.elapsed().as_nanos();
    let hits = Hits::decode(&reply)?;
    Ok(Answer {
        distances: hits.distances.to_vec(),
        visited: hits.visited,
        nanos,
        estimate_us: engine.cost(SEARCH, &request).micros,
    })
}

fn report(
    engine: &Vectors,
    name: &str,
    dim: usize,
    queries: &[f32],
    exact: &[Vec<f32>],
    ef: u32,
    by_scan: bool,
) -> Result<(), Box<dyn Error>> {
    let mut answers = Vec::new();
    for _ in 0..3 {
        for query in queries.chunks_exact(dim) {
            answers.push(search(engine, query, ef, by_scan)?);
        }
    }
    let found: usize = answers
        .iter()
        .zip(exact[..queries.len() / dim].iter().cycle())
        .map(|(answer, exact)| {
            let farthest = exact.last().copied().unwrap_or_default();
            answer.distances.iter().filter(|distance| **distance <= farthest).count()
        })
        .sum();
    let visited: u64 = answers.iter().map(|answer| answer.visited).sum();
    let estimate_us = answers[0].estimate_us;
    let count = answers.len() as f64;
    answers.sort_by_key(|answer| answer.nanos);
    let at = |share: f64| answers[(count * share) as usize].nanos as f64 / 1000.0;
    println!(
        "{name:>8}: p50 {:6.1} us, p99 {:7.1} us, estimate {estimate_us} us, recall@{K} {:.4}, visited {:.0}",
        at(0.5),
        at(0.99),
        found as f64 / (count * f64::from(K)),
        visited as f64 / count,
    );
    Ok(())
}

fn call<'m, M: Message<'m>>(
    engine: &Vectors,
    op: u16,
    message: &M,
    reply: &mut Vec<u8>,
) -> Result<(), Box<dyn Error>> {
    let mut request = Vec::new();
    message.encode(&mut request);
    reply.clear();
    Ok(engine.call(op, &mut Call::new(&request, reply, &Unbounded))?)
}

fn load(path: &str) -> Result<Vec<f32>, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect())
}

/// `rows` points around 400 centres; each cluster is flat in most dimensions, as patches are.
fn clustered(rows: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut centres = Random(7);
    let centres: Vec<(Vec<f32>, Vec<f32>)> = (0..400)
        .map(|_| {
            let centre = (0..dim).map(|_| centres.next()).collect();
            let spread = (0..dim).map(|_| centres.next().powi(4) * 0.3).collect();
            (centre, spread)
        })
        .collect();
    let mut random = Random(seed);
    let mut out = Vec::with_capacity(rows * dim);
    for _ in 0..rows {
        let (centre, spread) = &centres[(random.next() * 400.0) as usize % 400];
        out.extend(centre.iter().zip(spread).map(|(at, by)| at + by * (random.next() - 0.5)));
    }
    out
}

/// xorshift64* (Vigna, arXiv:1402.6246), numbers from 0 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1u64 << 24) as f32
    }
}
