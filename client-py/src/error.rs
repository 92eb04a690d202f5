//! From errors of client-rs to Python exceptions, by the one cross-language table.
//!
//! The classes live in `ringfence/_errors.py`; this file only says which row of the table an error
//! is. It does *not* build messages: their text is the daemon's or client-rs's own.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyTuple};
use ringfence::{Error, ErrorCode, Outcome};

/// `ringfence._errors.build`, which makes the exception.
static BUILD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The exception that `error` is raised as.
#[cold]
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let outcome = error.outcome().map(Outcome::name);
    build(py, error, outcome).unwrap_or_else(|failure| failure)
}

fn build(py: Python<'_>, error: &Error, outcome: Option<&str>) -> PyResult<PyErr> {
    let build = BUILD.get_or_try_init(py, || -> PyResult<_> {
        Ok(py.import("ringfence._errors")?.getattr("build")?.unbind())
    })?;
    let code = error.code();
    let class = format!("{:?}", code.python());
    let exception = build.bind(py).call1((code.as_u16(), class, error.to_string(), outcome))?;
    Ok(PyErr::from_value(exception))
}

/// What a wait raises that ended before its call did.
#[cold]
pub(crate) fn still_pending(py: Python<'_>, waited: Duration) -> PyErr {
    let after = format!("{waited:?}; the call is still pending: wait again, or cancel it");
    let error = Error::Remote(ringfence::remote_error::Error::new(
        ErrorCode::Expired,
        format!("no answer within {after}"),
    ));
    build(py, &error, Some("unknown")).unwrap_or_else(|failure| failure)
}

/// The error table: number, name, Python class and meaning of every code, in rising order.
#[pyfunction]
pub(crate) fn error_table(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let rows = ErrorCode::TABLE.iter().map(|(code, python, doc)| {
        (code.as_u16(), code.name(), format!("{python:?}"), doc.trim()).into_pyobject(py)
    });
    PyList::new(py, rows.collect::<PyResult<Vec<Bound<'_, PyTuple>>>>()?)
}
