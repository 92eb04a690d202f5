//! [`CollectionHandle`]: the calls on one collection.

use std::sync::Arc;

use ringfence_protocol::api::vectors as api;
use ringfence_protocol::message::Message;

use super::{Added, BatchHits, CollectionStats, Hits, Rows, Saved, Search, Vectors, metric_of};
use crate::error::Error;
use crate::options::CallOptions;

/// Bytes of rows that one call of [`CollectionHandle::add_in_parts`] carries.
const PART_BYTES: usize = 16 << 20;

/// A collection of a client. Cheap to clone; any thread may use it.
///
/// ```
/// use ringfence::vectors::Collection;
/// let docs = ringfence::doctest_client().vectors().create("docs", &Collection::new(1))?;
/// docs.add(&[1, 2, 3], &[0.1, 0.2, 0.3])?;
/// assert_eq!(docs.count()?, 3);
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CollectionHandle {
    pub(super) vectors: Vectors,
    pub(super) name: Arc<str>,
}

impl CollectionHandle {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same, with these options for its calls.
    #[must_use]
    pub fn with(mut self, options: CallOptions) -> Self {
        self.vectors.options = options;
        self
    }

    /// Adds rows, all or none: `rows` holds one vector an id, one after the other. An id that exists
    /// is an error.
    ///
    /// # Errors
    /// `AlreadyExists`, `WrongDimension`, `NotFinite`, `TooLarge` (then split it), or as every call.
    ///
    /// ```
    /// use ringfence::{ErrorCode, vectors::Collection};
    /// let docs = ringfence::doctest_client().vectors().create("docs", &Collection::new(2))?;
    /// assert_eq!(docs.add(&[1], &[0.5, 0.5])?.added, 1);
    /// let none = docs.add(&[2, 3], &[0.5, 0.5, 0.5]).unwrap_err();
    /// assert_eq!(none.code(), ErrorCode::WrongDimension);
    /// assert_eq!(docs.count()?, 1);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn add(&self, ids: &[u64], rows: &[f32]) -> Result<Added, Error> {
        self.put(false, ids, rows)
    }

    /// Adds rows, all or none, and replaces those whose id exists.
    ///
    /// # Errors
    /// As [`add`](Self::add), but not for ids that exist.
    ///
    /// ```
    /// use ringfence::vectors::{Added, Collection};
    /// let docs = ringfence::doctest_client().vectors().create("docs", &Collection::new(1))?;
    /// docs.upsert(&[1], &[0.5])?;
    /// assert_eq!(docs.upsert(&[1, 2], &[0.7, 0.9])?, Added { added: 1, updated: 1 });
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn upsert(&self, ids: &[u64], rows: &[f32]) -> Result<Added, Error> {
        self.put(true, ids, rows)
    }

    /// As [`add`](Self::add) or (`upsert`) [`upsert`](Self::upsert), in calls of about 16 MiB: each
    /// of them is all or none, the whole is not.
    ///
    /// # Errors
    /// As these; what was added before stays.
    ///
    /// ```
    /// use ringfence::vectors::Collection;
    /// let docs = ringfence::doctest_client().vectors().create("docs", &Collection::new(1))?;
    /// let (ids, rows): (Vec<u64>, Vec<f32>) = (0..1000).map(|n| (n, n as f32)).unzip();
    /// assert_eq!(docs.add_in_parts(false, &ids, &rows)?.added, 1000);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn add_in_parts(&self, upsert: bool, ids: &[u64], rows: &[f32]) -> Result<Added, Error> {
        let dim = if ids.is_empty() { 0 } else { rows.len() / ids.len() };
        if dim == 0 || dim * ids.len() != rows.len() {
            return self.put(upsert, ids, rows);
        }
        let part = (PART_BYTES / (dim * 4 + 8)).max(1);
        let mut sum = Added::default();
        for (ids, rows) in ids.chunks(part).zip(rows.chunks(part * dim)) {
            let Added { added, updated } = self.put(upsert, ids, rows)?;
            sum = Added { added: sum.added + added, updated: sum.updated + updated };
        }
        Ok(sum)
    }

    fn put(&self, upsert: bool, ids: &[u64], rows: &[f32]) -> Result<Added, Error> {
        let request = api::Add { upsert, collection: &self.name, ids, rows };
        let reply = self.vectors.call(&self.vectors.methods.add, &request)?;
        let api::Added { added, updated } = Message::decode(&reply)?;
        Ok(Added { added, updated })
    }

    /// Rows as they were put in.
    ///
    /// # Errors
    /// `UnknownCollection`, or as every call.
    ///
    /// ```
    /// use ringfence::vectors::Collection;
    /// let docs = ringfence::doctest_client().vectors().create("docs", &Collection::new(1))?;
    /// docs.add(&[5], &[0.5])?;
    /// let got = docs.get(&[5, 6])?;
    /// assert_eq!((got.found, got.rows), (vec![true, false], vec![0.5]));
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn get(&self, ids: &[u64]) -> Result<Rows, Error> {
        let request = api::Ids { collection: &self.name, ids };
        let reply = self.vectors.call(&self.vectors.methods.get, &request)?;
        let api::Rows { dim, found, rows } = Message::decode(&reply)?;
        let found = found.iter().map(|byte| *byte != 0).collect();
        Ok(Rows { dim, found, rows: rows.to_vec() })
    }

    /// Deletes rows; ids that do not exist are skipped. How many did.
    ///
    /// # Errors
    /// `UnknownCollection`, or as every call.
    ///
    /// ```
    /// use ringfence::vectors::Collection;
    /// let docs = ringfence::doctest_client().vectors().create("docs", &Collection::new(1))?;
    /// docs.add(&[5], &[0.5])?;
    /// assert_eq!(docs.delete(&[5, 6])?, 1);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn delete(&self, ids: &[u64]) -> Result<u64, Error> {
        let request = api::Ids { collection: &self.name, ids };
        let reply = self.vectors.call(&self.vectors.methods.delete, &request)?;
        Ok(api::Count::decode(&reply)?.count)
    }

    /// Finds the nearest rows of a vector: how many, or a [`Search`].
    ///
    /// # Errors
    /// `WrongDimension`, `NotFinite`, `UnknownCollection`, or as every call.
    ///
    /// ```
    /// use ringfence::vectors::{Collection, Search};
    /// let docs = ringfence::doctest_client().vectors().create("docs", &Collection::new(1))?;
    /// docs.add(&[1, 2, 3], &[0.0, 1.0, 5.0])?;
    /// assert_eq!(docs.search(&[4.0], 2)?.ids, [3, 2]);
    /// assert_eq!(docs.search(&[4.0], Search { exact: true, ..2.into() })?.ids, [3, 2]);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn search(&self, query: &[f32], search: impl Into<Search>) -> Result<Hits, Error> {
        let Search { k, ef, exact } = search.into();
        let request = api::Search { k, ef, exact, collection: &self.name, query };
        self.vectors.call_through(&self.vectors.methods.search, &request, |reply| {
            let api::Hits { visited, ids, distances } = Message::decode(reply)?;
            Ok(Hits { ids: ids.to_vec(), distances: distances.to_vec(), visited })
        })
    }

    /// Finds the nearest rows of many vectors, which stand one after the other.
    ///
    /// # Errors
    /// As [`search`](Self::search).
    ///
    /// ```
    /// use ringfence::vectors::Collection;
    /// let docs = ringfence::doctest_client().vectors().create("docs", &Collection::new(1))?;
    /// docs.add(&[1, 2, 3], &[0.0, 1.0, 5.0])?;
    /// let hits = docs.search_batch(&[0.1, 4.9], 1)?;
    /// assert_eq!((hits.counts, hits.ids), (vec![1, 1], vec![1, 3]));
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn search_batch(
        &self,
        queries: &[f32],
        search: impl Into<Search>,
    ) -> Result<BatchHits, Error> {
        let Search { k, ef, exact } = search.into();
        let request = api::SearchBatch { k, ef, exact, collection: &self.name, queries };
        let reply = self.vectors.call(&self.vectors.methods.search_batch, &request)?;
        let api::BatchHits { visited, counts, ids, distances } = Message::decode(&reply)?;
        let (ids, distances) = (ids.to_vec(), distances.to_vec());
        Ok(BatchHits { counts: counts.to_vec(), ids, distances, visited })
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// `UnknownCollection`, or as every call.
    pub fn count(&self) -> Result<u64, Error> {
        let request = api::Collection { collection: &self.name };
        let reply = self.vectors.call(&self.vectors.methods.count, &request)?;
        Ok(api::Count::decode(&reply)?.count)
    }

    /// Writes the collection, as it is at one moment, to the file of its name in the daemon's state
    /// directory, in place of the one before: as a whole, or not at all. [`Vectors::load`] reads it.
    ///
    /// # Errors
    /// `Io` (no state directory is configured, the disk is full), `UnknownCollection`, or as every
    /// call.
    ///
    /// ```
    /// use ringfence::vectors::Collection;
    /// let docs = ringfence::doctest_client().vectors().create("docs", &Collection::new(1))?;
    /// let nowhere = docs.save().unwrap_err();
    /// assert!(nowhere.to_string().contains("RINGFENCE_STATE_DIR"));
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn save(&self) -> Result<Saved, Error> {
        self.vectors.save(&self.name)
    }

    /// The collection and what was done with it.
    ///
    /// # Errors
    /// `UnknownCollection`, or as every call.
    ///
    /// ```
    /// use ringfence::vectors::{Collection, Metric};
    /// let options = Collection::new(3).metric(Metric::Dot);
    /// let docs = ringfence::doctest_client().vectors().create("docs", &options)?;
    /// let stats = docs.stats()?;
    /// assert_eq!((stats.dim, stats.metric, stats.count), (3, Metric::Dot, 0));
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn stats(&self) -> Result<CollectionStats, Error> {
        let request = api::Collection { collection: &self.name };
        let reply = self.vectors.call(&self.vectors.methods.stats, &request)?;
        let stats = api::CollectionStats::decode(&reply)?;
        let metric = metric_of(stats.metric)?;
        Ok(CollectionStats {
            count: stats.count,
            dim: stats.dim,
            metric,
            connectivity: stats.connectivity,
            ef_add: stats.ef_add,
            ef_search: stats.ef_search,
            capacity: stats.capacity,
            memory_bytes: stats.memory_bytes,
            searches: stats.searches,
            visited: stats.visited,
            exact_searches: stats.exact_searches,
            added: stats.added,
            deleted: stats.deleted,
        })
    }
}
