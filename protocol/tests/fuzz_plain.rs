//! Fuzz targets as plain functions over chance input: no harness, no nightly compiler.
//!
//! Whatever a peer writes, each side faults or stays within bounds, and does bounded work: SPEC
//! R1-R9. Wrong answers to a client that forges words are no concern here; harm to the daemon is.
#![allow(clippy::unwrap_used)]

#[path = "common/chance.rs"]
mod chance;

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use chance::Chance;
use ringfence_protocol::fault::Fault;
use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::layout::{Header, down, slot, up};
use ringfence_protocol::limits::{BULK_SEGMENTS, INLINE_BYTES, INLINE_WORDS, STRIDE};
use ringfence_protocol::memory::{Heap, Memory};
use ringfence_protocol::ring::{
    ClientLane, Entry, Peek, Place, Request, ServerLane, WakeBy, initialise,
};

const GEOMETRY: Geometry = Geometry { slots: 8, up_blocks: 3, down_blocks: 3 };
const SLOTS: u64 = 8;

type Server = ServerLane<Heap, Heap>;
type Client = ClientLane<Heap, Heap>;

/// Runs a target with so many seeds; names the one that fails.
fn fuzz(seeds: u64, target: fn(&mut Chance)) {
    for seed in 0..seeds {
        if catch_unwind(AssertUnwindSafe(|| target(&mut Chance::new(seed)))).is_err() {
            panic!("seed {seed}");
        }
    }
}

fn segments(start: u64) -> (Heap, Heap) {
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
fn commit(chance: &mut Chance, memory: &Heap, ring: usize, position: u64) {
    let bulk = [1, 64, 65, 255].map(|segment| segment << 24 | 1);
    let blocks = [[0, 0, 1, 3, 4], [0x00ff_ffff, u32::MAX, 1 << 24, 1 << 24 | 2, 0]];
    let blocks = [&blocks[0][..], &blocks[1], &bulk].concat();
    for ahead in 0..chance.below(SLOTS + 1) {
        let position = position.wrapping_add(ahead);
        let at = ring + GEOMETRY.index(position) * STRIDE;
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
fn payload(server: &Server, request: &Request) -> Vec<u8> {
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

fn inline<'a>(request: &Request, payload: &'a [u8]) -> &'a [u8] {
    if request.place == Place::Inline { payload } else { &[] }
}

fn answer_to(ticket: u64) -> Header {
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

fn any_up_image(chance: &mut Chance) {
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

#[test]
fn r1_to_r9_any_up_image_and_one_turn_of_the_daemon() {
    fuzz(6_000, any_up_image);
}

fn any_down_image(chance: &mut Chance) {
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
    let whole = (0..SLOTS as usize).all(|index| {
        let at = ring + index * STRIDE;
        [slot::TICKET, slot::METHOD, slot::FLAGS].iter().all(|word| {
            let value = up.load(at + word);
            value == 0 || value == 9 << 32 || value == start.wrapping_sub(1)
        })
    });
    assert!(whole, "a client writes nothing but its requests into its ring");
}

#[test]
fn r2_any_down_image_and_a_client_that_trusts_it() {
    fuzz(6_000, any_down_image);
}

/// Both sides, honest until one word is spoiled now and then.
struct Both {
    client: Client,
    server: Server,
    up: Heap,
    jobs: Vec<(Entry, u64)>,
    /// Payload and block of each request.
    sent: HashMap<u64, (Vec<u8>, u32)>,
    answered: HashSet<u64>,
    honest: bool,
}

impl Both {
    fn step(&mut self, chance: &mut Chance) -> Result<(), Fault> {
        match chance.below(9) {
            0..3 => self.submit(chance),
            3 => self.serve(false)?,
            4 => self.serve(true)?,
            5 => self.finish(chance),
            6 => self.collect(),
            7 => self.sleep(chance)?,
            _ => _ = self.server.wake_due(),
        }
        let consumed = self.up.load(up::CONSUMED);
        let done = self.server.down().load(down::DONE);
        assert!(self.server.running() <= SLOTS);
        assert!(!self.honest || done.wrapping_sub(consumed) <= SLOTS, "an answer was overwritten");
        Ok(())
    }

    fn submit(&mut self, chance: &mut Chance) {
        let len = chance.pick(&[0, 1, 8, 215, 216, 217, 5000, 3 * 4096]);
        let body: Vec<u8> =
            (0..len).map(|byte| byte as u8 ^ self.client.next_ticket() as u8).collect();
        let mut header = Header { len, ..Header::default() };
        if !self.client.has_room() {
            return;
        }
        if len as usize > INLINE_BYTES {
            let Some(block) = self.client.place(&body) else { return };
            header.block = block;
        }
        let ticket = self.client.submit(header, inline_of(header, &body)).unwrap();
        self.client.bell_due();
        self.sent.insert(ticket, (body, header.block));
    }

    fn serve(&mut self, heavy: bool) -> Result<(), Fault> {
        let Peek::Request(request) = self.server.peek()? else { return Ok(()) };
        let payload = payload(&self.server, &request);
        assert!(!self.honest || self.sent[&request.ticket].0 == payload);
        if heavy {
            let entry = self.server.admit(&request, inline(&request, &payload));
            self.jobs.push((entry, request.ticket));
            return Ok(());
        }
        self.server.claim();
        let block = self.server.place(&payload, request.ticket);
        let len = if block.is_some() { request.header.len } else { 0 };
        let block = block.unwrap_or(0);
        self.server.answer(Header { len, block, ..answer_to(request.ticket) }, &[]);
        self.server.release();
        Ok(())
    }

    fn finish(&mut self, chance: &mut Chance) {
        if !self.jobs.is_empty() {
            let (entry, ticket) =
                self.jobs.swap_remove(chance.below(self.jobs.len() as u64) as usize);
            self.server.finish(entry, answer_to(ticket), &[]);
        }
    }

    fn collect(&mut self) {
        let Some(header) = self.client.peek().expect("the daemon is honest") else { return };
        let mut body = vec![0; header.len as usize];
        self.client.read(header, &mut body);
        self.client.collect();
        let new = self.answered.insert(header.ticket);
        let sent = self.sent.get(&header.ticket);
        assert!(!self.honest || new && sent.is_some(), "one ticket, one answer");
        let Some((sent, block)) = sent.filter(|_| new) else { return };
        assert!(!self.honest || header.block == 0 || body == *sent);
        if *block != 0 {
            self.client.give_back(*block, sent.len());
        }
    }

    /// Nobody submits any more: all that was sent is answered.
    fn drain(&mut self, chance: &mut Chance) -> Result<(), Fault> {
        for _ in 0..4 * SLOTS {
            self.serve(false)?;
            self.finish(chance);
            self.collect();
        }
        assert_eq!(self.answered.len(), self.sent.len());
        assert_eq!(self.client.arena.taken(), 0);
        assert_eq!((self.server.leased(), self.server.running()), ((0, 0), 0));
        Ok(())
    }

    fn sleep(&mut self, chance: &mut Chance) -> Result<(), Fault> {
        if chance.below(2) == 0 {
            self.client.park(chance.pick(&[WakeBy::Byte, WakeBy::Futex]), || {});
            self.client.unpark();
        } else if self.server.park()? {
            self.server.unpark();
        }
        Ok(())
    }
}

fn inline_of(header: Header, body: &[u8]) -> &[u8] {
    if header.block == 0 { body } else { &[] }
}

fn any_sequence(chance: &mut Chance) {
    let start = chance.start();
    let (up, down) = segments(start);
    let mut both = Both {
        client: Client::new(up.clone(), down.clone(), GEOMETRY, start).unwrap(),
        server: Server::new(up.clone(), down, GEOMETRY, start, 1),
        up,
        jobs: Vec::new(),
        sent: HashMap::new(),
        answered: HashSet::new(),
        honest: chance.below(3) != 0,
    };
    for _ in 0..chance.below(400) {
        if !both.honest && chance.below(10) == 0 {
            let position = both.client.next_ticket();
            let words = 1 + chance.below(40);
            chance.scribble(&both.up, words, position);
        }
        if let Err(fault) = both.step(chance) {
            assert!(!both.honest, "an honest client broke a rule: {fault}");
            return;
        }
    }
    if both.honest {
        both.drain(chance).expect("an honest client breaks no rule");
    }
}

#[test]
fn f_any_sequence_of_steps_of_both_sides() {
    fuzz(2_000, any_sequence);
}
