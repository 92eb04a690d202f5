//! Recovery over a `down` that no daemon left: an error, or a lane that works and is bounded. The
//! rules for hostile memory (SPEC R1-R9) hold for `down` too, because whoever shares the daemon's
//! uid can write it.
#![allow(dead_code, reason = "the kill model makes its own images")]

use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::layout::{ENTRY_BYTES, Header, down, entry, slot};
use ringfence_protocol::limits::{BULK_SEGMENTS, INLINE_BYTES};
use ringfence_protocol::memory::{Heap, Memory};
use ringfence_protocol::ring::{
    ClientLane, Open, Peek, Place, ServerLane, WakeBy, classify, initialise,
};

use super::chance::Chance;

const GEOMETRY: Geometry = Geometry { slots: 4, up_blocks: 4, down_blocks: 2 };

/// The `down` of a daemon that died after some steps, then changed: an error, or a lane with each open call
/// once, at most as many as slots, that answers them all and goes on.
pub(crate) fn any_dead_down(bytes: &[u8]) {
    let chance = &mut Chance::of(bytes);
    let start = chance.start();
    let (up, down) = (Heap::new(GEOMETRY.up().len), Heap::new(GEOMETRY.down().len));
    initialise(&up, &down, GEOMETRY, start);
    live(chance, &up, &down, start);
    let position = down.load(down::CLAIMED);
    for _ in 0..chance.below(6) {
        down.store(decisive(chance, GEOMETRY), chance.near(position));
    }
    if chance.below(4) == 0 {
        let words = chance.pick(&[10, 1000]);
        chance.scribble(&down, words, position);
        chance.scribble(&up, words, position);
    }
    recover(chance, GEOMETRY, (up, down, position));
}

/// Some calls, of which some are open at the end.
fn live(chance: &mut Chance, up: &Heap, down: &Heap, start: u64) {
    let mut client = ClientLane::new(up.clone(), down.clone(), GEOMETRY, start).unwrap();
    let mut server = ServerLane::new(up.clone(), down.clone(), GEOMETRY, start, 1);
    let mut jobs = Vec::new();
    for _ in 0..chance.below(24) {
        let _full = client.submit(Header { len: 8, ..Header::default() }, &[1; 8]);
        let Ok(Peek::Request(request)) = server.peek() else { break };
        let header = Header { ticket: request.ticket, ..Header::default() };
        if chance.below(2) == 0 {
            server.claim();
            let block = server.place(&[7; 99], request.ticket).unwrap_or(0);
            server.answer(Header { block, len: 99 * block.min(1), ..header }, &[]);
            server.release();
        } else {
            jobs.push((server.admit(&request, &[1; 8]), header));
        }
        if chance.below(2) == 0
            && let Some((entry, header)) = jobs.pop()
        {
            server.finish(entry, header, &[]);
        }
        if chance.below(2) == 0 && client.peek().is_ok_and(|answer| answer.is_some()) {
            client.collect();
        }
    }
}

/// The words that recovery decides by.
pub(crate) fn decisive(chance: &mut Chance, geometry: Geometry) -> usize {
    let map = geometry.down();
    let number = chance.below(geometry.slots.into());
    let entry = map.entries + number as usize * ENTRY_BYTES;
    let slot = map.ring.at(number);
    let choices = [
        chance.pick(&[down::CLAIMED, down::DONE, down::RELEASED, down::PARKED, down::WAKE]),
        entry + chance.pick(&[entry::TICKET, entry::TICKET, entry::ATTEMPTS]),
        entry + entry::SLOT + chance.pick(&[slot::TICKET, slot::METHOD, slot::FLAGS]),
        slot + chance.pick(&[slot::SEQ, slot::TICKET]),
        map.lease + chance.below(2 * u64::from(geometry.down_blocks) + 4) as usize * 8,
    ];
    chance.pick(&choices)
}

/// One recovery and what follows. Could it be recovered?
pub(crate) fn recover<U: Memory>(
    chance: &mut Chance,
    geometry: Geometry,
    (up, down, position): (U, Heap, u64),
) -> bool {
    let before = position.wrapping_sub(8);
    let classes = classify(&down, geometry, before, position.wrapping_add(8));
    let unreleased = down.load(down::CLAIMED).wrapping_sub(down.load(down::RELEASED));
    let recovered = ServerLane::recover(up, down, geometry, 2);
    if let Ok(classes) = &classes {
        assert_eq!(classes.len(), 16);
    }
    let Ok((mut lane, open)) = recovered else { return false };
    assert!(classes.is_ok(), "both look at the same words");
    assert!(unreleased <= 1, "a daemon takes one request at a time");
    assert!(open.len() <= geometry.slots as usize);
    assert_eq!(lane.running(), open.len() as u64);
    for (number, call) in open.iter().enumerate() {
        let twins = open[..number].iter();
        assert!(twins.filter(|o| o.entry == call.entry || o.ticket == call.ticket).count() == 0);
        finish(&mut lane, geometry, call, chance);
    }
    assert_eq!(lane.running(), 0);
    turn(&mut lane, geometry, chance);
    true
}

fn finish<U: Memory>(
    lane: &mut ServerLane<U, Heap>,
    geometry: Geometry,
    call: &Open,
    chance: &mut Chance,
) {
    let bytes = match call.place {
        None | Some(Place::Bulk { .. }) => 0,
        Some(Place::Inline) => call.header.len as usize,
        Some(Place::Arena { at }) => {
            assert!(at + call.header.len as usize <= geometry.up().len);
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
fn turn<U: Memory>(lane: &mut ServerLane<U, Heap>, geometry: Geometry, chance: &mut Chance) {
    for _ in 0..2 * geometry.slots {
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
    assert!(
        leases <= geometry.down_blocks as usize + BULK_SEGMENTS && (bytes == 0) == (leases == 0)
    );
    let _ = lane.park();
}
