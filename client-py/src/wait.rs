//! Waiting on behalf of Python: when the interpreter lock is held, when it is not, and how long
//! Ctrl-C may take.
//!
//! A short call is spun for while attached: letting go of the interpreter lock and taking it back
//! costs more than the whole call, and up to 5 ms where another thread computes. Everything longer
//! waits detached, in slices, after each of which Python may run its signal handlers.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyEllipsis;
use ringfence::{CallOptions, Called, Client, Method, Pending, Reply, Timeout};

use crate::error::raise;

/// Turns of spinning while attached; each is about 20 ns. Longer than a light call takes, shorter
/// than what other Python threads could notice.
const ATTACHED_SPIN_TURNS: u32 = 200;

/// The longest wait between two looks at Python's signals: half of what Ctrl-C may take.
const SLICE: Duration = Duration::from_millis(50);

/// Payloads from this size on are handed over detached: the copy alone is worth it.
const DETACH_BYTES: usize = 256 * 1024;

/// The argument `timeout=`: seconds, `None` for ever, `...` for the method's own.
#[derive(Clone, Copy)]
pub(crate) struct Limit(Timeout);

impl Limit {
    /// What the method says.
    pub(crate) const DEFAULT: Limit = Limit(Timeout::Default);

    /// The options of a call that may take this long.
    pub(crate) fn options(self) -> CallOptions {
        CallOptions {
            timeout: self.0,
            spin_turns: Some(ATTACHED_SPIN_TURNS),
            ..CallOptions::default()
        }
    }

    /// As a duration, `None` for ever; `default` where the caller did not say.
    pub(crate) fn or(self, default: Option<Duration>) -> Option<Duration> {
        match self.0 {
            Timeout::After(duration) => Some(duration),
            Timeout::Never => None,
            Timeout::Default => default,
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Limit {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if value.is_none() {
            return Ok(Limit(Timeout::Never));
        }
        if value.is_instance_of::<PyEllipsis>() {
            return Ok(Limit::DEFAULT);
        }
        let Ok(seconds) = value.extract::<f64>() else {
            return Err(PyTypeError::new_err(format!(
                "timeout must be seconds or None (for ever), not {}",
                value.get_type().name()?
            )));
        };
        if seconds.is_nan() || seconds < 0.0 {
            return Err(PyValueError::new_err(format!(
                "timeout is {seconds}: give seconds from 0 up, or None to wait for ever"
            )));
        }
        // Fails above 2^64 seconds, infinity included: that is for ever.
        let timeout = Duration::try_from_secs_f64(seconds).map_or(Timeout::Never, Timeout::After);
        Ok(Limit(timeout))
    }
}

/// Calls and waits for the answer.
#[inline]
pub(crate) fn call(
    py: Python<'_>,
    client: &Client,
    method: &Method,
    payload: &[u8],
    options: &CallOptions,
) -> PyResult<Reply> {
    let called = if payload.len() < DETACH_BYTES {
        client.call_or_pend(method, payload, options)
    } else {
        py.detach(|| client.call_or_pend(method, payload, options))
    };
    match called {
        Ok(Called::Done(reply)) => Ok(reply),
        Ok(Called::Pending(pending)) => finish(py, pending),
        Err(error) => Err(raise(py, &error)),
    }
}

/// Waits for an answer that did not come at once.
#[cold]
pub(crate) fn finish(py: Python<'_>, mut pending: Pending) -> PyResult<Reply> {
    loop {
        if let Some(answer) = py.detach(|| pending.wait_for(SLICE)) {
            return answer.map_err(|error| raise(py, &error));
        }
        // Ctrl-C: the exception leaves from here, and dropping `pending` cancels the call.
        py.check_signals()?;
    }
}

/// Waits at most `slice`s until `deadline` for what `step` gives, with a look at the signals after
/// each; `None` if the time is over.
pub(crate) fn until<T: Send>(
    py: Python<'_>,
    limit: Option<Duration>,
    mut step: impl FnMut(Duration) -> Option<T> + Send,
) -> PyResult<Option<T>> {
    let start = std::time::Instant::now();
    loop {
        let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
        let slice = left.map_or(SLICE, |left| left.min(SLICE));
        if let Some(value) = py.detach(|| step(slice)) {
            return Ok(Some(value));
        }
        py.check_signals()?;
        if left.is_some_and(|left| left <= slice) {
            return Ok(None);
        }
    }
}

/// Runs `work`, which cannot be interrupted, on a thread of its own so that Ctrl-C is heard
/// meanwhile. An abandoned result is dropped by that thread.
pub(crate) fn aside<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, ringfence::Error> + Send + 'static,
) -> PyResult<T> {
    let (done, mut result) = sync_channel(1);
    std::thread::Builder::new()
        .name("ringfence-aside".into())
        .spawn(move || {
            // The receiver is gone after Ctrl-C; then nobody wants the result.
            let _ = done.send(work());
        })
        .map_err(|error| PyOSError::new_err(format!("no thread could be started: {error}")))?;
    loop {
        let answer;
        (result, answer) = py.detach(move || receive(result));
        match answer {
            Ok(outcome) => return outcome.map_err(|error| raise(py, &error)),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("the connecting thread panicked"));
            }
        }
    }
}

fn receive<T>(result: Receiver<T>) -> (Receiver<T>, Result<T, RecvTimeoutError>) {
    let answer = result.recv_timeout(SLICE);
    (result, answer)
}
