//! Waiting on behalf of Python: when the interpreter lock is held, when it is not, and how long
//! Ctrl-C may take.
//!
//! A short call is spun for while attached: letting go of the interpreter lock and taking it back
//! costs more than the whole call, and up to 5 ms where another thread computes. Everything longer
//! waits detached, in slices, after each of which Python may run its signal handlers.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyEllipsis};
use ringfence::{
    CallOptions, Called, Client, Error, Loan, LoanRef, Method, Pending, Reply, Timeout,
};

use crate::buffer::Input;
use crate::error::raise;
use crate::pack::Payload;

/// Turns of spinning while attached; each is about 20 ns. Longer than a light call takes, shorter
/// than what other Python threads could notice.
const ATTACHED_SPIN_TURNS: u32 = 200;

/// The longest wait between two looks at Python's signals: half of what Ctrl-C may take.
const SLICE: Duration = Duration::from_millis(50);

/// Payloads from this size on are handed over detached: the copy alone is worth it.
const DETACH_BYTES: usize = 256 * 1024;

/// A year: what "for ever" is to a connect, whose end is a point in time.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

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
            at_once: true,
            ..CallOptions::default()
        }
    }

    /// How long connecting may take; `None` where the caller did not say.
    pub(crate) fn of_connect(self) -> Option<Duration> {
        match self.0 {
            Timeout::Default => None,
            Timeout::After(limit) => Some(limit),
            Timeout::Never => Some(FOR_EVER),
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
        other => {
            let budget = Budget::of(method, options);
            settle(py, client, method, || payload.to_vec(), options, budget, other)
        }
    }
}

/// As [`call`], with the answer copied into `bytes` by the shortest way there is.
#[inline]
pub(crate) fn echo<'py>(
    py: Python<'py>,
    client: &Client,
    method: &Method,
    payload: &[u8],
    options: &CallOptions,
) -> PyResult<Bound<'py, PyBytes>> {
    if payload.len() < DETACH_BYTES {
        let copy = |bytes: &[u8]| PyBytes::new(py, bytes);
        let open = match client.call_with(method, payload, options, copy) {
            Ok(Called::Done(bytes)) => return Ok(bytes),
            Ok(Called::Pending(pending)) => Ok(Called::Pending(pending)),
            Err(error) => Err(error),
        };
        let budget = Budget::of(method, options);
        let reply = settle(py, client, method, || payload.to_vec(), options, budget, open)?;
        return Ok(PyBytes::new(py, &reply));
    }
    let reply = call(py, client, method, payload, options)?;
    Ok(PyBytes::new(py, &reply))
}

/// As [`call`], for a method of which nobody knows how long it takes. Where calls run on this
/// thread (in process) Python goes on meanwhile, and Ctrl-C is heard if the catalogue says that it
/// may take long.
pub(crate) fn call_any(
    py: Python<'_>,
    client: &Client,
    method: &Method,
    payload: Payload,
    options: &CallOptions,
) -> PyResult<Reply> {
    let payload = match payload {
        Payload::Split(head, last) if !crate::target::RUNS_HERE => {
            return call_split(py, client, method, head, last, options);
        }
        other => other.whole(py),
    };
    if !crate::target::RUNS_HERE {
        return call(py, client, method, &payload, options);
    }
    if method.default_timeout().is_none() {
        let calls = Owned::new(client, method, payload, options);
        return aside(py, move || calls.call()).and_then(|answer| or_raise(py, answer));
    }
    or_raise(py, py.detach(|| client.call(method, &payload, options)))
}

/// Calls with a large last field: sends it where it lies, if that is a loan of this client, and else
/// copies it straight to where the daemon reads it.
fn call_split(
    py: Python<'_>,
    client: &Client,
    method: &Method,
    head: Vec<u8>,
    last: Input,
    options: &CallOptions,
) -> PyResult<Reply> {
    let budget = Budget::of(method, options);
    let sent = send_split(py, client, method, &head, &last, options, budget)?.map(Called::Pending);
    let payload = || Payload::Split(head, last).whole(py);
    settle(py, client, method, payload, options, budget, sent)
}

/// Submits such a call. [`Error::WouldBlock`]: no segment could be had for it at once, or none of that
/// size; the long way says why, or waits for one.
fn send_split(
    py: Python<'_>,
    client: &Client,
    method: &Method,
    head: &[u8],
    last: &Input,
    options: &CallOptions,
    budget: Budget,
) -> PyResult<Result<Pending, Error>> {
    let len = last.len();
    let submit = |segment: &LoanRef| {
        let options = CallOptions { timeout: budget.left(), ..*options };
        let sent = py.detach(|| client.submit_loaned(method, head, segment, len, &options));
        sent.and_then(|pending| pending.ok_or(Error::WouldBlock))
    };
    if let Some(segment) = client.loan_at(last.address()) {
        return Ok(submit(&segment));
    }
    Ok(match lend(py, client, len, budget)? {
        Ok(loan) => {
            last.copy_into(&loan);
            loan.segment().map_or(Err(Error::WouldBlock), |segment| submit(&segment))
        }
        Err(Error::Remote(_)) => Err(Error::WouldBlock),
        Err(error) => Err(error),
    })
}

/// A loan that is free, or else one that the daemon is asked for where Ctrl-C is heard.
fn lend(
    py: Python<'_>,
    client: &Client,
    len: usize,
    budget: Budget,
) -> PyResult<Result<Loan, Error>> {
    match client.loan_within(len, Duration::ZERO) {
        Err(Error::WouldBlock) => {
            let client = client.clone();
            aside(py, move || client.loan_within(len, budget.left_or_for_ever()))
        }
        other => Ok(other),
    }
}

/// Submits a call; room for it is waited for where Ctrl-C is heard.
pub(crate) fn submit(
    py: Python<'_>,
    client: &Client,
    method: &Method,
    payload: Payload,
    options: &CallOptions,
) -> PyResult<Pending> {
    let payload = match payload {
        Payload::Split(head, last) if !crate::target::RUNS_HERE => {
            let budget = Budget::of(method, options);
            match send_split(py, client, method, &head, &last, options, budget)? {
                Err(Error::WouldBlock) => Payload::Split(head, last).whole(py),
                sent => return or_raise(py, sent.map_err(|error| budget.name(error))),
            }
        }
        other => other.whole(py),
    };
    if crate::target::RUNS_HERE && method.default_timeout().is_none() {
        let calls = Owned::new(client, method, payload, options);
        let submitted = aside(py, move || calls.submit())?;
        return or_raise(py, submitted);
    }
    let submitted = match py.detach(|| client.submit(method, &payload, options)) {
        Err(Error::WouldBlock) => {
            let calls = Owned::new(client, method, payload, options);
            aside(py, move || calls.submit())?
        }
        other => other,
    };
    or_raise(py, submitted)
}

/// The time of one call, whatever it goes through.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    since: Instant,
    allowed: Option<Duration>,
}

impl Budget {
    /// Runs from now on.
    pub(crate) fn of(method: &Method, options: &CallOptions) -> Self {
        let allowed = Limit(options.timeout).or(method.default_timeout());
        Self { since: Instant::now(), allowed }
    }

    fn left(self) -> Timeout {
        match self.allowed {
            Some(_) => Timeout::After(self.left_or_for_ever()),
            None => Timeout::Never,
        }
    }

    fn left_or_for_ever(self) -> Duration {
        self.allowed.map_or(Duration::MAX, |allowed| allowed.saturating_sub(self.since.elapsed()))
    }

    /// A time-out names the time of the whole call, not what its last part had left.
    fn name(self, mut error: Error) -> Error {
        if let (Error::Timeout { after, .. }, Some(allowed)) = (&mut error, self.allowed) {
            *after = allowed;
        }
        error
    }
}

/// What is left to do for a call that was not answered at once. `payload` makes its bytes, if they are
/// to be sent (again).
#[cold]
pub(crate) fn settle(
    py: Python<'_>,
    client: &Client,
    method: &Method,
    payload: impl FnOnce() -> Vec<u8>,
    options: &CallOptions,
    budget: Budget,
    called: Result<Called, Error>,
) -> PyResult<Reply> {
    let answer = match called {
        Ok(Called::Done(reply)) => Ok(reply),
        Ok(Called::Pending(pending)) => wait_for(py, pending)?,
        Err(error) => Err(error),
    };
    let again = match answer {
        Err(Error::WouldBlock) => None,
        Err(error) if error.may_retry(method.is_idempotent()) => Some(error),
        answer => return or_raise(py, answer.map_err(|error| budget.name(error))),
    };
    let options = CallOptions { timeout: budget.left(), ..*options };
    let calls = Owned::new(client, method, payload(), &options);
    let answer = aside(py, move || match again {
        Some(error) => calls.recover(error),
        None => calls.call(),
    })?;
    or_raise(py, answer.map_err(|error| budget.name(error)))
}

/// Waits for a call that was submitted. One that is measured ends when Python goes on, not when its
/// answer is there.
#[cold]
fn wait_for(py: Python<'_>, mut pending: Pending) -> PyResult<Result<Reply, Error>> {
    let measurement = pending.take_measurement();
    let measured = measurement.is_some();
    loop {
        let waited = py.detach(|| {
            let answer = pending.wait_for(SLICE)?;
            Some((answer, measured.then(Instant::now)))
        });
        if let Some((answer, answered)) = waited {
            if let (Some(measurement), Some(at), true) = (measurement, answered, answer.is_ok()) {
                measurement.finish(at);
            }
            return Ok(answer);
        }
        // Ctrl-C: the exception leaves from here, and dropping `pending` cancels the call.
        py.check_signals()?;
    }
}

pub(crate) fn or_raise<T>(py: Python<'_>, result: Result<T, Error>) -> PyResult<T> {
    result.map_err(|error| raise(py, &error))
}

/// A call that another thread makes, which may outlive its caller's interest in it.
pub(crate) struct Owned {
    pub(crate) client: Client,
    pub(crate) method: Method,
    payload: Vec<u8>,
    pub(crate) options: CallOptions,
}

impl Owned {
    pub(crate) fn new(
        client: &Client,
        method: &Method,
        payload: Vec<u8>,
        options: &CallOptions,
    ) -> Self {
        let options = CallOptions { at_once: false, ..*options };
        let (client, method) = (client.clone(), method.clone());
        Self { client, method, payload, options }
    }

    fn call(&self) -> Result<Reply, Error> {
        self.client.call(&self.method, &self.payload, &self.options)
    }

    fn recover(&self, error: Error) -> Result<Reply, Error> {
        self.client.recover(error, &self.method, &self.payload, &self.options)
    }

    fn submit(&self) -> Result<Pending, Error> {
        self.client.submit(&self.method, &self.payload, &self.options)
    }
}

/// Waits at most `slice`s until `deadline` for what `step` gives, with a look at the signals after
/// each; `None` if the time is over.
pub(crate) fn until<T: Send>(
    py: Python<'_>,
    limit: Option<Duration>,
    mut step: impl FnMut(Duration) -> Option<T> + Send,
) -> PyResult<Option<T>> {
    let start = Instant::now();
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
    work: impl FnOnce() -> T + Send + 'static,
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
            Ok(outcome) => return Ok(outcome),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err(
                    "the thread that made the call panicked; please report it",
                ));
            }
        }
    }
}

/// As [`aside`], for work that gives an error of client-rs.
pub(crate) fn aside_or_raise<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> PyResult<T> {
    let result = aside(py, work)?;
    or_raise(py, result)
}

fn receive<T>(result: Receiver<T>) -> (Receiver<T>, Result<T, RecvTimeoutError>) {
    let answer = result.recv_timeout(SLICE);
    (result, answer)
}
