//! The pool for heavy requests.
//!
//! A session's jobs queue up in order; workers take from the sessions in turn, and no session runs
//! more than its share at once. A job owns everything that it touches: a private copy of its payload
//! (or, for large ones, the region to copy it from), the words for cancel and progress. Its result goes
//! back to the lane's poller, which alone writes the completion ring.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use ringfence_core::{Call, Registry, Stop, Surroundings};
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::fault::Fault;
use ringfence_protocol::limits;
use ringfence_protocol::memory::Memory as _;
use ringfence_protocol::region::Region;
use ringfence_protocol::ring::Entry;
use ringfence_protocol::sys::clock;

use crate::inbox::{Inbox, Message};
use crate::session::Session;

/// Where a job's payload is.
pub(crate) enum Payload {
    /// A private copy, `len` bytes of it.
    Copied(Vec<u64>, usize),
    /// Still in a segment: `len` bytes at `at`; copied by the worker.
    Shared { region: Region, at: usize, len: usize },
}

/// The words between a job, its poller's sweep and its caller.
pub(crate) struct JobWords {
    /// See [`QUEUED`].
    state: AtomicU8,
    pub(crate) ticket: u64,
    pub(crate) deadline: u32,
    pub(crate) up: Region,
    pub(crate) cancel_at: usize,
    pub(crate) down: Region,
    pub(crate) progress_at: usize,
}

/// No worker has it: the sweep may end it.
const QUEUED: u8 = 0;
/// A worker has it, or the sweep ended it.
const TAKEN: u8 = 1;

impl JobWords {
    pub(crate) fn new(
        ticket: u64,
        deadline: u32,
        up: (Region, usize),
        down: (Region, usize),
    ) -> Self {
        Self {
            state: AtomicU8::new(QUEUED),
            ticket,
            deadline,
            up: up.0,
            cancel_at: up.1,
            down: down.0,
            progress_at: down.1,
        }
    }

    /// Takes the job; only one gets it.
    pub(crate) fn take(&self) -> bool {
        // Relaxed: what the taker reads of the job came to it through a lock or is atomic itself.
        self.state.compare_exchange(QUEUED, TAKEN, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Should it end, by its caller's words?
    pub(crate) fn stop(&self) -> Option<Stop> {
        if self.up.load(self.cancel_at) == self.ticket.wrapping_add(1) {
            return Some(Stop::Cancelled);
        }
        let expired = self.deadline != 0 && clock::expired(clock::coarse_ticks(), self.deadline);
        expired.then_some(Stop::Expired)
    }
}

/// Which lane of which poller a job belongs to. The generation tells a lane from a later one in the
/// same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneKey {
    pub(crate) index: usize,
    pub(crate) generation: u64,
}

/// A heavy request.
pub(crate) struct Job {
    pub(crate) session: Arc<Session>,
    pub(crate) home: Arc<Inbox>,
    pub(crate) lane: LaneKey,
    pub(crate) entry: Entry,
    pub(crate) method: u32,
    pub(crate) trace: u32,
    pub(crate) payload: Payload,
    pub(crate) words: Arc<JobWords>,
}

/// A reply on its way to the poller.
pub(crate) enum Reply {
    /// To be placed by the poller: small enough.
    Bytes(Vec<u8>),
    /// In a bulk segment of the session already.
    Bulk { segment: u32, len: usize },
}

/// A job that is done.
pub(crate) struct Finished {
    pub(crate) lane: LaneKey,
    pub(crate) entry: Entry,
    pub(crate) ticket: u64,
    pub(crate) method: u32,
    pub(crate) trace: u32,
    pub(crate) result: Result<Reply, Error>,
    pub(crate) fault: Option<Fault>,
    pub(crate) service_ns: u64,
}

struct Queue {
    session: u64,
    jobs: VecDeque<Job>,
    running: u32,
}

#[derive(Default)]
struct State {
    /// Sessions with jobs waiting or running, in turn.
    queues: VecDeque<Queue>,
    waiting: usize,
    stopping: bool,
}

/// The pool.
pub(crate) struct Workers {
    state: Mutex<State>,
    work: Condvar,
    per_session: u32,
    queue_max: usize,
    registry: Arc<Registry>,
}

impl Workers {
    pub(crate) fn new(per_session: u32, queue_max: u32, registry: Arc<Registry>) -> Arc<Self> {
        let (state, work) = (Mutex::default(), Condvar::new());
        Arc::new(Self { state, work, per_session, queue_max: queue_max as usize, registry })
    }

    /// Starts the threads.
    pub(crate) fn start(self: &Arc<Self>, threads: u32) -> std::io::Result<Vec<JoinHandle<()>>> {
        (0..threads)
            .map(|number| {
                let pool = Arc::clone(self);
                std::thread::Builder::new()
                    .name(format!("worker-{number}"))
                    .spawn(move || pool.run())
            })
            .collect()
    }

    /// Queues a job, or gives it back if too many wait.
    pub(crate) fn push(&self, job: Job) -> Result<(), Box<Job>> {
        let mut state = self.state.lock();
        if state.waiting >= self.queue_max {
            return Err(Box::new(job));
        }
        state.waiting += 1;
        let id = job.session.id;
        match state.queues.iter_mut().find(|queue| queue.session == id) {
            Some(queue) => queue.jobs.push_back(job),
            None => state.queues.push_back(Queue {
                session: id,
                jobs: VecDeque::from([job]),
                running: 0,
            }),
        }
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Lets the threads end once their current jobs are done.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.work.notify_all();
    }

    /// Jobs that wait for a worker, and jobs that run.
    pub(crate) fn load(&self) -> (usize, u32) {
        let state = self.state.lock();
        (state.waiting, state.queues.iter().map(|queue| queue.running).sum())
    }

    fn run(&self) {
        let mut scratch = Vec::new();
        while let Some(job) = self.next() {
            let (session, home) = (job.session.id, Arc::clone(&job.home));
            if job.words.take() {
                let finished = self.work_on(job, &mut scratch);
                home.push(Message::Finished(finished));
            }
            self.done(session);
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if state.stopping {
                return None;
            }
            let ready = |queue: &Queue| queue.running < self.per_session && !queue.jobs.is_empty();
            if let Some(index) = state.queues.iter().position(ready) {
                // To the back of the line: the other sessions come first next time.
                let mut queue = state.queues.remove(index)?;
                let job = queue.jobs.pop_front();
                queue.running += 1;
                state.waiting -= 1;
                state.queues.push_back(queue);
                return job;
            }
            self.work.wait(&mut state);
        }
    }

    fn done(&self, session: u64) {
        let mut state = self.state.lock();
        if let Some(index) = state.queues.iter().position(|queue| queue.session == session) {
            let queue = &mut state.queues[index];
            queue.running -= 1;
            if queue.jobs.is_empty() && queue.running == 0 {
                state.queues.remove(index);
            }
        }
        drop(state);
        // A worker may wait because this session had its share.
        self.work.notify_one();
    }

    fn work_on(&self, job: Job, scratch: &mut Vec<u64>) -> Finished {
        let started = Instant::now();
        let (lane, entry, ticket) = (job.lane, job.entry, job.words.ticket);
        let (method, trace) = (job.method, job.trace);
        let outcome = self.call(&job, scratch);
        let service_ns = started.elapsed().as_nanos() as u64;
        let (result, fault) = match outcome {
            Ok(reply) => (Ok(reply), None),
            Err(Failed::Error(error)) => (Err(error), None),
            Err(Failed::Fault(fault)) => {
                (Err(Error::new(ErrorCode::SessionKilled, fault.to_string())), Some(fault))
            }
        };
        Finished { lane, entry, ticket, method, trace, result, fault, service_ns }
    }

    fn call(&self, job: &Job, scratch: &mut Vec<u64>) -> Result<Reply, Failed> {
        let (words, len) = match &job.payload {
            Payload::Copied(words, len) => (words.as_slice(), *len),
            Payload::Shared { region, at, len } => {
                copy_aligned(scratch, *len, |out| region.read_block(*at, out));
                // Asked after the copy: zeros of a truncated segment are never taken for data.
                if region.is_dead() {
                    return Err(Failed::Fault(Fault::Truncated { segment: "up" }));
                }
                (scratch.as_slice(), *len)
            }
        };
        let request = &zerocopy::IntoBytes::as_bytes(words)[..len];
        let around = Around { job };
        if let Some(stop) = around.stop() {
            return Err(Failed::Error(stopped_before(stop)));
        }
        let Some(method) = self.registry.method(job.method) else {
            return Err(Failed::Error(self.registry.unknown(job.method)));
        };
        let mut reply = Vec::new();
        method
            .call(&mut Call::new(request, &mut reply, &around))
            .map_err(|error| Failed::Error(*error))?;
        if reply.len() <= limits::COPY_REPLY_BYTES {
            return Ok(Reply::Bytes(reply));
        }
        let segment = job.session.put_reply_bulk(&reply).map_err(Failed::Error)?;
        Ok(Reply::Bulk { segment, len: reply.len() })
    }
}

/// Makes `buffer` hold `len` bytes, 8-aligned, that `fill` writes.
pub(crate) fn copy_aligned(buffer: &mut Vec<u64>, len: usize, fill: impl FnOnce(&mut [u8])) {
    let words = len.div_ceil(8);
    if buffer.len() < words {
        buffer.resize(words, 0);
    }
    fill(&mut zerocopy::IntoBytes::as_mut_bytes(&mut buffer[..words])[..len]);
}

pub(crate) fn stopped_before(stop: Stop) -> Error {
    match stop {
        Stop::Expired => Error::new(
            ErrorCode::Expired,
            "the deadline passed before the call was run: it had no effect",
        ),
        Stop::Cancelled => Error::new(
            ErrorCode::Cancelled,
            "the call was cancelled before it was run: it had no effect",
        ),
    }
}

enum Failed {
    Error(Error),
    Fault(Fault),
}

struct Around<'a> {
    job: &'a Job,
}

impl Surroundings for Around<'_> {
    fn stop(&self) -> Option<Stop> {
        if self.job.session.is_closed() {
            return Some(Stop::Cancelled);
        }
        self.job.words.stop()
    }

    fn progress(&self, done: u64) {
        self.job.words.down.store(self.job.words.progress_at, done);
    }

    fn session(&self) -> u64 {
        self.job.session.id
    }
}
