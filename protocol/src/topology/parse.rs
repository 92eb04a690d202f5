//! From TOML to nodes: what each key may say by itself.
//!
//! It does *not* compare nodes with one another: [`check`](super::check) does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::shown;
use super::table::{Entry, Source, Table, near};
use super::{Address, Endpoint, Node, Topology, TopologyError};
use crate::limits::{
    TOPOLOGY_BYTES, TOPOLOGY_HOST_BYTES, TOPOLOGY_NAME_BYTES, TOPOLOGY_NODES, TOPOLOGY_SERVICES,
};

const TOP: [&str; 2] = ["socket_dir", "nodes"];
const NODE: [&str; 5] = ["name", "services", "host", "port", "endpoint"];
const ENDPOINT: [&str; 3] = ["kind", "addr", "path"];

const NODES_RULE: &str = "a list of tables: begin each with [[nodes]]";
const SERVICES_RULE: &str = "a list of at least one name, such as [\"strategy\", \"executor\"]";
const ENDPOINT_RULE: &str = "a table, such as endpoint.kind = \"shm\"";
const ADDR_RULE: &str =
    "an address and a port to listen at, such as \"0.0.0.0:9091\" or \"[::]:9091\"";
const TEXT_RULE: &str = "a text in quotes";
const PORT_RULE: &str = "a whole number from 1 to 65535";
const SOCKET_DIR_RULE: &str = "an absolute path, such as \"/run/ringfence/nodes\"";

/// The nodes of a text, each checked by itself.
pub(super) fn read(text: &str, runtime_dir: &Path) -> Result<Topology, TopologyError> {
    if text.len() > TOPOLOGY_BYTES {
        return Err(TopologyError::Large(text.len()));
    }
    let source = Source::new(text);
    let root = DeTable::parse(text).map_err(|error| source.syntax(&error))?;
    let top = Table { source: &source, place: "the top level", start: 0, entries: root.get_ref() };
    top.only(&TOP)?;
    let mut warnings = Vec::new();
    let nodes = read_nodes(&top, &mut warnings)?;
    let socket_dir = socket_dir(&top)?.unwrap_or_else(|| runtime_dir.to_owned());
    Ok(Topology { nodes, services: BTreeMap::new(), socket_dir, warnings })
}

fn socket_dir(top: &Table<'_>) -> Result<Option<PathBuf>, TopologyError> {
    let Some(text) = top.text("socket_dir", SOCKET_DIR_RULE)? else { return Ok(None) };
    let wrong = || {
        let (line, key) = (top.line_of("socket_dir"), "socket_dir");
        TopologyError::Value { line, key, rule: SOCKET_DIR_RULE }
    };
    let path = PathBuf::from(text);
    if path.is_absolute() && !text.contains('\0') { Ok(Some(path)) } else { Err(wrong()) }
}

fn read_nodes(top: &Table<'_>, warnings: &mut Vec<String>) -> Result<Vec<Node>, TopologyError> {
    let missing = || top.missing("nodes", "[[nodes]] with a name and services");
    let value = top.get("nodes").ok_or_else(missing)?;
    let list = value.get_ref().as_array().ok_or_else(|| top.wrong(value, "nodes", NODES_RULE))?;
    if list.is_empty() {
        return Err(missing());
    }
    if list.len() > TOPOLOGY_NODES {
        return Err(TopologyError::Nodes(list.len()));
    }
    let (mut nodes, mut services) = (Vec::with_capacity(list.len()), 0);
    for value in list.iter() {
        let node = read_node(&inner(top, value, "[[nodes]]", "nodes", NODES_RULE)?, warnings)?;
        services += node.services.len();
        nodes.push(node);
    }
    if services > TOPOLOGY_SERVICES { Err(TopologyError::Services(services)) } else { Ok(nodes) }
}

/// The table that a value is.
fn inner<'t>(
    outer: &Table<'t>,
    value: Entry<'t>,
    place: &'static str,
    key: &'static str,
    rule: &'static str,
) -> Result<Table<'t>, TopologyError> {
    let entries = value.get_ref().as_table().ok_or_else(|| outer.wrong(value, key, rule))?;
    Ok(Table { source: outer.source, place, start: value.span().start, entries })
}

fn read_node(table: &Table<'_>, warnings: &mut Vec<String>) -> Result<Node, TopologyError> {
    table.only(&NODE)?;
    let name = table.text("name", TEXT_RULE)?;
    let name = name.ok_or_else(|| table.missing("name", "name = \"main\""))?;
    check_name(table.line_of("name"), "node", name)?;
    let host = table.text("host", TEXT_RULE)?;
    if let Some(host) = host.filter(|host| !is_host(host) || is_wildcard(host)) {
        return Err(TopologyError::Host { line: table.line_of("host"), host: shown(host) });
    }
    Ok(Node {
        name: name.to_owned(),
        services: read_services(table)?,
        host: host.map(str::to_owned),
        port: read_port(table)?,
        endpoint: read_endpoint(table, name, warnings)?,
        line: table.line(),
    })
}

fn read_services(table: &Table<'_>) -> Result<Vec<String>, TopologyError> {
    let missing = || table.missing("services", "services = [\"strategy\", \"executor\"]");
    let value = table.get("services").ok_or_else(missing)?;
    let wrong = || table.wrong(value, "services", SERVICES_RULE);
    let list = value.get_ref().as_array().filter(|list| !list.is_empty()).ok_or_else(wrong)?;
    if list.len() > TOPOLOGY_SERVICES {
        return Err(TopologyError::Services(list.len()));
    }
    let mut services = Vec::with_capacity(list.len());
    for service in list.iter() {
        let name = service.get_ref().as_str();
        let name = name.ok_or_else(|| table.wrong(service, "services", SERVICES_RULE))?;
        check_name(table.source.line(service.span().start), "service", name)?;
        services.push(name.to_owned());
    }
    Ok(services)
}

fn read_port(table: &Table<'_>) -> Result<Option<u16>, TopologyError> {
    let Some(value) = table.get("port") else { return Ok(None) };
    let number = match value.get_ref() {
        DeValue::Integer(number) => u16::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    let port = number.filter(|port| *port > 0);
    port.map(Some).ok_or_else(|| table.wrong(value, "port", PORT_RULE))
}

fn read_endpoint(
    node: &Table<'_>,
    name: &str,
    warnings: &mut Vec<String>,
) -> Result<Endpoint, TopologyError> {
    let Some(value) = node.get("endpoint") else { return Ok(Endpoint::None) };
    let table = inner(node, value, "endpoint", "endpoint", ENDPOINT_RULE)?;
    table.only(&ENDPOINT)?;
    let kind = table.text("kind", TEXT_RULE)?;
    let kind = kind.ok_or_else(|| table.missing("kind", "endpoint.kind = \"shm\""))?;
    let (addr, path) = (table.text("addr", TEXT_RULE)?, table.text("path", TEXT_RULE)?);
    let endpoint = match kind {
        "none" => Endpoint::None,
        "shm" => Endpoint::Shm,
        "unix" => Endpoint::Unix,
        "tcp" => Endpoint::Tcp { listen: addr.map(|addr| read_address(&table, addr)).transpose()? },
        _ => return Err(unknown_kind(table.line_of("kind"), kind)),
    };
    let foreign = |key, wants| {
        let (line, kind) = (table.line_of(key), endpoint.kind());
        Err(TopologyError::Foreign { line, key, wants, kind })
    };
    match (&endpoint, addr, path) {
        (Endpoint::Tcp { .. }, _, None) | (_, None, None) => {}
        (Endpoint::Shm, None, Some(_)) => warnings.push(format!(
            "line {}: endpoint.path of node {name} has no effect: the daemon names its segments itself",
            table.line_of("path")
        )),
        (Endpoint::Tcp { .. }, ..) | (_, None, _) => return foreign("path", "shm"),
        _ => return foreign("addr", "tcp"),
    }
    Ok(endpoint)
}

fn unknown_kind(line: usize, kind: &str) -> TopologyError {
    let hint = near(kind, &Endpoint::KINDS);
    let hint = hint.map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
    TopologyError::Kind { line, kind: shown(kind), hint }
}

/// `host:port`, where an IPv6 address stands in brackets.
fn read_address(table: &Table<'_>, text: &str) -> Result<Address, TopologyError> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port: &u16| digits && *port > 0)?;
        let host = bare.unwrap_or(host);
        let whole = is_host(host) && host.contains(':') == bare.is_some();
        whole.then(|| Address { host: host.to_owned(), port })
    });
    let (line, key) = (table.line_of("addr"), "endpoint.addr");
    parts.ok_or(TopologyError::Value { line, key, rule: ADDR_RULE })
}

fn check_name(line: usize, what: &'static str, name: &str) -> Result<(), TopologyError> {
    let letters =
        name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if (1..=TOPOLOGY_NAME_BYTES).contains(&name.len()) && letters && !name.starts_with('.') {
        return Ok(());
    }
    Err(TopologyError::Name { line, what, name: shown(name) })
}

/// A name of the DNS or an IP address, as far as its letters say.
fn is_host(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let name = text.bytes().all(letter) && !text.starts_with(['-', '.']);
    let known = name || text.parse::<std::net::Ipv6Addr>().is_ok();
    (1..=TOPOLOGY_HOST_BYTES).contains(&text.len()) && known
}

/// An address to listen at, and none to connect to.
pub(super) fn is_wildcard(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified())
}
