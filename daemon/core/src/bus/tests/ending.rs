//! Closing, in any order, with somebody waiting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ringfence_protocol::log::BlockUse;

use super::*;

/// Closes the subscription, the bus or both while one thread waits in `recv` and one in `recv_batch`
/// for the inbox; both must leave.
#[test]
fn closing_in_any_order_wakes_whoever_receives() {
    let orders: [&[bool]; 4] = [&[true], &[false], &[true, false], &[false, true]];
    for order in orders {
        let (bus, topic) = topic(Policy::Overwrite, 8);
        let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
        thread::scope(|scope| {
            let one = scope.spawn(|| subscription.recv(None));
            let other = scope.spawn(|| subscription.recv_batch(10, None));
            until(|| topic.sleepers() == 1);
            for of_subscription in order {
                if *of_subscription { subscription.close() } else { bus.close() }
            }
            for error in [one.join().unwrap().unwrap_err(), other.join().unwrap().unwrap_err()] {
                match (error, order) {
                    (RecvError::Closed, [true, ..] | [_, true]) => {}
                    (RecvError::BusClosed, [false, ..] | [_, false]) => {}
                    wrong => panic!("{wrong:?}"),
                }
            }
        });
        subscription.close();
        bus.close();
        assert_eq!(now(&subscription), Err(RecvError::Closed));
    }
}

#[test]
fn closing_the_bus_wakes_publishes_that_wait_and_refuses_later_ones() {
    let (bus, topic) = topic(PATIENT, 2);
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    publish_all(&topic, 0..2);
    thread::scope(|scope| {
        let waiting = [2, 3].map(|number| {
            scope.spawn({
                let topic = &topic;
                move || publish(topic, 0, number)
            })
        });
        until(|| topic.waiting() == 2);
        let start = Instant::now();
        bus.close();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Err(PublishError::Closed));
        }
        assert!(start.elapsed() < LONG / 2, "they were not woken");
    });
    assert_eq!(publish(&topic, 0, 4), Err(PublishError::Closed));
    assert!(matches!(topic.subscribe(Start::Oldest, Keep::InLog), Err(SubscribeError::Closed)));
    assert_eq!(bus.topic("u", TopicOptions::default()).unwrap_err(), TopicError::Closed);
    assert_eq!([number(&subscription), number(&subscription)], [0, 1], "what is left comes");
    assert_eq!(subscription.recv(None), Err(RecvError::BusClosed));
}

#[test]
fn a_publish_that_waits_goes_on_when_the_laggard_leaves() {
    for leaves_by_drop in [false, true] {
        let (_bus, topic) = topic(PATIENT, 2);
        let laggard = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
        publish_all(&topic, 0..2);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| publish(&topic, 0, 2));
            until(|| topic.waiting() == 1);
            let start = Instant::now();
            if leaves_by_drop {
                drop(laggard)
            } else {
                laggard.close()
            }
            assert_eq!(waiting.join().unwrap().unwrap().sequence, 2);
            assert!(start.elapsed() < LONG / 2, "it was not woken");
        });
    }
}

#[test]
fn a_batch_ends_by_number_by_time_and_by_the_end_of_the_bus() {
    let (bus, topic) = topic(Policy::Overwrite, 8);
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    let short = Some(Duration::from_millis(10));
    assert_eq!(subscription.recv_batch(0, None), Ok(vec![]));
    assert_eq!(subscription.recv_batch(3, short), Ok(vec![]));
    publish_all(&topic, 0..5);
    assert_eq!(subscription.recv_batch(3, None).unwrap().len(), 3);
    let start = Instant::now();
    assert_eq!(subscription.recv_batch(100, short).unwrap().len(), 2);
    assert!(start.elapsed() >= Duration::from_millis(10), "it waited for more");
    publish_all(&topic, 5..15);
    bus.close();
    let batch = subscription.recv_batch(100, None).unwrap();
    assert_eq!((&batch[0], batch.len()), (&Event::Overtaken { missed: 2 }, 9));
    assert_eq!(subscription.recv_batch(100, None), Err(RecvError::BusClosed));
}

/// A receive that waits behind another one keeps to its own time.
#[test]
fn a_second_receiver_waits_no_longer_than_it_said() {
    let (bus, topic) = topic(Policy::Overwrite, 8);
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| subscription.recv(None));
        until(|| topic.sleepers() == 1);
        let waited = Duration::from_millis(10);
        assert_eq!(subscription.recv(Some(waited)), Err(RecvError::Timeout { waited }));
        bus.close();
    });
}

/// A subscription of another process that holds every block, for as long as it says so.
struct Holder(Arc<AtomicBool>);

impl Elsewhere for Holder {
    fn session(&self) -> u64 {
        1
    }
    fn cursor(&self) -> u64 {
        u64::MAX
    }
    fn holds(&self, _block: BlockUse) -> bool {
        self.holds_any()
    }
    fn holds_any(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
    fn wake(&self) {}
    fn cut_off(&self, _at: u64) {}
}

/// Whether it leaves or is cut off.
#[test]
fn who_has_left_and_holds_blocks_counts_as_a_subscription() {
    for policy in [Policy::Overwrite, Policy::Block { patience: Duration::ZERO }] {
        let bus = Bus::new(7, Limits { subscriptions: 2, ..Limits::default() });
        let options =
            TopicOptions { policy, slots: 2, payload_bytes: 48, blocks: 1, block_bytes: 4096 };
        let topic = bus.topic("t", options).unwrap();
        let holds = Arc::new(AtomicBool::new(true));
        let attach = || topic.attach(Start::Newest, Box::new(Holder(Arc::clone(&holds))));
        let attached = [attach().unwrap(), attach().unwrap()];
        let large = Outgoing { payload: &[1; 100], ..Outgoing::default() };
        topic.publish(&large).unwrap();
        for number in 0..4 {
            publish(&topic, 1, number).unwrap();
        }
        let too_many = attach().unwrap_err();
        assert_eq!(
            too_many,
            SubscribeError::TooMany { count: 2 },
            "cut off, and perhaps unaware of it"
        );
        drop(attached);
        assert_eq!(topic.subscribers(), 0);
        assert_eq!(attach().unwrap_err(), SubscribeError::TooMany { count: 2 });
        assert!(matches!(topic.publish(&large), Err(PublishError::Held { .. })));
        holds.store(false, Ordering::SeqCst);
        topic.publish(&large).unwrap();
        drop(attach().unwrap());
    }
}
