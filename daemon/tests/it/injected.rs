//! Names that clients give themselves, made to forge log lines and to steer terminals.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use ringfence_protocol::board::Snapshot;
use ringfence_protocol::layout::Header;
use ringfence_protocol::region::Region;
use ringfence_protocol::sys::mapping::{Mapping, Options};
use ringfence_protocol::sys::socket::Conn;
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage};

use super::daemon::{Daemon, PATIENCE, until};
use super::raw::{Raw, hear, tell};

/// What a log line of another severity would look like, and what moves a cursor.
const NAMES: [&str; 6] = [
    "a\n2026-01-01T00:00:00.000000Z ERROR ringfenced: forged",
    "\x1b[2J\x1b[31mred\x07",
    "\u{202e}backwards\u{2028}next",
    "\u{9b}2J\u{85}",
    "tab\there\r\0",
    "\"} {\"level\":\"ERROR\"",
];

/// Row 66: in the log, on the board, in the metrics.
#[test]
fn a_name_forges_no_line_and_steers_no_terminal() {
    let daemon = Daemon::start_logged(&[
        ("RINGFENCE_LOG_LEVEL", "debug"),
        ("RINGFENCE_METRICS_LISTEN", "DIR/metrics.sock"),
    ]);
    let long = "x".repeat(100_000);
    let mut sessions = Vec::new();
    for name in NAMES.into_iter().chain([long.as_str()]) {
        let mut client = Raw::try_connect(&daemon.socket(), name).unwrap();
        client.echo(b"here");
        sessions.push(client);
    }
    let shown = board(&sessions[0]);
    assert_eq!(shown.sessions.len(), NAMES.len() + 1);
    for session in &shown.sessions {
        let name = format!("{:?}", session.name);
        assert!(!steers(&name), "{name}");
    }
    let metrics = super::metrics::scrape(&daemon.own_path("metrics.sock"));
    assert!(!metrics.contains("forged") && !metrics.contains("[31m"), "{metrics}");
    // Each breaks a rule, so that each is logged with its name.
    for client in &mut sessions {
        client.lane.submit(Header { len: 217, ..Header::default() }, &[]).unwrap();
        if client.lane.bell_due() {
            client.bell.ring().unwrap();
        }
        assert_eq!(client.fault(), "inline-length");
    }
    until("all are logged", || daemon.log().matches("session ended").count() == NAMES.len() + 1);
    let log = daemon.log();
    assert!(log.contains("forged"), "the attack has landed: {log}");
    for line in log.lines() {
        assert!(!steers(line), "{line:?}");
        assert!(!line.contains(" ERROR ") || line.contains("\\n2026"), "{line:?}");
        assert!(line.len() < 600, "{} bytes", line.len());
    }
    assert!(log.lines().all(|line| !line.starts_with("2026-01-01")), "{log}");
}

/// Anything but the printable, or a direction?
fn steers(text: &str) -> bool {
    text.chars()
        .any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}'))
}

fn board(client: &Raw) -> Snapshot {
    tell(&client.conn, &ClientMessage::OpenBoard);
    let (message, fds) = hear(&client.conn).unwrap();
    let DaemonMessage::Board { len } = message else { panic!("{message:?}") };
    let mapped = Mapping::read_only(fds[0].as_fd(), len as usize, Options::default()).unwrap();
    Snapshot::read(&Region::new(Arc::new(mapped))).unwrap()
}

/// Rows 21 and 2: bytes that are no text are no hello; nothing of them is shown.
#[test]
fn a_name_that_is_no_text_is_refused() {
    let daemon = Daemon::start(&[]);
    let good = wire::encode(&ClientMessage::Hello { name: "abcdefgh".into(), engines: vec![] });
    let good = good.unwrap();
    let at = good.windows(8).position(|window| window == b"abcdefgh").unwrap();
    for bad in [[0xff; 8], [0xc3; 8], [0xed, 0xa0, 0x80, 0x61, 0x61, 0x61, 0x61, 0x61]] {
        let mut bytes = good.clone();
        bytes[at..at + 8].copy_from_slice(&bad);
        let conn = Conn::connect(&daemon.socket(), PATIENCE).unwrap();
        conn.send(&bytes, &[], PATIENCE).unwrap();
        let (message, _) = hear(&conn).unwrap();
        assert!(matches!(message, DaemonMessage::Refused(_)), "{message:?}");
        assert!(hear(&conn).is_none());
    }
    Raw::connect(&daemon).echo(b"text");
}
