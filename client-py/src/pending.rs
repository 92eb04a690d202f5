//! A call that was sent and may be answered already.
//!
//! Any thread may wait for it, several at once too: the one that holds the lock waits for the
//! daemon, the others for the lock, all of them detached and in slices. The lock is never held
//! while Python code runs. In a forked child a thread that is not there may hold it for ever: there
//! a lock that is not free is an answer, [`Error::Forked`].

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use ringfence::{Error, ForkStamp, Reply};

use crate::error::{raise, still_pending};
use crate::method::Resolved;
use crate::wait::{self, Limit};

enum State {
    Waiting(ringfence::Pending),
    Answered(Result<Reply, Error>),
    /// The answer is in `Pending::result`, or on its way there.
    Taken,
}

/// A call in flight. Dropped unanswered, it is cancelled.
#[pyclass(frozen, module = "ringfence", weakref)]
pub(crate) struct Pending {
    state: Mutex<State>,
    /// The process that sent it.
    sender: ForkStamp,
    method: Arc<Resolved>,
    result: PyOnceLock<PyResult<Py<PyAny>>>,
}

impl Pending {
    pub(crate) fn new(pending: ringfence::Pending, method: Arc<Resolved>) -> Self {
        let state = Mutex::new(State::Waiting(pending));
        Self { state, sender: ForkStamp::now(), method, result: PyOnceLock::new() }
    }

    /// Waits at most about `slice`; true once the answer is there.
    fn step(&self, slice: Duration) -> Result<bool, Error> {
        let Some(mut state) = self.state.try_lock_for(slice) else {
            return if self.sender.is_child() { Err(Error::Forked) } else { Ok(false) };
        };
        if let State::Waiting(pending) = &mut *state {
            match pending.wait_for(slice) {
                Some(answer) => *state = State::Answered(answer),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The answer as Python sees it; made once. Only after `step` was true.
    fn outcome(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let outcome = self.result.get_or_init(py, || {
            let taken = std::mem::replace(&mut *self.state.lock(), State::Taken);
            match taken {
                State::Answered(Ok(reply)) => self.method.result(py, reply),
                State::Answered(Err(error)) => Err(raise(py, &error)),
                // Not reached: `step` was true, and this runs once.
                State::Waiting(_) | State::Taken => Ok(py.None()),
            }
        });
        match outcome {
            Ok(value) => Ok(value.clone_ref(py)),
            Err(error) => Err(error.clone_ref(py)),
        }
    }
}

#[pymethods]
impl Pending {
    /// The answer: waits for it, `timeout` seconds at most (by default as long as the call may
    /// take, `None` is for ever). If that time passes, `CallTimeout` is raised and the call goes
    /// on: `result` may be called again.
    #[pyo3(signature = (*, timeout = Limit::DEFAULT))]
    fn result(&self, py: Python<'_>, timeout: Limit) -> PyResult<Py<PyAny>> {
        if self.result.get(py).is_some() {
            return self.outcome(py);
        }
        let limit = timeout.or(None);
        match wait::until(py, limit, |slice| {
            self.step(slice).map(|done| done.then_some(())).transpose()
        })? {
            Some(Ok(())) => self.outcome(py),
            Some(Err(error)) => Err(raise(py, &error)),
            None => Err(still_pending(py, limit.unwrap_or_default())),
        }
    }

    /// Has the answer arrived? Never waits.
    fn done(&self, py: Python<'_>) -> bool {
        if self.result.get(py).is_some() {
            return true;
        }
        match self.state.try_lock().as_deref() {
            Some(State::Waiting(pending)) => pending.is_done(),
            Some(State::Answered(_) | State::Taken) => true,
            // Somebody who waits holds the lock, so it is not answered; in a child it never will be.
            None => self.sender.is_child(),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let state = if self.done(py) { "answered" } else { "open" };
        format!("<call of {}, {state}>", self.method.request.owner)
    }

    /// The index of the first of `pendings` that is answered, within `timeout` seconds; `None` if
    /// none is.
    #[staticmethod]
    #[pyo3(signature = (pendings, /, *, timeout = Limit::DEFAULT))]
    fn _first_of(
        py: Python<'_>,
        pendings: Vec<Py<Pending>>,
        timeout: Limit,
    ) -> PyResult<Option<usize>> {
        let all: Vec<&Pending> = pendings.iter().map(Py::get).collect();
        wait::until(py, timeout.or(None), |slice| first_of(&all, slice))
    }

    /// Asks the daemon to stop working on it. `result` then raises `Cancelled`, or gives the
    /// answer if that was quicker.
    fn cancel(&self, py: Python<'_>) {
        py.detach(|| {
            if !self.sender.is_child()
                && let State::Waiting(pending) = &*self.state.lock()
            {
                pending.cancel();
            }
        });
    }
}

/// The first of them within about `slice`.
fn first_of(all: &[&Pending], slice: Duration) -> Option<usize> {
    // One whose lock another thread holds is waited for there, and looked at again in the next slice.
    let states: Vec<_> = all.iter().map(|pending| pending.state.try_lock()).collect();
    let mut waiting = Vec::with_capacity(all.len());
    for (index, state) in states.iter().enumerate() {
        match state.as_deref() {
            Some(State::Waiting(pending)) => waiting.push((index, pending)),
            Some(State::Answered(_) | State::Taken) => return Some(index),
            None => {}
        }
    }
    let calls: Vec<&ringfence::Pending> = waiting.iter().map(|(_, pending)| *pending).collect();
    if calls.is_empty() {
        std::thread::sleep(slice.min(Duration::from_millis(1)));
        return None;
    }
    ringfence::wait_any(&calls, slice).map(|first| waiting[first].0)
}
