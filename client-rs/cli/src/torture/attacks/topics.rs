//! Subscribers that lie: about what they have read, what they hold and whether they sleep.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::ftruncate;
use ringfence::ErrorCode;
use ringfence_protocol::api::bus as api;
use ringfence_protocol::error::Error;
use ringfence_protocol::layout::{Header, Hold, down, up};
use ringfence_protocol::limits::{HOLDS, INLINE_BYTES};
use ringfence_protocol::memory::Memory as _;
use ringfence_protocol::message::Message as _;
use ringfence_protocol::region::Region;
use ringfence_protocol::sys::mapping::{Mapping, Options};
use ringfence_protocol::wire::DaemonMessage;

use crate::torture::attack::{
    Attack, Busy, Expect, Outcome, Scene, Seen, Wrong, broken, landed, must, until,
};
use crate::torture::attacker::{Attacker, hear};

/// Messages of their logs.
const SLOTS: u32 = 4;
const BLOCK: u32 = 4096;
/// How long a publish waits, in milliseconds.
const PATIENCE_MS: u32 = 30;

/// The topics of these attacks: they outlive sessions, so all are there from the daemon's start on.
const REJECTING: &str = "torture.rejecting";
const BLOCKING: &str = "torture.blocking";
const HELD: &str = "torture.held";
const OTHER: &str = "torture.other";

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "cursor-forged",
        what: "a subscriber says to have read what was not written, and less than before",
        rows: &[16],
        expect: &[Expect::Refused(ErrorCode::Backpressure)],
        busy: Busy::Visits,
        run: cursor_forged,
    },
    Attack {
        name: "cursor-silent",
        what: "a subscriber of a topic that waits for it never reads",
        rows: &[26],
        expect: &[Expect::CutOff],
        busy: Busy::Nobody,
        run: cursor_silent,
    },
    Attack {
        name: "holds-forged",
        what: "a subscriber holds all blocks of its topic, and claims those of others",
        rows: &[16, 25],
        expect: &[Expect::Refused(ErrorCode::Backpressure)],
        busy: Busy::Visits,
        run: holds_forged,
    },
    Attack {
        name: "listening-storm",
        what: "the word by which its subscriptions sleep toggles at full speed",
        rows: &[30],
        expect: &[Expect::Unharmed],
        busy: Busy::Calls(2),
        run: listening_storm,
    },
    Attack {
        name: "listening-still",
        what: "says once that its subscriptions sleep, while 200 messages are published",
        rows: &[30],
        expect: &[Expect::Unharmed],
        busy: Busy::Visits,
        run: listening_still,
    },
    Attack {
        name: "subscription-number",
        what: "subscribes as number 64 and 2^32 - 1, of which there can be 64 from 0",
        rows: &[23],
        expect: &[Expect::Refused(ErrorCode::InvalidArgument)],
        busy: Busy::Visits,
        run: |scene| {
            refused(
                scene,
                &[
                    |right| api::Subscribe { subscription: 64, ..right },
                    |right| api::Subscribe { subscription: u32::MAX, ..right },
                ],
                ErrorCode::InvalidArgument,
            )
        },
    },
    Attack {
        name: "topic-forged",
        what: "subscribes to topics by handles of another run, and of none",
        rows: &[23],
        expect: &[Expect::Refused(ErrorCode::UnknownTopic)],
        busy: Busy::Visits,
        run: |scene| {
            refused(
                scene,
                &[
                    |right| api::Subscribe { topic: right.topic ^ 1 << 32, ..right },
                    |right| api::Subscribe { topic: u64::MAX, ..right },
                ],
                ErrorCode::UnknownTopic,
            )
        },
    },
    Attack {
        name: "truncate-subscribed",
        what: "cuts off the memory with its cursor, in a topic that waits for it",
        rows: &[11, 26],
        expect: &[Expect::Fault("truncated")],
        busy: Busy::Nobody,
        run: truncated,
    },
];

/// Makes the topics. A daemon without the engine has none.
pub(super) fn prepare(attacker: &mut Attacker) -> Result<(), Wrong> {
    let policies = [
        (REJECTING, api::REJECT, 0),
        (BLOCKING, api::BLOCK, PATIENCE_MS),
        (HELD, 0, 0),
        (OTHER, 0, 0),
    ];
    for (name, policy, patience_ms) in policies {
        let (slots, payload_bytes, blocks, block_bytes) = (SLOTS, 64, 2, BLOCK);
        let made =
            api::Open { slots, payload_bytes, blocks, block_bytes, patience_ms, policy, name };
        if let Err(error) = attacker.ask((api::NAME, api::OPEN), &made)? {
            return broken(error.to_string());
        }
    }
    Ok(())
}

/// The handle of a topic.
fn find(session: &mut Attacker, name: &str) -> Result<u64, Wrong> {
    let (slots, payload_bytes, blocks, block_bytes, patience_ms, policy) = (0, 0, 0, 0, 0, 0);
    let found = api::Open { slots, payload_bytes, blocks, block_bytes, patience_ms, policy, name };
    Ok(api::Opened::decode(&ok(session.ask((api::NAME, api::OPEN), &found)?)?)?.topic)
}

/// A subscription that holds what it never read.
pub(super) fn subscribed(session: &mut Attacker) -> Result<(), Wrong> {
    let topic = find(session, HELD)?;
    ok(session.ask((api::NAME, api::SUBSCRIBE), &at_newest(topic, 5))?)?;
    let hold = Hold { subscription: 5, block: 0, generation: 1 };
    session.up.store(session.opened.geometry.up().holds, hold.word());
    Ok(())
}

/// A topic, as one session knows it.
struct Side {
    session: Attacker,
    topic: u64,
}

impl Side {
    fn of(scene: &Scene<'_>, name: &str) -> Result<Self, Wrong> {
        let mut session = scene.connect()?;
        let topic = find(&mut session, name)?;
        Ok(Self { session, topic })
    }

    fn publish(&mut self, payload: &[u8]) -> Result<Result<u64, Error>, Wrong> {
        let message = api::Publish { topic: self.topic, type_id: 0, flags: 0, payload };
        let request = super::encode(&message);
        let session = &mut self.session;
        let method = session.method(api::NAME, api::PUBLISH)?;
        let answer = if request.len() <= INLINE_BYTES {
            session.call(method, &request)?
        } else {
            let block =
                session.lane.place(&request).ok_or(Wrong::NotLanded("no block is free".into()))?;
            let len = request.len() as u32;
            session.publish(Header { method, len, block, ..Header::default() }, &[])?;
            let (_, answer) = session.take()?;
            session.lane.give_back(block, request.len());
            answer
        };
        match answer {
            Ok(reply) => Ok(Ok(api::Published::decode(&reply)?.sequence)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn subscribe(&mut self, asked: &api::Subscribe) -> Result<Result<u64, Error>, Wrong> {
        match self.session.ask((api::NAME, api::SUBSCRIBE), asked)? {
            Ok(reply) => Ok(Ok(api::Subscribed::decode(&reply)?.sequence)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// From the newest message, with this number: where it begins, and the log.
    fn listen(&mut self, subscription: u32) -> Result<(u64, Region), Wrong> {
        let first = ok(self.subscribe(&at_newest(self.topic, subscription))?)?;
        let Some((DaemonMessage::Topic { len, .. }, fds)) = hear(&self.session.conn)? else {
            return broken("no log was sent");
        };
        let fd: &OwnedFd =
            fds.first().ok_or(Wrong::Broken("a log without its descriptor".into()))?;
        let mapped = Mapping::read_only(fd.as_fd(), len as usize, Options::default())?;
        Ok((first, Region::new(Arc::new(mapped))))
    }

    fn say_cursor(&self, subscription: usize, cursor: u64) {
        let at = self.session.opened.geometry.up().cursors + subscription * 8;
        self.session.up.store_release(at, cursor);
    }

    fn say_holds(&self, word: impl Fn(usize) -> u64) {
        let at = self.session.opened.geometry.up().holds;
        (0..HOLDS).for_each(|number| self.session.up.store(at + number * 8, word(number)));
    }

    fn news(&self) -> u32 {
        self.session.down.load_u32(down::NEWS)
    }
}

fn at_newest(topic: u64, subscription: u32) -> api::Subscribe {
    api::Subscribe { topic, subscription, start: api::FROM_NEWEST, epoch: 0, sequence: 0 }
}

fn ok<T>(answer: Result<T, Error>) -> Result<T, Wrong> {
    answer.map_err(|error| Wrong::Broken(error.to_string()))
}

/// Is it refused for want of room?
fn full(answer: Result<u64, Error>, why: &str) -> Result<Error, Wrong> {
    match answer {
        Err(error) if error.code == ErrorCode::Backpressure => Ok(error),
        other => broken(format!("{why}: {other:?}")),
    }
}

fn cursor_forged(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let (mut publisher, mut forger) = (Side::of(scene, REJECTING)?, Side::of(scene, REJECTING)?);
    let (first, _log) = forger.listen(0)?;
    let end = first + u64::from(SLOTS);
    for _ in first..end {
        ok(publisher.publish(b"small")?)?;
    }
    let lies = [u64::MAX, end + 1, end + 1000, first.wrapping_sub(1), 1 << 63];
    for lie in lies {
        forger.say_cursor(0, lie);
        full(publisher.publish(b"more")?, &format!("{lie} was taken for what it has read"))?;
    }
    forger.say_cursor(0, first + 1);
    ok(publisher.publish(b"there is room for one")?)?;
    forger.say_cursor(0, first);
    let refused = full(publisher.publish(b"no")?, "it may read backwards")?;
    forger.session.echo(b"its session goes on")?;
    drop(forger);
    until("nobody waits for it", || matches!(publisher.publish(b"free"), Ok(Ok(_))))?;
    Seen::new(
        format!("{} forged cursors, each of them refused", lies.len() + 1),
        Outcome::Refused(refused.code),
    )
}

fn cursor_silent(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let (mut publisher, mut silent) = (Side::of(scene, BLOCKING)?, Side::of(scene, BLOCKING)?);
    silent.listen(3)?;
    let since = std::time::Instant::now();
    for _ in 0..=SLOTS {
        ok(publisher.publish(b"small")?)?;
    }
    let waited = since.elapsed();
    landed(waited.as_millis() >= u128::from(PATIENCE_MS), "nobody waited for it")?;
    match hear(&silent.session.conn)? {
        Some((DaemonMessage::CutOff { subscription: 3, .. }, _)) => {}
        other => return broken(format!("in place of its being cut off: {other:?}")),
    }
    silent.session.echo(b"its session goes on")?;
    Seen::new(format!("a publish waited for {waited:?}"), Outcome::CutOff)
}

fn holds_forged(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let (mut publisher, mut other) = (Side::of(scene, HELD)?, Side::of(scene, OTHER)?);
    let mut holder = Side::of(scene, HELD)?;
    let (_, log) = holder.listen(1)?;
    let large = vec![1; BLOCK as usize];
    let mut held = Vec::new();
    for _ in 0..2 {
        let sequence = ok(publisher.publish(&large)?)?;
        // Layout of a log's header and slot: SPEC section B.
        let stride = log.load_u32(28) as usize;
        let at = 256 + (sequence % u64::from(SLOTS)) as usize * stride + 32;
        held.push((log.load_u32(at), log.load_u32(at + 4)));
    }
    let word = |subscription, number: usize| {
        let (block, generation) = held[number % 2];
        Hold { subscription, block, generation }.word()
    };
    holder.say_holds(|number| word(1, number));
    let mut refused = full(publisher.publish(&large)?, "a block that is held was used again")?;
    for _ in 0..3 {
        ok(publisher.publish(b"small ones go on")?)?;
        ok(other.publish(&large)?)?;
        refused = full(publisher.publish(&large)?, "a block that is held was used again")?;
    }
    // Held by a subscription that does not exist, and words that name nothing.
    holder.say_holds(|number| word(2, number));
    ok(publisher.publish(&large)?)?;
    holder.say_holds(|_| u64::MAX);
    ok(publisher.publish(&large)?)?;
    Seen::new(format!("{HOLDS} holds on 2 blocks: {refused}"), Outcome::Refused(refused.code))
}

fn listening_storm(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let (mut publisher, mut listener) = (Side::of(scene, HELD)?, Side::of(scene, HELD)?);
    listener.listen(0)?;
    let (word, sleeps) = (listener.session.up.clone(), AtomicU64::new(0));
    let storm = |random: &mut super::Random| {
        let value = random.next() as u32;
        word.store_u32(up::LISTENING, value);
        sleeps.fetch_add(u64::from(value & 1), Ordering::Relaxed);
    };
    let (storms, messages) = scene.beside(storm, || {
        let mut messages = 0_u64;
        while !scene.over() || messages == 0 {
            ok(publisher.publish(&messages.to_le_bytes())?)?;
            messages += 1;
        }
        Ok(messages)
    })?;
    let woken = u64::from(listener.news());
    must(woken <= messages, || format!("woken {woken} times for {messages} messages"))?;
    listener.session.echo(b"the session goes on")?;
    Seen::new(
        format!("{storms} stores under {messages} messages; woken {woken} times"),
        Outcome::Unharmed,
    )
}

fn listening_still(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let (mut publisher, mut listener) = (Side::of(scene, HELD)?, Side::of(scene, HELD)?);
    listener.listen(0)?;
    listener.session.up.store_u32(up::LISTENING, 1);
    listener.session.up.fence(Ordering::SeqCst);
    for number in 0..200_u64 {
        ok(publisher.publish(&number.to_le_bytes())?)?;
    }
    until("it is woken", || listener.news() > 0)?;
    let woken = listener.news();
    must(woken == 1, || format!("woken {woken} times for one sleep and 200 messages"))?;
    Seen::new("woken once for one sleep and 200 messages", Outcome::Unharmed)
}

type Forge = fn(api::Subscribe) -> api::Subscribe;

fn refused(scene: &Scene<'_>, forged: &[Forge], code: ErrorCode) -> Result<Seen, Wrong> {
    let mut side = Side::of(scene, HELD)?;
    let right = at_newest(side.topic, 0);
    for forge in forged {
        match side.subscribe(&forge(right))? {
            Err(error) if error.code == code => {}
            other => return broken(format!("{:?}: {other:?}", forge(right))),
        }
    }
    side.listen(0)?;
    Seen::new(
        format!("{} subscriptions were asked for, and a right one made", forged.len()),
        Outcome::Refused(code),
    )
}

fn truncated(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let (mut publisher, mut attacker) = (Side::of(scene, BLOCKING)?, Side::of(scene, BLOCKING)?);
    attacker.listen(0)?;
    let fd = attacker.session.up_fd.as_fd();
    ftruncate(fd, 0)?;
    landed(nix::sys::stat::fstat(fd)?.st_size == 0, "the segment has its size still")?;
    for _ in 0..=SLOTS {
        ok(publisher.publish(b"small")?)?;
    }
    Seen::new(
        format!("`up` has no bytes, {} messages were published", SLOTS + 1),
        attacker.session.end()?,
    )
}
