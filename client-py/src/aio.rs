//! The native half of `ringfence.aio`: calls as futures of client-rs, polled by Python's event loop.
//!
//! The loop watches [`AsyncClient::fileno`] and calls [`AsyncClient::turn`], which polls the calls that
//! were woken and gives back those that are over. A call that is answered while it is started never
//! becomes an object. No thread is started, none waits, and nothing here knows asyncio.

use std::collections::HashMap;
use std::future::Future;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use ringfence::{CallOptions, Calling, Client, Driver, Error, Loaned, Reply};

use crate::buffer::{self, Input};
use crate::client::{builder, engines, info};
use crate::error::raise;
use crate::message::Position;
use crate::method::{Method, Resolved};
use crate::pack::{Layout, Payload};
use crate::topic;
use crate::wait::Limit;

/// What a future of client-rs comes to.
enum Outcome {
    Reply(Reply),
    Loan(ringfence::Loan),
    Topic(ringfence::Topic),
    Subscription(ringfence::Subscription),
    Position(ringfence::Position),
    Event(ringfence::Event),
}

type Answer = Result<Outcome, Error>;
type Going = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What becomes of an answer.
enum Shape {
    Bytes,
    Nothing,
    Named(Arc<Resolved>),
    Ordered(Arc<Resolved>),
    Loan,
    Topic,
    Subscription,
    Position,
    Message(Arc<topic::Inner>),
}

impl Shape {
    fn outcome(&self, py: Python<'_>, answer: Answer) -> PyResult<Py<PyAny>> {
        let outcome = answer.map_err(|error| raise(py, &error))?;
        Ok(match (self, outcome) {
            (Shape::Bytes, Outcome::Reply(reply)) => PyBytes::new(py, &reply).into_any().unbind(),
            (Shape::Named(method), Outcome::Reply(reply)) => method.result(py, reply)?,
            (Shape::Ordered(method), Outcome::Reply(reply)) => {
                method.values(py, reply)?.into_any().unbind()
            }
            (Shape::Loan, Outcome::Loan(loan)) => Py::new(py, buffer::Loan(loan))?.into_any(),
            (Shape::Topic, Outcome::Topic(topic)) => {
                Py::new(py, topic::Topic { topic })?.into_any()
            }
            (Shape::Subscription, Outcome::Subscription(subscription)) => {
                let inner = topic::Inner::new(subscription);
                Py::new(py, topic::Subscription { inner })?.into_any()
            }
            (Shape::Position, Outcome::Position(position)) => {
                Py::new(py, Position::of(position))?.into_any()
            }
            // `None`: messages were missed, which the next one says.
            (Shape::Message(of), Outcome::Event(event)) => match of.take(py, event)? {
                Some(message) => Py::new(py, message)?.into_any(),
                None => py.None(),
            },
            _ => py.None(),
        })
    }
}

/// The calls that were woken since they were last polled.
struct Woken {
    calls: Mutex<Calls>,
    driver: Driver,
}

#[derive(Default)]
struct Calls {
    woken: Vec<u64>,
    /// They are being polled: whoever is woken now is polled too.
    turning: bool,
}

impl Woken {
    /// What is to be polled next; the turn is over when there is nothing.
    fn next(&self) -> Vec<u64> {
        let mut calls = self.calls.lock();
        let woken = std::mem::take(&mut calls.woken);
        calls.turning = !woken.is_empty();
        woken
    }
}

struct Task {
    call: u64,
    woken: Arc<Woken>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let mut calls = self.woken.calls.lock();
        calls.woken.push(self.call);
        let turning = calls.turning;
        drop(calls);
        if !turning {
            self.woken.driver.wake();
        }
    }
}

/// A call that was not answered at once.
#[pyclass(frozen, module = "ringfence._core")]
pub(crate) struct AsyncCall {
    number: u64,
    shape: Shape,
    going: Mutex<Option<Going>>,
    waker: Waker,
    /// The future of the event loop that stands for it.
    future: Py<PyAny>,
}

impl AsyncCall {
    fn poll(&self) -> Poll<Answer> {
        let mut going = self.going.lock();
        let Some(call) = going.as_mut() else { return Poll::Pending };
        let polled = call.as_mut().poll(&mut Context::from_waker(&self.waker));
        if polled.is_ready() {
            *going = None;
        }
        polled
    }
}

/// A connection to a daemon that belongs to one event loop.
#[pyclass(frozen, subclass, weakref, module = "ringfence._core")]
pub(crate) struct AsyncClient {
    inner: Client,
    woken: Arc<Woken>,
    open: Mutex<HashMap<u64, Py<AsyncCall>>>,
    numbers: AtomicU64,
    /// Makes a future of the event loop.
    make_future: Py<PyAny>,
}

#[pymethods]
impl AsyncClient {
    /// Use `ringfence.aio.connect`. Does not wait: connecting is part of the first call.
    #[new]
    #[pyo3(signature = (make_future, target = None, *, autostart = None, daemon = None,
        timeout = Limit::DEFAULT, spin = "adaptive", name = None))]
    #[allow(clippy::too_many_arguments)] // named ones in Python
    fn new(
        py: Python<'_>,
        make_future: Py<PyAny>,
        target: Option<&str>,
        autostart: Option<PathBuf>,
        daemon: Option<PathBuf>,
        timeout: Limit,
        spin: &str,
        name: Option<&str>,
    ) -> PyResult<Self> {
        let builder = builder(py, target, autostart, daemon, timeout, spin, name)?;
        let made = builder.connect_later().and_then(|client| {
            let driver = client.driver()?;
            Ok((client, driver))
        });
        let (inner, driver) = made.map_err(|error| raise(py, &error))?;
        let woken = Woken { calls: Mutex::default(), driver };
        Ok(Self {
            inner,
            woken: Arc::new(woken),
            open: Mutex::default(),
            numbers: AtomicU64::new(0),
            make_future,
        })
    }

    /// What the event loop watches for reading.
    fn fileno(&self) -> i32 {
        self.woken.driver.as_raw_fd()
    }

    /// Goes on with all calls that can: (future, value, exception) of each that is over.
    fn turn(&self, py: Python<'_>) -> Vec<(Py<PyAny>, Py<PyAny>, Option<PyErr>)> {
        let woken = &self.woken;
        woken.calls.lock().turning = true;
        woken.driver.turn();
        let mut over = Vec::new();
        loop {
            let calls = woken.next();
            if calls.is_empty() {
                return over;
            }
            over.extend(calls.into_iter().filter_map(|number| self.poll(py, number)));
        }
    }

    /// Is the catalogue of the present daemon known?
    fn knows(&self) -> bool {
        self.inner.known_catalogue().is_some()
    }

    /// Connects, and fetches the catalogue.
    #[pyo3(signature = (*, timeout = Limit::DEFAULT))]
    fn learn(&self, py: Python<'_>, timeout: Limit) -> PyResult<Py<PyAny>> {
        let (client, options) = (self.inner.clone(), timeout.options());
        let learnt = async move { client.learn_async(&options).await.map(Outcome::Reply) };
        self.start(py, Shape::Nothing, learnt)
    }

    /// Sends bytes and gives back what the daemon answers: the same.
    #[pyo3(signature = (data, /, *, timeout = Limit::DEFAULT))]
    fn echo(&self, py: Python<'_>, data: &Bound<'_, PyAny>, timeout: Limit) -> PyResult<Py<PyAny>> {
        let payload = buffer::to_vec(data, "data")?;
        let echo = self.inner.echo_async(payload, &timeout.options());
        self.start(py, Shape::Bytes, async move { echo.await.map(Outcome::Reply) })
    }

    /// Asks the daemon for a sign of life.
    #[pyo3(signature = (*, timeout = Limit::DEFAULT))]
    fn ping(&self, py: Python<'_>, timeout: Limit) -> PyResult<Py<PyAny>> {
        let ping = self.inner.ping_async(&timeout.options());
        self.start(py, Shape::Nothing, async move { ping.await.map(Outcome::Reply) })
    }

    /// Calls a method with values by name; the answer is a named tuple, or `None` without fields.
    #[pyo3(signature = (method, fields, /, *, timeout = Limit::DEFAULT))]
    fn call(
        &self,
        py: Python<'_>,
        method: &Method,
        fields: &Bound<'_, PyDict>,
        timeout: Limit,
    ) -> PyResult<Py<PyAny>> {
        let pack = |request: &Layout| request.pack_named(Some(fields));
        self.call_method(py, method, pack, Shape::Named, timeout)
    }

    /// Calls a method with values in the order of its fields; the answer is a tuple.
    #[pyo3(signature = (method, values, /, *, timeout = Limit::DEFAULT))]
    fn invoke(
        &self,
        py: Python<'_>,
        method: &Method,
        values: &Bound<'_, PyTuple>,
        timeout: Limit,
    ) -> PyResult<Py<PyAny>> {
        let pack = |request: &Layout| request.pack_ordered(values);
        self.call_method(py, method, pack, Shape::Ordered, timeout)
    }

    /// Memory for so many bytes that the daemon reads where they are filled.
    #[pyo3(signature = (len, /, *, timeout = Limit::DEFAULT))]
    fn loan(&self, py: Python<'_>, len: usize, timeout: Limit) -> PyResult<Py<PyAny>> {
        let (client, options) = (self.inner.clone(), timeout.options());
        let lent = async move { client.loan_async(len, &options).await.map(Outcome::Loan) };
        self.start(py, Shape::Loan, lent)
    }

    /// The topic of this name; made as it is asked for if there is none.
    fn topic(
        &self,
        py: Python<'_>,
        name: &str,
        asked: Option<topic::Asked>,
    ) -> PyResult<Py<PyAny>> {
        let options = asked.map(topic::Asked::options).transpose()?;
        let opening = self.inner.topic_async(name, options);
        self.start(py, Shape::Topic, async move { opening.await.map(Outcome::Topic) })
    }

    /// Publishes a message: its place.
    #[pyo3(signature = (topic, payload, type_id, trace, correlation, must_be_heard, timeout))]
    #[allow(clippy::too_many_arguments)] // of `ringfence.aio.Topic.publish`
    fn publish(
        &self,
        py: Python<'_>,
        topic: &topic::Topic,
        payload: &Bound<'_, PyAny>,
        type_id: u16,
        trace: u128,
        correlation: u128,
        must_be_heard: bool,
        timeout: Limit,
    ) -> PyResult<Py<PyAny>> {
        let payload = buffer::to_vec(payload, "payload")?;
        let message = ringfence::Publication::new(&payload)
            .type_id(type_id)
            .trace(trace)
            .correlation(correlation);
        let message = if must_be_heard { message.must_be_heard() } else { message };
        let published = topic.topic.publish_async(&message, &timeout.options());
        self.start(py, Shape::Position, async move { published.await.map(Outcome::Position) })
    }

    /// Subscribes to a topic.
    fn subscribe(
        &self,
        py: Python<'_>,
        topic: &topic::Topic,
        start: Option<&Bound<'_, PyAny>>,
        drop_oldest: Option<usize>,
        drop_newest: Option<usize>,
    ) -> PyResult<Py<PyAny>> {
        let (start, keep) = topic::parse_subscription(start, drop_oldest, drop_newest)?;
        let subscribed = topic.topic.subscribe_async(start, keep);
        let subscribed = async move { subscribed.await.map(Outcome::Subscription) };
        self.start(py, Shape::Subscription, subscribed)
    }

    /// The next message of a subscription; `None` where some were missed, which that one says.
    fn recv(&self, py: Python<'_>, subscription: &topic::Subscription) -> PyResult<Py<PyAny>> {
        let (of, inner) = (subscription.inner.clone(), subscription.inner.clone());
        let received = async move { inner.subscription.recv_async().await.map(Outcome::Event) };
        self.start(py, Shape::Message(of), received)
    }

    /// Gives a call up: its ticket is free as soon as the daemon has let go of it.
    fn forget(&self, call: &AsyncCall) {
        self.open.lock().remove(&call.number);
        drop(call.going.lock().take());
    }

    /// Lets go of the daemon. Open calls end at the next turn.
    fn close(&self) {
        self.inner.close();
        self.woken.driver.wake();
    }

    fn _method(&self, engine: String, name: String) -> Method {
        Method::of_tasks(self.inner.clone(), engine, name)
    }

    fn _info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        info(py, &self.inner)
    }

    fn _engines(&self) -> Vec<(String, String, Vec<String>)> {
        self.inner.known_catalogue().map(|catalogue| engines(&catalogue)).unwrap_or_default()
    }
}

/// Sends a call with a large last field where that lies, if it is lent, and else copies it straight to where the
/// daemon reads it: only if there is memory and room at once. Else, and if anything is wrong, the long way is to be
/// taken.
fn send_split(
    client: &Client,
    method: &ringfence::Method,
    head: &[u8],
    last: &Input,
    options: &CallOptions,
) -> Option<Calling<Loaned>> {
    let len = last.len();
    if let Some(segment) = client.loan_at(last.address()) {
        return client.call_loaned_async(method, head, &segment, len, options).ok()?;
    }
    let loan = client.loan_within(len, Duration::ZERO).ok()?;
    last.copy_into(&loan);
    client.call_loaned_async(method, head, &loan.segment()?, len, options).ok()?
}

impl AsyncClient {
    fn call_method(
        &self,
        py: Python<'_>,
        method: &Method,
        pack: impl FnOnce(&Layout) -> PyResult<Payload>,
        shape: impl FnOnce(Arc<Resolved>) -> Shape,
        timeout: Limit,
    ) -> PyResult<Py<PyAny>> {
        let resolved = method.resolved_at_once(py)?;
        let payload = pack(&resolved.request)?;
        let options = timeout.options();
        if let Payload::Split(head, last) = &payload
            && let Some(call) = send_split(&self.inner, &resolved.method, head, last, &options)
        {
            return self.start(py, shape(resolved), async move { call.await.map(Outcome::Reply) });
        }
        let call = self.inner.call_async(&resolved.method, payload.whole(py), &options);
        self.start(py, shape(resolved), async move { call.await.map(Outcome::Reply) })
    }

    /// Starts a call: its value, or the [`AsyncCall`] that will have it.
    fn start(
        &self,
        py: Python<'_>,
        shape: Shape,
        call: impl Future<Output = Answer> + Send + 'static,
    ) -> PyResult<Py<PyAny>> {
        let number = self.numbers.fetch_add(1, Relaxed);
        let waker = Waker::from(Arc::new(Task { call: number, woken: self.woken.clone() }));
        let mut going: Going = Box::pin(call);
        if let Poll::Ready(answer) = going.as_mut().poll(&mut Context::from_waker(&waker)) {
            return shape.outcome(py, answer);
        }
        let future = self.make_future.call0(py)?;
        let call = Py::new(
            py,
            AsyncCall { number, shape, going: Mutex::new(Some(going)), waker, future },
        )?;
        self.open.lock().insert(number, call.clone_ref(py));
        Ok(call.into_any())
    }

    fn poll(&self, py: Python<'_>, number: u64) -> Option<(Py<PyAny>, Py<PyAny>, Option<PyErr>)> {
        // Gone: it was forgotten, or woken twice.
        let call = self.open.lock().get(&number).map(|call| call.clone_ref(py))?;
        let call = call.get();
        // A message that is taken for a task which was cancelled would be lost to the next one.
        let is_cancelled = || call.future.call_method0(py, "cancelled")?.is_truthy(py);
        if matches!(call.shape, Shape::Message(_)) && is_cancelled().unwrap_or(false) {
            return None;
        }
        let Poll::Ready(answer) = call.poll() else { return None };
        self.open.lock().remove(&number);
        let future = call.future.clone_ref(py);
        Some(match call.shape.outcome(py, answer) {
            Ok(value) => (future, value, None),
            Err(error) => (future, py.None(), Some(error)),
        })
    }
}

#[pymethods]
impl AsyncCall {
    /// The future of the event loop that stands for it.
    #[getter]
    fn future(&self, py: Python<'_>) -> Py<PyAny> {
        self.future.clone_ref(py)
    }
}
