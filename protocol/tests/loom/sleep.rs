//! Stand-ins for what the kernel gives: an eventfd that a poller sleeps on, and a futex.

use std::rc::Rc;

use loom::sync::{Condvar, Mutex};
use ringfence_protocol::memory::Memory;

/// An eventfd under edge-triggered epoll: a ring before the wait ends the wait at once.
#[derive(Clone)]
pub(crate) struct Bell {
    rung: Rc<(Mutex<bool>, Condvar)>,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { rung: Rc::new((Mutex::new(false), Condvar::new())) }
    }

    pub(crate) fn ring(&self) {
        *self.rung.0.lock().unwrap() = true;
        self.rung.1.notify_one();
    }

    pub(crate) fn wait(&self) {
        let mut rung = self.rung.0.lock().unwrap();
        while !*rung {
            rung = self.rung.1.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// futex(2): compares the word and queues the sleeper under one lock, which the waker takes after
/// its store.
#[derive(Clone)]
pub(crate) struct Futex {
    queue: Rc<(Mutex<()>, Condvar)>,
}

impl Futex {
    pub(crate) fn new() -> Self {
        Self { queue: Rc::new((Mutex::new(()), Condvar::new())) }
    }

    pub(crate) fn wait(&self, down: &impl Memory, at: usize, value: u32) {
        let queue = self.queue.0.lock().unwrap();
        if down.load_u32(at) == value {
            drop(self.queue.1.wait(queue).unwrap());
        }
    }

    pub(crate) fn wake(&self) {
        let queue = self.queue.0.lock().unwrap();
        self.queue.1.notify_all();
        drop(queue);
    }
}
