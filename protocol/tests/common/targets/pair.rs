//! Both sides of a lane, step by step.

use std::collections::{HashMap, HashSet};

use ringfence_protocol::fault::Fault;
use ringfence_protocol::layout::{Header, down, up};
use ringfence_protocol::limits::INLINE_BYTES;
use ringfence_protocol::memory::{Heap, Memory};
use ringfence_protocol::ring::{Entry, Peek, WakeBy};

use super::chance::Chance;
use super::lanes::{Client, GEOMETRY, SLOTS, Server, answer_to, inline, payload, segments};

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

/// Steps of both sides in any order, one of them perhaps forging words of its own: one answer for each request,
/// never more unread answers than slots, and between honest sides payloads that arrive whole.
pub(crate) fn any_sequence(bytes: &[u8]) {
    let chance = &mut Chance::of(bytes);
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
