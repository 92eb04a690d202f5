//! How the subscriptions of a session sleep, and how they are woken (SPEC P8): both sides of the words
//! `listening` and `news` of its first lane.
//!
//! ```text
//!   publisher                                     subscription
//!   AC  publish; fence(SeqCst); look at listening
//!                                                 AD  listening; fence(SeqCst); look at the logs
//! ```
//!
//! AC pairs with AD as K with L does (`ring/mod.rs`). Its fence is `LogWriter::before_waking`, once for all
//! that was published. Invariant: each odd value is stored once and acted upon at most once, so nobody
//! has to say that it is awake again. It does *not* sleep, wake or read logs.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::disarm::is_armed;
use crate::layout::{down, up};
use crate::memory::Memory;
use crate::ring::{ASLEEP, BY_BYTE, NEXT_SLEEP, WakeBy};

/// The client's side: the sleeps of all subscriptions of a session.
#[derive(Debug, Default)]
pub struct Listener {
    /// Sleeps so far, as values without their bits.
    sleeps: AtomicU32,
}

impl Listener {
    /// Says that somebody sleeps from now on. The logs have to be looked at once more behind it, and `news`
    /// must have been read before. Not by two threads at once: a value that asks for a byte must not be
    /// followed by one that does not.
    pub fn announce(&self, up: &impl Memory, by: WakeBy) {
        let how = if by == WakeBy::Byte { ASLEEP | BY_BYTE } else { ASLEEP };
        // Relaxed: a count of its own, stored by who holds the lock.
        let value = self.sleeps.fetch_add(NEXT_SLEEP, Ordering::Relaxed) | how;
        up.store_u32(up::LISTENING, value);
        // AD, pairs with AC: either the daemon sees us listen, or we see what was published.
        up.fence(Ordering::SeqCst);
    }
}

/// The daemon's side, for one session.
#[derive(Debug, Default)]
pub struct Teller {
    /// The odd value of `listening` that was acted upon last.
    acted: AtomicU32,
    /// What `news` holds; stores of two pollers may cross, a value is never stored twice.
    news: AtomicU32,
}

impl Teller {
    /// Must the session's subscriptions be woken for what was published? At most once per odd value; `news`
    /// has moved when this says so. The fence between what was published and this look is the caller's:
    /// [`LogWriter::before_waking`](crate::log::LogWriter::before_waking).
    pub fn wake_due(&self, up: &impl Memory, down: &impl Memory) -> Option<WakeBy> {
        let listening = up.load_u32(up::LISTENING);
        if !is_armed("topic.wake-once") {
            self.acted.store(0, Ordering::Relaxed);
        }
        let sleeps = listening & ASLEEP != 0 && self.acted.load(Ordering::Relaxed) != listening;
        if !sleeps || self.acted.swap(listening, Ordering::Relaxed) == listening {
            return None;
        }
        let news = self.news.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        down.store_u32(down::NEWS, news);
        Some(if listening & BY_BYTE != 0 { WakeBy::Byte } else { WakeBy::Futex })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Geometry;
    use crate::memory::Heap;
    use proptest::prelude::*;

    const GEOMETRY: Geometry = Geometry { slots: 8, up_blocks: 1, down_blocks: 1 };

    proptest! {
        /// Whatever order sleeps and publishes come in, and wherever the count of sleeps stands: each
        /// sleep is woken once, as it asked, and `news` moves with each wake-up and no other time.
        #[test]
        fn p8_each_sleep_is_acted_upon_once(
            start in any::<u32>().prop_map(|start| start & !3),
            steps in prop::collection::vec((any::<bool>(), any::<bool>()), 1..60),
        ) {
            let (up, down) = (Heap::new(GEOMETRY.up().len), Heap::new(GEOMETRY.down().len));
            let listener = Listener { sleeps: AtomicU32::new(start) };
            let (teller, mut asleep, mut woken) = (Teller::default(), None, 0);
            for (sleeps, byte) in steps {
                if sleeps {
                    let by = if byte { WakeBy::Byte } else { WakeBy::Futex };
                    listener.announce(&up, by);
                    asleep = Some(by);
                    continue;
                }
                let due = teller.wake_due(&up, &down);
                prop_assert_eq!(due, asleep.take());
                woken += u32::from(due.is_some());
                prop_assert_eq!(down.load_u32(down::NEWS), woken);
            }
        }

        /// Any word, which a client may store: at most one wake-up for it.
        #[test]
        fn p8_any_word_wakes_once_at_most(words in prop::collection::vec(any::<u32>(), 1..60)) {
            let (up, down) = (Heap::new(GEOMETRY.up().len), Heap::new(GEOMETRY.down().len));
            let teller = Teller::default();
            for word in words {
                up.store_u32(up::LISTENING, word);
                let first = teller.wake_due(&up, &down);
                prop_assert!(first.is_none() || word & ASLEEP != 0);
                prop_assert_eq!(teller.wake_due(&up, &down), None);
            }
        }
    }
}
