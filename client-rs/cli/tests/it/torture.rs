//! `ringfence torture`: every attack lands, every defence holds, nothing is left behind.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::daemon::{Dir, Done, ringfence, testd, until};

/// As short as it can be: times mean nothing here.
const SHORT: [&str; 2] = ["--seconds-per-attack", "0.1"];

/// The tool, with a place of its own for what it makes.
fn torture(place: &Dir, args: &[&str]) -> Command {
    let short = if args.contains(&SHORT[0]) { &[][..] } else { &SHORT[..] };
    let mut command = ringfence(&[&["torture"], short, args].concat());
    command.arg("--daemon").arg(testd()).env("TMPDIR", &place.0).env_remove("RINGFENCE_DISARM");
    command
}

fn left_behind(place: &Dir) -> Vec<String> {
    let names = |path: &Path| {
        let entries = std::fs::read_dir(path).unwrap().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    names(&place.0)
}

#[test]
fn every_attack_lands_and_every_defence_holds() {
    let place = Dir::new();
    let done = Done::of(torture(&place, &["--json", "--seed", "7"]).output().unwrap());
    let report: Value = serde_json::from_slice(&done.out).unwrap();
    let attacks = report["attacks"].as_array().unwrap();
    for attack in attacks {
        let name = &attack["name"];
        assert_eq!(attack["held"], true, "{name}: {}", attack["wrong"]);
        assert!(attack["skipped"].is_null(), "{name}: {}", attack["skipped"]);
        assert!(attack["landed"].is_string() && attack["outcome"].is_string(), "{attack}");
        assert!(attack["honest_calls"].as_u64().unwrap() > 0, "{attack}");
        assert!(attack["rounds"].as_u64().unwrap() > 0, "{attack}");
        let fault = attack["outcome"].as_str().unwrap().strip_prefix("fault ");
        assert_eq!(attack["fault"].as_str(), fault, "{attack}");
    }
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let listed = Done::of(ringfence(&["torture", "--list", "--json"]).output().unwrap()).json();
    assert_eq!(listed.as_array().unwrap().len(), attacks.len());
    assert_eq!(left_behind(&place), [""; 0]);
}

#[test]
fn what_cannot_be_made_is_said() {
    let place = Dir::new();
    let text = Done::of(torture(&place, &["--only", "flagz"]).output().unwrap()).failed(64);
    assert!(text.contains("did you mean `flags`?"), "{text}");
    let mut command = ringfence(&["torture", "--daemon", "/nonexistent/ringfenced"]);
    let text = Done::of(command.env("TMPDIR", &place.0).output().unwrap()).failed(71);
    assert!(text.contains("/nonexistent/ringfenced") && text.contains("--daemon"), "{text}");
    // It starts, and is no daemon.
    let mut command = ringfence(&["torture", "--daemon", "/bin/true"]);
    let text = Done::of(command.env("TMPDIR", &place.0).output().unwrap()).failed(71);
    assert!(text.contains("ended at once"), "{text}");
    assert_eq!(left_behind(&place), [""; 0]);
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let place = Dir::new();
    let mut command = torture(&place, &["--seconds-per-attack", "60", "--only", "bell-storm"]);
    let child = command.args(["--only", "flags"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    until("its daemon is there", || {
        !left_behind(&place).is_empty() && !names_of(child.id()).is_empty()
    });
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let (id, since) = (child.id(), Instant::now());
    let done = Done::of(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(75), "{}", done.err);
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    assert!(done.err.contains("interrupted") && done.err.contains("of 2 attacks"), "{}", done.err);
    assert_eq!(left_behind(&place), [""; 0]);
    assert_eq!(names_of(id), [""; 0]);
}

/// What a tool with this number has in shared memory.
fn names_of(tool: u32) -> Vec<String> {
    let part = format!(".torture-{tool}-");
    let entries = std::fs::read_dir("/dev/shm").unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.contains(&part)).collect()
}
