//! The publisher: bursts to one topic after another, one by one or many in flight.

use std::error::Error;
use std::time::Duration;

use ringfence::{ErrorCode, Outcome, Pending, Position, Publication, Topic};

use super::journal::{Random, Record, SLOT_BYTES, TOPICS, payload};
use super::{Peer, is_over, is_restart, pause};

/// Messages of a burst.
const BURST: u64 = 24;
/// Between two bursts.
const REST_US: u64 = 6000;

pub(super) fn run(peer: &Peer) -> Result<(), Box<dyn Error>> {
    let mut publisher = Publisher { peer, number: 0, random: Random(peer.key) };
    let topics = publisher.open()?;
    while !is_over() {
        let at = publisher.random.below(TOPICS.len() as u64) as usize;
        let Some(topic) = topics.get(at) else { break };
        let count = 1 + publisher.random.below(BURST);
        match publisher.random.once_in(3) {
            true => publisher.many(at, topic, count)?,
            false => publisher.one_by_one(at, topic, count)?,
        }
        std::thread::sleep(Duration::from_micros(publisher.random.below(REST_US)));
    }
    Ok(())
}

struct Publisher<'p> {
    peer: &'p Peer,
    /// Of the next message, whatever its topic.
    number: u64,
    random: Random,
}

impl Publisher<'_> {
    /// Fewer if it is all over.
    fn open(&self) -> std::io::Result<Vec<Topic>> {
        let mut topics = Vec::new();
        while topics.len() < TOPICS.len() && !is_over() {
            let (name, options) = TOPICS[topics.len()];
            match self.peer.client.topic(name, options) {
                Ok(topic) => topics.push(topic),
                Err(error) if is_restart(&error) => pause(),
                Err(error) => self.peer.unexpected("open", &error)?,
            }
        }
        Ok(topics)
    }

    fn next<T>(&mut self, send: impl FnOnce(&Publication<'_>) -> T) -> (u64, T) {
        let (key, number) = (self.peer.key, self.number);
        self.number += 1;
        let payload = payload(key, number);
        let message = Publication::new(&payload);
        // One in a block says what it is without a look at its bytes; of the others every second.
        let has_ids = payload.len() > SLOT_BYTES || number.is_multiple_of(2);
        let with_ids = message.trace(key.into()).correlation(number.into());
        (number, send(if has_ids { &with_ids } else { &message }))
    }

    fn one_by_one(&mut self, at: usize, topic: &Topic, count: u64) -> std::io::Result<()> {
        for _ in 0..count {
            let (number, published) = self.next(|message| topic.publish(message));
            self.answered(at, number, published)?;
        }
        Ok(())
    }

    fn many(&mut self, at: usize, topic: &Topic, count: u64) -> std::io::Result<()> {
        let mut pending: Vec<(u64, Result<Pending, ringfence::Error>)> = Vec::new();
        for _ in 0..count {
            pending.push(self.next(|message| topic.submit(message)));
        }
        for (number, submitted) in pending {
            let published = submitted.and_then(|pending| topic.published(pending));
            self.answered(at, number, published)?;
        }
        Ok(())
    }

    fn answered(
        &self,
        topic: usize,
        number: u64,
        published: Result<Position, ringfence::Error>,
    ) -> std::io::Result<()> {
        let error = match published {
            Ok(Position { epoch, sequence }) => {
                return self.peer.note(&Record::Published { topic, number, epoch, sequence });
            }
            Err(error) => error,
        };
        // A submitted publish is not made again where the daemon does not know the topic any more.
        let expected = is_restart(&error)
            || matches!(error.code(), ErrorCode::Backpressure | ErrorCode::UnknownTopic);
        if !expected {
            self.peer.unexpected("publish", &error)?;
        }
        let certain = error.outcome() != Some(Outcome::Unknown);
        self.peer.note(&Record::Failed { topic, number, certain })
    }
}
