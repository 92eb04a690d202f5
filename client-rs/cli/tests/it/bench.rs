//! `ringfence bench`: what it says is consistent, and was counted.

use serde_json::Value;

use crate::daemon::{Daemon, Done, ringfence};

/// As short as it can be: figures mean nothing here.
const SHORT: [&str; 2] = ["--seconds", "0.2"];

fn run(daemon: &Daemon, args: &[&str]) -> Value {
    daemon.run(&[&["bench", "--json"], &SHORT[..], args].concat()).json()
}

fn check_case(case: &Value, limit_ns: Option<u64>) {
    let ns = |name: &str| case[name].as_u64().unwrap();
    assert!(ns("samples") > 0, "{case}");
    assert!(0 < ns("p50_ns") && ns("p50_ns") <= ns("p90_ns") && ns("p90_ns") <= ns("p99_ns"));
    match (case["ratio_to_limit"].as_f64(), limit_ns) {
        // JSON's reader may be wrong in the last bit.
        (Some(ratio), Some(limit)) => {
            assert!((ratio * limit as f64 - ns("p50_ns") as f64).abs() < 1e-6, "{case}");
        }
        (ratio, limit) => assert_eq!((ratio, limit), (None, None), "{case}"),
    }
}

#[test]
fn it_measures_the_limit_and_an_echo() {
    let daemon = Daemon::start();
    let report = run(&daemon, &[]);
    assert_eq!(report["instance"], daemon.instance.as_str());
    assert_eq!(report["pid"], daemon.pid());
    assert!(report["boundary"].is_null());
    let cases = report["cases"].as_array().unwrap();
    let names: Vec<_> = cases.iter().map(|case| case["name"].as_str().unwrap()).collect();
    let limit_ns = match report["limit_cores"].as_array() {
        Some(cores) => {
            assert_ne!(cores[0], cores[1]);
            assert_eq!(names, ["limit", "system.echo in process", "system.echo"]);
            cases[0]["p50_ns"].as_u64()
        }
        None => {
            assert_eq!(names, ["system.echo in process", "system.echo"]);
            None
        }
    };
    cases.iter().for_each(|case| check_case(case, limit_ns));
    let ledger = report["ledger"].as_array().unwrap();
    let steps: Vec<_> = ledger.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!((steps.len(), steps[0]), (5, "submitted to seen"), "{report}");
    // One in 64 of the echoes, each of which passed the daemon.
    assert!(ledger.iter().all(|step| step["samples"].as_u64().unwrap() > 0), "{report}");
    assert!(ledger[0]["p50_ns"].as_u64().unwrap() > 0, "{report}");

    let text = daemon.run(&[&["bench"], &SHORT[..]].concat()).ok();
    assert!(text.starts_with("WHAT") && text.contains("\nsystem.echo "), "{text}");
    assert!(!text.contains("not measured, "), "{text}");
    assert!(text.contains("limit: "), "{text}");
    assert!(text.contains("published to received"), "{text}");
}

#[test]
fn without_a_binary_there_is_a_reason_in_its_place() {
    let daemon = Daemon::start();
    for (binary, why) in [("/nonexistent/ringfenced", "No such file"), ("/bin/true", "version")] {
        let mut command = daemon.command(&[&["bench", "--json"], &SHORT[..]].concat());
        let report = Done::of(command.env("RINGFENCE_BIN", binary).output().unwrap()).json();
        let reason = report["in_process_reason"].as_str().unwrap();
        assert!(reason.contains(binary) && reason.contains(why), "{reason}");
        let cases = report["cases"].as_array().unwrap();
        assert!(cases.iter().all(|case| case["name"] != "system.echo in process"), "{report}");
    }
}

#[test]
fn a_method_is_compared_with_its_service_time() {
    let daemon = Daemon::start();
    let report = run(&daemon, &["trial.nap", "value=1"]);
    let cases = report["cases"].as_array().unwrap();
    let nap = cases.iter().find(|case| case["name"] == "trial.nap").unwrap();
    assert!(nap["p50_ns"].as_u64().unwrap() >= 1_000_000, "{nap}");
    let boundary = &report["boundary"];
    let ns = |name: &str| boundary[name].as_f64().unwrap();
    // It sleeps for a millisecond at least, on a worker: the daemon times each of these calls.
    assert!(ns("service_mean_ns") >= 1_000_000.0, "{boundary}");
    assert!(ns("call_mean_ns") >= 1_000_000.0, "{boundary}");
    assert!(boundary["service_samples"].as_u64().unwrap() > 0, "{boundary}");
    let share = ns("tax_ns") / ns("call_mean_ns");
    assert!((ns("tax_share") - share).abs() < 1e-9 && (0.0..1.0).contains(&share), "{boundary}");
    let text = daemon.run(&[&["bench", "trial.nap", "value=1"], &SHORT[..]].concat()).ok();
    assert!(text.contains("the boundary costs"), "{text}");
    // Of one call in 64 there is one; these are few.
    let kept = text.contains("ledger of trial.nap") && text.contains("dispatched to done");
    assert!(kept || text.contains("ledger: none of trial.nap"), "{text}");
}

#[test]
fn what_would_change_something_is_called_by_force_only() {
    let daemon = Daemon::start();
    let counted = || {
        let counted = daemon.run(&["call", "trial.counted", "value=0", "--json"]).json();
        counted["value"].as_u64().unwrap()
    };
    let text = daemon.run(&["bench", "trial.count", "value=0"]).failed(64);
    assert!(text.contains("trial.count") && text.contains("--force"), "{text}");
    assert_eq!(counted(), 0);
    let report = run(&daemon, &["trial.count", "value=0", "--force"]);
    let case = report["cases"].as_array().unwrap().last().unwrap();
    assert_eq!(case["name"], "trial.count");
    assert!(counted() >= case["samples"].as_u64().unwrap());
}

#[test]
fn what_is_wrong_is_said_before_anything_is_measured() {
    let daemon = Daemon::start();
    for (args, say) in [
        (&["trial.brun", "value=1"][..], "did you mean `burn`?"),
        (&["trial.burn"], "needs `value`"),
        (&["--seconds", "0.01"], "0.1 to 3600"),
    ] {
        let text = daemon.run(&[&["bench"], args].concat()).failed(64);
        assert!(text.contains(say), "{args:?}: {text}");
    }
    let text = daemon.run(&["bench", "trial.fail", "value=1011", "--force"]).failed(1);
    assert!(text.contains("asked to fail"), "{text}");
    let nobody = ringfence(&["bench", "--target", "/nonexistent/control.sock"]).output().unwrap();
    Done::of(nobody).failed(69);
}
