//! Topologies, as `ringfence/topology.py` and `ringfence.Runtime` ask them.
//!
//! It only translates: what a topology is and which way a message goes, client-rs says.

use std::path::PathBuf;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use ringfence::topology::{self, Route};

/// A checked topology.
#[pyclass(frozen, module = "ringfence._core")]
pub(crate) struct Topology {
    topology: topology::Topology,
}

/// Name, kind of endpoint, host, port and services of a node.
type NodeRow<'t> = (&'t str, &'static str, Option<&'t str>, Option<u16>, &'t [String]);

/// Kind, socket, host and port of a way.
type Way = (&'static str, Option<PathBuf>, Option<String>, Option<u16>);

#[pymethods]
impl Topology {
    /// The topology that a file describes.
    #[new]
    fn new(path: PathBuf) -> PyResult<Self> {
        Ok(Self { topology: topology::load(path).map_err(wrong)? })
    }

    /// Its nodes in the order of the file.
    fn nodes(&self) -> Vec<NodeRow<'_>> {
        self.topology.nodes().iter().map(row).collect()
    }

    /// What is taken but has no effect.
    fn warnings(&self) -> Vec<String> {
        self.topology.warnings().to_vec()
    }

    /// The name of the node that a service lives on.
    fn node_of(&self, service: &str) -> PyResult<&str> {
        Ok(&self.topology.node_of(service).map_err(wrong)?.name)
    }

    /// The way from one service to another.
    fn route(&self, from_service: &str, to_service: &str) -> PyResult<Way> {
        let way = self.topology.route(from_service, to_service).map_err(wrong)?;
        Ok(match way {
            Route::Local => ("local", None, None, None),
            Route::Shm => ("shm", None, None, None),
            Route::Unix { path } => ("unix", Some(path), None, None),
            Route::Tcp { host, port } => ("tcp", None, Some(host), Some(port)),
        })
    }
}

fn row(node: &topology::Node) -> NodeRow<'_> {
    let topology::Node { name, services, host, port, endpoint, .. } = node;
    (name, endpoint.kind(), host.as_deref(), *port, services)
}

fn wrong(error: impl std::error::Error) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}
