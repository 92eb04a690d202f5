//! The extension module `ringfence_inproc._inproc`. Under construction: it holds nothing yet.

/// Native half of the Python package `ringfence_inproc`; not an API.
#[pyo3::pymodule(gil_used = false)]
mod _inproc {}
