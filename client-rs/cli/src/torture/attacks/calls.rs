//! Calls that end otherwise than by an answer: late, cancelled, and more of them than there is room for.

use ringfence::ErrorCode;
use ringfence_protocol::layout::Header;
use ringfence_protocol::sys::clock;

use super::{waiting, waiting_payload};
use crate::torture::attack::{
    Attack, Busy, Expect, Outcome, Scene, Seen, Wrong, broken, landed, must, until,
};

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "deadline-passed",
        what: "publishes calls whose deadline has passed",
        rows: &[24],
        expect: &[Expect::Refused(ErrorCode::Expired)],
        busy: Busy::Visits,
        run: deadline_passed,
    },
    Attack {
        name: "deadline-passes",
        what: "a call waits for a server that never comes, and its deadline passes",
        rows: &[24],
        expect: &[Expect::Refused(ErrorCode::Expired)],
        busy: Busy::Nobody,
        run: deadline_passes,
    },
    Attack {
        name: "cancel",
        what: "cancels a call that waits",
        rows: &[24],
        expect: &[Expect::Refused(ErrorCode::Cancelled)],
        busy: Busy::Nobody,
        run: cancel,
    },
    Attack {
        name: "table-full",
        what: "calls that wait take all of its in-flight table, and one is left in its ring",
        rows: &[25],
        expect: &[Expect::Refused(ErrorCode::Cancelled)],
        busy: Busy::Nobody,
        run: table_full,
    },
];

fn deadline_passed(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let method = attacker.echo_method();
    // Never 0, which means none.
    let late = clock::coarse_ticks().wrapping_sub(1000) | 1;
    for call in 0..20_u32 {
        let header = Header { method, len: 4, deadline: late, ..Header::default() };
        let ticket = attacker.publish(header, &call.to_le_bytes())?;
        match attacker.take()? {
            (of, Err(error)) if of == ticket && error.code == ErrorCode::Expired => {}
            (_, other) => return broken(format!("in place of an expired call: {other:?}")),
        }
    }
    attacker.echo(b"calls without a deadline are answered")?;
    Seen::new("20 calls, 64 ms late each", Outcome::Refused(ErrorCode::Expired))
}

fn deadline_passes(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let ticket = waiting(&mut attacker, clock::deadline_after_ms(50))?;
    attacker.echo(b"meanwhile")?;
    match attacker.take()? {
        (of, Err(error)) if of == ticket && error.code == ErrorCode::Expired => Seen::new(
            "it waited, was in no other call's way, and ended",
            Outcome::Refused(error.code),
        ),
        (_, other) => broken(format!("in place of an expired call: {other:?}")),
    }
}

fn cancel(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let ticket = waiting(&mut attacker, 0)?;
    landed(attacker.lane.cancel(ticket), "the call had no entry")?;
    match attacker.take()? {
        (of, Err(error)) if of == ticket => {
            Seen::new("it had an entry, and was ended", Outcome::Refused(error.code))
        }
        (_, other) => broken(format!("in place of a cancelled call: {other:?}")),
    }
}

fn table_full(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let slots = attacker.slots();
    let (method, payload) = waiting_payload(&attacker)?;
    let mut tickets = Vec::new();
    for _ in 0..=slots {
        until("there is a slot", || attacker.lane.has_room())?;
        tickets.push(attacker.submit(method, &payload)?);
    }
    until("all entries are taken", || attacker.claimed() >= slots)?;
    let taken = attacker.claimed();
    must(taken == slots, || format!("{taken} calls are in a table of {slots}"))?;
    let mut code = ErrorCode::Internal;
    for _ in &tickets {
        // The last one has its entry once another was read.
        until("a call has an entry", || {
            tickets.iter().any(|ticket| attacker.lane.cancel(*ticket))
        })?;
        let (_, answer) = attacker.take()?;
        match answer {
            Err(error) if error.code == ErrorCode::Cancelled => code = error.code,
            other => return broken(format!("in place of a cancelled call: {other:?}")),
        }
    }
    attacker.echo(b"there is room again")?;
    Seen::new(
        format!("{taken} calls in a table of {slots}, {} cancelled", tickets.len()),
        Outcome::Refused(code),
    )
}
