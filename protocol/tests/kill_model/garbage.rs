//! Recovery over a `down` that no daemon left: an error, or a lane that works and is bounded. The
//! rules for hostile memory (SPEC R1-R9) hold for `down` too, because whoever shares the daemon's
//! uid can write it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ringfence_protocol::layout::{ENTRY_BYTES, Header, down, entry, slot};
use ringfence_protocol::limits::{INLINE_BYTES, STRIDE};
use ringfence_protocol::memory::{Heap, Memory};
use ringfence_protocol::ring::{Open, Peek, Place, ServerLane, WakeBy, classify};

use crate::chance::Chance;
use crate::tape::{GEOMETRY, Order, ReadOnly};
use crate::{World, by_chance};

/// The words that recovery decides by.
fn decisive(chance: &mut Chance) -> usize {
    let map = GEOMETRY.down();
    let number = chance.below(GEOMETRY.slots.into()) as usize;
    let entry = map.entries + number * ENTRY_BYTES;
    let slot = map.ring + number * STRIDE;
    let choices = [
        chance.pick(&[down::CLAIMED, down::DONE, down::RELEASED, down::PARKED, down::WAKE]),
        entry + chance.pick(&[entry::TICKET, entry::TICKET, entry::ATTEMPTS]),
        entry + entry::SLOT + chance.pick(&[slot::TICKET, slot::METHOD, slot::FLAGS]),
        slot + chance.pick(&[slot::SEQ, slot::TICKET]),
        map.lease + chance.below(2 * u64::from(GEOMETRY.down_blocks) + 4) as usize * 8,
    ];
    chance.pick(&choices)
}

/// What a kill left, and then somebody's mistakes.
fn segments(chance: &mut Chance) -> (Heap, Heap, u64) {
    let start = chance.start();
    let mut world = World::new(start, Order::Program);
    let script = by_chance(chance.word());
    world.live(&script, Some(start), chance.below(150));
    let position = world.down.load(down::CLAIMED);
    for _ in 0..chance.below(6) {
        world.down.store(decisive(chance), chance.near(position));
    }
    if chance.below(4) == 0 {
        let words = chance.pick(&[10, 1000, 100_000]);
        chance.scribble(&world.down, words, position);
    }
    if chance.below(2) == 0 {
        chance.scribble(&world.up, 1000, position);
    }
    (world.up, world.down, position)
}

/// One recovery and what follows. Could it be recovered?
fn recover(chance: &mut Chance) -> bool {
    let (up, down, position) = segments(chance);
    let before = position.wrapping_sub(8);
    let classes = classify(&down, GEOMETRY, before, position.wrapping_add(8));
    let unreleased = down.load(down::CLAIMED).wrapping_sub(down.load(down::RELEASED));
    let recovered = ServerLane::recover(ReadOnly(up), down, GEOMETRY, 2);
    if let Ok(classes) = &classes {
        assert_eq!(classes.len(), 16);
    }
    let Ok((mut lane, open)) = recovered else { return false };
    assert!(classes.is_ok(), "both look at the same words");
    assert!(unreleased <= 1, "a daemon takes one request at a time");
    assert!(open.len() <= GEOMETRY.slots as usize);
    assert_eq!(lane.running(), open.len() as u64);
    for (number, call) in open.iter().enumerate() {
        let twins = open[..number].iter();
        assert!(twins.filter(|o| o.entry == call.entry || o.ticket == call.ticket).count() == 0);
        finish(&mut lane, call, chance);
    }
    assert_eq!(lane.running(), 0);
    turn(&mut lane, chance);
    true
}

type Lane = ServerLane<ReadOnly, Heap>;

fn finish(lane: &mut Lane, call: &Open, chance: &mut Chance) {
    let bytes = match call.place {
        None | Some(Place::Bulk { .. }) => 0,
        Some(Place::Inline) => call.header.len as usize,
        Some(Place::Arena { at }) => {
            assert!(at + call.header.len as usize <= GEOMETRY.up().len);
            call.header.len as usize
        }
    };
    if call.place == Some(Place::Inline) {
        assert!(bytes <= INLINE_BYTES);
    }
    if chance.below(2) == 0 {
        lane.rerun(call);
    }
    lane.read_open(call, &mut vec![0; bytes]);
    let block = lane.place(&[7; 5000], call.ticket).unwrap_or(0);
    let header = Header { ticket: call.ticket, block, ..Header::default() };
    lane.finish(call.entry, header, &[]);
}

/// Twice as many requests as a turn can hold.
fn turn(lane: &mut Lane, chance: &mut Chance) {
    for _ in 0..2 * GEOMETRY.slots {
        let Ok(Peek::Request(request)) = lane.peek() else { break };
        let mut payload = vec![0; request.header.len as usize];
        lane.read(&request, &mut payload);
        let header = Header { ticket: request.ticket, ..Header::default() };
        if chance.below(2) == 0 {
            lane.claim();
            lane.answer(header, &[]);
            lane.release();
        } else {
            let inline = if request.place == Place::Inline { &payload[..] } else { &[] };
            let entry = lane.admit(&request, inline);
            lane.finish(entry, header, &[]);
        }
    }
    assert!(matches!(lane.wake_due(), None | Some(WakeBy::Byte | WakeBy::Futex)));
    let (bytes, leases) = lane.leased();
    assert!(leases <= 66 && (bytes == 0) == (leases == 0));
    let _ = lane.park();
}

#[test]
fn k1_recovery_of_any_down_is_an_error_or_a_bounded_lane() {
    let (mut recovered, mut refused) = (0, 0);
    for seed in 0..8_000 {
        let case = || recover(&mut Chance::new(seed));
        match catch_unwind(AssertUnwindSafe(case)) {
            Ok(true) => recovered += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("seed {seed}"),
        }
    }
    assert!(recovered > 500 && refused > 500, "{recovered} recovered, {refused} refused");
}
