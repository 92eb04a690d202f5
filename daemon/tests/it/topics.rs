//! Topics between processes: the real client against the real daemon.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ringfence::{
    Client, Error, ErrorCode, Event, Keep, Policy, Publication, Start, Subscription, Topic,
    TopicOptions,
};

use crate::daemon::{Daemon, PATIENCE, until};

const WITH_BUS: &[&str] = &["--engines", "system,bus"];

pub(crate) fn start() -> Daemon {
    Daemon::start(WITH_BUS)
}

pub(crate) fn client(daemon: &Daemon) -> Client {
    Client::builder().socket(daemon.socket()).connect().unwrap()
}

pub(crate) fn options(policy: Policy, slots: u32) -> TopicOptions {
    TopicOptions { policy, slots, payload_bytes: 64, ..TopicOptions::default() }
}

fn publish(topic: &Topic, number: u64) -> u64 {
    let payload = [number, !number].map(u64::to_le_bytes).concat();
    topic.publish(&Publication::new(&payload).type_id(number as u16)).unwrap().sequence
}

pub(crate) fn publish_all(topic: &Topic, numbers: std::ops::Range<u64>) {
    for number in numbers {
        publish(topic, number);
    }
}

fn number(event: Event) -> u64 {
    let Event::Message(message) = event else { panic!("{event:?}") };
    let words: Vec<u64> = message
        .payload
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect();
    assert_eq!((words[1], message.envelope.type_id), (!words[0], words[0] as u16));
    words[0]
}

fn next(subscription: &Subscription) -> u64 {
    number(subscription.recv(Some(PATIENCE)).unwrap())
}

#[test]
fn what_one_process_publishes_others_receive_in_one_order() {
    let daemon = start();
    let (one, two) = (client(&daemon), client(&daemon));
    let topic = one.topic("t", options(Policy::Overwrite, 1024)).unwrap();
    let readers = [client(&daemon), client(&daemon)];
    let subscriptions = readers.each_ref().map(|reader| {
        reader.find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap()
    });
    assert_eq!(topic.stats().unwrap().subscriptions, 2);
    let other = two.find_topic("t").unwrap();
    assert_eq!(other.options(), topic.options());
    std::thread::scope(|scope| {
        scope.spawn(|| publish_all(&topic, 0..100));
        scope.spawn(|| publish_all(&other, 100..200));
    });
    let heard = subscriptions.each_ref().map(|s| (0..200).map(|_| next(s)).collect::<Vec<_>>());
    assert_eq!(heard[0], heard[1], "one order");
    let of_one: Vec<u64> = heard[0].iter().copied().filter(|n| *n < 100).collect();
    assert_eq!(of_one, (0..100).collect::<Vec<_>>(), "each publisher's own order");
    assert!(subscriptions[0].recv(Some(Duration::ZERO)).is_err());
    assert_eq!(subscriptions[0].counts().received, 200);
}

#[test]
fn whoever_sleeps_is_woken_by_a_publish_and_by_close() {
    let daemon = start();
    let (publisher, reader) = (client(&daemon), client(&daemon));
    let topic = publisher.topic("t", options(Policy::Overwrite, 8)).unwrap();
    let subscription =
        reader.find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    for round in 0..20 {
        std::thread::scope(|scope| {
            let receiver = scope.spawn(|| next(&subscription));
            // Some rounds find it spinning, some asleep.
            std::thread::sleep(Duration::from_millis(round % 4 * 3));
            publish(&topic, round);
            assert_eq!(receiver.join().unwrap(), round);
        });
    }
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| subscription.recv(None));
        std::thread::sleep(Duration::from_millis(20));
        subscription.close();
        assert!(receiver.join().unwrap().is_err());
    });
    until("the daemon forgets the subscription", || topic.stats().unwrap().subscriptions == 0);
}

#[test]
fn a_lapped_reader_learns_exactly_how_many_it_missed_and_harms_nobody() {
    let daemon = start();
    let (publisher, slow, quick) = (client(&daemon), client(&daemon), client(&daemon));
    let topic = publisher.topic("t", options(Policy::Overwrite, 8)).unwrap();
    let lagging = slow.find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    let present = quick.find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    for n in 0..100 {
        publish(&topic, n);
        assert_eq!(next(&present), n);
    }
    let Event::Overtaken { missed } = lagging.recv(Some(PATIENCE)).unwrap() else {
        panic!("it missed something")
    };
    let rest: Vec<u64> = (missed..100).map(|_| next(&lagging)).collect();
    assert_eq!(rest, (missed..100).collect::<Vec<_>>());
    let counts = lagging.counts();
    assert_eq!(counts.received + counts.missed, 100);
    assert_eq!((present.counts().received, present.counts().missed), (100, 0));
}

#[test]
fn late_joiners_start_where_they_say() {
    let daemon = start();
    let client = client(&daemon);
    let topic = client.topic("t", options(Policy::Overwrite, 64)).unwrap();
    let third = (0..10).map(|n| {
        let payload = [n, !n].map(u64::to_le_bytes).concat();
        topic.publish(&Publication::new(&payload).type_id(n as u16)).unwrap()
    });
    let positions: Vec<_> = third.collect();
    let from = |start| topic.subscribe(start, Keep::InLog);
    assert_eq!(next(&from(Start::Oldest).unwrap()), 0);
    assert_eq!(next(&from(Start::At(positions[3])).unwrap()), 3);
    assert!(from(Start::Newest).unwrap().recv(Some(Duration::ZERO)).is_err());
    let mut elsewhere = positions[3];
    elsewhere.epoch += 1;
    assert_eq!(from(Start::At(elsewhere)).unwrap_err().code(), ErrorCode::InvalidArgument);
}

#[test]
fn ids_travel_and_wrong_calls_are_told_why() {
    let daemon = start();
    let client = client(&daemon);
    let topic = client.topic("t", options(Policy::Overwrite, 8)).unwrap();
    let unheard = topic.publish(&Publication::new(b"x").must_be_heard()).unwrap_err();
    assert_eq!(unheard.code(), ErrorCode::NoSubscribers);
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    let (trace, correlation) = (1 << 100 | 7, 9 << 64);
    topic.publish(&Publication::new(b"x").trace(trace).correlation(correlation)).unwrap();
    let Event::Message(message) = subscription.recv(Some(PATIENCE)).unwrap() else { panic!() };
    assert_eq!((message.envelope.trace, message.envelope.correlation), (trace, correlation));
    assert_eq!(message.envelope.publisher, client.info().session);
    let long = topic.publish(&Publication::new(&[0; 65])).unwrap_err();
    assert_eq!(long.code(), ErrorCode::TooLarge);
    assert!(long.to_string().contains("65") && long.to_string().contains("64"), "{long}");
    let unknown = client.find_topic("u").unwrap_err();
    assert!(unknown.code() == ErrorCode::UnknownTopic && unknown.to_string().contains('t'));
    let other = client.topic("t", options(Policy::Reject, 8)).unwrap_err();
    assert_eq!(other.code(), ErrorCode::AlreadyExists);
}

#[test]
fn reject_refuses_what_a_reader_would_miss() {
    let daemon = start();
    let (publisher, reader) = (client(&daemon), client(&daemon));
    let topic = publisher.topic("t", options(Policy::Reject, 4)).unwrap();
    let subscription =
        reader.find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    publish_all(&topic, 0..4);
    let refused = topic.publish(&Publication::new(b"x")).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Backpressure);
    assert_eq!(next(&subscription), 0);
    publish(&topic, 4);
    assert_eq!((1..5).map(|_| next(&subscription)).collect::<Vec<_>>(), [1, 2, 3, 4]);
    // Nobody waits for one who has left.
    drop(subscription);
    publish_all(&topic, 0..20);
}

#[test]
fn block_waits_for_room_and_loses_nothing() {
    let daemon = start();
    let (publisher, reader) = (client(&daemon), client(&daemon));
    let topic = publisher.topic("t", options(Policy::Block { patience: PATIENCE }, 4)).unwrap();
    let subscription =
        reader.find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| publish_all(&topic, 0..200));
        let waits = || topic.stats().unwrap().waiting == 1;
        until("a publish waits", waits);
        assert_eq!(
            (0..200).map(|_| next(&subscription)).collect::<Vec<_>>(),
            Vec::from_iter(0..200)
        );
    });
    assert_eq!(subscription.counts().missed, 0);
}

#[test]
fn a_laggard_of_a_blocking_topic_is_cut_off_and_told() {
    let daemon = start();
    let (publisher, slow, quick) = (client(&daemon), client(&daemon), client(&daemon));
    let patience = Duration::from_millis(30);
    let topic = publisher.topic("t", options(Policy::Block { patience }, 4)).unwrap();
    let laggard = slow.find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    let present = quick.find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    for n in 0..20 {
        publish(&topic, n);
        assert_eq!(next(&present), n);
    }
    let end = loop {
        match laggard.recv(Some(PATIENCE)) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let Error::CutOff { at, missed, .. } = &end else { panic!("{end}") };
    assert_eq!((at.sequence, *missed), (4, 4), "{end}");
    assert_eq!((laggard.counts().received, laggard.counts().missed), (0, 4));
    assert_eq!(topic.stats().unwrap().subscriptions, 1);
}

#[test]
fn that_it_was_cut_off_says_nothing_of_the_next_subscription() {
    let daemon = start();
    let (publisher, reader) = (client(&daemon), client(&daemon));
    let patience = Duration::from_millis(1);
    let topic = publisher.topic("t", options(Policy::Block { patience }, 4)).unwrap();
    let read = reader.find_topic("t").unwrap();
    let unheard = read.subscribe(Start::Newest, Keep::InLog).unwrap();
    publish_all(&topic, 0..5);
    drop(unheard);
    let next_one = read.subscribe(Start::Newest, Keep::InLog).unwrap();
    let nothing = next_one.recv(Some(Duration::ZERO)).unwrap_err();
    assert_eq!(nothing.code(), ErrorCode::Expired, "{nothing}");
    publish(&topic, 5);
    assert_eq!(next(&next_one), 5);
}

#[test]
fn who_is_cut_off_reads_on_what_it_holds() {
    let daemon = start();
    let (publisher, reader) = (client(&daemon), client(&daemon));
    let policy = Policy::Block { patience: Duration::from_millis(1) };
    let blocks = TopicOptions { blocks: 2, block_bytes: 4096, ..options(policy, 4) };
    let topic = publisher.topic("t", blocks).unwrap();
    let laggard = reader.find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    topic.publish(&Publication::new(&[7; 4096])).unwrap();
    let Event::Message(held) = laggard.recv(Some(PATIENCE)).unwrap() else { panic!() };
    assert!(held.payload.is_held());
    publish_all(&topic, 0..6);
    assert_eq!(topic.stats().unwrap().subscriptions, 0, "cut off");
    for _ in 0..4 {
        topic.publish(&Publication::new(&[8; 4096])).unwrap();
    }
    assert_eq!(*held.payload, [7; 4096]);
    // And in the end both blocks are free again.
    drop(held);
    let fresh = reader.find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    for n in 0..2 {
        topic.publish(&Publication::new(&[n; 4096])).unwrap();
    }
    let read = [0, 1].map(|n| {
        let Event::Message(message) = fresh.recv(Some(PATIENCE)).unwrap() else { panic!("{n}") };
        message
    });
    let full = topic.publish(&Publication::new(&[9; 4096])).unwrap_err();
    assert_eq!(full.code(), ErrorCode::Backpressure, "what a subscription holds stays");
    assert!(read.iter().zip(0..).all(|(message, n)| *message.payload == [n; 4096]));
    drop(fresh);
}

#[test]
fn block_waits_for_a_block_and_loses_nothing() {
    let daemon = start();
    let (publisher, reader) = (client(&daemon), client(&daemon));
    let policy = Policy::Block { patience: PATIENCE };
    let blocks = TopicOptions { blocks: 2, block_bytes: 4096, ..options(policy, 16) };
    let topic = publisher.topic("t", blocks).unwrap();
    let subscription =
        reader.find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..100 {
                topic.publish(&Publication::new(&[n; 4096])).unwrap();
            }
        });
        until("a publish waits", || topic.stats().unwrap().waiting == 1);
        for n in 0..100 {
            let event = subscription.recv(Some(PATIENCE)).unwrap();
            let Event::Message(message) = event else { panic!("{event:?}") };
            assert_eq!(*message.payload, [n; 4096]);
        }
    });
}

#[test]
fn a_stopped_subscriber_changes_nobody_elses_counts() {
    let daemon = start();
    let (publisher, reader) = (client(&daemon), client(&daemon));
    let topic = publisher.topic("t", options(Policy::Overwrite, 1024)).unwrap();
    let present = reader.find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    // One that subscribes, and whose process then never reads again.
    let stopped =
        client(&daemon).find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    let started = Barrier::new(2);
    std::thread::scope(|scope| {
        let heard = scope.spawn(|| {
            started.wait();
            (0..5000).map(|_| next(&present)).collect::<Vec<_>>()
        });
        started.wait();
        for n in 0..5000 {
            // So that the present one is never lapped by this test itself.
            until("it keeps up", || n < present.counts().received + 1000);
            publish(&topic, n);
        }
        assert_eq!(heard.join().unwrap(), Vec::from_iter(0..5000));
    });
    assert_eq!(stopped.counts().received, 0);
}

#[test]
fn a_daemon_that_starts_anew_has_the_same_topic_again() {
    let mut daemon = start();
    let (publisher, reader) = (client(&daemon), client(&daemon));
    let topic = publisher.topic("t", options(Policy::Overwrite, 8)).unwrap();
    let subscription = reader.topic("t", options(Policy::Overwrite, 8)).unwrap();
    let subscription = subscription.subscribe(Start::Newest, Keep::InLog).unwrap();
    publish(&topic, 1);
    daemon.kill_and_restart(WITH_BUS);
    assert_eq!(next(&subscription), 1, "what was published before is still there");
    let gone = subscription.recv(Some(PATIENCE)).unwrap_err();
    assert_eq!(gone.code(), ErrorCode::DaemonRestarted, "{gone}");
    let published = Instant::now();
    while topic.publish(&Publication::new(&[0; 16])).is_err() {
        assert!(published.elapsed() < PATIENCE);
    }
    let again = loop {
        match subscription.recv(Some(PATIENCE)) {
            Ok(Event::Message(message)) => break message,
            Ok(event) => panic!("{event:?}"),
            Err(error) => assert_eq!(error.code(), ErrorCode::DaemonRestarted, "{error}"),
        }
    };
    assert_eq!(again.position.sequence, 0, "of another epoch");
}

#[test]
fn a_restart_is_said_also_to_who_never_waits() {
    let mut daemon = start();
    let client = client(&daemon);
    let topic = client.topic("t", options(Policy::Overwrite, 8)).unwrap();
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    publish(&topic, 1);
    daemon.kill_and_restart(WITH_BUS);
    until("the client has noticed", || topic.publish(&Publication::new(&[0; 16])).is_ok());
    let mut said = Vec::new();
    until("the new daemon's message", || {
        match subscription.recv(Some(Duration::ZERO)) {
            Ok(Event::Message(message)) => said.push(message.position.sequence.to_string()),
            Ok(event) => panic!("{event:?}"),
            Err(error) if error.code() == ErrorCode::Expired => {}
            Err(error) => said.push(format!("{:?}", error.code())),
        }
        said.len() == 3
    });
    assert_eq!(said, ["0", "DaemonRestarted", "0"]);
}

#[test]
fn a_restart_is_noticed_by_who_only_looks() {
    let mut daemon = start();
    let client = client(&daemon);
    let topic = client.topic("t", options(Policy::Overwrite, 8)).unwrap();
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    daemon.kill_and_restart(WITH_BUS);
    until("it is said", || {
        let error = subscription.recv(Some(Duration::ZERO)).unwrap_err();
        error.code() == ErrorCode::DaemonRestarted
    });
}

/// Its number was another session's when it was asked for.
#[test]
fn a_subscription_that_meets_a_restart_leaves_no_other_behind() {
    let mut daemon = start();
    let client = client(&daemon);
    let topic = client.topic("t", options(Policy::Reject, 4)).unwrap();
    daemon.kill_and_restart(WITH_BUS);
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
    assert_eq!(topic.stats().unwrap().subscriptions, 1);
    publish(&topic, 1);
    assert_eq!(next(&subscription), 1);
    drop(subscription);
    assert_eq!(topic.stats().unwrap().subscriptions, 0);
    publish_all(&topic, 0..10);
}

/// No shorter message goes by a longer one for which there is no room at once.
#[test]
fn what_is_submitted_stands_in_that_order_whatever_its_length() {
    let env = [("RINGFENCE_ENGINES", "system,bus"), ("RINGFENCE_LANES_ARENA_BYTES", "8192")];
    let daemon = Daemon::start_under(&[], &env);
    let client = client(&daemon);
    let options = TopicOptions { blocks: 64, block_bytes: 4096, ..options(Policy::Overwrite, 64) };
    let topic = client.topic("t", options).unwrap();
    for _ in 0..200 {
        // One more than the arena holds, and one that needs none of it.
        let lengths = [4000, 4000, 4000, 16];
        let submit = |len| topic.submit(&Publication::new(&[7; 4000][..len])).unwrap();
        let positions = lengths.map(submit).map(|pending| topic.published(pending).unwrap());
        assert!(positions.is_sorted_by_key(|position| position.sequence), "{positions:?}");
    }
}

#[test]
fn a_dead_subscriber_and_a_dead_daemon_leave_nothing() {
    let mut daemon = start();
    let publisher = client(&daemon);
    let topic = publisher.topic("t", options(Policy::Reject, 4)).unwrap();
    let reader = client(&daemon);
    let subscription =
        reader.find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    reader.close();
    until("its subscription is gone", || topic.stats().unwrap().subscriptions == 0);
    publish_all(&topic, 0..10);
    drop(subscription);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait(), Some(0));
    assert_eq!(daemon.names(), Vec::<String>::new());
}

/// A sweep of the daemon comes only every 100 ms: a publish that is cut short by its topic's patience
/// does not wait for one.
#[test]
fn the_end_of_a_patience_wakes_the_daemon() {
    let daemon = start();
    let client = client(&daemon);
    let policy = Policy::Block { patience: Duration::from_millis(5) };
    let topic = client.topic("t", options(policy, 2)).unwrap();
    let waits = || {
        let _laggard = topic.subscribe(Start::Newest, Keep::InLog).unwrap();
        publish_all(&topic, 0..2);
        let start = Instant::now();
        publish(&topic, 2);
        start.elapsed()
    };
    until("they are answered before sweeps can have come", || {
        // If it is sweeps that answer, of two pollers in turn, these take half a second.
        (0..10).map(|_| waits()).sum::<Duration>() < Duration::from_millis(300)
    });
}
