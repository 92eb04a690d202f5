//! Clients that take and do not give: full rings, answers and leases that are kept, bells without work and work
//! without bells.

use std::time::{Duration, Instant};

use ringfence::ErrorCode;
use ringfence_protocol::layout::{Header, down};
use ringfence_protocol::limits::BLOCK_BYTES;
use ringfence_protocol::memory::Memory as _;

use crate::torture::attack::{
    Attack, Busy, Expect, Outcome, Scene, Seen, TWO_SWEEPS, Wrong, broken, give_way, landed, must,
    until,
};
use crate::torture::attacker::Attacker;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "ring-full",
        what: "fills its ring twice over and reads no answer for a while",
        rows: &[25, 26],
        expect: &[Expect::Unharmed],
        busy: Busy::Nobody,
        run: ring_full,
    },
    Attack {
        name: "slow-reader",
        what: "publishes as much as it can and reads an answer a millisecond",
        rows: &[26],
        expect: &[Expect::Unharmed],
        busy: Busy::Calls(1),
        run: slow_reader,
    },
    Attack {
        name: "leases-kept",
        what: "takes replies until the daemon has no memory for it, and gives none back",
        rows: &[25],
        expect: &[Expect::Refused(ErrorCode::ReplyArenaFull)],
        busy: Busy::Visits,
        run: |scene| leases(scene, |_| {}),
    },
    Attack {
        name: "leases-forged",
        what: "the same, with random numbers in the words that give replies back",
        rows: &[16, 25],
        expect: &[Expect::Refused(ErrorCode::ReplyArenaFull)],
        busy: Busy::Visits,
        run: leases_forged,
    },
    Attack {
        name: "bell-storm",
        what: "rings its bell as fast as it can, for nothing",
        rows: &[27],
        expect: &[Expect::Unharmed],
        busy: Busy::Computes,
        run: bell_storm,
    },
    Attack {
        name: "bell-silence",
        what: "publishes into a lane that the daemon no longer looks at, and rings no bell",
        rows: &[28],
        expect: &[Expect::Unharmed],
        busy: Busy::Nobody,
        run: bell_silence,
    },
];

fn ring_full(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let (slots, echo) = (attacker.slots(), attacker.echo_method());
    for call in 0..2 * slots {
        until("the daemon gives slots back", || attacker.lane.has_room())?;
        attacker.submit(echo, &call.to_le_bytes())?;
    }
    landed(!attacker.lane.has_room(), "the ring has room still")?;
    std::thread::sleep(TWO_SWEEPS);
    let taken = attacker.claimed();
    must(taken == slots, || {
        format!("{taken} requests were taken while {slots} answers wait, which is all their room")
    })?;
    for call in 0..2 * slots {
        let (_, answer) = attacker.take()?;
        must(answer == Ok(call.to_le_bytes().to_vec()), || format!("answer {call}: {answer:?}"))?;
    }
    Seen::new(
        format!("{} requests, {taken} taken while no answer was read", 2 * slots),
        Outcome::Unharmed,
    )
}

fn slow_reader(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let (echo, mut sent, mut read) = (attacker.echo_method(), 0_u64, 0_u64);
    let mut full = 0_u64;
    while !scene.over() || full == 0 {
        while attacker.lane.has_room() {
            attacker.submit(echo, &sent.to_le_bytes())?;
            sent += 1;
        }
        full += 1;
        std::thread::sleep(Duration::from_millis(1));
        let (_, answer) = attacker.take()?;
        must(answer == Ok(read.to_le_bytes().to_vec()), || format!("answer {read}: {answer:?}"))?;
        read += 1;
    }
    Seen::new(
        format!("the ring was full {full} times, {read} answers were read"),
        Outcome::Unharmed,
    )
}

/// A reply that is kept: where it lies, and the byte that it is full of.
struct Kept {
    block: u32,
    byte: u8,
}

const REPLY: usize = 2 * BLOCK_BYTES;

/// Takes replies in the arena until there is an error; `each` is done after each of them.
fn leases(scene: &Scene<'_>, mut each: impl FnMut(&Attacker)) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let mut kept: Vec<Kept> = Vec::new();
    let error = loop {
        let byte = kept.len() as u8 + 1;
        match keep(&mut attacker, byte)? {
            Ok(block) => kept.push(Kept { block, byte }),
            Err(error) => break error,
        }
        each(&attacker);
        must(kept.len() < 1000, || "1000 replies were kept, and there was memory still".into())?;
        check(&attacker, &kept)?;
    };
    landed(!kept.is_empty(), "there was no reply to keep")?;
    check(&attacker, &kept)?;
    for Kept { block, .. } in &kept {
        match block >> 24 {
            0 => attacker.lane.release(*block as usize - 1),
            segment => attacker.lane.release(attacker.lane.bulk_lease(segment)),
        }
    }
    attacker.echo(b"all is given back")?;
    must(keep(&mut attacker, 1)?.is_ok(), || "no memory after all was given back".into())?;
    Seen::new(
        format!("{} replies of {REPLY} bytes were kept: {error}", kept.len()),
        Outcome::Refused(error.code),
    )
}

/// An echo whose reply is not given back: where it lies.
fn keep(
    attacker: &mut Attacker,
    byte: u8,
) -> Result<Result<u32, ringfence_protocol::error::Error>, Wrong> {
    let payload = vec![byte; REPLY];
    let block = attacker.lane.place(&payload).ok_or(Wrong::NotLanded("no block is free".into()))?;
    let header =
        Header { method: attacker.echo_method(), len: REPLY as u32, block, ..Header::default() };
    attacker.publish(header, &[])?;
    let end = Instant::now() + crate::torture::attack::patience();
    let answer = loop {
        match attacker.lane.peek()? {
            Some(answer) => break answer,
            None if Instant::now() >= end => return broken("no answer"),
            None => std::thread::yield_now(),
        }
    };
    attacker.lane.give_back(block, REPLY);
    if answer.status == 0 {
        attacker.collect()?;
        return Ok(Ok(answer.block));
    }
    let mut text = vec![0; answer.len as usize];
    attacker.lane.read(answer, &mut text);
    attacker.collect()?;
    Ok(Err(ringfence_protocol::error::Error::from_reply(answer.status, &text)))
}

/// What is kept says what it said.
fn check(attacker: &Attacker, kept: &[Kept]) -> Result<(), Wrong> {
    let arena = attacker.opened.geometry.down().arena;
    let mut bytes = vec![0; REPLY];
    for Kept { block, byte } in kept.iter().filter(|kept| kept.block >> 24 == 0) {
        attacker.down.read_block(arena + (*block as usize - 1) * BLOCK_BYTES, &mut bytes);
        must(bytes.iter().all(|found| found == byte), || {
            format!("a reply that is held, of bytes {byte}, was written over")
        })?;
    }
    Ok(())
}

fn leases_forged(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut random = scene.random();
    leases(scene, |attacker| {
        let (up, down) = (attacker.opened.geometry.up(), attacker.opened.geometry.down());
        for number in 0..attacker.opened.geometry.down_blocks as usize {
            let generation = attacker.down.load(down.lease + number * 16);
            // Nearly right, or nonsense; never right.
            let near = generation.wrapping_add(1 << 24);
            let lie = if random.next() & 1 == 0 { near } else { random.next() | 1 << 63 };
            attacker.up.store_release(up.release + number * 8, lie);
        }
    })
}

fn bell_storm(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let mut rings = 0_u64;
    while !scene.over() || rings < 5000 {
        attacker.bell.ring()?;
        rings += 1;
        give_way(rings);
    }
    attacker.echo(b"still served")?;
    Seen::new(format!("{rings} bells"), Outcome::Unharmed)
}

fn bell_silence(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    until("the daemon parks the lane", || attacker.down.load_u32(down::PARKED) & 1 == 1)?;
    let method = attacker.echo_method();
    let ticket = attacker.lane.submit(Header { method, len: 4, ..Header::default() }, b"hush")?;
    let (since, parked) = (Instant::now(), attacker.down.load_u32(down::PARKED));
    landed(parked & 1 == 1, "the lane was not parked any more")?;
    let (answered, answer) = attacker.take()?;
    must(answered == ticket && answer == Ok(b"hush".to_vec()), || format!("{answer:?}"))?;
    Seen::new(format!("no bell, and an answer after {:?}", since.elapsed()), Outcome::Unharmed)
}
