//! Processes that are there and do nothing: stopped by SIGSTOP, or dead while their child keeps a socket.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfence::{CallOptions, Client, ErrorCode};
use std::os::fd::AsFd as _;

use super::actors::{Actor, play, say};
use super::daemon::{Daemon, PATIENCE, until};
use super::raw::Raw;

fn pid(actor: &Actor) -> Pid {
    Pid::from_raw(actor.child.id() as i32)
}

/// As /proc shows it: `T` is stopped.
pub(crate) fn state(pid: Pid) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

/// A process that is ended with the test, also one that fails.
pub(crate) struct Kept(pub(crate) Pid);

impl Drop for Kept {
    fn drop(&mut self) {
        let _gone_already = kill(self.0, Signal::SIGKILL);
    }
}

/// Row 9: the socket stays open, in a child of the client; its pidfd says that it is dead.
#[test]
fn a_client_is_gone_although_its_child_keeps_the_socket() {
    let daemon = Daemon::start(&[]);
    let (names, descriptors) = (daemon.names(), daemon.descriptors());
    let mut keeper = play("keeper", &daemon.socket(), |_| {});
    let child = Kept(Pid::from_raw(keeper.hear().parse().unwrap()));
    assert!(daemon.names().len() > names.len());
    keeper.child.kill().unwrap();
    keeper.child.wait().unwrap();
    let died = Instant::now();
    until("it is forgotten", || daemon.names() == names && daemon.descriptors() <= descriptors);
    let took = died.elapsed();
    let lives = kill(child.0, None).is_ok() && state(child.0) != 'Z';
    assert!(lives, "the child was to keep the socket");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

pub(crate) fn keeper(socket: &Path) {
    let mut client = Raw::connect_to(socket);
    client.echo(b"here");
    // What is standard input of a child is not closed by its exec.
    let kept = client.conn.as_fd().try_clone_to_owned().unwrap();
    let mut child = Command::new("sleep")
        .arg("60")
        .stdin(Stdio::from(kept))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    say(&child.id().to_string());
    child.wait().unwrap();
}

/// Row 10: its ring stays full, and nobody else is slower or wrong; it goes on where it stood.
#[test]
fn a_stopped_client_holds_nobody_up_and_goes_on_where_it_stood() {
    let daemon = Daemon::start(&[]);
    let mut neighbour = Raw::connect(&daemon);
    let mut stopped = play("pipeline", &daemon.socket(), |_| {});
    assert_eq!(stopped.hear(), "full");
    kill(pid(&stopped), Signal::SIGSTOP).unwrap();
    until("it is stopped", || state(pid(&stopped)) == 'T');
    let names = daemon.names();
    let began = Instant::now();
    for round in 0..500_u32 {
        neighbour.echo(&round.to_le_bytes());
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(daemon.names(), names, "stopped is not dead");
    kill(pid(&stopped), Signal::SIGCONT).unwrap();
    stopped.finish();
}

pub(crate) fn pipeline(socket: &Path) {
    let mut client = Raw::connect_to(socket);
    let echo = client.method("system", ringfence_protocol::api::system::ECHO);
    let (mut sent, mut read) = (0_u64, 0_u64);
    // Until there is no credit left for want of reading.
    while client.lane.has_room() {
        client.submit(echo, &sent.to_le_bytes());
        sent += 1;
    }
    say("full");
    // Long enough to be stopped in the midst of it; each answer is the one to its request.
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        assert_eq!(client.take().1.unwrap(), read.to_le_bytes());
        read += 1;
        // A slot is released a moment after its answer is there.
        until("there is room", || client.lane.has_room());
        client.submit(echo, &sent.to_le_bytes());
        sent += 1;
    }
    while read < sent {
        assert_eq!(client.take().1.unwrap(), read.to_le_bytes());
        read += 1;
    }
}

/// Row 45: the call ends in its time with the error that says so, and the next ones are served.
#[test]
fn a_stopped_daemon_is_an_error_in_time_and_serves_again() {
    let daemon = Daemon::start(&[]);
    let client = Client::builder().socket(daemon.socket()).connect().unwrap();
    assert_eq!(client.echo(b"before").unwrap(), b"before");
    daemon.signal(Signal::SIGSTOP);
    until("it is stopped", || state(daemon.pid()) == 'T');
    let echo = client.method("system", "echo").unwrap();
    let timeout = Duration::from_millis(300);
    let options = CallOptions { timeout: timeout.into(), ..CallOptions::default() };
    let began = Instant::now();
    let error = client.call(&echo, b"x", &options).unwrap_err();
    assert_eq!(error.code(), ErrorCode::DaemonStalled, "{error:?}");
    let took = began.elapsed();
    assert!(took >= timeout && took < Duration::from_secs(5), "{took:?}");
    daemon.signal(Signal::SIGCONT);
    assert_eq!(client.echo(b"after").unwrap(), b"after");
}

/// Row 68: every core is somebody else's. Calls take their turn, and are right.
#[test]
fn on_a_machine_without_a_free_core_calls_take_their_turn() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let cores = std::thread::available_parallelism().unwrap().get();
    let slowest = std::thread::scope(|scope| {
        for _ in 0..cores * 2 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let mut slowest = Duration::ZERO;
        for round in 0..100_u32 {
            let began = Instant::now();
            client.echo(&round.to_le_bytes());
            slowest = slowest.max(began.elapsed());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        slowest
    });
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}
