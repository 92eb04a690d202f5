//! `ringfence schema`: what the daemon says of its engines, byte for byte.

use serde_json::{Value, json};

use crate::daemon::Daemon;

fn method<'r>(engine: &'r Value, name: &str) -> &'r Value {
    let methods = engine["methods"].as_array().unwrap();
    methods.iter().find(|method| method["name"] == name).unwrap()
}

#[test]
fn json_has_every_field_where_it_stands() {
    let daemon = Daemon::start();
    let all = daemon.run(&["schema", "--json"]).json();
    let names: Vec<_> = all["engines"].as_array().unwrap().iter().map(|e| &e["name"]).collect();
    assert_eq!(names, ["system", "trial", "later"]);

    let one = daemon.run(&["schema", "system", "--json"]).json();
    let engines = one["engines"].as_array().unwrap();
    assert_eq!(engines.len(), 1);
    assert_eq!(engines[0], all["engines"][0]);
    assert_eq!(engines[0]["digest"].as_str().unwrap().len(), 64);
    let stats = method(&engines[0], "stats");
    assert_eq!((&stats["idempotent"], &stats["timeout_ms"]), (&json!(true), &json!(30_000)));
    assert_eq!(stats["request"], json!({ "fixed_bytes": 0, "fields": [] }));

    // Against the rules of SPEC by hand: alignment by size, a u32 count, none for the last.
    let mirror = method(&all["engines"][1], "mirror");
    let places: Vec<_> = mirror["request"]["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["name"].as_str().unwrap(), f["type"].as_str().unwrap(), f["offset"].as_u64()))
        .map(|(name, ty, offset)| format!("{name} {ty} {}", offset.unwrap()))
        .collect();
    assert_eq!(
        places,
        [
            "flag bool 0",
            "a u8 1",
            "b u16 2",
            "c u32 4",
            "d u64 8",
            "e i8 16",
            "f i16 18",
            "g i32 20",
            "h i64 24",
            "x f32 32",
            "y f64 40",
            "text str 48",
            "words [u64] 52",
            "rows [f32] 56",
        ]
    );
}

#[test]
fn people_get_what_they_need_to_call_it() {
    let daemon = Daemon::start();
    let text = daemon.run(&["schema"]).ok();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for part in
        ["system.echo  number ", "takes nothing", "waits 30s", "data  [u8]  at 0", "trial.nap"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!daemon.run(&["schema", "system"]).ok().contains("trial"));
}

#[test]
fn an_engine_that_is_not_there_is_answered_with_those_that_are() {
    let daemon = Daemon::start();
    for command in ["schema", "stubs"] {
        let text = daemon.run(&[command, "sistem"]).failed(64);
        for part in ["no engine `sistem`", "did you mean `system`?", "\n  trial "] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn a_stub_comes_as_it_is_or_in_json() {
    let daemon = Daemon::start();
    let stub = daemon.run(&["stubs", "trial"]).ok();
    assert!(stub.starts_with("# What `client.engine(\"trial\")` offers"), "{stub}");
    assert!(stub.contains("\nclass Trial:\n") && stub.contains("    def mirror("), "{stub}");
    let json = daemon.run(&["stubs", "trial", "--lang", "python", "--json"]).json();
    assert_eq!((&json["engine"], &json["language"]), (&json!("trial"), &json!("python")));
    assert_eq!(json["text"].as_str().unwrap(), stub);
    let text = daemon.run(&["stubs", "trial", "--lang", "cobol"]).failed(64);
    assert!(text.contains("python"), "{text}");
    daemon.run(&["stubs"]).failed(64);
}
