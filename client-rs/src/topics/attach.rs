//! What a subscription is to one session: a number there, and the log that the daemon hands over.
//!
//! Invariant: a number is used in the session that it was taken in and in no other, also where the daemon is
//! replaced in the middle of it. It does *not* read.

use std::sync::Arc;
use std::time::Duration;

use ringfence_protocol::api::bus as api;
use ringfence_protocol::error::{Error as RemoteError, ErrorCode};
use ringfence_protocol::limits::SUBSCRIPTIONS;
use ringfence_protocol::log::{Inbox, Keep, LogReader, Policy, Position, Start};
use ringfence_protocol::message::Message as _;
use ringfence_protocol::region::Region;
use ringfence_protocol::wait::Lull;

use super::remote::RemoteTopic;
use crate::error::{Error, Outcome};
use crate::method::Method;
use crate::options::{CallOptions, Timeout};
use crate::reply::Reply;
use crate::session::Session;

/// How long a dropped subscription waits for the daemon to forget it.
const FAREWELL: Duration = Duration::from_secs(1);

/// What it is to one session.
pub(super) struct Attached {
    pub(super) session: Arc<Session>,
    pub(super) number: u32,
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
}

impl Attached {
    /// Tells the daemon. What it does not hear ends with the session.
    pub(super) fn detach(&self, topic: &RemoteTopic) {
        let Self { session, number, .. } = self;
        if session.death().is_some() {
            return;
        }
        let mut request = Vec::with_capacity(8);
        api::Unsubscribe { subscription: *number }.encode(&mut request);
        let options = CallOptions { timeout: Timeout::After(FAREWELL), ..CallOptions::default() };
        let method = Method::of_session(api::NAME, "unsubscribe", session.serial);
        if topic.client.call(&method, &request, &options).is_ok() {
            // That it was cut off is not to be read when the number is another's.
            session.poll();
            session.ears.give_number(*number);
        }
    }
}

/// Subscribes in the present session; where that ends meanwhile, in the next one.
pub(super) fn attach(topic: &RemoteTopic, start: Start, keep: Keep) -> Result<Attached, Error> {
    match attach_once(topic, start, keep) {
        Err(error) if error.may_retry(false) => attach_once(topic, start, keep),
        done => done,
    }
}

fn attach_once(topic: &RemoteTopic, start: Start, keep: Keep) -> Result<Attached, Error> {
    let session = topic.remote().session()?;
    let number = take_number(&session)?;
    let method = subscribe_in(&session);
    let subscribed = topic.call(|handle| {
        let request = subscribe_request(handle, number, start);
        topic.client.call(&method, &request, &CallOptions::default())
    });
    attached(topic, session, number, keep, subscribed)
}

/// As [`attach`], for tasks.
pub(super) async fn attach_async(
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
    let number = take_number(&session)?;
    let request = |handle| subscribe_request(handle, number, start);
    let (method, options) = (subscribe_in(&session), CallOptions::default());
    let subscribed = topic.call_async(&method, request, &options).await;
    attached(topic, session, number, keep, subscribed)
}

fn take_number(session: &Session) -> Result<u32, Error> {
    session.ears.take_number().ok_or_else(|| {
        let text = format!(
            "{SUBSCRIPTIONS} subscriptions of this client are open, the most of one session: close one first"
        );
        Error::Remote(RemoteError::new(ErrorCode::Quota, text))
    })
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
    session: Arc<Session>,
    number: u32,
    keep: Keep,
    subscribed: Result<(api::Opened, Reply), Error>,
) -> Result<Attached, Error> {
    let inbox = subscribed.and_then(|(opened, reply)| {
        let api::Subscribed { sequence } = api::Subscribed::decode(&reply)?;
        session.poll();
        let wrong = |what: String| Error::Protocol { what };
        let log = session.ears.log(opened.topic as u32);
        let log = log.ok_or_else(|| wrong("a subscription without its log".to_owned()))?;
        let memory = log.clone();
        let mut log = LogReader::open(log).map_err(|error| wrong(error.to_string()))?;
        let at = Position { epoch: session.epoch, sequence };
        log.seek(Start::At(at)).map_err(|error| wrong(error.to_string()))?;
        Ok((Inbox::new(log, keep), memory))
    });
    match inbox {
        Ok((inbox, log)) => {
            let (policy, lull) = (topic.options().policy, Lull::default());
            let (cut_off, is_over, in_vain) = (None, false, 0);
            Ok(Attached { session, number, inbox, log, policy, cut_off, is_over, in_vain, lull })
        }
        Err(error) => {
            session.ears.give_number(number);
            let is_over = session.death().is_some();
            let (outcome, pid) = (Outcome::NotStarted, session.pid);
            Err(if is_over { Error::Restarted { outcome, pid } } else { error })
        }
    }
}
