//! The client of the kill model, which survives every daemon, and what it knows to be wrong.
//!
//! It is the oracle: it sees what a client can see, is told by the daemons what they run, and keeps
//! a list of contradictions.

use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::layout::{Header, slot};
use ringfence_protocol::limits::BLOCK_BYTES;
use ringfence_protocol::memory::{Heap, Memory};
use ringfence_protocol::ring::{Class, ClientLane, Nap, WakeBy, classify};

use crate::daemon::{ARENA_FULL, INTERRUPTED, ONCE, answer};
use crate::tape::{GEOMETRY, ReadOnly};

/// What became of one request, as far as the model knows.
#[derive(Debug, Default)]
struct Call {
    method: u32,
    /// Block and bytes of a payload in the request arena.
    placed: Option<(u32, usize)>,
    runs: u32,
    answers: u32,
    status: u16,
    /// Deaths that found it taken and unanswered.
    interrupted: u32,
}

pub(crate) struct Client {
    lane: ClientLane<Heap, ReadOnly>,
    down: Heap,
    start: u64,
    collected: u64,
    calls: Vec<Call>,
    /// Answers in the arena that were not given back: block and content.
    held: Vec<(u32, Vec<u8>)>,
    deaths: u32,
    pub(crate) wrong: Vec<String>,
}

impl Client {
    pub(crate) fn new(up: Heap, down: Heap, start: u64) -> Self {
        let lane = ClientLane::new(up, ReadOnly(down.clone()), GEOMETRY, start);
        Self {
            lane: lane.expect("the segments are large enough"),
            down,
            start,
            collected: start,
            calls: Vec::new(),
            held: Vec::new(),
            deaths: 0,
            wrong: Vec::new(),
        }
    }

    /// Notes a contradiction.
    fn claim(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(what());
        }
    }

    /// 1 to 3 words, different for each request, also behind the last byte.
    fn payload(&self, ticket: u64) -> Vec<u8> {
        let len = 8 + (ticket.wrapping_sub(self.start) * 7 % 14) as usize;
        (0..len).map(|byte| (ticket as u8).wrapping_mul(31).wrapping_add(byte as u8)).collect()
    }

    pub(crate) fn submit(&mut self, method: u32, in_arena: bool) {
        let ticket = self.lane.next_ticket();
        let payload = self.payload(ticket);
        let mut header = Header { method, len: payload.len() as u32, ..Header::default() };
        if in_arena && self.lane.has_room() {
            header.block = self.lane.place(&payload).unwrap_or(0);
        }
        let placed = (header.block != 0).then_some((header.block, payload.len()));
        let inline = if placed.is_some() { &[] } else { &payload[..] };
        if self.lane.submit(header, inline).is_ok() {
            self.calls.push(Call { method, placed, ..Call::default() });
        }
        self.lane.bell_due();
    }

    /// Takes the next answer, if there is one; an answer in the arena is kept if `hold`.
    pub(crate) fn collect(&mut self, hold: bool) -> bool {
        let Some(header) = self.lane.peek().expect("the daemon is honest") else { return false };
        let mut body = vec![0; header.len as usize];
        if hold && header.block != 0 {
            self.down.read(block_at(GEOMETRY, header.block), &mut body);
            self.held.push((header.block, body.clone()));
        } else {
            self.lane.read(header, &mut body);
        }
        self.lane.collect();
        self.collected = self.collected.wrapping_add(1);
        self.answered(header, &body);
        true
    }

    fn answered(&mut self, header: Header, body: &[u8]) {
        let ticket = header.ticket;
        let expected = answer(&self.payload(ticket));
        let Some(call) = self.calls.get_mut(ticket.wrapping_sub(self.start) as usize) else {
            return self.wrong.push(format!("an answer to {ticket}, which was never submitted"));
        };
        call.answers += 1;
        call.status = header.status;
        let (once, interrupted, runs) = (call.method & ONCE != 0, call.interrupted, call.runs);
        if let Some((block, len)) = call.placed.take() {
            self.lane.give_back(block, len);
        }
        let fair = match header.status {
            0 => body == expected && runs > 0 && !(once && interrupted > 0),
            INTERRUPTED => interrupted >= if once { 1 } else { 2 },
            status => status == ARENA_FULL && runs > 0,
        };
        self.claim(fair, || format!("{ticket}: {header:?} {body:?}, {runs} runs, {interrupted}"));
    }

    /// Parks, looks, and goes on.
    pub(crate) fn nap(&mut self) {
        if let Nap::Sleep { .. } = self.lane.park(WakeBy::Futex, || {}) {
            self.lane.unpark();
        }
    }

    /// Gives the oldest held answer back, after a look whether it is still what it was.
    pub(crate) fn give_back(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (block, content) = self.held.remove(0);
        let mut now = vec![0; content.len()];
        self.down.read(block_at(GEOMETRY, block), &mut now);
        self.claim(now == content, || format!("held block {block} was overwritten"));
        self.lane.release(block as usize - 1);
    }

    /// A daemon begins to run a call.
    pub(crate) fn ran(&mut self, ticket: u64) {
        let visible = self.is_visible(ticket);
        let deaths = self.deaths;
        let Some(call) = self.calls.get_mut(ticket.wrapping_sub(self.start) as usize) else {
            return self.wrong.push(format!("{ticket} runs and was never submitted"));
        };
        call.runs += 1;
        let (runs, once) = (call.runs, call.method & ONCE != 0);
        self.claim(!visible, || format!("{ticket} runs after its answer was visible"));
        let most = if once { 1 } else { 2.min(deaths + 1) };
        self.claim(runs <= most, || format!("{ticket} runs {runs} times after {deaths} deaths"));
    }

    /// A daemon found no reply block: then the client must have all of them.
    pub(crate) fn was_told_full(&mut self) {
        let unread = self.unread().filter(|header| header.block != 0).count();
        let held = self.held.len() + unread;
        self.claim(held == GEOMETRY.down_blocks as usize, || format!("full with {held} held"));
    }

    /// The answers that the client could read by now.
    fn unread(&self) -> impl Iterator<Item = Header> {
        let ring = GEOMETRY.down().ring;
        (0..u64::from(GEOMETRY.slots)).map_while(move |ahead| {
            let position = self.collected.wrapping_add(ahead);
            let at = ring.at(position);
            let word = |number: usize| self.down.load(at + slot::TICKET + number * 8);
            (self.down.load(at + slot::SEQ) == position.wrapping_add(1))
                .then(|| Header::from_words([word(0), word(1), word(2), word(3)]))
        })
    }

    /// Could the client have seen the answer by now?
    fn is_visible(&self, ticket: u64) -> bool {
        let call = self.calls.get(ticket.wrapping_sub(self.start) as usize);
        call.is_some_and(|call| call.answers > 0)
            || self.unread().any(|header| header.ticket == ticket)
    }

    /// A daemon died: what its segment says must be what the model knows.
    pub(crate) fn bury(&mut self) {
        self.deaths += 1;
        let end = self.start.wrapping_add(self.calls.len() as u64);
        let classes = match classify(&self.down, GEOMETRY, self.start, end) {
            Ok(classes) => classes,
            Err(error) => return self.wrong.push(error.to_string()),
        };
        for (index, class) in classes.into_iter().enumerate() {
            let ticket = self.start.wrapping_add(index as u64);
            let (visible, claimed) = (self.is_visible(ticket), self.lane.was_claimed(ticket));
            let runs = self.calls[index].runs;
            let agrees = match class {
                Class::Answered => visible && claimed,
                Class::Interrupted => !visible && claimed,
                Class::NotStarted => !visible && !claimed && runs == 0,
            };
            self.claim(agrees, || format!("{ticket} is {class:?}: {visible} {claimed} {runs}"));
            self.calls[index].interrupted += u32::from(class == Class::Interrupted);
        }
    }

    pub(crate) fn is_served(&self) -> bool {
        self.lane.outstanding() == 0
    }

    /// The end: every call was answered exactly once.
    pub(crate) fn settle(&mut self) {
        while !self.held.is_empty() {
            self.give_back();
        }
        for index in 0..self.calls.len() {
            let answers = self.calls[index].answers;
            self.claim(answers == 1, || format!("call {index} has {answers} answers"));
        }
    }
}

fn block_at(geometry: Geometry, block: u32) -> usize {
    geometry.down().arena + (block - 1) as usize * BLOCK_BYTES
}
