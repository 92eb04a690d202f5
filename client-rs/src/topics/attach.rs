//! What a subscription is to one session: a number there, and the log that the daemon hands over.
//!
//! Invariant: a number is used in the session that it was taken in and in no other, also where the daemon is
//! replaced in the middle of it. It does *not* read.

use std::sync::Arc;
use std::time::Duration;

use ringfence_protocol::api::bus as api;
use ringfence_protocol::error::ErrorCode;
use ringfence_protocol::log::{Inbox, Keep, LogReader, Policy, Position, Start};
use ringfence_protocol::message::Message as _;
use ringfence_protocol::region::Region;
use ringfence_protocol::wait::Lull;

use super::number::Number;
use super::remote::RemoteTopic;
use crate::error::{Error, Outcome};
use crate::method::Method;
use crate::options::{CallOptions, Timeout};
use crate::reply::Reply;
use crate::session::Session;

/// How long a thread that closes a subscription waits for the daemon to forget it.
const FAREWELL: Duration = Duration::from_secs(1);

/// What it is to one session.
pub(super) struct Attached {
    pub(super) session: Arc<Session>,
    /// The last to know of it: when it is dropped the daemon is told.
    pub(super) number: Number,
    pub(super) inbox: Inbox<Region>,
    pub(super) log: Region,
    pub(super) policy: Policy,
    /// What is said again and again after it was cut off.
    pub(super) cut_off: Option<Error>,
    /// It was said that the session is over.
    pub(super) is_over: bool,
    /// Receives that found nothing and did not sleep.
    pub(super) in_vain: u32,
    /// Until the next message usually comes: a look takes the line away from who writes it.
    pub(super) lull: Lull,
    /// A task subscribed: it does not wait where it is not asked to.
    by_task: bool,
}

impl Attached {
    /// Waits a moment for the daemon to forget it, if a thread subscribed. What the daemon does not hear here it is
    /// told when the number is dropped.
    pub(super) fn detach(self, topic: &RemoteTopic) {
        let Self { session, number, by_task, .. } = self;
        if by_task || session.death().is_some() {
            return;
        }
        let mut request = Vec::with_capacity(8);
        api::Unsubscribe { subscription: number.get() }.encode(&mut request);
        let options = CallOptions { timeout: Timeout::After(FAREWELL), ..CallOptions::default() };
        let method = Method::of_session(api::NAME, "unsubscribe", session.serial);
        if topic.client.call(&method, &request, &options).is_ok() {
            number.give_back();
        }
    }
}

/// Subscribes in the present session; where that ends meanwhile, in the next one.
pub(super) fn attach(topic: &RemoteTopic, start: Start, keep: Keep) -> Result<Attached, Error> {
    match attach_once(topic, start, keep) {
        Err(error) if may_try_again(&error) => attach_once(topic, start, keep),
        done => done,
    }
}

/// Where the session has ended meanwhile, and where the daemon has a subscription of that number which was given up
/// before it was made: that is being told now, and the next number is another one.
fn may_try_again(error: &Error) -> bool {
    error.may_retry(false) || error.code() == ErrorCode::AlreadyExists
}

fn attach_once(topic: &RemoteTopic, start: Start, keep: Keep) -> Result<Attached, Error> {
    let number = Number::take(topic.remote(), topic.remote().session()?)?;
    let method = subscribe_in(&number.session);
    let subscribed = topic.call(|handle| {
        let request = subscribe_request(handle, number.get(), start);
        topic.client.call(&method, &request, &CallOptions::default())
    });
    attached(topic, number, keep, subscribed)
}

/// As [`attach`], for tasks.
pub(super) async fn attach_async(
    topic: &RemoteTopic,
    start: Start,
    keep: Keep,
) -> Result<Attached, Error> {
    match attach_once_async(topic, start, keep).await {
        Err(error) if error.code() == ErrorCode::AlreadyExists => {
            attach_once_async(topic, start, keep).await
        }
        done => done,
    }
}

async fn attach_once_async(
    topic: &RemoteTopic,
    start: Start,
    keep: Keep,
) -> Result<Attached, Error> {
    // Whoever waits for a message may be the only one here: nobody else finds the next daemon for it.
    if !topic.remote().is_alive() {
        topic.client.ping_async(&CallOptions::default()).await?;
    }
    let gone = || Error::Restarted { outcome: Outcome::NotStarted, pid: 0 };
    let session = topic.remote().alive().ok_or_else(gone)?;
    let number = match Number::take(topic.remote(), session.clone()) {
        Ok(number) => number,
        Err(_) => {
            // Those that were closed a moment ago are free when the daemon has come so far.
            topic.client.ping_async(&CallOptions::default()).await?;
            Number::take(topic.remote(), session)?
        }
    };
    let request = |handle| subscribe_request(handle, number.get(), start);
    let (method, options) = (subscribe_in(&number.session), CallOptions::default());
    let subscribed = topic.call_async(&method, request, &options).await;
    Ok(Attached { by_task: true, ..attached(topic, number, keep, subscribed)? })
}

/// The number is this session's: in another it would name, or become, a subscription that nobody reads.
fn subscribe_in(session: &Session) -> Method {
    Method::of_session(api::NAME, "subscribe", session.serial)
}

fn subscribe_request(topic: u64, subscription: u32, start: Start) -> Vec<u8> {
    let (start, at) = match start {
        Start::Oldest => (api::FROM_OLDEST, Position { epoch: 0, sequence: 0 }),
        Start::Newest => (api::FROM_NEWEST, Position { epoch: 0, sequence: 0 }),
        Start::At(at) => (api::FROM_POSITION, at),
    };
    let Position { epoch, sequence } = at;
    let mut bytes = Vec::with_capacity(40);
    api::Subscribe { topic, subscription, start, epoch, sequence }.encode(&mut bytes);
    bytes
}

/// What the daemon's answer makes of it. The log's descriptor came before that answer.
fn attached(
    topic: &RemoteTopic,
    number: Number,
    keep: Keep,
    subscribed: Result<(api::Opened, Reply), Error>,
) -> Result<Attached, Error> {
    let session = number.session.clone();
    let (opened, reply) = match subscribed {
        Ok(done) => done,
        Err(error) => {
            let is_over = session.death().is_some();
            let (outcome, pid) = (Outcome::NotStarted, session.pid);
            if is_refusal(&error) {
                number.give_back();
            }
            return Err(if is_over { Error::Restarted { outcome, pid } } else { error });
        }
    };
    let api::Subscribed { sequence } = api::Subscribed::decode(&reply)?;
    session.poll();
    let wrong = |what: String| Error::Protocol { what };
    let log = session.ears.log(opened.topic as u32);
    let log = log.ok_or_else(|| wrong("a subscription without its log".to_owned()))?;
    let mut reader = LogReader::open(log.clone()).map_err(|error| wrong(error.to_string()))?;
    let at = Position { epoch: session.epoch, sequence };
    reader.seek(Start::At(at)).map_err(|error| wrong(error.to_string()))?;
    let (inbox, policy, lull) = (Inbox::new(reader, keep), topic.options().policy, Lull::default());
    let (cut_off, is_over, in_vain, by_task) = (None, false, 0, false);
    Ok(Attached { session, number, inbox, log, policy, cut_off, is_over, in_vain, lull, by_task })
}

/// Is it certain that the daemon has not made the subscription?
fn is_refusal(error: &Error) -> bool {
    match error {
        // There is one, of somebody who gave up before it was made.
        Error::Remote(error) => error.code != ErrorCode::AlreadyExists,
        error => error.outcome() == Some(Outcome::NotStarted),
    }
}
