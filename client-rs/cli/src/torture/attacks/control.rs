//! The control socket of a session: floods, nonsense, descriptors, and more than there is for one user.

use std::os::fd::AsFd as _;

use ringfence::ErrorCode;
use ringfence_protocol::limits::CONTROL_BYTES;
use ringfence_protocol::sys::socket::SocketError;
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage};

use crate::torture::attack::{
    Attack, Busy, Expect, Outcome, Scene, Seen, Wrong, broken, landed, must, patience,
};
use crate::torture::attacker::{hear, hello, tell};

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "control-flood",
        what: "asks for one thing after the other over its control socket",
        rows: &[31],
        expect: &[Expect::Fault("control-flood")],
        busy: Busy::Visits,
        run: flood,
    },
    Attack {
        name: "control-unread",
        what: "the same, and never reads what is answered",
        rows: &[32],
        expect: &[Expect::Dropped],
        busy: Busy::Visits,
        run: unread,
    },
    Attack {
        name: "hello-twice",
        what: "says hello again",
        rows: &[47],
        expect: &[Expect::Fault("control")],
        busy: Busy::Visits,
        run: |scene| says(scene, &wire::encode(&hello("again"))?),
    },
    Attack {
        name: "strangers-bytes",
        what: "an HTTP request in the middle of a session",
        rows: &[31],
        expect: &[Expect::Fault("control")],
        busy: Busy::Visits,
        run: |scene| says(scene, b"GET / HTTP/1.1\r\n\r\n"),
    },
    Attack {
        name: "half-message",
        what: "a control message without its last byte",
        rows: &[31],
        expect: &[Expect::Fault("control")],
        busy: Busy::Visits,
        run: |scene| {
            let whole = wire::encode(&ClientMessage::OpenBulk { len: 1 << 20 })?;
            says(scene, &whole[..whole.len() - 1])
        },
    },
    Attack {
        name: "message-too-long",
        what: "a control message of one byte more than there may be",
        rows: &[31],
        expect: &[Expect::Fault("control")],
        busy: Busy::Visits,
        run: |scene| says(scene, &vec![7; CONTROL_BYTES + 1]),
    },
    Attack {
        name: "descriptors",
        what: "sends 16 descriptors that nobody asked for",
        rows: &[36],
        expect: &[Expect::Unharmed, Expect::Fault("descriptors")],
        busy: Busy::Visits,
        run: descriptors,
    },
    Attack {
        name: "lanes-quota",
        what: "opens lanes until there is no more",
        rows: &[33],
        expect: &[Expect::Refused(ErrorCode::Quota)],
        busy: Busy::Visits,
        run: |scene| asks(scene, &ClientMessage::OpenLane, 7),
    },
    Attack {
        name: "bulk-quota",
        what: "opens segments of 4 MiB until there is no more",
        rows: &[33, 39],
        expect: &[Expect::Refused(ErrorCode::Quota)],
        busy: Busy::Visits,
        run: |scene| asks(scene, &ClientMessage::OpenBulk { len: 4 << 20 }, 7),
    },
    Attack {
        name: "bulk-many",
        what: "opens small segments until there is no more",
        rows: &[33, 34],
        expect: &[Expect::Refused(ErrorCode::Quota)],
        busy: Busy::Visits,
        run: |scene| asks(scene, &ClientMessage::OpenBulk { len: 1 }, 64),
    },
    Attack {
        name: "bulk-enormous",
        what: "asks for a segment of 2^64 - 1 bytes",
        rows: &[23, 38],
        expect: &[Expect::Refused(ErrorCode::TooLarge)],
        busy: Busy::Visits,
        run: |scene| asks(scene, &ClientMessage::OpenBulk { len: u64::MAX }, 0),
    },
    Attack {
        name: "waker-twice",
        what: "asks for a second waker",
        rows: &[34],
        expect: &[Expect::Refused(ErrorCode::Quota)],
        busy: Busy::Visits,
        run: |scene| asks(scene, &ClientMessage::OpenWaker, 1),
    },
];

fn flood(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let attacker = scene.connect()?;
    let bytes = wire::encode(&ClientMessage::OpenBulk { len: u64::MAX })?;
    // Each answer is read, so that it is the flood that ends the session and nothing else.
    for sent in 1..100_000_u32 {
        // It may have ended, which the answer says.
        let _ended = attacker.conn.send(&bytes, &[], patience());
        match hear(&attacker.conn)? {
            Some((DaemonMessage::Refused(_), _)) => {}
            Some((DaemonMessage::Killed { fault, .. }, _)) => {
                landed(sent >= 1000, "it ended before there was a flood")?;
                return Seen::new(format!("{sent} messages"), Outcome::Fault(fault));
            }
            other => return broken(format!("after {sent} messages: {other:?}")),
        }
        must(sent < 3000 || !scene.over(), || {
            format!("the session goes on after {sent} messages")
        })?;
    }
    broken("the session goes on after 100000 messages")
}

fn unread(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let attacker = scene.connect()?;
    let bytes = wire::encode(&ClientMessage::OpenBulk { len: u64::MAX })?;
    let mut sent = 0_u32;
    // Fewer than are a flood.
    while sent < 900 && !attacker.conn.hung_up() {
        match attacker.conn.send(&bytes, &[], patience()) {
            Ok(()) => sent += 1,
            Err(SocketError::HungUp) => break,
            Err(error) => return Err(error.into()),
        }
    }
    landed(sent > 100, "it ended before its answers filled the socket")?;
    match attacker.end()? {
        // What was answered while there was room.
        Outcome::Refused(_) => {
            Seen::new(format!("{sent} messages, no answer read"), Outcome::Dropped)
        }
        other => Seen::new(format!("{sent} messages, no answer read"), other),
    }
}

fn says(scene: &Scene<'_>, bytes: &[u8]) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    attacker.echo(b"still honest")?;
    attacker.conn.send(bytes, &[], patience())?;
    Seen::new(format!("{} bytes were sent", bytes.len()), attacker.end()?)
}

fn descriptors(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let fds = [attacker.conn.as_fd(); 16];
    let bytes = wire::encode(&ClientMessage::OpenBoard)?;
    match attacker.conn.send(&bytes, &fds, patience()) {
        Ok(()) => Seen::new("16 descriptors were sent", attacker.end()?),
        Err(SocketError::FdsRefused) => {
            attacker.echo(b"still honest")?;
            Seen::new("the kernel refused to send 16 descriptors", Outcome::Unharmed)
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks for the same until it is refused, after at most so many.
fn asks(scene: &Scene<'_>, message: &ClientMessage, most: usize) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let mut given = Vec::new();
    let refusal = loop {
        tell(&attacker.conn, message)?;
        match hear(&attacker.conn)? {
            Some((DaemonMessage::Refused(refusal), _)) => break refusal,
            // Kept, as who wants all would.
            Some((_, fds)) => given.push(fds),
            None => return broken(format!("hung up after {} were given", given.len())),
        }
        must(given.len() <= most, || {
            format!("{} were given, and {most} is the most", given.len())
        })?;
    };
    attacker.echo(b"what it has it may use")?;
    let code = ErrorCode::from_u16(refusal.code).unwrap_or(ErrorCode::Internal);
    Seen::new(
        format!("{} were given, then: {}", given.len(), refusal.reason),
        Outcome::Refused(code),
    )
}
