//! The way from one service to another: SPEC T4-T7.
//!
//! Invariant: a route depends on the two nodes alone, so that all services of a node take the same
//! ways. It does *not* say whether anybody is there.

use std::fmt;
use std::path::PathBuf;

use super::parse::is_wildcard;
use super::table::near;
use super::{Endpoint, Node, Topology};

/// Services that an error lists.
const LISTED: usize = 20;

/// How a message gets from one service to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// Within the process.
    Local,
    /// By the daemon of this machine.
    Shm,
    /// To the socket of another daemon of this machine.
    Unix {
        /// The socket.
        path: PathBuf,
    },
    /// To a daemon over TCP.
    Tcp {
        /// A name or an IP address, without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
}

/// Why there is no way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// A service that is nowhere.
    #[error("Service {service} is on no node of the topology{hint}; there are {known}")]
    Unknown {
        /// The service.
        service: String,
        /// A near one.
        hint: String,
        /// What there is.
        known: String,
    },
    /// A node that nobody on another machine can find.
    #[error(
        "Node {node} has no host, and {from} is on another machine: give {node} the host and port at which \
         it is reached from there"
    )]
    NoHost {
        /// The node.
        node: String,
        /// The node that looks for it.
        from: String,
    },
}

impl Topology {
    /// The way from one service to another.
    ///
    /// # Errors
    /// [`RouteError`], which says what there is or what to add.
    pub fn route(&self, from: &str, to: &str) -> Result<Route, RouteError> {
        self.way(self.node_of(from)?, self.node_of(to)?)
    }

    fn way(&self, from: &Node, to: &Node) -> Result<Route, RouteError> {
        if from.name == to.name {
            return Ok(if to.endpoint == Endpoint::Shm { Route::Shm } else { Route::Local });
        }
        if !same_machine(from.host.as_deref(), to.host.as_deref()) {
            return remote(from, to);
        }
        Ok(match (&to.endpoint, &from.endpoint) {
            // One that offers nothing itself still reads what its daemon has.
            (Endpoint::Shm, _) | (Endpoint::None, Endpoint::Shm) => Route::Shm,
            (Endpoint::None | Endpoint::Unix, _) => Route::Unix { path: self.socket(to) },
            (Endpoint::Tcp { listen }, _) => {
                let host = listen.as_ref().map(|listen| listen.host.as_str());
                let host = host.filter(|host| !is_wildcard(host)).unwrap_or("127.0.0.1");
                let port = listen.as_ref().map(|listen| listen.port).or(to.port);
                // Checked: an endpoint over TCP has one of them.
                Route::Tcp { host: host.to_owned(), port: port.unwrap_or_default() }
            }
        })
    }
}

fn remote(from: &Node, to: &Node) -> Result<Route, RouteError> {
    if let (Some(host), Some(port)) = (&to.host, to.port) {
        return Ok(Route::Tcp { host: host.clone(), port });
    }
    match &to.endpoint {
        Endpoint::Tcp { listen: Some(listen) } if !is_own(&listen.host) => {
            Ok(Route::Tcp { host: listen.host.clone(), port: listen.port })
        }
        _ => Err(RouteError::NoHost { node: to.name.clone(), from: from.name.clone() }),
    }
}

/// Do two hosts name one machine? None is the machine where the file is read.
pub(super) fn same_machine(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) if one.eq_ignore_ascii_case(other) => true,
        _ => one.is_none_or(is_here) && other.is_none_or(is_here),
    }
}

fn is_here(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An address that means another machine on every machine.
fn is_own(host: &str) -> bool {
    is_here(host) || is_wildcard(host)
}

impl RouteError {
    pub(super) fn unknown(service: &str, topology: &Topology) -> Self {
        let names: Vec<&str> = topology.services().collect();
        let hint = near(service, &names);
        let hint = hint.map_or(String::new(), |near| format!("; did you mean {near}?"));
        let mut known = names[..names.len().min(LISTED)].join(", ");
        if names.len() > LISTED {
            known.push_str(&format!(" and {} more", names.len() - LISTED));
        }
        Self::Unknown { service: super::error::shown(service), hint, known }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Shm => f.write_str("shm"),
            Self::Unix { path } => write!(f, "unix {}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp [{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp {host}:{port}"),
        }
    }
}
