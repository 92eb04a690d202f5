//! Many calls in one crossing from Python.
//!
//! The items are read while attached, sent and answered on a thread that knows nothing of Python,
//! and made `bytes` of when that is over. What lies between costs no object and no allocation an
//! item.

use std::ops::Range;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};
use ringfence::{CallOptions, Client, Error, Method, Reply};

use crate::buffer;
use crate::wait::{self, Budget, Owned};

/// Batches up to this size are made one by one: that takes less time than to start a thread.
const SMALL: usize = 64;

/// The bytes of one call, readable on any thread.
enum Item {
    Bytes(PyBackedBytes),
    Copy(Vec<u8>),
}

impl Item {
    fn of(item: &Bound<'_, PyAny>) -> PyResult<Self> {
        match item.cast::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes.clone().into())),
            Err(_) => buffer::to_vec(item, "item").map(Self::Copy),
        }
    }
}

impl AsRef<[u8]> for Item {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Copy(bytes) => bytes,
        }
    }
}

/// Answers as they come, one behind the other.
#[derive(Default)]
struct Answers {
    bytes: Vec<u8>,
    /// Where in `bytes` the answer of each item is.
    places: Vec<Range<usize>>,
    failed: Vec<(usize, Error)>,
}

impl Answers {
    fn of(items: &[Item]) -> Self {
        let expected = items.iter().map(|item| item.as_ref().len()).sum();
        Self {
            bytes: Vec::with_capacity(expected),
            places: vec![0..0; items.len()],
            failed: Vec::new(),
        }
    }

    fn put(&mut self, index: usize, reply: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(reply);
        self.places[index] = start..self.bytes.len();
    }

    fn keep(&mut self, index: usize, answer: Result<Reply, Error>) {
        match answer {
            Ok(reply) => self.put(index, &reply),
            Err(error) => self.failed.push((index, error)),
        }
    }
}

/// Calls `method` once for each of `items` and gives the answers in their order.
pub(crate) fn call_many<'py>(
    py: Python<'py>,
    client: &Client,
    method: &Method,
    items: &Bound<'py, PyAny>,
    options: &CallOptions,
) -> PyResult<Bound<'py, PyList>> {
    let items: Vec<Item> =
        items.try_iter()?.map(|item| Item::of(&item?)).collect::<PyResult<_>>()?;
    if items.len() <= SMALL {
        let one = |item: &Item| wait::echo(py, client, method, item.as_ref(), options);
        return PyList::new(py, items.iter().map(one).collect::<PyResult<Vec<_>>>()?);
    }
    let calls = Owned::new(client, method, Vec::new(), options);
    // The items come back, so that their reference counts go down on this thread.
    let (items, mut answers, submitted) = wait::aside(py, move || {
        let mut answers = Answers::of(&items);
        let keep = |index, answer| answers.keep(index, answer);
        let submitted = calls.client.call_many(&calls.method, &items, &calls.options, keep);
        (items, answers, submitted)
    })?;
    wait::or_raise(py, submitted)?;
    for (index, error) in std::mem::take(&mut answers.failed) {
        let item = items[index].as_ref();
        let budget = Budget::of(method, options);
        let reply =
            wait::settle(py, client, method, || item.to_vec(), options, budget, Err(error))?;
        answers.put(index, &reply);
    }
    let Answers { bytes, places, .. } = answers;
    PyList::new(py, places.into_iter().map(|place| PyBytes::new(py, &bytes[place])))
}
