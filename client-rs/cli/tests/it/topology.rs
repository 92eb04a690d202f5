//! `ringfence topology`: what is shown of a right one, and what is said of a wrong one.

use serde_json::{Value, json};

use crate::daemon::{Dir, Done, ringfence};

const HYBRID: &str = r#"
[[nodes]]
name = "ml-node"
services = ["python-ml-model"]
endpoint.kind = "tcp"
endpoint.addr = "0.0.0.0:9091"

[[nodes]]
name = "strategy-node"
services = ["rust-strategy", "rust-executor"]
host = "10.0.2.20"
port = 9092
endpoint = {kind = "shm", path = "/dev/shm/strategy.shm"}
"#;

fn topology(text: &str, args: &[&str]) -> Done {
    let dir = Dir::new();
    let file = dir.0.join("topology.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = ringfence(&["topology"]);
    Done::of(command.arg(&file).args(args).output().unwrap())
}

#[test]
fn people_see_nodes_services_and_ways() {
    let warning = "ringfence: warning: line 13: endpoint.path of";
    let shown = |args: &[&str]| {
        let done = topology(HYBRID, args);
        assert!(done.err.starts_with(warning), "{}", done.err);
        assert_eq!(done.err.lines().count(), 1, "{}", done.err);
        String::from_utf8(done.out).unwrap()
    };
    assert_eq!(
        shown(&[]),
        "ml-node (tcp)\n  python-ml-model\nstrategy-node (shm at 10.0.2.20)\n  rust-strategy\n  \
         rust-executor\n"
    );
    assert_eq!(
        shown(&["--from", "python-ml-model"]),
        "ml-node (tcp)\n  python-ml-model  local\nstrategy-node (shm at 10.0.2.20)\n  \
         rust-strategy    tcp 10.0.2.20:9092\n  rust-executor    tcp 10.0.2.20:9092\n"
    );
}

#[test]
fn programs_get_the_same_as_json() {
    let done = topology(HYBRID, &["--from", "rust-strategy", "--json"]);
    assert_eq!(done.err, "");
    let json: Value = serde_json::from_str(&done.ok()).unwrap();
    let (ml, strategy) = (&json["nodes"][0], &json["nodes"][1]);
    let error = ml["services"][0]["error"].as_str().unwrap();
    assert!(error.starts_with("Node ml-node has no host"), "{error}");
    assert_eq!(
        strategy["services"][1],
        json!({"name": "rust-executor", "way": "shm", "error": null})
    );
    assert_eq!((&strategy["endpoint"], &strategy["port"]), (&json!("shm"), &json!(9092)));
    assert_eq!(json["warnings"].as_array().unwrap().len(), 1);
}

#[test]
fn a_wrong_one_is_told_with_file_and_line() {
    let said = topology("[[nodes]]\nnam = 1", &[]).failed(65);
    assert!(said.contains("topology.toml: line 2: unknown key `nam` in [[nodes]]"), "{said}");
    let said = topology(HYBRID, &["--from", "rust-strateg"]).failed(64);
    assert!(said.contains("did you mean rust-strategy?"), "{said}");
    let missing = Done::of(ringfence(&["topology", "/nowhere.toml"]).output().unwrap());
    assert!(missing.failed(66).contains("cannot read /nowhere.toml"));
}
