//! What changes a collection: add, delete, and the rebuild that follows when enough was deleted.
//!
//! A batch is pushed hidden, row by row, and shown in one moment at the end. If it ends early
//! (deadline, cancel, no memory) its rows stay hidden for ever: nobody has seen them, and the next
//! rebuild drops them like all tombstones.
//!
//! A rebuild is done piece by piece, by the changes that make it necessary and those after it, each
//! in proportion to its own size: deleting one row never takes as long as adding all the others.

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

/// A rebuild starts when there are more tombstones than these tenths of the rows that are left.
/// They cost every search about their share of the time, and memory.
const TOMBSTONE_TENTHS: usize = 3;

/// Fewer tombstones than this are not worth a rebuild.
const FEW_TOMBSTONES: usize = 64;

/// Rows that a change moves for each row it changes. More than 1, or adding would keep ahead of the
/// rebuild; 3 end it before tombstones and rows are equally many.
pub(super) const MOVED_PER_CHANGED: usize = 3;

/// A new state on its way: the rows that were shown when it passed them.
#[derive(Debug)]
pub(super) struct Rebuild {
    pub(super) state: State,
    /// Where each of its rows is in the old state.
    origins: Vec<u32>,
    /// The first row of the old state that it has not looked at.
    next: u32,
}

impl Collection {
    /// Adds rows, all or none.
    pub(super) fn add(&self, add: &Add<'_>, call: &Call<'_>) -> Result<Added, Error> {
        self.shape.check_rows(add.ids, add.rows)?;
        let mut turn = self.wait_for_turn(call)?;
        if !add.upsert {
            self.check_new(add.ids)?;
        }
        let count = add.ids.len();
        let _aside = self.meter.set_aside(self.bytes_of(count), count)?;
        let outcome = self.push_all(add.rows, count, call).map(|from| self.show_all(from, add.ids));
        self.tidy(&mut turn, count, call);
        self.settle(turn.as_ref());
        outcome
    }

    /// Deletes rows and returns how many there were.
    pub(super) fn delete(&self, ids: &[u64], call: &Call<'_>) -> Result<u64, Error> {
        let mut turn = self.wait_for_turn(call)?;
        let mut deleted = 0;
        {
            let mut places = self.places.write();
            let mut state = self.state.write();
            for row in ids.iter().filter_map(|id| places.remove(id)) {
                state.table.hide(row);
                deleted += 1;
            }
        }
        self.counters.deleted.fetch_add(deleted as u64, Relaxed);
        self.tidy(&mut turn, deleted, call);
        self.settle(turn.as_ref());
        Ok(deleted as u64)
    }

    /// Waits until no other change is under way, or the call should end.
    fn wait_for_turn(&self, call: &Call<'_>) -> Result<MutexGuard<'_, Option<Rebuild>>, Error> {
        loop {
            call.check()?;
            if let Some(turn) = self.turn.try_lock_for(Duration::from_millis(1)) {
                return Ok(turn);
            }
        }
    }

    fn check_new(&self, ids: &[u64]) -> Result<(), Refusal> {
        let places = self.places.read();
        match ids.iter().position(|id| places.contains_key(id)) {
            None => Ok(()),
            Some(row) => Err(Refusal::IdExists { row, id: ids[row] }),
        }
    }

    /// Pushes `count` rows, hidden; returns the place of the first.
    fn push_all(&self, rows: &[f32], count: usize, call: &Call<'_>) -> Result<u32, Error> {
        let from = self.state.read().table.len();
        let all = from as u64 + count as u64;
        if all > limits::ROWS {
            return Err(Refusal::TooManyRows { rows: all }.into());
        }
        for (done, row) in rows.chunks_exact(self.shape.dim).enumerate() {
            call.check()?;
            let mut state = self.state.write();
            state.push(row)?;
            // Whoever waited to search goes first: they wait for one row, not for the batch.
            RwLockWriteGuard::unlock_fair(state);
            call.progress(done as u64 + 1);
        }
        Ok(from as u32)
    }

    /// Shows all rows of a batch at once, in place of those that had their ids.
    fn show_all(&self, from: u32, ids: &[u64]) -> Added {
        let mut places = self.places.write();
        places.reserve(ids.len());
        let mut state = self.state.write();
        let mut updated = 0;
        for (row, id) in (from..).zip(ids) {
            if let Some(replaced) = places.insert(*id, row) {
                state.table.hide(replaced);
                updated += 1;
            }
            state.table.show(row, *id);
        }
        self.counters.added.fetch_add(ids.len() as u64, Relaxed);
        Added { added: ids.len() as u64 - updated, updated }
    }

    /// Carries a rebuild on, or starts one if there are many tombstones, after a change of `changed`
    /// rows. What happens here is not the change's failure: it is tried again after the next one.
    fn tidy(&self, turn: &mut Option<Rebuild>, changed: usize, call: &Call<'_>) {
        let old = self.state.read();
        if turn.is_none() && needs_rebuild(old.table.shown(), old.table.hidden()) {
            let state = State::new(&self.shape).ok();
            *turn = state.map(|state| Rebuild { state, origins: Vec::new(), next: 0 });
        }
        let Some(mut rebuild) = turn.take() else { return };
        if rebuild.advance(&old, changed * MOVED_PER_CHANGED, call).is_err() {
            return;
        }
        if (rebuild.next as usize) < old.table.len() {
            *turn = Some(rebuild);
            return;
        }
        let places = rebuild.show_all(&old);
        drop(old);
        let old = {
            let mut here = self.places.write();
            let mut state = self.state.write();
            *here = places;
            std::mem::replace(&mut *state, rebuild.state)
        };
        self.counters.rebuilds.fetch_add(1, Relaxed);
        // Giving a large one back takes milliseconds: not under the locks.
        drop(old);
    }
}

impl Rebuild {
    /// Takes over up to `most` rows, fewer if the call's time is up.
    fn advance(&mut self, old: &State, most: usize, call: &Call<'_>) -> Result<(), Error> {
        let end = self.origins.len() + most;
        while (self.next as usize) < old.table.len() && self.origins.len() < end {
            if call.check().is_err() {
                break;
            }
            if old.table.id(self.next) != HIDDEN {
                self.state.push(old.table.row(self.next))?;
                self.origins.push(self.next);
            }
            self.next += 1;
        }
        Ok(())
    }

    /// Shows the rows that are still shown in the old state; returns the place of each id.
    fn show_all(&mut self, old: &State) -> HashMap<u64, u32> {
        let mut places = HashMap::with_capacity(self.origins.len());
        for (row, origin) in (0..).zip(&self.origins) {
            let id = old.table.id(*origin);
            if id != HIDDEN {
                self.state.table.show(row, id);
                places.insert(id, row);
            }
        }
        places
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
