//! The subscriber: a thread for each topic, which all share the client. Subscriptions are closed and
//! opened again now and then, blocks are held for some messages.

use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

use ringfence::{ErrorCode, Event, Keep, Message, Start, Subscription};

use super::journal::{Random, Received, Record, TOPICS, digest};
use super::{Peer, is_over, is_restart, pause};

/// Blocks that a subscription holds at most: not all that there are.
const HELD: usize = 2;
/// Messages until a subscription is closed and another opened.
const LIFE: u64 = 3000;
/// How long a receive waits.
const RECEIVE: Duration = Duration::from_millis(30);

pub(super) fn run(peer: &Peer) -> Result<(), Box<dyn Error>> {
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..TOPICS.len())
            .map(|topic| scope.spawn(move || Reader::new(peer, topic).run()))
            .collect();
        readers.into_iter().try_for_each(|reader| match reader.join() {
            Ok(read) => read.map_err(Into::into),
            Err(_) => Err("a reader panicked".into()),
        })
    })
}

struct Reader<'p> {
    peer: &'p Peer,
    topic: usize,
    subscription: u64,
    random: Random,
    held: VecDeque<Message>,
}

impl<'p> Reader<'p> {
    fn new(peer: &'p Peer, topic: usize) -> Self {
        let random = Random(peer.key << 8 | topic as u64);
        Self { peer, topic, subscription: 0, random, held: VecDeque::new() }
    }

    fn run(mut self) -> std::io::Result<()> {
        while !is_over() {
            match self.subscribe() {
                Ok(subscription) => self.read(&subscription)?,
                Err(error) if is_restart(&error) => pause(),
                Err(error) => {
                    self.peer.unexpected("subscribe", &error)?;
                    pause();
                }
            }
        }
        self.release_to(0)
    }

    fn subscribe(&mut self) -> Result<Subscription, ringfence::Error> {
        let (name, options) = TOPICS[self.topic];
        let topic = self.peer.client.topic(name, options)?;
        let start = if self.random.once_in(2) { Start::Oldest } else { Start::Newest };
        topic.subscribe(start, Keep::InLog)
    }

    /// Until it is closed by somebody.
    fn read(&mut self, from: &Subscription) -> std::io::Result<()> {
        self.subscription += 1;
        let (topic, subscription) = (self.topic, self.subscription);
        self.peer.note(&Record::Subscribed { topic, subscription })?;
        let mut life = self.random.below(LIFE);
        let mut drained = false;
        while life > 0 && !drained {
            // Publishers have ended before: what is not there then does not come.
            let was_over = is_over();
            match from.recv(Some(RECEIVE)) {
                Ok(event) => {
                    life -= 1;
                    self.take(event)?;
                }
                Err(error) if error.code() == ErrorCode::Expired => drained = was_over,
                Err(ringfence::Error::CutOff { at, missed, .. }) => {
                    let at = at.sequence;
                    self.peer.note(&Record::CutOff { topic, subscription, at, missed })?;
                    break;
                }
                Err(error) if is_restart(&error) => {
                    self.peer.note(&Record::Restarted { topic, subscription })?;
                }
                Err(error) => {
                    self.peer.unexpected("receive", &error)?;
                    break;
                }
            }
        }
        from.close();
        let (received, missed) = (from.counts().received, from.counts().missed);
        self.peer.note(&Record::Closed { topic, subscription, received, missed, drained })
    }

    fn take(&mut self, event: Event) -> std::io::Result<()> {
        let (topic, subscription) = (self.topic, self.subscription);
        match event {
            Event::Overtaken { missed } => {
                self.peer.note(&Record::Overtaken { topic, subscription, missed })
            }
            Event::Message(message) => {
                let kept = message.payload.is_held() && self.random.once_in(2);
                let seen = seen(&message, kept);
                self.peer.note(&Record::Received { topic, subscription, message: seen })?;
                if kept {
                    self.held.push_back(message);
                }
                let most = self.random.below(HELD as u64 + 1) as usize;
                if self.random.once_in(8) { self.release_to(most) } else { self.release_to(HELD) }
            }
        }
    }

    /// The bytes of a held message are looked at when it is given back.
    fn release_to(&mut self, most: usize) -> std::io::Result<()> {
        while self.held.len() > most {
            let Some(message) = self.held.pop_front() else { break };
            let ringfence::Position { epoch, sequence } = message.position;
            let (topic, digest) = (self.topic, digest(&message.payload));
            self.peer.note(&Record::Released { topic, epoch, sequence, digest })?;
        }
        Ok(())
    }
}

fn seen(message: &Message, later: bool) -> Received {
    let ids = [message.envelope.trace as u64, message.envelope.correlation as u64];
    let word = |at: usize| message.payload.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    let said = |at| word(at).map_or(0, u64::from_le_bytes);
    let [key, number] = if ids[0] != 0 { ids } else { [said(0), said(8)] };
    Received {
        epoch: message.position.epoch,
        sequence: message.position.sequence,
        session: message.envelope.publisher,
        key,
        number,
        digest: (!later).then(|| digest(&message.payload)),
    }
}
