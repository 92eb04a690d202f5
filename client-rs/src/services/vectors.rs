//! The vectors engine, typed: collections of f32 vectors with u64 ids, and their nearest neighbours.
//!
//! ```
//! use ringfence::vectors::{Collection, Metric};
//!
//! let client = ringfence::doctest_client();
//! let docs = client.vectors().create("docs", &Collection::new(2).metric(Metric::L2))?;
//! docs.add(&[7, 8], &[0.0, 0.0, 3.0, 4.0])?;
//! let hits = docs.search(&[3.0, 3.0], 1)?;
//! assert_eq!((hits.ids, hits.distances), (vec![8], vec![1.0]));
//! # Ok::<(), ringfence::Error>(())
//! ```
//!
//! Every call is all or nothing, [`CollectionHandle::add`] of a million rows too; only
//! [`CollectionHandle::add_in_parts`] is several calls.

mod handle;
mod types;

use std::sync::Arc;

use ringfence_protocol::api::vectors as api;
pub use ringfence_protocol::api::vectors::Metric;
use ringfence_protocol::message::Message;

use crate::client::{Called, Client};
use crate::error::Error;
use crate::method::Method;
use crate::options::CallOptions;
use crate::reply::{Reply, Through};

pub use handle::CollectionHandle;
pub use types::{Added, BatchHits, Collection, CollectionStats, Hits, Loaded, Rows, Saved, Search};

/// The engine's methods, resolved once for all handles of a client.
#[derive(Debug)]
pub(crate) struct Methods {
    create: Method,
    drop: Method,
    list: Method,
    add: Method,
    get: Method,
    delete: Method,
    search: Method,
    search_batch: Method,
    count: Method,
    stats: Method,
    save: Method,
    load: Method,
}

impl Default for Methods {
    fn default() -> Self {
        let method = |name| Method::unresolved(api::NAME, name);
        Self {
            create: method("create"),
            drop: method("drop"),
            list: method("list"),
            add: method("add"),
            get: method("get"),
            delete: method("delete"),
            search: method("search"),
            search_batch: method("search_batch"),
            count: method("count"),
            stats: method("stats"),
            save: method("save"),
            load: method("load"),
        }
    }
}

/// The vectors engine of a client. From [`Client::vectors`].
///
/// ```
/// use ringfence::vectors::Collection;
/// let vectors = ringfence::doctest_client().vectors();
/// vectors.create("a", &Collection::new(3))?;
/// assert_eq!(vectors.list()?, ["a"]);
/// vectors.drop("a")?;
/// assert!(vectors.list()?.is_empty());
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Vectors {
    client: Client,
    methods: Arc<Methods>,
    options: CallOptions,
}

impl Vectors {
    pub(crate) fn new(client: Client, methods: Arc<Methods>) -> Self {
        Self { client, methods, options: CallOptions::default() }
    }

    /// The same, with these options for its calls.
    ///
    /// ```
    /// use ringfence::CallOptions;
    /// use std::time::Duration;
    /// let quick = CallOptions { timeout: Duration::from_secs(1).into(), ..CallOptions::default() };
    /// ringfence::doctest_client().vectors().with(quick).list()?;
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[must_use]
    pub fn with(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    /// Makes a collection.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidArgument` with the limits, or as every call.
    ///
    /// ```
    /// use ringfence::{ErrorCode, vectors::Collection};
    /// let vectors = ringfence::doctest_client().vectors();
    /// vectors.create("docs", &Collection::new(3))?;
    /// let twice = vectors.create("docs", &Collection::new(3)).unwrap_err();
    /// assert_eq!(twice.code(), ErrorCode::AlreadyExists);
    /// vectors.create("docs", &Collection::new(3).exist_ok())?;
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn create(&self, name: &str, collection: &Collection) -> Result<CollectionHandle, Error> {
        let Collection { dim, metric, exist_ok, connectivity, ef_add, ef_search } = *collection;
        let metric = metric as u8;
        let request = api::Create { dim, metric, exist_ok, connectivity, ef_add, ef_search, name };
        self.call(&self.methods.create, &request)?;
        Ok(self.get(name))
    }

    /// A handle to a collection that exists.
    ///
    /// # Errors
    /// `UnknownCollection`, or as every call.
    ///
    /// ```
    /// use ringfence::ErrorCode;
    /// let missing = ringfence::doctest_client().vectors().open("no such").unwrap_err();
    /// assert_eq!(missing.code(), ErrorCode::UnknownCollection);
    /// ```
    pub fn open(&self, name: &str) -> Result<CollectionHandle, Error> {
        let handle = self.get(name);
        handle.count()?;
        Ok(handle)
    }

    /// A handle, without asking whether the collection exists.
    ///
    /// ```
    /// let docs = ringfence::doctest_client().vectors().get("docs");
    /// assert_eq!(docs.name(), "docs");
    /// ```
    #[must_use]
    pub fn get(&self, name: &str) -> CollectionHandle {
        CollectionHandle { vectors: self.clone(), name: name.into() }
    }

    /// Removes a collection with all its rows.
    ///
    /// # Errors
    /// `UnknownCollection`, or as every call.
    pub fn drop(&self, name: &str) -> Result<(), Error> {
        self.call(&self.methods.drop, &api::Collection { collection: name }).map(std::mem::drop)
    }

    /// Makes a collection from the file that [`CollectionHandle::save`] wrote under its name, perhaps
    /// in an earlier daemon. One that exists under this name is replaced if `replace` says so, else
    /// it is an error; whoever searches it meanwhile finds the old rows or the new ones.
    ///
    /// # Errors
    /// `FileNotFound`, `AlreadyExists`, `Io` (no state directory, a damaged file), `OutOfMemory`, or
    /// as every call.
    ///
    /// ```
    /// let missing = ringfence::doctest_client().vectors().load("docs", false).unwrap_err();
    /// assert!(missing.to_string().contains("RINGFENCE_STATE_DIR"));
    /// ```
    pub fn load(&self, name: &str, replace: bool) -> Result<Loaded, Error> {
        let reply = self.call(&self.methods.load, &api::Load { replace, collection: name })?;
        let api::Loaded { rows, bytes, dim, metric } = Message::decode(&reply)?;
        Ok(Loaded { collection: self.get(name), rows, bytes, dim, metric: metric_of(metric)? })
    }

    /// The names of all collections, sorted.
    ///
    /// # Errors
    /// As every call.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let nothing = ringfence_protocol::api::system::Nothing {};
        let reply = self.call(&self.methods.list, &nothing)?;
        let names = api::Names::decode(&reply)?.names;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Writes a collection to its file: as [`CollectionHandle::save`].
    fn save(&self, name: &str) -> Result<Saved, Error> {
        let reply = self.call(&self.methods.save, &api::Collection { collection: name })?;
        let api::Saved { rows, bytes } = Message::decode(&reply)?;
        Ok(Saved { rows, bytes })
    }

    fn call<'m, M: Message<'m>>(&self, method: &Method, request: &M) -> Result<Reply, Error> {
        self.client.call(method, &encoded(request), &self.options)
    }

    /// As [`call`](Self::call), and hands the reply to `take` where it lies, if it comes soon: no buffer is filled, moved
    /// and emptied between the answer and its caller.
    fn call_through<'m, M: Message<'m>, T>(
        &self,
        method: &Method,
        request: &M,
        take: impl Fn(&[u8]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (client, options, payload) = (&self.client, &self.options, encoded(request));
        let reply = match client.start(method, &payload, options, Through(&take), true) {
            Ok(Called::Done(taken)) => return taken,
            Ok(Called::Pending(pending)) => client.wait(pending),
            Err(error) => Err(error),
        };
        take(&reply.or_else(|error| client.recover(error, method, &payload, options))?)
    }
}

fn encoded<'m, M: Message<'m>>(request: &M) -> Vec<u8> {
    // Room for a query. The C library has buffers of up to 1 032 bytes at hand, and looks for longer ones.
    let mut payload = Vec::with_capacity(1024);
    request.encode(&mut payload);
    payload
}

fn metric_of(number: u8) -> Result<Metric, Error> {
    Metric::from_u8(number).ok_or_else(|| Error::Protocol {
        what: format!("metric {number}, which this library does not know"),
    })
}
