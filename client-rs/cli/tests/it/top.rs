//! `ringfence top`: rates that are caused here, once, on a terminal, and into a pipe.

use std::fs::File;
use std::io::Read as _;
use std::process::{Child, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::daemon::{Daemon, Done, until};

/// A process that pings without end, for as long as the test lasts.
struct Load(Child);

impl Load {
    fn on(daemon: &Daemon) -> Self {
        let mut command = daemon.command(&["ping", "--quiet", "--count", "10000000"]);
        let load = Self(command.stdout(Stdio::null()).spawn().unwrap());
        until("pings are served", || {
            pings(&daemon.run(&["status", "--json"]).json(), "calls") > 99.
        });
        load
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pings(report: &Value, what: &str) -> f64 {
    let methods = report["methods"].as_array().unwrap();
    methods.iter().find(|method| method["name"] == "system.ping").unwrap()[what].as_f64().unwrap()
}

#[test]
fn one_sample_has_the_rates_of_its_interval() {
    let daemon = Daemon::start();
    let quiet = daemon.run(&["top", "--once", "--interval", "0.2", "--json"]).json();
    assert_eq!((&quiet["totals"]["calls_per_s"], pings(&quiet, "calls_per_s")), (&0.0.into(), 0.0));
    assert_eq!(quiet["totals"]["sessions_open"], 1, "its own");
    assert_eq!(quiet["sessions"][0]["own"], true);
    let totals = &daemon.run(&["status", "--json"]).json()["totals"];
    assert_eq!(totals["requests"], 0, "the daemon is asked for nothing");

    let load = Load::on(&daemon);
    let before = pings(&daemon.run(&["status", "--json"]).json(), "calls");
    let sample = daemon.run(&["top", "--once", "--interval", "0.5", "--json"]).json();
    let after = pings(&daemon.run(&["status", "--json"]).json(), "calls");
    let interval_s = sample["interval_ms"].as_f64().unwrap() / 1e3;
    assert!(interval_s >= 0.4, "{interval_s}");
    let rate = pings(&sample, "calls_per_s");
    // What `status` counted around it is an upper bound, and pings are all that there was.
    assert!(rate > 0.0 && rate * interval_s <= (after - before) * 1.01, "{rate} {before} {after}");
    assert_eq!(sample["methods"][0]["name"], "system.ping", "the busiest first");
    assert!(sample["methods"][0]["p50_ns"].as_u64() <= sample["methods"][0]["p99_ns"].as_u64());
    let busiest = &sample["sessions"][0];
    assert_eq!((&busiest["pid"], &busiest["own"]), (&load.0.id().into(), &false.into()));
    assert_eq!(busiest["lanes"], 1);
    assert!(sample["totals"]["segment_bytes"].as_u64().unwrap() > 0);
    assert_eq!(sample["daemon"]["instance"], daemon.instance.as_str());
}

#[test]
fn a_pipe_gets_one_sample_for_people_too() {
    let daemon = Daemon::start();
    let _load = Load::on(&daemon);
    let text = daemon.run(&["top", "--interval", "0.2"]).ok();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for part in ["CALLS/S", "system.ping", "ringfence (this command)", "segments "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\x1b'), "{text}");
    for wrong in ["0", "0.01", "4000", "-1", "x"] {
        assert!(daemon.run(&["top", "--interval", wrong]).failed(64).contains("0.1 to 3600"));
    }
}

#[test]
fn a_daemon_that_is_stopped_is_shown_as_such() {
    let daemon = Daemon::start();
    let mut command = daemon.command(&["top", "--interval", "2", "--timeout", "0.3"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("it is connected", || {
        daemon.run(&["status", "--json"]).json()["totals"]["sessions_open"] == 2
    });
    daemon.signal(Signal::SIGSTOP);
    let done = Done::of(child.wait_with_output().unwrap());
    daemon.signal(Signal::SIGCONT);
    let text = done.ok();
    assert!(text.contains("stalled or gone"), "{text}");
}

/// A terminal of 80 columns and so many lines, of which everything is read that is shown.
struct Terminal {
    screen: File,
    shown: String,
}

impl Terminal {
    fn run(daemon: &Daemon, args: &[&str], lines: u16) -> (Self, Load) {
        let size = Winsize { ws_row: lines, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        // Else the command would keep its own terminal open.
        for end in [&pty.master, &pty.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let child = daemon.command(args).stdout(pty.slave).stderr(Stdio::null()).spawn().unwrap();
        (Self { screen: pty.master.into(), shown: String::new() }, Load(child))
    }

    fn until(&mut self, what: &str, condition: impl Fn(&str) -> bool) {
        let mut bytes = [0; 4096];
        until(what, || {
            let len = self.screen.read(&mut bytes).unwrap();
            self.shown.push_str(&String::from_utf8_lossy(&bytes[..len]));
            condition(&self.shown)
        });
    }
}

#[test]
fn a_terminal_is_drawn_in_place_until_it_goes() {
    let daemon = Daemon::start();
    daemon.run(&["ping"]).ok();
    let (mut terminal, mut top) = Terminal::run(&daemon, &["top", "--interval", "0.1"], 16);
    terminal.until("three frames", |shown| shown.matches("Ctrl-C ends it").count() >= 3);
    let frames: Vec<&str> = terminal.shown.split("\x1b[H").skip(1).take(3).collect();
    for frame in &frames {
        assert!(frame.matches('\n').count() < 16, "it would scroll: {frame:?}");
        assert!(frame.contains("METHOD") && frame.contains("this command"), "{frame:?}");
    }
    assert_eq!(terminal.shown.matches("\x1b[2J").count(), 1, "cleared once, then drawn over");
    // The terminal is closed: nothing more can be written, and the command ends by itself.
    drop(terminal);
    until("it leaves", || top.0.try_wait().unwrap().is_some());
}

#[test]
fn a_terminal_that_asks_for_json_gets_a_line_a_sample() {
    let daemon = Daemon::start();
    let (mut terminal, _top) = Terminal::run(&daemon, &["top", "--json", "-i", "0.1"], 24);
    terminal.until("three lines", |shown| shown.matches('\n').count() >= 3);
    for line in terminal.shown.lines().take(3) {
        assert!(serde_json::from_str::<Value>(line).unwrap()["interval_ms"].is_u64(), "{line}");
    }
}

#[test]
fn the_board_is_found_again_when_the_daemon_is_another() {
    let mut daemon = Daemon::start();
    let (mut terminal, _top) = Terminal::run(&daemon, &["top", "--json", "-i", "0.1"], 24);
    terminal.until("a sample", |shown| shown.contains('\n'));
    let old = daemon.pid();
    daemon.restart();
    let new = format!("\"pid\":{},\"version\"", daemon.pid());
    assert!(terminal.shown.contains(&format!("\"pid\":{old},\"version\"")));
    terminal.until("a sample of the other daemon", |shown| shown.contains(&new));
}
