//! A daemon of the kill model: serves, is killed at any store, and is replaced.

use ringfence_protocol::layout::Header;
use ringfence_protocol::ring::{Entry, Open, Peek, ServerLane};

use crate::client::Client;
use crate::tape::{GEOMETRY, ReadOnly, Tape};

/// Bits of a request's method number.
pub(crate) const HEAVY: u32 = 1;
/// May not run twice.
pub(crate) const ONCE: u32 = 2;
/// Answers from the reply arena.
pub(crate) const BY_BLOCK: u32 = 4;

/// Statuses of answers.
pub(crate) const INTERRUPTED: u16 = 1;
/// The reply arena is full.
pub(crate) const ARENA_FULL: u16 = 2;

/// Starts after which a call is not run again.
const STARTS: u64 = 2;

/// A call that a worker runs.
struct Job {
    entry: Entry,
    ticket: u64,
    method: u32,
    payload: Vec<u8>,
}

pub(crate) struct Daemon {
    lane: ServerLane<ReadOnly, Tape>,
    jobs: Vec<Job>,
}

impl Daemon {
    pub(crate) fn first(up: ReadOnly, down: Tape, start: u64) -> Self {
        Self { lane: ServerLane::new(up, down, GEOMETRY, start, 1), jobs: Vec::new() }
    }

    /// The successor of a dead one: repairs, answers what may not run again, runs the rest again.
    pub(crate) fn successor(up: ReadOnly, down: Tape, world: &mut Client) -> Result<Self, String> {
        let (lane, open) =
            ServerLane::recover(up, down, GEOMETRY, 2).map_err(|error| error.to_string())?;
        let mut daemon = Self { lane, jobs: Vec::new() };
        for call in open {
            daemon.take_over(&call, world);
        }
        daemon.wake();
        Ok(daemon)
    }

    fn take_over(&mut self, call: &Open, world: &mut Client) {
        let Header { method, len, .. } = call.header;
        let may_run = call.attempts < STARTS && method & ONCE == 0;
        if !may_run || call.place.is_none() {
            let status = Header { ticket: call.ticket, status: INTERRUPTED, ..Header::default() };
            return self.lane.finish(call.entry, status, &[]);
        }
        self.lane.rerun(call);
        let mut payload = vec![0; len as usize];
        self.lane.read_open(call, &mut payload);
        self.run(call.ticket, world);
        self.jobs.push(Job { entry: call.entry, ticket: call.ticket, method, payload });
    }

    /// Takes the next request: a light one is answered, a heavy one starts. `false` if there is
    /// none.
    pub(crate) fn serve(&mut self, world: &mut Client) -> bool {
        let served = self.serve_unfenced(world);
        if served {
            self.wake();
        }
        served
    }

    /// What a poller does between two looks at who sleeps.
    pub(crate) fn turn(&mut self, world: &mut Client) {
        self.finish_unfenced(0, world);
        while self.serve_unfenced(world) {}
        self.wake();
    }

    fn serve_unfenced(&mut self, world: &mut Client) -> bool {
        let Peek::Request(request) = self.lane.peek().expect("the client is honest") else {
            return false;
        };
        let (ticket, method) = (request.ticket, request.header.method);
        let mut payload = vec![0; request.header.len as usize];
        self.lane.read(&request, &mut payload);
        if method & HEAVY == 0 {
            self.lane.claim();
            self.run(ticket, world);
            let (header, inline) = self.reply(ticket, method, &payload, world);
            self.lane.answer(header, &inline);
            self.lane.release();
        } else {
            let inline = if request.header.block == 0 { &payload[..] } else { &[] };
            let entry = self.lane.admit(&request, inline);
            self.run(ticket, world);
            self.jobs.push(Job { entry, ticket, method, payload });
        }
        true
    }

    /// The job at this place of the queue, counted round, is done. `false` if none runs.
    pub(crate) fn finish(&mut self, place: usize, world: &mut Client) -> bool {
        let finished = self.finish_unfenced(place, world);
        if finished {
            self.wake();
        }
        finished
    }

    fn finish_unfenced(&mut self, place: usize, world: &mut Client) -> bool {
        if self.jobs.is_empty() {
            return false;
        }
        let Job { entry, ticket, method, payload } = self.jobs.remove(place % self.jobs.len());
        self.lane.progress(entry, 99);
        let (header, inline) = self.reply(ticket, method, &payload, world);
        self.lane.finish(entry, header, &inline);
        true
    }

    fn run(&self, ticket: u64, world: &mut Client) {
        self.lane.down().call();
        world.ran(ticket);
    }

    fn reply(
        &mut self,
        ticket: u64,
        method: u32,
        payload: &[u8],
        world: &mut Client,
    ) -> (Header, Vec<u8>) {
        let reply = answer(payload);
        let mut header = Header { ticket, len: reply.len() as u32, ..Header::default() };
        if method & BY_BLOCK == 0 {
            return (header, reply);
        }
        match self.lane.place(&reply, ticket) {
            Some(block) => header.block = block,
            None => {
                world.was_told_full();
                header = Header { ticket, status: ARENA_FULL, ..Header::default() };
            }
        }
        (header, Vec::new())
    }

    fn wake(&mut self) {
        self.lane.wake_due();
    }

    /// Bytes and number of leases that the client holds, as this daemon sees it.
    pub(crate) fn leased(&mut self) -> (u64, usize) {
        self.lane.leased()
    }
}

/// What a method makes of its payload.
pub(crate) fn answer(payload: &[u8]) -> Vec<u8> {
    payload.iter().map(|byte| byte.wrapping_add(1)).collect()
}
