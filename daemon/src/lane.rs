//! One lane, as its poller serves it: from a request's bytes to the answer in the completion ring.
//!
//! Order of business for each request (SPEC section R): copy, look whether the segment is alive, find
//! the method, look at the deadline, ask the engine for the cost; then run it in place, hand it to the
//! workers, or run it in place and let its engine answer later. Everything decided here is decided on
//! private copies.

mod bench;
mod table;

use std::sync::Arc;
use std::time::Instant;

use ringfence_core::{Call, Cost, Method, Registry, Stop, Surroundings};
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::fault::Fault;
use ringfence_protocol::layout::Header;
use ringfence_protocol::ledger::Ledger;
use ringfence_protocol::limits::{COPY_REPLY_BYTES, INLINE_BYTES};
use ringfence_protocol::measures::Accepted;
use ringfence_protocol::region::Region;
use ringfence_protocol::ring::{Entry, Peek, Place, Request, ServerLane, WakeBy};
use ringfence_protocol::sys::ticks::Stopwatch;
use ringfence_protocol::sys::{clock, futex};
use ringfence_protocol::{layout, memory::Memory as _};
use zerocopy::IntoBytes as _;

pub(crate) use self::bench::{Bench, Scratch};
use crate::inflight::{InFlight, LaneKey, stopped_before};
use crate::session::Session;
use crate::workers::{Payload, copy_aligned};

/// Requests of one lane that are served before the next lane's turn.
const BATCH: u32 = 32;

/// Panics of engines that one sweep reports.
const PANICS_PER_SWEEP: usize = 16;

/// Payloads above this are copied by a worker, whatever their method says.
const COPY_IN_PLACE: usize = 64 * 1024;

/// A lane.
pub(crate) struct Lane {
    pub(crate) session: Arc<Session>,
    pub(crate) ring: ServerLane<Region, Region>,
    pub(crate) key: LaneKey,
    /// In the poller's list of hot lanes.
    pub(crate) hot: bool,
    /// When the poller last found a request, in its own checks of the clock.
    pub(crate) served_at: Instant,
    running: Vec<Arc<InFlight>>,
    /// Reply segments that the client holds.
    held_bulk: Vec<u32>,
    pub(crate) calls: u64,
    calls_at_last_look: u64,
    opened_at: Instant,
    /// What was accepted of the client's own measurements; in a box, since only sweeps touch it.
    accepted: Box<Accepted>,
}

/// What is measured of a light call.
#[derive(Clone, Copy)]
struct Watch {
    /// When it was seen, if a ledger is kept of it.
    seen: Option<u64>,
    /// How long its engine takes.
    timed: bool,
}

/// A light call's surroundings.
struct InPlace<'a> {
    deadline: u32,
    session: &'a Session,
    /// Where its answer goes, unless the lines of that have just been asked for.
    ring: Option<&'a ServerLane<Region, Region>>,
}

impl Surroundings for InPlace<'_> {
    fn stop(&self) -> Option<Stop> {
        let expired = self.deadline != 0 && clock::expired(clock::coarse_ticks(), self.deadline);
        expired.then_some(Stop::Expired)
    }
    fn progress(&self, _done: u64) {}
    fn about_to_reply(&self) {
        // The client has looked at them for long. As many lines as the last time: it is nearly always right.
        if let Some(ring) = self.ring {
            ring.prepare_answer(ring.last_len());
        }
    }
    fn session(&self) -> u64 {
        self.session.id
    }
    fn uid(&self) -> Option<u32> {
        Some(self.session.uid)
    }
}

impl Lane {
    pub(crate) fn new(
        session: Arc<Session>,
        ring: ServerLane<Region, Region>,
        key: LaneKey,
    ) -> Self {
        let served_at = Instant::now();
        Self {
            session,
            ring,
            key,
            hot: false,
            served_at,
            running: Vec::new(),
            held_bulk: Vec::new(),
            calls: 0,
            calls_at_last_look: 0,
            opened_at: served_at,
            accepted: Box::default(),
        }
    }

    /// Serves what is there, up to a batch. How many requests.
    #[inline(always)]
    pub(crate) fn turn(
        &mut self,
        registry: &Registry,
        scratch: &mut Scratch,
        bench: &mut Bench,
    ) -> Result<u32, Fault> {
        let mut served = 0;
        while served < BATCH || !is_armed("turn.requests") {
            let peeked = self.ring.peek();
            // Where it lies, and handed on by reference: a copy reads words that were stored in other pieces, and so
            // waits until the answer before it has left the processor.
            let request = match &peeked {
                Ok(Peek::Request(request)) => request,
                Ok(_) => break,
                Err(fault) => return Err(*fault),
            };
            if served > 0 {
                self.ring.prefetch_request_ahead();
                self.ring.prepare_answer_ahead();
            } else if request.place == Place::Inline {
                // Once more: the client may have looked since the last turn. (What lies elsewhere comes first, and takes
                // longer.)
                self.ring.prepare_answer(self.ring.last_len());
            }
            served += 1;
            // One branch for all that are not timed; for those, the first line of their ledger.
            let seen = (bench.until_sample == 0).then(clock::monotonic_ns);
            let goes_on = self.serve(request, seen, registry, scratch, bench)?;
            if !goes_on && is_armed("turn.time") {
                break;
            }
        }
        if served > 0 {
            bench.counters.requests(served.into());
            self.calls += u64::from(served);
            self.wake();
            self.ring.prepare_answer(self.ring.last_len());
        }
        Ok(served)
    }

    /// Wakes the client if it sleeps.
    #[inline]
    fn wake(&mut self) {
        match self.ring.wake_due() {
            None => {}
            Some(by) => {
                futex::wake(self.ring.down().futex(layout::down::WAKE), u32::MAX);
                if by == WakeBy::Byte {
                    self.session.wake_by_byte();
                }
            }
        }
    }

    /// Takes one request. `false` if the other lanes should have their turn now.
    #[inline(always)]
    fn serve(
        &mut self,
        request: &Request,
        seen: Option<u64>,
        registry: &Registry,
        scratch: &mut Scratch,
        bench: &mut Bench,
    ) -> Result<bool, Fault> {
        let len = request.header.len as usize;
        let Scratch { inline, arena, reply } = scratch;
        let payload = match request.place {
            Place::Inline => {
                self.ring.read_inline(request, inline);
                &inline.as_bytes()[..len]
            }
            Place::Arena { .. } if len <= COPY_IN_PLACE => {
                copy_aligned(arena, len, |out| self.ring.read(request, out));
                &arena.as_bytes()[..len]
            }
            Place::Arena { .. } | Place::Bulk { .. } => {
                let payload = self.shared_payload(request)?;
                self.admit(request, seen, &[], payload, bench);
                return Ok(false);
            }
        };
        // Asked after the copy: zeros of a truncated segment are never taken for data.
        if self.ring.up().is_dead() && is_armed("segment.dead") {
            return Err(Fault::Truncated { segment: "up" });
        }
        Ok(self.decide(request, seen, payload, reply, registry, bench))
    }

    #[inline(always)]
    fn decide(
        &mut self,
        request: &Request,
        seen: Option<u64>,
        payload: &[u8],
        reply: &mut Vec<u8>,
        registry: &Registry,
        bench: &mut Bench,
    ) -> bool {
        let header = request.header;
        let Some(method) = registry.method(header.method) else {
            self.refuse(request, usize::MAX, &registry.unknown(header.method), bench);
            return true;
        };
        if clock::expired(bench.now, header.deadline) && is_armed("deadline") {
            self.refuse(request, method.index, &stopped_before(Stop::Expired), bench);
            return true;
        }
        let cost = method.cost(payload);
        if cost.micros > bench.inline_budget_us {
            if cost == Cost::WAITS {
                self.run_waiting(request, method, payload, reply, bench);
            } else {
                self.admit_copied(request, seen, payload, bench);
            }
            return true;
        }
        let watch = Watch { seen, timed: seen.is_some() || cost > Cost::LIGHT };
        self.run_in_place(request, method, payload, reply, watch, bench);
        // What took about a budget of time already gives way to the other lanes.
        cost.micros <= bench.inline_budget_us / 8
    }

    /// Light: claimed, run, answered, released, in this order (SPEC F1).
    #[inline(always)]
    fn run_in_place(
        &mut self,
        request: &Request,
        method: Method<'_>,
        payload: &[u8],
        reply: &mut Vec<u8>,
        watch: Watch,
        bench: &mut Bench,
    ) {
        reply.clear();
        self.ring.claim();
        let Watch { seen, timed } = watch;
        let (deadline, ring) = (request.header.deadline, timed.then_some(&self.ring));
        let around = InPlace { deadline, session: &self.session, ring };
        let dispatched = seen.map(|_| clock::monotonic_ns());
        bench.count_to_sample();
        let stopwatch = timed.then(Stopwatch::start);
        let result = method.call(&mut Call::new(payload, reply, &around));
        let took = stopwatch.map(Stopwatch::elapsed_ns);
        let done = seen.map(|_| clock::monotonic_ns());
        if timed {
            // Now that their number is known.
            self.ring.prepare_answer(reply.len());
        }
        let answer = match &result {
            Ok(()) => Ok(reply.as_slice()),
            Err(error) => Err(&**error),
        };
        self.answer_light(request, method.index, answer, bench);
        self.ring.release();
        if let (Some(seen), Some(dispatched), Some(done)) = (seen, dispatched, done) {
            let published = clock::monotonic_ns();
            Ledger { seen, dispatched, done, published }.store(self.ring.down(), request.ticket);
        }
        if let Some(took) = took {
            bench.counters.sample(method.index, took);
        }
    }

    #[cold]
    fn refuse(&mut self, request: &Request, method: usize, error: &Error, bench: &mut Bench) {
        self.ring.claim();
        self.answer(request.ticket, request.header, method, Err(error), None, bench);
        self.ring.release();
    }

    /// Publishes the answer of a light call: nearly always a reply that fits the slot.
    #[inline(always)]
    fn answer_light(
        &mut self,
        request: &Request,
        method: usize,
        result: Result<&[u8], &Error>,
        bench: &mut Bench,
    ) {
        let (ticket, asked) = (request.ticket, request.header);
        match result {
            Ok(reply) if reply.len() <= INLINE_BYTES => {
                let (method_number, trace, len) = (asked.method, asked.trace, reply.len() as u32);
                let blank = Header::default();
                self.ring
                    .answer(Header { ticket, method: method_number, trace, len, ..blank }, reply);
                // Afterwards: the client is on its way already.
                bench.counters.answer(method, false, (asked.len.into(), len.into()));
            }
            other => self.answer(ticket, asked, method, other, None, bench),
        }
    }

    /// Publishes an answer, in its slot, in the arena or in a bulk segment.
    #[inline(never)]
    fn answer(
        &mut self,
        ticket: u64,
        asked: Header,
        method: usize,
        result: Result<&[u8], &Error>,
        entry: Option<Entry>,
        bench: &mut Bench,
    ) {
        let blank =
            Header { ticket, method: asked.method, trace: asked.trace, ..Header::default() };
        let (header, inline) = match result {
            Ok(reply) if reply.len() <= INLINE_BYTES => {
                (Header { len: reply.len() as u32, ..blank }, reply)
            }
            Ok(reply) => match self.place(reply, ticket) {
                Ok(block) => (Header { len: reply.len() as u32, block, ..blank }, &[][..]),
                Err(error) => return self.answer(ticket, asked, method, Err(&error), entry, bench),
            },
            Err(error) => {
                if error.code == ErrorCode::EnginePanicked && bench.panics.len() < PANICS_PER_SWEEP
                {
                    bench.panics.push(error.message.clone());
                }
                let text = cut(&error.message);
                (Header { len: text.len() as u32, status: error.code.as_u16(), ..blank }, text)
            }
        };
        match entry {
            None => self.ring.answer(header, inline),
            Some(entry) => self.ring.finish(entry, header, inline),
        }
        let bytes = (u64::from(asked.len), u64::from(header.len));
        bench.counters.answer(method, header.status != 0, bytes);
    }

    #[cold]
    fn place(&mut self, reply: &[u8], ticket: u64) -> Result<u32, Error> {
        if reply.len() <= COPY_REPLY_BYTES
            && let Some(block) = self.ring.place(reply, ticket)
        {
            return Ok(block);
        }
        self.reclaim_bulk();
        let segment = self.session.put_reply_bulk(reply).map_err(|error| {
            let (bytes, leases) = self.ring.leased();
            let text = format!(
                "a reply of {} bytes found no room while the client holds {leases} replies ({bytes} bytes): release them. ({})",
                reply.len(), error.message
            );
            Error::new(ErrorCode::ReplyArenaFull, text)
        })?;
        Ok(self.lease_bulk(segment, reply.len(), ticket))
    }

    fn lease_bulk(&mut self, segment: u32, len: usize, ticket: u64) -> u32 {
        self.held_bulk.push(segment);
        self.ring.lease_bulk(segment, len as u64, ticket)
    }

    /// Lets the session's pool have the reply segments that the client has given back.
    fn reclaim_bulk(&mut self) {
        let (ring, session) = (&mut self.ring, &self.session);
        self.held_bulk.retain(|segment| {
            let held = ring.bulk_is_held(*segment);
            if !held {
                session.reply_bulk_is_free(*segment);
            }
            held
        });
    }

    #[inline(never)]
    fn shared_payload(&self, request: &Request) -> Result<Payload, Fault> {
        let len = request.header.len as usize;
        match request.place {
            Place::Arena { at } => Ok(Payload::Shared { region: self.ring.up().clone(), at, len }),
            Place::Bulk { segment, at } => {
                let region = self.session.request_bulk(segment);
                let has = region.as_ref().map_or(0, |region| region.len() as u64);
                match region {
                    Some(region) if at as u64 + len as u64 <= has => {
                        Ok(Payload::Shared { region, at, len })
                    }
                    _ if !is_armed("request.bulk") => Ok(Payload::Copied(Vec::new(), 0)),
                    _ => Err(Fault::Bulk { segment, len: request.header.len, has }),
                }
            }
            Place::Inline => Ok(Payload::Copied(Vec::new(), 0)),
        }
    }

    /// Once in 100 ms: the beat, sleepers whose wake-up was lost, calls that are cancelled or late and
    /// that nobody runs, leases. Is there something to serve?
    pub(crate) fn sweep(&mut self, bench: &mut Bench) -> Result<bool, Fault> {
        self.ring.beat();
        self.end_stopped(bench);
        self.ring.ring_again();
        self.wake();
        self.reclaim_bulk();
        self.read_measures(bench);
        let ready = matches!(self.ring.peek()?, Peek::Request(_));
        // A truncation shows at the end of the segment first: touch it, then ask.
        let up = self.ring.up();
        let _last = up.load(up.len() - 8);
        if up.is_dead() && is_armed("segment.dead") {
            return Err(Fault::Truncated { segment: "up" });
        }
        Ok(ready)
    }

    /// Reads what the client has measured (SPEC M2): once a sweep, and when the lane closes.
    pub(crate) fn read_measures(&mut self, bench: &mut Bench) {
        let age_ns = u64::try_from(self.opened_at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let growth = self.accepted.read(self.ring.up(), self.calls, age_ns);
        let registry = &bench.registry;
        bench.counters.measured(&growth, |number| registry.method(number).map(|found| found.index));
    }

    /// Was anything served since this was last asked?
    pub(crate) fn calls_since_look(&mut self) -> bool {
        let some = self.calls != self.calls_at_last_look;
        self.calls_at_last_look = self.calls;
        some
    }
}

/// An error's text, cut to what fits a slot.
fn cut(text: &str) -> &[u8] {
    if text.len() <= INLINE_BYTES {
        return text.as_bytes();
    }
    &text.as_bytes()[..text.floor_char_boundary(INLINE_BYTES)]
}

#[cfg(test)]
mod tests;
