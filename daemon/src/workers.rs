//! The pool for heavy requests.
//!
//! A session's jobs queue up in order; workers take from the sessions in turn, and no session runs
//! more than its share at once. A job owns everything that it touches: a private copy of its payload
//! (or, for large ones, the region to copy it from), the words for cancel and progress. Its result goes
//! back to the lane's poller, which alone writes the completion ring.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use ringfence_core::{Answer, Call, Registry, Surroundings as _};
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::fault::Fault;
use ringfence_protocol::memory::Memory as _;
use ringfence_protocol::region::Region;
use ringfence_protocol::sys::clock;
use zerocopy::IntoBytes as _;

use crate::inbox::Message;
use crate::inflight::{Around, Finished, InFlight, Ran, stopped_before};

/// What overflows it ends the daemon, so there is as much as a program's main thread has. A page costs
/// nothing before it is used.
const STACK_BYTES: usize = 8 << 20;

/// Stack of a thread that runs engines.
pub(crate) fn stack_bytes() -> usize {
    /// What Rust gives a thread of which nobody says anything.
    const OF_A_THREAD: usize = 2 << 20;
    if is_armed("engine.stack") { STACK_BYTES } else { OF_A_THREAD }
}

/// Where a job's payload is.
pub(crate) enum Payload {
    /// A private copy, `len` bytes of it.
    Copied(Vec<u64>, usize),
    /// Still in a segment: `len` bytes at `at`; copied by the worker.
    Shared { region: Region, at: usize, len: usize },
}

/// A heavy request, or a large answer that came later.
pub(crate) struct Job {
    pub(crate) call: Arc<InFlight>,
    pub(crate) task: Task,
}

/// What is to be done for a call.
pub(crate) enum Task {
    /// To run it.
    Run(Payload),
    /// To put its answer where its client reads it: a copy that no poller has time for.
    Place(Vec<u8>),
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
                    .stack_size(stack_bytes())
                    .spawn(move || pool.run())
            })
            .collect()
    }

    /// Queues a job, or gives it back if too many wait.
    pub(crate) fn push(&self, job: Job) -> Result<(), Box<Job>> {
        let mut state = self.state.lock();
        if state.waiting >= self.queue_max && is_armed("worker.queue") {
            return Err(Box::new(job));
        }
        state.waiting += 1;
        let id = job.call.session.id;
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
            let (session, home) = (job.call.session.id, Arc::clone(&job.call.home));
            let finished = match job.task {
                Task::Run(payload) if job.call.take() => {
                    self.work_on(&job.call, &payload, &mut scratch)
                }
                Task::Run(_) => None,
                Task::Place(answer) => Some(job.call.finished(Ok(answer), None)),
            };
            if let Some(finished) = finished {
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
            let may = |queue: &Queue| queue.running < self.per_session || !is_armed("worker.share");
            let ready = |queue: &Queue| may(queue) && !queue.jobs.is_empty();
            if let Some(index) = state.queues.iter().position(ready) {
                // To the back of the line: the other sessions come first next time.
                let mut queue = state.queues.remove(index)?;
                let job = queue.jobs.pop_front();
                queue.running += 1;
                state.waiting -= 1;
                if is_armed("worker.turn") {
                    state.queues.push_back(queue);
                } else {
                    state.queues.push_front(queue);
                }
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

    /// `None` if its engine answers it later.
    fn work_on(
        &self,
        call: &Arc<InFlight>,
        payload: &Payload,
        scratch: &mut Vec<u64>,
    ) -> Option<Finished> {
        let from = clock::monotonic_ns();
        let outcome = self.call(call, payload, scratch);
        let ran = Some(Ran { from, until: clock::monotonic_ns() });
        match outcome {
            Ok(answer) => Some(call.finished(answer, ran)),
            Err(Failed::Later) => {
                call.home.push(Message::Waits);
                None
            }
            Err(Failed::Fault(fault)) => {
                let error = Error::new(ErrorCode::SessionKilled, fault.to_string());
                Some(Finished { fault: Some(fault), ..call.finished(Err(error), ran) })
            }
        }
    }

    fn call(
        &self,
        call: &Arc<InFlight>,
        payload: &Payload,
        scratch: &mut Vec<u64>,
    ) -> Result<Answer, Failed> {
        let request = match payload {
            Payload::Copied(words, len) => &words.as_bytes()[..*len],
            Payload::Shared { region, at, len } => {
                let copy = copy_like(scratch, *at, *len, |out| region.read_block(*at, out));
                // Asked after the copy: zeros of a truncated segment are never taken for data.
                if region.is_dead() && is_armed("segment.dead") {
                    return Err(Failed::Fault(Fault::Truncated { segment: "up" }));
                }
                copy
            }
        };
        let around = Around::new(call);
        if let Some(stop) = around.stop() {
            return Ok(Err(stopped_before(stop)));
        }
        let Some(method) = self.registry.method(call.method) else {
            return Ok(Err(self.registry.unknown(call.method)));
        };
        let mut reply = Vec::new();
        let result = method.call(&mut Call::new(request, &mut reply, &around));
        if !around.owes(&result) {
            return Err(Failed::Later);
        }
        Ok(result.map(|()| reply).map_err(|error| *error))
    }
}

/// Makes `buffer` hold `len` bytes, 8-aligned, that `fill` writes.
pub(crate) fn copy_aligned(buffer: &mut Vec<u64>, len: usize, fill: impl FnOnce(&mut [u8])) {
    let words = len.div_ceil(8);
    if buffer.len() < words {
        buffer.resize(words, 0);
    }
    fill(&mut buffer[..words].as_mut_bytes()[..len]);
}

/// As [`copy_aligned`], of bytes that lie `at` in a segment: the copy is placed in its page as they are in theirs.
/// (Where a copy's target is a few bytes ahead of its source, in their pages, each load looks like one of the stores before
/// it, and the copy takes up to twice the time; how few depends on the processor. benches/README.md, "Where the time of a
/// large payload goes".)
fn copy_like(buffer: &mut Vec<u64>, at: usize, len: usize, fill: impl FnOnce(&mut [u8])) -> &[u8] {
    const PAGE: usize = 4096;
    let words = len.div_ceil(8) + PAGE / 8;
    if buffer.len() < words {
        buffer.resize(words, 0);
    }
    // Segments begin with a page. Rounded down: behind its source it may be.
    let ahead = (at & !7).wrapping_sub(buffer.as_ptr().addr()) % PAGE;
    let copy = &mut buffer.as_mut_bytes()[ahead..ahead + len];
    fill(copy);
    copy
}

/// Why a worker has no answer.
enum Failed {
    /// The engine gives it later.
    Later,
    Fault(Fault),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_lies_in_its_page_as_its_source_does_and_is_aligned() {
        let mut buffer = Vec::new();
        for at in [0, 8, 20, 63, 64, 4096 - 24, 4096 - 4] {
            for len in [0, 1, 64, 1000] {
                let copy = copy_like(&mut buffer, at, len, |out| out.fill(7));
                assert_eq!((copy.len(), copy.iter().all(|byte| *byte == 7)), (len, true));
                assert_eq!(copy.as_ptr().addr() % 8, 0);
                let ahead = copy.as_ptr().addr().wrapping_sub(at) % 4096;
                assert!(ahead == 0 || ahead > 4096 - 8, "{ahead} at {at}");
            }
        }
    }
}
