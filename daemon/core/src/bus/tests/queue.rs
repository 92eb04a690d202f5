//! Calls that wait in a topic's queue: how many, for how long, and what of them stays.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use ringfence_protocol::error::{Error, ErrorCode};

use super::*;
use crate::bus::limits::{QUEUED, SERVED};
use crate::deferred::{Answer, Deferred, Later};
use crate::engine::{Call, Stop, Surroundings};

/// One call: whether its caller has given it up, and what it was answered.
#[derive(Debug, Default)]
pub(super) struct Slot {
    over: AtomicBool,
    answer: Mutex<Option<Answer>>,
}

impl Slot {
    pub(super) fn give_up(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub(super) fn answer(&self) -> Option<Answer> {
        self.answer.lock().clone()
    }

    /// The position that it was answered.
    pub(super) fn position(&self) -> Option<u64> {
        let answer = self.answer()?.unwrap();
        Some(u64::from_le_bytes(answer.try_into().unwrap()))
    }
}

struct Kept(Arc<Slot>);

impl Later for Kept {
    fn answer(self: Box<Self>, answer: Answer) -> Option<Answer> {
        let before = self.0.answer.lock().replace(answer);
        assert_eq!(before, None, "answered twice");
        None
    }
    fn begin(&self) -> bool {
        !self.0.over.load(Ordering::SeqCst)
    }
    fn stop(&self) -> Option<Stop> {
        self.0.over.load(Ordering::SeqCst).then_some(Stop::Cancelled)
    }
    fn time_left(&self) -> Option<Duration> {
        None
    }
}

struct Around {
    slot: Arc<Slot>,
    deferred: Cell<bool>,
}

impl Surroundings for Around {
    fn stop(&self) -> Option<Stop> {
        None
    }
    fn progress(&self, _done: u64) {}
    fn session(&self) -> u64 {
        1
    }
    fn defer(&self) -> Option<Deferred> {
        let again = self.deferred.replace(true);
        (!again).then(|| Deferred::new(Box::new(Kept(self.slot.clone()))))
    }
}

/// Publishes as a call: its position, `Err` of nothing if it waits.
pub(super) fn call(topic: &Topic, payload: &[u8]) -> Result<Result<Position, Arc<Slot>>, Error> {
    let slot = Arc::<Slot>::default();
    let around = Around { slot: slot.clone(), deferred: Cell::new(false) };
    let mut reply = Vec::new();
    let mut call = Call::new(&[], &mut reply, &around);
    let outgoing = Outgoing { payload, ..Outgoing::default() };
    Ok(topic.publish_for(&outgoing, &mut call)?.ok_or(slot))
}

/// One that has to wait.
pub(super) fn queued(topic: &Topic, payload: &[u8]) -> Arc<Slot> {
    call(topic, payload).unwrap().unwrap_err()
}

/// A topic that is full, for one subscription has read nothing.
fn full(policy: Policy, payload_bytes: usize) -> (Bus, Topic, Subscription) {
    let bus = bus();
    let options = TopicOptions { policy, slots: 2, payload_bytes, ..TopicOptions::default() };
    let topic = bus.topic("t", options).unwrap();
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    for _ in 0..2 {
        call(&topic, b"").unwrap().unwrap();
    }
    (bus, topic, subscription)
}

#[test]
fn what_waits_is_published_in_order_when_there_is_room() {
    let (bus, topic, subscription) = full(PATIENT, 48);
    let waiting = [(); 3].map(|()| queued(&topic, b"x"));
    assert_eq!(topic.waiting(), 3);
    assert!(bus.serve_queues().is_some_and(|until| until > Instant::now()), "its patience");
    now(&subscription).unwrap();
    bus.serve_queues();
    assert_eq!(waiting.each_ref().map(|slot| slot.position()), [Some(2), None, None]);
    for _ in 0..2 {
        now(&subscription).unwrap();
    }
    assert_eq!(bus.serve_queues(), None, "nobody waits");
    assert_eq!(waiting.each_ref().map(|slot| slot.position()), [Some(2), Some(3), Some(4)]);
    assert_eq!((topic.waiting(), call(&topic, b"").unwrap().is_err()), (0, true));
}

/// Whoever gives up leaves nothing behind, wherever in the queue it stood.
#[test]
fn calls_that_are_over_do_not_stay_behind_one_that_waits() {
    let (bus, topic, _subscription) = full(PATIENT, 48);
    let first = queued(&topic, b"first");
    let others: Vec<_> = (0..200).map(|_| queued(&topic, b"other")).collect();
    others.iter().for_each(|slot| slot.give_up());
    let mut looks = 0;
    until(|| {
        bus.serve_queues();
        looks += 1;
        topic.waiting() == 1
    });
    assert!(looks > 1, "one look asks a bounded number of them");
    for slot in others {
        assert_eq!(slot.answer().unwrap().unwrap_err().code, ErrorCode::Cancelled);
    }
    assert_eq!((first.answer(), Arc::strong_count(&first)), (None, 2), "it waits");
}

#[test]
fn what_waits_is_bounded_in_bytes_and_in_number() {
    let (bus, topic, _subscription) = full(PATIENT, 65_472);
    let payload = [7; 65_472];
    // As many as are taken, and not for ever if all are.
    let taken = |payload: &[u8]| {
        let calls = std::iter::from_fn(|| call(&topic, payload).ok());
        calls.take(QUEUED + 1).collect::<Vec<_>>()
    };
    let waiting = taken(&payload);
    assert_eq!(waiting.len(), 4, "of 256 KiB");
    let refused = call(&topic, &payload).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Backpressure);
    for part in ["4 of 4096", "261888 of 262144"] {
        assert!(refused.message.contains(part), "{refused}");
    }
    // One that is over makes room at once.
    waiting[2].as_ref().unwrap_err().give_up();
    queued(&topic, &payload);
    let small = taken(b"");
    assert_eq!(4 + small.len(), QUEUED);
    bus.close();
    assert_eq!(topic.waiting(), 0);
    let told = small[0].as_ref().unwrap_err().answer();
    assert_eq!(told.unwrap().unwrap_err().code, ErrorCode::ShuttingDown);
}

#[test]
fn a_look_lets_a_bounded_number_go_on() {
    let (bus, topic, subscription) = full(PATIENT, 48);
    let waiting: Vec<_> = (0..2 * SERVED as u64).map(|_| queued(&topic, b"x")).collect();
    // Nobody is in the way of any of them.
    subscription.close();
    assert!(bus.serve_queues().is_some_and(|again| again <= Instant::now()));
    assert_eq!(topic.waiting(), SERVED);
    bus.serve_queues();
    assert_eq!(bus.serve_queues(), None);
    assert!(waiting.iter().all(|slot| slot.position().is_some()));
}

#[test]
fn patience_that_is_over_cuts_the_laggard_off() {
    let patience = Duration::from_millis(1);
    let (bus, topic, laggard) = full(Policy::Block { patience }, 48);
    let slot = queued(&topic, b"x");
    let again = bus.serve_queues();
    until(|| bus.serve_queues().is_none());
    assert!(again.is_none_or(|again| again <= Instant::now()));
    assert_eq!((slot.position(), laggard.is_cut_off()), (Some(2), true));
}
