//! Clients whose numbers mean nothing to the daemon: of another user or process namespace, or a pid that
//! is another process's by now.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::Pid;
use ringfence::{Client, ErrorCode, Event, Keep, Policy, Publication, Start, Topic, TopicOptions};

use ringfence_protocol::layout::Header;
use ringfence_protocol::sys::clock;

use super::actors::{play, play_under, say};
use super::daemon::{Daemon, PATIENCE, TAG, unique, until};
use super::foreigners::{as_user, is_root, stranger};
use super::raw::{Raw, code};
use super::stopped::Kept;

use crate::skip::skip;

const IN_USER_NAMESPACE: [&str; 3] = ["unshare", "-U", "--map-root-user"];
/// Its monotonic clock is two days ahead.
const IN_TIME_NAMESPACE: [&str; 5] =
    ["unshare", "-T", "--monotonic=200000", "--fork", "--kill-child"];
const IN_PID_NAMESPACE: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Does this machine let us do that?
fn can(wrapper: &[&str]) -> bool {
    let mut tried = Command::new(wrapper[0]);
    tried.args(&wrapper[1..]).arg("true").stderr(Stdio::null());
    let can = tried.status().is_ok_and(|status| status.success());
    if !can {
        skip(&format!("{wrapper:?} is not allowed here"));
    }
    can
}

/// Row 55: the kernel calls every user that has no number in the daemon's namespace 65534.
#[test]
fn users_that_the_daemon_cannot_tell_apart_are_refused() {
    if !is_root() || !can(&IN_USER_NAMESPACE) {
        return;
    }
    let env = [("RINGFENCE_SOCKET_MODE", "0666"), ("RINGFENCE_ALLOW_ANY_UID", "true")];
    let daemon = Daemon::start_under(&IN_USER_NAMESPACE, &env);
    Raw::connect(&daemon).echo(b"whom it can name");
    play("nameless", &daemon.socket(), as_user(stranger())).finish();
}

pub(crate) fn nameless(socket: &Path) {
    let Err(refusal) = Raw::try_connect(socket, "nameless") else { panic!("it was let in") };
    assert_eq!(ErrorCode::from_u16(refusal.code), Some(ErrorCode::PermissionDenied));
    assert!(refusal.reason.contains("user 65534"), "{refusal:?}");
}

/// Of a client outside of its pid namespace the daemon gets the pid 0; that it has died it hears all the
/// same, although a child keeps the socket.
#[test]
fn the_death_of_a_client_without_a_pid_is_heard() {
    if !is_root() || !can(&IN_PID_NAMESPACE) {
        return;
    }
    let mut daemon = Daemon::start_under(&IN_PID_NAMESPACE, &[]);
    let names = daemon.names();
    let mut keeper = play("keeper", &daemon.socket(), |_| {});
    let _child = Kept(Pid::from_raw(keeper.hear().parse().unwrap()));
    assert!(daemon.names().len() > names.len());
    keeper.child.kill().unwrap();
    keeper.child.wait().unwrap();
    until("it is forgotten", || daemon.names() == names);
    // `unshare` passes nothing on but its own death.
    daemon.kill();
}

/// Row 60: deadlines are of one clock (SPEC S7). Of another one they mean nothing, and then a call has no effect
/// rather than one that nobody waits for; without a deadline it is as good as any.
#[test]
fn a_deadline_of_another_time_namespace_is_over_or_never_comes() {
    if !is_root() || !can(&IN_TIME_NAMESPACE) {
        return;
    }
    let daemon = Daemon::start(&[]);
    play_under(&IN_TIME_NAMESPACE, "of another time", &daemon.socket()).finish();
}

pub(crate) fn of_another_time(socket: &Path) {
    let mut client = Raw::connect_to(socket);
    client.echo(b"without a deadline");
    let count = client.method("trial", 4);
    let deadline = clock::deadline_after(Duration::from_secs(30));
    let header = Header { method: count, deadline, ..Header::default() };
    client.submit_with(header, &0_u64.to_le_bytes());
    assert_eq!(code(client.take().1), ErrorCode::Expired);
    let counted = client.method("trial", 5);
    assert_eq!(client.call(counted, &0_u64.to_le_bytes()).unwrap(), 0_u64.to_le_bytes());
}

/// Row 53, in a pid namespace, where a test may say which pid is next.
#[test]
fn a_pid_that_is_used_again_keeps_nothing_of_the_dead_alive() {
    if !is_root() || !can(&IN_PID_NAMESPACE) {
        return;
    }
    let output = Command::new(IN_PID_NAMESPACE[0])
        .args(&IN_PID_NAMESPACE[1..])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "namespaces::inside", "--nocapture"])
        .env(TAG, unique())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(INSIDE_DONE), "{output:?}");
}

const INSIDE_DONE: &str = "the dead one's block is free";

/// Does nothing outside of the namespace that the test above makes.
#[test]
fn inside() {
    if std::env::var_os(TAG).is_none() {
        return;
    }
    let daemon = Daemon::start(&["--engines", "system,bus"]);
    let client = Client::builder().socket(daemon.socket()).connect().unwrap();
    let options = TopicOptions {
        policy: Policy::Overwrite,
        slots: 4,
        payload_bytes: 64,
        blocks: 1,
        block_bytes: 4096,
    };
    let topic = client.topic("t", options).unwrap();
    let mut holder = play("holder", &daemon.socket(), |_| {});
    assert_eq!(holder.hear(), "listens");
    publish(&topic).unwrap();
    assert_eq!(holder.hear(), "holds");
    assert_eq!(publish(&topic), Err(ErrorCode::Backpressure), "the only block is held");
    let pid = holder.child.id();
    holder.child.kill().unwrap();
    holder.child.wait().unwrap();
    let mut heir = take_pid(pid);
    until("its block is free", || publish(&topic).is_ok());
    let lives = heir.try_wait().unwrap().is_none();
    heir.kill().unwrap();
    heir.wait().unwrap();
    assert!(lives, "somebody had its pid all the time");
    println!("{INSIDE_DONE}");
}

fn publish(topic: &Topic) -> Result<(), ErrorCode> {
    topic.publish(&Publication::new(&[1; 4096])).map(drop).map_err(|error| error.code())
}

/// A process that has this pid.
fn take_pid(pid: u32) -> std::process::Child {
    for _ in 0..100 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        if child.id() == pid {
            return child;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    panic!("pid {pid} is not to be had");
}

pub(crate) fn holder(socket: &Path) {
    let client = Client::builder().socket(socket).connect().unwrap();
    let topic = client.find_topic("t").unwrap();
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    say("listens");
    let Event::Message(held) = subscription.recv(Some(PATIENCE)).unwrap() else { panic!() };
    assert_eq!(held.payload.len(), 4096);
    say("holds");
    std::thread::sleep(PATIENCE + Duration::from_secs(1));
    drop(held);
}
