//! Which topics have news for subscriptions of other processes, and in which publishes wait.
//!
//! A publish writes into its log and leaves a headline; who publishes for others (the daemon's poller,
//! in a quiet moment or after some requests) reads the headlines and wakes. So many publishes look at sleepers once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use ringfence_protocol::sys::wall::wall_ns;

/// The numbers of topics with news.
#[derive(Debug, Default)]
pub(super) struct Headlines {
    any: AtomicBool,
    /// When the first message since they were last read was published; 0 if there is none.
    stamp: AtomicU64,
    topics: Mutex<Vec<u32>>,
    /// Are there topics in which publishes wait?
    any_queue: AtomicBool,
    queues: Mutex<Vec<u32>>,
    /// Are there subscriptions that ended and may still hold blocks?
    any_departed: AtomicBool,
}

impl Headlines {
    /// A topic has news. Whoever calls it reads the headlines afterwards, or knows who does.
    pub(super) fn add(&self, topic: u32) {
        self.topics.lock().push(topic);
        self.any.store(true, Ordering::Release);
    }

    /// The time of a message: the clock is read once until the headlines are read, a few microseconds.
    pub(super) fn stamp(&self) -> u64 {
        match self.stamp.load(Ordering::Relaxed) {
            0 => {
                let now = wall_ns();
                self.stamp.store(now, Ordering::Relaxed);
                self.any.store(true, Ordering::Release);
                now
            }
            stamp => stamp,
        }
    }

    /// One load where there is nothing.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Publishes wait in this topic. Under the topic's lock, as the next.
    pub(super) fn add_queue(&self, topic: u32) {
        let mut queues = self.queues.lock();
        if !queues.contains(&topic) {
            queues.push(topic);
        }
        self.any_queue.store(true, Ordering::Release);
    }

    /// None waits there any more.
    pub(super) fn forget_queue(&self, topic: u32) {
        let mut queues = self.queues.lock();
        queues.retain(|other| *other != topic);
        self.any_queue.store(!queues.is_empty(), Ordering::Release);
    }

    /// The topics in which publishes wait. They stay: whoever else asks finds them too.
    pub(super) fn queues(&self) -> Vec<u32> {
        match self.any_queue.load(Ordering::Acquire) {
            false => Vec::new(),
            true => self.queues.lock().clone(),
        }
    }

    /// Somebody has ended who may still hold blocks.
    pub(super) fn add_departed(&self) {
        // Relaxed: who looks is let in by the topic's lock.
        self.any_departed.store(true, Ordering::Relaxed);
    }

    /// Was there one since this was asked last?
    pub(super) fn take_departed(&self) -> bool {
        self.any_departed.load(Ordering::Relaxed)
            && self.any_departed.swap(false, Ordering::Relaxed)
    }

    /// Moves them into `topics`, which is empty.
    pub(super) fn take(&self, topics: &mut Vec<u32>) {
        let mut headlines = self.topics.lock();
        self.any.store(false, Ordering::Release);
        self.stamp.store(0, Ordering::Relaxed);
        std::mem::swap(topics, &mut headlines);
    }
}
