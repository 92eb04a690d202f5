//! Room in a topic's log: who is in the way of a message, and how a publish waits for it.
//!
//! What waits here are threads of this process; calls of others wait in `queue`. One way to sleep,
//! without a lost wake-up:
//!
//! ```text
//!   room   U  a publish: waiting + 1; fence(SeqCst); look at the cursors   (under the lock)
//!          V  a subscription: store its cursor; fence(SeqCst); look at waiting; if any: lock, notify
//! ```
//!
//! U pairs with V: at least one of the two sees what the other stored.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use ringfence_protocol::log::{BlockUse, Policy};
use ringfence_protocol::memory::Memory;

use super::error::PublishError;
use super::place::Place;
use super::sequencer::{Sequencer, State};

impl<M: Memory> Sequencer<M> {
    pub(super) fn refuse_if_behind(&self, state: &mut State<M>) -> Result<(), PublishError> {
        let slots = self.geometry.slots;
        match state.furthest_behind(slots) {
            behind if behind >= u64::from(slots) => {
                Err(PublishError::Backpressure { behind, slots })
            }
            _ => Ok(()),
        }
    }

    /// Waits for its turn and for room, in this order.
    pub(super) fn wait_for_room(
        &self,
        state: &mut MutexGuard<'_, State<M>>,
        need: Need,
        patience: Duration,
    ) -> Result<(), PublishError> {
        let nobody_waits = state.turn == state.next_ticket;
        if nobody_waits && state.has_room(need) {
            return Ok(());
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let outcome = self.queue(state, need, ticket, Instant::now().checked_add(patience));
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        state.turn += 1;
        self.room.notify_all();
        outcome
    }

    fn queue(
        &self,
        state: &mut MutexGuard<'_, State<M>>,
        need: Need,
        ticket: u64,
        until: Option<Instant>,
    ) -> Result<(), PublishError> {
        loop {
            if state.closed {
                return Err(PublishError::Closed);
            }
            if state.turn != ticket {
                // Those before it end within their own patience, and notify.
                self.room.wait(state);
                continue;
            }
            // U, pairs with V: either a subscription sees us wait, or we see its cursor.
            fence(Ordering::SeqCst);
            if state.has_room(need) {
                return Ok(());
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                state.make_room(need);
                self.news.notify_all();
                return Ok(());
            }
            match until {
                Some(until) => drop(self.room.wait_until(state, until)),
                None => self.room.wait(state),
            }
        }
    }

    /// After a cursor has moved: wakes the publishes that wait for it.
    pub(super) fn tell_room(&self) {
        if !matches!(self.options.policy, Policy::Block { .. }) {
            return;
        }
        // V, pairs with U.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            // Under the lock, so that who has looked at the cursors sleeps already.
            let _state = self.state.lock();
            self.room.notify_all();
        }
    }
}

/// What a message needs of its topic's log.
#[derive(Clone, Copy)]
pub(super) struct Need {
    /// Of the log: all but this many messages are overwritten.
    pub(super) slots: u32,
    /// It fits no slot.
    pub(super) block: bool,
}

impl<M: Memory> State<M> {
    /// Would a message overwrite none that a subscription has not read? One that needs a block also has
    /// room where waiting for cursors does not help, for only holds keep the blocks: that is told.
    pub(super) fn has_room(&mut self, need: Need) -> bool {
        let has_slot = self.furthest_behind(need.slots) < u64::from(need.slots);
        has_slot && (!need.block || self.oldest_unread().is_none())
    }

    /// Messages that the slowest subscription has not read. Looks at the cursors only if, as far as is
    /// known, one is in the way.
    fn furthest_behind(&mut self, slots: u32) -> u64 {
        let next = self.writer.next().sequence;
        if next - self.floor >= u64::from(slots) {
            self.look_at_cursors();
        }
        next - self.floor
    }

    pub(super) fn look_at_cursors(&mut self) {
        let next = self.writer.next().sequence;
        self.floor = self.places.iter().map(|place| place.cursor(next)).min().unwrap_or(next);
    }

    /// The oldest message in a block that somebody has not read, if no block is free.
    fn oldest_unread(&mut self) -> Option<u64> {
        self.look_at_cursors();
        let Self { writer, places, departed, floor, .. } = self;
        let mut oldest: Option<u64> = None;
        let is_free = |sequence, of| {
            if sequence < *floor {
                return !is_held(places, departed, of);
            }
            oldest = Some(oldest.map_or(sequence, |oldest| oldest.min(sequence)));
            false
        };
        if writer.any_block(is_free) { None } else { oldest }
    }

    /// Cuts off who is in the way of a message that has waited for too long.
    pub(super) fn make_room(&mut self, need: Need) {
        // Each time one goes at least: the one that is furthest behind.
        while !self.has_room(need) {
            self.cut_off_laggards(need);
        }
    }

    fn cut_off_laggards(&mut self, need: Need) {
        let next = self.writer.next().sequence;
        let in_block = if need.block { self.oldest_unread() } else { None };
        let is_behind = |place: &mut Arc<Place>| {
            let cursor = place.cursor(next);
            next - cursor >= u64::from(need.slots)
                || in_block.is_some_and(|oldest| cursor <= oldest)
        };
        for place in self.places.extract_if(.., is_behind) {
            place.cut_off(next);
            // What it holds it reads on, and it may take more until it has heard of its end.
            if place.elsewhere().is_some() {
                self.departed.push(place);
            }
        }
    }

    /// Forgets subscriptions that ended and hold nothing any more.
    pub(super) fn forget_departed(&mut self) {
        self.departed.retain(|place| place.may_hold());
    }
}

/// Does anybody read this block in place?
pub(super) fn is_held(places: &[Arc<Place>], departed: &[Arc<Place>], of: BlockUse) -> bool {
    let all = departed.iter().chain(places).filter_map(|place| place.elsewhere());
    all.into_iter().any(|elsewhere| elsewhere.holds(of))
}
