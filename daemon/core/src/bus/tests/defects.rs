//! What an earlier bus of this kind got wrong, each as a test, by the numbers under which the design
//! lists it. (Those about processes, sockets, code generation and Python are tested where they
//! belong.)

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ringfence_protocol::log::{LogFault, LogReader, LogWriter, header, slot};
use ringfence_protocol::memory::{Heap, Memory};

use super::*;

/// Endpoints consumed what they themselves had sent, and took it from others.
#[test]
fn defect_2_reading_takes_nothing_from_anybody() {
    let (_bus, topic) = topic(Policy::Overwrite, 16);
    let subscriptions = [(); 3].map(|()| topic.subscribe(Start::Newest, Keep::InLog).unwrap());
    thread::scope(|scope| {
        for subscription in &subscriptions {
            let topic = &topic;
            // Each publishes, and each receives what all three published, its own once.
            scope.spawn(move || {
                publish(topic, thread_number(), 0).unwrap();
                let mut heard = Vec::new();
                for _ in 0..3 {
                    let event = subscription.recv(Some(LONG)).unwrap();
                    let Event::Message(message) = event else { panic!("{event:?}") };
                    heard.push(message.position.sequence);
                }
                assert_eq!(heard, [0, 1, 2]);
            });
        }
    });
}

fn thread_number() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(thread::current().id())
}

/// Both sides polled with a sleep of 10 us. The kernel counts how often a thread went to sleep.
#[test]
fn defect_4_who_waits_sleeps_until_there_is_news() {
    let (bus, topic) = topic(PATIENT, 2);
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    let quarter = Duration::from_millis(250);
    thread::scope(|scope| {
        scope.spawn(|| {
            let before = sleeps();
            assert!(matches!(subscription.recv(Some(quarter)), Err(RecvError::Timeout { .. })));
            assert!(sleeps() - before < 50, "{} sleeps in {quarter:?}", sleeps() - before);
        });
    });
    publish_all(&topic, 0..2);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let before = sleeps();
            assert_eq!(publish(&topic, 0, 2), Err(PublishError::Closed));
            assert!(sleeps() - before < 50, "{} sleeps in {quarter:?}", sleeps() - before);
        });
        until(|| topic.waiting() == 1);
        thread::sleep(quarter); // that it polls in vain is what is looked for
        bus.close();
        waiting.join().unwrap();
    });
}

/// How often this thread has gone to sleep.
fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// A late or second reader failed with "corrupted frame", for each process numbered from 0.
#[test]
fn defect_5_late_and_second_readers_find_their_place() {
    let (_bus, topic) = topic(Policy::Overwrite, 8);
    let early = topic.subscribe(Start::Oldest, Keep::InLog).unwrap();
    publish_all(&topic, 0..20);
    let oldest = topic.subscribe(Start::Oldest, Keep::InLog).unwrap();
    let newest = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    let at =
        |epoch, sequence| topic.subscribe(Start::At(Position { epoch, sequence }), Keep::InLog);
    let fifteen = at(7, 15).unwrap();
    let gone = at(7, 3).unwrap();
    publish_all(&topic, 20..21);
    assert_eq!(now(&early), Ok(Event::Overtaken { missed: 13 }));
    assert_eq!(now(&oldest), Ok(Event::Overtaken { missed: 1 }), "20 took the place of 12");
    assert_eq!(now(&gone), Ok(Event::Overtaken { missed: 10 }));
    for (subscription, first) in
        [(early, 13), (oldest, 13), (newest, 20), (fifteen, 15), (gone, 13)]
    {
        (first..21).for_each(|expected| assert_eq!(number(&subscription), expected));
    }
    // Another daemon's position is never taken for one of this one.
    assert!(matches!(at(6, 15), Err(SubscribeError::Seek(_))));
    assert!(matches!(at(7, 22), Err(SubscribeError::Seek(_))));
}

/// A length below 8 made one side panic, and the other return 248 bytes of rubbish.
#[test]
fn defect_6_no_length_is_trusted() {
    let geometry =
        TopicOptions { payload_bytes: 48, ..TopicOptions::default() }.geometry().unwrap();
    let first = Position { epoch: 1, sequence: 0 };
    let mut log = LogWriter::create(Heap::new(geometry.bytes()), geometry, first).unwrap();
    for len in [65, 7 << 16, u32::MAX] {
        let sequence = log.write(Envelope::default(), b"honest", |_| false).unwrap().sequence;
        log.memory().store(geometry.slot(sequence) + slot::LEN, len.into());
        let mut reader = LogReader::open(log.memory().clone()).unwrap();
        reader.seek(Start::At(Position { epoch: 1, sequence })).unwrap();
        let fault = LogFault::Length { sequence, len, max: 64 };
        assert_eq!(reader.read(&mut Vec::new()), Err(fault));
    }
    // Nor the sizes in the header.
    for sizes in [0, 1, u64::MAX, 1 << 32, 1024 | 64 << 32, 1 << 20 | 65536 << 32] {
        log.memory().store(header::SLOTS, sizes);
        assert!(LogReader::open(log.memory().clone()).is_err(), "{sizes:#x}");
    }
}

/// Both indices lay in one cache line, and nothing ordered a publish behind its bytes.
#[test]
fn defect_7_what_is_published_is_whole_and_its_words_lie_apart() {
    const { assert!(header::NEXT >= header::BLOCKS + 64 && header::RING >= header::NEXT + 128) };
    let (bus, topic) = topic(Policy::Overwrite, 2);
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            publish_all(&topic, 0..20_000);
            bus.close();
        });
        // The oracle looks at each message: all its parts must say the same.
        Oracle::follow(&subscription).settle(&subscription, 20_000);
    });
}

/// A frame larger than the ring reported "full" for ever; on a full ring frames were dropped with a
/// warning.
#[test]
fn defect_8_too_long_is_said_at_once_and_full_is_never_silent() {
    for policy in [Policy::Overwrite, PATIENT, Policy::Reject] {
        let (_bus, topic) = topic(policy, 2);
        let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
        let refused = topic.publish(&Outgoing { payload: &[0; 49], ..Outgoing::default() });
        assert!(
            matches!(refused, Err(PublishError::TooLong(long)) if (long.len, long.max) == (49, 48))
        );
        assert!(topic.publish(&Outgoing { payload: &[0; 48], ..Outgoing::default() }).is_ok());
        assert_eq!(topic.next().sequence, 1, "what was refused has no position");
        assert!(
            matches!(now(&subscription), Ok(Event::Message(message)) if message.payload.len() == 48)
        );
    }
    let (_bus, topic) = topic(Policy::Reject, 2);
    let _slow = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    publish_all(&topic, 0..2);
    assert!(publish(&topic, 0, 2).is_err());
}

/// Publishing from any other thread than the first panicked.
#[test]
fn defect_11_any_thread_publishes_and_receives() {
    let (_bus, topic) = topic(Policy::Overwrite, 64);
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    let mut threads = Vec::new();
    for publisher in 0..8 {
        let topic = topic.clone();
        threads.push(thread::spawn(move || publish(&topic, publisher, 0).unwrap().sequence));
    }
    let mut given: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    given.sort_unstable();
    assert_eq!(given, Vec::from_iter(0..8), "each position once");
    thread::spawn(move || (0..8).for_each(|_| assert_eq!(number(&subscription), 0)))
        .join()
        .unwrap();
}

/// `publish` reported success before delivery, and a type that nobody had registered was dropped.
#[test]
fn defect_12_a_position_means_that_it_is_there_whatever_its_type() {
    let (_bus, topic) = topic(Policy::Overwrite, 8);
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    for type_id in [0, 1, 999, u16::MAX] {
        let position = topic.publish(&Outgoing { type_id, ..Outgoing::default() }).unwrap();
        let found = topic.subscribe(Start::At(position), Keep::InLog).unwrap();
        for subscription in [&subscription, &found] {
            let Ok(Event::Message(message)) = now(subscription) else { panic!("not there") };
            assert_eq!((message.position, message.envelope.type_id), (position, type_id));
        }
    }
}

/// Unsubscribing freed a callback that was still being called.
#[test]
fn defect_15_after_close_nothing_more_is_received() {
    for _ in 0..200 {
        let (_bus, topic) = topic(Policy::Overwrite, 8);
        let subscription = topic.subscribe(Start::Newest, Keep::DropOldest { buffer: 4 }).unwrap();
        let closed = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    // Asked before, so that a receive which ended in time counts as one.
                    let was_closed = closed.load(Ordering::SeqCst);
                    match subscription.recv(None) {
                        Ok(_) => assert!(!was_closed, "received after close"),
                        Err(RecvError::Closed) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            scope.spawn(|| publish_all(&topic, 0..50));
            until(|| subscription.counts().received > 0);
            subscription.close();
            let counts = subscription.counts();
            closed.store(true, Ordering::SeqCst);
            publish(&topic, 0, 50).unwrap();
            assert_eq!(subscription.counts(), counts, "nothing is counted after close");
        });
        assert_eq!(topic.subscribers(), 0);
    }
}
