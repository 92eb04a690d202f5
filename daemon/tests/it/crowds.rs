//! Very many connections and lanes of one user: bounded, told so, and no harm to another user.

use std::path::Path;
use std::time::{Duration, Instant};

use ringfence_protocol::error::ErrorCode;
use ringfence_protocol::limits;
use ringfence_protocol::sys::socket::Conn;
use ringfence_protocol::wire::{ClientMessage, DaemonMessage};

use super::actors::play;
use super::daemon::{Daemon, PATIENCE, until};
use super::foreigners::{as_user, is_root, stranger};
use super::raw::{Raw, hear, map, tell};

/// So many connects of one user.
const CROWD: usize = 10_000;
/// As the daemon has it: connections of one user that have not said hello.
const SILENT_MAX: usize = 64;
const SESSIONS: usize = 20;

/// Row 33. One user connects ten thousand times, half of them in silence, and keeps what it gets; another
/// one comes and goes meanwhile.
#[test]
fn ten_thousand_connects_of_one_user_shut_no_other_out() {
    let uids = format!("0,{}", stranger());
    let sessions = SESSIONS.to_string();
    let mut daemon = Daemon::start_under(
        &[],
        &[
            ("RINGFENCE_SOCKET_MODE", "0666"),
            ("RINGFENCE_ALLOWED_UIDS", &uids),
            ("RINGFENCE_SESSIONS_MAX_PER_UID", &sessions),
        ],
    );
    if !is_root() {
        return;
    }
    let (descriptors, names) = (daemon.descriptors(), daemon.names());
    let mut crowd = play("crowd", &daemon.socket(), as_user(stranger()));
    let (mut visits, mut slowest) = (0, Duration::ZERO);
    let mut most = 0;
    while crowd.child.try_wait().unwrap().is_none() {
        let began = Instant::now();
        Raw::connect(&daemon).echo(b"another user");
        slowest = slowest.max(began.elapsed());
        visits += 1;
        most = most.max(daemon.descriptors());
        // In a crowd it takes a moment until it is noticed that one has left, and until then one counts.
        std::thread::sleep(Duration::from_millis(20));
    }
    crowd.finish();
    assert!(visits >= 5 && slowest < Duration::from_secs(10), "{visits} visits, {slowest:?}");
    // A session takes eight at most, a silent connection two.
    let bound = descriptors + SESSIONS * 8 + SILENT_MAX * 2 + 40;
    assert!(most < bound, "{most} descriptors, not {bound}");
    until("all is as before", || daemon.descriptors() <= descriptors && daemon.names() == names);
    assert!(daemon.is_running());
}

pub(crate) fn crowd(socket: &Path) {
    let (mut silent, mut sessions, mut refused) = (Vec::new(), Vec::new(), 0);
    for number in 0..CROWD {
        if number.is_multiple_of(2) {
            silent.push(Conn::connect(socket, PATIENCE).unwrap());
            // Ten at a time say goodbye, so that this process keeps descriptors of its own.
            if silent.len() == 200 {
                silent.drain(..10);
            }
            continue;
        }
        match Raw::try_connect(socket, "crowd") {
            Ok(session) => sessions.push(session),
            Err(refusal) => {
                assert_eq!(ErrorCode::from_u16(refusal.code), Some(ErrorCode::Quota));
                refused += 1;
            }
        }
    }
    assert_eq!(sessions.len(), SESSIONS);
    assert_eq!(refused, CROWD / 2 - SESSIONS);
    for session in &mut sessions {
        session.echo(b"what it has it keeps");
    }
}

/// Row 33, for who has nobody to shut out and takes the daemon's time: only so many connections come in a second.
#[test]
fn who_connects_again_and_again_waits_for_its_turn() {
    const MORE: u32 = 2 * limits::CONNECTS_PER_SECOND;
    let daemon = Daemon::start_logged(&[]);
    let began = Instant::now();
    for _ in 0..limits::CONNECTS + limits::CONNECTS_WAITING + 1 + MORE {
        drop(Conn::connect(&daemon.socket(), PATIENCE).unwrap());
    }
    let took = began.elapsed();
    let least = Duration::from_secs(1) * MORE / limits::CONNECTS_PER_SECOND;
    assert!(took >= least, "{MORE} more than may come at once came in {took:?}, not {least:?}");
    Raw::connect(&daemon).echo(b"who waited is served");
    until("it is logged once", || daemon.log().matches("wait for their turn").count() == 1);
}

#[test]
fn connections_that_say_nothing_give_way_the_oldest_first_and_are_told() {
    let env = [("RINGFENCE_SESSIONS_HANDSHAKE_TIMEOUT_MS", "60000")];
    let daemon = Daemon::start_under(&[], &env);
    let before = daemon.descriptors();
    let silent: Vec<_> =
        (0..200).map(|_| Conn::connect(&daemon.socket(), PATIENCE).unwrap()).collect();
    until("all are met", || silent[200 - SILENT_MAX - 1].hung_up());
    assert!(daemon.descriptors() <= before + 2 * SILENT_MAX + 4, "{}", daemon.descriptors());
    let (message, _) = hear(&silent[0]).unwrap();
    assert!(
        matches!(&message, DaemonMessage::Refused(refusal)
        if refusal.reason.contains("has not said hello")),
        "{message:?}"
    );
    assert!(!silent[199].hung_up(), "the youngest has time left");
    tell(&silent[199], &ClientMessage::Hello { name: "late".into(), engines: Vec::new() });
    let (message, _) = hear(&silent[199]).unwrap();
    assert!(matches!(message, DaemonMessage::Welcome { .. }), "{message:?}");
}

#[test]
fn sessions_are_counted_over_all_users() {
    let daemon = Daemon::start_under(&[], &[("RINGFENCE_SESSIONS_MAX", "2")]);
    let [mut one, _other] = [(); 2].map(|()| Raw::connect(&daemon));
    let Err(refusal) = Raw::try_connect(&daemon.socket(), "third") else { panic!("let in") };
    assert_eq!(ErrorCode::from_u16(refusal.code), Some(ErrorCode::Quota));
    assert!(refusal.reason.contains("[sessions] max:"), "{refusal:?}");
    one.echo(b"goes on");
    drop(one);
    until("there is room again", || Raw::try_connect(&daemon.socket(), "third").is_ok());
}

#[test]
fn lanes_are_counted_for_a_user_over_its_sessions() {
    let daemon = Daemon::start_under(&[], &[("RINGFENCE_SESSIONS_LANES_PER_UID", "3")]);
    let (mut one, other) = (Raw::connect(&daemon), Raw::connect(&daemon));
    tell(&one.conn, &ClientMessage::OpenLane);
    let (message, fds) = hear(&one.conn).unwrap();
    let DaemonMessage::Lane(opened) = message else { panic!("{message:?}") };
    let _third = map(&opened, &fds[0], &fds[1]);
    tell(&other.conn, &ClientMessage::OpenLane);
    let (message, _) = hear(&other.conn).unwrap();
    let DaemonMessage::Refused(refusal) = message else { panic!("{message:?}") };
    assert_eq!(ErrorCode::from_u16(refusal.code), Some(ErrorCode::Quota));
    assert!(refusal.reason.contains("3 lanes open"), "{refusal:?}");
    assert!(refusal.reason.contains("lanes_per_uid"), "{refusal:?}");
    let Err(refusal) = Raw::try_connect(&daemon.socket(), "third") else { panic!("let in") };
    assert!(refusal.reason.contains("lanes_per_uid"), "{refusal:?}");
    one.echo(b"goes on");
    drop(one);
    until("its lanes are given back", || Raw::try_connect(&daemon.socket(), "third").is_ok());
}

/// Heavy calls of one user over two sessions: with the last answer there is room at once.
#[test]
fn calls_in_flight_are_counted_for_a_user_over_its_sessions() {
    const NAP: u16 = 0;
    let nap = |ms: u64| ms.to_le_bytes();
    let env = [("RINGFENCE_SESSIONS_IN_FLIGHT_PER_UID", "4"), ("RINGFENCE_WORKERS", "2")];
    let daemon = Daemon::start_under(&[], &env);
    let (mut one, mut other) = (Raw::connect(&daemon), Raw::connect(&daemon));
    let method = one.method("trial", NAP);
    let tickets: Vec<u64> = (0..4).map(|_| one.submit(method, &nap(600_000))).collect();
    until("all are taken", || tickets.iter().all(|ticket| one.lane.was_claimed(*ticket)));
    let error = other.call(method, &nap(1)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Quota, "{error:?}");
    assert!(error.message.contains("4 heavy or waiting calls"), "{error:?}");
    other.echo(b"light ones do not count");
    // Whoever leaves takes its calls along once they have noticed.
    drop(one);
    until("they have ended", || other.call(method, &nap(1)).is_ok());
    for _ in 0..200 {
        for _ in 0..4 {
            other.submit(method, &nap(0));
        }
        for _ in 0..4 {
            other.take().1.unwrap();
        }
    }
}
