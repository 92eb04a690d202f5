//! Subscriptions of other processes: what they hold, how far they are, and what they leave behind.

use std::sync::Weak;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use ringfence_protocol::error::ErrorCode;
use ringfence_protocol::log::BlockUse;

use super::queue::{call, queued};
use super::*;

/// The words of another process.
#[derive(Default)]
struct Words {
    cursor: AtomicU64,
    holds: Mutex<Vec<u32>>,
    cut_off: AtomicU64,
    /// How often it was asked whether it holds anything.
    asked: AtomicUsize,
}

impl Words {
    fn hold(&self, block: u32) {
        self.holds.lock().push(block);
    }

    fn has_read(&self, next: u64) {
        self.cursor.store(next, Ordering::SeqCst);
    }
}

struct Other(Arc<Words>);

impl Elsewhere for Other {
    fn cursor(&self) -> u64 {
        self.0.cursor.load(Ordering::SeqCst)
    }
    fn holds(&self, block: BlockUse) -> bool {
        self.0.holds.lock().contains(&block.block)
    }
    fn holds_any(&self) -> bool {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        !self.0.holds.lock().is_empty()
    }
    fn wake(&self) {}
    fn cut_off(&self, at: u64) {
        self.0.cut_off.store(at, Ordering::SeqCst);
    }
}

/// Two blocks, and room for eight messages.
fn with_blocks(policy: Policy, subscriptions: usize) -> (Bus, Topic) {
    let bus = Bus::new(7, Limits { subscriptions, ..Limits::default() });
    let (slots, payload_bytes, blocks, block_bytes) = (8, 48, 2, 4096);
    let options = TopicOptions { policy, slots, payload_bytes, blocks, block_bytes };
    let topic = bus.topic("t", options).unwrap();
    (bus, topic)
}

fn attach(topic: &Topic) -> (Attached<Heap>, Arc<Words>) {
    let words = Arc::<Words>::default();
    words.has_read(topic.next().sequence);
    let attached = topic.attach(Start::Newest, Box::new(Other(words.clone()))).unwrap();
    (attached, words)
}

const LONG_ONE: [u8; 4096] = [7; 4096];

fn publish_long(topic: &Topic, count: usize) {
    for _ in 0..count {
        call(topic, &LONG_ONE).unwrap().unwrap();
    }
}

#[test]
fn block_a_long_message_waits_for_a_block_that_was_read() {
    let (bus, topic) = with_blocks(PATIENT, 8);
    let (_attached, words) = attach(&topic);
    publish_long(&topic, 2);
    let (waits, behind) = (queued(&topic, &LONG_ONE), queued(&topic, b"short"));
    bus.serve_queues();
    assert_eq!((waits.answer(), behind.answer()), (None, None));
    words.has_read(1);
    bus.serve_queues();
    assert_eq!((waits.position(), behind.position()), (Some(2), Some(3)));
}

/// One is read in place, the other was not read: it is the cursor that is waited for.
#[test]
fn block_a_hold_beside_an_unread_block_does_not_end_the_waiting() {
    let (bus, topic) = with_blocks(PATIENT, 8);
    let (_attached, words) = attach(&topic);
    publish_long(&topic, 2);
    words.hold(0);
    words.has_read(1);
    let waits = queued(&topic, &LONG_ONE);
    words.has_read(2);
    bus.serve_queues();
    assert_eq!(waits.position(), Some(2));
}

#[test]
fn block_with_all_blocks_held_a_long_message_is_refused_at_once() {
    let (_bus, topic) = with_blocks(PATIENT, 8);
    let (_attached, words) = attach(&topic);
    publish_long(&topic, 2);
    [0, 1].iter().for_each(|block| words.hold(*block));
    words.has_read(2);
    let refused = call(&topic, &LONG_ONE).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Backpressure, "{refused}");
    assert!(call(&topic, b"short").unwrap().is_ok());
}

#[test]
fn block_cuts_off_who_has_not_read_the_oldest_block_and_nobody_else() {
    let (bus, topic) = with_blocks(Policy::Block { patience: Duration::ZERO }, 8);
    let ((_one, laggard), (_two, present)) = (attach(&topic), attach(&topic));
    publish_long(&topic, 2);
    present.has_read(1);
    let published = call(&topic, &LONG_ONE).unwrap();
    until(|| bus.serve_queues().is_none());
    assert_eq!(published.unwrap_err().position(), Some(2));
    assert_eq!([&laggard, &present].map(|words| words.cut_off.load(Ordering::SeqCst)), [2, 0]);
    assert_eq!(topic.subscribers(), 1);
}

/// A thread of this process waits for the same.
#[test]
fn block_a_thread_waits_for_a_block_too() {
    let (_bus, topic) = with_blocks(PATIENT, 8);
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    publish_long(&topic, 2);
    std::thread::scope(|scope| {
        let outgoing = Outgoing { payload: &LONG_ONE, ..Outgoing::default() };
        let topic = &topic;
        let waiting = scope.spawn(move || topic.publish(&outgoing));
        until(|| waiting.is_finished() || topic.waiting() == 1);
        now(&subscription).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap().sequence, 2);
    });
}

#[test]
fn who_ended_and_holds_messages_counts_and_is_forgotten_when_it_lets_go() {
    let (_bus, topic) = with_blocks(Policy::Overwrite, 2);
    let leave_with_a_hold = |block| {
        let (attached, words) = attach(&topic);
        words.hold(block);
        drop(attached);
        words
    };
    let held = [0, 1].map(leave_with_a_hold);
    let other = Box::new(Other(Arc::default()));
    let refused = topic.attach(Start::Newest, other).unwrap_err();
    assert_eq!(refused, SubscribeError::Holding { count: 0, holding: 2, most: 2 });
    assert_eq!(refused.into_error().code, ErrorCode::Quota);
    held[0].holds.lock().clear();
    let (attached, _) = attach(&topic);
    // Whoever leaves lets go of the others that hold nothing any more.
    held[1].holds.lock().clear();
    let of_departed: Weak<Words> = Arc::downgrade(&held[1]);
    drop((held, attached));
    assert_eq!(of_departed.strong_count(), 0, "nothing is left of it");
}

/// As long as it has not heard of it, one that was cut off may begin to read in place.
#[test]
fn who_was_cut_off_is_not_forgotten_before_it_has_left() {
    let (bus, topic) = with_blocks(Policy::Block { patience: Duration::ZERO }, 2);
    let (attached, words) = attach(&topic);
    publish_long(&topic, 2);
    queued(&topic, &LONG_ONE);
    bus.serve_queues();
    assert_eq!((topic.subscribers(), words.cut_off.load(Ordering::SeqCst)), (0, 2));
    publish_long(&topic, 1);
    words.hold(0);
    words.hold(1);
    assert_eq!(call(&topic, &LONG_ONE).unwrap_err().code, ErrorCode::Backpressure);
    words.holds.lock().clear();
    drop(attached);
    assert_eq!(Arc::strong_count(&words), 1);
}

/// What is asked of those who left is asked once a publish, not once a block.
#[test]
fn a_publish_asks_each_of_the_departed_once() {
    let (_bus, topic) = with_blocks(Policy::Overwrite, 8);
    let (attached, words) = attach(&topic);
    publish_long(&topic, 2);
    [0, 1].iter().for_each(|block| words.hold(*block));
    drop(attached);
    let before = words.asked.load(Ordering::SeqCst);
    assert!(call(&topic, &LONG_ONE).is_err(), "both are held");
    assert_eq!(words.asked.load(Ordering::SeqCst), before + 1);
}

/// Nobody else comes or goes: the sweep alone finds that a dead process holds nothing.
#[test]
fn what_the_dead_held_is_let_go_of_by_the_sweep() {
    let (bus, topic) = with_blocks(PATIENT, 8);
    let (attached, words) = attach(&topic);
    words.hold(0);
    let alive = Arc::downgrade(&words);
    drop(attached);
    bus.forget_departed();
    words.holds.lock().clear();
    drop(words);
    assert!(Weak::upgrade(&alive).is_some(), "as long as it may hold something");
    bus.forget_departed();
    assert!(Weak::upgrade(&alive).is_none());
}
