//! Topologies: which service lives on which node, and how a node is reached.
//!
//! A [`Topology`] is made of the text of a `topology.toml`, which Rust and Python clients and the
//! bridge between daemons all read here, so that they all send a message the same way. SPEC T1-T7.
//!
//! Invariants: no two nodes have the same name and no two the same service; whoever is on another
//! machine says where; every name is safe in a file name and in a key of the bridge.
//!
//! It does *not* read files, connect to anything or know which daemon is running.

mod check;
mod error;
mod parse;
mod route;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use error::TopologyError;
pub use route::{Route, RouteError};

/// A checked topology.
///
/// ```
/// use std::path::Path;
/// use ringfence_protocol::topology::{Route, Topology};
///
/// let text = r#"
///     [[nodes]]
///     name = "adapters"
///     services = ["polygon", "ethereum"]
///
///     [[nodes]]
///     name = "strategies"
///     services = ["arbitrage"]
///     endpoint.kind = "shm"
/// "#;
/// let topology = Topology::parse(text, Path::new("/run/user/1000/ringfence"))?;
/// assert_eq!(topology.route("polygon", "ethereum")?, Route::Local);
/// assert_eq!(topology.route("polygon", "arbitrage")?, Route::Shm);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    nodes: Vec<Node>,
    /// The node of each service, by its index.
    services: BTreeMap<String, usize>,
    socket_dir: PathBuf,
    warnings: Vec<String>,
}

/// One node: services that share a process or a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What lives there, in the order of the file.
    pub services: Vec<String>,
    /// The machine, as others reach it. None: the one where the file is read.
    pub host: Option<String>,
    /// The port at which that machine is reached.
    pub port: Option<u16>,
    /// What it offers to other processes.
    pub endpoint: Endpoint,
    /// Where its table begins.
    line: usize,
}

/// How a node's services are reached from other processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Not at all: they are parts of one process.
    None,
    /// By the daemon of the machine.
    Shm,
    /// By a socket in the folder of sockets, named as the node.
    Unix,
    /// By TCP. The address is where it listens.
    Tcp {
        /// An address of that machine; none where the node's `host` and `port` say it.
        listen: Option<Address>,
    },
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// From 1.
    pub port: u16,
}

impl Endpoint {
    /// Every kind that can be written, in the order of the documentation.
    pub const KINDS: [&str; 4] = ["none", "shm", "unix", "tcp"];

    /// The kind as it is written.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Shm => "shm",
            Self::Unix => "unix",
            Self::Tcp { .. } => "tcp",
        }
    }
}

impl Topology {
    /// The topology that a text describes. `runtime_dir` is where sockets are if it does not say.
    ///
    /// # Errors
    /// [`TopologyError`], the first that is found, with its line.
    pub fn parse(text: &str, runtime_dir: &Path) -> Result<Self, TopologyError> {
        let topology = parse::read(text, runtime_dir)?;
        topology.checked()
    }

    /// Its nodes in the order of the file.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The names of all services, sorted.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// Where sockets of nodes are.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// What is taken but has no effect.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The node that a service lives on.
    ///
    /// # Errors
    /// [`RouteError::Unknown`], with the services that there are.
    pub fn node_of(&self, service: &str) -> Result<&Node, RouteError> {
        match self.services.get(service) {
            Some(&index) => Ok(&self.nodes[index]),
            None => Err(RouteError::unknown(service, self)),
        }
    }

    /// The socket of a node.
    #[must_use]
    pub fn socket(&self, node: &Node) -> PathBuf {
        self.socket_dir.join(format!("{}.sock", node.name))
    }
}
