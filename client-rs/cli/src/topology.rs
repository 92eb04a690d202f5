//! `ringfence topology`: is it right, and which way do messages go?
//!
//! It asks no daemon.

use std::io::Write as _;

use ringfence::topology::{self, LoadError, Node};
use serde::Serialize;

use crate::args::{Global, TopologyFile};
use crate::exit::{Exit, Failure};
use crate::output;

/// The shape of the JSON; keys are stable.
#[derive(Serialize)]
struct Report<'a> {
    nodes: Vec<NodeRow<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct NodeRow<'a> {
    name: &'a str,
    endpoint: &'static str,
    host: Option<&'a str>,
    port: Option<u16>,
    services: Vec<ServiceRow<'a>>,
}

/// A service; with `--from` the way to it, or why there is none.
#[derive(Serialize)]
struct ServiceRow<'a> {
    name: &'a str,
    way: Option<String>,
    error: Option<String>,
}

pub(crate) fn run(global: &Global, what: &TopologyFile) -> Result<(), Failure> {
    let topology = topology::load(&what.file).map_err(|error| {
        let exit = if matches!(error, LoadError::Read { .. }) { Exit::NoInput } else { Exit::Data };
        Failure::new(exit, error.to_string())
    })?;
    if let Some(from) = &what.from {
        topology.node_of(from).map_err(|error| Failure::usage(error.to_string()))?;
    }
    let service = |name| {
        let way = what.from.as_ref().map(|from| topology.route(from, name));
        let (way, error) = match way.transpose() {
            Ok(way) => (way.map(|way| way.to_string()), None),
            Err(error) => (None, Some(error.to_string())),
        };
        ServiceRow { name, way, error }
    };
    let row = |node| row(node, service);
    let nodes = topology.nodes().iter().map(row).collect();
    let report = Report { nodes, warnings: topology.warnings() };
    if global.json {
        return output::json(&report);
    }
    for warning in report.warnings {
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(std::io::stderr(), "ringfence: warning: {warning}");
    }
    output::text(&text(&report.nodes))
}

fn row<'a>(node: &'a Node, service: impl Fn(&'a str) -> ServiceRow<'a>) -> NodeRow<'a> {
    NodeRow {
        name: &node.name,
        endpoint: node.endpoint.kind(),
        host: node.host.as_deref(),
        port: node.port,
        services: node.services.iter().map(|name| service(name)).collect(),
    }
}

fn text(nodes: &[NodeRow<'_>]) -> String {
    let all = nodes.iter().flat_map(|node| &node.services);
    let width = all.map(|service| service.name.len()).max().unwrap_or_default();
    let mut out = String::new();
    for node in nodes {
        let host = node.host.map_or(String::new(), |host| format!(" at {host}"));
        let head = output::bold(node.name);
        out.push_str(&format!("{head} ({}{host})\n", node.endpoint));
        for ServiceRow { name, way, error } in &node.services {
            let way = way.as_ref().or(error.as_ref()).map_or("", String::as_str);
            out.push_str(format!("  {name:<width$}  {way}").trim_end());
            out.push('\n');
        }
    }
    out
}
