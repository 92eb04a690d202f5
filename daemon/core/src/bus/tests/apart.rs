//! Long payloads, which are copied without the topic's lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

/// Memory in which the copy of one long payload, the one of nines, takes until it may end.
#[derive(Clone)]
struct Slow {
    words: Heap,
    copying: Arc<AtomicBool>,
    may_end: Arc<AtomicBool>,
}

impl Memory for Slow {
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
        self.words.store_release(at, value);
    }
    fn load_u32(&self, at: usize) -> u32 {
        self.words.load_u32(at)
    }
    fn store_u32(&self, at: usize, value: u32) {
        self.words.store_u32(at, value);
    }
    fn write_block(&self, at: usize, from: &[u8]) {
        if from[0] == 9 {
            self.copying.store(true, Ordering::SeqCst);
            until(|| self.may_end.load(Ordering::SeqCst));
        }
        self.words.write_block(at, from);
    }
}

fn slow(policy: Policy) -> (Bus<Slow>, Topic<Slow>, Slow) {
    let bus = Bus::elsewhere(7, Limits::default());
    let (slots, payload_bytes, blocks, block_bytes) = (4, 48, 2, 4096);
    let options = TopicOptions { policy, slots, payload_bytes, blocks, block_bytes };
    let make =
        |len| Ok(Slow { words: Heap::new(len), copying: Arc::default(), may_end: Arc::default() });
    let topic = bus.topic_in("t", options, make).unwrap();
    let memory = topic.memory();
    (bus, topic, memory)
}

fn send(topic: &Topic<Slow>, payload: &[u8]) -> Result<u64, PublishError> {
    let outgoing = Outgoing { payload, ..Outgoing::default() };
    topic.publish(&outgoing).map(|position| position.sequence)
}

fn next(subscription: &Subscription<Slow>) -> (u64, Box<[u8]>) {
    let Event::Message(message) = subscription.recv(Some(LONG)).unwrap() else { panic!("missed") };
    (message.position.sequence, message.payload)
}

#[test]
fn while_a_long_payload_is_copied_others_publish_and_subscribe() {
    for policy in [Policy::Overwrite, Policy::Reject] {
        let (_bus, topic, memory) = slow(policy);
        thread::scope(|scope| {
            let long = scope.spawn(|| send(&topic, &[9; 4096]));
            until(|| memory.copying.load(Ordering::SeqCst));
            let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
            assert_eq!((send(&topic, b"short"), send(&topic, &[1; 4096])), (Ok(0), Ok(1)));
            assert_eq!(next(&subscription), (0, b"short"[..].into()));
            memory.may_end.store(true, Ordering::SeqCst);
            assert_eq!(long.join().unwrap(), Ok(2), "its place is given at the end");
            assert_eq!(next(&subscription), (1, [1; 4096].into()));
            assert_eq!(next(&subscription), (2, [9; 4096].into()));
        });
    }
}

#[test]
fn what_may_not_be_written_after_the_copy_gives_its_block_back() {
    let (_bus, topic, memory) = slow(Policy::Reject);
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    thread::scope(|scope| {
        let long = scope.spawn(|| send(&topic, &[9; 4096]));
        until(|| memory.copying.load(Ordering::SeqCst));
        (0..4).for_each(|n| assert_eq!(send(&topic, b"short"), Ok(n)));
        memory.may_end.store(true, Ordering::SeqCst);
        let refused = PublishError::Backpressure { behind: 4, slots: 4 };
        assert_eq!(long.join().unwrap(), Err(refused));
    });
    (0..4).for_each(|n| assert_eq!(next(&subscription).0, n));
    assert_eq!((send(&topic, &[1; 4096]), send(&topic, &[2; 4096])), (Ok(4), Ok(5)), "both blocks");
    assert_eq!([next(&subscription), next(&subscription)].map(|(_, payload)| payload[0]), [1, 2]);
}

#[test]
fn a_topic_that_ends_during_the_copy_takes_nothing_more() {
    let (bus, topic, memory) = slow(Policy::Overwrite);
    thread::scope(|scope| {
        let long = scope.spawn(|| send(&topic, &[9; 4096]));
        until(|| memory.copying.load(Ordering::SeqCst));
        bus.close();
        memory.may_end.store(true, Ordering::SeqCst);
        assert_eq!(long.join().unwrap(), Err(PublishError::Closed));
    });
    assert_eq!(topic.next().sequence, 0);
}
