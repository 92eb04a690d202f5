//! The in-process half of the vectors cases: an engine of the benchmark's own daemon that searches the
//! daemon's very index by an in-process client, and answers the times.
//!
//! Two copies of one index differ by several percent for as long as they live, by where their pages
//! lie; a boundary of one percent shows only on one and the same copy.

use std::sync::{Arc, Mutex, PoisonError};

use ringfence::Client;
use ringfence::vectors::{CollectionHandle, Search};
use ringfence_protocol::api::system::Nothing;
use ringfenced::{Call, Cost, Engine, EngineSchema, Error, ErrorCode, MethodSchema, message};

use crate::BenchError;
use crate::harness::Slice;
use crate::peer::{SERVER_CORE, pin, unpin};
use crate::raw::ticks;

pub(super) const ENGINE: &str = "twin";

message! {
    /// What to search, and for what.
    pub(super) struct Setup<'a> { dim: u32, k: u32, ef: u32, queries: &'a [f32], collection: &'a str }
}

message! {
    /// How often, and how many queries at a time.
    pub(super) struct Turn { samples: u32, queries: u32 }
}

message! {
    /// Ticks of the time stamp counter, one for each sample.
    pub(super) struct Times<'a> { ticks: &'a [u64] }
}

/// Queries, taken round and round.
pub(super) struct Queries {
    dim: usize,
    rows: Vec<f32>,
    next: usize,
}

impl Queries {
    /// Whole rows of `dim`.
    pub(super) fn new(dim: usize, rows: Vec<f32>) -> Self {
        Self { dim, rows, next: 0 }
    }

    /// The next `count` of them.
    pub(super) fn take(&mut self, count: usize) -> &[f32] {
        let length = count * self.dim;
        let first = if self.next + length > self.rows.len() { 0 } else { self.next };
        self.next = first + length;
        &self.rows[first..self.next]
    }
}

/// The vectors engine with a clock at its door: how long each search took that passed through it, for
/// the daemon's clients and for the twin alike.
pub(super) struct Timed {
    engine: Arc<dyn Engine>,
    search: Option<u16>,
    took: Mutex<Vec<u64>>,
}

impl Timed {
    /// In front of this one.
    pub(super) fn new(engine: impl Engine) -> Self {
        let schema = engine.schema();
        let search = schema.methods.iter().find(|method| method.name == "search");
        let search = search.map(|method| method.op);
        Self { engine: Arc::new(engine), search, took: Mutex::default() }
    }

    /// Ticks of the searches since this was last asked.
    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.took.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Engine for Timed {
    fn schema(&self) -> EngineSchema {
        self.engine.schema()
    }

    fn cost(&self, op: u16, request: &[u8]) -> Cost {
        self.engine.cost(op, request)
    }

    fn call(&self, op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        if Some(op) != self.search {
            return self.engine.call(op, call);
        }
        let start = ticks();
        let answer = self.engine.call(op, call);
        let took = ticks().saturating_sub(start);
        self.took.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        answer
    }
}

/// What to search with what.
struct Work {
    collection: CollectionHandle,
    search: Search,
    queries: Queries,
}

/// The engine.
pub(super) struct Twin {
    timed: Arc<Timed>,
    client: Client,
    work: Mutex<Option<Work>>,
}

impl Twin {
    /// Over the engine that the daemon serves.
    pub(super) fn new(timed: Arc<Timed>) -> Result<Self, BenchError> {
        let broken = |detail: String| BenchError::Peer { what: ENGINE.into(), detail };
        let mut registry = ringfence_core::Registry::new();
        registry
            .add(Box::new(Arc::clone(&timed) as Arc<dyn Engine>))
            .map_err(|error| broken(error.to_string()))?;
        let client = Client::builder().inproc_engines(registry).connect();
        let client = client.map_err(|error| broken(error.to_string()))?;
        Ok(Self { timed, client, work: Mutex::default() })
    }
}

impl Engine for Twin {
    fn schema(&self) -> EngineSchema {
        let setup = MethodSchema::new::<Setup<'_>, Turn>(0, "setup", "Says what to search.");
        let turn =
            MethodSchema::new::<Turn, Times<'_>>(1, "turn", "Searches, and tells the times.");
        let took = MethodSchema::new::<Nothing, Times<'_>>(
            2,
            "took",
            "Times of the last searches, by its clock.",
        );
        EngineSchema::new(ENGINE, "Searches in the daemon's own process.", vec![setup, turn, took])
    }

    /// Everything goes to a worker.
    fn cost(&self, _op: u16, _request: &[u8]) -> Cost {
        Cost::micros(u32::MAX)
    }

    fn call(&self, op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        if op == 2 {
            call.reply(&Times { ticks: &self.timed.take() });
            return Ok(());
        }
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        if op == 0 {
            let Setup { dim, k, ef, queries, collection } = call.request()?;
            let collection = self.client.vectors().get(collection);
            let search = Search { ef, ..Search::nearest(k) };
            let queries = Queries::new(dim as usize, queries.to_vec());
            *work = Some(Work { collection, search, queries });
            call.reply(&Turn { samples: 0, queries: 0 });
            return Ok(());
        }
        let Turn { samples, queries } = call.request()?;
        let failed = |text: String| Error::new(ErrorCode::Internal, text);
        let work = work.as_mut().ok_or_else(|| failed("no setup".into()))?;
        // A single search runs on the poller's core, as through the daemon; a batch wherever a worker runs.
        if queries == 1 {
            pin(SERVER_CORE).map_err(|error| failed(error.to_string()))?;
        }
        let times = work.times(samples as usize, queries as usize);
        unpin().map_err(|error| failed(error.to_string()))?;
        let times = times.map_err(|error| failed(error.to_string()))?;
        call.reply(&Times { ticks: times.ticks() });
        Ok(())
    }
}

impl Work {
    fn times(&mut self, samples: usize, count: usize) -> Result<Slice, ringfence::Error> {
        let Self { collection, search, queries } = self;
        let mut slice = Slice::default();
        if count == 1 {
            slice.time(samples, || collection.search(queries.take(1), *search))?;
        } else {
            slice.time(samples, || collection.search_batch(queries.take(count), *search))?;
        }
        Ok(slice)
    }
}
