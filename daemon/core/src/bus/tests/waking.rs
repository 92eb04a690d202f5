//! Who publishes for others puts a fence between the message and the look at who sleeps (SPEC P2, P8).

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{self, SeqCst};

use ringfence_protocol::log::{BlockUse, header};

use super::*;

/// Memory that tells what was done last that matters to a sleeper.
#[derive(Clone)]
struct Watched {
    words: Heap,
    last: Arc<AtomicU32>,
}

const PUBLISHED: u32 = 1;
const FENCED: u32 = 2;

impl Memory for Watched {
    fn len(&self) -> usize {
        self.words.len()
    }
    fn load(&self, at: usize) -> u64 {
        self.words.load(at)
    }
    fn store(&self, at: usize, value: u64) {
        self.words.store(at, value);
    }
    fn store_release(&self, at: usize, value: u64) {
        if at == header::NEXT {
            self.last.store(PUBLISHED, SeqCst);
        }
        self.words.store_release(at, value);
    }
    fn load_u32(&self, at: usize) -> u32 {
        self.words.load_u32(at)
    }
    fn store_u32(&self, at: usize, value: u32) {
        self.words.store_u32(at, value);
    }
    fn fence(&self, order: Ordering) {
        if order == SeqCst {
            self.last.store(FENCED, SeqCst);
        }
        self.words.fence(order);
    }
}

/// A subscription that notes, for each look at it, what was done before.
struct Sleeper {
    last: Arc<AtomicU32>,
    looks: Arc<parking_lot::Mutex<Vec<u32>>>,
}

impl Elsewhere for Sleeper {
    fn cursor(&self) -> u64 {
        u64::MAX
    }
    fn holds(&self, _block: BlockUse) -> bool {
        false
    }
    fn holds_any(&self) -> bool {
        false
    }
    fn wake(&self) {
        self.looks.lock().push(self.last.load(SeqCst));
    }
    fn cut_off(&self, _at: u64) {}
}

#[test]
fn p8_a_fence_stands_between_a_publish_and_the_look_at_sleepers() {
    let bus = Bus::elsewhere(7, Limits::default());
    let make = |len| Ok(Watched { words: Heap::new(len), last: Arc::default() });
    let topic = bus.topic_in("t", TopicOptions::default(), make).unwrap();
    let (last, looks) = (topic.memory().last, Arc::default());
    let sleeper = Sleeper { last, looks: Arc::clone(&looks) };
    let _attached = topic.attach(Start::Newest, Box::new(sleeper)).unwrap();
    for _ in 0..3 {
        topic.publish(&Outgoing { payload: &[1], ..Outgoing::default() }).unwrap();
        bus.tell_elsewhere(&mut Vec::new());
    }
    assert_eq!(*looks.lock(), [FENCED; 3]);
}
