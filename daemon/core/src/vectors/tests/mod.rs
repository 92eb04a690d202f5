//! Tests, over the same interface as the daemon's.

mod changes;
mod errors;
mod model;
mod saving;
mod searches;

use std::cell::Cell;

use ringfence_protocol::api::vectors::Metric;

use super::*;
use crate::engine::{Stop, Surroundings, Unbounded};

/// Ends a call when it looks at its deadline for the `n`th time.
struct Ends {
    after: Cell<u32>,
    progress: Cell<u64>,
}

impl Ends {
    fn after(checks: u32) -> Self {
        Self { after: Cell::new(checks), progress: Cell::new(0) }
    }
}

impl Surroundings for Ends {
    fn stop(&self) -> Option<Stop> {
        let left = self.after.get();
        self.after.set(left.saturating_sub(1));
        (left == 0).then_some(Stop::Expired)
    }
    fn progress(&self, done: u64) {
        self.progress.set(done);
    }
    fn session(&self) -> u64 {
        0
    }
}

fn run<'m, M: Message<'m>>(
    engine: &Vectors,
    op: u16,
    message: &M,
    surroundings: &dyn Surroundings,
) -> Result<Vec<u8>, Error> {
    let (mut request, mut reply) = (Vec::new(), Vec::new());
    message.encode(&mut request);
    engine.call(op, &mut Call::new(&request, &mut reply, surroundings))?;
    Ok(reply)
}

fn call<'m, M: Message<'m>>(engine: &Vectors, op: u16, message: &M) -> Result<Vec<u8>, Error> {
    run(engine, op, message, &Unbounded)
}

const DEFAULTS: api::Create<'static> = api::Create {
    dim: 4,
    metric: Metric::L2 as u8,
    exist_ok: false,
    connectivity: 0,
    ef_add: 0,
    ef_search: 0,
    name: "c",
};

/// An engine with one collection, "c".
fn engine(dim: u32, metric: Metric) -> Vectors {
    let engine = Vectors::new(Limits::default());
    let create = api::Create { dim, metric: metric as u8, ..DEFAULTS };
    call(&engine, api::CREATE, &create).unwrap();
    engine
}

fn add(engine: &Vectors, upsert: bool, ids: &[u64], rows: &[f32]) -> Result<(u64, u64), Error> {
    let reply = call(engine, api::ADD, &api::Add { upsert, collection: "c", ids, rows })?;
    let added = api::Added::decode(&reply).unwrap();
    Ok((added.added, added.updated))
}

fn delete(engine: &Vectors, ids: &[u64]) -> u64 {
    let reply = call(engine, api::DELETE, &api::Ids { collection: "c", ids }).unwrap();
    api::Count::decode(&reply).unwrap().count
}

fn get(engine: &Vectors, ids: &[u64]) -> (Vec<u8>, Vec<f32>) {
    let reply = call(engine, api::GET, &api::Ids { collection: "c", ids }).unwrap();
    let rows = api::Rows::decode(&reply).unwrap();
    (rows.found.to_vec(), rows.rows.to_vec())
}

fn count(engine: &Vectors) -> u64 {
    let reply = call(engine, api::COUNT, &api::Collection { collection: "c" }).unwrap();
    api::Count::decode(&reply).unwrap().count
}

fn here(engine: &Vectors) -> Arc<Collection> {
    engine.find("c").unwrap()
}

fn stats(engine: &Vectors) -> api::CollectionStats {
    let reply = call(engine, api::STATS, &api::Collection { collection: "c" }).unwrap();
    api::CollectionStats::decode(&reply).unwrap()
}

#[derive(Debug, PartialEq)]
struct Hits {
    ids: Vec<u64>,
    distances: Vec<f32>,
    visited: u64,
}

fn search(engine: &Vectors, query: &[f32], k: u32, exact: bool) -> Result<Hits, Error> {
    let request = api::Search { k, ef: 0, exact, collection: "c", query };
    let reply = call(engine, api::SEARCH, &request)?;
    let api::Hits { visited, ids, distances } = api::Hits::decode(&reply).unwrap();
    Ok(Hits { ids: ids.to_vec(), distances: distances.to_vec(), visited })
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

/// Dimensions of [`clustered`].
const DIM: usize = 24;

/// Points around 50 centres, flat in most dimensions: nothing real is spread evenly.
fn clustered(rows: usize, seed: u64) -> Vec<f32> {
    let (mut centres, mut random) = (Random(7), Random(seed));
    let centres: Vec<f32> = (0..50 * DIM).map(|_| centres.next() - 0.4).collect();
    let mut out = Vec::with_capacity(rows * DIM);
    for _ in 0..rows {
        let centre = (random.next() * 50.0) as usize % 50 * DIM;
        for (at, middle) in centres[centre..centre + DIM].iter().enumerate() {
            out.push(middle + (random.next() - 0.5) / (1 + at) as f32);
        }
    }
    out
}
