//! `ringfence status`: numbers that were caused here, in tables and in JSON.

use serde_json::Value;

use crate::daemon::Daemon;

fn method<'r>(report: &'r Value, name: &str) -> &'r Value {
    let methods = report["methods"].as_array().unwrap();
    methods.iter().find(|method| method["name"] == name).unwrap()
}

/// Three calls, one of them with an error.
fn call(daemon: &Daemon) {
    daemon.run(&["call", "trial.count", "value=0"]).ok();
    daemon.run(&["call", "trial.steps", "count=1", "step_us=500"]).ok();
    daemon.run(&["call", "trial.fail", "value=1011"]).failed(1);
}

#[test]
fn json_has_everything() {
    let daemon = Daemon::start();
    call(&daemon);
    let report = daemon.run(&["status", "--json"]).json();
    assert_eq!(report["source"], "board");
    assert_eq!(report["restricted"], Value::Null);
    assert_eq!(report["daemon"]["pid"], daemon.pid());
    assert_eq!(report["daemon"]["instance"], daemon.instance.as_str());
    assert_eq!(report["daemon"]["socket"], daemon.socket().to_str().unwrap());
    assert_eq!(report["daemon"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(report["daemon"]["epoch"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    assert!(report["daemon"]["uptime_ms"].is_u64() && report["beat_age_ms"].is_u64());
    assert_eq!(report["torn_rows"], 0);

    let totals = report["totals"].as_object().unwrap();
    assert!(totals.values().all(Value::is_u64), "{totals:?}");
    // Each `call` asks for the catalogue first.
    assert_eq!((&totals["calls"], &totals["sessions_total"]), (&6.into(), &4.into()));
    assert_eq!(totals["errors"], 1);
    assert_eq!(totals["faults"], 0);

    assert_eq!(method(&report, "trial.fail")["errors"], 1);
    assert_eq!(method(&report, "trial.count")["errors"], 0);
    assert_eq!(method(&report, "trial.nap")["calls"], 0);
    // What a worker does is always measured.
    let service = &method(&report, "trial.steps")["service"];
    assert_eq!(service["samples"], 1);
    assert!(service["p50_ns"].as_u64() >= Some(500_000), "{service}");
    assert!(service["mean_ns"].as_u64() <= service["max_ns"].as_u64(), "{service}");
    assert_eq!(service["histogram"][0]["samples"], 1);
    assert_eq!(report["errors"].as_array().unwrap().len(), 0, "faults only");
    let sessions = report["sessions"].as_array().unwrap();
    let own: Vec<_> = sessions.iter().filter(|session| session["own"] == true).collect();
    assert_eq!(own.len(), 1);
    assert_eq!(own[0]["name"], "ringfence");
    assert_eq!(own[0]["lanes"], 1);
    assert_eq!(totals["sessions_open"], 1);
}

#[test]
fn people_get_tables_of_80_columns() {
    let daemon = Daemon::start();
    call(&daemon);
    let text = daemon.run(&["status"]).ok();
    assert!(text.lines().all(|line| line.chars().count() <= 80 || line.contains("control.sock")));
    assert!(text.starts_with(&format!("{}  ringfenced ", daemon.instance)), "{text}");
    for part in ["METHOD", "trial.count", "SESSION", "ringfence (this command)", "--all"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("trial.nap"), "{text}");
    assert!(daemon.run(&["status", "--all"]).ok().contains("trial.nap"));
}
