//! What pollers tell the control thread.

use std::sync::Arc;

use crossbeam::queue::SegQueue;
use ringfence_protocol::fault::Fault;
use ringfence_protocol::sys::bell::Bell;

/// A report.
#[derive(Debug)]
pub(crate) enum Report {
    /// A session broke a rule; its lanes are closed already.
    Fault { session: u64, fault: Fault },
    /// Nothing runs any more on this poller.
    Drained,
}

/// The queue, with a bell for the control thread's epoll.
pub(crate) struct Reports {
    queue: SegQueue<Report>,
    pub(crate) bell: Bell,
}

impl Reports {
    pub(crate) fn new() -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self { queue: SegQueue::new(), bell: Bell::new()? }))
    }

    pub(crate) fn push(&self, report: Report) {
        self.queue.push(report);
        // An eventfd of our own can only fail by being closed, which it is not.
        let _ = self.bell.ring();
    }

    pub(crate) fn pop(&self) -> Option<Report> {
        self.queue.pop()
    }
}
