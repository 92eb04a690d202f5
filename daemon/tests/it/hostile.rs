//! Clients that break the rules: the session ends with a typed fault, and nobody else notices.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::ftruncate;
use ringfence_protocol::layout::{Header, slot, up};
use ringfence_protocol::memory::Memory as _;
use ringfence_protocol::sys::socket::Conn;
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage};

use super::daemon::{Daemon, PATIENCE, until};
use super::raw::{Raw, encode, hear, tell};

/// Runs `attack` beside an honest client: the attacker's session ends with `fault`, the neighbour's
/// answers stay right, the daemon's names and descriptors return to where they were.
fn attack(fault: &str, attack: impl FnOnce(&mut Raw)) {
    let mut daemon = Daemon::start(&[]);
    let mut neighbour = Raw::connect(&daemon);
    neighbour.echo(b"before");
    let (names, descriptors) = (daemon.names(), daemon.descriptors());
    let mut attacker = Raw::connect(&daemon);
    attacker.echo(b"still honest");
    attack(&mut attacker);
    if attacker.lane.bell_due() {
        attacker.bell.ring().unwrap();
    }
    assert_eq!(attacker.fault(), fault);
    for round in 0..100u32 {
        neighbour.echo(&round.to_le_bytes());
    }
    drop(attacker);
    until("the attacker's names and descriptors are gone", || {
        daemon.names() == names && daemon.descriptors() <= descriptors
    });
    assert!(daemon.is_running());
}

/// Publishes a request with exactly these header words.
fn publish(client: &mut Raw, header: Header) {
    client.lane.submit(header, &[]).unwrap();
}

#[test]
fn an_inline_length_beyond_the_slot() {
    attack("inline-length", |client| publish(client, Header { len: 217, ..Header::default() }));
}

#[test]
fn an_enormous_inline_length() {
    attack("inline-length", |client| {
        publish(client, Header { len: u32::MAX, ..Header::default() })
    });
}

#[test]
fn reserved_flags() {
    attack("reserved", |client| publish(client, Header { flags: 1, ..Header::default() }));
}

#[test]
fn a_ticket_in_a_request() {
    attack("reserved", |client| publish(client, Header { ticket: 7, ..Header::default() }));
}

#[test]
fn a_block_outside_the_arena() {
    attack("block", |client| publish(client, Header { block: 17, len: 1, ..Header::default() }));
}

#[test]
fn a_payload_that_runs_over_the_arenas_end() {
    attack("block", |client| publish(client, Header { block: 16, len: 4097, ..Header::default() }));
}

#[test]
fn a_block_of_index_zero_of_a_segment() {
    attack("block", |client| {
        publish(client, Header { block: 1 << 24, len: 1, ..Header::default() })
    });
}

#[test]
fn a_bulk_segment_that_does_not_exist() {
    attack("bulk", |client| {
        publish(client, Header { block: 3 << 24 | 1, len: 1, ..Header::default() })
    });
}

#[test]
fn a_consumed_that_was_never_done() {
    attack("consumed", |client| {
        let echo = client.method("system", 1);
        let forged = client.opened.start.wrapping_add(1 << 40);
        // The word is read when the credit that the daemon knows of is used up.
        until("the forged word is read", || {
            client.up.store(up::CONSUMED, forged);
            if client.lane.has_room() && !client.conn.hung_up() {
                client.submit(echo, b"fill");
            }
            client.up.store(up::CONSUMED, forged);
            client.conn.hung_up()
        });
    });
}

#[test]
fn up_truncated_to_zero() {
    attack("truncated", |client| {
        ftruncate(client.up_fd.as_fd(), 0).unwrap();
    });
}

#[test]
fn up_truncated_to_half() {
    attack("truncated", |client| {
        let half = client.opened.geometry.up().ring.at(0) as i64 + 4096;
        ftruncate(client.up_fd.as_fd(), half / 4096 * 4096).unwrap();
    });
}

/// Issue: nothing of a truncated payload is stored. The rows of an `add` lie in the arena, the arena is
/// cut off before the daemon looks: the zeros in its place are never taken for rows.
#[test]
fn rows_that_were_truncated_are_not_stored() {
    use ringfence_protocol::api::vectors::{self as api, Add, Collection, Count, Create};
    use ringfence_protocol::message::Message as _;

    let daemon = Daemon::start(&["--engines", "system,vectors"]);
    let mut neighbour = Raw::connect(&daemon);
    let create = neighbour.method("vectors", api::CREATE);
    let made = Create {
        dim: 8,
        metric: 0,
        exist_ok: false,
        connectivity: 0,
        ef_add: 0,
        ef_search: 0,
        name: "docs",
    };
    neighbour.call(create, &encode(&made)).unwrap();
    for round in 0..20u64 {
        let mut attacker = Raw::connect(&daemon);
        let method = attacker.method("vectors", api::ADD);
        let ids: Vec<u64> = (0..500).map(|row| round * 1000 + row).collect();
        let rows = vec![1.0f32; 500 * 8];
        let add = encode(&Add { upsert: false, collection: "docs", ids: &ids, rows: &rows });
        let block = attacker.lane.place(&add).unwrap();
        let header = Header { method, len: add.len() as u32, block, ..Header::default() };
        // Half of the rounds race the daemon, the others cut first.
        let arena = attacker.opened.geometry.up().arena as i64;
        if round.is_multiple_of(2) {
            ftruncate(attacker.up_fd.as_fd(), arena).unwrap();
            attacker.lane.submit(header, &[]).unwrap();
        } else {
            attacker.lane.submit(header, &[]).unwrap();
            ftruncate(attacker.up_fd.as_fd(), arena).unwrap();
        }
        if attacker.lane.bell_due() {
            attacker.bell.ring().unwrap();
        }
        assert_eq!(attacker.fault(), "truncated");
        // All rows of a batch or none, and none of them zero.
        let count = neighbour.method("vectors", api::COUNT);
        let reply = neighbour.call(count, &encode(&Collection { collection: "docs" })).unwrap();
        let stored = Count::decode(&reply).unwrap().count;
        assert_eq!(stored % 500, 0);
        assert!(round.is_multiple_of(2) || stored <= 500 * (round + 1));
        let get = neighbour.method("vectors", api::GET);
        for id in &ids[..3] {
            let asked = encode(&api::Ids { collection: "docs", ids: &[*id] });
            let reply = neighbour.call(get, &asked).unwrap();
            let rows = api::Rows::decode(&reply).unwrap();
            assert!(rows.rows.iter().all(|value| *value == 1.0), "{:?}", rows.rows);
            assert!(rows.found == [0] || !round.is_multiple_of(2), "cut before it was seen");
        }
    }
}

#[test]
fn up_made_longer() {
    attack("altered", |client| {
        ftruncate(client.up_fd.as_fd(), client.up.len() as i64 * 4).unwrap();
    });
}

/// Each page that is punched out is zeros, or a wait for the puncher, to whoever meets it: bounded by the
/// sweep that notices.
#[test]
fn holes_in_up() {
    attack("altered", |client| {
        let len = client.up.len() as i64;
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let end = std::time::Instant::now() + PATIENCE;
        while !client.conn.hung_up() {
            fallocate(client.up_fd.as_fd(), punch, 0, len).unwrap();
            assert!(std::time::Instant::now() < end, "nobody notices");
        }
    });
}

#[test]
fn a_bulk_segment_made_longer() {
    attack("altered", |client| {
        tell(&client.conn, &ClientMessage::OpenBulk { len: 1 << 20 });
        let (message, fds) = hear(&client.conn).unwrap();
        assert!(matches!(message, DaemonMessage::Bulk { .. }), "{message:?}");
        ftruncate(fds[0].as_fd(), 1 << 30).unwrap();
    });
}

#[test]
fn garbage_and_a_second_hello_on_the_control_socket() {
    attack("control", |client| client.conn.send(b"GET / HTTP/1.1", &[], PATIENCE).unwrap());
    attack("control", |client| {
        tell(&client.conn, &ClientMessage::Hello { name: "again".into(), engines: vec![] })
    });
}

#[test]
fn a_flood_of_control_messages() {
    let daemon = Daemon::start(&[]);
    let (mut neighbour, flooder) = (Raw::connect(&daemon), Raw::connect(&daemon));
    let bytes = wire::encode(&ClientMessage::OpenBulk { len: u64::MAX }).unwrap();
    let mut refused = 0;
    // Each answer is read, so that it is the flood that ends the session and nothing else.
    let fault = loop {
        let _ended = flooder.conn.send(&bytes, &[], PATIENCE);
        match hear(&flooder.conn) {
            Some((DaemonMessage::Refused(_), _)) => refused += 1,
            Some((DaemonMessage::Killed { fault, .. }, _)) => break fault,
            other => panic!("{other:?} after {refused} refusals"),
        }
        assert!(refused < 100_000);
    };
    assert_eq!(fault, "control-flood");
    assert!(refused >= 1000, "{refused}");
    neighbour.echo(b"did not notice");
}

#[test]
fn segments_of_other_clients_cannot_be_written_through_down() {
    let daemon = Daemon::start(&[]);
    let client = Raw::connect(&daemon);
    assert!(nix::sys::uio::pwrite(client.down_fd.as_fd(), b"forged", 0).is_err());
    assert!(ftruncate(client.down_fd.as_fd(), 0).is_err());
    let flags = nix::fcntl::fcntl(client.down_fd.as_fd(), nix::fcntl::FcntlArg::F_GETFL).unwrap();
    assert_eq!(flags & nix::libc::O_ACCMODE, nix::libc::O_RDONLY);
    let _ = client.down_fd.as_raw_fd();
}

/// Scribbles over all of `up` from a thread while the lane is served: the session ends with a fault or
/// goes on; the neighbour's answers stay right; the daemon lives.
#[test]
fn a_mutator_scribbles_over_all_of_up() {
    let mut daemon = Daemon::start(&[]);
    let mut neighbour = Raw::connect(&daemon);
    for seed in 1..6u64 {
        let attacker = Raw::connect(&daemon);
        let (up, conn) = (attacker.up.clone(), &attacker.conn);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let words = up.len() / 8;
                for _ in 0..300_000 {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    up.store((state as usize % words) * 8, state.rotate_left(17) & 0xffff_00ff);
                    if conn.hung_up() {
                        break;
                    }
                }
            });
            scope.spawn(|| {
                // Real commits, so that the daemon looks at what was scribbled.
                let geometry = attacker.opened.geometry;
                for offset in 0..2000u64 {
                    let position = attacker.opened.start + offset;
                    let at = geometry.up().ring.at(position);
                    attacker.up.store_release(at + slot::SEQ, position + 1);
                    let _ = attacker.bell.ring();
                    std::thread::sleep(Duration::from_micros(20));
                    if attacker.conn.hung_up() {
                        break;
                    }
                }
            });
            for round in 0..500u32 {
                neighbour.echo(&round.to_le_bytes());
            }
        });
    }
    neighbour.echo(b"after");
    assert!(daemon.is_running());
}

#[test]
fn strangers_and_half_messages_are_refused_or_forgotten() {
    let daemon = Daemon::start(&[]);
    let descriptors = daemon.descriptors();
    let stranger = Conn::connect(&daemon.socket(), PATIENCE).unwrap();
    stranger.send(b"hello?", &[], PATIENCE).unwrap();
    let (message, _) = hear(&stranger).unwrap();
    assert!(
        matches!(message, DaemonMessage::Refused(refusal) if refusal.reason.contains("no Ringfence control message"))
    );
    let silent = Conn::connect(&daemon.socket(), PATIENCE).unwrap();
    assert!(hear(&silent).is_none(), "after the handshake's time-out");
    drop((stranger, silent));
    until("both are forgotten", || daemon.descriptors() <= descriptors);
}

#[test]
fn a_foreign_layout_version_is_told_what_to_install() {
    let daemon = Daemon::start(&[]);
    let conn = Conn::connect(&daemon.socket(), PATIENCE).unwrap();
    let mut bytes = wire::encode(&ClientMessage::Goodbye).unwrap();
    bytes[8] = 2;
    conn.send(&bytes, &[], PATIENCE).unwrap();
    let (message, _) = hear(&conn).unwrap();
    let DaemonMessage::Refused(refusal) = message else { panic!("{message:?}") };
    assert!(refusal.reason.contains("layout 2.0 there"), "{refusal:?}");
    assert!(refusal.remedy.contains("install matching versions"), "{refusal:?}");
}
