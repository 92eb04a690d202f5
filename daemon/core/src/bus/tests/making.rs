//! Topics that are opened while one is made.

use std::sync::mpsc::channel;
use std::thread;

use ringfence_protocol::error::ErrorCode;

use super::*;

const OPTIONS: TopicOptions = TopicOptions {
    policy: Policy::Overwrite,
    slots: 2,
    payload_bytes: 48,
    blocks: 0,
    block_bytes: 0,
};

#[test]
fn a_log_that_takes_long_to_make_holds_up_nobody_but_its_openers() {
    let bus = bus();
    bus.topic("other", OPTIONS).unwrap();
    let (go, may_go) = channel();
    let (making, is_making) = channel();
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            bus.topic_in("slow", OPTIONS, move |len| {
                making.send(()).unwrap();
                may_go.recv_timeout(LONG).expect("somebody is held up");
                Ok(Heap::new(len))
            })
        });
        is_making.recv_timeout(LONG).unwrap();
        // While it is made: all that a poller does.
        assert!(bus.find("other").is_ok() && bus.find("slow").is_err());
        assert_eq!(bus.topics().len(), 1);
        bus.topic("third", OPTIONS).unwrap();
        let asked = TopicOptions { slots: 4, ..OPTIONS };
        let refused = bus.topic("slow", asked).unwrap_err();
        assert!(matches!(refused, TopicError::Otherwise { there: OPTIONS, .. }));
        let second = scope.spawn(|| bus.topic_in("slow", OPTIONS, |_| panic!("made twice")));
        go.send(()).unwrap();
        let topics = [first, second].map(|opener| opener.join().unwrap().unwrap());
        publish(&topics[0], 0, 0).unwrap();
        assert_eq!((topics[1].next().sequence, topics[1].number()), (1, 2), "the same");
    });
    assert_eq!(bus.topics().len(), 3);
}

#[test]
fn what_is_not_made_gives_back_its_name_and_its_bytes() {
    let bus = Bus::new(1, Limits { topics: 1, subscriptions: 1, bytes: 4096 });
    let no_memory = || Error::new(ErrorCode::OutOfMemory, "none");
    let failed = bus.topic_in("t", OPTIONS, |_| Err(no_memory())).unwrap_err();
    assert_eq!(failed, TopicError::Room(no_memory()));
    assert!(thread::scope(|s| s
        .spawn(|| bus.topic_in("t", OPTIONS, |_| panic!()))
        .join()
        .is_err()));
    assert_eq!(bus.topic("t", OPTIONS).unwrap().number(), 0);
    let full = bus.topic("u", OPTIONS).unwrap_err();
    assert_eq!(full, TopicError::TooMany { count: 1 });
    let late = Bus::new(1, Limits::default());
    let refused = late.topic_in("t", OPTIONS, |len| {
        late.close();
        Ok(Heap::new(len))
    });
    assert_eq!(refused.unwrap_err(), TopicError::Closed);
}
