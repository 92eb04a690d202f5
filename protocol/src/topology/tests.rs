//! Topologies of the original and our own, each error with its text, and any bytes at all.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::limits::{TOPOLOGY_BYTES, TOPOLOGY_NODES, TOPOLOGY_SERVICES};

fn parse(text: &str) -> Result<Topology, TopologyError> {
    Topology::parse(text, Path::new("/run/rf"))
}

/// One line of the table: from, to, and the way or what is missing.
type Row = (&'static str, &'static str, &'static str);

fn routes(text: &str, rows: &[Row]) {
    let topology = parse(text).unwrap();
    for (from, to, way) in rows {
        let found = topology.route(from, to);
        let found = found.map_or_else(|error| error.to_string(), |route| route.to_string());
        assert_eq!(&found, way, "{from} to {to}");
    }
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

const MONOLITHIC: &str = r#"
[[nodes]]
name = "main"
services = ["rust-strategy", "python-ml-model", "rust-executor"]
"#;

const HYBRID: &str = r#"
[[nodes]]
name = "ml-node"
services = ["python-ml-model"]
endpoint.kind = "tcp"
endpoint.addr = "0.0.0.0:9091"

[[nodes]]
name = "strategy-node"
services = ["rust-strategy"]
host = "10.0.2.20"
port = 9092
"#;

const MIXED: &str = r#"
socket_dir = "/tmp/mycelium"

[[nodes]]
name = "ml-node"
services = ["python-ml-model"]
endpoint.kind = "unix"

[[nodes]]
name = "strategy-node"
services = ["rust-strategy"]
host = "10.0.2.20"
port = 9092

[[nodes]]
name = "alerts-node"
services = ["python-alerter"]
endpoint.kind = "tcp"
endpoint.addr = "0.0.0.0:9093"
"#;

fn trading(adapters: &str, strategies: &str) -> String {
    format!(
        "socket_dir = \"/tmp/sockets\"\n\
         [[nodes]]\nname = \"adapters\"\nservices = [\"polygon-adapter\", \"ethereum-adapter\"]\n\
         {adapters}\n[[nodes]]\nname = \"strategies\"\nservices = [\"flash-arbitrage\"]\n{strategies}\n"
    )
}

#[test]
fn routes_are_those_of_the_original() {
    routes(
        MONOLITHIC,
        &[
            ("rust-strategy", "python-ml-model", "local"),
            ("rust-executor", "rust-executor", "local"),
        ],
    );
    let edge = MONOLITHIC.replace("main", "edge-device").replace("rust-executor", "python-alerter");
    routes(&edge, &[("python-alerter", "rust-strategy", "local")]);
    let adapters = "polygon-adapter";
    routes(
        &trading("", ""),
        &[
            (adapters, "ethereum-adapter", "local"),
            (adapters, "flash-arbitrage", "unix /tmp/sockets/strategies.sock"),
            ("flash-arbitrage", adapters, "unix /tmp/sockets/adapters.sock"),
        ],
    );
    let hosts = trading("host = \"10.0.1.10\"\nport = 9000", "host = \"10.0.2.20\"\nport = 9001");
    routes(
        &hosts,
        &[
            (adapters, "ethereum-adapter", "local"),
            (adapters, "flash-arbitrage", "tcp 10.0.2.20:9001"),
            ("flash-arbitrage", adapters, "tcp 10.0.1.10:9000"),
        ],
    );
    let one = trading("host = \"10.0.1.10\"\nport = 1", "host = \"10.0.1.10\"\nport = 2");
    routes(&one, &[(adapters, "flash-arbitrage", "unix /tmp/sockets/strategies.sock")]);
}

/// The original took `localhost` and `127.0.0.1` for two machines (defect 10).
#[test]
fn every_name_of_this_machine_is_this_machine() {
    let names = ["", "localhost", "LOCALHOST", "127.0.0.1", "::1", "127.0.0.2"];
    let line = |host: &str| if host.is_empty() { "".into() } else { format!("host = \"{host}\"") };
    for (one, other) in names.iter().flat_map(|one| names.map(|other| (one, other))) {
        let text = trading(&line(one), &line(other));
        let way = "unix /tmp/sockets/strategies.sock";
        routes(&text, &[("polygon-adapter", "flash-arbitrage", way)]);
    }
}

/// The original took a node with an address for TCP to be at its socket (defect 10).
#[test]
fn what_an_endpoint_says_holds() {
    routes(
        HYBRID,
        &[
            ("python-ml-model", "rust-strategy", "tcp 10.0.2.20:9092"),
            (
                "rust-strategy",
                "python-ml-model",
                "Node ml-node has no host, and strategy-node is on another machine: give ml-node the host and \
             port at which it is reached from there",
            ),
        ],
    );
    routes(
        MIXED,
        &[
            ("python-ml-model", "python-alerter", "tcp 127.0.0.1:9093"),
            ("python-alerter", "python-ml-model", "unix /tmp/mycelium/ml-node.sock"),
            ("python-alerter", "rust-strategy", "tcp 10.0.2.20:9092"),
        ],
    );
    let tcp = |addr: &str| format!("endpoint.kind = \"tcp\"\nendpoint.addr = \"{addr}\"");
    for (addr, near, far) in [
        ("10.0.1.9:7000", "tcp 10.0.1.9:7000", "tcp 10.0.1.9:7000"),
        ("[2001:db8::7]:7000", "tcp [2001:db8::7]:7000", "tcp [2001:db8::7]:7000"),
        ("db.local:7000", "tcp db.local:7000", "tcp db.local:7000"),
        ("[::]:7000", "tcp 127.0.0.1:7000", ""),
        ("localhost:7000", "tcp localhost:7000", ""),
    ] {
        let here = trading("", &tcp(addr));
        routes(&here, &[("polygon-adapter", "flash-arbitrage", near)]);
        let there = parse(&trading("host = \"10.0.1.10\"\nport = 1", &tcp(addr))).unwrap();
        let way = there.route("polygon-adapter", "flash-arbitrage");
        assert_eq!(way.map_or(String::new(), |way| way.to_string()), far);
    }
    let port = trading("", "endpoint.kind = \"tcp\"\nport = 7001");
    routes(&port, &[("polygon-adapter", "flash-arbitrage", "tcp 127.0.0.1:7001")]);
}

#[test]
fn nodes_of_one_daemon_meet_there() {
    let (shm, none) = ("endpoint.kind = \"shm\"", "endpoint.kind = \"none\"");
    routes(
        &trading(shm, ""),
        &[
            ("polygon-adapter", "ethereum-adapter", "shm"),
            ("polygon-adapter", "flash-arbitrage", "shm"),
            ("flash-arbitrage", "polygon-adapter", "shm"),
            ("flash-arbitrage", "flash-arbitrage", "local"),
        ],
    );
    routes(&trading(none, ""), &[("polygon-adapter", "ethereum-adapter", "local")]);
    let unix = trading(shm, "endpoint.kind = \"unix\"");
    routes(
        &unix,
        &[
            ("polygon-adapter", "flash-arbitrage", "unix /tmp/sockets/strategies.sock"),
            ("flash-arbitrage", "polygon-adapter", "shm"),
        ],
    );
    let far = trading("endpoint.kind = \"shm\"\nhost = \"a.example\"\nport = 5", shm);
    routes(&far, &[("flash-arbitrage", "polygon-adapter", "tcp a.example:5")]);
    let path = trading("endpoint.kind = \"shm\"\nendpoint.path = \"/dev/shm/x.shm\"", "");
    let warned = parse(&path).unwrap();
    assert_eq!(
        warned.warnings(),
        [
            "line 6: endpoint.path of node adapters has no effect: the daemon names its segments itself"
        ]
    );
    assert_eq!(warned.nodes()[0].endpoint, Endpoint::Shm);
}

#[test]
fn without_a_socket_dir_sockets_are_where_the_daemons_are() {
    let topology = parse(MONOLITHIC).unwrap();
    assert_eq!(topology.socket(&topology.nodes()[0]), Path::new("/run/rf/main.sock"));
    assert_eq!(topology.socket_dir(), Path::new("/run/rf"));
    assert_eq!(topology.nodes()[0].line, 2);
}

#[test]
fn an_unknown_service_is_told_with_those_there_are() {
    let topology = parse(MONOLITHIC).unwrap();
    let said = topology.route("rust-strategy", "rust-executer").unwrap_err().to_string();
    assert_eq!(
        said,
        "Service rust-executer is on no node of the topology; did you mean rust-executor?; there are \
         python-ml-model, rust-executor, rust-strategy"
    );
    let said = topology.node_of(&"\n".repeat(5000)).unwrap_err().to_string();
    assert!(said.starts_with("Service \\n\\n") && said.len() < 400, "{said}");
    let many: Vec<String> = (0..30).map(|n| format!("\"s{n}\"")).collect();
    let many = format!("[[nodes]]\nname = \"a\"\nservices = [{}]", many.join(", "));
    let said = parse(&many).unwrap().node_of("x").unwrap_err().to_string();
    assert!(said.ends_with("s25, s26 and 10 more"), "{said}");
}

/// A file of one node with these lines.
fn node(lines: &str) -> String {
    format!("[[nodes]]\nname = \"a\"\nservices = [\"s\"]\n{lines}")
}

#[test]
fn errors_of_the_original_have_its_words() {
    let two = |second: &str| format!("{}\n[[nodes]]\n{second}", node(""));
    for (text, said) in [
        (
            two("name = \"a\"\nservices = [\"t\"]"),
            "Duplicate node name: a (lines 1 and 5): give one of them another name",
        ),
        (
            two("name = \"b\"\nservices = [\"s\"]"),
            "Service s appears in multiple nodes: a and b (line 5): keep it in one",
        ),
        (
            // Tables in one line are two tables.
            "nodes = [{name = \"a\", services = [\"s\"]}, {name = \"b\", services = [\"s\"]}]"
                .into(),
            "Service s appears in multiple nodes: a and b (line 1): keep it in one",
        ),
        (
            node("host = \"10.0.2.20\""),
            "Node a has remote host '10.0.2.20' but no port specified (line 1): add the port at which it is \
             reached, such as port = 9092",
        ),
        // What its guide shows for kinds of endpoints repeats a key.
        (
            node(
                "endpoint.kind = \"unix\"\n\nendpoint.kind = \"tcp\"\nendpoint.addr = \"0.0.0.0:9091\"",
            ),
            "line 6, column 10: duplicate key, in: endpoint.kind = \"tcp\"",
        ),
        (node("name = \"b\""), "line 4, column 1: duplicate key, in: name = \"b\""),
    ] {
        assert_eq!(error(&text), said);
    }
}

#[test]
fn errors_say_where_and_what_to_write() {
    for (lines, said) in [
        ("nam = 1", "line 4: unknown key `nam` in [[nodes]]: did you mean `name`?"),
        (
            "colour = 1",
            "line 4: unknown key `colour` in [[nodes]]; there are name, services, host, port, endpoint",
        ),
        ("endpoint.adr = \"\"", "line 4: unknown key `adr` in endpoint: did you mean `addr`?"),
        (
            "endpoint.kind = \"tpc\"",
            "line 4: unknown endpoint kind `tpc`; there are none, shm, unix, tcp; did you mean \"tcp\"?",
        ),
        ("endpoint.kind = 7", "line 4: `kind` must be a text in quotes"),
        (
            "endpoint = \"tcp\"",
            "line 4: `endpoint` must be a table, such as endpoint.kind = \"shm\"",
        ),
        ("endpoint = {}", "line 4: endpoint has no `kind`: write endpoint.kind = \"shm\""),
        (
            "endpoint.kind = \"unix\"\nendpoint.addr = \"0.0.0.0:1\"",
            "line 5: `endpoint.addr` is for kind = \"tcp\", this endpoint is \"unix\": remove it",
        ),
        (
            "endpoint.kind = \"tcp\"\nendpoint.path = \"/x\"\nport = 1",
            "line 5: `endpoint.path` is for kind = \"shm\", this endpoint is \"tcp\": remove it",
        ),
        (
            "endpoint.kind = \"tcp\"",
            "Node a has endpoint kind \"tcp\" but no address (line 1): add endpoint.addr = \"0.0.0.0:9091\", \
             or port",
        ),
        ("port = 0", "line 4: `port` must be a whole number from 1 to 65535"),
        ("port = 65536", "line 4: `port` must be a whole number from 1 to 65535"),
        ("port = \"1\"", "line 4: `port` must be a whole number from 1 to 65535"),
    ] {
        assert_eq!(error(&node(lines)), said);
    }
    for addr in ["", "1", ":1", "a:", "a:0", "a:+1", "a:65536", "::1:1", "[a]:1", "a b:1", "[::1]"]
    {
        let said = error(&node(&format!("endpoint.kind = \"tcp\"\nendpoint.addr = \"{addr}\"")));
        assert!(
            said.starts_with("line 5: `endpoint.addr` must be an address and a port"),
            "{said}"
        );
    }
    for host in ["", "0.0.0.0", "::", "a b", "-x", &"h".repeat(254), "a/b"] {
        let said = error(&node(&format!("port = 1\nhost = \"{host}\"")));
        assert!(said.starts_with("line 5: `") && said.contains("is no host"), "{said}");
    }
}

#[test]
fn a_file_without_nodes_or_names_is_none() {
    for (text, said) in [
        ("", "line 1: the top level has no `nodes`: write [[nodes]] with a name and services"),
        (
            "nodes = []",
            "line 1: the top level has no `nodes`: write [[nodes]] with a name and services",
        ),
        ("nodes = 1", "line 1: `nodes` must be a list of tables: begin each with [[nodes]]"),
        ("nodes = [1]", "line 1: `nodes` must be a list of tables: begin each with [[nodes]]"),
        ("[[node]]", "line 1: unknown key `node` in the top level: did you mean `nodes`?"),
        ("[[nodes]]", "line 1: [[nodes]] has no `name`: write name = \"main\""),
        (
            "[[nodes]]\nname = \"a\"",
            "line 1: [[nodes]] has no `services`: write services = [\"strategy\", \"executor\"]",
        ),
        (
            "[[nodes]]\nname = \"a\"\nservices = []",
            "line 3: `services` must be a list of at least one name, such as [\"strategy\", \"executor\"]",
        ),
        (
            "[[nodes]]\nname = \"a\"\nservices = [\"s\", \"s\"]",
            "line 1: node a has service s twice: keep one",
        ),
        (
            "socket_dir = \"tmp\"\n[[nodes]]\nname = \"a\"\nservices = [\"s\"]",
            "line 1: `socket_dir` must be an absolute path, such as \"/run/ringfence/nodes\"",
        ),
        ("nodes", "line 1, column 6: key with no value, expected `=`, in: nodes"),
    ] {
        assert_eq!(error(text), said);
    }
    for name in ["", "a b", ".a", "a/b", "é", "..", &"n".repeat(65), "a\\n"] {
        let said = error(&format!("[[nodes]]\nname = \"{name}\"\nservices = [\"s\"]"));
        assert!(said.starts_with("line 2: `") && said.contains("is no name for a node"), "{said}");
        let said = error(&format!("[[nodes]]\nname = \"a\"\nservices = [\n\"s\",\n\"{name}\"]"));
        assert!(
            said.starts_with("line 5: `") && said.contains("is no name for a service"),
            "{said}"
        );
    }
}

#[test]
fn there_is_an_end_to_everything() {
    let large = format!("{}# {}", node(""), "x".repeat(TOPOLOGY_BYTES));
    let said = error(&large);
    assert_eq!(said, format!("the file has {} bytes, a topology at most 1048576", large.len()));
    let many = |nodes: usize, services: usize| {
        let node = |n: usize| {
            let services: Vec<_> = (0..services).map(|s| format!("\"s{n}-{s}\"")).collect();
            format!("[[nodes]]\nname = \"n{n}\"\nservices = [{}]\n", services.join(","))
        };
        (0..nodes).map(node).collect::<String>()
    };
    assert_eq!(error(&many(TOPOLOGY_NODES + 1, 1)), "1025 nodes, the most is 1024");
    assert_eq!(error(&many(1, TOPOLOGY_SERVICES + 1)), "4097 services, the most is 4096");
    assert_eq!(error(&many(1024, 5)), "5120 services, the most is 4096");
    assert_eq!(parse(&many(1024, 4)).unwrap().services().count(), 4096);

    let path = format!("socket_dir = \"/{}\"\n{}", "d".repeat(102), node(""));
    assert_eq!(
        error(&path),
        "Node a (line 2): its socket would have a path of 110 bytes, a socket address holds 107: choose a \
         shorter socket_dir or name"
    );
    let deep = format!("nodes = {}", "[".repeat(100_000));
    assert!(error(&deep).contains("max recursion depth"), "{}", error(&deep));
    let long = format!("{} = 1", "k".repeat(100_000));
    assert!(error(&long).len() < 300);
}

/// Pieces of topologies, that chance puts together wrongly.
const PIECES: [&str; 24] = [
    "[[nodes]]\n",
    "name = ",
    "services = ",
    "host = ",
    "port = ",
    "endpoint.kind = ",
    "\"a\"\n",
    "\"b\"\n",
    "[\"s\"]\n",
    "[\"t\", \"u\"]\n",
    "endpoint.addr = ",
    "\"0.0.0.0:1\"\n",
    "\"tcp\"\n",
    "\"shm\"\n",
    "\"unix\"\n",
    "7\n",
    "socket_dir = ",
    "\"/tmp\"\n",
    "\"localhost\"\n",
    "endpoint = {",
    "}\n",
    "é",
    "\u{0}",
    "# x\n",
];

proptest! {
    #[test]
    fn any_text_is_a_topology_or_an_error(text in "(?s).{0,300}") {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn pieces_of_topologies_are_topologies_or_errors(
        pieces in proptest::collection::vec(0..PIECES.len(), 0..40)
    ) {
        let text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        if let Ok(topology) = parse(&text) {
            for from in topology.services() {
                for to in topology.services() {
                    let way = topology.route(from, to);
                    prop_assert!(from != to || matches!(way, Ok(Route::Local | Route::Shm)));
                }
            }
        }
    }

    /// Whatever hosts there are: the two directions agree on whether it is one machine.
    #[test]
    fn machines_are_the_same_both_ways(one in 0..5_usize, other in 0..5_usize) {
        let hosts = [None, Some("localhost"), Some("::1"), Some("10.0.0.1"), Some("b.example")];
        let (one, other) = (hosts[one], hosts[other]);
        prop_assert_eq!(route::same_machine(one, other), route::same_machine(other, one));
        prop_assert!(route::same_machine(one, one));
    }
}
