//! Collections to files and back.
//!
//! A save copies the collection into memory while other changes of it wait, which takes about as
//! long as reading it once; searches go on, and changes too as soon as the file is being written.
//! The copy counts as memory but is not refused: whoever is at the limit must be able to save.
//! One file is written or read at a time in an engine, so that there is one such copy.
//!
//! A loaded collection answers as the saved one did, from the same graph. Its counters start at 0.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;
use ringfence_protocol::api::vectors as api;
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::Error;

use super::collection::{Collection, State};
use super::image::{Damage, Header, Image, ReadError};
use super::index::Index;
use super::memory::Meter;
use super::refusal::{Refusal, Which};
use super::store::{Store, failed, shown};
use super::stream::Stream;
use super::table::{HIDDEN, Table};
use super::validate::check_name;
use super::{Vectors, limits};
use crate::engine::Call;

/// Rows of a file that are put in place between two looks at the deadline.
const STRETCH: usize = 4096;

/// Why a file was not written.
enum WriteError {
    Io(io::Error),
    Other(Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Refusal> for WriteError {
    fn from(refusal: Refusal) -> Self {
        Self::Other(refusal.into())
    }
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Vectors {
    pub(super) fn save(&self, name: &str, call: &Call<'_>) -> Result<api::Saved, Error> {
        let store = self.store()?;
        let collection = self.find(name)?;
        let _turn = self.wait_for_files(call)?;
        let _lent = self.meter.lend(collection.image_bytes());
        let image = collection.image(call)?;
        let between = |done| {
            call.progress(done);
            Ok(call.check()?)
        };
        let written = store.write(name, |out| image.write::<WriteError>(out, between));
        match written {
            Ok(()) => Ok(api::Saved { rows: image.shown, bytes: image.bytes() }),
            Err(WriteError::Other(error)) => Err(error),
            Err(WriteError::Io(error)) => Err(failed("writing", &store.path(name), &error).into()),
        }
    }

    pub(super) fn load(&self, load: &api::Load<'_>, call: &Call<'_>) -> Result<api::Loaded, Error> {
        let name = load.collection;
        check_name(name)?;
        let store = self.store()?;
        self.check_place(load, &self.collections.read())?;
        let _turn = self.wait_for_files(call)?;
        let (file, bytes) = store.open(name)?;
        let limit = self.meter.limit();
        let path = || shown(&store.path(name));
        if bytes > limit && is_armed("vectors.file-bytes") {
            return Err(Refusal::FileTooLarge { path: path(), bytes, limit }.into());
        }
        let _lent = self.meter.lend(bytes);
        let collection = read(file, bytes, &self.meter, call).map_err(|error| match error {
            ReadError::Stopped(error) => error,
            ReadError::NoMemory(rows) => Refusal::Allocation { rows }.into(),
            ReadError::Damaged(damage) => {
                Refusal::Damaged { path: path(), what: damage.to_string() }.into()
            }
            ReadError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let what = "it became shorter while it was read".to_owned();
                Refusal::Damaged { path: path(), what }.into()
            }
            ReadError::Io(error) => failed("reading", &store.path(name), &error).into(),
        })?;
        let shape = collection.shape;
        let rows = collection.count();
        let replaced = {
            let mut collections = self.collections.write();
            self.check_place(load, &collections)?;
            collections.insert(name.to_owned(), Arc::new(collection))
        };
        // Giving a large one back takes milliseconds: not under the lock.
        drop(replaced);
        Ok(api::Loaded { rows, bytes, dim: shape.dim as u32, metric: shape.metric as u8 })
    }

    fn store(&self) -> Result<&Store, Refusal> {
        self.store.as_ref().ok_or(Refusal::NoStateDir)
    }

    /// May the collection come into being?
    fn check_place(&self, load: &api::Load<'_>, now: &super::Collections) -> Result<(), Refusal> {
        let (name, count) = (load.collection, now.len());
        match now.contains_key(name) {
            true if load.replace => Ok(()),
            true => Err(Refusal::InPlace { name: name.to_owned() }),
            false if count >= self.limits.collections => Err(Refusal::TooManyCollections { count }),
            false => Ok(()),
        }
    }

    /// Waits until no other file is written or read, or the call should end.
    fn wait_for_files(&self, call: &Call<'_>) -> Result<MutexGuard<'_, ()>, Error> {
        loop {
            call.check()?;
            if let Some(turn) = self.files.try_lock_for(Duration::from_millis(1)) {
                return Ok(turn);
            }
        }
    }
}

impl Collection {
    /// About how many bytes an image has.
    pub(super) fn image_bytes(&self) -> u64 {
        let shape = &self.shape;
        let row = shape.dim * size_of::<f32>() + (2 * shape.connectivity + 8) * size_of::<u32>();
        self.rows() as u64 * row as u64
    }

    /// The collection as it is between two changes.
    fn image(&self, call: &Call<'_>) -> Result<Image, Error> {
        let _turn = self.wait_for_turn(call)?;
        let state = self.state.read();
        let graph = state.index.to_bytes()?;
        // Rows that never got into the graph are nobody's.
        let rows = if graph.is_empty() { 0 } else { state.table.len() };
        let mut ids = Vec::new();
        ids.try_reserve_exact(rows).map_err(|_| Refusal::Allocation { rows })?;
        ids.extend((0..rows as u32).map(|row| state.table.id(row)));
        Ok(Image { shape: self.shape, shown: state.table.shown() as u64, ids, graph })
    }
}

fn read(
    mut file: File,
    bytes: u64,
    meter: &Arc<Meter>,
    call: &Call<'_>,
) -> Result<Collection, ReadError<Error>> {
    let (header, shape) = Header::read(&mut file, bytes)??;
    let between = |done| {
        call.progress(done);
        call.check()
    };
    let image = Image::read(&mut file, &header, shape, between)?;
    let stream = Stream::check(&image.graph, &shape, image.ids.len())?;
    let stopped = ReadError::Stopped;
    let collection = Collection::new(shape, Arc::clone(meter)).map_err(stopped)?;
    let rows = image.ids.len();
    let aside = meter.set_aside(collection.bytes_of(rows), rows);
    let _aside = aside.map_err(|refusal| stopped(refusal.into()))?;
    let (table, places) = rows_of(&image, &stream, call)?;
    let index = Index::from_stream(&shape, &stream).map_err(stopped)?;
    *collection.places.write() = places;
    *collection.state.write() = State { table, index };
    collection.settle(None);
    Ok(collection)
}

/// The rows of an image and where those are that are shown.
fn rows_of(
    image: &Image,
    stream: &Stream<'_>,
    call: &Call<'_>,
) -> Result<(Table, HashMap<u64, u32>), ReadError<Error>> {
    let (shape, count) = (&image.shape, image.ids.len());
    let mut table = Table::new(shape.dim);
    let mut places = HashMap::new();
    // More than the file could hold would not have been read.
    places.try_reserve(count).map_err(|_| ReadError::NoMemory(count))?;
    let mut values = vec![0.0; shape.dim];
    for (row, id) in image.ids.iter().enumerate() {
        if row.is_multiple_of(STRETCH) {
            call.check().map_err(ReadError::Stopped)?;
        }
        let linked = stream.row(row, &mut values);
        if linked {
            let checked = shape.check_vector(&values, Which::Row(row));
            checked.map_err(|wrong| Damage::Row { row, why: wrong.to_string() })?;
        } else if *id != HIDDEN {
            return Err(Damage::Row { row, why: "it is not in the graph".into() }.into());
        }
        let place = table.push(&values).map_err(|_| ReadError::NoMemory(count))?;
        if *id != HIDDEN {
            table.show(place, *id);
            if places.insert(*id, place).is_some() {
                return Err(Damage::Twice { id: *id }.into());
            }
        }
    }
    let shown = table.shown() as u64;
    if shown != image.shown {
        return Err(Damage::Shown { shown, expected: image.shown }.into());
    }
    Ok((table, places))
}

/// Microseconds of writing or reading a file of so many bytes, at 500 MB a second and one sync.
pub(super) fn file_micros(bytes: u64) -> u32 {
    u32::try_from(20_000 + bytes / 500).unwrap_or(u32::MAX)
}

const _: () = assert!(limits::FILE_STRETCH.is_multiple_of(size_of::<u64>()));
