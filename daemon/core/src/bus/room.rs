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
use ringfence_protocol::log::Policy;
use ringfence_protocol::memory::Memory;

use super::error::PublishError;
use super::place::{Elsewhere, Place, Standing};
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
        patience: Duration,
    ) -> Result<(), PublishError> {
        let slots = self.geometry.slots;
        let nobody_waits = state.turn == state.next_ticket;
        if nobody_waits && state.has_room(slots) {
            return Ok(());
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let outcome = self.queue(state, ticket, Instant::now().checked_add(patience));
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        state.turn += 1;
        self.room.notify_all();
        outcome
    }

    fn queue(
        &self,
        state: &mut MutexGuard<'_, State<M>>,
        ticket: u64,
        until: Option<Instant>,
    ) -> Result<(), PublishError> {
        let slots = self.geometry.slots;
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
            if state.has_room(slots) {
                return Ok(());
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                state.cut_off_laggards(slots);
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

impl<M: Memory> State<M> {
    /// Would a message overwrite none that a subscription has not read?
    pub(super) fn has_room(&mut self, slots: u32) -> bool {
        self.furthest_behind(slots) < u64::from(slots)
    }

    /// Messages that the slowest subscription has not read. Looks at the cursors only if, as far as is
    /// known, one is in the way.
    fn furthest_behind(&mut self, slots: u32) -> u64 {
        let next = self.writer.next().sequence;
        if next - self.floor >= u64::from(slots) {
            self.floor = self.places.iter().map(|place| place.cursor(next)).min().unwrap_or(next);
        }
        next - self.floor
    }

    pub(super) fn cut_off_laggards(&mut self, slots: u32) {
        let next = self.writer.next().sequence;
        let is_behind = |place: &mut Arc<Place>| next - place.cursor(next) >= u64::from(slots);
        for place in self.places.extract_if(.., is_behind) {
            place.cut_off(next);
            // What it holds it reads on.
            if place.elsewhere().is_some() {
                self.departed.push(place);
            }
        }
    }

    /// Of those that ended: who holds nothing any more. One that was cut off may not know it, and reads on
    /// until it leaves.
    pub(super) fn forget_departed(&mut self) {
        self.departed.retain(|place| {
            place.standing() == Standing::CutOff
                || place.elsewhere().is_some_and(Elsewhere::holds_any)
        });
    }
}
