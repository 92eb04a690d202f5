//! The bus against an oracle that knows what was published. Every wait is for a condition, with a
//! bound that only a broken bus reaches.

mod apart;
mod defects;
mod elsewhere;
mod ending;
mod engine;
mod making;
mod policies;
mod queue;
mod starts;
mod waking;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::*;

/// What nothing here takes, unless it hangs.
const LONG: Duration = Duration::from_secs(30);
/// Patience that nobody exhausts.
const PATIENT: Policy = Policy::Block { patience: LONG };

const _: () = {
    const fn any_thread<T: Send + Sync>() {}
    any_thread::<Bus>();
    any_thread::<Topic>();
    any_thread::<Subscription>();
};

fn bus() -> Bus {
    Bus::new(7, Limits::default())
}

fn topic(policy: Policy, slots: u32) -> (Bus, Topic) {
    let bus = bus();
    let topic = bus
        .topic("t", TopicOptions { policy, slots, payload_bytes: 48, ..TopicOptions::default() })
        .unwrap();
    (bus, topic)
}

/// A message that says who published it and as its how-manieth.
fn publish(topic: &Topic, publisher: u64, number: u64) -> Result<Position, PublishError> {
    let payload = [publisher.to_le_bytes(), number.to_le_bytes()].concat();
    let type_id = number as u16;
    let trace = number.into();
    topic.publish(&Outgoing { type_id, payload: &payload, publisher, trace, ..Outgoing::default() })
}

fn publish_all(topic: &Topic, numbers: std::ops::Range<u64>) {
    for number in numbers {
        publish(topic, 0, number).unwrap();
    }
}

/// The publisher and the number that a message says, by each of its parts alike.
fn said(message: &Message) -> (u64, u64) {
    let words: [u64; 2] = std::array::from_fn(|at| {
        u64::from_le_bytes(message.payload[at * 8..][..8].try_into().unwrap())
    });
    let Envelope { type_id, publisher, trace, .. } = message.envelope;
    assert_eq!((words[0], words[1] as u16, u128::from(words[1])), (publisher, type_id, trace));
    (words[0], words[1])
}

/// The number of the next event's message.
fn number(subscription: &Subscription) -> u64 {
    match subscription.recv(Some(LONG)).unwrap() {
        Event::Message(message) => said(&message).1,
        Event::Overtaken { missed } => panic!("{missed} missed"),
    }
}

/// What is there now, without waiting.
fn now(subscription: &Subscription) -> Result<Event, RecvError> {
    subscription.recv(Some(Duration::ZERO))
}

fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "the condition never came");
        std::thread::yield_now();
    }
}

/// What one subscription received, checked while it comes.
#[derive(Debug, Default)]
struct Oracle {
    received: u64,
    overtaken: u64,
    /// Sequence behind the last message.
    next: u64,
    /// Missed since the last message.
    since: u64,
    /// Positions that were neither received nor told to be missed.
    gaps: u64,
    last: HashMap<u64, u64>,
}

impl Oracle {
    fn hear(&mut self, event: Event) {
        let message = match event {
            Event::Message(message) => message,
            Event::Overtaken { missed } => {
                assert!(missed > 0);
                self.overtaken += missed;
                self.since += missed;
                return;
            }
        };
        let (publisher, number) = said(&message);
        let sequence = message.position.sequence;
        assert!(sequence >= self.next + self.since, "{sequence} is too early: {self:?}");
        self.gaps += sequence - self.next - self.since;
        (self.next, self.since) = (sequence + 1, 0);
        let before = self.last.insert(publisher, number);
        assert!(before < Some(number), "publisher {publisher}: {number} after {before:?}");
        self.received += 1;
    }

    /// Hears everything until the bus is closed.
    fn follow(subscription: &Subscription) -> Self {
        let mut oracle = Self::default();
        loop {
            match subscription.recv(Some(LONG)) {
                Ok(event) => oracle.hear(event),
                Err(RecvError::BusClosed) => return oracle,
                Err(error) => panic!("{error}: {oracle:?}"),
            }
        }
    }

    /// Received, missed and dropped are what was published, and the counts are what was heard.
    fn settle(&self, subscription: &Subscription, published: u64) {
        let counts = subscription.counts();
        assert_eq!((counts.received, counts.missed), (self.received, self.overtaken), "{self:?}");
        assert_eq!(counts.received + counts.missed + counts.dropped, published, "{self:?}");
        let behind_the_last = published - self.next - self.since;
        assert_eq!(self.gaps + behind_the_last, counts.dropped, "{self:?}");
    }
}
