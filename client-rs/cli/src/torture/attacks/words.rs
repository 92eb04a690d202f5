//! Control words that lie: each word of `up` that the daemon reads, forged, wrapped, decreasing and toggling.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ringfence::ErrorCode;
use ringfence_protocol::layout::{Header, down, slot, up};
use ringfence_protocol::memory::Memory as _;

use super::waiting;
use crate::torture::attack::{
    Attack, Busy, Expect, Outcome, Scene, Seen, TWO_SWEEPS, Wrong, broken, landed, must,
};
use crate::torture::attacker::Attacker;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "seq-ahead",
        what: "the next slot says that it holds a later position",
        rows: &[14, 15],
        expect: &[Expect::Unharmed],
        busy: Busy::Nobody,
        run: |scene| seq(scene, |next| vec![next + 2, next + 33, next + (1 << 40), u64::MAX]),
    },
    Attack {
        name: "seq-behind",
        what: "the next slot says that it holds an earlier position",
        rows: &[15],
        expect: &[Expect::Unharmed],
        busy: Busy::Nobody,
        run: |scene| seq(scene, |next| vec![next, next.wrapping_sub(31), 1, 0]),
    },
    Attack {
        name: "seq-toggling",
        what: "the word that commits a request toggles at full speed, also after it was taken",
        rows: &[15, 18],
        expect: &[Expect::Unharmed],
        busy: Busy::Calls(2),
        run: seq_toggling,
    },
    Attack {
        name: "len-toggling",
        what: "a request's length toggles between 24 and 217 while the daemon reads it (double fetch)",
        rows: &[18],
        expect: &[Expect::Fault("inline-length"), Expect::Unharmed],
        busy: Busy::Calls(2),
        run: len_toggling,
    },
    Attack {
        name: "consumed-ahead",
        what: "says to have read answers that were never given",
        rows: &[16],
        expect: &[Expect::Fault("consumed")],
        busy: Busy::Visits,
        run: |scene| consumed(scene, |start, _| start.wrapping_add(1 << 40)),
    },
    Attack {
        name: "consumed-behind",
        what: "says to have read fewer answers than before",
        rows: &[15, 16],
        expect: &[Expect::Fault("consumed")],
        busy: Busy::Visits,
        run: |scene| consumed(scene, |start, _| start.wrapping_sub(1)),
    },
    Attack {
        name: "consumed-wrapped",
        what: "says to have read half of all positions that there are",
        rows: &[15, 16],
        expect: &[Expect::Fault("consumed")],
        busy: Busy::Visits,
        run: |scene| consumed(scene, |start, _| start.wrapping_add(1 << 63)),
    },
    Attack {
        name: "consumed-toggling",
        what: "what it says to have read toggles between the truth and a lie",
        rows: &[15, 16],
        expect: &[Expect::Fault("consumed")],
        busy: Busy::Visits,
        run: |scene| {
            consumed(scene, |start, turn| if turn % 2 == 0 { start } else { start + (1 << 40) })
        },
    },
    Attack {
        name: "cancel-random",
        what: "random numbers in all cancel words while a call waits",
        rows: &[15],
        expect: &[Expect::Unharmed],
        busy: Busy::Computes,
        run: cancel_random,
    },
    Attack {
        name: "parked-storm",
        what: "the parking word toggles at full speed between asleep and awake",
        rows: &[30],
        expect: &[Expect::Unharmed],
        busy: Busy::Calls(2),
        run: parked_storm,
    },
    Attack {
        name: "parked-still",
        what: "says once that it sleeps, and takes 200 answers meanwhile",
        rows: &[30],
        expect: &[Expect::Unharmed],
        busy: Busy::Visits,
        run: parked_still,
    },
    Attack {
        name: "measures-forged",
        what: "client-side measurements that cannot be",
        rows: &[13],
        expect: &[Expect::Unharmed],
        busy: Busy::Nobody,
        run: measures,
    },
];

/// Puts values into the `seq` word of the next slot, whose request is fine otherwise.
fn seq(scene: &Scene<'_>, lies: fn(u64) -> Vec<u64>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    attacker.echo(b"still honest")?;
    let next = attacker.lane.next_ticket();
    let (at, before) = (attacker.slot_at(next), attacker.claimed());
    let echo = Header { method: attacker.echo_method(), ..Header::default() };
    attacker.up.store_words(at + slot::TICKET, echo.words());
    let lies = lies(next);
    for lie in &lies {
        attacker.up.store_release(at + slot::SEQ, *lie);
        attacker.bell.ring()?;
        std::thread::sleep(TWO_SWEEPS / lies.len() as u32);
        landed(attacker.up.load(at + slot::SEQ) == *lie, "the forged word does not stand")?;
        must(attacker.claimed() == before, || {
            format!("a request was taken at position {next} of a slot that says {lie}")
        })?;
    }
    attacker.echo(b"the slot is used as if nothing had been")?;
    Seen::new(
        format!("{} values stood in the slot of position {next}", lies.len()),
        Outcome::Unharmed,
    )
}

/// Requests with a length that toggles, at least.
const LOOKS: u64 = 50;

/// What a storm writes to: a place in `up`, 0 for nowhere, and the ticket that belongs there.
#[derive(Default)]
struct Target {
    at: AtomicUsize,
    ticket: AtomicU64,
}

impl Target {
    fn set(&self, at: usize, ticket: u64) {
        self.at.store(0, Ordering::SeqCst);
        self.ticket.store(ticket, Ordering::SeqCst);
        self.at.store(at, Ordering::SeqCst);
    }

    fn get(&self) -> Option<(usize, u64)> {
        let at = self.at.load(Ordering::SeqCst);
        (at != 0).then(|| (at, self.ticket.load(Ordering::SeqCst)))
    }
}

fn seq_toggling(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let (target, up) = (Target::default(), attacker.up.clone());
    let storm = |_: &mut _| {
        let Some((at, ticket)) = target.get() else { return };
        // Never what a later lap would be: that would commit what was not written yet, which is the owner's right.
        for seq in [ticket + 1, ticket + 2, ticket, ticket + 1] {
            up.store_release(at + slot::SEQ, seq);
        }
    };
    let (storms, calls) = scene.beside(storm, || {
        let mut calls = 0_u64;
        while !scene.over() || calls == 0 {
            let next = attacker.lane.next_ticket();
            let ticket = attacker.submit(attacker.echo_method(), &calls.to_le_bytes())?;
            // Not before: it would commit what is not written yet, and the daemon answer what stood there.
            target.set(attacker.slot_at(next), next);
            let (answered, answer) = attacker.take()?;
            must(answered == ticket && answer == Ok(calls.to_le_bytes().to_vec()), || {
                format!("a wrong answer: {answer:?}")
            })?;
            calls += 1;
        }
        Ok(calls)
    })?;
    must(attacker.claimed() == calls, || format!("{} requests were taken", attacker.claimed()))?;
    Seen::new(
        format!("{storms} storms of 4 stores under {calls} calls, each taken once"),
        Outcome::Unharmed,
    )
}

fn len_toggling(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let (mut calls, mut faults, mut storms) = (0_u64, 0_u64, 0_u64);
    while !scene.over() || calls + faults < LOOKS {
        let (of, ended) = len_toggling_session(scene, &mut calls)?;
        storms += of;
        faults += u64::from(ended);
    }
    let outcome =
        if faults > 0 { Outcome::Fault("inline-length".into()) } else { Outcome::Unharmed };
    Seen::new(
        format!("{storms} toggles under {calls} calls, {faults} sessions saw the lie"),
        outcome,
    )
}

/// One session, until its lie was seen or the time is over: toggles, and was it seen?
fn len_toggling_session(scene: &Scene<'_>, calls: &mut u64) -> Result<(u64, bool), Wrong> {
    let mut attacker = scene.connect()?;
    let (target, up) = (Target::default(), attacker.up.clone());
    let word = |len: u64| u64::from(attacker.echo_method()) | len << 32;
    let (truth, lie) = (word(24), word(217));
    let storm = |random: &mut super::Random| {
        let Some((at, _)) = target.get() else { return };
        // A lie one time in four, also when the storm gives way: what saw the truth at first may see it later.
        let word = if random.below(4) == 0 { lie } else { truth };
        up.store(at + slot::METHOD, word);
        (0..random.below(100)).for_each(|_| std::hint::spin_loop());
    };
    scene.beside(storm, || {
        while !scene.over() || *calls < LOOKS {
            let next = attacker.lane.next_ticket();
            target.set(attacker.slot_at(next), next);
            let sent = [next.to_le_bytes(), calls.to_le_bytes(), next.to_le_bytes()].concat();
            let ticket = attacker.submit(attacker.echo_method(), &sent)?;
            match attacker.take() {
                Ok((answered, Ok(answer))) if answered == ticket && answer == sent => *calls += 1,
                Ok((_, answer)) => return broken(format!("a wrong answer: {answer:?}")),
                Err(Wrong::Ended(Outcome::Fault(fault))) if fault == "inline-length" => {
                    return Ok(true);
                }
                Err(wrong) => return Err(wrong),
            }
        }
        Ok(false)
    })
}

/// Uses up the credit that the daemon knows of, so that it looks at `consumed`, where a lie stands.
fn consumed(scene: &Scene<'_>, lie: fn(u64, u64) -> u64) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let (start, echo) = (attacker.opened.start, attacker.echo_method());
    let end = std::time::Instant::now() + crate::torture::attack::patience();
    let (mut turn, mut last) = (0_u64, start);
    while !attacker.conn.hung_up() {
        last = lie(start, turn);
        attacker.up.store_release(up::CONSUMED, last);
        if attacker.lane.has_room() {
            attacker.submit(echo, b"fill")?;
        } else {
            std::thread::sleep(Duration::from_micros(200));
        }
        turn += 1;
        if std::time::Instant::now() >= end {
            return broken(format!(
                "the session goes on: {} requests were taken while `consumed` said {last}",
                attacker.claimed()
            ));
        }
    }
    landed(attacker.up.load(up::CONSUMED) == last, "the forged word does not stand")?;
    let proof =
        format!("`consumed` said {last} where {start} was true, at request {}", attacker.claimed());
    Seen::new(proof, attacker.end()?)
}

fn cancel_random(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let ticket = waiting(&mut attacker, 0)?;
    let (up, at, slots) =
        (attacker.up.clone(), attacker.opened.geometry.up().cancel, attacker.slots());
    let storm = |random: &mut super::Random| {
        for entry in 0..slots as usize {
            // 0 is "none"; what is right once in 2^64 times is left to chance.
            up.store(at + entry * 8, random.next() | 1 << 63);
        }
    };
    let (storms, ()) = scene.beside(storm, || {
        std::thread::sleep(TWO_SWEEPS);
        match attacker.try_take()? {
            None => Ok(()),
            Some((_, answer)) => broken(format!("the call that waits was ended: {answer:?}")),
        }
    })?;
    landed(attacker.up.load(at) >> 63 == 1, "the random words do not stand")?;
    attacker.echo(b"other calls are answered")?;
    cancelled(&mut attacker, ticket)?;
    Seen::new(
        format!("{storms} times {slots} words, and the right one ended it"),
        Outcome::Unharmed,
    )
}

fn cancelled(attacker: &mut Attacker, ticket: u64) -> Result<(), Wrong> {
    landed(attacker.lane.cancel(ticket), "the call had no entry")?;
    match attacker.take()? {
        (of, Err(error)) if of == ticket && error.code == ErrorCode::Cancelled => Ok(()),
        other => broken(format!("in place of a cancelled call: {other:?}")),
    }
}

fn parked_storm(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let (up, sleeps) = (attacker.up.clone(), AtomicU64::new(0));
    let storm = |random: &mut super::Random| {
        let value = random.next() as u32;
        up.store_u32(up::PARKED, value);
        sleeps.fetch_add(u64::from(value & 1), Ordering::Relaxed);
    };
    let (storms, calls) = scene.beside(storm, || echoes(scene, &mut attacker))?;
    let (woken, sleeps) = (attacker.down.load_u32(down::WAKE), sleeps.into_inner());
    must(u64::from(woken) <= sleeps, || format!("woken {woken} times for {sleeps} sleeps"))?;
    let proof = format!(
        "{storms} stores, {sleeps} of them sleeps, under {calls} calls; woken {woken} times"
    );
    Seen::new(proof, Outcome::Unharmed)
}

/// Right answers until the time is over: how many.
fn echoes(scene: &Scene<'_>, attacker: &mut Attacker) -> Result<u64, Wrong> {
    let mut calls = 0_u64;
    while !scene.over() || calls == 0 {
        attacker.echo(&calls.to_le_bytes())?;
        calls += 1;
    }
    Ok(calls)
}

fn parked_still(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    const CALLS: u32 = 200;
    let mut attacker = scene.connect()?;
    attacker.up.store_u32(up::PARKED, 1);
    let before = std::time::Instant::now();
    for call in 0..CALLS {
        attacker.echo(&call.to_le_bytes())?;
    }
    // The sweep may wake a sleeper again that seems to have answers.
    let allowed = 2 + before.elapsed().as_millis() as u32 / 50;
    let woken = attacker.down.load_u32(down::WAKE);
    landed(attacker.up.load_u32(up::PARKED) == 1 && woken > 0, "nobody took it for asleep")?;
    must(woken <= allowed, || format!("woken {woken} times for one sleep and {CALLS} answers"))?;
    Seen::new(format!("woken {woken} times for one sleep and {CALLS} answers"), Outcome::Unharmed)
}

fn measures(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let mut random = scene.random();
    for word in 0..16 {
        let lie = if word % 2 == 0 { u64::MAX } else { random.next() };
        attacker.up.store(up::MEASURES + word * 8, lie);
    }
    std::thread::sleep(TWO_SWEEPS);
    landed(attacker.up.load(up::MEASURES) == u64::MAX, "the forged words do not stand")?;
    attacker.echo(b"the session goes on")?;
    Seen::new("16 forged words stood through two sweeps", Outcome::Unharmed)
}
