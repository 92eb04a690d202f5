//! When tasks want to be woken whatever else happens: by one descriptor for all of them.
//!
//! Invariant: the descriptor is set to the earliest time, or to an earlier one; then it fires in vain
//! once. It does *not* wait.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::Waker;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use parking_lot::Mutex;

/// A time that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(Instant, u64);

/// The times of all tasks of a client.
#[derive(Debug)]
pub(crate) struct Timers {
    fd: TimerFd,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tasks: BTreeMap<Key, Waker>,
    /// When the descriptor fires.
    armed: Option<Instant>,
    numbers: u64,
}

impl Timers {
    pub(crate) fn new() -> nix::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let fd = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        Ok(Self { fd, state: Mutex::default() })
    }

    /// Has `task` woken at a time.
    pub(crate) fn set(&self, at: Instant, task: Waker) -> Key {
        let mut state = self.state.lock();
        state.numbers += 1;
        let key = Key(at, state.numbers);
        state.tasks.insert(key, task);
        self.arm(&mut state);
        key
    }

    /// The task need not be woken any more.
    pub(crate) fn clear(&self, key: Key) {
        self.state.lock().tasks.remove(&key);
    }

    /// Wakes the tasks whose time has come.
    pub(crate) fn fire(&self) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let later = state.tasks.split_off(&Key(now, u64::MAX));
        let due = std::mem::replace(&mut state.tasks, later);
        if state.armed.is_some_and(|at| at <= now) {
            state.armed = None;
        }
        self.arm(&mut state);
        drop(state);
        due.into_values().for_each(Waker::wake);
    }

    fn arm(&self, state: &mut State) {
        let Some((Key(first, _), _)) = state.tasks.first_key_value() else { return };
        if state.armed.is_some_and(|armed| armed <= *first) {
            return;
        }
        // Zero would switch it off.
        let left = first.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let when = Expiration::OneShot(TimeSpec::from_duration(left));
        // EINVAL alone can happen, with nanoseconds that no Duration has.
        if self.fd.set(when, TimerSetTimeFlags::empty()).is_ok() {
            state.armed = Some(*first);
        }
    }
}

impl AsFd for Timers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
