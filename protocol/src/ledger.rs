//! The ledger of a call: when it passed which place in the daemon, for who asks where its time goes.
//!
//! The daemon writes one for a call in 64, but for those that their engine answers later, into words of the lane's
//! `down`; whoever made the call knows when it was submitted and received. All times are CLOCK_MONOTONIC,
//! which both sides read alike. Invariant: what is read belongs to one call. It does *not* count: that is
//! the board's.
//!
//! | word | what | when |
//! | --- | --- | --- |
//! | 0 | ticket + 1 | stored last; 0 while the others are written |
//! | 1 | seen | the poller found the request in its ring |
//! | 2 | dispatched | decoded, checked and claimed, and taken by a worker if it is heavy: its engine is called |
//! | 3 | done | the engine has returned |
//! | 4 | published | the answer stands in its ring |

use std::sync::atomic::Ordering;

use crate::layout::down;
use crate::memory::Memory;

/// When a call passed which place in the daemon, in nanoseconds of CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The poller found the request.
    pub seen: u64,
    /// Its engine was called.
    pub dispatched: u64,
    /// The engine returned.
    pub done: u64,
    /// The answer stood in its ring.
    pub published: u64,
}

impl Ledger {
    /// What lies between two places of a call, in order.
    pub const STEPS: [&str; 5] = [
        "submitted to seen",
        "seen to dispatched",
        "dispatched to done",
        "done to published",
        "published to received",
    ];

    /// How long each of the [`STEPS`](Self::STEPS) took, in nanoseconds, of a call that was submitted and
    /// received at these times of the same clock. (What the daemon notes down as published may have been
    /// received while it was at it.)
    #[must_use]
    pub fn steps(self, submitted: u64, received: u64) -> [u64; 5] {
        let Self { seen, dispatched, done, published } = self;
        let places = [submitted, seen, dispatched, done, published.min(received), received];
        std::array::from_fn(|step| places[step + 1].saturating_sub(places[step]))
    }

    /// Writes it as that of `ticket`. By the lane's poller alone.
    pub fn store(self, down: &impl Memory, ticket: u64) {
        down.store(down::LEDGER, 0);
        // AG, pairs with AH: who copies a word stored below sees the 0, or the ticket, when it looks again.
        down.fence(Ordering::Release);
        let Self { seen, dispatched, done, published } = self;
        down.store_words(down::LEDGER + 8, [seen, dispatched, done, published]);
        // AE, pairs with AF.
        down.store_release(down::LEDGER, ticket.wrapping_add(1));
    }

    /// That of `ticket`, if it is there: the last one that was written.
    pub fn load(down: &impl Memory, ticket: u64) -> Option<Self> {
        let ready = ticket.wrapping_add(1);
        // 0 is what stands in fresh memory: no ticket's, whatever the slots of a fresh ring say.
        // AF, pairs with AE: the words are at least those of this ticket.
        if ready == 0 || down.load_acquire(down::LEDGER) != ready {
            return None;
        }
        let [seen, dispatched, done, published] = down.load_words(down::LEDGER + 8);
        // AH, pairs with AG.
        down.fence(Ordering::Acquire);
        let is_whole = down.load(down::LEDGER) == ready;
        is_whole.then_some(Self { seen, dispatched, done, published })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::LINE;
    use crate::memory::Heap;

    fn of(call: u64) -> Ledger {
        Ledger { seen: call, dispatched: call + 1, done: call + 2, published: call + 3 }
    }

    #[test]
    fn it_is_that_of_its_ticket_and_no_others() {
        let down = Heap::new(down::LEDGER + LINE);
        // Fresh memory is nobody's ledger, the last ticket's neither.
        assert_eq!((Ledger::load(&down, 0), Ledger::load(&down, u64::MAX)), (None, None));
        of(70).store(&down, 7);
        assert_eq!(Ledger::load(&down, 7), Some(of(70)));
        assert_eq!((Ledger::load(&down, 6), Ledger::load(&down, 8)), (None, None));
    }

    #[test]
    fn steps_are_what_lies_between_two_places() {
        let ledger = Ledger { seen: 150, dispatched: 170, done: 1_170, published: 1_180 };
        assert_eq!(ledger.steps(100, 1_250), [50, 20, 1_000, 10, 70]);
        // Received while the daemon was about to read the clock.
        assert_eq!(ledger.steps(100, 1_175), [50, 20, 1_000, 5, 0]);
    }

    #[test]
    fn what_is_read_while_another_is_written_belongs_to_one_call() {
        const CALLS: u64 = 200_000;
        let down = Heap::new(down::LEDGER + LINE);
        let writer = down.clone();
        std::thread::scope(|scope| {
            scope.spawn(move || (0..CALLS).for_each(|call| of(call).store(&writer, call)));
            while Ledger::load(&down, CALLS - 1).is_none() {
                let ticket = down.load(down::LEDGER).wrapping_sub(1);
                if let Some(ledger) = Ledger::load(&down, ticket) {
                    assert_eq!(ledger, of(ticket));
                }
                std::hint::spin_loop();
            }
        });
        assert_eq!(Ledger::load(&down, CALLS - 1), Some(of(CALLS - 1)));
    }
}
