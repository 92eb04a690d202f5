//! SPEC F1, K1 to K3: a daemon may be killed at any store, its successor too, and every request
//! is answered exactly once all the same.
//!
//! For each mix of requests the first daemon is killed at each of its stores, the second at each of
//! its own, recovery included; the third finishes. [`client::Client`] knows what happened and
//! compares. The same model run over wrong orders of stores must find wrong cases: that is what
//! shows that it looks.
//!
//! Positions start anywhere below 2^63 (SPEC S1): a ticket of 2^64 - 1 would mark its entry as
//! free.
#![allow(clippy::unwrap_used)]

#[path = "../common/chance.rs"]
mod chance;
mod client;
mod daemon;
mod garbage;
#[path = "../common/targets/recovery.rs"]
mod recovery;
mod tape;

use std::panic::{AssertUnwindSafe, catch_unwind};

use chance::Chance;
use client::Client;
use daemon::{BY_BLOCK, Daemon, HEAVY, ONCE};
use ringfence_protocol::layout::{Header, down, slot};
use ringfence_protocol::memory::{Heap, Memory};
use ringfence_protocol::ring::{ClientLane, Peek, ServerLane, initialise};
use tape::{GEOMETRY, Killed, Order, ReadOnly, Tape, Word};

const STARTS: [u64; 4] = [0, (1 << 32) - 3, (1 << 63) - 3, 0x1234_5678_9abc_def0];

/// What happens next, if it can.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The client submits a request of this method, its payload in the slot.
    Submit(u32),
    /// The same, with its payload in the request arena.
    SubmitBlock(u32),
    /// The daemon takes a request.
    Serve,
    /// A job of the daemon ends: the oldest is 0.
    Finish(usize),
    /// A turn of the daemon over many: the oldest job ends, then requests are taken, and only then it looks
    /// whether somebody sleeps, which is where its stores are fenced.
    Turn,
    /// The client takes an answer.
    Collect,
    /// The same, and keeps a reply block.
    Hold,
    GiveBack,
    Nap,
}
use Step::{Collect, Finish, GiveBack, Hold, Nap, Serve, Submit, SubmitBlock, Turn};

const LIGHT: u32 = 0;

fn mixes() -> Vec<(&'static str, Vec<Step>)> {
    let twice = |steps: &[Step]| [steps, steps].concat();
    vec![
        ("light, one by one", [Submit(LIGHT), Serve, Collect].repeat(5)),
        (
            "light, a full ring",
            twice(&[&[Submit(LIGHT); 4][..], &[Serve; 4], &[Collect; 3]].concat()),
        ),
        (
            "heavy, in order",
            twice(&[Submit(HEAVY), Submit(HEAVY), Serve, Serve, Finish(0), Finish(0), Collect]),
        ),
        (
            "heavy, the last one first",
            [
                &[Submit(HEAVY); 4][..],
                &[Serve; 4],
                &[Finish(3), Finish(2), Finish(1), Collect, Finish(0)],
            ]
            .concat(),
        ),
        (
            "light calls overtake a heavy one",
            [
                &[Submit(HEAVY), Serve][..],
                &[Submit(LIGHT), Serve, Collect].repeat(4),
                &[Finish(0), Collect],
            ]
            .concat(),
        ),
        (
            "no credit until the client reads",
            [
                &[Submit(LIGHT), Serve].repeat(4)[..],
                &[Submit(HEAVY), Serve, Collect, Serve, Nap, Finish(0)],
            ]
            .concat(),
        ),
        (
            "what may not run twice",
            [
                &[Submit(ONCE), Submit(HEAVY | ONCE), Serve, Serve][..],
                &[Submit(ONCE), Serve, Finish(0), Collect],
            ]
            .concat(),
        ),
        (
            "payloads in the arena",
            twice(&[
                SubmitBlock(LIGHT),
                SubmitBlock(HEAVY),
                Serve,
                Serve,
                Submit(HEAVY),
                Collect,
                Serve,
                Finish(1),
            ]),
        ),
        (
            "replies that the client holds",
            twice(&[
                Submit(BY_BLOCK),
                SubmitBlock(BY_BLOCK | HEAVY),
                Serve,
                Serve,
                Hold,
                Finish(0),
                GiveBack,
                Hold,
            ]),
        ),
        (
            "replies to calls that may not run twice",
            [
                &[Submit(BY_BLOCK | ONCE), Serve, Hold].repeat(2)[..],
                &[GiveBack, Submit(BY_BLOCK | HEAVY | ONCE), Serve, Finish(0)],
            ]
            .concat(),
        ),
        (
            "turns over several requests",
            [
                &[Submit(LIGHT), Submit(HEAVY), Submit(LIGHT), Turn, Collect, Collect][..],
                &[Submit(HEAVY), Submit(HEAVY | ONCE), Turn, Collect, Collect, Submit(LIGHT), Turn],
            ]
            .concat(),
        ),
        (
            "turns that lend and take back",
            twice(&[Submit(BY_BLOCK), Submit(BY_BLOCK | HEAVY), Turn, Hold, GiveBack, Turn, Hold]),
        ),
        ("chance, one", by_chance(1)),
        ("chance, two", by_chance(2)),
    ]
}

/// A mix of everything.
fn by_chance(seed: u64) -> Vec<Step> {
    let mut chance = Chance::new(seed);
    let mut step = || match chance.below(10) {
        0..3 => Submit(chance.below(8) as u32),
        3 => SubmitBlock(chance.below(8) as u32),
        4..6 => Serve,
        6 => Finish(chance.below(4) as usize),
        7 => Collect,
        8 => Hold,
        _ => [GiveBack, Nap, Turn][chance.below(3) as usize],
    };
    (0..28).map(|_| step()).collect()
}

/// Two segments, the client, and how far the script has come.
struct World {
    up: Heap,
    down: Heap,
    client: Client,
    next: usize,
    order: Order,
}

impl World {
    fn new(start: u64, order: Order) -> Self {
        let (up, down) = (Heap::new(GEOMETRY.up().len), Heap::new(GEOMETRY.down().len));
        initialise(&up, &down, GEOMETRY, start);
        let client = Client::new(up.clone(), down.clone(), start);
        Self { up, down, client, next: 0, order }
    }

    /// A daemon lives until its n-th store, or to the end. Was it killed?
    fn live(&mut self, script: &[Step], start: Option<u64>, stores: u64) -> bool {
        let (up, down) =
            (ReadOnly(self.up.clone()), Tape::new(self.down.clone(), self.order, stores));
        let life = catch_unwind(AssertUnwindSafe(|| {
            let daemon = match start {
                Some(start) => Ok(Daemon::first(up, down, start)),
                None => Daemon::successor(up, down, &mut self.client),
            };
            match daemon {
                Ok(daemon) => self.follow(daemon, script),
                Err(error) => self.client.wrong.push(error),
            }
        }));
        let Err(panic) = life else { return false };
        if !panic.is::<Killed>() {
            self.client.wrong.push("a panic".to_owned());
        }
        self.client.bury();
        true
    }

    fn follow(&mut self, mut daemon: Daemon, script: &[Step]) {
        while let Some(step) = script.get(self.next) {
            self.next += 1;
            self.take(&mut daemon, *step);
        }
        // Whatever is left. Three steps for each request that fits the rings are enough.
        for _ in 0..3 * GEOMETRY.slots * 2 {
            for step in [Serve, Finish(0), Collect, GiveBack] {
                self.take(&mut daemon, step);
            }
        }
        self.client.settle();
        let leased = daemon.leased();
        if leased != (0, 0) || !self.client.is_served() {
            self.client.wrong.push(format!("{leased:?} is leased at the end"));
        }
    }

    fn take(&mut self, daemon: &mut Daemon, step: Step) {
        match step {
            Submit(method) => self.client.submit(method, false),
            SubmitBlock(method) => self.client.submit(method, true),
            Serve => _ = daemon.serve(&mut self.client),
            Turn => daemon.turn(&mut self.client),
            Finish(place) => _ = daemon.finish(place, &mut self.client),
            Collect => _ = self.client.collect(false),
            Hold => _ = self.client.collect(true),
            GiveBack => self.client.give_back(),
            Nap => self.client.nap(),
        }
    }
}

/// Kills the first daemon at each store and its successor at each of its own. The first
/// contradiction, or how many pairs of kills there were.
fn kill_everywhere(
    start: u64,
    order: Order,
    prepare: fn(&Heap),
    script: &[Step],
) -> Result<u64, String> {
    let mut cases = 0;
    for first in 0.. {
        for second in 0.. {
            let mut world = World::new(start, order);
            prepare(&world.down);
            let killed = world.live(script, Some(start), first);
            let killed_again = killed && world.live(script, None, second);
            if killed_again {
                world.live(script, None, u64::MAX);
            }
            cases += 1;
            if let Some(wrong) = world.client.wrong.first() {
                return Err(format!("killed at stores {first} and {second}: {wrong}"));
            }
            if !killed {
                return Ok(cases);
            }
            if !killed_again {
                break;
            }
        }
    }
    unreachable!("every script ends")
}

fn prove(order: Order, starts: &[u64]) {
    for (number, (name, script)) in mixes().into_iter().enumerate() {
        let start = starts[number % starts.len()];
        match kill_everywhere(start, order, |_| {}, &script) {
            Ok(cases) => assert!(cases > 1000, "{name}: only {cases} cases"),
            Err(wrong) => panic!("{name}, {order:?}, from {start}: {wrong}"),
        }
    }
}

#[test]
fn f1_two_kills_anywhere_leave_every_request_answered_once() {
    prove(Order::Program, &STARTS);
}

#[test]
fn f1_the_orderings_are_enough_however_stores_are_hoisted() {
    prove(Order::Hoisted, &[(1 << 63) - 3, 7, 0]);
}

#[test]
fn f1_the_orderings_are_enough_however_stores_sink() {
    prove(Order::Sunk, &[5, 0]);
}

/// Is a mistake found in some mix? Without a kill it makes no difference.
fn is_found(order: Order, prepare: fn(&Heap)) -> bool {
    for (name, script) in mixes() {
        let mut world = World::new(0, order);
        prepare(&world.down);
        world.live(&script, Some(0), u64::MAX);
        assert!(world.client.wrong.is_empty(), "{name}, nobody killed: {:?}", world.client.wrong);
    }
    mixes().iter().any(|(_, script)| kill_everywhere(0, order, prepare, script).is_err())
}

/// Each neighbouring pair of SPEC F1, the other way round.
#[test]
fn f1_any_other_order_is_found_wrong() {
    for (first, second) in [
        (Word::Claimed, Word::Seq),            // light: run before it is claimed
        (Word::Seq, Word::Released),           // light: slot given back before the answer
        (Word::Seq, Word::Done),               // answer counted before it is there
        (Word::Body, Word::Taken),             // heavy: entry marked before it is written
        (Word::Taken, Word::Claimed),          // heavy: claimed before its entry is there
        (Word::Claimed, Word::Released),       // heavy: slot given back before it is claimed
        (Word::Seq, Word::Freed),              // heavy: entry freed before the answer
        (Word::Taken, Word::Released),         // recovery: slot given back before it is copied
        (Word::LeaseTicket, Word::Generation), // a lease that nobody will ever give back
    ] {
        assert!(is_found(Order::Late(first, second), |_| {}), "{first:?} after {second:?}");
    }
}

#[test]
fn s1_without_the_first_ticket_a_call_passes_for_answered() {
    assert!(is_found(Order::Program, |down| {
        for position in 0..u64::from(GEOMETRY.slots) {
            down.store(GEOMETRY.down().ring.at(position) + slot::TICKET, 0);
        }
    }));
}

/// A client rings once per odd value of the daemon's parking word; a successor that slept under its
/// predecessor's last value would not be woken.
#[test]
fn p1_a_successor_sleeps_under_a_value_that_nobody_rang_for() {
    let (up, down) = (Heap::new(GEOMETRY.up().len), Heap::new(GEOMETRY.down().len));
    initialise(&up, &down, GEOMETRY, 5);
    let mut client = ClientLane::new(up.clone(), down.clone(), GEOMETRY, 5).unwrap();
    let mut dead = ServerLane::new(up.clone(), down.clone(), GEOMETRY, 5, 1);
    assert_eq!(dead.park(), Ok(true));
    client.submit(Header::default(), &[]).unwrap();
    assert!(client.bell_due(), "rung, and the daemon dies before it hears it");
    let (mut next, open) = ServerLane::recover(up, down.clone(), GEOMETRY, 2).unwrap();
    assert!(open.is_empty() && down.load_u32(down::PARKED) & 1 == 0, "it is awake");
    assert!(matches!(next.peek(), Ok(Peek::Request(_))));
    next.claim();
    next.answer(Header::default(), &[]);
    next.release();
    assert_eq!(next.park(), Ok(true));
    client.submit(Header::default(), &[]).unwrap();
    assert!(client.bell_due(), "a new sleep, a new value");
}

/// A long call may be overtaken by more than 2^32 others; it was claimed all the same.
#[test]
fn k2_a_call_that_was_overtaken_by_billions_is_claimed() {
    for start in STARTS {
        let World { down, .. } = World::new(start, Order::Program);
        let up = Heap::new(GEOMETRY.up().len);
        let client = ClientLane::new(up, down.clone(), GEOMETRY, start).unwrap();
        assert!(!client.was_claimed(start));
        for overtaken_by in [1, 1 << 20, 1 << 33, 1 << 62] {
            down.store(down::CLAIMED, start.wrapping_add(overtaken_by));
            assert!(client.was_claimed(start), "overtaken by {overtaken_by}");
            assert!(!client.was_claimed(start.wrapping_add(overtaken_by)));
        }
    }
}
