//! Waiting for an answer: look, yield, sleep (protocol SPEC, "Waiting").
//!
//! A lane's threads count as *awake* while they look at it and as *sleepers* while they sleep. The
//! parking word in shared memory is odd only when all of them sleep: the last one to fall asleep, and
//! whoever lets go of the lane when only sleepers are left, parks it. Sleepers watch the daemon's
//! `wake` word and the word of their own entry, which another thread changes when it takes their
//! answer. A sleep lasts 50 ms at most; then the control socket is looked at, so that the daemon's
//! death is noticed.
//!
//! Invariant: nobody sleeps while holding a lane.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use ringfence_protocol::layout::down;
use ringfence_protocol::limits::SWEEP_MS;
use ringfence_protocol::sys::futex::{self, Wait};
use ringfence_protocol::wait::{Patience, Step};

use crate::cell::LaneCell;
use crate::error::{Error, Outcome};
use crate::lane::Answer;
use crate::pending::Call;
use crate::remote::Remote;

/// How long a sleep lasts before the control socket is looked at.
const SLICE: Duration = Duration::from_millis(50);

/// A daemon whose beat has not changed for so long is stopped, not busy.
pub(crate) const STALLED_AFTER: Duration = Duration::from_millis(3 * SWEEP_MS);

/// Looks between two readings of the clock by a thread that always spins.
pub(crate) const CLOCK_EVERY: u32 = 512;

/// How a look at the clock ended.
enum Time {
    Left(Duration),
    /// The call's own time is over.
    CallOver,
    /// The caller does not want to wait any longer now.
    WaitOver,
}

impl Remote {
    /// Waits for a call until `until`; `None`: not answered yet, or a signal came.
    pub(crate) fn wait(self: &Arc<Self>, call: &Call, until: Option<Instant>) -> Option<Answer> {
        let answer = self.wait_until(call, until)?;
        Some(answer.map_err(|error| error.within(call.timeout)))
    }

    fn wait_until(self: &Arc<Self>, call: &Call, until: Option<Instant>) -> Option<Answer> {
        if let Some(answer) = call.entry.take() {
            return Some(answer);
        }
        if self.stamp.is_child() {
            return Some(Err(Error::Forked));
        }
        let cell = &self.lanes[call.lane];
        cell.awake.fetch_add(1, SeqCst);
        let answer = self.wait_awake(call, cell, until);
        self.fall_silent(cell);
        answer
    }

    /// One of those who look at a lane looks no longer. The last one parks it for those who sleep.
    pub(crate) fn fall_silent(self: &Arc<Self>, cell: &LaneCell) {
        if cell.awake.fetch_sub(1, SeqCst) == 1 && cell.is_waited_for() {
            cell.let_go(cell.hold(), self);
        }
    }

    fn wait_awake(
        self: &Arc<Self>,
        call: &Call,
        cell: &LaneCell,
        until: Option<Instant>,
    ) -> Option<Answer> {
        let mut patience = Patience::new(self.settings.spin).looking_often();
        if call.rang {
            patience.yield_once();
        }
        let mut checked = Instant::now();
        let mut looks = 0_u32;
        loop {
            if let Some(answer) = self.look_for(call, cell, patience.looks()) {
                return Some(answer);
            }
            let step = patience.step();
            looks = looks.wrapping_add(1);
            if step == Step::Look && !looks.is_multiple_of(CLOCK_EVERY) {
                continue;
            }
            let left = match time(call, until) {
                Time::Left(left) => left,
                Time::WaitOver => return None,
                Time::CallOver => return Some(self.give_up(call)),
            };
            if step == Step::Park || step == Step::Crowded && self.is_heavy(call, cell) {
                match self.sleep(call, cell, left.min(SLICE)) {
                    Wait::Interrupted => return call.entry.take(),
                    Wait::Woken | Wait::Changed => patience.reset(),
                    Wait::TimedOut => {}
                }
            }
            if checked.elapsed() >= SLICE {
                self.check_session(call.serial);
                checked = Instant::now();
            }
        }
    }

    /// Has a worker of the daemon this call? Then it takes a while, and the worker may need this core.
    fn is_heavy(&self, call: &Call, cell: &LaneCell) -> bool {
        let Some(holder) = cell.try_hold() else { return false };
        let lane = holder.as_ref().filter(|lane| lane.serial == call.serial);
        lane.is_some_and(|lane| lane.ring.progress(call.ticket).is_some())
    }

    /// Looks for the answer of this call, so often in the lane, and where another thread may have left it. What is
    /// there for others is taken for them, unless the answer comes first: whoever stops waiting sees to that.
    fn look_for(self: &Arc<Self>, call: &Call, cell: &LaneCell, looks: u32) -> Option<Answer> {
        if let Some(mut holder) = cell.try_hold()
            && let Some(lane) = holder.as_mut()
            && lane.serial == call.serial
        {
            lane.ring.unpark();
            lane.cancel_again();
            let mut left = looks;
            while !lane.ring.is_answered() {
                left -= 1;
                if left == 0 || cell.wanted.load(Relaxed) > 0 {
                    return call.entry.take();
                }
                spin_loop();
            }
            // Not by way of the entry: two locks and three moves, all of them after the answer has come.
            if let Ok(Some(header)) = lane.ring.peek()
                && header.ticket == call.ticket
                && let Some(answer) = lane.take_own(header, &call.entry, self)
            {
                return Some(answer);
            }
            drop(holder);
            self.look_at(cell);
        }
        call.entry.take()
    }

    /// Takes what is in the lane, for everybody, if no other thread is at it.
    pub(crate) fn look_at(self: &Arc<Self>, cell: &LaneCell) {
        let Some(mut holder) = cell.try_hold() else { return };
        let Some(lane) = holder.as_mut() else { return };
        lane.ring.unpark();
        if lane.drain_or_die(self).is_none() {
            let session = lane.session.clone();
            drop(holder);
            self.bury(&session);
        }
    }

    /// Is a call done, after one look?
    pub(crate) fn look(self: &Arc<Self>, call: &Call) -> bool {
        if self.stamp.is_child() {
            return true;
        }
        let cell = &self.lanes[call.lane];
        self.look_at(cell);
        if !call.entry.is_done() {
            self.check_session(call.serial);
        }
        if cell.is_waited_for() && cell.awake.load(SeqCst) == 0 {
            cell.let_go(cell.hold(), self);
        }
        call.entry.is_done()
    }

    /// Sleeps until the answer, another thread's find, or a wake of the daemon.
    fn sleep(self: &Arc<Self>, call: &Call, cell: &LaneCell, at_most: Duration) -> Wait {
        let mut holder = cell.hold();
        let Some(lane) = holder.as_mut().filter(|lane| lane.serial == call.serial) else {
            // Buried: the entry has its answer, or gets it in this moment.
            return Wait::Changed;
        };
        let Some(own_word) = call.entry.fall_asleep() else { return Wait::Changed };
        cell.sleepers.fetch_add(1, SeqCst);
        let last = cell.awake.fetch_sub(1, SeqCst) == 1;
        let wake =
            if last { lane.park_or_drain(self, cell.wake_by()) } else { Some(lane.wake_word()) };
        let down = lane.ring.down().clone();
        drop(holder);
        let slept = match wake {
            Some(wake) => {
                let words = [(down.futex(down::WAKE), wake), (own_word, crate::pending::ASLEEP)];
                futex::wait(&words, at_most)
            }
            None => Wait::Changed,
        };
        cell.awake.fetch_add(1, SeqCst);
        cell.sleepers.fetch_sub(1, SeqCst);
        call.entry.wake_up();
        slept
    }

    /// Looks whether the daemon is still there, and ends what is open if it is not.
    pub(crate) fn check_session(self: &Arc<Self>, serial: u32) {
        let Some(session) = self.current.load_full().filter(|s| s.serial == serial) else {
            return;
        };
        let _or_another_thread_notices = session.poll_if_free();
        self.bury(&session);
    }

    /// The call's time is over.
    #[cold]
    pub(crate) fn give_up(self: &Arc<Self>, call: &Call) -> Answer {
        let waited = call.since.elapsed();
        let cell = &self.lanes[call.lane];
        let mut holder = cell.hold();
        let mut stalled = false;
        let mut pid = 0;
        if let Some(lane) = holder.as_mut().filter(|lane| lane.serial == call.serial) {
            let _if_it_is_broken_the_next_call_says_so = lane.drain_or_die(self);
            stalled = waited >= STALLED_AFTER
                && lane.ring.beat() == call.beat
                && !lane.ring.was_claimed(call.ticket);
            pid = lane.session.pid;
            lane.abandon(call.ticket);
        }
        cell.let_go(holder, self);
        if let Some(answer) = call.entry.take() {
            return answer;
        }
        if stalled {
            return Err(Error::Stalled { outcome: Outcome::Unknown, waited, pid });
        }
        let after = call.timeout.unwrap_or(waited);
        Err(Error::Timeout { outcome: Outcome::Unknown, after })
    }
}

fn time(call: &Call, until: Option<Instant>) -> Time {
    let now = Instant::now();
    let deadline = call.deadline();
    if deadline.is_some_and(|at| at <= now) {
        return Time::CallOver;
    }
    if until.is_some_and(|at| at <= now) {
        return Time::WaitOver;
    }
    let left = |at: Instant| at.saturating_duration_since(now);
    let deadline = deadline.map_or(Duration::MAX, left);
    Time::Left(until.map_or(deadline, |until| left(until).min(deadline)))
}
