//! A poller's private queue: commands of the control thread, answers of the
//! workers and of engines that answer later.
//!
//! Waking follows the same rule as a lane: push, fence, look whether the poller is parked; the poller
//! parks, fences, looks again. `is_empty` costs two loads, so a hot poller asks at every turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam::queue::SegQueue;
use ringfence_protocol::region::Region;
use ringfence_protocol::ring::ServerLane;
use ringfence_protocol::sys::bell::Bell;

use crate::inflight::Finished;
use crate::session::Session;

/// What a poller is told.
pub(crate) enum Message {
    /// A session, with the bell that its client rings.
    Open { session: Arc<Session>, bell: Arc<Bell> },
    /// A lane of a session.
    Lane { session: u64, lane: Box<ServerLane<Region, Region>> },
    /// A session is over.
    Close { session: u64 },
    /// A heavy call is done, or one that waited.
    Finished(Finished),
    /// A worker's call waits now, perhaps for something that is due before the poller's sleep ends.
    Waits,
    /// Claim nothing more; report when nothing runs any more.
    Drain,
    /// End the thread.
    Stop,
}

/// The queue.
pub(crate) struct Inbox {
    queue: SegQueue<Message>,
    parked: AtomicBool,
    pub(crate) bell: Bell,
}

impl Inbox {
    pub(crate) fn new() -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            queue: SegQueue::new(),
            parked: AtomicBool::new(false),
            bell: Bell::new()?,
        }))
    }

    pub(crate) fn push(&self, message: Message) {
        self.queue.push(message);
        // Pairs with the fence in `park`: either we see it parked, or it sees the message.
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) {
            // An eventfd of our own can only fail by being closed, which it is not.
            let _ = self.bell.ring();
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn pop(&self) -> Option<Message> {
        self.queue.pop()
    }

    /// `false` if a message arrived meanwhile; otherwise the bell rings for the next one.
    pub(crate) fn park(&self) -> bool {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.queue.is_empty() {
            return true;
        }
        self.unpark();
        false
    }

    pub(crate) fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }
}
