//! How far the subscriptions of a session have read (SPEC B11): both sides of the words `cursors` of its
//! first lane, for topics in which no message may be overwritten before it was read.
//!
//! Invariant: a cursor is stored only after all below it was copied out of the log, or is held there. It does
//! *not* say which cursors are believed, nor who waits for one: that is the topic's (ringfence-core, `bus`).

use crate::geometry::Geometry;
use crate::limits::SUBSCRIPTIONS;
use crate::memory::Memory;

/// What no subscription has read up to: it begins with this (SPEC B13).
const NOTHING_READ: u64 = u64::MAX;

/// The cursors in a session's `up`. The client stores them, the daemon only asks.
#[derive(Debug)]
pub struct Cursors<'m, M> {
    up: &'m M,
    at: usize,
}

impl<'m, M: Memory> Cursors<'m, M> {
    /// Those of a session whose first lane this is.
    #[must_use]
    pub const fn new(up: &'m M, geometry: Geometry) -> Self {
        Self { up, at: geometry.up().cursors }
    }

    /// The client: the subscription of this number has read nothing yet. Before the daemon is told of it.
    pub fn begin(&self, number: u32) {
        self.advance(number, NOTHING_READ);
    }

    /// The client: the subscription has copied all below this sequence, which may be overwritten now.
    #[inline]
    pub fn advance(&self, number: u32, cursor: u64) {
        // AI, pairs with AJ: all reads of what lies below happen before it is overwritten.
        self.up.store_release(self.word(number), cursor);
    }

    /// The daemon: the sequence that the subscription says it reads next. Any value may stand there, and 0 in a
    /// segment that was truncated.
    #[must_use]
    pub fn get(&self, number: u32) -> u64 {
        // AJ, pairs with AI.
        self.up.load_acquire(self.word(number))
    }

    const fn word(&self, number: u32) -> usize {
        assert!((number as usize) < SUBSCRIPTIONS, "a session has fewer cursors");
        self.at + number as usize * 8
    }
}
