//! The `vectors` engine: named collections of f32 vectors with u64 ids, and their nearest
//! neighbours, by graph or exactly.
//!
//! # What it promises
//!
//! * **Rows come back as they were put in**, bit for bit.
//! * **Distances are those of float64 arithmetic**, rounded to float32 once. Candidates are found
//!   in float32; the best are measured again in float64 and sorted by distance, then id. A graph
//!   search, an exact one and a batch give the same number for the same row.
//! * **`add` is all or none**, also for those who search meanwhile: a batch is linked hidden and
//!   shown in one moment. Searches wait for one row of it at a time, not for the batch.
//! * **`visited` is never flattering**: exact searches count every row, others give an upper
//!   estimate (`index` says how).
//! * **`k` rows come back if `k` exist.** Where the graph finds fewer, or there are more tombstones
//!   than rows, the search looks at every row.
//! * **Recall is kept under change.** Deleted and replaced rows stay in the graph as stepping
//!   stones; when they are more than 3/10 of the rows left, that change and the ones after it build
//!   the graph anew, piece by piece, while searches go on in the old one.
//!
//! * **A save is the collection at one moment**, between two changes, and replaces the file of the
//!   one before as a whole or not at all. Loaded again it answers with the same ids and distances.
//!
//! What it does not do: save by itself, filter, keep metadata, split a search over threads. It
//! starts no thread; each call runs on its caller's, so concurrency is the number of callers.
//!
//! # Rooms
//!
//! `validate` checks requests before anything changes, `refusal` words what is wrong, `limits` has
//! the bounds, `memory` the account. `collection` reads and `change` writes: together they own the
//! locks. `table` holds rows and ids, `index` is the door to usearch, whose graph keeps a copy of
//! each row of its own. `saving` writes and reads files: `store` is their directory, `image` what is
//! in one, `stream` checks the graph in it before usearch sees it. `measure` computes distances,
//! `scan` looks at every row, `cost` estimates.
//!
//! # Defaults, measured
//!
//! 134 196 image patches of 108 dimensions (6 x 6 x 3, every second position of two photographs),
//! 1000 queries from the positions between, k = 10, one thread of a shared AMD EPYC with twice as
//! much to do as it has cores; recall by distance. Reproduce with
//! `examples/vectors_latency.rs`.
//!
//! | `l2`, ef | 16 | 32 | 48 | 64 (default) | 128 |
//! | --- | --- | --- | --- | --- | --- |
//! | recall@10 | 0.923 | 0.951 | 0.964 | 0.971 | 0.983 |
//! | visited, counted | 217 | 301 | | 438 | |
//! | `visited`, as told | 431 | 575 | 710 | 820 | 1259 |
//! | p50, us | 37 | 53 | 67 | 79 | 124 |
//!
//! `cosine` is harder (plain patches all have one direction): 0.914 at 64. `dot` stays at 0.981
//! whatever ef, and about 0.89 when the patches are centred: a product is no distance, and rows
//! that are nobody's nearest are badly connected. Where `dot` must not miss, search exactly.
//!
//! Known weakness: of dozens of rows that are all the same, deleted and added again under other ids
//! a few times, a graph search may miss some until the next rebuild.

mod change;
mod collection;
mod cost;
mod image;
mod index;
mod limits;
mod measure;
mod memory;
mod refusal;
mod saving;
mod scan;
mod store;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use ringfence_protocol::api::system::Nothing;
use ringfence_protocol::api::vectors as api;
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::limits::PAYLOAD_BYTES;
use ringfence_protocol::message::Message;
use ringfence_protocol::schema::EngineSchema;

use self::collection::{Answers, Collection, How};
pub use self::limits::Limits;
use self::memory::Meter;
use self::refusal::{Refusal, Which};
use self::store::Store;
use self::validate::{Shape, check_name};
use crate::engine::{Call, Cost, Engine, decode};

/// Names of existing collections that an error lists.
const NAMES_IN_ERROR: usize = 8;

type Collections = BTreeMap<String, Arc<Collection>>;

/// The engine.
#[derive(Debug)]
pub struct Vectors {
    collections: RwLock<Collections>,
    /// Where collections are saved; nowhere if nobody said.
    store: Option<Store>,
    /// Held by whoever writes or reads a file.
    files: Mutex<()>,
    meter: Arc<Meter>,
    limits: Limits,
}

impl Vectors {
    /// An engine without collections.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let meter = Arc::new(Meter::new(limits.memory_bytes));
        let (store, files) = (None, Mutex::default());
        Self { collections: RwLock::default(), store, files, meter, limits }
    }

    /// The same, which saves collections in this directory, made when it is needed.
    #[must_use]
    pub fn saved_in(mut self, dir: PathBuf) -> Self {
        self.store = Some(Store::new(dir, self.limits.files));
        self
    }

    #[inline]
    fn find(&self, name: &str) -> Result<Arc<Collection>, Refusal> {
        match self.collections.read().get(name) {
            Some(collection) => Ok(Arc::clone(collection)),
            None => Err(self.unknown(name)),
        }
    }

    #[cold]
    fn unknown(&self, name: &str) -> Refusal {
        let name = name.chars().take(limits::NAME_BYTES).collect();
        let collections = self.collections.read();
        let shown: Vec<&str> =
            collections.keys().take(NAMES_IN_ERROR).map(String::as_str).collect();
        let existing = match (shown.len(), collections.len()) {
            (0, _) => "there are none yet: create it".to_owned(),
            (few, all) if few == all => format!("there are {}", shown.join(", ")),
            (few, all) => format!("there are {} and {} more", shown.join(", "), all - few),
        };
        Refusal::Unknown { name, existing }
    }

    fn create(&self, create: &api::Create<'_>) -> Result<(), Error> {
        check_name(create.name)?;
        let shape = Shape::of(create)?;
        let mut collections = self.collections.write();
        if let Some(existing) = collections.get(create.name) {
            return Ok(existing.shape.check_same(&shape, create)?);
        }
        let count = collections.len();
        if count >= self.limits.collections && is_armed("vectors.collections") {
            return Err(Refusal::TooManyCollections { count }.into());
        }
        let collection = Collection::new(shape, Arc::clone(&self.meter))?;
        collections.insert(create.name.to_owned(), Arc::new(collection));
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Refusal> {
        // Its memory is given back, outside the lock, when the last call in it ends.
        let removed = self.collections.write().remove(name);
        removed.map(drop).ok_or_else(|| self.unknown(name))
    }

    fn list(&self, call: &mut Call<'_>) {
        let names: Vec<String> = self.collections.read().keys().cloned().collect();
        call.reply(&api::Names { names: &names.join("\n") });
    }

    fn get(&self, call: &mut Call<'_>) -> Result<(), Error> {
        let api::Ids { collection, ids } = call.request()?;
        let collection = self.find(collection)?;
        let dim = collection.shape.dim;
        check_reply(ids.len(), 1 + dim * size_of::<f32>())?;
        let (mut found, mut rows) = (Vec::with_capacity(ids.len()), Vec::new());
        collection.get(ids, &mut found, &mut rows);
        call.reply(&api::Rows { dim: dim as u32, found: &found, rows: &rows });
        Ok(())
    }

    fn search(&self, call: &mut Call<'_>) -> Result<(), Error> {
        let request: api::Search<'_> = call.request()?;
        let collection = self.find(request.collection)?;
        let shape = &collection.shape;
        let width = shape.beam_width(request.k, request.ef)?;
        shape.check_vector(request.query, Which::Query)?;
        let how = How { k: request.k as usize, width, exact: request.exact };
        call.check()?;
        let mut answers = Answers::default();
        collection.search(request.query, how, call, &mut answers)?;
        let Answers { visited, ids, distances, .. } = &answers;
        call.reply(&api::Hits { visited: *visited, ids, distances });
        Ok(())
    }

    fn search_batch(&self, call: &mut Call<'_>) -> Result<(), Error> {
        let request: api::SearchBatch<'_> = call.request()?;
        let collection = self.find(request.collection)?;
        let shape = &collection.shape;
        let width = shape.beam_width(request.k, request.ef)?;
        shape.check_queries(request.queries)?;
        let how = How { k: request.k as usize, width, exact: request.exact };
        let hits = how.k.min(collection.count() as usize);
        let queries = request.queries.chunks_exact(shape.dim);
        check_reply(
            queries.len(),
            size_of::<u32>() + hits * (size_of::<u64>() + size_of::<f32>()),
        )?;
        let mut answers = Answers::default();
        for (done, query) in queries.enumerate() {
            call.check()?;
            collection.search(query, how, call, &mut answers)?;
            call.progress(done as u64 + 1);
        }
        let Answers { visited, counts, ids, distances } = &answers;
        call.reply(&api::BatchHits { visited: *visited, counts, ids, distances });
        Ok(())
    }

    /// An estimate, if the request can be read and its collection exists; an error costs nothing.
    fn estimate<'r, M: Message<'r>>(
        &self,
        request: &'r [u8],
        name: impl Fn(&M) -> &'r str,
        micros: impl Fn(&M, &Collection) -> u32,
    ) -> Cost {
        let Ok(request) = decode::<M>(request) else { return Cost::LIGHT };
        match self.collections.read().get(name(&request)) {
            Some(collection) => Cost::micros(micros(&request, collection)),
            None => Cost::LIGHT,
        }
    }
}

impl Engine for Vectors {
    fn schema(&self) -> EngineSchema {
        api::schema()
    }

    fn cost(&self, op: u16, request: &[u8]) -> Cost {
        let width = |ef: u32, k: u32, here: &Collection| match ef {
            0 => here.shape.ef_search.max(k as usize),
            _ => ef.max(k) as usize,
        };
        match op {
            api::ADD => self.estimate(
                request,
                |add: &api::Add<'_>| add.collection,
                |add, here| here.add_micros(add.ids.len(), add.upsert),
            ),
            api::GET => self.estimate(
                request,
                |ids: &api::Ids<'_>| ids.collection,
                |ids, here| here.get_micros(ids.ids.len()),
            ),
            api::DELETE => self.estimate(
                request,
                |ids: &api::Ids<'_>| ids.collection,
                |ids, here| here.delete_micros(ids.ids.len()),
            ),
            api::SEARCH => self.estimate(
                request,
                |one: &api::Search<'_>| one.collection,
                |one, here| here.search_micros(1, width(one.ef, one.k, here), one.exact),
            ),
            api::SEARCH_BATCH => self.estimate(
                request,
                |many: &api::SearchBatch<'_>| many.collection,
                |many, here| {
                    let queries = many.queries.len() / here.shape.dim;
                    here.search_micros(queries, width(many.ef, many.k, here), many.exact)
                },
            ),
            // Giving a large collection's memory back takes milliseconds.
            api::DROP => self.estimate(
                request,
                |name: &api::Collection<'_>| name.collection,
                |_, here| u32::try_from(here.count() / 100).unwrap_or(u32::MAX),
            ),
            api::SAVE => self.estimate(
                request,
                |name: &api::Collection<'_>| name.collection,
                |_, here| saving::file_micros(here.image_bytes()),
            ),
            api::LOAD => Cost::micros(saving::file_micros(0)),
            _ => Cost::LIGHT,
        }
    }

    fn call(&self, op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        match op {
            api::CREATE => {
                self.create(&call.request()?)?;
                call.reply(&Nothing {});
            }
            api::DROP => {
                let api::Collection { collection } = call.request()?;
                self.remove(collection)?;
                call.reply(&Nothing {});
            }
            api::LIST => {
                let Nothing {} = call.request()?;
                self.list(call);
            }
            api::ADD => {
                let add: api::Add<'_> = call.request()?;
                let collection = self.find(add.collection)?;
                let added = collection.add(&add, call)?;
                call.reply(&added);
            }
            api::GET => self.get(call)?,
            api::DELETE => {
                let api::Ids { collection, ids } = call.request()?;
                let collection = self.find(collection)?;
                let count = collection.delete(ids, call)?;
                call.reply(&api::Count { count });
            }
            api::SEARCH => self.search(call)?,
            api::SEARCH_BATCH => self.search_batch(call)?,
            api::COUNT => {
                let api::Collection { collection } = call.request()?;
                call.reply(&api::Count { count: self.find(collection)?.count() });
            }
            api::STATS => {
                let api::Collection { collection } = call.request()?;
                call.reply(&self.find(collection)?.stats());
            }
            api::SAVE => {
                let api::Collection { collection } = call.request()?;
                let saved = self.save(collection, call)?;
                call.reply(&saved);
            }
            api::LOAD => {
                let loaded = self.load(&call.request()?, call)?;
                call.reply(&loaded);
            }
            _ => {
                let text = format!("vectors has no method {op}");
                return Err(Error::new(ErrorCode::UnknownMethod, text));
            }
        }
        Ok(())
    }
}

/// Does a reply of `items` items fit into one payload?
fn check_reply(items: usize, item_bytes: usize) -> Result<(), Refusal> {
    match items.checked_mul(item_bytes) {
        Some(bytes) if bytes <= PAYLOAD_BYTES || !is_armed("vectors.reply") => Ok(()),
        _ => Err(Refusal::Reply { items, item_bytes, most: PAYLOAD_BYTES }),
    }
}
