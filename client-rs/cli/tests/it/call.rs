//! `ringfence call`: by the catalogue alone; every way to fail has its code.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::daemon::{Daemon, Dir, Done, until};

#[test]
fn bytes_go_there_and_back() {
    let daemon = Daemon::start();
    assert_eq!(daemon.run(&["call", "system.ping"]).ok(), "ok\n");
    assert_eq!(daemon.run(&["call", "system.ping", "--json"]).json(), json!({}));
    assert_eq!(daemon.run(&["call", "system.echo", "data=hello"]).ok(), "data  hello\n");
    let echo = daemon.run(&["call", "system.echo", "data=[1,2,255]", "--json"]).json();
    assert_eq!(echo, json!({ "data": [1, 2, 255] }));

    let dir = Dir::new();
    let file = dir.0.join("in.bin");
    let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(&file, &bytes).unwrap();
    let argument = format!("data=@{}", file.display());
    let done = daemon.run(&["call", "system.echo", &argument, "--raw", "data"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert!(done.out == bytes, "{} bytes came back of {}", done.out.len(), bytes.len());

    let mut piped = daemon.command(&["call", "system.echo", "data=@-"]);
    let mut child =
        piped.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from a pipe").unwrap();
    assert_eq!(Done::of(child.wait_with_output().unwrap()).ok(), "data  from a pipe\n");
}

const EVERYTHING: [&str; 14] = [
    "flag=true",
    "a=255",
    "b=65535",
    "c=7",
    "d=18446744073709551615",
    "e=-128",
    "f=-3",
    "g=-2147483648",
    "h=-9223372036854775808",
    "x=0.1",
    "y=-0.1",
    "text=h\u{e9}llo",
    "words=[1,18446744073709551615]",
    "rows=[[0.5,1],[2,-3e2]]",
];

#[test]
fn every_type_survives() {
    let daemon = Daemon::start();
    let mut arguments = vec!["call", "trial.mirror", "--json"];
    arguments.extend(EVERYTHING);
    let mirror = daemon.run(&arguments).json();
    let wanted = json!({
        "flag": true, "a": 255, "b": 65535, "c": 7, "d": u64::MAX, "e": -128, "f": -3,
        "g": i32::MIN, "h": i64::MIN, "x": 0.1, "y": -0.1, "text": "h\u{e9}llo",
        "words": [1, u64::MAX], "rows": [0.5, 1.0, 2.0, -300.0],
    });
    assert_eq!(mirror, wanted);
    arguments.retain(|argument| *argument != "--json");
    let text = daemon.run(&arguments).ok();
    assert_eq!(text.lines().count(), 14);
    assert!(text.starts_with("flag   true\n") && text.contains("\nx      0.1\n"), "{text}");
}

#[test]
fn what_is_wrong_with_the_command_line_is_said_before_the_call() {
    let daemon = Daemon::start();
    for (arguments, say) in [
        (&["trail.count", "value=0"][..], "did you mean `trial`?"),
        (&["trial.cuont", "value=0"], "did you mean `count`?"),
        (&["trial"], "trial.counted"),
        (&["trial.count"], "needs `value`"),
        (&["trial.count", "value=0", "more=1"], "no field `more`"),
        (&["trial.count", "valeu=0"], "did you mean `value`?"),
        (&["trial.count", "value=-1"], "0 to 18446744073709551615"),
        (&["trial.count", "value=x"], "takes u64, not `x`"),
        (&["trial.count", "value=0", "--raw", "value"], "one u64"),
        (&["trial.fill", "value=1", "--raw", "date"], "did you mean `data`?"),
        (&["trial.fill", "value=1", "--raw", "data", "--json"], "--json"),
        (&["trial.count", "value=0", "--timeout", "0"], "more than 0"),
    ] {
        let mut all = vec!["call"];
        all.extend(arguments);
        let text = daemon.run(&all).failed(64);
        assert!(text.contains(say), "{arguments:?}: {text}");
    }
    let missing = daemon.run(&["call", "system.echo", "data=@/nonexistent/file"]).failed(66);
    assert!(missing.contains("/nonexistent/file"), "{missing}");
    assert_eq!(daemon.run(&["call", "trial.counted", "value=0"]).ok(), "value  0\n");
}

#[test]
fn errors_of_the_engine_and_of_the_way_have_their_own_codes() {
    let daemon = Daemon::start();
    for (number, code) in [("1011", 1), ("3002", 1), ("6003", 75), ("5011", 77), ("4001", 70)] {
        let text = daemon.run(&["call", "trial.fail", &format!("value={number}")]).failed(code);
        assert!(text.contains(&format!("asked to fail with {number}")), "{text}");
    }
    let text = daemon.run(&["call", "trial.fail", "value=1011", "--json"]).failed(1);
    let error: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(error["error"]["code"], 1011);
    assert_eq!(error["error"]["name"], "UnknownCollection");
    assert_eq!(error["error"]["outcome"], Value::Null);
    let text = daemon.run(&["call", "trial.panic", "value=0"]).failed(1);
    assert!(text.contains("panic"), "{text}");
    let text = daemon.run(&["call", "trial.nap", "value=60000", "--timeout", "0.1"]).failed(75);
    assert!(text.contains("100ms"), "{text}");
}

#[test]
fn a_daemon_that_dies_under_a_call_is_unavailable() {
    let mut daemon = Daemon::start();
    let mut nap = daemon.command(&["call", "trial.nap", "value=60000"]);
    let child = nap.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the nap is being served", || {
        let report = daemon.run(&["status", "--json"]).json();
        let totals = &report["totals"];
        // One catalogue was asked for and answered; the request behind it was not.
        totals["requests"].as_u64() > totals["calls"].as_u64()
    });
    daemon.kill();
    Done::of(child.wait_with_output().unwrap()).failed(69);
}
