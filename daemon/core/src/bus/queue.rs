//! Publishes of other processes that wait for room, in the order in which they came.
//!
//! Each is a call that is answered later, so no thread waits. Whoever serves sessions looks at the
//! queues from time to time ([`Bus::serve_queues`](super::Bus::serve_queues)): after a subscription
//! has said how far it is, and when a topic's patience is over. Invariants: what waits is bounded, in
//! bytes and in number; a call that is over does not stay; a look takes a bounded time, but for one
//! long message. It is *not* for threads of this process, which wait in `room`.

use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use ringfence_protocol::api::bus::Published;
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::log::Position;
use ringfence_protocol::memory::Memory;
use ringfence_protocol::message::Message as _;

use super::error::PublishError;
use super::limits::{QUEUE_BYTES, QUEUE_LOOKS, QUEUED, SERVED, SERVED_BYTES};
use super::options::Outgoing;
use super::sequencer::{Sequencer, State};
use crate::deferred::Deferred;
use crate::engine::{Call, Stop};

/// A publish that waits.
struct Queued {
    outgoing: Outgoing<'static>,
    payload: Box<[u8]>,
    deferred: Deferred,
    until: Option<Instant>,
}

impl Queued {
    /// Ends a call that is over: it had no effect.
    fn end(self, stop: Stop) {
        let (code, why) = match stop {
            Stop::Expired => (ErrorCode::Expired, "the deadline passed"),
            Stop::Cancelled => (ErrorCode::Cancelled, "the call was cancelled"),
        };
        let text = format!("{why} while the publish waited for room: it had no effect");
        let _nobody_waits = self.deferred.answer(Err(Error::new(code, text)));
    }
}

/// Those of one topic.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Queued>,
    /// Of all their payloads.
    bytes: usize,
    /// Where the search for calls that are over goes on.
    hand: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn push(&mut self, queued: Queued) {
        self.bytes += queued.payload.len();
        self.waiting.push_back(queued);
    }

    fn take(&mut self, at: usize) -> Option<Queued> {
        let queued = self.waiting.remove(at)?;
        self.bytes -= queued.payload.len();
        Some(queued)
    }

    /// Ends calls that are over, among so many; the next search goes on behind them.
    fn end_stopped(&mut self, looks: usize) {
        for _ in 0..looks.min(self.len()) {
            if self.hand >= self.len() {
                self.hand = 0;
            }
            let stop = self.waiting.get(self.hand).and_then(|queued| queued.deferred.stop());
            match stop {
                None => self.hand += 1,
                Some(stop) => {
                    self.take(self.hand).into_iter().for_each(|queued| queued.end(stop));
                }
            }
        }
    }

    /// Is there room for one more of so many bytes? A lone one always has it: it fits the log.
    fn check(&self, len: usize, most_bytes: usize) -> Result<(), PublishError> {
        let (waiting, bytes) = (self.len(), self.bytes);
        let full = waiting >= QUEUED || bytes + len > most_bytes;
        if waiting > 0 && full && is_armed("topic.queue") {
            let most = QUEUED;
            return Err(PublishError::QueueFull { waiting, most, bytes, most_bytes });
        }
        Ok(())
    }

    /// Nothing is published any more: all are told so.
    pub(super) fn close(&mut self) {
        while let Some(queued) = self.take(0) {
            let _nobody_waits = queued.deferred.answer(Err(PublishError::Closed.into_error()));
        }
    }
}

impl<M: Memory> Sequencer<M> {
    /// Publishes, or puts the call into the queue: then `None`.
    pub(super) fn publish_or_queue(
        &self,
        outgoing: &Outgoing<'_>,
        patience: Duration,
        call: &mut Call<'_>,
    ) -> Result<Option<Position>, Error> {
        self.check_length(outgoing).map_err(PublishError::into_error)?;
        let mut state = self.state.lock();
        if state.closed {
            return Err(PublishError::Closed.into_error());
        }
        if state.queue.len() == 0 && state.has_room(self.needs(outgoing.payload)) {
            return self
                .write(&mut state, outgoing, self.headlines.stamp())
                .map(Some)
                .map_err(PublishError::into_error);
        }
        let (len, most_bytes) = (outgoing.payload.len(), self.geometry.bytes().max(QUEUE_BYTES));
        state.queue.end_stopped(QUEUE_LOOKS);
        state.queue.check(len, most_bytes).map_err(PublishError::into_error)?;
        let now = Instant::now();
        let queued = Queued {
            outgoing: Outgoing { payload: &[], ..*outgoing },
            payload: outgoing.payload.into(),
            deferred: call.defer()?,
            until: now.checked_add(patience).filter(|_| is_armed("topic.patience")),
        };
        state.queue.push(queued);
        self.headlines.add_queue(self.number);
        // A cursor may have moved since the look at it, and whoever was woken by that have found no
        // queue. Either it finds this one now, or the cursor is seen here.
        fence(Ordering::SeqCst);
        self.serve(&mut state, now);
        Ok(None)
    }

    /// Publishes what has room, cuts off who is in the way for too long. When it is to be looked at
    /// again even if no cursor moves.
    pub(super) fn serve_queue(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        state.queue.end_stopped(QUEUE_LOOKS);
        let again = self.serve(&mut state, now);
        if state.queue.len() == 0 {
            self.headlines.forget_queue(self.number);
        }
        again
    }

    fn serve(&self, state: &mut State<M>, now: Instant) -> Option<Instant> {
        let mut bytes = 0;
        let looks = if is_armed("topic.look") { SERVED } else { usize::MAX };
        for _ in 0..looks {
            let front = state.queue.waiting.front()?;
            let (until, stop) = (front.until, front.deferred.stop());
            let (len, need) = (front.payload.len(), self.needs(&front.payload));
            if stop.is_none() && !state.has_room(need) {
                if until.is_none_or(|until| now < until) {
                    return until;
                }
                state.make_room(need);
            }
            bytes += len;
            if bytes > SERVED_BYTES && bytes > len {
                break;
            }
            let queued = state.queue.take(0)?;
            match stop {
                Some(stop) => queued.end(stop),
                None if queued.deferred.begin() => self.answer(state, queued),
                None => {}
            }
        }
        // The rest in the next look: others wait for whoever does this.
        (state.queue.len() > 0).then_some(now)
    }

    /// A long payload is copied under the lock: who waits keeps its place in the order.
    fn answer(&self, state: &mut State<M>, queued: Queued) {
        let Queued { outgoing, payload, deferred, .. } = queued;
        let written =
            self.write(state, &Outgoing { payload: &payload, ..outgoing }, self.headlines.stamp());
        let answer =
            written.map_err(PublishError::into_error).map(|Position { sequence, .. }| {
                let mut reply = Vec::with_capacity(8);
                Published { sequence }.encode(&mut reply);
                reply
            });
        // It is published; whether its caller still wants to know makes no difference.
        let _ = deferred.answer(answer);
    }
}
