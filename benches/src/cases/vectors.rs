//! Searching real rows through the daemon, and the same index in this process.
//!
//! 134 196 image patches of 108 dimensions (`python/patches.py`), ef 32, k = 10. Both indices are built
//! by the same adds in the same order. A sample of the batch cases is one batch.

use std::cell::RefCell;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::rc::{Rc, Weak};

use std::time::{Duration, Instant};

use ringfence::Board;
use ringfence::vectors::{Collection, CollectionHandle, Search};

use super::ringfence::{Daemon, Shared, call_error, client};
use crate::BenchError;
use crate::harness::{Case, Context, Runner, Slice};
use crate::peer::{CLIENT_CORE, SERVER_CORE, pin};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/patches.py");
const NAME: &str = "patches";
const EF: u32 = 32;
const K: u32 = 10;
const BATCH: usize = 200;

/// The rows and the queries.
struct Data {
    dim: usize,
    rows: Vec<f32>,
    queries: Vec<f32>,
}

impl Data {
    /// Has the interpreter write them to a file of its own.
    fn load(context: &Context) -> Result<Self, BenchError> {
        let path = std::env::temp_dir().join(format!("ringfence-bench-{}.f32", std::process::id()));
        let written = Command::new(&context.python).arg(SCRIPT).arg(&path).output()?;
        if !written.status.success() {
            let text = String::from_utf8_lossy(&written.stderr);
            let last = text.lines().last().unwrap_or_default();
            return Err(BenchError::Skipped(format!("no rows: {last}")));
        }
        let data = Self::read(&path);
        std::fs::remove_file(&path)?;
        data
    }

    fn read(path: &Path) -> Result<Self, BenchError> {
        let mut file = std::io::BufReader::new(std::fs::File::open(path)?);
        let mut header = [0; 24];
        file.read_exact(&mut header)?;
        let mut sizes =
            header.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes) as usize);
        let mut next = || sizes.next().unwrap_or(0);
        let (rows, queries, dim) = (next(), next(), next());
        let mut floats = |count: usize| -> Result<Vec<f32>, BenchError> {
            let mut bytes = vec![0; count * 4];
            file.read_exact(&mut bytes)?;
            Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        };
        Ok(Self { dim, rows: floats(rows * dim)?, queries: floats(queries * dim)? })
    }
}

/// A collection with all rows, here or in the daemon.
struct Loaded {
    /// The daemon's, mapped while it runs: it stands still when the run's figures are asked for.
    board: Option<Board>,
    collection: CollectionHandle,
    dim: usize,
    queries: Vec<f32>,
    daemon: Option<Rc<RefCell<Daemon>>>,
}

/// The collection of one side: loaded by its first case, gone with its last.
#[derive(Clone, Default)]
struct Side(Rc<RefCell<Weak<Loaded>>>);

impl Side {
    fn get(&self, context: &Context, shared: Option<&Shared>) -> Result<Rc<Loaded>, BenchError> {
        if let Some(loaded) = self.0.borrow().upgrade() {
            return Ok(loaded);
        }
        let data = Data::load(context)?;
        let daemon = shared.map(|shared| shared.get(context)).transpose()?;
        let target =
            daemon.as_ref().map_or_else(|| "inproc:".into(), |daemon| daemon.borrow().target());
        let client = client(&target)?;
        let collection =
            client.vectors().create(NAME, &Collection::new(data.dim as u32)).map_err(call_error)?;
        let ids: Vec<u64> = (0..(data.rows.len() / data.dim) as u64).collect();
        collection.add_in_parts(false, &ids, &data.rows).map_err(call_error)?;
        let board = daemon.as_ref().and_then(|_| client.board().ok());
        let loaded =
            Rc::new(Loaded { board, collection, dim: data.dim, queries: data.queries, daemon });
        *self.0.borrow_mut() = Rc::downgrade(&loaded);
        Ok(loaded)
    }
}

/// The cases.
#[must_use]
pub fn all(shared: &Shared) -> Vec<Box<dyn Case>> {
    let (there, here) = (Side::default(), Side::default());
    let case = |name, description, side: &Side, isolated: bool, batch| -> Box<dyn Case> {
        let shared = isolated.then(|| shared.clone());
        Box::new(Vectors { name, description, side: side.clone(), shared, batch })
    };
    vec![
        case(
            "vectors-search",
            "Rust search of 134 196 x 108 rows, ef 32, through the daemon",
            &there,
            true,
            false,
        ),
        case(
            "vectors-search-inproc",
            "the same search of the same index in process",
            &here,
            false,
            false,
        ),
        case(
            "vectors-batch",
            "Rust search_batch of 200 queries, through the daemon",
            &there,
            true,
            true,
        ),
        case("vectors-batch-inproc", "the same batch in process", &here, false, true),
    ]
}

struct Vectors {
    name: &'static str,
    description: &'static str,
    side: Side,
    shared: Option<Shared>,
    batch: bool,
}

impl Case for Vectors {
    fn name(&self) -> &'static str {
        self.name
    }
    fn description(&self) -> &'static str {
        self.description
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let loaded = self.side.get(context, self.shared.as_ref())?;
        Ok(Box::new(Searcher {
            loaded,
            batch: self.batch,
            next: 0,
            asked: (Duration::ZERO, 0),
            served: (0, 0),
        }))
    }
}

struct Searcher {
    loaded: Rc<Loaded>,
    batch: bool,
    next: usize,
    /// Time in and number of the searches of this run, as the client sees them.
    asked: (Duration, u32),
    /// Sum (ns) and number of the service times that the daemon had sampled when the run began.
    served: (u64, u64),
}

fn search() -> Search {
    Search { ef: EF, ..Search::nearest(K) }
}

impl Searcher {
    /// The next `count` queries, round and round.
    fn queries(&mut self, count: usize) -> &[f32] {
        let (dim, total) = (self.loaded.dim, self.loaded.queries.len() / self.loaded.dim);
        if self.next + count > total {
            self.next = 0;
        }
        let first = self.next * dim;
        self.next += count;
        &self.loaded.queries[first..first + count * dim]
    }
}

impl Searcher {
    /// Sum (ns) and number of the service times of `vectors.search` on the daemon's board.
    fn service_times(&self) -> Option<(u64, u64)> {
        let snapshot = self.loaded.board.as_ref()?.snapshot().ok()?;
        let row = snapshot.methods.iter().find(|row| row.name.to_string() == "vectors.search")?;
        Some((row.service.sum_ns, row.service.samples))
    }
}

impl Runner for Searcher {
    /// The graph finds what a look at every row finds, nearly always.
    fn check(&mut self) -> Result<(), BenchError> {
        let loaded = Rc::clone(&self.loaded);
        let queries = self.queries(BATCH);
        let found = loaded.collection.search_batch(queries, search()).map_err(call_error)?;
        let exact = Search { exact: true, ..search() };
        let true_hits = loaded.collection.search_batch(queries, exact).map_err(call_error)?;
        let k = K as usize;
        let pairs = found.ids.chunks(k).zip(true_hits.ids.chunks(k));
        let hits: usize = pairs.map(|(f, t)| f.iter().filter(|id| t.contains(id)).count()).sum();
        if hits * 100 < BATCH * k * 90 {
            let expected = String::from("recall of 0.9 and more");
            let got = format!("{}", hits as f64 / (BATCH * k) as f64);
            return Err(BenchError::WrongAnswer { request: 0, expected, got });
        }
        Ok(())
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        let loaded = Rc::clone(&self.loaded);
        if self.batch {
            return slice
                .time(samples, || loaded.collection.search_batch(self.queries(BATCH), search()))
                .map_err(call_error);
        }
        let start = Instant::now();
        let timed = slice.time(samples, || loaded.collection.search(self.queries(1), search()));
        self.asked.0 += start.elapsed();
        self.asked.1 += samples as u32;
        timed.map_err(call_error)
    }

    /// The share of a search that is not the engine's: what the client waits less what the daemon, by
    /// its own samples on the board, computes.
    fn scalars(&mut self) -> Vec<(&'static str, f64)> {
        if self.batch || self.loaded.daemon.is_none() {
            return Vec::new();
        }
        let Some((sum, samples)) = self.service_times() else { return Vec::new() };
        let (sum, samples) = (sum - self.served.0, samples - self.served.1);
        let (time, count) = std::mem::replace(&mut self.asked, (Duration::ZERO, 0));
        self.served = (self.served.0 + sum, self.served.1 + samples);
        if samples == 0 || count == 0 {
            return Vec::new();
        }
        let (waited, served) =
            (time.as_nanos() as f64 / f64::from(count), sum as f64 / samples as f64);
        vec![("vectors-boundary-share", (1.0 - served / waited).max(0.0))]
    }

    /// In process the engine runs on the core that the daemon's poller has: the two cores of a machine
    /// need not be equals.
    fn resume(&mut self) -> Result<(), BenchError> {
        match &self.loaded.daemon {
            Some(daemon) => daemon.borrow_mut().resume(),
            None => pin(SERVER_CORE),
        }
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        match &self.loaded.daemon {
            Some(daemon) => daemon.borrow_mut().pause(),
            None => pin(CLIENT_CORE),
        }
    }
}
