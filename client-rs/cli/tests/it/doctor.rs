//! `ringfence doctor` on this machine: only looking, for it is everybody's. Faults are seeded in the
//! unit tests.

use serde_json::Value;

use crate::daemon::{Daemon, Dir, ringfence};

/// This machine may have faults of its own; the code says so or not.
fn report(output: std::process::Output) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let code = if report["ok"] == true { 0 } else { 78 };
    assert_eq!(output.status.code(), Some(code), "{report}");
    assert_eq!(output.stderr.is_empty(), code == 0);
    report
}

fn check<'r>(report: &'r Value, name: &str) -> &'r Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap()
}

#[test]
fn a_daemon_that_serves_is_found_well() {
    let daemon = Daemon::start();
    let report = report(daemon.command(&["doctor", "--json"]).output().unwrap());
    for name in ["daemon", "versions", "runtime_dir", "control_socket"] {
        assert_eq!(check(&report, name)["state"], "ok", "{report}");
        assert_eq!(check(&report, name)["fix"], Value::Null);
    }
    let pid = format!("pid {} answers at {}", daemon.pid(), daemon.socket().display());
    assert_eq!(check(&report, "daemon")["found"], pid);
    assert!(check(&report, "open_files")["found"].as_str().unwrap().starts_with("the daemon"));
    assert!(check(&report, "cores")["found"].as_str().unwrap().contains("pollers and 0 clients"));

    let text = daemon.command(&["doctor"]).output().unwrap().stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("stale_names\n") && !text.contains('\x1b'), "{text}");
}

#[test]
fn a_daemon_that_was_named_and_is_not_there_is_a_failure_with_its_code() {
    let empty = Dir::new();
    let missing = empty.0.join("control.sock");
    let command = |args: &[&str]| ringfence(args).arg("--target").arg(&missing).output().unwrap();
    let output = command(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(78));
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["exit"], 78);
    let report = report(output);
    assert_eq!(check(&report, "daemon")["state"], "fail");
    assert_eq!(check(&report, "daemon")["fix"], "ringfenced");
    let text = String::from_utf8(command(&["doctor"]).stdout).unwrap();
    assert!(
        text.starts_with("FAIL  daemon\n") && text.contains("\n      fix: ringfenced\n"),
        "{text}"
    );
}
