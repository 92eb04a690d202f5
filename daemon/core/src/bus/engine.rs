//! `bus` as an engine: topics for sessions of other processes.
//!
//! Sessions publish by calls and read the logs themselves; how they get at the logs is their
//! [`Carrier`]'s business. Invariants: a subscription is known by its session and the number that the
//! session gave it, and ends with either; whoever may not see a topic learns nothing of it but its
//! name. It does *not* know segments or sockets.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use ringfence_protocol::api::bus as api;
use ringfence_protocol::api::system::Nothing;
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::limits::SUBSCRIPTIONS;
use ringfence_protocol::memory::Memory;
use ringfence_protocol::schema::EngineSchema;

use super::{
    Attached, Bus, Elsewhere, Limits, Outgoing, Policy, Position, Start, SubscribeError, Topic,
    TopicError, TopicOptions,
};
use crate::engine::{Call, Cost, Engine};

/// What a session wants to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Make it, as its options say.
    Make,
    /// Write messages into it.
    Publish,
    /// Read its messages.
    Subscribe,
}

/// How logs reach the processes that read them.
pub trait Carrier: Send + Sync + 'static {
    /// Where logs lie.
    type Memory: Memory + Clone + Send + Sync + 'static;

    /// Memory of so many bytes, zeros, for the log of this topic, which the session makes.
    ///
    /// # Errors
    /// There is none, or its user may have no more; the text names the limit.
    fn memory(&self, session: u64, topic: &str, len: usize) -> Result<Self::Memory, Error>;

    /// May the session do this?
    ///
    /// # Errors
    /// [`ErrorCode::PermissionDenied`] with what would allow it.
    fn check(&self, session: u64, topic: &str, right: Right) -> Result<(), Error>;

    /// Lets the session read this log, before the answer that says so.
    ///
    /// # Errors
    /// It cannot be reached.
    fn hand_over(&self, session: u64, topic: &Topic<Self::Memory>) -> Result<(), Error>;

    /// The way to a subscription of the session.
    ///
    /// # Errors
    /// The session is over.
    fn reach(&self, session: u64, subscription: u32) -> Result<Box<dyn Elsewhere>, Error>;

    /// The session is over, and so are its subscriptions.
    fn session_ended(&self, session: u64);
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Right::Make => "make",
            Right::Publish => "publish to",
            Right::Subscribe => "subscribe to",
        })
    }
}

/// Subscriptions by session and number.
type Subscriptions<M> = HashMap<(u64, u32), Attached<M>>;

/// The engine.
pub struct Topics<C: Carrier> {
    bus: Bus<C::Memory>,
    carrier: C,
    subscriptions: Mutex<Subscriptions<C::Memory>>,
}

impl<C: Carrier> fmt::Debug for Topics<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics").field("bus", &self.bus).finish_non_exhaustive()
    }
}

impl<C: Carrier> Topics<C> {
    /// No topics yet.
    #[must_use]
    pub fn new(epoch: u64, limits: Limits, carrier: C) -> Self {
        let bus = Bus::elsewhere(epoch, limits);
        Self { bus, carrier, subscriptions: Mutex::default() }
    }

    /// The bus, for who wakes subscriptions.
    pub fn bus(&self) -> &Bus<C::Memory> {
        &self.bus
    }

    fn open(&self, call: &mut Call<'_>) -> Result<(), Error> {
        let asked: api::Open<'_> = call.request()?;
        let session = call.session();
        let topic = match asked.slots {
            0 => self.bus.find(asked.name).map_err(TopicError::into_error)?,
            _ => self.make(session, &asked)?,
        };
        self.check_either(session, &topic)?;
        let opened = opened(&topic, self.bus.epoch());
        call.reply(&opened);
        Ok(())
    }

    fn make(&self, session: u64, asked: &api::Open<'_>) -> Result<Topic<C::Memory>, Error> {
        let options = options(asked)?;
        match self.bus.find(asked.name) {
            Ok(topic) => self.check_either(session, &topic)?,
            Err(_) => self.carrier.check(session, asked.name, Right::Make)?,
        }
        let make = |len| self.carrier.memory(session, asked.name, len);
        self.bus.topic_in(asked.name, options, make).map_err(TopicError::into_error)
    }

    /// Who may neither write nor read a topic learns nothing of it.
    fn check_either(&self, session: u64, topic: &Topic<C::Memory>) -> Result<(), Error> {
        let check = |right| self.carrier.check(session, topic.name(), right);
        check(Right::Subscribe).or_else(|_| check(Right::Publish))
    }

    #[inline(always)]
    fn publish(
        &self,
        call: &mut Call<'_>,
        topic: u64,
        outgoing: &Outgoing<'_>,
    ) -> Result<(), Error> {
        let topic = self.topic(topic)?;
        self.carrier.check(call.session(), topic.name(), Right::Publish)?;
        // Where it waits the answer comes later.
        if let Some(Position { sequence, .. }) = topic.publish_for(outgoing, call)? {
            call.reply(&api::Published { sequence });
        }
        Ok(())
    }

    fn publish_many(&self, call: &mut Call<'_>) -> Result<(), Error> {
        let asked: api::PublishMany<'_> = call.request()?;
        let topic = self.topic(asked.topic)?;
        self.carrier.check(call.session(), topic.name(), Right::Publish)?;
        let (lens, bytes) = (asked.lens, asked.payloads.len());
        let sum: u64 = lens.iter().map(|len| u64::from(*len)).sum();
        if lens.is_empty() || lens.len() > api::MANY || sum != bytes as u64 {
            let text = format!(
                "{} messages of {sum} bytes together, in {bytes} bytes: send 1 to {}, without gaps",
                lens.len(),
                api::MANY
            );
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
        let like = Outgoing {
            type_id: asked.type_id,
            publisher: call.session(),
            must_be_heard: must_be_heard(asked.flags)?,
            ..Outgoing::default()
        };
        let payloads = lens.iter().scan(asked.payloads, |rest, len| {
            let (payload, behind) = rest.split_at(*len as usize);
            *rest = behind;
            Some(payload)
        });
        let Position { sequence, .. } = topic.publish_all(&like, payloads)?;
        call.reply(&api::Published { sequence });
        Ok(())
    }

    fn subscribe(&self, call: &mut Call<'_>) -> Result<(), Error> {
        let asked: api::Subscribe = call.request()?;
        let (session, number) = (call.session(), asked.subscription);
        if number as usize >= SUBSCRIPTIONS && is_armed("topic.number") {
            let text = format!("subscription {number}: a session has {SUBSCRIPTIONS}, from 0");
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
        let topic = self.topic(asked.topic)?;
        self.carrier.check(session, topic.name(), Right::Subscribe)?;
        let start = start(&asked)?;
        let mut subscriptions = self.subscriptions.lock();
        let open = subscriptions.contains_key(&(session, number));
        if open && is_armed("topic.open-number") {
            let text = format!("subscription {number} of this session is open: close it first");
            return Err(Error::new(ErrorCode::AlreadyExists, text));
        }
        let elsewhere = self.carrier.reach(session, number)?;
        let attached = topic.attach(start, elsewhere).map_err(SubscribeError::into_error)?;
        self.carrier.hand_over(session, topic)?;
        let sequence = attached.position().sequence;
        subscriptions.insert((session, number), attached);
        call.reply(&api::Subscribed { sequence });
        Ok(())
    }

    fn unsubscribe(&self, call: &mut Call<'_>) -> Result<(), Error> {
        let asked: api::Unsubscribe = call.request()?;
        self.subscriptions.lock().remove(&(call.session(), asked.subscription));
        call.reply(&Nothing {});
        Ok(())
    }

    fn stats(&self, call: &mut Call<'_>) -> Result<(), Error> {
        let topic = self.topic(call.request::<api::Topic>()?.topic)?;
        self.check_either(call.session(), topic)?;
        call.reply(&api::Stats {
            published: topic.next().sequence,
            subscriptions: topic.subscribers() as u64,
            waiting: topic.waiting() as u64,
        });
        Ok(())
    }

    fn topics(&self, call: &mut Call<'_>) {
        let topics = self.bus.topics();
        let names: Vec<&str> = topics.iter().map(Topic::name).collect();
        call.reply(&api::Names { names: &names.join("\n") });
    }

    /// Messages that the session's subscriptions have read, as far as their topics had to know. It looks at those of
    /// all sessions, so not for every moment.
    pub fn read_by(&self, session: u64) -> u64 {
        let subscriptions = self.subscriptions.lock();
        let of_session = subscriptions.iter().filter(|((owner, _), _)| *owner == session);
        of_session.map(|(_, attached)| attached.read()).fold(0, u64::wrapping_add)
    }

    /// What belongs to a session ends with it.
    pub fn session_ended(&self, session: u64) {
        // First, so that no subscription enters behind the look at them: from now on it is not reached.
        self.carrier.session_ended(session);
        // Taken out under the lock and dropped behind it: each takes its topic's.
        let ended: Vec<_> = {
            let mut subscriptions = self.subscriptions.lock();
            subscriptions.extract_if(|(owner, _), _| *owner == session).collect()
        };
        drop(ended);
    }

    /// Of a publish: is it one that may have to wait? If not, it comes next, and the lines that it will write are
    /// asked for now.
    #[inline]
    fn cost_of_publish(&self, request: &[u8]) -> Cost {
        let handle = request.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        match self.find(handle) {
            Some(topic) if matches!(topic.options().policy, Policy::Block { .. }) => Cost::WAITS,
            Some(topic) => {
                topic.sequencer().prefetch_next();
                Cost::LIGHT
            }
            None => Cost::LIGHT,
        }
    }

    #[inline]
    fn find(&self, handle: u64) -> Option<&Topic<C::Memory>> {
        self.bus.numbered(api::number(self.bus.epoch(), handle)?)
    }

    #[inline]
    fn topic(&self, handle: u64) -> Result<&Topic<C::Memory>, Error> {
        self.find(handle).ok_or_else(unknown_handle)
    }

    /// All but the one that a reader waits for, which so has a frame of its own.
    #[inline(never)]
    fn call_other(&self, op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        match op {
            api::PUBLISH_TRACED => {
                let asked: api::PublishTraced<'_> = call.request()?;
                let outgoing = Outgoing {
                    type_id: asked.type_id,
                    payload: asked.payload,
                    publisher: call.session(),
                    trace: wide(asked.trace_low, asked.trace_high),
                    correlation: wide(asked.correlation_low, asked.correlation_high),
                    must_be_heard: must_be_heard(asked.flags)?,
                };
                self.publish(call, asked.topic, &outgoing)
            }
            api::PUBLISH_MANY => self.publish_many(call),
            api::OPEN => self.open(call),
            api::SUBSCRIBE => self.subscribe(call),
            api::UNSUBSCRIBE => self.unsubscribe(call),
            api::STATS => self.stats(call),
            _ => {
                self.topics(call);
                Ok(())
            }
        }
    }
}

impl<C: Carrier> Engine for Topics<C> {
    fn schema(&self) -> EngineSchema {
        api::schema()
    }

    fn cost(&self, op: u16, request: &[u8]) -> Cost {
        // A log is allocated page by page before it is used: about a second a gigabyte.
        let bytes = |asked: api::Open<'_>| options(&asked).and_then(sizes);
        match op {
            api::OPEN => match crate::engine::decode(request).and_then(bytes) {
                Ok(bytes) => Cost::micros((bytes >> 10).try_into().unwrap_or(u32::MAX)),
                Err(_) => Cost::LIGHT,
            },
            api::PUBLISH | api::PUBLISH_TRACED => self.cost_of_publish(request),
            _ => Cost::LIGHT,
        }
    }

    #[inline]
    fn call(&self, op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        if op != api::PUBLISH {
            return self.call_other(op, call);
        }
        let api::Publish { topic, type_id, flags, payload } = call.request()?;
        let outgoing = Outgoing {
            type_id,
            payload,
            publisher: call.session(),
            must_be_heard: must_be_heard(flags)?,
            ..Outgoing::default()
        };
        self.publish(call, topic, &outgoing)
    }
}

#[cold]
fn unknown_handle() -> Error {
    let text = "no topic has this handle: open it by its name, once in each run of the daemon";
    Error::new(ErrorCode::UnknownTopic, text)
}

fn wide(low: u64, high: u64) -> u128 {
    u128::from(low) | u128::from(high) << 64
}

#[inline]
fn must_be_heard(flags: u32) -> Result<bool, Error> {
    if flags & !api::MUST_BE_HEARD != 0 {
        let text = format!("flags {flags:#x}: only bit 0 has a meaning");
        return Err(Error::new(ErrorCode::InvalidArgument, text));
    }
    Ok(flags != 0)
}

fn start(asked: &api::Subscribe) -> Result<Start, Error> {
    match asked.start {
        api::FROM_OLDEST => Ok(Start::Oldest),
        api::FROM_NEWEST => Ok(Start::Newest),
        api::FROM_POSITION => {
            Ok(Start::At(Position { epoch: asked.epoch, sequence: asked.sequence }))
        }
        other => {
            let text = format!("start {other}: use 0 (oldest), 1 (newest) or 2 (a position)");
            Err(Error::new(ErrorCode::InvalidArgument, text))
        }
    }
}

fn options(asked: &api::Open<'_>) -> Result<TopicOptions, Error> {
    let patience = Duration::from_millis(asked.patience_ms.into());
    let policy = match asked.policy {
        api::OVERWRITE => Policy::Overwrite,
        api::BLOCK => Policy::Block { patience },
        api::REJECT => Policy::Reject,
        other => {
            let text = format!("policy {other}: use 0 (overwrite), 1 (block) or 2 (reject)");
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
    };
    let payload_bytes = asked.payload_bytes as usize;
    let api::Open { slots, blocks, block_bytes, .. } = *asked;
    Ok(TopicOptions { policy, slots, payload_bytes, blocks, block_bytes })
}

fn sizes(options: TopicOptions) -> Result<usize, Error> {
    options
        .geometry()
        .map(|sizes| sizes.bytes())
        .map_err(|error| TopicError::from(error).into_error())
}

fn opened<M: Memory>(topic: &Topic<M>, epoch: u64) -> api::Opened {
    let TopicOptions { policy, slots, payload_bytes, blocks, block_bytes } = topic.options();
    let (policy, patience) = match policy {
        Policy::Overwrite => (api::OVERWRITE, Duration::ZERO),
        Policy::Block { patience } => (api::BLOCK, patience),
        Policy::Reject => (api::REJECT, Duration::ZERO),
    };
    api::Opened {
        epoch,
        topic: api::handle(epoch, topic.number()),
        slots,
        payload_bytes: payload_bytes as u32,
        blocks,
        block_bytes,
        patience_ms: patience.as_millis() as u32,
        policy,
    }
}
