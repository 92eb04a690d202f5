//! Searching real rows through the daemon, and the same index in process.
//!
//! 134 196 image patches of 108 dimensions (`python/patches.py`), ef 32, k = 10. In process is inside the
//! daemon's process (`twin`), so both search one index. A sample of the batch cases is one batch.

use std::cell::RefCell;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::rc::{Rc, Weak};

use std::time::{Duration, Instant};

use ringfence::vectors::{Collection, CollectionHandle, Search};
use ringfence::{Board, CallOptions, Client, Method, Spin};
use ringfence_protocol::message::Message;

use super::ringfence::{Daemon, Shared, call_error, client};
use super::twin::{self, Queries, Setup, Times, Turn};
use crate::BenchError;
use crate::harness::{Case, Context, Runner, Slice};

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

/// A collection with all rows in the daemon.
struct Loaded {
    /// The daemon's, mapped while it runs: it stands still when the run's figures are asked for.
    board: Option<Board>,
    client: Client,
    collection: CollectionHandle,
    /// Another client of the daemon, whose calls never let go of their core.
    awake: Client,
    turn: Method,
    dim: usize,
    queries: Vec<f32>,
    daemon: Rc<RefCell<Daemon>>,
}

/// The collection: loaded by the first case, gone with the last.
#[derive(Clone, Default)]
struct Rows(Rc<RefCell<Weak<Loaded>>>);

impl Rows {
    fn get(&self, context: &Context, shared: &Shared) -> Result<Rc<Loaded>, BenchError> {
        if let Some(loaded) = self.0.borrow().upgrade() {
            return Ok(loaded);
        }
        let Data { dim, rows, queries } = Data::load(context)?;
        let daemon = shared.get(context)?;
        let target = daemon.borrow().target();
        let client = client(&target)?;
        let awake = Client::builder().target(&target).map(|builder| builder.spin(Spin::Always));
        let awake = awake.and_then(ringfence::Builder::connect).map_err(call_error)?;
        let collection =
            client.vectors().create(NAME, &Collection::new(dim as u32)).map_err(call_error)?;
        let ids: Vec<u64> = (0..(rows.len() / dim) as u64).collect();
        collection.add_in_parts(false, &ids, &rows).map_err(call_error)?;
        let board = client.board().ok();
        let setup = client.method(twin::ENGINE, "setup").map_err(call_error)?;
        let turn = client.method(twin::ENGINE, "turn").map_err(call_error)?;
        let what = Setup { dim: dim as u32, k: K, ef: EF, queries: &queries, collection: NAME };
        client.call(&setup, &encoded(&what), &CallOptions::default()).map_err(call_error)?;
        let loaded =
            Rc::new(Loaded { board, client, awake, collection, turn, dim, queries, daemon });
        *self.0.borrow_mut() = Rc::downgrade(&loaded);
        Ok(loaded)
    }
}

fn encoded<'m, M: Message<'m>>(message: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

/// The cases.
#[must_use]
pub fn all(shared: &Shared) -> Vec<Box<dyn Case>> {
    let rows = Rows::default();
    let case = |name, description, count, way| -> Box<dyn Case> {
        let (rows, shared) = (rows.clone(), shared.clone());
        Box::new(Vectors { name, description, rows, shared, count, way })
    };
    vec![
        case(
            "vectors-search",
            "Rust search of 134 196 x 108 rows, ef 32, through the daemon",
            1,
            Way::Daemon,
        ),
        case(
            "vectors-search-inproc",
            "the same search of the same index, inside the daemon's process",
            1,
            Way::Twin,
        ),
        case(
            "vectors-search-inproc-awake",
            "the same inside the daemon's process, while the other core spins as a waiting client does",
            1,
            Way::TwinBesideSpinner,
        ),
        case(
            "vectors-batch",
            "Rust search_batch of 200 queries, through the daemon",
            BATCH,
            Way::Daemon,
        ),
        case(
            "vectors-batch-inproc",
            "the same batch inside the daemon's process",
            BATCH,
            Way::Twin,
        ),
    ]
}

#[derive(Clone, Copy)]
enum Way {
    Daemon,
    Twin,
    /// Where two cores of the machine are halves of one, a search beside a spinning neighbour is slower,
    /// whoever the neighbour is: what is lost that way is no boundary.
    TwinBesideSpinner,
}

struct Vectors {
    name: &'static str,
    description: &'static str,
    rows: Rows,
    shared: Shared,
    /// Queries at a time.
    count: usize,
    way: Way,
}

impl Case for Vectors {
    fn name(&self) -> &'static str {
        self.name
    }
    fn description(&self) -> &'static str {
        self.description
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let loaded = self.rows.get(context, &self.shared)?;
        let count = self.count;
        Ok(match self.way {
            Way::Daemon => {
                let queries = Queries::new(loaded.dim, loaded.queries.clone());
                let (asked, served) = ((Duration::ZERO, 0), (0, 0));
                Box::new(Searcher { loaded, count, queries, asked, served })
            }
            Way::Twin => Box::new(TwinSearcher { client: loaded.client.clone(), loaded, count }),
            Way::TwinBesideSpinner => {
                Box::new(TwinSearcher { client: loaded.awake.clone(), loaded, count })
            }
        })
    }
}

/// Has the twin search.
struct TwinSearcher {
    loaded: Rc<Loaded>,
    client: Client,
    count: usize,
}

impl Runner for TwinSearcher {
    /// What the twin finds is checked where the daemon's answers are: it is the same engine.
    fn check(&mut self) -> Result<(), BenchError> {
        self.run(1, &mut Slice::default())
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        let wanted = encoded(&Turn { samples: samples as u32, queries: self.count as u32 });
        let reply = self.client.call(&self.loaded.turn, &wanted, &CallOptions::default());
        let reply = reply.map_err(call_error)?;
        let times = Times::decode(&reply)
            .map_err(|wrong| BenchError::Peer { what: "twin".into(), detail: wrong.to_string() })?;
        slice.push_ticks(times.ticks);
        Ok(())
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.loaded.daemon.borrow_mut().resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.loaded.daemon.borrow_mut().pause()
    }
}

struct Searcher {
    loaded: Rc<Loaded>,
    /// Queries at a time.
    count: usize,
    queries: Queries,
    /// Time in and number of the searches of this run, as the client sees them.
    asked: (Duration, u32),
    /// Sum (ns) and number of the service times that the daemon had sampled when the run began.
    served: (u64, u64),
}

fn search() -> Search {
    Search { ef: EF, ..Search::nearest(K) }
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
        let queries = self.queries.take(BATCH);
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
        if self.count > 1 {
            return slice
                .time(samples, || {
                    loaded.collection.search_batch(self.queries.take(self.count), search())
                })
                .map_err(call_error);
        }
        let start = Instant::now();
        let timed =
            slice.time(samples, || loaded.collection.search(self.queries.take(1), search()));
        self.asked.0 += start.elapsed();
        self.asked.1 += samples as u32;
        timed.map_err(call_error)
    }

    /// The share of a search that is not the engine's: what the client waits less what the daemon, by
    /// its own samples on the board, computes.
    fn scalars(&mut self) -> Vec<(&'static str, f64)> {
        if self.count > 1 {
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

    fn resume(&mut self) -> Result<(), BenchError> {
        self.loaded.daemon.borrow_mut().resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.loaded.daemon.borrow_mut().pause()
    }
}
