//! What a topic knows of one of its subscriptions, and what both count.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::log::{BlockUse, Counts};

/// How a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Open,
    /// By its owner: nothing more is delivered.
    Closed,
    /// By the topic, for being slow.
    CutOff,
}

/// A subscription of another process, as far as it can be reached: by words in shared memory, which
/// are not the core's business. Any value may stand in them.
pub trait Elsewhere: Send + Sync + 'static {
    /// The sequence that it says it will read next.
    fn cursor(&self) -> u64;

    /// Does it keep this block of its topic's log from being reused?
    fn holds(&self, block: BlockUse) -> bool;

    /// Does it hold any block, in a process that lives?
    fn holds_any(&self) -> bool;

    /// Wakes it if it sleeps. Its topic has changed before, and a fence(SeqCst) stands between.
    fn wake(&self);

    /// Tells it that it was cut off: a publish waited at `at`. It is woken afterwards.
    fn cut_off(&self, at: u64);
}

/// A subscription, as its topic sees it.
pub(super) struct Place {
    /// Sequence of the next message that it will read, as far as is known. Written by the
    /// subscription, or, of one that is elsewhere, by who asks.
    cursor: AtomicU64,
    elsewhere: Option<Box<dyn Elsewhere>>,
    /// Written under the topic's lock.
    standing: AtomicU8,
    /// If it was cut off: sequence of the message that waited.
    cut_at: AtomicU64,
    received: AtomicU64,
    missed: AtomicU64,
    dropped: AtomicU64,
}

impl Place {
    pub(super) fn new(cursor: u64, elsewhere: Option<Box<dyn Elsewhere>>) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            cursor: AtomicU64::new(cursor),
            elsewhere,
            standing: AtomicU8::new(Standing::Open as u8),
            cut_at: zero(),
            received: zero(),
            missed: zero(),
            dropped: zero(),
        }
    }

    /// Acquire, pairs with [`advance`](Self::advance): what lies below has been copied and may be
    /// overwritten. What one elsewhere says is taken if it lies between what it said before and the
    /// log's end (SPEC B11). Under the topic's lock.
    pub(super) fn cursor(&self, next: u64) -> u64 {
        let known = self.cursor.load(Ordering::Acquire);
        let Some(elsewhere) = &self.elsewhere else { return known };
        let said = elsewhere.cursor();
        if said.wrapping_sub(known) > next.wrapping_sub(known) && is_armed("topic.cursor") {
            return known;
        }
        self.cursor.store(said, Ordering::Relaxed);
        said
    }

    /// The cursor as it was last taken, from any thread.
    pub(super) fn known(&self) -> u64 {
        self.cursor.load(Ordering::Relaxed)
    }

    pub(super) fn elsewhere(&self) -> Option<&dyn Elsewhere> {
        self.elsewhere.as_deref()
    }

    pub(super) fn advance(&self, cursor: u64) {
        self.cursor.store(cursor, Ordering::Release);
    }

    pub(super) fn standing(&self) -> Standing {
        // Pairs with the Release stores below: who sees the end sees where it was.
        match self.standing.load(Ordering::Acquire) {
            0 => Standing::Open,
            1 => Standing::Closed,
            _ => Standing::CutOff,
        }
    }

    /// Under the topic's lock.
    pub(super) fn close(&self) {
        self.standing.store(Standing::Closed as u8, Ordering::Release);
    }

    /// Under the topic's lock.
    pub(super) fn cut_off(&self, at: u64) {
        self.cut_at.store(at, Ordering::Relaxed);
        self.standing.store(Standing::CutOff as u8, Ordering::Release);
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.cut_off(at);
        }
    }

    /// Of one that ended: may it read a block in place? It does if it holds one, and until it has heard
    /// that it was cut off it may begin to.
    pub(super) fn may_hold(&self) -> bool {
        let holds = |elsewhere: &dyn Elsewhere| {
            self.standing() == Standing::CutOff || elsewhere.holds_any()
        };
        self.elsewhere().is_some_and(holds)
    }

    pub(super) fn cut_at(&self) -> u64 {
        self.cut_at.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, counts: Counts) {
        self.received.fetch_add(counts.received, Ordering::Relaxed);
        self.missed.fetch_add(counts.missed, Ordering::Relaxed);
        self.dropped.fetch_add(counts.dropped, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            received: self.received.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    /// A subscription of which only the cursor is of interest.
    struct Says(Arc<AtomicU64>);

    impl Elsewhere for Says {
        fn cursor(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
        fn holds(&self, _block: BlockUse) -> bool {
            false
        }
        fn holds_any(&self) -> bool {
            false
        }
        fn wake(&self) {}
        fn cut_off(&self, _at: u64) {}
    }

    proptest! {
        /// SPEC B11: a cursor between the one accepted before and the log's end is accepted, any other is taken for
        /// the one accepted before, wherever the numbers wrap.
        #[test]
        fn b11_a_cursor_never_goes_back_nor_past_the_end(
            first in prop_oneof![Just(0), Just(u64::MAX - 5), any::<u64>()],
            steps in prop::collection::vec((0u64..9, prop_oneof![0u64..20, any::<u64>()]), 1..40),
        ) {
            let said = Arc::new(AtomicU64::new(first));
            let place = Place::new(first, Some(Box::new(Says(said.clone()))));
            let (mut accepted, mut written) = (0_u64, 0);
            for (more, says) in steps {
                written += more;
                said.store(first.wrapping_add(says), Ordering::Relaxed);
                if (accepted..=written).contains(&says) {
                    accepted = says;
                }
                let found = place.cursor(first.wrapping_add(written));
                prop_assert_eq!(found, first.wrapping_add(accepted));
            }
        }
    }
}
