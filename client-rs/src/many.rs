//! Many calls of one method at once: submitted and collected in bursts, one lock and one fence each.
//!
//! What a call costs here is its slot and its answer; there is no entry, no allocation and no clock
//! for each. The caller's closures never run while the lane is held. Calls are *not* made again when
//! the daemon goes away: each one's answer says what is known about it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;
use ringfence_protocol::layout::Header;
use ringfence_protocol::limits::{INLINE_BYTES, LINE_WORDS};

use crate::call::{Request, Started};
use crate::error::{Error, Outcome};
use crate::lane::{Answer, Lane};
use crate::method::Method;
use crate::options::CallOptions;
use crate::pending::{Call, Entry, Pending};
use crate::remote::Remote;
use crate::reply::{AsReply, Reply};

/// Calls that are submitted between two looks at the answers.
const BURST: usize = 32;

/// Calls with large payloads that are open at a time.
const LARGE: usize = 8;

/// Where other threads put the answers of a batch that they find in the lane.
#[derive(Debug, Default)]
pub(crate) struct Results {
    ready: Mutex<Vec<(u32, Answer)>>,
    /// What the batch's thread sleeps for.
    signal: Mutex<Arc<Entry>>,
}

impl Results {
    pub(crate) fn set(&self, index: u32, answer: Answer) {
        self.ready.lock().push((index, answer));
        self.signal.lock().set(Ok(Reply::inline(0, |_| ())));
    }
}

/// A reply of one line, as words: a [`Reply`] is put together where its caller gets it. (Measured: one that is put
/// together and then moved waits for the stores of its words, 9 ns a call.)
#[derive(Clone, Copy)]
struct Line {
    index: u32,
    len: u32,
    words: [u64; LINE_WORDS],
}

/// A batch on its way.
struct Flight<'a> {
    remote: &'a Arc<Remote>,
    method: &'a Method,
    options: &'a CallOptions,
    key: u32,
    results: Arc<Results>,
    lane: usize,
    /// The session in which its open calls were submitted.
    serial: u32,
    /// Calls in the lane without an answer.
    open: usize,
    /// The index of the next payload.
    next: u32,
    /// Replies of one line, for their caller.
    lines: Vec<Line>,
    /// All other answers.
    answered: Vec<(u32, Answer)>,
    large: VecDeque<(u32, Pending)>,
}

/// What a turn came to.
#[derive(PartialEq)]
enum Turn {
    /// Something was submitted or answered.
    Moved,
    /// The next payload does not fit a slot.
    Large,
    /// Nothing to do but wait.
    Idle,
    /// There is no lane, or the method is not resolved in its session.
    NoLane,
}

impl Remote {
    /// See [`Client::call_many`](crate::Client::call_many).
    pub(crate) fn call_many<P: AsRef<[u8]>>(
        self: &Arc<Self>,
        method: &Method,
        payloads: impl IntoIterator<Item = P>,
        options: &CallOptions,
        mut each: impl FnMut(usize, Answer),
    ) -> Result<(), Error> {
        let mut flight = Flight::new(self, method, options);
        let mut payloads = payloads.into_iter().fuse();
        let mut waiting: VecDeque<P> = VecDeque::with_capacity(BURST);
        let mut failed = None;
        let mut more = true;
        loop {
            if more {
                waiting.extend(payloads.by_ref().take(BURST - waiting.len()));
                more = waiting.len() == BURST;
            }
            if waiting.is_empty() && flight.is_over() {
                return failed.map_or(Ok(()), Err);
            }
            if let Err(error) = flight.advance(&mut waiting) {
                // What is open is still waited for, so that every submitted call is reported.
                failed.get_or_insert(error);
                waiting.clear();
                more = false;
            }
            for Line { index, len, words } in flight.lines.drain(..) {
                each(index as usize, Ok(Reply::line(len as usize, words)));
            }
            for (index, answer) in flight.answered.drain(..) {
                each(index as usize, answer);
            }
            if !more && waiting.is_empty() && flight.is_over() {
                return failed.map_or(Ok(()), Err);
            }
        }
    }
}

impl<'a> Flight<'a> {
    fn new(remote: &'a Arc<Remote>, method: &'a Method, options: &'a CallOptions) -> Self {
        static KEYS: AtomicU32 = AtomicU32::new(0);
        Self {
            remote,
            method,
            options,
            key: KEYS.fetch_add(1, Relaxed),
            results: Arc::default(),
            lane: remote.lane_index(),
            serial: 0,
            open: 0,
            next: 0,
            lines: Vec::with_capacity(2 * BURST),
            answered: Vec::new(),
            large: VecDeque::new(),
        }
    }

    fn is_over(&self) -> bool {
        self.open == 0 && self.large.is_empty()
    }

    /// Submits, collects, or waits until something is answered.
    fn advance<P: AsRef<[u8]>>(&mut self, waiting: &mut VecDeque<P>) -> Result<(), Error> {
        if self.remote.stamp.is_child() {
            return Err(self.forked());
        }
        if waiting.is_empty() && self.open == 0 {
            return self.wait_for_large();
        }
        match self.turn(waiting)? {
            Turn::Moved => Ok(()),
            Turn::Large if self.large.len() < LARGE => self.submit_aside(waiting),
            Turn::Large => self.wait_for_large(),
            Turn::Idle if self.open > 0 => self.wait(),
            Turn::Idle if !self.large.is_empty() => self.wait_for_large(),
            // The lane is full of other people's calls: one goes the way that waits for room.
            Turn::Idle => self.submit_aside(waiting),
            Turn::NoLane => self.find_lane(),
        }
    }

    /// Holds the lane once: what others collected, a burst of calls, the answers that are there.
    fn turn<P: AsRef<[u8]>>(&mut self, waiting: &mut VecDeque<P>) -> Result<Turn, Error> {
        let cell = &self.remote.lanes[self.lane];
        let mut holder = cell.hold();
        self.take_ready();
        let Some(lane) = holder.as_mut() else { return Ok(Turn::NoLane) };
        let number = match self.method.number(lane.serial) {
            Some(number) if lane.serial == self.serial => number,
            _ => return Ok(Turn::NoLane),
        };
        let before = self.taken();
        lane.ring.unpark();
        let (submitted, large) = self.submit(lane, number, waiting);
        if submitted > 0 && lane.ring.bell_due_unfenced() {
            lane.session.ring_bell();
        }
        // The daemon is at one half of the window while the other half is submitted or collected.
        let down_to = if waiting.is_empty() { 0 } else { lane.window() / 2 };
        if let Err(error) = self.collect(lane, down_to) {
            return Err(self.remote.broken(holder, error));
        }
        // Only now: a burst of stores takes long to be seen, and the fence waits for all of it.
        if submitted > 0 {
            lane.ring_bell_if_due();
        }
        cell.let_go(holder, self.remote);
        Ok(match (submitted > 0 || self.taken() > before, large) {
            (true, _) => Turn::Moved,
            (false, true) => Turn::Large,
            (false, false) => Turn::Idle,
        })
    }

    /// Answers that their caller has not been given yet.
    fn taken(&self) -> usize {
        self.lines.len() + self.answered.len()
    }

    fn take_ready(&mut self) {
        let mut ready = self.results.ready.lock();
        self.open -= ready.len();
        self.answered.append(&mut ready);
    }

    /// How many, and whether the next one is too large for a slot.
    fn submit<P: AsRef<[u8]>>(
        &mut self,
        lane: &mut Lane,
        number: u32,
        waiting: &mut VecDeque<P>,
    ) -> (usize, bool) {
        let deadline = self.method.deadline(self.options.timeout);
        let room = lane.window().saturating_sub(self.open);
        let mut submitted = 0;
        lane.ring.prepare_requests(room.min(waiting.len()));
        while submitted < room
            && let Some(payload) = waiting.front()
        {
            let payload = payload.as_ref();
            if payload.len() > INLINE_BYTES {
                return (submitted, true);
            }
            let header = Header {
                method: number,
                len: payload.len() as u32,
                deadline,
                trace: self.options.trace,
                ..Header::default()
            };
            let Some(ticket) = lane.submit(header, payload) else { break };
            lane.ring.hand_over();
            lane.register_item(ticket, self.key, self.next);
            waiting.pop_front();
            self.next += 1;
            self.open += 1;
            submitted += 1;
        }
        (submitted, false)
    }

    /// Takes answers until so few calls are open that another burst has room, or until it has
    /// looked in vain for a while.
    fn collect(&mut self, lane: &mut Lane, down_to: usize) -> Result<(), Error> {
        let turns = self.remote.turns(self.options);
        let mut looks = 0;
        while self.open > down_to {
            let Some(header) = lane.ring.peek()? else {
                if looks >= turns {
                    return Ok(());
                }
                looks += 1;
                std::hint::spin_loop();
                continue;
            };
            looks = 0;
            if lane.is_line(header)
                && let Some(index) = lane.free_item(header.ticket, self.key)
            {
                self.lines.push(Line { index, len: header.len, words: lane.take_line() });
                self.open -= 1;
                continue;
            }
            let own = lane.deliver_item(header, self.key, self.remote)?;
            self.open -= usize::from(own.is_some());
            self.answered.extend(own);
        }
        Ok(())
    }

    /// A lane of the present session. Only when none is open in an earlier one.
    #[cold]
    fn find_lane(&mut self) -> Result<(), Error> {
        if self.open > 0 {
            // They were buried: their answers are ready, or will be in this moment.
            std::thread::yield_now();
            return Ok(());
        }
        let cell = &self.remote.lanes[self.lane];
        let mut holder = cell.hold();
        let Some(lane) = holder.as_mut() else {
            drop(holder);
            let timeout = self.method.timeout(self.options.timeout);
            let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
            self.remote.ensure(self.lane, until)?;
            self.lane = self.remote.lane_index();
            return Ok(());
        };
        if self.method.number(lane.serial).is_none() {
            let session = lane.session.clone();
            drop(holder);
            return self.remote.resolve(self.method, &session);
        }
        lane.batches.retain(|(key, _)| *key != self.key);
        lane.batches.push((self.key, self.results.clone()));
        self.serial = lane.serial;
        Ok(())
    }

    /// Waits for an answer of the lane: any.
    #[cold]
    fn wait(&mut self) -> Result<(), Error> {
        let cell = &self.remote.lanes[self.lane];
        let holder = cell.hold();
        let Some(lane) = holder.as_ref().filter(|lane| lane.serial == self.serial) else {
            return Ok(());
        };
        if !self.results.ready.lock().is_empty() {
            return Ok(());
        }
        let entry = Arc::new(Entry::default());
        *self.results.signal.lock() = entry.clone();
        let call = Call {
            remote: self.remote.clone(),
            entry,
            lane: self.lane,
            serial: self.serial,
            // No call has it: only the batch as a whole is given up.
            ticket: lane.ring.next_ticket().wrapping_sub(1 << 62),
            since: Instant::now(),
            timeout: self.method.timeout(self.options.timeout),
            beat: lane.ring.beat(),
            rang: false,
            idempotent: false,
            measured: None,
        };
        drop(holder);
        match self.remote.wait(&call, None) {
            Some(Err(Error::Forked)) => Err(self.forked()),
            Some(Err(error)) => {
                self.give_up(&error);
                Ok(())
            }
            Some(Ok(_)) | None => Ok(()),
        }
    }

    /// Only the parent of this process has the open calls.
    fn forked(&mut self) -> Error {
        self.open = 0;
        self.large.clear();
        Error::Forked
    }

    /// None of the open calls was answered within the time of one.
    fn give_up(&mut self, error: &Error) {
        let cell = &self.remote.lanes[self.lane];
        let mut holder = cell.hold();
        self.take_ready();
        let given_up = match holder.as_mut().filter(|lane| lane.serial == self.serial) {
            Some(lane) => lane.abandon_items(self.key),
            None => Vec::new(),
        };
        cell.let_go(holder, self.remote);
        self.open -= given_up.len();
        let after = self.method.timeout(self.options.timeout).unwrap_or_default();
        let late = |(index, claimed): (u32, bool)| match *error {
            Error::Stalled { outcome, waited, pid } if !claimed => {
                (index, Err(Error::Stalled { outcome, waited, pid }))
            }
            _ => (index, Err(Error::Timeout { outcome: Outcome::Unknown, after })),
        };
        self.answered.extend(given_up.into_iter().map(late));
    }

    #[cold]
    fn submit_aside<P: AsRef<[u8]>>(&mut self, waiting: &mut VecDeque<P>) -> Result<(), Error> {
        let Some(payload) = waiting.pop_front() else { return Ok(()) };
        let payload = payload.as_ref();
        let (method, options) = (self.method, self.options);
        let request = Request { method, payload, options, turns: 0, stays: false };
        let started = self.remote.start_aside(request, AsReply)?;
        let index = self.next;
        self.next += 1;
        match started {
            Started::Done(reply) => self.answered.push((index, Ok(reply))),
            Started::Open(pending) => self.large.push_back((index, pending)),
        }
        Ok(())
    }

    #[cold]
    fn wait_for_large(&mut self) -> Result<(), Error> {
        if let Some((index, pending)) = self.large.pop_front() {
            self.answered.push((index, pending.wait()));
        }
        Ok(())
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if self.remote.stamp.is_child() {
            return;
        }
        let cell = &self.remote.lanes[self.lane];
        let mut holder = cell.hold();
        if let Some(lane) = holder.as_mut() {
            // Open ones are left only where the caller's closure panicked.
            lane.abandon_items(self.key);
            lane.batches.retain(|(key, _)| *key != self.key);
        }
        cell.let_go(holder, self.remote);
    }
}
