//! Publishes of other processes that wait for room, in the order in which they came.
//!
//! Each is a call that is answered later, so no thread waits. Whoever serves sessions looks at the
//! queues from time to time ([`Bus::serve_queues`](super::Bus::serve_queues)): after a subscription
//! has said how far it is, and often enough for the topics' patience.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ringfence_protocol::api::bus::Published;
use ringfence_protocol::error::Error;
use ringfence_protocol::log::Position;
use ringfence_protocol::memory::Memory;
use ringfence_protocol::message::Message as _;

use super::error::PublishError;
use super::options::Outgoing;
use super::sequencer::{Sequencer, State};
use crate::deferred::Deferred;
use crate::engine::Call;

/// A publish that waits.
struct Queued {
    outgoing: Outgoing<'static>,
    payload: Box<[u8]>,
    deferred: Deferred,
    until: Option<Instant>,
}

/// Those of one topic.
#[derive(Default)]
pub(super) struct Queue(VecDeque<Queued>);

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing is published any more: all are told so.
    pub(super) fn close(&mut self) {
        for queued in self.0.drain(..) {
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
        if state.queue.is_empty() && state.has_room(self.slots()) {
            return self
                .write(&mut state, outgoing, self.headlines.stamp())
                .map(Some)
                .map_err(PublishError::into_error);
        }
        let queued = Queued {
            outgoing: Outgoing { payload: &[], ..*outgoing },
            payload: outgoing.payload.into(),
            deferred: call.defer()?,
            until: Instant::now().checked_add(patience),
        };
        if state.queue.is_empty() {
            self.headlines.add_queue(self.number);
        }
        state.queue.0.push_back(queued);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Ok(None)
    }

    /// Publishes what has room, cuts off who is in the way for too long. Does nobody wait any more?
    pub(super) fn serve_queue(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        while let Some(queued) = state.queue.0.front() {
            let is_over = queued.deferred.stop().is_some();
            if !is_over && !state.has_room(self.slots()) {
                let until = state.queue.0.front().and_then(|queued| queued.until);
                if until.is_none_or(|until| now < until) {
                    return false;
                }
                state.cut_off_laggards(self.slots());
                continue;
            }
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            let Some(queued) = state.queue.0.pop_front() else { break };
            if !is_over && queued.deferred.begin() {
                self.answer(&mut state, queued);
            }
        }
        true
    }

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
