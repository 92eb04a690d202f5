//! Real processes killed at named points: the daemon at each store of a call, clients at each step of
//! the handshake and of a call.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringfence_protocol::crash;
use ringfence_protocol::ring::{Class, WakeBy, classify};

use super::daemon::{Daemon, until};
use super::raw::{Raw, encode};
use super::trial::{NAP, Number};

/// The client of a [`victim`]: the socket to connect to.
const VICTIM: &str = "RINGFENCE_TEST_VICTIM";

/// A daemon that dies at `point`, at its third pass, while three kinds of calls are under way: what the
/// checker says of each ticket agrees with what its client saw, and with the next start nothing is left.
fn daemon_dies(point: &str) {
    let mut daemon = Daemon::start_to_crash(&[], Some(&format!("{point}:3")));
    let mut client = Raw::connect(&daemon);
    let (echo, nap) = (client.method("system", 1), client.method("trial", NAP));
    let first = client.opened.start;
    let mut submitted = first;
    // Alternately light and heavy; a light one may be the one that dies with the daemon.
    for round in 0..12u64 {
        if !client.lane.has_room() {
            break;
        }
        let heavy = round.is_multiple_of(2);
        let (method, value) = if heavy { (nap, 1) } else { (echo, round) };
        submitted = client.submit(method, &encode(&Number { value })) + 1;
    }
    until("the daemon dies at its point", || !daemon.is_running());
    let mut answered = Vec::new();
    while let Some((ticket, result)) = client.try_take() {
        assert!(result.is_ok());
        answered.push(ticket);
    }
    let classes = classify(&client.down, client.opened.geometry, first, submitted).unwrap();
    let count = classes.len() as u64;
    assert_eq!(count, submitted - first);
    for (ticket, class) in (first..submitted).zip(&classes) {
        let seen = answered.contains(&ticket);
        assert_eq!(
            *class == Class::Answered,
            seen,
            "{point}: ticket {} is {class:?}, {answered:?}",
            ticket - first
        );
        assert_eq!(
            *class == Class::NotStarted,
            !client.lane.was_claimed(ticket),
            "{point}: {class:?}"
        );
    }
    assert!(client.conn.hung_up(), "the client hears of it at once");
    let left = daemon.names();
    daemon.restart(&[]);
    let now = daemon.names();
    let gone = left.iter().filter(|name| !name.ends_with(".lock")).all(|name| !now.contains(name));
    assert!(gone, "{point}: left {left:?}, now {now:?}");
    Raw::connect(&daemon).echo(b"as new");
}

#[test]
fn a_daemon_killed_at_each_point_leaves_what_the_checker_reads() {
    for point in crash::DAEMON {
        daemon_dies(point);
    }
}

/// The other half of the test below: a client in a process of its own that walks through a handshake and
/// calls, and is killed on its way. Does nothing when it is not started by that test.
#[test]
fn victim() {
    let Some(socket) = std::env::var_os(VICTIM) else { return };
    let mut client = Raw::connect_to(socket.as_ref());
    for round in 0..200u64 {
        client.echo(&round.to_le_bytes());
    }
    let nap = client.method("trial", NAP);
    client.submit(nap, &encode(&Number { value: 50 }));
    let bell = &client.bell;
    let _nap = client.lane.park(WakeBy::Futex, || bell.ring().unwrap());
    client.lane.unpark();
    client.take().1.unwrap();
    unreachable!("the victim should have died at {:?}", std::env::var("RINGFENCE_CRASH_AT"));
}

/// Issue: a client killed -9 at each named crash point of the handshake and of a call: names and
/// descriptors at the baseline within 1 s, a neighbour's answers right.
#[test]
fn a_client_killed_at_each_point_leaves_nothing() {
    let mut daemon = Daemon::start(&[]);
    let mut neighbour = Raw::connect(&daemon);
    neighbour.echo(b"before");
    let (names, descriptors) = (daemon.names(), daemon.descriptors());
    for point in crash::CLIENT {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::victim", "--nocapture"])
            .env(VICTIM, daemon.socket())
            .env("RINGFENCE_CRASH_AT", format!("{point}:1"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let died = Instant::now();
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(status.signal(), Some(9), "{point}: {status}");
        until("names and descriptors are at the baseline", || {
            neighbour.echo(point.as_bytes());
            daemon.names() == names && daemon.descriptors() <= descriptors
        });
        // The daemon is told by the kernel and has nothing to wait for.
        assert!(died.elapsed() < Duration::from_secs(1), "{point}: {:?}", died.elapsed());
    }
    assert!(daemon.is_running());
}
