//! What happens when a subscription is slow: each policy with several threads and the oracle, then
//! step by step.

use std::thread;

use super::*;

const PUBLISHERS: u64 = 3;
const EACH: u64 = 5_000;

/// So many threads publish, each subscription is followed by one of its own; then the bus is closed
/// and all is counted.
fn crowd(policy: Policy, slots: u32, keeps: &[Keep]) -> Vec<Counts> {
    let (bus, topic) = topic(policy, slots);
    let subscriptions: Vec<Subscription> =
        keeps.iter().map(|keep| topic.subscribe(Start::Oldest, *keep).unwrap()).collect();
    thread::scope(|scope| {
        let following: Vec<_> = subscriptions
            .iter()
            .map(|subscription| (subscription, scope.spawn(|| Oracle::follow(subscription))))
            .collect();
        let publishing: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let topic = &topic;
                scope.spawn(move || (0..EACH).for_each(|number| push(topic, publisher, number)))
            })
            .collect();
        publishing.into_iter().for_each(|thread| thread.join().unwrap());
        bus.close();
        for (subscription, thread) in following {
            thread.join().unwrap().settle(subscription, PUBLISHERS * EACH);
        }
    });
    assert_eq!(topic.next().sequence, PUBLISHERS * EACH);
    subscriptions.iter().map(Subscription::counts).collect()
}

/// Publishes until it is taken.
fn push(topic: &Topic, publisher: u64, number: u64) {
    until(|| match publish(topic, publisher, number) {
        Ok(_) => true,
        Err(PublishError::Backpressure { behind: 8, slots: 8 }) => false,
        Err(error) => panic!("{error}"),
    });
}

const ALL_KEEPS: [Keep; 3] =
    [Keep::InLog, Keep::DropOldest { buffer: 4 }, Keep::DropNewest { buffer: 4 }];

#[test]
fn overwrite_a_crowd_is_never_held_up_and_every_loss_is_counted() {
    crowd(Policy::Overwrite, 8, &ALL_KEEPS);
}

#[test]
fn block_a_crowd_of_readers_misses_nothing() {
    for counts in crowd(PATIENT, 8, &ALL_KEEPS) {
        assert_eq!(counts.missed, 0);
    }
}

#[test]
fn reject_a_crowd_of_readers_misses_nothing() {
    for counts in crowd(Policy::Reject, 8, &ALL_KEEPS) {
        assert_eq!(counts.missed, 0);
    }
}

#[test]
fn overwrite_a_lapped_subscription_is_told_exactly_how_many() {
    let (_bus, topic) = topic(Policy::Overwrite, 8);
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    publish_all(&topic, 0..108);
    assert_eq!(now(&subscription), Ok(Event::Overtaken { missed: 100 }));
    for expected in 100..108 {
        assert_eq!(number(&subscription), expected);
    }
    assert!(matches!(now(&subscription), Err(RecvError::Timeout { .. })));
    assert_eq!(subscription.counts(), Counts { received: 8, missed: 100, dropped: 0 });
}

#[test]
fn reject_says_how_far_the_slowest_is_behind() {
    let (_bus, topic) = topic(Policy::Reject, 8);
    let quick = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    let slow = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    publish_all(&topic, 0..8);
    (0..8).for_each(|expected| assert_eq!(number(&quick), expected));
    let refused = Err(PublishError::Backpressure { behind: 8, slots: 8 });
    assert_eq!(publish(&topic, 0, 8), refused);
    assert_eq!(number(&slow), 0);
    assert!(publish(&topic, 0, 8).is_ok());
    assert_eq!(publish(&topic, 0, 9), refused);
    slow.close();
    assert!(publish(&topic, 0, 9).is_ok(), "nobody is in the way any more");
}

#[test]
fn block_waits_for_room_and_later_publishes_queue_behind() {
    let (_bus, topic) = topic(PATIENT, 2);
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    publish_all(&topic, 0..2);
    thread::scope(|scope| {
        for number in 2..5 {
            let topic = &topic;
            scope.spawn(move || publish(topic, 0, number).unwrap());
            until(|| topic.waiting() as u64 == number - 1);
        }
        (0..5).for_each(|expected| assert_eq!(number(&subscription), expected));
    });
    assert_eq!((topic.waiting(), topic.next().sequence), (0, 5));
}

/// There is room, but somebody was there before.
#[test]
fn block_a_publish_never_overtakes_one_that_waits() {
    let (_bus, topic) = topic(PATIENT, 2);
    topic.stand_in_queue();
    thread::scope(|scope| {
        let second = scope.spawn(|| publish(&topic, 0, 1).unwrap());
        until(|| second.is_finished() || topic.waiting() == 1);
        assert_eq!(topic.next().sequence, 0, "it has waited for its turn");
        topic.leave_queue();
        assert_eq!(second.join().unwrap().sequence, 0);
    });
}

#[test]
fn block_cuts_a_laggard_off_after_the_patience_and_tells_it() {
    let patience = Duration::from_millis(50);
    let (_bus, topic) = topic(Policy::Block { patience }, 8);
    let laggard = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    let reader = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    publish_all(&topic, 0..8);
    (0..8).for_each(|expected| assert_eq!(number(&reader), expected));
    assert_eq!(number(&laggard), 0);
    publish_all(&topic, 8..9);
    (8..9).for_each(|expected| assert_eq!(number(&reader), expected));
    let start = Instant::now();
    publish_all(&topic, 9..10);
    assert!(start.elapsed() >= patience, "it waited {:?}", start.elapsed());
    publish_all(&topic, 10..12);
    (9..12).for_each(|expected| assert_eq!(number(&reader), expected));
    let at = Position { epoch: 7, sequence: 9 };
    for _ in 0..2 {
        assert_eq!(now(&laggard), Err(RecvError::CutOff { at, patience, missed: 8 }));
    }
    assert_eq!(laggard.counts(), Counts { received: 1, missed: 8, dropped: 0 });
    assert_eq!(topic.subscribers(), 1);
}

/// What it had read ahead it may still take.
#[test]
fn block_a_laggard_that_was_cut_off_empties_its_buffer_first() {
    let (_bus, topic) = topic(Policy::Block { patience: Duration::ZERO }, 2);
    let laggard = topic.subscribe(Start::Newest, Keep::DropOldest { buffer: 8 }).unwrap();
    publish_all(&topic, 0..2);
    assert_eq!(number(&laggard), 0);
    publish_all(&topic, 2..5);
    assert_eq!(number(&laggard), 1);
    assert!(matches!(now(&laggard), Err(RecvError::CutOff { missed: 2, .. })));
    assert_eq!(laggard.counts(), Counts { received: 2, missed: 2, dropped: 0 });
}

/// A crowd whose patience ends all the time: whoever is cut off still counts exactly, and those who
/// read miss nothing.
#[test]
fn block_a_crowd_with_laggards_loses_only_the_laggards() {
    let patience = Duration::from_millis(1);
    let (bus, topic) = topic(Policy::Block { patience }, 8);
    thread::scope(|scope| {
        let laggards: Vec<_> = (0..3)
            .map(|_| {
                let subscription = topic.subscribe(Start::Oldest, Keep::InLog).unwrap();
                scope.spawn(move || {
                    lag(&subscription);
                })
            })
            .collect();
        let publishing: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let topic = &topic;
                scope.spawn(move || (0..200).for_each(|number| push(topic, publisher, number)))
            })
            .collect();
        publishing.into_iter().for_each(|thread| thread.join().unwrap());
        laggards.into_iter().for_each(|thread| thread.join().unwrap());
        bus.close();
    });
    assert_eq!((topic.subscribers(), topic.next().sequence), (0, 600));
}

/// Receives a little, waits to be cut off, and counts. It may be cut off before, in the middle of a
/// receive, and be overtaken then.
fn lag(subscription: &Subscription) {
    let mut oracle = Oracle::default();
    let error = loop {
        until(|| oracle.received < 4 || subscription.is_cut_off());
        match subscription.recv(Some(LONG)) {
            Ok(event) => oracle.hear(event),
            Err(error) => break error,
        }
    };
    let RecvError::CutOff { at, missed, .. } = error else { panic!("{error}") };
    let end = oracle.next + oracle.since;
    assert_eq!(end + missed, end.max(at.sequence));
    assert_eq!(subscription.counts().missed, oracle.overtaken + missed);
    assert_eq!(oracle.received + oracle.overtaken + missed, end + missed);
}

#[test]
fn drop_oldest_and_drop_newest_drop_exactly_what_they_say() {
    let (_bus, topic) = topic(Policy::Overwrite, 16);
    let keep = |keep| topic.subscribe(Start::Newest, keep).unwrap();
    let newest_kept = keep(Keep::DropOldest { buffer: 4 });
    let oldest_kept = keep(Keep::DropNewest { buffer: 4 });
    publish_all(&topic, 0..10);
    (6..10).for_each(|expected| assert_eq!(number(&newest_kept), expected));
    (0..4).for_each(|expected| assert_eq!(number(&oldest_kept), expected));
    for subscription in [&newest_kept, &oldest_kept] {
        assert!(matches!(now(subscription), Err(RecvError::Timeout { .. })));
        assert_eq!(subscription.counts(), Counts { received: 4, missed: 0, dropped: 6 });
    }
}

/// The news of a loss stands where the loss was, whatever is dropped around it.
#[test]
fn a_full_buffer_never_drops_the_news_of_a_loss() {
    let (_bus, topic) = topic(Policy::Overwrite, 4);
    let subscription = topic.subscribe(Start::Newest, Keep::DropOldest { buffer: 2 }).unwrap();
    publish_all(&topic, 0..10);
    let mut oracle = Oracle::default();
    oracle.hear(now(&subscription).unwrap());
    assert_eq!((oracle.received, oracle.overtaken), (0, 6));
    publish_all(&topic, 10..20);
    until(|| now(&subscription).map(|event| oracle.hear(event)).is_err());
    oracle.settle(&subscription, 20);
    assert_eq!(subscription.counts().received, 2);
}
