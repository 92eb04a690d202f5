//! Connections that are no session yet: strangers, half a hello, silence, other versions, and thousands of them.

use std::os::fd::AsFd as _;
use std::time::Instant;

use ringfence::ErrorCode;
use ringfence_protocol::api::system;
use ringfence_protocol::sys::socket::{Conn, SocketError};
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage};

use crate::torture::attack::{
    Attack, Busy, Expect, Outcome, Scene, Seen, Wrong, broken, landed, must, patience,
};
use crate::torture::attacker::{Attacker, end_of, hear, hello, tell};

/// Connects of the attack `connects`, if it is made on its own.
const CONNECTS: u64 = 10_000;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "stranger",
        what: "an HTTP request in place of a hello",
        rows: &[31, 49],
        expect: &[Expect::Refused(ErrorCode::Malformed)],
        busy: Busy::Visits,
        run: |scene| first(scene, &b"GET / HTTP/1.1\r\n\r\n"[..]),
    },
    Attack {
        name: "hello-half",
        what: "a hello that is cut off at each of its bytes",
        rows: &[31],
        expect: &[Expect::Refused(ErrorCode::Malformed)],
        busy: Busy::Visits,
        run: half,
    },
    Attack {
        name: "hello-bomb",
        what: "a hello whose name says to have 2^63 bytes",
        rows: &[23],
        expect: &[Expect::Refused(ErrorCode::Malformed)],
        busy: Busy::Visits,
        run: bomb,
    },
    Attack {
        name: "hello-name",
        what: "a hello with a name of 100 KB, full of newlines and escapes",
        rows: &[66],
        expect: &[Expect::Unharmed],
        busy: Busy::Visits,
        run: name,
    },
    Attack {
        name: "hello-silent",
        what: "16 connections that say nothing",
        rows: &[33],
        expect: &[Expect::Dropped],
        busy: Busy::Nobody,
        run: silent,
    },
    Attack {
        name: "hello-descriptors",
        what: "a hello with 16 descriptors",
        rows: &[36],
        expect: &[Expect::Dropped, Expect::Unharmed],
        busy: Busy::Visits,
        run: descriptors,
    },
    Attack {
        name: "layout",
        what: "a client of layout 2.0",
        rows: &[46, 47],
        expect: &[Expect::Refused(ErrorCode::SchemaMismatch)],
        busy: Busy::Visits,
        run: layout,
    },
    Attack {
        name: "digest",
        what: "a client that knows another `system` than the daemon",
        rows: &[48],
        expect: &[Expect::Unharmed],
        busy: Busy::Visits,
        run: digest,
    },
    Attack {
        name: "sessions-quota",
        what: "opens sessions until there is no more for this user",
        rows: &[33],
        expect: &[Expect::Refused(ErrorCode::Quota)],
        busy: Busy::Visits,
        run: sessions,
    },
    Attack {
        name: "connects",
        what: "connects and leaves at every stage; 10 000 times with --only connects",
        rows: &[33],
        expect: &[Expect::Unharmed],
        busy: Busy::Visits,
        run: connects,
    },
];

fn connect(scene: &Scene<'_>) -> Result<Conn, Wrong> {
    Ok(Conn::connect(&scene.home.socket(), patience())?)
}

/// These bytes in place of a hello.
fn first(scene: &Scene<'_>, bytes: &[u8]) -> Result<Seen, Wrong> {
    let conn = connect(scene)?;
    conn.send(bytes, &[], patience())?;
    Seen::new(format!("{} bytes were sent", bytes.len()), end_of(&conn)?)
}

fn half(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let whole = wire::encode(&hello("torture"))?;
    for cut in 1..whole.len() {
        let Seen { outcome, .. } = first(scene, &whole[..cut])?;
        if outcome != Outcome::Refused(ErrorCode::Malformed) {
            return broken(format!("{cut} of {} bytes ended as: {outcome}", whole.len()));
        }
    }
    Seen::new(format!("{} cuts", whole.len() - 1), Outcome::Refused(ErrorCode::Malformed))
}

fn bomb(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut bytes = wire::encode(&ClientMessage::Goodbye)?;
    // Behind the prefix: a hello, and a length of 2^63 - 1 as bincode writes it.
    bytes.truncate(12);
    bytes.extend_from_slice(&[0, 253, 255, 255, 255, 255, 255, 255, 255, 0x7f]);
    first(scene, &bytes)
}

fn name(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let conn = connect(scene)?;
    let name = "\nERROR forged\x1b[2J\u{202e}".repeat(5000);
    tell(&conn, &hello(&name))?;
    Attacker::welcomed(conn)?.echo(b"its session is as good as any")?;
    Seen::new(format!("a name of {} bytes was sent", name.len()), Outcome::Unharmed)
}

fn silent(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let conns = (0..16).map(|_| connect(scene)).collect::<Result<Vec<_>, _>>()?;
    let since = Instant::now();
    let mut outcome = Outcome::Dropped;
    for conn in &conns {
        outcome = end_of(conn)?;
    }
    Seen::new(format!("16 connections said nothing for {:?}", since.elapsed()), outcome)
}

fn descriptors(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let conn = connect(scene)?;
    let fds = [conn.as_fd(); 16];
    match conn.send(&wire::encode(&hello("torture"))?, &fds, patience()) {
        Ok(()) => Seen::new("16 descriptors were sent", end_of(&conn)?),
        Err(SocketError::FdsRefused) => {
            tell(&conn, &hello("torture"))?;
            Attacker::welcomed(conn)?.echo(b"still honest")?;
            Seen::new("the kernel refused to send 16 descriptors", Outcome::Unharmed)
        }
        Err(error) => Err(error.into()),
    }
}

fn layout(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut bytes = wire::encode(&hello("torture"))?;
    // The major, behind the magic.
    bytes[8] += 1;
    first(scene, &bytes)
}

fn digest(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let conn = connect(scene)?;
    let engines = vec![(system::NAME.to_owned(), [7; 32]), ("no-such-engine".to_owned(), [7; 32])];
    tell(&conn, &ClientMessage::Hello { name: "torture".into(), engines })?;
    let mut attacker = Attacker::welcomed(conn)?;
    let told = attacker.engines.iter().find(|id| id.name == system::NAME);
    let differs = told.is_some_and(|id| id.differs.is_some());
    must(differs, || "the client was not told how the engines differ".into())?;
    attacker.echo(b"what is alike stays usable")?;
    Seen::new("two digests were wrong, one of an engine that there is", Outcome::Unharmed)
}

fn sessions(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut open = Vec::new();
    loop {
        let conn = connect(scene)?;
        tell(&conn, &hello("torture"))?;
        match hear(&conn)? {
            Some((DaemonMessage::Welcome { .. }, _)) => open.push(conn),
            Some((DaemonMessage::Refused(refusal), _)) => {
                landed(!open.is_empty(), "not one session was opened")?;
                let code = ErrorCode::from_u16(refusal.code).unwrap_or(ErrorCode::Internal);
                let proof = format!("{} sessions, then: {}", open.len(), refusal.reason);
                return Seen::new(proof, Outcome::Refused(code));
            }
            other => return broken(format!("in place of a welcome: {other:?}")),
        }
        must(open.len() < 100, || "100 sessions were opened".into())?;
    }
}

fn connects(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let (mut made, mut sessions) = (0_u64, 0_u64);
    let enough = |made: u64| {
        let stopped = scene.stop.load(std::sync::atomic::Ordering::Relaxed);
        if scene.whole { made == CONNECTS || stopped } else { scene.over() && made >= 100 }
    };
    while !enough(made) {
        let conn = connect(scene)?;
        made += 1;
        match made % 4 {
            0 => {}
            1 => tell(&conn, &hello("torture"))?,
            2 => conn.send(b"hello?", &[], patience())?,
            _ => {
                tell(&conn, &hello("torture"))?;
                // Those that just left may count still: that is refused, and no harm.
                let welcome = matches!(hear(&conn)?, Some((DaemonMessage::Welcome { .. }, _)));
                sessions += u64::from(welcome);
            }
        }
    }
    landed(sessions > 0, "not one session was opened")?;
    scene.connect()?.echo(b"after all of them")?;
    Seen::new(format!("{made} connections, {sessions} of them welcomed"), Outcome::Unharmed)
}
