//! Requests whose header lies: every field that a client can write.

use ringfence::ErrorCode;
use ringfence_protocol::layout::Header;

use crate::torture::attack::{Attack, Busy, Expect, Outcome, Scene, Seen, Wrong, broken, landed};

const BLANK: Header =
    Header { ticket: 0, method: 0, len: 0, flags: 0, status: 0, block: 0, deadline: 0, trace: 0 };

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "len-over-slot",
        what: "a request says that 217 bytes lie in a slot that holds 216",
        rows: &[17],
        expect: &[Expect::Fault("inline-length")],
        busy: Busy::Visits,
        run: |scene| forged(scene, Header { len: 217, ..BLANK }),
    },
    Attack {
        name: "len-enormous",
        what: "a request says that 4 GiB lie in its slot",
        rows: &[17, 23],
        expect: &[Expect::Fault("inline-length")],
        busy: Busy::Visits,
        run: |scene| forged(scene, Header { len: u32::MAX, ..BLANK }),
    },
    Attack {
        name: "flags",
        what: "a request has reserved flags",
        rows: &[19],
        expect: &[Expect::Fault("reserved")],
        busy: Busy::Visits,
        run: |scene| forged(scene, Header { flags: 1, ..BLANK }),
    },
    Attack {
        name: "status",
        what: "a request has the status of an answer",
        rows: &[19],
        expect: &[Expect::Fault("reserved")],
        busy: Busy::Visits,
        run: |scene| forged(scene, Header { status: 1, ..BLANK }),
    },
    Attack {
        name: "ticket",
        what: "a request has the ticket of an answer",
        rows: &[19],
        expect: &[Expect::Fault("reserved")],
        busy: Busy::Visits,
        run: |scene| forged(scene, Header { ticket: 7, ..BLANK }),
    },
    Attack {
        name: "block-outside",
        what: "a payload lies in a block behind the arena",
        rows: &[17],
        expect: &[Expect::Fault("block")],
        busy: Busy::Visits,
        run: |scene| forged_by(scene, |blocks| Header { block: blocks + 1, len: 1, ..BLANK }),
    },
    Attack {
        name: "block-overrun",
        what: "a payload in the arena's last block runs over its end",
        rows: &[17],
        expect: &[Expect::Fault("block")],
        busy: Busy::Visits,
        run: |scene| forged_by(scene, |blocks| Header { block: blocks, len: 4097, ..BLANK }),
    },
    Attack {
        name: "block-enormous",
        what: "a payload of 4 GiB begins in the arena",
        rows: &[17, 23],
        expect: &[Expect::Fault("block")],
        busy: Busy::Visits,
        run: |scene| forged(scene, Header { block: 1, len: u32::MAX, ..BLANK }),
    },
    Attack {
        name: "block-zero",
        what: "a payload lies in a bulk segment at no index at all",
        rows: &[17],
        expect: &[Expect::Fault("block")],
        busy: Busy::Visits,
        run: |scene| forged(scene, Header { block: 1 << 24, len: 1, ..BLANK }),
    },
    Attack {
        name: "bulk-unknown",
        what: "a payload lies in a bulk segment that was never opened",
        rows: &[17],
        expect: &[Expect::Fault("bulk")],
        busy: Busy::Visits,
        run: |scene| forged(scene, Header { block: 3 << 24 | 1, len: 1, ..BLANK }),
    },
    Attack {
        name: "bulk-number",
        what: "a payload lies in bulk segment 255, of which there can be 64",
        rows: &[17],
        expect: &[Expect::Fault("bulk")],
        busy: Busy::Visits,
        run: |scene| forged(scene, Header { block: 255 << 24 | 1, len: 1, ..BLANK }),
    },
    Attack {
        name: "method-unknown",
        what: "a call of an operation and of an engine that do not exist",
        rows: &[19],
        expect: &[Expect::Refused(ErrorCode::UnknownMethod)],
        busy: Busy::Visits,
        run: unknown_methods,
    },
    Attack {
        name: "payload-malformed",
        what: "a call whose payload is no message of its method",
        rows: &[20, 21, 23],
        expect: &[Expect::Refused(ErrorCode::Malformed)],
        busy: Busy::Visits,
        run: malformed,
    },
];

fn forged(scene: &Scene<'_>, header: Header) -> Result<Seen, Wrong> {
    forged_by(scene, |_| header)
}

/// A request with exactly this header, for a lane with so many blocks.
fn forged_by(scene: &Scene<'_>, header: impl FnOnce(u32) -> Header) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    attacker.echo(b"still honest")?;
    let header =
        Header { method: attacker.echo_method(), ..header(attacker.opened.geometry.up_blocks) };
    let ticket = attacker.publish(header, &[])?;
    let stands = attacker.slot_words(ticket);
    landed(stands == header.words(), "the forged words do not stand in the segment")?;
    match attacker.end() {
        Ok(outcome) => Seen::new(format!("the slot reads back {header:?}"), outcome),
        Err(wrong) => match attacker.try_take()? {
            Some((_, Ok(answer))) => {
                broken(format!("the request was served: an answer of {} bytes", answer.len()))
            }
            _ => Err(wrong),
        },
    }
}

fn unknown_methods(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let numbers = [0xffff, 63 << 16, u32::MAX, 1 << 31];
    for method in numbers {
        match attacker.call(method, b"anything")? {
            Err(error) if error.code == ErrorCode::UnknownMethod => {}
            other => return broken(format!("method {method:#x}: {other:?}")),
        }
        attacker.echo(b"the session goes on")?;
    }
    Seen::new(
        format!("{} calls were answered so", numbers.len()),
        Outcome::Refused(ErrorCode::UnknownMethod),
    )
}

fn malformed(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    use ringfence_protocol::api::serving as api;
    let mut attacker = scene.connect()?;
    let (call, serve) =
        (attacker.method(api::NAME, api::CALL)?, attacker.method(api::NAME, api::SERVE)?);
    // A bool that is 2; a length that runs over the end; text that is not UTF-8; nothing at all.
    let not_a_bool = [&[2_u8; 1][..], &[0; 23]].concat();
    let too_long = [&u32::MAX.to_le_bytes()[..], b"abcd"].concat();
    let wrong: [(u32, &[u8]); 4] =
        [(call, &not_a_bool), (call, &too_long), (serve, b"\xff\xfe"), (call, &[])];
    for (method, payload) in wrong {
        match attacker.call(method, payload)? {
            Err(error) if error.code == ErrorCode::Malformed => {}
            other => return broken(format!("{payload:?}: {other:?}")),
        }
        attacker.echo(b"the session goes on")?;
    }
    Seen::new(
        format!("{} calls were answered so", wrong.len()),
        Outcome::Refused(ErrorCode::Malformed),
    )
}
