//! Which topics have news for subscriptions of other processes, and in which publishes wait.
//!
//! A publish writes into its log and leaves a headline; who publishes for others (the daemon's poller,
//! after a turn) reads the headlines and wakes. So a turn of many publishes looks at sleepers once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// CLOCK_REALTIME in nanoseconds. A clock before 1970 reads 0, one after 2554 the largest number.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

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
                let now = now();
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

    /// The first publish waits in this topic.
    pub(super) fn add_queue(&self, topic: u32) {
        self.queues.lock().push(topic);
        self.any_queue.store(true, Ordering::Release);
    }

    /// Lets `is_done` look at each topic in which publishes wait; those that are done are forgotten.
    pub(super) fn look_at_queues(&self, mut is_done: impl FnMut(u32) -> bool) {
        if !self.any_queue.load(Ordering::Acquire) {
            return;
        }
        let queues = std::mem::take(&mut *self.queues.lock());
        let left: Vec<u32> = queues.into_iter().filter(|topic| !is_done(*topic)).collect();
        let mut queues = self.queues.lock();
        queues.extend(left);
        self.any_queue.store(!queues.is_empty(), Ordering::Release);
    }

    /// Moves them into `topics`, which is empty.
    pub(super) fn take(&self, topics: &mut Vec<u32>) {
        let mut headlines = self.topics.lock();
        self.any.store(false, Ordering::Release);
        self.stamp.store(0, Ordering::Relaxed);
        std::mem::swap(topics, &mut headlines);
    }
}
