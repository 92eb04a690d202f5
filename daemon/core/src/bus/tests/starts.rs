//! Topics and where a subscription starts.

use proptest::prelude::*;
use ringfence_protocol::log::BufferError;

use super::*;

#[test]
fn a_topic_is_made_once() {
    let bus = bus();
    let options = TopicOptions::default();
    bus.topic("one", options).unwrap().publish(&Outgoing::default()).unwrap();
    assert_eq!(bus.topic("one", options).unwrap().next().sequence, 1, "the same");
    let asked = TopicOptions { policy: Policy::Reject, ..options };
    let name = "one".to_owned();
    assert_eq!(
        bus.topic("one", asked).unwrap_err(),
        TopicError::Otherwise { name, there: options, asked }
    );
    let unknown = bus.find("two").unwrap_err().to_string();
    assert_eq!(unknown, "there is no topic \"two\"; there are one");
    assert!(bus.topic("a topic", options).is_err());
    let three = TopicOptions { slots: 3, ..options };
    assert!(matches!(bus.topic("three", three), Err(TopicError::Sizes(_))));
}

#[test]
fn limits_are_errors_with_their_numbers() {
    let limits = Limits { topics: 2, subscriptions: 1, bytes: 10_000 };
    let bus = Bus::new(1, limits);
    let small = TopicOptions { slots: 2, payload_bytes: 48, ..TopicOptions::default() };
    let one = bus.topic("one", small).unwrap();
    let large = bus.topic("large", TopicOptions::default()).unwrap_err();
    assert_eq!(large, TopicError::Memory { wanted: 266_240, used: 4096, limit: 10_000 });
    bus.topic("two", small).unwrap();
    assert_eq!(bus.topic("three", small).unwrap_err(), TopicError::TooMany { count: 2 });
    let only = one.subscribe(Start::Newest, Keep::InLog).unwrap();
    let second = one.subscribe(Start::Newest, Keep::InLog);
    assert_eq!(second.unwrap_err(), SubscribeError::TooMany { count: 1 });
    drop(only);
    for messages in [0, (1 << 16) + 1] {
        let refused = one.subscribe(Start::Newest, Keep::DropOldest { buffer: messages });
        assert_eq!(refused.unwrap_err(), SubscribeError::Buffer(BufferError { messages }));
    }
}

#[test]
fn nobody_hears_is_an_error_only_if_asked() {
    let (_bus, topic) = topic(Policy::Overwrite, 8);
    assert!(topic.publish(&Outgoing::default()).is_ok());
    let must = Outgoing { must_be_heard: true, ..Outgoing::default() };
    assert_eq!(topic.publish(&must), Err(PublishError::NoSubscribers));
    let _subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    assert_eq!(topic.publish(&must).unwrap().sequence, 1);
}

/// Nobody waits for a subscription that wants what is gone already.
#[test]
fn a_late_joiner_of_a_full_topic_holds_up_no_more_than_others() {
    let (_bus, topic) = topic(Policy::Reject, 8);
    publish_all(&topic, 0..20);
    let at = Position { epoch: 7, sequence: 3 };
    let late = topic.subscribe(Start::At(at), Keep::InLog).unwrap();
    assert_eq!(publish(&topic, 0, 20), Err(PublishError::Backpressure { behind: 8, slots: 8 }));
    assert_eq!(now(&late), Ok(Event::Overtaken { missed: 9 }));
    assert_eq!(number(&late), 12);
    assert!(publish(&topic, 0, 20).is_ok());
    (13..21).for_each(|expected| assert_eq!(number(&late), expected));
}

fn keeps() -> impl Strategy<Value = Keep> {
    prop_oneof![
        Just(Keep::InLog),
        (1usize..6).prop_map(|buffer| Keep::DropOldest { buffer }),
        (1usize..6).prop_map(|buffer| Keep::DropNewest { buffer }),
    ]
}

proptest! {
    /// Random publishes and receives: at every end the sum is what was published since the start.
    #[test]
    fn received_missed_and_dropped_are_what_was_published(
        keep in keeps(),
        before in 0u64..20,
        steps in prop::collection::vec((0u64..12, 0usize..12), 1..40),
    ) {
        let (bus, topic) = topic(Policy::Overwrite, 8);
        publish_all(&topic, 0..before);
        let subscription = topic.subscribe(Start::Newest, keep).unwrap();
        let mut oracle = Oracle { next: before, ..Oracle::default() };
        let mut published = before;
        for (publishes, receives) in steps {
            publish_all(&topic, published..published + publishes);
            published += publishes;
            for _ in 0..receives {
                if let Ok(event) = now(&subscription) {
                    oracle.hear(event);
                }
            }
        }
        bus.close();
        while let Ok(event) = now(&subscription) {
            oracle.hear(event);
        }
        let counts = subscription.counts();
        prop_assert_eq!((counts.received, counts.missed), (oracle.received, oracle.overtaken));
        prop_assert_eq!(counts.received + counts.missed + counts.dropped, published - before);
    }
}
