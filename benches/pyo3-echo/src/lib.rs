//! The least a Python process can pay for a call into Rust that takes bytes and gives bytes.
//!
//! It knows nothing of Ringfence. One positional-only argument, so that PyO3 uses its fast call.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// `echo(data, /)`: a new bytes object with the same content.
#[pyfunction]
#[pyo3(signature = (data, /))]
fn echo<'py>(py: Python<'py>, data: &[u8]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, data)
}

/// The extension module `pyo3_echo`.
#[pymodule(gil_used = false)]
fn pyo3_echo(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(echo, module)?)
}
