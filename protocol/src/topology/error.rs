//! Why a text is no topology.
//!
//! Each text names the place, the rule with its numbers and what to write instead. Names from the
//! file are shown escaped and cut to [`SHOWN`] characters.

use crate::limits::{
    TOPOLOGY_BYTES, TOPOLOGY_HOST_BYTES, TOPOLOGY_NAME_BYTES, TOPOLOGY_NODES, TOPOLOGY_SERVICES,
};
use crate::topology::Endpoint;

/// Characters of a name that an error repeats.
const SHOWN: usize = 80;

/// Why a text is no topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// Longer than any sane one.
    #[error("the file has {0} bytes, a topology at most {TOPOLOGY_BYTES}")]
    Large(usize),
    /// Not TOML, or a key that is repeated.
    #[error("line {line}, column {column}: {message}, in: {source_line}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// The reason.
        message: String,
        /// What stands there.
        source_line: String,
    },
    /// A key that does not exist.
    #[error("line {line}: unknown key `{key}` in {place}{hint}")]
    Key {
        /// From 1.
        line: usize,
        /// The key as written.
        key: String,
        /// What it stands in.
        place: &'static str,
        /// A near name, or what there is.
        hint: String,
    },
    /// A value of another type, or out of bounds.
    #[error("line {line}: `{key}` must be {rule}")]
    Value {
        /// From 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// A key that has to be there.
    #[error("line {line}: {place} has no `{key}`: write {example}")]
    Missing {
        /// From 1.
        line: usize,
        /// What it should stand in.
        place: &'static str,
        /// The key.
        key: &'static str,
        /// How it could look.
        example: &'static str,
    },
    /// A name that cannot be one.
    #[error(
        "line {line}: `{name}` is no name for a {what}: it has 1 to {TOPOLOGY_NAME_BYTES} letters, digits, \
         `-`, `_` and `.`, and does not begin with `.`"
    )]
    Name {
        /// From 1.
        line: usize,
        /// `node` or `service`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A host that cannot be one.
    #[error(
        "line {line}: `{host}` is no host: it is the name or the IP address at which others reach the node, \
         of at most {TOPOLOGY_HOST_BYTES} characters"
    )]
    Host {
        /// From 1.
        line: usize,
        /// The host.
        host: String,
    },
    /// More nodes than there may be.
    #[error("{0} nodes, the most is {TOPOLOGY_NODES}")]
    Nodes(usize),
    /// More services than there may be.
    #[error("{0} services, the most is {TOPOLOGY_SERVICES}")]
    Services(usize),
    /// An endpoint of a kind that does not exist.
    #[error("line {line}: unknown endpoint kind `{kind}`; there are {}{hint}", Endpoint::KINDS.join(", "))]
    Kind {
        /// From 1.
        line: usize,
        /// The kind.
        kind: String,
        /// A near one.
        hint: String,
    },
    /// A key of another kind of endpoint.
    #[error(
        "line {line}: `endpoint.{key}` is for kind = \"{wants}\", this endpoint is \"{kind}\": remove it"
    )]
    Foreign {
        /// From 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// The kind that takes it.
        wants: &'static str,
        /// The kind of the endpoint.
        kind: &'static str,
    },
    /// Two nodes with one name.
    #[error(
        "Duplicate node name: {name} (lines {first} and {line}): give one of them another name"
    )]
    DuplicateNode {
        /// The name.
        name: String,
        /// Where it is again.
        line: usize,
        /// Where it is first.
        first: usize,
    },
    /// A service that two nodes have, or one has twice.
    #[error(
        "Service {service} appears in multiple nodes: {first} and {second} (line {line}): keep it in one"
    )]
    DuplicateService {
        /// The service.
        service: String,
        /// The node that has it first.
        first: String,
        /// The node that has it, too.
        second: String,
        /// Where that node begins.
        line: usize,
    },
    /// A service that stands twice in the list of one node.
    #[error("line {line}: node {node} has service {service} twice: keep one")]
    RepeatedService {
        /// The service.
        service: String,
        /// The node.
        node: String,
        /// Where the node begins.
        line: usize,
    },
    /// A node on another machine, and nobody knows at which port.
    #[error(
        "Node {node} has remote host '{host}' but no port specified (line {line}): add the port at which it \
         is reached, such as port = 9092"
    )]
    NoPort {
        /// The node.
        node: String,
        /// Its host.
        host: String,
        /// Where the node begins.
        line: usize,
    },
    /// A TCP endpoint without an address.
    #[error(
        "Node {node} has endpoint kind \"tcp\" but no address (line {line}): add endpoint.addr = \
         \"0.0.0.0:9091\", or port"
    )]
    NoAddress {
        /// The node.
        node: String,
        /// Where the node begins.
        line: usize,
    },
    /// A socket whose path no socket address holds.
    #[error(
        "Node {node} (line {line}): its socket would have a path of {len} bytes, a socket address holds {most}: \
         choose a shorter socket_dir or name"
    )]
    Path {
        /// The node.
        node: String,
        /// Where the node begins.
        line: usize,
        /// The length of the path.
        len: usize,
        /// The most that it may be.
        most: usize,
    },
}

/// A text from a file as an error shows it: what would steer a terminal is escaped, quotes stay.
pub(super) fn shown(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars().take(SHOWN) {
        match c {
            '"' | '\'' | '\\' => safe.push(c),
            _ => safe.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        safe.push_str("...");
    }
    safe
}
