//! A Rust program with Python in it, and one bus for both: Rust publishes and Python's callback is
//! called, and the other way round, from threads of either language.
//!
//! The native half of `ringfence_inproc` is compiled into this program instead of being loaded as an
//! extension, so the bus that `ringfence.Runtime` finds is the one that Rust has in its hands. Python
//! needs nothing but its usual path with the package `ringfence` on it.

#[path = "../../src/batch.rs"]
mod batch;
#[path = "../../src/buffer.rs"]
mod buffer;
#[path = "../src/bus.rs"]
mod bus;
#[path = "../../src/client.rs"]
mod client;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/message.rs"]
mod message;
#[path = "../../src/method.rs"]
mod method;
#[path = "../../src/pack.rs"]
mod pack;
#[path = "../../src/pending.rs"]
mod pending;
#[path = "../src/target.rs"]
mod target;
#[path = "../../src/topic.rs"]
mod topic;
#[path = "../../src/unpack.rs"]
mod unpack;
#[path = "../../src/wait.rs"]
mod wait;

use std::error::Error;
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use ringfence::bus::{Event, Keep, Outgoing, Start, Subscription, Topic};

/// As in `src/lib.rs`: what Python finds under this name.
#[pyo3::pymodule(gil_used = false)]
mod _inproc {
    #[pymodule_export]
    use crate::buffer::{Loan, View};
    #[pymodule_export]
    use crate::bus::{Subscription, Topic};
    #[pymodule_export]
    use crate::client::Client;
    #[pymodule_export]
    use crate::error::error_table;
    #[pymodule_export]
    use crate::method::Method;
    #[pymodule_export]
    use crate::pack::Layout;
    #[pymodule_export]
    use crate::pending::Pending;
}

/// Each thread's share of the readings.
const EACH: u64 = 500;
const THREADS: u64 = 4;
const PATIENCE: Duration = Duration::from_secs(30);

const PYTHON: &std::ffi::CStr = cr#"
import sys
import threading

import _inproc

sys.modules["ringfence_inproc._inproc"] = _inproc

import ringfence as rf
from ringfence.messages import U64, Message, message


@message(type_id=1400)
class Reading(Message):
    number: U64


@message(type_id=1401)
class Doubled(Message):
    number: U64


runtime = rf.Runtime()
subscription = runtime.subscribe(Reading, lambda reading: runtime.publish(Doubled(2 * reading.number)))
runtime.publish(Doubled(0))  # so that its topic is there


def from_threads(threads, each):
    """Publishes readings from Python's own threads."""

    def publish(first):
        for number in range(first, first + each):
            runtime.publish(Reading(number))

    all = [threading.Thread(target=publish, args=(each * n,)) for n in range(threads)]
    for thread in all:
        thread.start()
    for thread in all:
        thread.join()


def leave():
    """Ends in order: what was received, missed and failed."""
    runtime.close()
    return subscription.received, subscription.missed, subscription.errors
"#;

fn main() -> Result<(), Box<dyn Error>> {
    pyo3::append_to_inittab!(_inproc);
    Python::initialize();
    let python = Python::attach(|py| -> PyResult<Py<PyDict>> {
        let globals = PyDict::new(py);
        py.run(PYTHON, Some(&globals), None)?;
        Ok(globals.unbind())
    })?;

    let doubled = topic_of("type.1401")?.subscribe(Start::Newest, Keep::InLog)?;
    let readings = topic_of("type.1400")?;
    let publishers: Vec<_> = (0..THREADS)
        .map(|n| {
            let readings = readings.clone();
            thread::spawn(move || publish(&readings, n * EACH))
        })
        .collect();
    let from_rust = sum(&doubled)?;
    for publisher in publishers {
        publisher.join().map_err(|_| "a publisher panicked")??;
    }
    println!("Rust to Python and back: {from_rust}");

    let from_python = thread::scope(|scope| {
        // This thread receives and does not hold the interpreter while the other is in it.
        scope.spawn(|| call(&python, "from_threads", (THREADS, EACH)).map(drop));
        sum(&doubled)
    })?;
    println!("Python to Rust: {from_python}");

    let (received, missed, errors): (u64, u64, u64) =
        Python::attach(|py| call(&python, "leave", ())?.extract(py))?;
    println!("Python received {received}, missed {missed}, errors {errors}");
    Ok(())
}

/// A topic that Python has made.
fn topic_of(name: &str) -> Result<Topic, String> {
    let topics = bus::bus_of_process().topics();
    topics.into_iter().find(|topic| topic.name() == name).ok_or(format!("there is no topic {name}"))
}

fn publish(readings: &Topic, first: u64) -> Result<(), ringfence::bus::PublishError> {
    for number in first..first + EACH {
        let payload = &number.to_le_bytes();
        readings.publish(&Outgoing { type_id: 1400, payload, ..Outgoing::default() })?;
    }
    Ok(())
}

/// The sum of the doubled readings of all threads.
fn sum(doubled: &Subscription) -> Result<u64, Box<dyn Error>> {
    let mut sum = 0;
    for _ in 0..THREADS * EACH {
        match doubled.recv(Some(PATIENCE))? {
            Event::Message(message) => sum += u64::from_le_bytes(message.payload[..].try_into()?),
            Event::Overtaken { missed } => return Err(format!("missed {missed}").into()),
        }
    }
    Ok(sum)
}

fn call<A>(python: &Py<PyDict>, name: &str, arguments: A) -> PyResult<Py<PyAny>>
where
    A: for<'py> pyo3::call::PyCallArgs<'py>,
{
    Python::attach(|py| {
        let function = python.bind(py).as_any().get_item(name)?;
        Ok(function.call1(arguments)?.unbind())
    })
}
