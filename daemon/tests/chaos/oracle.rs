//! Judges what the peers of a chaos test wrote down against what each policy promises.
//!
//! All peers together are the witnesses of each topic's log in each run of the daemon; where two say
//! different things of one position, or one went past a message that the log still had, somebody
//! broke a promise. It knows nothing of who was killed when: what a peer did not live to write down
//! nobody holds against it.

use std::collections::{BTreeMap, HashMap, HashSet};

use ringfence::{Policy, TopicOptions};

use super::journal::{Received, Record, TOPICS, digest, payload};

/// What one peer wrote down.
pub(crate) struct Testimony {
    /// The publisher's key, or another number that no peer has twice.
    pub(crate) key: u64,
    pub(crate) records: Vec<Record>,
}

/// What stands at one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    key: u64,
    number: u64,
    /// Known once somebody has read it.
    session: Option<u64>,
}

/// A topic in a run of the daemon.
type Log = BTreeMap<u64, Message>;

/// By topic and epoch; a later run of the daemon has a greater one.
type Logs = BTreeMap<(usize, u64), Log>;

#[derive(Default)]
struct Judge {
    logs: Logs,
    /// Publishes of which is certain that they took no effect.
    void: HashSet<(u64, u64)>,
    digests: HashMap<(u64, u64), u64>,
    faults: Vec<String>,
}

/// What is wrong with it; nothing, if all promises were kept.
pub(crate) fn judge(peers: &[Testimony]) -> Vec<String> {
    let mut judge = Judge::default();
    for peer in peers {
        peer.records.iter().for_each(|record| judge.hear(peer.key, record));
    }
    judge.check_logs();
    for peer in peers {
        judge.check_bytes(&peer.records);
        judge.follow(peer);
    }
    judge.faults
}

/// How often what happened, by the records' names.
pub(crate) type Tally = BTreeMap<&'static str, usize>;

/// Adds what these peers saw.
pub(crate) fn count(peers: &[Testimony], tally: &mut Tally) {
    for record in peers.iter().flat_map(|peer| &peer.records) {
        let name = match record {
            Record::Published { .. } => "published",
            Record::Failed { certain: true, .. } => "refused",
            Record::Failed { .. } => "of unknown outcome",
            Record::Subscribed { .. } => "subscriptions",
            Record::Received { .. } => "received",
            Record::Overtaken { .. } => "overtaken",
            Record::CutOff { .. } => "cut off",
            Record::Restarted { .. } => "restarts seen",
            Record::Closed { .. } => "closed",
            Record::Released { .. } => "blocks held",
            Record::Unexpected { .. } => "unexpected",
        };
        *tally.entry(name).or_default() += 1;
    }
}

impl Judge {
    fn fault(&mut self, text: String) {
        self.faults.push(text);
    }

    fn hear(&mut self, peer: u64, record: &Record) {
        match *record {
            Record::Published { topic, number, epoch, sequence } => {
                let message = Message { key: peer, number, session: None };
                self.witness(topic, (epoch, sequence), message);
            }
            Record::Received { topic, message, .. } => {
                let Received { epoch, sequence, session, key, number, .. } = message;
                let message = Message { key, number, session: Some(session) };
                self.witness(topic, (epoch, sequence), message);
            }
            Record::Failed { number, certain: true, .. } => {
                self.void.insert((peer, number));
            }
            Record::Unexpected { ref what } => self.fault(format!("unexpected: {what}")),
            _ => {}
        }
    }

    fn witness(&mut self, topic: usize, (epoch, sequence): (u64, u64), said: Message) {
        let known = self.logs.entry((topic, epoch)).or_default().entry(sequence).or_insert(said);
        known.session = known.session.or(said.session);
        let same = (known.key, known.number) == (said.key, said.number);
        let other_session = said.session.is_some_and(|session| known.session != Some(session));
        if !same || other_session {
            let text =
                format!("two messages at {}: {known:?}, {said:?}", at(topic, epoch, sequence));
            self.fault(text);
        }
    }

    /// Each publisher's numbers rise, each message stands in one place, and none that took no effect.
    fn check_logs(&mut self) {
        let mut places = HashMap::new();
        let mut faults = Vec::new();
        for ((topic, epoch), log) in &self.logs {
            let mut last = HashMap::new();
            for (sequence, Message { key, number, .. }) in log {
                let here = at(*topic, *epoch, *sequence);
                if let Some(before) = last.insert(*key, *number).filter(|before| before >= number) {
                    faults.push(format!("out of order: {key}/{number} at {here} behind {before}"));
                }
                if let Some(there) = places.insert((*key, *number), here.clone()) {
                    faults.push(format!("twice: {key}/{number} at {there} and {here}"));
                }
                if self.void.contains(&(*key, *number)) {
                    faults.push(format!("published, and it raised: {key}/{number} at {here}"));
                }
            }
        }
        self.faults.append(&mut faults);
    }

    fn check_bytes(&mut self, records: &[Record]) {
        for record in records {
            let (topic, epoch, sequence, seen) = match *record {
                Record::Received { topic, message, .. } => {
                    let Some(digest) = message.digest else { continue };
                    (topic, message.epoch, message.sequence, digest)
                }
                Record::Released { topic, epoch, sequence, digest } => {
                    (topic, epoch, sequence, digest)
                }
                _ => continue,
            };
            let log = self.logs.get(&(topic, epoch));
            let Some(Message { key, number, .. }) = log.and_then(|log| log.get(&sequence)).copied()
            else {
                self.fault(format!("released, never received: {}", at(topic, epoch, sequence)));
                continue;
            };
            let digests = self.digests.entry((key, number));
            let right = *digests.or_insert_with(|| digest(&payload(key, number)));
            if seen != right {
                self.fault(format!(
                    "wrong bytes at {}: {key}/{number}",
                    at(topic, epoch, sequence)
                ));
            }
        }
    }

    fn follow(&mut self, peer: &Testimony) {
        let mut readers: HashMap<(usize, u64), Reader> = HashMap::new();
        for record in &peer.records {
            let Some((topic, subscription)) = whose(record) else { continue };
            let reader = readers.entry((topic, subscription)).or_default();
            if let Some(wrong) = reader.step(topic, record, &self.logs) {
                let who = format!("subscription {subscription} of peer {}", peer.key);
                self.fault(format!("{who}, topic {}: {wrong}", TOPICS[topic].0));
            }
        }
    }
}

fn at(topic: usize, epoch: u64, sequence: u64) -> String {
    format!("{} {epoch}:{sequence}", TOPICS[topic].0)
}

fn whose(record: &Record) -> Option<(usize, u64)> {
    match *record {
        Record::Received { topic, subscription, .. }
        | Record::Overtaken { topic, subscription, .. }
        | Record::CutOff { topic, subscription, .. }
        | Record::Restarted { topic, subscription }
        | Record::Closed { topic, subscription, .. } => Some((topic, subscription)),
        _ => None,
    }
}

/// What one subscription must find next.
#[derive(Default)]
struct Reader {
    /// Epoch and sequence behind what it had; `None` until it had something in this run of the daemon.
    next: Option<(u64, u64)>,
    /// Where it began, if it had something.
    first: Option<u64>,
    /// Missed since what it had last.
    skipped: u64,
    received: u64,
    missed: u64,
    /// Lost, and only the end of the daemon excuses it.
    unheard: Option<String>,
}

impl Reader {
    /// What is wrong with it.
    fn step(&mut self, topic: usize, record: &Record, logs: &Logs) -> Option<String> {
        let policy = TOPICS[topic].1.policy;
        match *record {
            Record::Received { message, .. } => self.receive(topic, &message, logs),
            Record::Overtaken { missed, .. } => {
                self.skipped += missed;
                self.missed += missed;
                (missed == 0).then(|| format!("missed nothing before {:?}", self.next))
            }
            Record::CutOff { at, missed, .. } => self.cut_off(policy, at, missed),
            Record::Restarted { .. } => {
                let unread = self.unread("with the daemon", topic, logs);
                *self = Self { received: self.received, missed: self.missed, ..Self::default() };
                unread
            }
            Record::Closed { received, missed, drained, .. } => {
                if let Some(lost) = self.unheard.take() {
                    return Some(lost);
                }
                let (counted, seen) = ((received, missed), (self.received, self.missed));
                if counted != seen {
                    return Some(format!("counts (received, missed) {counted:?}, seen {seen:?}"));
                }
                if drained { self.unread("drained", topic, logs) } else { None }
            }
            _ => None,
        }
    }

    fn receive(&mut self, topic: usize, message: &Received, logs: &Logs) -> Option<String> {
        let Received { epoch, sequence, .. } = *message;
        let TopicOptions { policy, slots, .. } = TOPICS[topic].1;
        let skipped = std::mem::take(&mut self.skipped);
        self.received += 1;
        let next = self.next.replace((epoch, sequence + 1));
        let right = next.is_none_or(|(of, next)| (of, next + skipped) == (epoch, sequence));
        if !right {
            return Some(format!("{epoch}:{sequence} after {next:?} and {skipped} missed"));
        }
        let first = *self.first.get_or_insert(sequence - skipped);
        if skipped == 0 || policy == Policy::Overwrite {
            return None;
        }
        // Gone before it came: its block was used again, and it began with what was left.
        if sequence <= first + u64::from(slots) {
            return None;
        }
        // Cut off, and the daemon died before that was heard: nothing was added to the log then, and
        // that the daemon is gone is said behind it.
        let last = *logs.get(&(topic, epoch))?.last_key_value()?.0;
        let lost = format!("lost {skipped} before {epoch}:{sequence} of {last} and reads on");
        if policy == Policy::Reject || sequence + u64::from(slots) <= last {
            return Some(lost);
        }
        let is_over = logs.keys().any(|(_, other)| *other > epoch);
        self.unheard = (!is_over).then_some(lost);
        None
    }

    fn cut_off(&mut self, policy: Policy, at: u64, missed: u64) -> Option<String> {
        self.missed += missed;
        if !matches!(policy, Policy::Block { .. }) {
            return Some(format!("cut off at {at}"));
        }
        let (epoch, next) = self.next?;
        let end = next + self.skipped + missed;
        // What was published behind the publish that waited it may have read as well.
        let right = end == at || missed == 0 && end > at;
        (!right).then(|| format!("cut off at {epoch}:{at}, {missed} missed after {:?}", self.next))
    }

    /// Of a log to which nothing is added any more: is there something that it went past?
    fn unread(&self, how: &str, topic: usize, logs: &Logs) -> Option<String> {
        let (epoch, next) = self.next?;
        let (last, _) = logs.get(&(topic, epoch))?.last_key_value()?;
        let end = next + self.skipped;
        (end != last + 1)
            .then(|| format!("ended {how} at {epoch}:{end}, the last message is {last}"))
    }
}
