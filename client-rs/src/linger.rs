//! [`Lingering`]: waiting for an answer without letting go of the lane.
//!
//! What takes some ten microseconds is too slow for the fast path's few looks, and fast enough that the way by
//! a table, an [`Entry`](crate::pending::Entry) and the lane's lock shows: some 100 ns between the answer and its caller. Those
//! are for threads that take each other's answers; a lane that only one thread ever uses has none.
//!
//! Invariant: it ends as soon as another thread comes, or somebody else needs the core, and for good where threads have
//! ever met: it yields the core with the lane in its hands.

use std::time::{Duration, Instant};

use ringfence_protocol::wait::{Patience, Step};

use crate::call::Request;
use crate::cell::LaneCell;
use crate::lane::Lane;
use crate::owner::Held;
use crate::remote::Remote;

/// What takes longer gains nothing.
const AT_MOST: Duration = Duration::from_micros(100);

/// Turns between two readings of the clock: some ten microseconds.
const CLOCK_EVERY: u32 = 32;

/// One wait, after the first spin.
pub(crate) struct Lingering {
    pub(crate) since: Instant,
    until: Instant,
    patience: Patience,
    turns: u32,
}

impl Lingering {
    pub(crate) fn new(remote: &Remote, request: &Request<'_>) -> Self {
        let since = Instant::now();
        let until = since + request.timeout().map_or(AT_MOST, |timeout| timeout.min(AT_MOST));
        let patience = Patience::new(remote.settings.spin).looking_often().after_its_spin();
        Self { since, until, patience, turns: 0 }
    }

    /// Waits for an answer, whosever. `false`: the caller has lingered enough.
    pub(crate) fn until_answered(&mut self, lane: &mut Lane, cell: &LaneCell, held: &Held) -> bool {
        if let Held::Arena { block, len } = *held {
            lane.ring.ask_back(block, len);
        }
        loop {
            for _ in 0..self.patience.looks() {
                if lane.ring.is_answered() {
                    return true;
                }
                if cell.is_shared() {
                    return false;
                }
                std::hint::spin_loop();
            }
            self.turns += 1;
            let step = self.patience.step();
            if matches!(step, Step::Crowded | Step::Park) {
                return false;
            }
            if self.turns.is_multiple_of(CLOCK_EVERY) && Instant::now() >= self.until {
                return false;
            }
        }
    }
}
