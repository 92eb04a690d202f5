//! `ringfence ping`: for probes.

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, Dir, Done, ringfence};

#[test]
fn a_daemon_that_serves_answers() {
    let daemon = Daemon::start();
    let line = daemon.run(&["ping"]).ok();
    assert_eq!(line.lines().count(), 1);
    assert!(line.starts_with(&format!("{} answers (pid {},", daemon.instance, daemon.pid())));
    let many = daemon.run(&["ping", "--count", "50"]).ok();
    assert!(many.contains("50 round trips") && many.contains("p50"), "{many}");
    assert_eq!(daemon.run(&["ping", "--quiet", "-c", "3"]).ok(), "");

    let pong = daemon.run(&["ping", "--count", "9", "--json"]).json();
    assert_eq!(pong["pid"], daemon.pid());
    assert_eq!(pong["count"], 9);
    assert_eq!(pong["instance"], daemon.instance.as_str());
    let ns = |name: &str| pong[name].as_u64().unwrap();
    assert!(0 < ns("min_ns") && ns("min_ns") <= ns("p50_ns") && ns("p50_ns") <= ns("max_ns"));
    assert!(ns("connect_ns") > 0);
}

#[test]
fn where_nobody_listens_the_code_is_69() {
    let empty = Dir::new();
    let missing = empty.0.join("control.sock");
    for command in
        [&["ping"][..], &["ping", "--quiet"], &["status"], &["call", "system.ping"], &["schema"]]
    {
        let done = ringfence(command).arg("--target").arg(&missing).output().unwrap();
        let text = Done::of(done).failed(69);
        assert!(text.starts_with("ringfence: ") && text.contains("ringfenced"), "{text}");
        assert!(text.contains(missing.to_str().unwrap()), "{text}");
    }
    let done = ringfence(&["ping", "--json", "-t", missing.to_str().unwrap()]).output().unwrap();
    let text = Done::of(done).failed(69);
    let error = serde_json::from_str::<serde_json::Value>(&text).unwrap();
    assert_eq!(error["error"]["exit"], 69);
    assert_eq!(error["error"]["code"], 5001);
    assert_eq!(error["error"]["name"], "DaemonUnavailable");
    assert_eq!(error["error"]["outcome"], "not_started");
}

#[test]
fn a_stopped_daemon_does_not_hold_a_probe_up() {
    let daemon = Daemon::start();
    daemon.signal(Signal::SIGSTOP);
    let text = daemon.run(&["ping", "--timeout", "0.2"]).failed(75);
    assert!(text.contains("has not run for 200ms"), "{text}");
    daemon.signal(Signal::SIGCONT);
    daemon.run(&["ping"]).ok();
}

#[test]
fn the_target_is_a_name_a_path_or_the_environments() {
    let daemon = Daemon::start();
    let by_environment =
        ringfence(&["ping"]).env("RINGFENCE_TARGET", daemon.socket()).output().unwrap();
    Done::of(by_environment).ok();

    // An instance's socket is <runtime dir>/<instance>/control.sock, here as XDG has it.
    let run = Dir::new();
    let parent = daemon.socket().parent().unwrap().parent().unwrap().to_owned();
    std::os::unix::fs::symlink(parent, run.0.join("ringfence")).unwrap();
    let mut by_name = ringfence(&["ping", "--target", &daemon.instance]);
    Done::of(by_name.env("XDG_RUNTIME_DIR", &run.0).output().unwrap()).ok();

    for bad in ["No Spaces", "inproc:"] {
        let typed = ringfence(&["ping", "--target", bad]).output().unwrap();
        assert!(Done::of(typed).failed(64).contains("inproc:"), "{bad}");
        let set = ringfence(&["ping"]).env("RINGFENCE_TARGET", bad).output().unwrap();
        assert!(Done::of(set).failed(64).contains("inproc:"), "{bad}");
    }
}
