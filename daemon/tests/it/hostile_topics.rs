//! Subscribers that break the rules of topics: only they are harmed, and what they are told is clear.

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::ftruncate;
use ringfence::{
    Client, Error, ErrorCode, Event, Keep, Policy, Publication, Start, Topic, TopicOptions,
};
use ringfence_protocol::api::bus as api;
use ringfence_protocol::layout::{Hold, down, up};
use ringfence_protocol::limits::{HOLDS, SUBSCRIPTIONS};
use ringfence_protocol::memory::Memory as _;
use ringfence_protocol::message::Message as _;
use ringfence_protocol::wire::DaemonMessage;

use super::daemon::{Daemon, PATIENCE, until};
use super::raw::{Raw, code, encode, hear, says};

const WITH_BUS: &[&str] = &["--engines", "system,bus"];
const SLOTS: u32 = 4;
const BLOCK: Policy = Policy::Block { patience: Duration::from_millis(30) };

fn start() -> Daemon {
    Daemon::start(WITH_BUS)
}

fn client(daemon: &Daemon) -> Client {
    Client::builder().socket(daemon.socket()).connect().unwrap()
}

fn options(policy: Policy) -> TopicOptions {
    TopicOptions { policy, slots: SLOTS, payload_bytes: 64, blocks: 2, block_bytes: 4096 }
}

impl Raw {
    fn find(&mut self) -> api::Opened {
        let (slots, payload_bytes, blocks, block_bytes) = (0, 0, 0, 0);
        let (patience_ms, policy, name) = (0, 0, "t");
        let found =
            api::Open { slots, payload_bytes, blocks, block_bytes, patience_ms, policy, name };
        let open = self.method(api::NAME, api::OPEN);
        api::Opened::decode(&self.call(open, &encode(&found)).unwrap()).unwrap()
    }

    fn subscribe(
        &mut self,
        asked: api::Subscribe,
    ) -> Result<u64, ringfence_protocol::error::Error> {
        let subscribe = self.method(api::NAME, api::SUBSCRIBE);
        let reply = self.call(subscribe, &encode(&asked))?;
        Ok(api::Subscribed::decode(&reply).unwrap().sequence)
    }

    /// From the newest message, with this number.
    fn listen(&mut self, topic: u64, subscription: u32) {
        self.subscribe(at_newest(topic, subscription)).unwrap();
    }

    fn say_cursor(&self, subscription: u32, cursor: u64) {
        let at = self.opened.geometry.up().cursors + subscription as usize * 8;
        self.up.store_release(at, cursor);
    }

    fn say_hold(&self, number: usize, word: u64) {
        self.up.store(self.opened.geometry.up().holds + number * 8, word);
    }

    fn say_listening(&self, value: u32) {
        self.up.store_u32(up::LISTENING, value);
        self.up.fence(Ordering::SeqCst);
    }

    fn news(&self) -> u32 {
        self.down.load_u32(down::NEWS)
    }
}

fn at_newest(topic: u64, subscription: u32) -> api::Subscribe {
    api::Subscribe { topic, subscription, start: api::FROM_NEWEST, epoch: 0, sequence: 0 }
}

fn publish(topic: &Topic, number: u64) -> Result<u64, Error> {
    topic.publish(&Publication::new(&number.to_le_bytes())).map(|position| position.sequence)
}

fn publish_all(topic: &Topic, numbers: std::ops::Range<u64>) {
    for number in numbers {
        publish(topic, number).unwrap();
    }
}

/// Acts while another thread storms.
fn during<S: Send, T>(mut storm: impl FnMut() -> S + Send, act: impl FnOnce() -> T) -> (S, T) {
    struct Stop<'s>(&'s AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let storm = scope.spawn(|| {
            loop {
                let last = storm();
                // The others need the core too.
                std::thread::sleep(Duration::from_micros(20));
                if stop.load(Ordering::Relaxed) {
                    break last;
                }
            }
        });
        // Also if it panics.
        let ends = Stop(&stop);
        let acted = act();
        drop(ends);
        (storm.join().unwrap(), acted)
    })
}

/// Publishes so many while an honest neighbour reads, who gets each of them.
fn neighbour_gets_all(topic: &Topic, neighbour: &Client, count: u64) {
    let honest =
        neighbour.find_topic(topic.name()).unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..count {
                // Refused only for as long as the neighbour itself has not read on.
                until("there is room", || match publish(topic, n) {
                    Ok(_) => true,
                    Err(error) => {
                        assert_eq!(error.code(), ErrorCode::Backpressure, "{error}");
                        false
                    }
                });
            }
        });
        for n in 0..count {
            let Event::Message(message) = honest.recv(Some(PATIENCE)).unwrap() else { panic!() };
            assert_eq!(*message.payload, n.to_le_bytes());
        }
    });
    assert_eq!(honest.counts().missed, 0);
}

/// Ways to lie about how far one has read: what to say after so many messages.
const LIES: [fn(u64) -> u64; 5] = [
    |_| u64::MAX,
    |published| published + 1000,
    |published| 1_000_u64.saturating_sub(published),
    |published| if published.is_multiple_of(2) { published } else { 0 },
    |published| published.wrapping_mul(0x9e37_79b9_7f4a_7c15),
];

#[test]
fn forged_cursors_of_a_blocking_topic_harm_the_forger() {
    let daemon = start();
    let (publisher, neighbour) = (client(&daemon), client(&daemon));
    // So much that whoever is honest reads within it, also on a machine that others use.
    let policy = Policy::Block { patience: Duration::from_secs(1) };
    let topic = publisher.topic("t", options(policy)).unwrap();
    for lie in LIES {
        let mut forger = Raw::connect(&daemon);
        let handle = forger.find().topic;
        forger.listen(handle, 3);
        let mut step = 0;
        let storm = || {
            forger.say_cursor(3, lie(step));
            step += 1;
        };
        during(storm, || neighbour_gets_all(&topic, &neighbour, 50));
        // From here on it says nothing new: it is cut off if it was not before.
        publish_all(&topic, 0..u64::from(SLOTS) + 1);
        assert_eq!(topic.stats().unwrap().subscriptions, 0);
        let told = std::iter::from_fn(|| hear(&forger.conn)).map(|(message, _)| message);
        let cut_off = |message| matches!(message, DaemonMessage::CutOff { subscription: 3, .. });
        assert!(told.into_iter().any(cut_off));
        forger.echo(b"its session goes on");
    }
}

#[test]
fn forged_cursors_of_a_rejecting_topic_count_as_not_read() {
    let daemon = start();
    let (publisher, neighbour) = (client(&daemon), client(&daemon));
    let topic = publisher.topic("t", options(Policy::Reject)).unwrap();
    let mut forger = Raw::connect(&daemon);
    let handle = forger.find().topic;
    forger.listen(handle, 0);
    publish_all(&topic, 0..u64::from(SLOTS));
    for lie in [u64::MAX, 5, 1 << 63] {
        forger.say_cursor(0, lie);
        let refused = publish(&topic, 9).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Backpressure);
        assert!(refused.to_string().contains("4 messages"), "{refused}");
    }
    forger.say_cursor(0, 3);
    publish_all(&topic, 0..3);
    forger.say_cursor(0, 1);
    assert_eq!(publish(&topic, 9).unwrap_err().code(), ErrorCode::Backpressure, "3 stands");
    // Who says that it has read all that there is loses, and nobody else.
    let mut cursor = 3;
    let storm = || {
        forger.say_cursor(0, cursor);
        cursor = if cursor < 64 { cursor + 1 } else { 3 };
    };
    during(storm, || neighbour_gets_all(&topic, &neighbour, 50));
    drop(forger);
    until("nobody waits for it", || publish(&topic, 0).is_ok());
}

#[test]
fn holds_of_everything_harm_no_other_topic() {
    let daemon = start();
    let publisher = client(&daemon);
    let topic = publisher.topic("t", options(Policy::Overwrite)).unwrap();
    let other = publisher.topic("other", options(Policy::Overwrite)).unwrap();
    let mut holder = Raw::connect(&daemon);
    let handle = holder.find().topic;
    holder.listen(handle, 1);
    let large = |topic: &Topic| topic.publish(&Publication::new(&[1; 4096]));
    for number in 0..HOLDS {
        let (block, generation) = (number as u32 % 2, number as u32 / 2);
        holder.say_hold(number, Hold { subscription: 1, block, generation }.word());
    }
    large(&topic).unwrap();
    large(&topic).unwrap();
    for _ in 0..3 {
        let refused = large(&topic).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Backpressure);
        assert!(refused.to_string().contains("all 2 blocks"), "{refused}");
        publish(&topic, 1).unwrap();
        large(&other).unwrap();
    }
    // A subscription that does not exist holds nothing.
    for number in 0..HOLDS {
        let (block, generation) = (number as u32 % 2, number as u32 / 2);
        holder.say_hold(number, Hold { subscription: 2, block, generation }.word());
    }
    large(&topic).unwrap();
    // Words that name nothing.
    (0..HOLDS).for_each(|number| holder.say_hold(number, u64::MAX));
    large(&topic).unwrap();
    large(&topic).unwrap();
}

#[test]
fn a_storm_of_listening_wakes_once_for_each_odd_value() {
    let daemon = start();
    let publisher = client(&daemon);
    let topic = publisher.topic("t", options(Policy::Overwrite)).unwrap();
    let mut neighbour = Raw::connect(&daemon);
    let mut listener = Raw::connect(&daemon);
    let handle = listener.find().topic;
    listener.listen(handle, 0);
    // One sleep, and many messages.
    listener.say_listening(1);
    publish_all(&topic, 0..200);
    until("it was woken", || listener.news() == 1);
    listener.say_listening(4);
    publish_all(&topic, 0..200);
    neighbour.echo(b"after all of them");
    assert_eq!(listener.news(), 1, "an even value sleeps not");
    // Bytes are asked for that nobody can be sent.
    let (mut value, mut odd) = (0_u32, 0);
    let storm = || {
        value = value.wrapping_mul(0x9e37_79b1).wrapping_add(7);
        odd += value & 1;
        listener.say_listening(value);
        odd
    };
    let (odd, ()) = during(storm, || {
        for round in 0..300_u32 {
            publish(&topic, round.into()).unwrap();
            neighbour.echo(&round.to_le_bytes());
        }
    });
    let woken = listener.news() - 1;
    assert!(woken <= odd && woken <= 300, "{woken} times for {odd} odd values and 300 messages");
}

#[test]
fn up_truncated_while_subscribed() {
    for policy in [BLOCK, Policy::Reject, Policy::Overwrite] {
        let mut daemon = start();
        let publisher = client(&daemon);
        let topic = publisher.topic("t", options(policy)).unwrap();
        let mut attacker = Raw::connect(&daemon);
        let handle = attacker.find().topic;
        attacker.listen(handle, 0);
        attacker.listen(handle, 63);
        ftruncate(attacker.up_fd.as_fd(), 0).unwrap();
        // All of its words are looked at.
        let since = Instant::now();
        for n in 0..50 {
            until("nobody waits for it", || publish(&topic, n).is_ok());
            let large = topic.publish(&Publication::new(&[1; 4096]));
            assert!(large.is_ok() || large.unwrap_err().code() == ErrorCode::Backpressure);
        }
        assert!(since.elapsed() < PATIENCE);
        until("its subscriptions are gone", || topic.stats().unwrap().subscriptions == 0);
        let mut last = None;
        while let Some((message, _)) = hear(&attacker.conn) {
            last = Some(message);
        }
        let Some(DaemonMessage::Killed { fault, .. }) = last else { panic!("{last:?}") };
        assert_eq!(fault, "truncated");
        assert!(daemon.is_running());
    }
}

#[test]
fn wrong_requests_are_told_what_is_wrong() {
    let daemon = start();
    let publisher = client(&daemon);
    let topic = publisher.topic("t", options(Policy::Overwrite)).unwrap();
    publish(&topic, 1).unwrap();
    let mut client = Raw::connect(&daemon);
    let api::Opened { epoch, topic: handle, .. } = client.find();
    let right = at_newest(handle, 0);
    for subscription in [64, u32::MAX] {
        let asked = api::Subscribe { subscription, ..right };
        says(client.subscribe(asked), "a session has 64");
    }
    for topic in [0, handle + 1, handle ^ 1 << 32, u64::MAX] {
        let asked = api::Subscribe { topic, ..right };
        assert_eq!(code(client.subscribe(asked)), ErrorCode::UnknownTopic);
    }
    says(client.subscribe(api::Subscribe { start: 3, ..right }), "start 3");
    let at = api::Subscribe { start: api::FROM_POSITION, ..right };
    says(client.subscribe(api::Subscribe { epoch: 1, ..at }), "is of epoch 1");
    for sequence in [2, u64::MAX] {
        says(client.subscribe(api::Subscribe { epoch, sequence, ..at }), "not written yet");
    }
    client.subscribe(right).unwrap();
    says(client.subscribe(right), "close it first");
    let publish = client.method(api::NAME, api::PUBLISH);
    let message = api::Publish { topic: handle, type_id: 0, flags: 2, payload: &[] };
    says(client.call(publish, &encode(&message)), "flags 0x2");
    for (method, len) in [(api::SUBSCRIBE, 24), (api::PUBLISH, 11), (api::OPEN, 3)] {
        let method = client.method(api::NAME, method);
        assert_eq!(code(client.call(method, &vec![0; len])), ErrorCode::Malformed);
    }
    assert_eq!(topic.stats().unwrap().subscriptions, 1);
}

#[test]
fn the_65th_subscription_of_a_session_is_refused() {
    let daemon = start();
    let client = client(&daemon);
    let topic = client.topic("t", options(Policy::Overwrite)).unwrap();
    let subscribe = || topic.subscribe(Start::Newest, Keep::InLog);
    let mut open: Vec<_> = (0..SUBSCRIPTIONS).map(|_| subscribe().unwrap()).collect();
    let refused = subscribe().unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Quota);
    assert!(refused.to_string().contains("close one first"), "{refused}");
    open.pop();
    open.push(subscribe().unwrap());
    publish(&topic, 7).unwrap();
    for subscription in &open {
        let Event::Message(message) = subscription.recv(Some(PATIENCE)).unwrap() else { panic!() };
        assert_eq!(*message.payload, 7_u64.to_le_bytes());
    }
}

#[test]
fn who_never_reads_its_control_socket_is_hung_up_when_it_is_cut_off() {
    let daemon = start();
    let publisher = client(&daemon);
    let topic = publisher.topic("t", options(BLOCK)).unwrap();
    let mut deaf = Raw::connect(&daemon);
    let handle = deaf.find().topic;
    deaf.listen(handle, 0);
    let unsubscribe = deaf.method(api::NAME, api::UNSUBSCRIBE);
    // Each subscription is told its log, until there is no room for one more word.
    let full = loop {
        match deaf.subscribe(at_newest(handle, 1)) {
            Ok(_) => {
                deaf.call(unsubscribe, &encode(&api::Unsubscribe { subscription: 1 })).unwrap()
            }
            Err(error) => break error,
        };
    };
    assert_eq!(full.code, ErrorCode::Backpressure, "{full:?}");
    publish_all(&topic, 0..u64::from(SLOTS) + 1);
    until("its session is over", || topic.stats().unwrap().subscriptions == 0);
    assert!(deaf.conn.hung_up());
}
