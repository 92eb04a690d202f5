//! The native classes of topics: publish and subscribe. What they hand out is in [`message`](crate::message).
//!
//! `ringfence.Topic` and `ringfence.Subscription` are these themselves, so that no Python frame stands
//! between a caller and a message. Whoever waits has let go of the interpreter, and hears signals. It
//! does *not* know what payloads mean.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};
use ringfence::{Error, ErrorCode, Event, Keep, Policy, Publication, Start, TopicOptions};

use crate::buffer;
use crate::error::raise;
use crate::message::{Counts, Message, Position, TopicStats};
use crate::wait::{self, Limit};

/// How long a receive waits if its caller does not say: as every other call.
const RECEIVE: Duration = Duration::from_secs(30);

/// Messages that one step of a batch takes.
const STEP: usize = 256;

/// A topic: messages that many publish and many read, in one order. Any thread may use it.
#[pyclass(frozen, weakref, module = "ringfence")]
pub(crate) struct Topic {
    pub(crate) topic: ringfence::Topic,
}

impl Topic {
    /// The topic of this name; made as it is asked for if there is none.
    pub(crate) fn open(
        py: Python<'_>,
        client: &ringfence::Client,
        name: String,
        asked: Option<Asked>,
    ) -> PyResult<Self> {
        let options = asked.map(Asked::options).transpose()?;
        let client = client.clone();
        let topic = wait::aside_or_raise(py, move || match options {
            Some(options) => client.topic(&name, options),
            None => client.find_topic(&name),
        })?;
        Ok(Self { topic })
    }

    fn publish_bytes(
        &self,
        py: Python<'_>,
        message: &Publication<'_>,
        timeout: Limit,
    ) -> PyResult<ringfence::Position> {
        let options = timeout.options();
        let send = |client: &ringfence::Client, method: &ringfence::Method, bytes: &[u8]| {
            wait::call(py, client, method, bytes, &options)
        };
        match self.topic.request(message, send) {
            None => {
                let published = py.detach(|| self.topic.publish(message));
                wait::or_raise(py, published)
            }
            Some(reply) => wait::or_raise(py, self.topic.position(&reply?)),
        }
    }
}

#[pymethods]
impl Topic {
    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        self.topic.name()
    }

    /// Messages that its log holds.
    #[getter]
    fn slots(&self) -> u32 {
        self.topic.options().slots
    }

    /// Bytes of the longest payload.
    #[getter]
    fn payload_bytes(&self) -> usize {
        self.topic.options().payload_bytes
    }

    /// What happens when a subscription is slow: "overwrite", "block" or "reject".
    #[getter]
    fn policy(&self) -> &'static str {
        match self.topic.options().policy {
            Policy::Overwrite => "overwrite",
            Policy::Block { .. } => "block",
            Policy::Reject => "reject",
        }
    }

    /// Longer messages that its log holds, each in a block of its own.
    #[getter]
    fn blocks(&self) -> u32 {
        self.topic.options().blocks
    }

    /// Bytes of the longest payload in a block.
    #[getter]
    fn block_bytes(&self) -> u32 {
        self.topic.options().block_bytes
    }

    /// How long a publish waits under "block", in seconds.
    #[getter]
    fn patience(&self) -> f64 {
        match self.topic.options().policy {
            Policy::Block { patience } => patience.as_secs_f64(),
            _ => 0.0,
        }
    }

    /// Publishes a message and gives its place: whoever looks from now on finds it there.
    ///
    /// `must_be_heard`: it is an error if nobody has subscribed.
    #[pyo3(signature = (payload, /, *, type_id = 0, trace = 0, correlation = 0, must_be_heard = false,
        timeout = Limit::DEFAULT))]
    #[allow(clippy::too_many_arguments)] // named ones in Python
    fn publish(
        &self,
        py: Python<'_>,
        payload: &Bound<'_, PyAny>,
        type_id: u16,
        trace: u128,
        correlation: u128,
        must_be_heard: bool,
        timeout: Limit,
    ) -> PyResult<Position> {
        let copy;
        let bytes = match payload.cast::<PyBytes>() {
            Ok(bytes) => bytes.as_bytes(),
            Err(_) => {
                copy = buffer::to_vec(payload, "payload")?;
                &copy
            }
        };
        let message =
            Publication::new(bytes).type_id(type_id).trace(trace).correlation(correlation);
        let message = if must_be_heard { message.must_be_heard() } else { message };
        let published = match self.publish_bytes(py, &message, timeout) {
            Err(error) if is_unknown_topic(py, &error) => {
                let topic = self.topic.clone();
                wait::aside_or_raise(py, move || topic.open_again())?;
                self.publish_bytes(py, &message, timeout)
            }
            published => published,
        };
        published.map(Position::of)
    }

    /// Publishes many messages, in their order, many on their way at a time: how many. The first failure is
    /// raised at the end; the others were published.
    #[pyo3(signature = (payloads, /, *, type_id = 0))]
    fn publish_many(
        &self,
        py: Python<'_>,
        payloads: &Bound<'_, PyAny>,
        type_id: u16,
    ) -> PyResult<u64> {
        let mut publisher = self.topic.publisher();
        let mut payloads = payloads.try_iter()?.peekable();
        while payloads.peek().is_some() {
            let some = payloads.by_ref().take(STEP);
            let some = some.map(|payload| buffer::to_vec(&payload?, "payload"));
            let some = some.collect::<PyResult<Vec<_>>>()?;
            let messages = some.iter().map(|bytes| Publication::new(bytes).type_id(type_id));
            let posted = py.detach(|| publisher.post_all(messages));
            wait::or_raise(py, posted)?;
            py.check_signals()?;
        }
        wait::aside_or_raise(py, move || publisher.flush())
    }

    /// Subscribes. `start` is "newest" (from the next message on), "oldest" (what the log still holds)
    /// or a `Position`. What is not handed out stays in the topic's log, or in a buffer of so many
    /// messages (`drop_oldest=` or `drop_newest=`), filled at each receive.
    #[pyo3(signature = (start = None, *, drop_oldest = None, drop_newest = None))]
    fn subscribe(
        &self,
        py: Python<'_>,
        start: Option<&Bound<'_, PyAny>>,
        drop_oldest: Option<usize>,
        drop_newest: Option<usize>,
    ) -> PyResult<Subscription> {
        let (start, keep) = parse_subscription(start, drop_oldest, drop_newest)?;
        let topic = self.topic.clone();
        let subscription = wait::aside_or_raise(py, move || topic.subscribe(start, keep))?;
        Ok(Subscription { inner: Inner::new(subscription) })
    }

    /// How it stands.
    fn stats(&self, py: Python<'_>) -> PyResult<TopicStats> {
        let topic = self.topic.clone();
        let stats = wait::aside_or_raise(py, move || topic.stats())?;
        let ringfence::TopicStats { published, subscriptions, waiting } = stats;
        Ok(TopicStats { published, subscriptions, waiting })
    }

    fn __repr__(&self) -> String {
        format!("<ringfence.Topic {:?}>", self.name())
    }
}

/// A subscription. Any thread may use it, one at a time receives.
#[pyclass(frozen, weakref, module = "ringfence", name = "TopicSubscription")]
pub(crate) struct Subscription {
    pub(crate) inner: Arc<Inner>,
}

/// What tasks that wait for a message share with it.
pub(crate) struct Inner {
    pub(crate) subscription: ringfence::Subscription,
    /// Missed since the last message that was handed out.
    missed: Mutex<u64>,
}

impl Inner {
    pub(crate) fn new(subscription: ringfence::Subscription) -> Arc<Self> {
        Arc::new(Self { subscription, missed: Mutex::new(0) })
    }

    /// The message of an event; what was missed is said with the next message.
    pub(crate) fn take(&self, py: Python<'_>, event: Event) -> PyResult<Option<Message>> {
        let message = match event {
            Event::Overtaken { missed } => {
                *self.missed.lock() += missed;
                return Ok(None);
            }
            Event::Message(message) => message,
        };
        let envelope = message.envelope;
        let data = match message.payload.into_view() {
            Err(copied) => PyBytes::new(py, &copied).into_any(),
            Ok(block) => {
                let view = Bound::new(py, buffer::View::of_block(block))?;
                PyMemoryView::from(view.as_any())?.into_any()
            }
        };
        Ok(Some(Message {
            data: data.unbind(),
            position: Py::new(py, Position::of(message.position))?,
            type_id: envelope.type_id,
            timestamp: envelope.timestamp,
            publisher: envelope.publisher,
            trace: envelope.trace,
            correlation: envelope.correlation,
            missed: std::mem::take(&mut *self.missed.lock()),
        }))
    }
}

impl Subscription {
    /// The next message within the time; `None` if there is none.
    fn next(&self, py: Python<'_>, limit: Option<Duration>) -> PyResult<Option<Message>> {
        // Most messages are there already: the interpreter is kept for these.
        let mut found = self.inner.subscription.try_recv();
        loop {
            match found {
                Ok(event) => {
                    if let Some(message) = self.inner.take(py, event)? {
                        return Ok(Some(message));
                    }
                    found = self.inner.subscription.try_recv();
                }
                Err(Error::NoMessage { .. }) => {
                    let waited = wait::until(py, limit, |slice| {
                        match self.inner.subscription.recv_until_signal(slice) {
                            Err(Error::NoMessage { .. }) => None,
                            found => Some(found),
                        }
                    })?;
                    match waited {
                        Some(waited) => found = waited,
                        None => return Ok(None),
                    }
                }
                Err(error) => return Err(raise(py, &error)),
            }
        }
    }
}

#[pymethods]
impl Subscription {
    /// The topic's name.
    #[getter]
    fn topic(&self) -> &str {
        self.inner.subscription.topic()
    }

    /// The next message; waits for it, `timeout` seconds at most (`None` is for ever), then raises
    /// `CallTimeout`.
    #[pyo3(signature = (*, timeout = Limit::DEFAULT))]
    fn recv(&self, py: Python<'_>, timeout: Limit) -> PyResult<Message> {
        let limit = timeout.or(Some(RECEIVE));
        match self.next(py, limit)? {
            Some(message) => Ok(message),
            None => Err(raise(py, &Error::NoMessage { within: limit.unwrap_or_default() })),
        }
    }

    /// Up to `max` messages: waits until there are so many, `timeout` seconds at most. An empty list
    /// if none came.
    #[pyo3(signature = (max = 100, *, timeout = Limit::DEFAULT))]
    fn recv_batch(&self, py: Python<'_>, max: usize, timeout: Limit) -> PyResult<Vec<Message>> {
        let limit = timeout.or(Some(RECEIVE));
        let started = std::time::Instant::now();
        let mut batch = Vec::new();
        while batch.len() < max {
            let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
            let step = (max - batch.len()).min(STEP);
            let events = wait::until(py, left, |slice| {
                match self.inner.subscription.recv_batch(step, Some(slice)) {
                    Ok(events) if events.is_empty() => None,
                    events => Some(events),
                }
            })?;
            match events {
                None => break,
                Some(Err(error)) if batch.is_empty() => return Err(raise(py, &error)),
                // Said again by the next call.
                Some(Err(_)) => break,
                Some(Ok(events)) => {
                    for event in events {
                        batch.extend(self.inner.take(py, event)?);
                    }
                }
            }
        }
        Ok(batch)
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Waits for ever; ends when the subscription is closed.
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Message>> {
        match self.next(py, None) {
            Err(_) if self.inner.subscription.is_closed() => Ok(None),
            found => found,
        }
    }

    /// What became of the messages since its start.
    #[getter]
    fn counts(&self) -> Counts {
        let ringfence::Counts { received, missed, dropped } = self.inner.subscription.counts();
        Counts { received, missed, dropped }
    }

    /// Was it closed?
    #[getter]
    fn closed(&self) -> bool {
        self.inner.subscription.is_closed()
    }

    /// Ends it. Whoever receives from it is woken; when this returns nothing more is received.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.inner.subscription.close());
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc_value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) {
        let _ = (exc_type, exc_value, traceback);
        self.close(py);
    }

    fn __repr__(&self) -> String {
        format!("<ringfence.TopicSubscription to {:?}>", self.topic())
    }
}

/// How a topic is asked for: slots, payload_bytes, blocks, block_bytes, policy, patience.
#[derive(FromPyObject)]
pub(crate) struct Asked(u32, usize, u32, u32, String, f64);

impl Asked {
    pub(crate) fn options(self) -> PyResult<TopicOptions> {
        let Self(slots, payload_bytes, blocks, block_bytes, policy, patience) = self;
        let policy = match policy.as_str() {
            "overwrite" => Policy::Overwrite,
            "reject" => Policy::Reject,
            "block" => {
                let patience = Duration::try_from_secs_f64(patience).map_err(|_| {
                    PyValueError::new_err(format!("patience is {patience}: give seconds"))
                })?;
                Policy::Block { patience }
            }
            other => {
                return Err(PyValueError::new_err(format!(
                    "policy is {other:?}; it can be \"overwrite\", \"block\" or \"reject\""
                )));
            }
        };
        Ok(TopicOptions { policy, slots, payload_bytes, blocks, block_bytes })
    }
}

/// What a subscription keeps and where it begins, as Python says it.
pub(crate) fn parse_subscription(
    start: Option<&Bound<'_, PyAny>>,
    drop_oldest: Option<usize>,
    drop_newest: Option<usize>,
) -> PyResult<(Start, Keep)> {
    let start = start.map_or(Ok(Start::Newest), parse_start)?;
    let keep = match (drop_oldest, drop_newest) {
        (None, None) => Keep::InLog,
        (Some(buffer), None) => Keep::DropOldest { buffer },
        (None, Some(buffer)) => Keep::DropNewest { buffer },
        (Some(_), Some(_)) => {
            let text = "a buffer drops its oldest messages or the newest: give one of the two";
            return Err(PyValueError::new_err(text));
        }
    };
    Ok((start, keep))
}

fn parse_start(start: &Bound<'_, PyAny>) -> PyResult<Start> {
    // A position of either extension.
    let part = |name: &str| start.getattr(name).and_then(|part| part.extract::<u64>());
    if let (Ok(epoch), Ok(sequence)) = (part("epoch"), part("sequence")) {
        return Ok(Start::At(ringfence::Position { epoch, sequence }));
    }
    match start.extract::<&str>() {
        Ok("newest") => Ok(Start::Newest),
        Ok("oldest") => Ok(Start::Oldest),
        Ok(other) => Err(PyValueError::new_err(format!(
            "start is {other:?}; it can be \"newest\", \"oldest\" or a Position"
        ))),
        Err(_) => Err(PyTypeError::new_err(format!(
            "start must be \"newest\", \"oldest\" or a Position, not {}",
            start.get_type().name()?
        ))),
    }
}

fn has_code(py: Python<'_>, error: &PyErr, code: ErrorCode) -> bool {
    let number = error.value(py).getattr("code").and_then(|code| code.extract::<u16>());
    number.is_ok_and(|number| number == code.as_u16())
}

#[cold]
fn is_unknown_topic(py: Python<'_>, error: &PyErr) -> bool {
    has_code(py, error, ErrorCode::UnknownTopic)
}
