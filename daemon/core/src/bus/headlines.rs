//! Which topics have news for subscriptions of other processes, and in which publishes wait.
//!
//! A publish writes into its log and leaves a headline; who publishes for others (the daemon's poller,
//! after a turn) reads the headlines and wakes. So a turn of many publishes looks at sleepers once.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// The numbers of topics with news.
#[derive(Debug, Default)]
pub(super) struct Headlines {
    any: AtomicBool,
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
        std::mem::swap(topics, &mut headlines);
    }
}
