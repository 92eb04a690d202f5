//! The bus of this process, as `ringfence.Runtime` uses it: bytes under a topic's name.
//!
//! Invariants: there is one bus for all runtimes of the process, and whoever waits for a message has let
//! go of the interpreter. It is a thread of its own that waits, never the main one, so nobody looks for
//! signals. It does *not* know what messages are made of: `ringfence/_runtime.py` does.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use ringfence::bus::{
    self, Event, Keep, Limits, Outgoing, PublishError, RecvError, Start, SubscribeError,
    TopicError, TopicOptions,
};

/// How many messages one receive hands over at most.
const MOST: usize = 100;

/// The bus that all runtimes of this process share.
pub(crate) fn bus_of_process() -> &'static bus::Bus {
    static BUS: OnceLock<bus::Bus> = OnceLock::new();
    BUS.get_or_init(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        bus::Bus::new(since.as_nanos() as u64, Limits::default())
    })
}

/// A topic of this process's bus.
#[pyclass(frozen, module = "ringfence_inproc._inproc")]
pub(crate) struct Topic {
    topic: bus::Topic,
}

#[pymethods]
impl Topic {
    /// The topic of this name, made if there is none: so many messages of up to so many bytes.
    #[new]
    fn new(name: &str, slots: u32, payload_bytes: usize) -> PyResult<Self> {
        let options = TopicOptions::for_messages(slots, payload_bytes);
        Ok(Self { topic: bus_of_process().topic(name, options).map_err(of_topic)? })
    }

    /// Writes a message: epoch and sequence of its place.
    fn publish(&self, type_id: u16, payload: &[u8]) -> PyResult<(u64, u64)> {
        // Such topics never wait for anybody, so the interpreter may be kept.
        let outgoing = Outgoing { type_id, payload, ..Outgoing::default() };
        let position = self.topic.publish(&outgoing).map_err(of_publish)?;
        Ok((position.epoch, position.sequence))
    }

    /// A subscription from the next message on.
    fn subscribe(&self) -> PyResult<Subscription> {
        let subscription = self.topic.subscribe(Start::Newest, Keep::InLog);
        Ok(Subscription { subscription: subscription.map_err(of_subscribe)? })
    }
}

/// A subscription.
#[pyclass(frozen, module = "ringfence_inproc._inproc")]
pub(crate) struct Subscription {
    subscription: bus::Subscription,
}

/// Messages, how many were missed on the way, and whether more may come.
type Received<'py> = (Vec<Bound<'py, PyBytes>>, u64, bool);

#[pymethods]
impl Subscription {
    /// Waits for a message, until [`close`](Self::close); then takes what else is there.
    fn recv<'py>(&self, py: Python<'py>) -> PyResult<Received<'py>> {
        let first = match py.detach(|| self.subscription.recv(None)) {
            Ok(first) => first,
            Err(RecvError::Closed | RecvError::BusClosed) => return Ok((Vec::new(), 0, false)),
            Err(error) => return Err(PyRuntimeError::new_err(error.to_string())),
        };
        // What ends it meanwhile is said again by the next receive.
        let rest = self.subscription.recv_batch(MOST - 1, Some(Duration::ZERO));
        let (mut payloads, mut missed) = (Vec::new(), 0);
        for event in std::iter::once(first).chain(rest.unwrap_or_default()) {
            match event {
                Event::Message(message) => payloads.push(PyBytes::new(py, &message.payload)),
                Event::Overtaken { missed: more } => missed += more,
            }
        }
        Ok((payloads, missed, true))
    }

    /// Ends it. Whoever receives from it is woken, and nobody receives from it afterwards.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.subscription.close());
    }
}

fn of_topic(error: TopicError) -> PyErr {
    let text = error.to_string();
    match error {
        TopicError::TooMany { .. } | TopicError::Memory { .. } => PyMemoryError::new_err(text),
        TopicError::Closed => PyRuntimeError::new_err(text),
        _ => PyValueError::new_err(text),
    }
}

fn of_publish(error: PublishError) -> PyErr {
    let text = error.to_string();
    match error {
        PublishError::TooLong(_) => PyValueError::new_err(text),
        _ => PyRuntimeError::new_err(text),
    }
}

fn of_subscribe(error: SubscribeError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}
