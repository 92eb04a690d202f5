//! A lane against an image that the other side may have written: SPEC R1 to R9. Wrong answers to a client that
//! forges words are no concern here; harm to the daemon is.

use ringfence_protocol::fault::Fault;
use ringfence_protocol::geometry::{Geometry, Slots};
use ringfence_protocol::layout::{Header, slot};
use ringfence_protocol::limits::{BULK_SEGMENTS, INLINE_BYTES, INLINE_WORDS};
use ringfence_protocol::memory::{Heap, Memory};
use ringfence_protocol::ring::{
    ClientLane, Entry, Peek, Place, Request, ServerLane, WakeBy, initialise,
};

use super::chance::Chance;

pub(super) const GEOMETRY: Geometry = Geometry { slots: 8, up_blocks: 3, down_blocks: 3 };
pub(super) const SLOTS: u64 = 8;

pub(super) type Server = ServerLane<Heap, Heap>;
pub(super) type Client = ClientLane<Heap, Heap>;

pub(super) fn segments(start: u64) -> (Heap, Heap) {
    let (up, down) = (Heap::new(GEOMETRY.up().len), Heap::new(GEOMETRY.down().len));
    initialise(&up, &down, GEOMETRY, start);
    (up, down)
}

/// Fills a segment: all of it, or a few words.
fn spoil(chance: &mut Chance, memory: &Heap, position: u64) {
    let words = chance.pick(&[3, 30, 300, memory.len() as u64 / 4]);
    chance.scribble(memory, words, position);
}

/// Makes some slots from `position` on look committed, with headers that are nearly right.
fn commit(chance: &mut Chance, memory: &Heap, ring: Slots, position: u64) {
    let bulk = [1, 64, 65, 255].map(|segment| segment << 24 | 1);
    let blocks = [[0, 0, 1, 3, 4], [0x00ff_ffff, u32::MAX, 1 << 24, 1 << 24 | 2, 0]];
    let blocks = [&blocks[0][..], &blocks[1], &bulk].concat();
    for ahead in 0..chance.below(SLOTS + 1) {
        let position = position.wrapping_add(ahead);
        let at = ring.at(position);
        let header = Header {
            ticket: chance.pick(&[0, 0, 0, position]),
            len: chance.pick(&[0, 8, 216, 217, 4096, 3 * 4096, u32::MAX]),
            flags: chance.pick(&[0, 0, 0, 0, 1]),
            status: chance.pick(&[0, 0, 0, 0, 1]),
            block: chance.pick(&blocks),
            ..Header::default()
        };
        for (word, value) in header.words().into_iter().enumerate() {
            memory.store(at + slot::TICKET + word * 8, value);
        }
        memory.store(at + slot::SEQ, position.wrapping_add(1));
    }
}

/// What the daemon may conclude from a request, whatever stands in it.
fn check(request: &Request) {
    let Header { len, flags, status, ticket, .. } = request.header;
    assert_eq!((flags, status, ticket), (0, 0, 0));
    assert!(match request.place {
        Place::Inline => len as usize <= INLINE_BYTES,
        Place::Arena { at } =>
            (GEOMETRY.up().arena..GEOMETRY.up().len).contains(&at)
                && at + len as usize <= GEOMETRY.up().len,
        Place::Bulk { segment, at } => {
            (1..=BULK_SEGMENTS as u32).contains(&segment) && at < (1 << 24) - 1
        }
    });
}

/// Reads a request's payload as the daemon does.
pub(super) fn payload(server: &Server, request: &Request) -> Vec<u8> {
    check(request);
    let here = !matches!(request.place, Place::Bulk { .. });
    let mut payload = vec![0; if here { request.header.len as usize } else { 0 }];
    server.read(request, &mut payload);
    if request.place == Place::Inline {
        let mut words = [0; INLINE_WORDS];
        server.read_inline(request, &mut words);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(bytes[..payload.len()], payload, "both ways to read agree");
    }
    payload
}

pub(super) fn inline<'a>(request: &Request, payload: &'a [u8]) -> &'a [u8] {
    if request.place == Place::Inline { payload } else { &[] }
}

pub(super) fn answer_to(ticket: u64) -> Header {
    Header { ticket, ..Header::default() }
}

/// One turn of a daemon over a lane: at most a ring of requests.
fn turn(server: &mut Server, chance: &mut Chance) -> Result<(), Fault> {
    let mut jobs: Vec<(Entry, u64)> = Vec::new();
    for served in 0.. {
        let Peek::Request(request) = server.peek()? else { break };
        assert!(served < SLOTS, "credit bounds a turn");
        let payload = payload(server, &request);
        if chance.below(2) == 0 {
            server.claim();
            let block = server.place(&payload, request.ticket).unwrap_or(0);
            server.answer(Header { block, ..answer_to(request.ticket) }, &[]);
            server.release();
        } else {
            jobs.push((server.admit(&request, inline(&request, &payload)), request.ticket));
        }
    }
    for (entry, ticket) in jobs {
        server.progress(entry, 1);
        server.up().load(server.cancel_at(entry));
        server.finish(entry, answer_to(ticket), &[]);
    }
    Ok(())
}

/// A whole `up` image, then a turn of the daemon's side over it: it faults or stays within bounds, takes at
/// most a ring of requests, and its books of leases and calls are whole afterwards.
pub(crate) fn any_up_image(bytes: &[u8]) {
    let chance = &mut Chance::of(bytes);
    let start = chance.start();
    let (up, down) = segments(start);
    let mut server = Server::new(up.clone(), down, GEOMETRY, start, 1);
    spoil(chance, &up, start);
    commit(chance, &up, GEOMETRY.up().ring, start);
    if turn(&mut server, chance).is_err() {
        return;
    }
    assert_eq!(server.running(), 0);
    server.wake_due();
    server.ring_again();
    server.wake_due();
    for segment in [1, BULK_SEGMENTS as u32] {
        server.lease_bulk(segment, 5000, start);
        server.bulk_is_held(segment);
    }
    let (bytes, leases) = server.leased();
    assert!(leases <= 5 && bytes <= 7 * 4096);
    if server.park() == Ok(true) {
        server.unpark();
    }
}

/// A whole `down` image, then the client's side over it: blocks and lengths within bounds, and nothing but its
/// own requests in its ring.
pub(crate) fn any_down_image(bytes: &[u8]) {
    let chance = &mut Chance::of(bytes);
    let start = chance.start();
    let (up, down) = segments(start);
    let mut client = Client::new(up.clone(), down.clone(), GEOMETRY, start).unwrap();
    for _ in 0..chance.below(SLOTS) {
        client.submit(Header::default(), &[]).unwrap();
    }
    spoil(chance, &down, start);
    commit(chance, &down, GEOMETRY.down().ring, start);
    for _ in 0..2 * SLOTS {
        client.bell_due();
        let _ = client.submit(Header::default(), &[1; 9]);
        client.park(WakeBy::Byte, || {});
        client.unpark();
        client.cancel(start);
        let _ = (client.progress(start), client.was_claimed(start));
        let Ok(Some(header)) = client.peek() else { break };
        let (segment, block) = (header.block >> 24, header.block & 0x00ff_ffff);
        let last = if segment == 0 { GEOMETRY.down_blocks } else { 1 };
        assert!(header.block == 0 || segment <= 64 && (1..=last).contains(&block), "{header:?}");
        if header.block >> 24 == 0 {
            client.read(header, &mut vec![0; header.len as usize]);
        } else {
            client.release(client.bulk_lease(header.block >> 24));
        }
        client.collect();
    }
    let ring = GEOMETRY.up().ring;
    let whole = (0..SLOTS).all(|position| {
        let at = ring.at(position);
        [slot::TICKET, slot::METHOD, slot::FLAGS].iter().all(|word| {
            let value = up.load(at + word);
            value == 0 || value == 9 << 32 || value == start.wrapping_sub(1)
        })
    });
    assert!(whole, "a client writes nothing but its requests into its ring");
}
