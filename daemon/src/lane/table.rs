//! The calls of a lane's in-flight table: heavy ones, and those that their engine answers later.
//!
//! Each is taken out of the ring before it runs (SPEC F1), so that it never holds up its slot, and is
//! answered in whatever order they end. Only the lane's poller is ever here.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ringfence_core::{Call, Method};
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::fault::Fault;
use ringfence_protocol::layout::Header;
use ringfence_protocol::ledger::Ledger;
use ringfence_protocol::ring::{Entry, Place, Request};
use ringfence_protocol::sys::clock;

use super::{Bench, Lane};
use crate::inflight::{Around, Finished, InFlight, Ran, Reply, Words};
use crate::workers::{Job, Payload, Task, copy_aligned};

impl Lane {
    #[inline(never)]
    pub(super) fn admit_copied(
        &mut self,
        request: &Request,
        seen: Option<u64>,
        payload: &[u8],
        bench: &mut Bench,
    ) {
        let mut words = Vec::new();
        copy_aligned(&mut words, payload.len(), |out| out.copy_from_slice(payload));
        let inline = if request.place == Place::Inline { payload } else { &[] };
        self.admit(request, seen, inline, Payload::Copied(words, payload.len()), bench);
    }

    /// Heavy: into the in-flight table, and to the workers.
    #[inline(never)]
    pub(super) fn admit(
        &mut self,
        request: &Request,
        seen: Option<u64>,
        inline: &[u8],
        payload: Payload,
        bench: &mut Bench,
    ) {
        let Some(call) = self.enter(request, seen, inline, bench) else { return };
        let entry = call.entry;
        bench.handed_over = true;
        if bench.workers.push(Job { call, task: Task::Run(payload) }).is_err() {
            let text = "too many heavy calls wait for a worker: try again, or raise [workers] queue or threads";
            self.end(entry, Err(&Error::new(ErrorCode::Backpressure, text)), bench);
        }
    }

    /// May wait: into the in-flight table, and run in place; its engine may answer later.
    #[inline(never)]
    pub(super) fn run_waiting(
        &mut self,
        request: &Request,
        method: Method<'_>,
        payload: &[u8],
        reply: &mut Vec<u8>,
        bench: &mut Bench,
    ) {
        let inline = if request.place == Place::Inline { payload } else { &[] };
        let Some(call) = self.enter(request, None, inline, bench) else { return };
        let _nobody_else_can = call.take();
        reply.clear();
        let around = Around::new(&call);
        let result = method.call(&mut Call::new(payload, reply, &around));
        if around.owes(&result) {
            let answer = match &result {
                Ok(()) => Ok(reply.as_slice()),
                Err(error) => Err(&**error),
            };
            call.let_go();
            self.end(call.entry, answer, bench);
        }
    }

    /// Takes a request into the in-flight table; answers it if its user may not have one more there.
    fn enter(
        &mut self,
        request: &Request,
        seen: Option<u64>,
        inline: &[u8],
        bench: &mut Bench,
    ) -> Option<Arc<InFlight>> {
        bench.count_to_sample();
        if let Err(error) = self.session.usage().take_call() {
            let found = bench.registry.method(request.header.method);
            let index = found.map_or(usize::MAX, |method| method.index);
            self.refuse(request, index, &error, bench);
            return None;
        }
        self.reclaim_bulk();
        let Header { method, trace, deadline, .. } = request.header;
        let entry = self.ring.admit(request, inline);
        let up = (self.ring.up().clone(), self.ring.cancel_at(entry));
        let down = (self.ring.down().clone(), self.ring.progress_at(entry));
        let call = Arc::new(InFlight {
            session: Arc::clone(&self.session),
            home: Arc::clone(&bench.inbox),
            workers: Arc::downgrade(&bench.workers),
            lane: self.key,
            entry,
            ticket: request.ticket,
            method,
            trace,
            seen,
            words: Words::new(deadline, up, down),
            counted: AtomicBool::new(true),
        });
        self.running.push(Arc::clone(&call));
        Some(call)
    }

    /// Answers a call of the table that nobody runs.
    fn end(&mut self, entry: Entry, answer: Result<&[u8], &Error>, bench: &mut Bench) {
        let Some(at) = self.running.iter().position(|call| call.entry == entry) else { return };
        let call = self.running.swap_remove(at);
        let asked = Header { method: call.method, trace: call.trace, ..Header::default() };
        let index = bench.registry.method(call.method).map_or(usize::MAX, |method| method.index);
        self.answer(call.ticket, asked, index, answer, Some(entry), bench);
    }

    /// A worker or an engine is done with a call.
    pub(crate) fn finished(&mut self, finished: Finished, bench: &mut Bench) -> Result<(), Fault> {
        if let Some(fault) = finished.fault {
            return Err(fault);
        }
        self.running.retain(|call| call.entry != finished.entry);
        let asked = Header { method: finished.method, trace: finished.trace, ..Header::default() };
        let index =
            bench.registry.method(finished.method).map_or(usize::MAX, |method| method.index);
        if let Some(Ran { from, until }) = finished.ran {
            bench.counters.sample(index, until.saturating_sub(from));
        }
        let (ticket, entry) = (finished.ticket, Some(finished.entry));
        match finished.result {
            Ok(Reply::Bytes(reply)) => self.answer(ticket, asked, index, Ok(&reply), entry, bench),
            Err(error) => self.answer(ticket, asked, index, Err(&error), entry, bench),
            Ok(Reply::Bulk { segment, len }) => {
                let block = self.lease_bulk(segment, len, ticket);
                let header = Header {
                    ticket,
                    len: len as u32,
                    block,
                    method: asked.method,
                    trace: asked.trace,
                    ..Header::default()
                };
                bench.counters.answer(index, false, (0, len as u64));
                self.ring.finish(finished.entry, header, &[]);
            }
        }
        if let (Some(seen), Some(Ran { from, until })) = (finished.seen, finished.ran) {
            let published = clock::monotonic_ns();
            let ledger = Ledger { seen, dispatched: from, done: until, published };
            ledger.store(self.ring.down(), ticket);
        }
        self.wake();
        Ok(())
    }

    /// Ends calls that nobody runs: those that are cancelled or late and, once the daemon leaves, those
    /// that wait.
    pub(crate) fn end_stopped(&mut self, bench: &mut Bench) {
        let leaving = bench.draining;
        let ended = |call: &Arc<InFlight>| call.end(leaving).map(|error| (call.entry, error));
        let ended: Vec<_> = self.running.iter().filter_map(ended).collect();
        for (entry, error) in &ended {
            self.end(*entry, Err(error), bench);
        }
        if !ended.is_empty() {
            self.wake();
        }
    }

    /// Calls of the table that have not been answered.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Is a call of it with the workers?
    pub(crate) fn is_worked_for(&self) -> bool {
        self.running.iter().any(|call| !call.is_waiting())
    }
}
