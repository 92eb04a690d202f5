//! `ringfence torture`: every attack lands, every defence holds, nothing is left behind.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfence_protocol::disarm::DEFENCES;
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
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/torture.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(&format!("attacks it in {} ways", attacks.len())));
    assert!(page.contains(&format!("switch off each of {} checks", DEFENCES.len())));
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

/// A defence, and attacks that must be reported as failed when it is disarmed: one for each place where it stands.
const DISARMED: &[(&str, &[&str])] = &[
    ("guest.message", &["stranger"]),
    ("guest.bomb", &["hello-bomb"]),
    ("guest.layout", &["layout"]),
    ("guest.timeout", &["hello-silent"]),
    ("guest.digest", &["digest"]),
    ("control.message", &["strangers-bytes", "message-too-long"]),
    ("control.once", &["hello-twice"]),
    ("control.flood", &["control-flood"]),
    ("control.unread", &["control-unread"]),
    ("control.descriptors", &["descriptors", "hello-descriptors"]),
    ("quota.sessions", &["sessions-quota"]),
    ("quota.bytes", &["bulk-quota"]),
    ("quota.lanes", &["lanes-quota"]),
    ("quota.bulk", &["bulk-many"]),
    ("quota.bulk-bytes", &["bulk-enormous"]),
    ("quota.waker", &["waker-twice"]),
    ("quota.reply-bulk", &["leases-kept"]),
    ("request.seq", &["seq-ahead"]),
    ("request.credit", &["ring-full"]),
    ("request.copied-once", &["len-toggling"]),
    ("request.reserved", &["flags", "status", "ticket"]),
    ("request.inline-length", &["len-over-slot"]),
    ("request.block", &["block-outside", "block-overrun", "block-zero"]),
    ("request.bulk", &["bulk-unknown", "bulk-number"]),
    ("consumed", &["consumed-ahead", "consumed-behind"]),
    ("deadline", &["deadline-passed", "deadline-passes"]),
    ("cancel", &["cancel-random"]),
    ("lease", &["leases-kept", "leases-forged"]),
    ("wake.once", &["parked-still"]),
    ("sweep.lost-bells", &["bell-silence"]),
    ("segment.sigbus", &["truncate-zero"]),
    ("segment.dead", &["truncate-zero", "truncate-payload", "truncate-bulk"]),
    ("segment.read-only", &["write-down"]),
    ("segment.altered", &["grow"]),
    ("topic.number", &["subscription-number"]),
    ("topic.cursor", &["cursor-forged"]),
    ("topic.patience", &["cursor-silent"]),
    ("topic.hold", &["holds-forged"]),
    ("topic.wake-once", &["listening-still"]),
    ("reap.socket", &["write-down"]),
    ("reap.pidfd", &["orphaned"]),
    ("reap.names", &["killed"]),
];

/// What has nothing to do with any of them.
const BYSTANDER: &str = "method-unknown";

#[test]
fn an_attack_on_a_disarmed_defence_is_reported_and_no_other() {
    assert!(DISARMED.iter().map(|(switch, _)| switch).eq(DEFENCES));
    // Some of the daemons that are attacked end in a crash.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).unwrap();
    let pairs: Vec<_> = DISARMED
        .iter()
        .flat_map(|(switch, attacks)| attacks.iter().map(move |attack| (switch, attack)))
        .collect();
    let next = AtomicUsize::new(0);
    // Most of the time is waited for what does not come.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some((switch, attack)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    disarmed(switch, attack);
                }
            });
        }
    });
}

fn disarmed(switch: &str, attack: &str) {
    let place = Dir::new();
    // Of those that never return what they hold all attacks suffer.
    let alone = switch.starts_with("reap.");
    let only = if alone { &[][..] } else { &["--only", BYSTANDER] };
    // What is waited for in vain here is there at once elsewhere.
    let mut flags = vec!["--json", "--patience", "5", "--only", attack];
    if attack == "len-toggling" {
        // What it does is a matter of luck, each time.
        flags.extend(["--seconds-per-attack", "1"]);
    }
    let mut command = torture(&place, &[&flags, only].concat());
    let done = Done::of(command.env("RINGFENCE_DISARM", switch).output().unwrap());
    let report: Value = serde_json::from_slice(&done.out)
        .unwrap_or_else(|error| panic!("{switch}: {attack}: {error}: {}", done.err));
    let failed: Vec<_> = report["attacks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["held"] == false)
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(failed, [attack], "{switch}: {report}");
    assert_eq!(done.code, Some(70), "{switch}: {attack}: {}", done.err);
    let error: Value = serde_json::from_str(&done.err).unwrap();
    let text = error["error"]["message"].as_str().unwrap();
    assert!(text.contains("defences failed") && text.contains(attack), "{text}");
    assert_eq!(left_behind(&place), [""; 0], "{switch}: {attack}");
}
