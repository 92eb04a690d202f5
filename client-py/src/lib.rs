//! The extension module `ringfence._core`. Under construction: it holds nothing yet.

/// Native half of the Python package `ringfence`; not an API.
#[pyo3::pymodule(gil_used = false)]
mod _core {}
