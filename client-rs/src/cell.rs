//! One lane as the threads of a client share it: who holds it, who wants it, and who waits for it.
//!
//! Invariants: whoever has the [`Holder`] is the lane's single user, and nobody sleeps while having
//! it; a lane that others sleep for is parked when it is let go of, unless somebody still looks at
//! it. It does *not* know what is in the lane (see [`crate::lane`]), nor does it wait for answers
//! (see [`crate::wait`]).

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Relaxed, SeqCst},
};

use parking_lot::{Mutex, MutexGuard};
use ringfence_protocol::ring::WakeBy;

use crate::lane::Lane;
use crate::measure::Countdown;
use crate::remote::Remote;

/// What every thread of a client can reach of a lane.
#[derive(Debug, Default)]
pub(crate) struct LaneCell {
    state: Mutex<Option<Lane>>,
    /// Threads that want the lane and do not get it: its holder then lets go sooner.
    pub(crate) wanted: AtomicU32,
    /// Threads that wait and look at the lane from time to time.
    pub(crate) awake: AtomicU32,
    /// Threads that sleep until the lane, or another thread, wakes them.
    pub(crate) sleepers: AtomicU32,
    /// Which of its calls are measured.
    pub(crate) countdown: Countdown,
    /// Calls that an event loop waits for, which is woken by a byte.
    pub(crate) watchers: AtomicU32,
    /// A thread has met another one at it once: from then on nobody keeps it for long.
    shared: AtomicBool,
    /// The event loop has been told to look at the lane, and counts as awake until it has.
    pub(crate) nudged: AtomicBool,
}

/// The lane, held.
pub(crate) type Holder<'a> = MutexGuard<'a, Option<Lane>>;

impl LaneCell {
    /// Takes the lane, unless another thread has it.
    #[inline]
    pub(crate) fn try_hold(&self) -> Option<Holder<'_>> {
        let holder = self.state.try_lock();
        if holder.is_none() {
            self.shared.store(true, Relaxed);
        }
        holder
    }

    /// Takes the lane, and waits for the thread that has it.
    pub(crate) fn hold(&self) -> Holder<'_> {
        if let Some(holder) = self.try_hold() {
            return holder;
        }
        self.wanted.fetch_add(1, Relaxed);
        let holder = self.state.lock();
        self.wanted.fetch_sub(1, Relaxed);
        holder
    }

    /// Has more than one thread ever wanted it at a time?
    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.load(Relaxed)
    }

    /// Lets go of the lane. If others sleep and nobody else looks at it, it is parked for them.
    #[inline]
    pub(crate) fn let_go(&self, mut holder: Holder<'_>, remote: &Arc<Remote>) {
        if self.is_waited_for()
            && self.awake.load(Relaxed) == 0
            && let Some(lane) = holder.as_mut()
        {
            lane.park_or_drain(remote, self.wake_by());
        }
    }

    /// Does a thread sleep for it, or an event loop?
    #[inline]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.sleepers.load(SeqCst) > 0 || self.watchers.load(SeqCst) > 0
    }

    /// How the daemon is to wake them. (Waking by a byte wakes threads too.)
    pub(crate) fn wake_by(&self) -> WakeBy {
        if self.watchers.load(SeqCst) > 0 { WakeBy::Byte } else { WakeBy::Futex }
    }
}
