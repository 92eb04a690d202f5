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
        let rows = self.push_all(add, turn.is_some(), call);
        let outcome = rows.map(|rows| self.show_all(&rows, add.ids));
        self.tidy(&mut turn, count, call);
        self.settle(turn.as_ref());
        outcome
    }

    /// Deletes rows and returns how many there were.
    pub(super) fn delete(&self, ids: &[u64], call: &Call<'_>) -> Result<u64, Error> {
        let mut turn = self.wait_for_turn(call)?;
        let mut deleted = 0;
        {
            let places = self.places.read();
            let mut state = self.state.write();
            for id in ids {
                if let Some(row) = state.place(&places, *id) {
                    state.table.hide(row);
                    deleted += 1;
                }
            }
        }
        self.counters.deleted.fetch_add(deleted as u64, Relaxed);
        self.tidy(&mut turn, deleted, call);
        self.settle(turn.as_ref());
        Ok(deleted as u64)
    }

    /// Waits until no other change is under way, or the call should end.
    pub(super) fn wait_for_turn(
        &self,
        call: &Call<'_>,
    ) -> Result<MutexGuard<'_, Option<Rebuild>>, Error> {
        loop {
            call.check()?;
            if let Some(turn) = self.turn.try_lock_for(Duration::from_millis(1)) {
                return Ok(turn);
            }
        }
    }

    fn check_new(&self, ids: &[u64]) -> Result<(), Refusal> {
        let (places, state) = (self.places.read(), self.state.read());
        match ids.iter().position(|id| state.place(&places, *id).is_some()) {
            None => Ok(()),
            Some(row) => Err(Refusal::IdExists { row, id: ids[row] }),
        }
    }

    /// Pushes rows, hidden; returns the place of each.
    ///
    /// A row that its id has or had, bit for bit, is used again: where those who replace all when
    /// little has changed leave a hundred tombstones in one place, edges lead to these alone.
    /// Except a hidden one that a rebuild may have passed by.
    fn push_all(&self, add: &Add<'_>, rebuilds: bool, call: &Call<'_>) -> Result<Vec<u32>, Error> {
        let all = self.state.read().table.len() as u64 + add.ids.len() as u64;
        if all > limits::ROWS {
            return Err(Refusal::TooManyRows { rows: all }.into());
        }
        let places = self.places.read();
        let mut rows = Vec::with_capacity(add.ids.len());
        for (id, values) in add.ids.iter().zip(add.rows.chunks_exact(self.shape.dim)) {
            call.check()?;
            let mut state = self.state.write();
            let before = if rebuilds { state.place(&places, *id) } else { places.get(id).copied() };
            let same = before.filter(|row| same_bits(state.table.row(*row), values));
            rows.push(same.map_or_else(|| state.push(values), Ok)?);
            // Whoever waited to search goes first: they wait for one row, not for the batch.
            RwLockWriteGuard::unlock_fair(state);
            call.progress(rows.len() as u64);
        }
        Ok(rows)
    }

    /// Shows all rows of a batch at once, in place of those that had their ids.
    fn show_all(&self, rows: &[u32], ids: &[u64]) -> Added {
        let mut places = self.places.write();
        places.reserve(ids.len());
        let mut state = self.state.write();
        let mut updated = 0;
        for (row, id) in rows.iter().zip(ids) {
            if let Some(replaced) = state.place(&places, *id) {
                state.table.hide(replaced);
                updated += 1;
            }
            places.insert(*id, *row);
            state.table.show(*row, *id);
        }
        self.counters.added.fetch_add(ids.len() as u64, Relaxed);
        Added { added: ids.len() as u64 - updated, updated }
    }

    /// Carries a rebuild on, or starts one if there are many tombstones, after a change of
    /// `changed` rows. What happens here is not the change's failure: it is tried again after the
    /// next one.
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

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

impl State {
    /// Adds a hidden row to table and graph and returns its place. If the graph refuses it, it
    /// stays hidden for ever.
    fn push(&mut self, values: &[f32]) -> Result<u32, Error> {
        let rows = self.table.len() + 1;
        let row = self.table.push(values).map_err(|_| Refusal::Allocation { rows })?;
        self.index.add(row, values)?;
        Ok(row)
    }
}
