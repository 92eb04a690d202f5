//! What changes a collection: add, delete, and the rebuild that follows when enough was deleted.
//!
//! A batch is pushed and linked hidden, chunk by chunk, and shown in one moment at the end. If it
//! ends early (deadline, cancel, no memory, a panic) its rows stay hidden for ever: nobody has seen
//! them, and the next rebuild drops them like all tombstones.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::{MutexGuard, RwLockWriteGuard};
use ringfence_protocol::api::vectors::{Add, Added};
use ringfence_protocol::error::Error;

use super::collection::{Collection, State};
use super::limits;
use super::refusal::Refusal;
use super::table::HIDDEN;
use crate::engine::Call;

/// Rows added at a time, between two looks at the deadline; searches wait that long: 0.5 ms.
const CHUNK: usize = 8;

/// Tombstones are cleared away when there are more than these tenths of the rows that are left.
/// They cost every search about their share of the time, and recall falls as they gather.
const TOMBSTONE_TENTHS: usize = 3;

/// Fewer tombstones than this are not worth a rebuild.
const FEW_TOMBSTONES: usize = 64;

/// How long a change keeps new readers waiting for old ones to leave, before it lets them pass and
/// tries again: an exact search of a large collection takes longer, and others shall not wait for it.
const PATIENCE: Duration = Duration::from_micros(200);

/// After this many tries, 0.4 s, a change does keep readers waiting.
const TRIES: usize = 1000;

impl Collection {
    /// Adds rows, all or none.
    pub(super) fn add(&self, add: &Add<'_>, call: &Call<'_>) -> Result<Added, Error> {
        self.shape.check_rows(add.ids, add.rows)?;
        let _turn = self.wait_for_turn(call)?;
        if !add.upsert {
            self.check_new(add.ids)?;
        }
        let _aside = self.meter.set_aside(self.bytes_of(add.ids.len()), add.ids.len())?;
        let outcome = self.push_all(add, call).map(|first| self.show_all(first, add.ids));
        if let Ok(added) = &outcome {
            self.counters.added.fetch_add(added.added + added.updated, Relaxed);
        }
        self.tidy(call);
        self.settle();
        outcome
    }

    /// Deletes rows and returns how many there were.
    pub(super) fn delete(&self, ids: &[u64], call: &Call<'_>) -> Result<u64, Error> {
        let _turn = self.wait_for_turn(call)?;
        let rows: Vec<(u64, u32)> = {
            let places = self.places.read();
            ids.iter().filter_map(|id| places.get(id).map(|row| (*id, *row))).collect()
        };
        let before = self.count();
        {
            let mut state = self.exclusive();
            rows.iter().for_each(|(_, row)| state.table.hide(*row));
        }
        {
            let mut places = self.places.write();
            for (id, _) in &rows {
                places.remove(id);
            }
        }
        self.settle();
        let deleted = before - self.count();
        self.counters.deleted.fetch_add(deleted, Relaxed);
        if deleted > 0 {
            self.tidy(call);
            self.settle();
        }
        Ok(deleted)
    }

    /// Waits until no other change is under way, or the call should end.
    fn wait_for_turn(&self, call: &Call<'_>) -> Result<MutexGuard<'_, ()>, Error> {
        loop {
            call.check()?;
            if let Some(turn) = self.turn.try_lock_for(Duration::from_millis(1)) {
                return Ok(turn);
            }
        }
    }

    /// The state, for this thread alone.
    fn exclusive(&self) -> RwLockWriteGuard<'_, State> {
        for _ in 0..TRIES {
            if let Some(state) = self.state.try_write_for(PATIENCE) {
                return state;
            }
            std::thread::sleep(PATIENCE);
        }
        self.state.write()
    }

    fn check_new(&self, ids: &[u64]) -> Result<(), Refusal> {
        let places = self.places.read();
        match ids.iter().position(|id| places.contains_key(id)) {
            None => Ok(()),
            Some(row) => Err(Refusal::IdExists { row, id: ids[row] }),
        }
    }

    /// Pushes and links all rows, hidden; returns the place of the first.
    fn push_all(&self, add: &Add<'_>, call: &Call<'_>) -> Result<u32, Error> {
        let (count, dim) = (add.ids.len(), self.shape.dim);
        let first = self.state.read().table.len();
        let rows = first as u64 + count as u64;
        if rows > limits::ROWS {
            return Err(Refusal::TooManyRows { rows }.into());
        }
        let mut done = 0;
        for chunk in add.rows.chunks(CHUNK * dim) {
            call.check()?;
            let mut state = self.exclusive();
            for row in chunk.chunks_exact(dim) {
                state.push(row)?;
            }
            drop(state);
            done += chunk.len() / dim;
            call.progress(done as u64);
        }
        Ok(first as u32)
    }

    /// Shows all rows of a batch at once, in place of those that had their ids.
    fn show_all(&self, first: u32, ids: &[u64]) -> Added {
        let mut places = self.places.write();
        places.reserve(ids.len());
        let mut replaced = Vec::new();
        for (row, id) in (first..).zip(ids) {
            replaced.extend(places.insert(*id, row));
        }
        let mut state = self.exclusive();
        for row in &replaced {
            state.table.hide(*row);
        }
        for (row, id) in (first..).zip(ids) {
            state.table.show(row, *id);
        }
        let updated = replaced.len() as u64;
        Added { added: ids.len() as u64 - updated, updated }
    }

    /// Builds the graph anew if too much of it is tombstones. The change before it is done and
    /// stays; if the call's time is up the rebuild is left to the next change.
    fn tidy(&self, call: &Call<'_>) {
        let (shown, hidden) = {
            let state = self.state.read();
            (state.table.shown(), state.table.hidden())
        };
        if !needs_rebuild(shown, hidden) {
            return;
        }
        let Some((fresh, places)) = self.rebuilt(call) else { return };
        let old = {
            let mut here = self.places.write();
            let mut state = self.exclusive();
            *here = places;
            std::mem::replace(&mut *state, fresh)
        };
        self.counters.rebuilds.fetch_add(1, Relaxed);
        // Unmapping a large one takes milliseconds: not under the locks.
        drop(old);
    }

    /// The shown rows in a state of their own. Searches go on in the old one.
    fn rebuilt(&self, call: &Call<'_>) -> Option<(State, HashMap<u64, u32>)> {
        let old = self.state.read();
        let mut fresh = State::new(&self.shape).ok()?;
        let mut places = HashMap::with_capacity(old.table.shown());
        for row in 0..old.table.len() as u32 {
            let id = old.table.id(row);
            if id == HIDDEN {
                continue;
            }
            let place = fresh.table.len() as u32;
            if (place as usize).is_multiple_of(CHUNK) && call.check().is_err() {
                return None;
            }
            fresh.push(old.table.row(row)).ok()?;
            fresh.table.show(place, id);
            places.insert(id, place);
        }
        Some((fresh, places))
    }
}

/// Are there so many tombstones that the graph should be built anew?
pub(super) fn needs_rebuild(shown: usize, hidden: usize) -> bool {
    hidden > 0
        && (shown == 0 || (hidden >= FEW_TOMBSTONES && hidden * 10 > shown * TOMBSTONE_TENTHS))
}

impl State {
    /// Adds a hidden row to table and graph. If the graph refuses it, it stays hidden for ever.
    fn push(&mut self, values: &[f32]) -> Result<(), Error> {
        let rows = self.table.len() + 1;
        let row = self.table.push(values).map_err(|_| Refusal::Allocation { rows })?;
        self.index.add(row, values)
    }
}
