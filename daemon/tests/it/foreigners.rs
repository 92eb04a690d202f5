//! Clients of another user: refused or admitted as configured, and as admitted ones kept to their own.
//!
//! These need root, to become somebody else; without it they say that they are skipped.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringfence_protocol::api::bus;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::memory::Memory as _;
use ringfence_protocol::sys::socket::{Conn, SocketError};
use ringfence_protocol::wire::{ClientMessage, DaemonMessage};

use super::actors::{play, say};
use super::daemon::{Daemon, PATIENCE, until};
use super::raw::{Raw, code, encode, hear, tell};
use super::trial::{FILL, NAP, Number};

use crate::skip::skip;

ringfence_protocol::message! {
    /// As `testd` has it.
    struct Wait<'a> { key: u64, begin: bool, data: &'a [u8] }
}

/// Two users that nobody is.
const STRANGER: u32 = 54_321;
const ANOTHER: u32 = 54_322;
/// A group that every machine has, with its number here.
const GROUP: &str = "daemon";

/// May this process become somebody else?
pub(crate) fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("only root can become another user");
    }
    root
}

pub(crate) fn as_user(uid: u32) -> impl FnOnce(&mut Command) {
    move |command| {
        command.uid(uid).gid(uid);
    }
}

fn open_to(uids: &str) -> Daemon {
    Daemon::start_under(
        &[],
        &[
            ("RINGFENCE_SOCKET_MODE", "0666"),
            ("RINGFENCE_ALLOWED_UIDS", uids),
            ("RINGFENCE_ENGINES", "system,bus"),
            ("RINGFENCE_SESSIONS_IN_FLIGHT_PER_UID", "3"),
            ("RINGFENCE_BUS_PUBLISH", &format!("shared.*={STRANGER}")),
            ("RINGFENCE_BUS_BYTES_PER_UID", "1000000"),
        ],
    )
}

#[test]
fn another_user_is_shut_out_by_the_sockets_mode() {
    if !is_root() {
        return;
    }
    let daemon = Daemon::start(&[]);
    play("shut out", &daemon.socket(), as_user(STRANGER)).finish();
}

pub(crate) fn shut_out(socket: &Path) {
    let Err(error) = Conn::connect(socket, PATIENCE) else { panic!("it was let in") };
    assert!(
        matches!(&error, SocketError::Path { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied),
        "{error:?}"
    );
}

#[test]
fn a_user_that_is_not_on_the_list_is_refused_with_a_remedy_and_logged_once() {
    if !is_root() {
        return;
    }
    let daemon = open_to("0");
    play("refused", &daemon.socket(), as_user(STRANGER)).finish();
    let lines = daemon.log().matches("the user is not allowed").count();
    assert_eq!(lines, 1, "of a hundred refusals: {}", daemon.log());
    Raw::connect(&daemon).echo(b"the others");
}

pub(crate) fn refused(socket: &Path) {
    for _ in 0..100 {
        let Err(refusal) = Raw::try_connect(socket, "stranger") else { panic!("it was let in") };
        assert_eq!(ErrorCode::from_u16(refusal.code), Some(ErrorCode::PermissionDenied));
        assert!(refusal.reason.contains(&STRANGER.to_string()), "{refusal:?}");
        assert!(refusal.remedy.contains("allowed_uids"), "{refusal:?}");
    }
}

/// Whoever is in the socket's group may connect, and nobody else.
#[test]
fn the_sockets_group_lets_its_members_in() {
    if !is_root() {
        return;
    }
    let Ok(Some(group)) = nix::unistd::Group::from_name(GROUP) else {
        return skip(&format!("no group is named {GROUP}"));
    };
    let daemon = Daemon::start_under(
        &[],
        &[
            ("RINGFENCE_SOCKET_MODE", "0660"),
            ("RINGFENCE_SOCKET_GROUP", GROUP),
            ("RINGFENCE_ALLOW_ANY_UID", "true"),
        ],
    );
    let gid = group.gid.as_raw();
    play("member", &daemon.socket(), |command| {
        command.uid(STRANGER).gid(gid);
    })
    .finish();
    play("shut out", &daemon.socket(), as_user(STRANGER)).finish();
}

pub(crate) fn member(socket: &Path) {
    Raw::connect_to(socket).echo(b"a member");
}

/// Rows 37 and 67, from the other side: nothing of the daemon's can be written, nothing of others' read.
#[test]
fn an_admitted_stranger_is_kept_to_its_own() {
    if !is_root() {
        return;
    }
    let daemon = open_to(&format!("0,{STRANGER}"));
    let mut owner = Raw::connect(&daemon);
    owner.echo(CANARY);
    let names = daemon.names();
    play("admitted", &daemon.socket(), as_user(STRANGER)).finish();
    owner.echo(b"untouched");
    until("the stranger's own names are gone", || daemon.names() == names);
}

const CANARY: &[u8] = b"canary of another user, 9f1c2b7e";

pub(crate) fn admitted(socket: &Path) {
    let mut client = Raw::connect_to(socket);
    client.echo(b"let in");
    for fd in [client.up_fd.as_fd(), client.down_fd.as_fd()] {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let again = std::fs::OpenOptions::new().read(true).write(true).open(path);
        assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        let opened_up = nix::sys::stat::fchmod(fd, nix::sys::stat::Mode::from_bits_truncate(0o666));
        assert_eq!(opened_up, Err(nix::errno::Errno::EPERM));
    }
    assert!(nix::sys::uio::pwrite(&client.down_fd, b"forged", 0).is_err());
    assert!(nix::unistd::ftruncate(&client.down_fd, 0).is_err());
    let mut seen = 0;
    for name in std::fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().path()) {
        if is_of(&name, socket) {
            seen += 1;
            assert!(std::fs::File::open(&name).is_err(), "{name:?} can be read");
            assert!(std::fs::remove_file(&name).is_err(), "{name:?} can be removed");
            assert!(std::fs::rename(&name, "/dev/shm/ringfence-stolen").is_err());
        }
    }
    assert!(seen >= 6, "two lanes, a board and a lock, not {seen}");
    tell(&client.conn, &ClientMessage::OpenBoard);
    let (message, fds) = hear(&client.conn).unwrap();
    assert!(
        matches!(&message, DaemonMessage::Refused(refusal)
        if refusal.reason.contains("may not read the board")),
        "{message:?}"
    );
    assert!(fds.is_empty());
    let open = client.method(bus::NAME, bus::OPEN);
    let (slots, payload_bytes, blocks, block_bytes) = (4, 64, 0, 0);
    let (patience_ms, policy, name) = (0, 0, "others");
    let topic = bus::Open { slots, payload_bytes, blocks, block_bytes, patience_ms, policy, name };
    assert_eq!(code(client.call(open, &encode(&topic))), ErrorCode::PermissionDenied);
    assert!(!holds(&client, CANARY));
}

fn make_topic(client: &mut Raw, name: &str, slots: u32) -> Result<Vec<u8>, Error> {
    let open = client.method(bus::NAME, bus::OPEN);
    let (payload_bytes, blocks, block_bytes, patience_ms, policy) = (96, 0, 0, 0, 0);
    let topic = bus::Open { slots, payload_bytes, blocks, block_bytes, patience_ms, policy, name };
    client.call(open, &encode(&topic))
}

/// Topics stay, so what a user makes is counted for as long as the daemon lives; the owner's is not.
#[test]
fn bytes_of_topics_are_counted_for_each_user_that_may_make_some() {
    if !is_root() {
        return;
    }
    let daemon = open_to(&format!("0,{STRANGER}"));
    play("maker", &daemon.socket(), as_user(STRANGER)).finish();
    // It left and came back: that changes nothing.
    play("full maker", &daemon.socket(), as_user(STRANGER)).finish();
    let mut owner = Raw::connect(&daemon);
    for name in ["one", "two", "three"] {
        make_topic(&mut owner, name, 4096).unwrap();
    }
}

pub(crate) fn maker(socket: &Path) {
    let mut client = Raw::connect_to(socket);
    make_topic(&mut client, "shared.one", 4096).unwrap();
    full_maker(socket);
}

pub(crate) fn full_maker(socket: &Path) {
    let mut client = Raw::connect_to(socket);
    let error = make_topic(&mut client, "shared.two", 4096).unwrap_err();
    assert_eq!(error.code, ErrorCode::Quota, "{error:?}");
    assert!(error.message.contains("[bus] bytes_per_uid = 1000000"), "{error:?}");
    // What is refused takes nothing.
    make_topic(&mut client, "shared.small", 4).unwrap();
}

/// Is this a name of the daemon at that socket?
fn is_of(name: &Path, socket: &Path) -> bool {
    let instance = socket.parent().unwrap().file_name().unwrap().to_str().unwrap();
    name.to_str().unwrap().contains(&format!(".{instance}."))
}

/// Is this anywhere in what a client can see of its lane?
fn holds(client: &Raw, pattern: &[u8]) -> bool {
    [&client.up, &client.down].iter().any(|region| {
        let mut bytes = vec![0; region.len()];
        region.read_block(0, &mut bytes);
        bytes.windows(pattern.len()).any(|window| window == pattern)
    })
}

/// Row 67: what one session leaves in its memory no later one finds in its own.
#[test]
fn nothing_of_one_session_is_in_the_memory_of_the_next() {
    let daemon = Daemon::start(&[]);
    for round in 0..10 {
        let mut client = Raw::connect(&daemon);
        assert!(!holds(&client, CANARY), "round {round}");
        // Of the daemon's words, too: what is not yet used is zero.
        let blocks = client.opened.geometry.up().arena;
        let mut arena = vec![1; client.up.len() - blocks];
        client.up.read_block(blocks, &mut arena);
        assert!(arena.iter().all(|byte| *byte == 0));
        let bulk = client.open_bulk_region(1 << 20);
        let mut bytes = vec![1; bulk.len()];
        bulk.read_block(0, &mut bytes);
        assert!(bytes.iter().all(|byte| *byte == 0));
        // And it landed where the next one might find it: request, reply, arena, bulk.
        client.echo(CANARY);
        let _ = client.trial(FILL, &Number { value: 20_000 }).unwrap();
        client.up.write_block(blocks, CANARY);
        bulk.write_block(4096, CANARY);
        assert!(holds(&client, CANARY));
    }
}

/// One user with all the calls in flight that it may have: another's are not fewer.
#[test]
fn calls_in_flight_are_counted_for_each_user() {
    if !is_root() {
        return;
    }
    let daemon = open_to(&format!("0,{STRANGER},{ANOTHER}"));
    let mut busy = play("busy user", &daemon.socket(), as_user(STRANGER));
    assert_eq!(busy.hear(), "full");
    let mut other = Raw::connect(&daemon);
    let nap = other.method("trial", NAP);
    let ticket = other.submit(nap, &encode(&Number { value: 1 }));
    let (answered, result) = other.take();
    assert_eq!(answered, ticket);
    result.unwrap();
    play("busy user", &daemon.socket(), as_user(ANOTHER)).hear();
}

pub(crate) fn busy_user(socket: &Path) {
    let mut clients = [Raw::connect_to(socket), Raw::connect_to(socket)];
    let later = clients[0].method("later", 0);
    let wait = encode(&Wait { key: 9, begin: false, data: &[] });
    // Three fit, in whichever of the sessions; the fourth is refused with the limit.
    for at in [0, 1, 0] {
        let ticket = clients[at].submit(later, &wait);
        until("it is taken", || clients[at].lane.was_claimed(ticket));
    }
    let error = clients[1].call(later, &wait).unwrap_err();
    assert_eq!(error.code, ErrorCode::Quota, "{error:?}");
    assert!(error.message.contains("in_flight_per_uid"), "{error:?}");
    clients[1].echo(b"light ones do not count");
    say("full");
    std::thread::sleep(PATIENCE);
}

/// For tests that put files where the daemon's would be.
pub(crate) fn stranger() -> u32 {
    STRANGER
}

pub(crate) fn path_in_shm(name: &str) -> PathBuf {
    Path::new("/dev/shm").join(name)
}
