//! First messages that are cut, swapped, of another version, or bring what nobody asked for.

use std::io::IoSlice;
use std::os::fd::{AsFd as _, AsRawFd as _};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use ringfence_protocol::error::ErrorCode;
use ringfence_protocol::schema::Digest;
use ringfence_protocol::sys::socket::Conn;
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage, Refusal};

use super::daemon::{Daemon, PATIENCE, until};
use super::raw::{Raw, hear};

fn hello() -> Vec<u8> {
    let engines = vec![("system".to_owned(), Digest::default())];
    wire::encode(&ClientMessage::Hello { name: "hello".into(), engines }).unwrap()
}

/// What a connection that says this first hears.
fn first(daemon: &Daemon, bytes: &[u8]) -> DaemonMessage {
    let conn = Conn::connect(&daemon.socket(), PATIENCE).unwrap();
    conn.send(bytes, &[], PATIENCE).unwrap();
    hear(&conn).expect("an answer").0
}

fn refused(message: DaemonMessage) -> Refusal {
    match message {
        DaemonMessage::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Row 2. A message of this socket comes whole or not at all, so what is cut was sent so.
#[test]
fn a_hello_that_is_cut_anywhere_is_refused_and_leaves_nothing() {
    let daemon = Daemon::start(&[]);
    let (names, descriptors) = (daemon.names(), daemon.descriptors());
    let whole = hello();
    for len in 1..whole.len() {
        refused(first(&daemon, &whole[..len]));
    }
    assert!(matches!(first(&daemon, &whole), DaemonMessage::Welcome { .. }));
    let longer = [whole.as_slice(), &[0]].concat();
    refused(first(&daemon, &longer));
    until("all are gone", || daemon.names() == names && daemon.descriptors() <= descriptors);
}

/// Row 49. Numbers of the other byte order are those of another layout.
#[test]
fn a_hello_of_the_other_byte_order_is_refused_as_another_layout() {
    let daemon = Daemon::start(&[]);
    let mut swapped = hello();
    swapped[8..10].reverse();
    swapped[10..12].reverse();
    let refusal = refused(first(&daemon, &swapped));
    assert_eq!(ErrorCode::from_u16(refusal.code), Some(ErrorCode::SchemaMismatch));
    assert!(refusal.reason.contains("layout 256.0 there"), "{refusal:?}");
    assert!(refusal.remedy.contains("install matching versions"), "{refusal:?}");
}

/// Row 47. A minor only ever adds: an older or newer one is served.
#[test]
fn a_hello_of_another_minor_is_welcome() {
    let daemon = Daemon::start(&[]);
    for minor in [1_u16, 7, u16::MAX] {
        let mut other = hello();
        other[10..12].copy_from_slice(&minor.to_le_bytes());
        assert!(matches!(first(&daemon, &other), DaemonMessage::Welcome { .. }));
    }
}

/// Row 48. Where an engine differs its text comes along, by which the client finds the first difference.
#[test]
fn engines_that_differ_come_with_their_text_and_unknown_ones_are_ignored() {
    let daemon = Daemon::start(&[]);
    let wrong = Digest::default();
    let engines = vec![("system".to_owned(), wrong), ("of tomorrow".to_owned(), wrong)];
    let bytes = wire::encode(&ClientMessage::Hello { name: "old".into(), engines }).unwrap();
    let DaemonMessage::Welcome { engines, .. } = first(&daemon, &bytes) else {
        panic!("it is served")
    };
    let system = engines.iter().find(|engine| engine.name == "system").unwrap();
    let text = system.differs.as_ref().expect("the daemon's text of the engine");
    assert_eq!(text.digest(), system.digest);
    let trial = engines.iter().find(|engine| engine.name == "trial").unwrap();
    assert!(trial.differs.is_none(), "nothing was said of it");
}

/// Row 36. The kernel refuses them where it can (Linux 6.16), else they are discarded and the session ends.
#[test]
fn descriptors_that_a_client_sends_never_stay() {
    let daemon = Daemon::start(&[]);
    let mut neighbour = Raw::connect(&daemon);
    neighbour.echo(b"before");
    let before = daemon.descriptors();
    let client = Raw::connect(&daemon);
    if send_many(&client.conn, &wire::encode(&ClientMessage::OpenLane).unwrap()) {
        assert_eq!(client.fault(), "descriptors");
    }
    drop(client);
    until("none are left", || daemon.descriptors() <= before);
    // The same before it is known who sends them.
    let conn = Conn::connect(&daemon.socket(), PATIENCE).unwrap();
    if send_many(&conn, &hello()) {
        assert!(hear(&conn).is_none(), "it was let in");
    }
    drop(conn);
    until("none are left", || daemon.descriptors() <= before);
    neighbour.echo(b"after");
}

/// Sends as many descriptors as the kernel takes at once; `false` if it refuses them.
fn send_many(conn: &Conn, bytes: &[u8]) -> bool {
    let null = std::fs::File::open("/dev/null").unwrap();
    let many = [null.as_raw_fd(); 253];
    let (fd, parts) = (conn.as_fd().as_raw_fd(), [IoSlice::new(bytes)]);
    let rights = [ControlMessage::ScmRights(&many)];
    match sendmsg::<()>(fd, &parts, &rights, MsgFlags::empty(), None) {
        Ok(sent) => {
            assert_eq!(sent, bytes.len());
            true
        }
        Err(errno) => {
            assert_eq!(errno, Errno::EPERM);
            false
        }
    }
}
