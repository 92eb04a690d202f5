//! Searching real rows through the daemon, and the same index in process.
//!
//! 134 196 image patches of 108 dimensions (`python/patches.py`), ef 32, k = 10. In process is inside the
//! daemon's process (`twin`), so both search one index. A sample of the batch cases is one batch.

use std::cell::RefCell;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::rc::{Rc, Weak};

use std::time::Duration;

use ringfence::vectors::{Collection, CollectionHandle, Search};
use ringfence::{CallOptions, Client, Method, Spin};
use ringfence_protocol::api::system::Nothing;
use ringfence_protocol::message::Message;

use super::median;
use super::ringfence::{Daemon, Shared, call_error, client};
use super::twin::{self, Queries, Setup, Times, Turn};
use crate::BenchError;
use crate::harness::{Case, Context, Runner, Slice};
use crate::place::Place;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/patches.py");
const NAME: &str = "patches";
const EF: u32 = 32;
const K: u32 = 10;
const BATCH: usize = 200;

/// Under these names the shares of a search that are not the engine's are reported: through the daemon, and
/// in process, where they are the client's own work.
const BOUNDARY_SHARE: &str = "vectors-boundary-share";
const INPROC_SHARE: &str = "vectors-inproc-share";

/// About 500 searches. Measured: after another case's turn the first fifty take 30 % longer, the next
/// fifty 10 % and the five hundredth 2 %, through the daemon and in process alike, until the index is
/// back in the caches. Whoever came first would pay for whoever comes second.
const WARM_UP: Duration = Duration::from_millis(25);

/// The rows and the queries.
struct Data {
    dim: usize,
    rows: Vec<f32>,
    queries: Vec<f32>,
}

impl Data {
    /// Has the interpreter write them to a file of its own.
    fn load(context: &Context) -> Result<Self, BenchError> {
        let place = Place::new("rows")?;
        let path = place.dir().join("rows.f32");
        let written = Command::new(&context.python).arg(SCRIPT).arg(&path).output()?;
        if !written.status.success() {
            let text = String::from_utf8_lossy(&written.stderr);
            let last = text.lines().last().unwrap_or_default();
            return Err(BenchError::Skipped(format!("no rows: {last}")));
        }
        Self::read(&path)
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
    client: Client,
    collection: CollectionHandle,
    /// Another client of the daemon, whose calls never let go of their core.
    awake: Client,
    turn: Method,
    took: Method,
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
        let setup = client.method(twin::ENGINE, "setup").map_err(call_error)?;
        let turn = client.method(twin::ENGINE, "turn").map_err(call_error)?;
        let took = client.method(twin::ENGINE, "took").map_err(call_error)?;
        let what = Setup { dim: dim as u32, k: K, ef: EF, queries: &queries, collection: NAME };
        client.call(&setup, &encoded(&what), &CallOptions::default()).map_err(call_error)?;
        let loaded =
            Rc::new(Loaded { client, awake, collection, turn, took, dim, queries, daemon });
        *self.0.borrow_mut() = Rc::downgrade(&loaded);
        Ok(loaded)
    }
}

pub(super) fn encoded<'m, M: Message<'m>>(message: &M) -> Vec<u8> {
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
        // It fills the caches for the next, and they for each other, whichever way the round goes.
        case(
            "vectors-search-inproc-awake",
            "the same inside the daemon's process, while the other core spins as a waiting client does",
            1,
            Way::TwinBesideSpinner,
        ),
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
    fn warm_up(&self) -> Option<Duration> {
        Some(WARM_UP)
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let loaded = self.rows.get(context, &self.shared)?;
        let count = self.count;
        Ok(match self.way {
            Way::Daemon => {
                let queries = Queries::new(loaded.dim, loaded.queries.clone());
                Box::new(Searcher { loaded, count, queries, shares: Shares::default() })
            }
            Way::Twin => {
                let (client, share) = (loaded.client.clone(), (count == 1).then_some(INPROC_SHARE));
                Box::new(TwinSearcher { loaded, client, count, shares: Shares::default(), share })
            }
            Way::TwinBesideSpinner => {
                let (client, shares) = (loaded.awake.clone(), Shares::default());
                Box::new(TwinSearcher { loaded, client, count, shares, share: None })
            }
        })
    }
}

/// Has the twin search.
struct TwinSearcher {
    loaded: Rc<Loaded>,
    client: Client,
    count: usize,
    shares: Shares,
    share: Option<&'static str>,
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
        let waited = times(&reply)?;
        slice.push_ticks(&waited);
        self.shares.add(&waited, &self.loaded.took()?);
        Ok(())
    }

    fn scalars(&mut self) -> Vec<(&'static str, f64)> {
        let median = self.shares.median();
        self.share.zip(median).into_iter().collect()
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.loaded.daemon.borrow_mut().resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.loaded.daemon.borrow_mut().pause()
    }
}

/// What share of each search of a run was not the engine's.
#[derive(Default)]
struct Shares(Vec<f64>);

impl Shares {
    /// What the caller waited less what the engine took, call by call.
    fn add(&mut self, waited: &[u64], took: &[u64]) {
        let pairs = waited.iter().zip(took);
        self.0.extend(pairs.map(|(&waited, &took)| 1.0 - took as f64 / waited.max(1) as f64));
    }

    /// That of the median search. (A mean would tell how often the machine ran somebody else.)
    fn median(&mut self) -> Option<f64> {
        median(std::mem::take(&mut self.0))
    }
}

struct Searcher {
    loaded: Rc<Loaded>,
    /// Queries at a time.
    count: usize,
    queries: Queries,
    shares: Shares,
}

fn search() -> Search {
    Search { ef: EF, ..Search::nearest(K) }
}

impl Loaded {
    /// Ticks of the searches since this was last asked, by the engine's clock.
    fn took(&self) -> Result<Vec<u64>, BenchError> {
        let reply = self.client.call(&self.took, &encoded(&Nothing {}), &CallOptions::default());
        times(&reply.map_err(call_error)?)
    }
}

fn times(reply: &[u8]) -> Result<Vec<u64>, BenchError> {
    let times = Times::decode(reply)
        .map_err(|wrong| BenchError::Peer { what: "twin".into(), detail: wrong.to_string() })?;
    Ok(times.ticks.to_vec())
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
        loaded.took()?;
        let before = slice.ticks().len();
        slice
            .time(samples, || loaded.collection.search(self.queries.take(1), search()))
            .map_err(call_error)?;
        self.shares.add(&slice.ticks()[before..], &loaded.took()?);
        Ok(())
    }

    fn scalars(&mut self) -> Vec<(&'static str, f64)> {
        self.shares.median().map(|share| (BOUNDARY_SHARE, share)).into_iter().collect()
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.loaded.daemon.borrow_mut().resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.loaded.daemon.borrow_mut().pause()
    }
}
