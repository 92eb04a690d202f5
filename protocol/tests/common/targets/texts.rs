//! Texts: names of segments, types of contracts, topologies.

use ringfence_protocol::contract::{FieldType, difference};
use ringfence_protocol::names::{Instance, SegmentName};

use super::chance::Chance;

/// The parts of a segment's name, some of them spelled another way.
fn nearly_a_segment(chance: &mut Chance) -> String {
    let digits =
        ["0123456789abcdef0123456789abcdef", "0123456789ABCDEF0123456789abcdef", "+1", "ff"];
    let parts = [
        chance.pick(&["ringfence", "ringfence", "Ringfence", ""]),
        chance.pick(&["0", "1000", "+1", "007", "4294967296", "-1"]),
        chance.pick(&["main", "a-b_c", "Main", "", "a.b"]),
        chance.pick(&digits),
        chance.pick(&["up", "down", "topic", "board", "lock", "up.", ""]),
    ];
    parts[..1 + chance.below(5) as usize].join(".")
}

/// Any text as names: an error, or a name that is spelled so and no other way (SPEC G2).
pub(crate) fn names(bytes: &[u8]) {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => nearly_a_segment(&mut Chance::of(bytes)),
    };
    if let Ok(name) = text.parse::<SegmentName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(instance) = text.parse::<Instance>() {
        assert_eq!(instance.as_str(), text);
        assert!((1..=32).contains(&text.len()));
    }
}

/// Any text as a field's type and as a canonical text: a type is spelled as it is shown, and has a stride that
/// holds it and keeps its alignment; two texts differ the same whichever is asked, and none from itself.
pub(crate) fn contract(bytes: &[u8]) {
    let pieces = [
        "Vec<",
        "[",
        "; ",
        "]",
        ">",
        "(",
        ")",
        "u8",
        "i64",
        "String",
        "Option<",
        "bool",
        "65535",
        "1",
        "20",
        " ",
        "Bytes",
        "Decimal",
        "999999999999",
    ];
    let text = Chance::text(bytes, &pieces);
    if let Ok(ty) = FieldType::parse(&text, None) {
        assert_eq!(FieldType::parse(&ty.to_string(), None).as_ref(), Ok(&ty));
        assert!(ty.stride() >= ty.size() && ty.stride().is_multiple_of(ty.align()), "{ty}");
    }
    let lines = [
        "ringfence contract 1\n",
        "schema 00000001 version 1 min_compatible 1\n",
        "message 1002 Counter size 4\n",
        "message 1003 Gauge size 8\n",
        "message 99999 Counter size 4\n",
        " value i32 at 0\n",
        " value i64 at 0 min=1\n",
        " rest\n",
    ];
    let chance = &mut Chance::of(bytes);
    let (here, there) = (chance.pieced(&lines) + &text, chance.pieced(&lines));
    let (here, there) = (here.as_str(), there.as_str());
    assert_eq!(difference(here, here), None);
    assert_eq!(difference(here, there).is_some(), difference(there, here).is_some());
}

/// A name that none may have.
#[cfg(feature = "topology")]
const LONG: &str = match std::str::from_utf8(&[b'a'; 3000]) {
    Ok(long) => long,
    Err(_) => unreachable!(),
};

/// Any text as a topology: an error that is fit to print, or nodes within the limits whose services are found.
#[cfg(feature = "topology")]
pub(crate) fn topology(bytes: &[u8]) {
    use std::path::Path;

    use ringfence_protocol::limits::{TOPOLOGY_NODES, TOPOLOGY_SERVICES};
    use ringfence_protocol::topology::Topology;

    use super::said;

    let pieces = [
        "[[nodes]]\n",
        "name = \"a\"\n",
        "name = \"b\"\n",
        "services = [\"x\"]\n",
        "services = []\n",
        "services = [\"x\", \"y\"]\n",
        "host = \"10.0.0.1\"\n",
        "port = 7000\n",
        "port = 70000\n",
        "endpoint = { kind = \"tcp\" }\n",
        "endpoint = { kind = \"shm\" }\n",
        "socket_dir = \"/x\"\n",
        "socket_dir = \"x\"\n",
        "[nodes.endpoint]\nkind = \"unix\"\n",
        "addr = \"1.2.3.4:5\"\n",
        "x = 1\n",
        "\"\\u001b[31m\" = 1\n",
        "\u{1b}",
        "name = \"\\u0085\"\n",
        LONG,
        "=",
    ];
    match Topology::parse(&Chance::text(bytes, &pieces), Path::new("/run")) {
        Ok(topology) => {
            assert!(topology.nodes().len() <= TOPOLOGY_NODES);
            let services: Vec<_> = topology.services().collect();
            assert!(services.len() <= TOPOLOGY_SERVICES);
            assert!(services.iter().all(|service| topology.node_of(service).is_ok()));
        }
        Err(error) => said::is_fit_to_print(&error.to_string()),
    }
}

/// Without the feature there is nothing to try: `cargo test` at the root has it.
#[cfg(not(feature = "topology"))]
pub(crate) fn topology(_bytes: &[u8]) {}
