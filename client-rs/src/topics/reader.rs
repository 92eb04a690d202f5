//! A subscription to a topic of the daemon: a log, a number among the session's subscriptions, and the
//! ways to wait for more.
//!
//! Invariants: one thread at a time has the log; a cursor is stored only after what lies below it was
//! copied; whoever sleeps is woken by news, by [`close`](Reader::close), or looks after the session
//! itself within 50 ms.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use ringfence_protocol::api::bus as api;
use ringfence_protocol::error::{Error as RemoteError, ErrorCode};
use ringfence_protocol::limits::SUBSCRIPTIONS;
use ringfence_protocol::log::{
    self, Counts, InPlace, Inbox, Keep, LogReader, Policy, Position, Start,
};
use ringfence_protocol::message::Message as _;
use ringfence_protocol::region::Region;
use ringfence_protocol::sys::fork::ForkStamp;
use ringfence_protocol::sys::futex::{self, Wait, Word};
use ringfence_protocol::wait::{Lull, Patience, Step};

use super::ears::Hold;
use super::message::{Event, Message, Payload};
use super::remote::RemoteTopic;
use super::subscription::Time;
use crate::error::{Error, Outcome};
use crate::options::{CallOptions, Timeout};
use crate::reply::Reply;
use crate::session::Session;

/// A sleep lasts this long at most; then the control socket is looked at.
const SLICE: Duration = Duration::from_millis(50);

/// How long a dropped subscription waits for the daemon to forget it.
const FAREWELL: Duration = Duration::from_secs(1);

/// A subscription to a topic of the daemon.
pub(super) struct Reader {
    topic: RemoteTopic,
    keep: Keep,
    stamp: ForkStamp,
    received: AtomicU64,
    missed: AtomicU64,
    dropped: AtomicU64,
    closed: AtomicBool,
    /// Changed by `close`, for who sleeps.
    own: AtomicU32,
    attached: Mutex<Option<Attached>>,
}

/// What it is to one session.
struct Attached {
    session: Arc<Session>,
    number: u32,
    inbox: Inbox<Region>,
    log: Region,
    policy: Policy,
    /// What is said again and again after it was cut off.
    cut_off: Option<Error>,
    /// Until the next message usually comes: a look takes the line away from who writes it.
    lull: Lull,
}

impl Reader {
    pub(super) fn open(topic: RemoteTopic, start: Start, keep: Keep) -> Result<Self, Error> {
        let keep = keep.validated().map_err(|wrong| Error::invalid(wrong.to_string()))?;
        let attached = attach(&topic, start, keep)?;
        Ok(Self::of(topic, keep, attached))
    }

    /// As [`open`](Self::open), for tasks.
    pub(super) async fn open_async(
        topic: RemoteTopic,
        start: Start,
        keep: Keep,
    ) -> Result<Self, Error> {
        let keep = keep.validated().map_err(|wrong| Error::invalid(wrong.to_string()))?;
        let attached = attach_async(&topic, start, keep).await?;
        Ok(Self::of(topic, keep, attached))
    }

    fn of(topic: RemoteTopic, keep: Keep, attached: Attached) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            topic,
            keep,
            stamp: ForkStamp::now(),
            received: zero(),
            missed: zero(),
            dropped: zero(),
            closed: AtomicBool::new(false),
            own: AtomicU32::new(0),
            attached: Mutex::new(Some(attached)),
        }
    }

    pub(super) fn topic(&self) -> &str {
        self.topic.name()
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            received: self.received.load(Relaxed),
            missed: self.missed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
        }
    }

    pub(super) fn recv(&self, time: Time) -> Result<Event, Error> {
        let mut attached = self.attached(time)?;
        self.next(&mut attached, time, false)
    }

    /// As [`recv`](Self::recv); a signal ends it as if the time were over.
    pub(super) fn recv_until_signal(&self, time: Time) -> Result<Event, Error> {
        let mut attached = self.attached(time)?;
        self.next(&mut attached, time, true)
    }

    pub(super) fn recv_batch(&self, max: usize, time: Time) -> Result<Vec<Event>, Error> {
        let mut batch = Vec::new();
        let mut attached = match self.attached(time) {
            Err(Error::NoMessage { .. }) => return Ok(batch),
            attached => attached?,
        };
        while batch.len() < max {
            match self.next(&mut attached, time, false) {
                Ok(event) => batch.push(event),
                Err(Error::NoMessage { .. }) => break,
                Err(error) if batch.is_empty() => return Err(error),
                // Said again by the next call.
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, SeqCst);
        self.own.fetch_add(1, SeqCst);
        futex::wake(Word::private(&self.own), u32::MAX);
        if self.stamp.is_child() {
            return;
        }
        // Who was in the middle of a receive has left when the lock is ours.
        let attached = self.attached.lock().take();
        if let Some(mut attached) = attached {
            attached.session.ears.wake_tasks();
            let dropped = attached.inbox.clear();
            self.dropped.fetch_add(dropped, Relaxed);
            self.detach(&attached);
        }
    }

    /// Tells the daemon. What it does not hear ends with the session.
    fn detach(&self, attached: &Attached) {
        if attached.session.death().is_some() {
            return;
        }
        let mut request = Vec::with_capacity(8);
        api::Unsubscribe { subscription: attached.number }.encode(&mut request);
        let options = CallOptions { timeout: Timeout::After(FAREWELL), ..CallOptions::default() };
        let done = self.topic.client.call(&self.topic.methods.unsubscribe, &request, &options);
        if done.is_ok() {
            attached.session.ears.give_number(attached.number);
        }
    }

    fn attached(&self, time: Time) -> Result<MutexGuard<'_, Option<Attached>>, Error> {
        if self.stamp.is_child() {
            return Err(Error::Forked);
        }
        match time.until() {
            None => Ok(self.attached.lock()),
            Some(until) => self.attached.try_lock_until(until).ok_or_else(|| time.over()),
        }
    }

    fn next(
        &self,
        holder: &mut MutexGuard<'_, Option<Attached>>,
        time: Time,
        signals: bool,
    ) -> Result<Event, Error> {
        if self.closed.load(SeqCst) {
            return Err(Error::Closed);
        }
        let attached = self.attach_again(holder)?;
        let event = self.wait(attached, time, signals);
        if event.is_err() && attached.session.death().is_some() {
            // Said once; the next receive subscribes again.
            **holder = None;
        }
        event
    }

    fn wait(&self, attached: &mut Attached, time: Time, signals: bool) -> Result<Event, Error> {
        if !time.is_none() {
            attached.lull.sit_out();
        }
        if let Some(event) = self.look(attached)? {
            attached.lull.found_after(0);
            return Ok(event);
        }
        if time.is_none() {
            return Err(time.over());
        }
        let mut patience = Patience::new(self.topic.client.spin());
        let mut looks = 0;
        loop {
            let step = patience.step();
            looks += 1;
            if step != Step::Look {
                if time.left().is_zero() {
                    return Err(time.over());
                }
                if step == Step::Park && self.fall_asleep(attached, time, signals)? {
                    patience.reset();
                }
            }
            if let Some(event) = self.look(attached)? {
                attached.lull.found_after(looks);
                return Ok(event);
            }
            // Only after what is left of the log.
            if step != Step::Look {
                self.check_session(attached)?;
                // What is waited for may be a message of this client's own, and stand behind others that the
                // daemon has no credit for.
                self.topic.remote().collect_posts();
            }
        }
    }

    /// Was it woken?
    fn fall_asleep(&self, attached: &Attached, time: Time, signals: bool) -> Result<bool, Error> {
        let slept = self.sleep(attached, time.left().min(SLICE));
        match slept {
            Wait::Interrupted if signals => return Err(time.over()),
            Wait::TimedOut | Wait::Interrupted => attached.session.poll(),
            Wait::Woken | Wait::Changed => {}
        }
        if self.closed.load(SeqCst) {
            return Err(Error::Closed);
        }
        Ok(matches!(slept, Wait::Woken | Wait::Changed))
    }

    /// The daemon that it was attached to may be gone, which was said: attaches to the next one.
    fn attach_again<'h>(
        &self,
        holder: &'h mut MutexGuard<'_, Option<Attached>>,
    ) -> Result<&'h mut Attached, Error> {
        if holder.is_none() {
            let attached = attach(&self.topic, Start::Oldest, self.keep)?;
            return Ok(holder.insert(attached));
        }
        holder.as_mut().ok_or(Error::Closed)
    }

    /// The next event, if there is one.
    #[inline]
    fn look(&self, attached: &mut Attached) -> Result<Option<Event>, Error> {
        if let Some(error) = &attached.cut_off {
            return Err(error.clone());
        }
        let Attached { session, number, inbox, policy, log, .. } = attached;
        let is_open = || !self.closed.load(Relaxed);
        let mut lapped = false;
        let moved = |counts: Counts, cursor| {
            if counts != Counts::default() {
                self.missed.fetch_add(counts.missed, Relaxed);
                self.dropped.fetch_add(counts.dropped, Relaxed);
                lapped |= counts.missed > 0;
            }
            if *policy != Policy::Overwrite {
                session.ears.advance(*number, cursor);
            }
        };
        let found = inbox.next(is_open, moved, |of, _| Hold::of(session, *number, of));
        let found = found.map_err(|fault| Error::Protocol { what: fault.to_string() })?;
        let event = found.map(|(event, in_place)| delivered(event, in_place, log));
        if matches!(policy, Policy::Block { .. }) {
            self.tell_room(attached);
            if lapped || event.is_none() {
                self.hear_of_cut_off(attached)?;
            }
        }
        if let Some(Event::Message(_)) = event {
            // Only whoever has the log counts.
            self.received.store(self.received.load(Relaxed) + 1, Relaxed);
        }
        Ok(event)
    }

    /// A publish may wait for the cursor that was just stored.
    fn tell_room(&self, attached: &Attached) {
        self.topic.remote().ring_if_parked(attached.session.serial);
    }

    fn hear_of_cut_off(&self, attached: &mut Attached) -> Result<(), Error> {
        if attached.session.ears.was_cut_off(attached.number).is_none() {
            let _or_another_thread_hears_it = attached.session.poll_if_free();
        }
        let Some(sequence) = attached.session.ears.was_cut_off(attached.number) else {
            return Ok(());
        };
        let here = attached.inbox.position();
        let missed = sequence.saturating_sub(here.sequence);
        self.missed.fetch_add(missed, Relaxed);
        let at = Position { sequence, ..here };
        let error = Error::CutOff { topic: self.topic().to_owned(), at, missed };
        attached.cut_off = Some(error.clone());
        Err(error)
    }

    fn check_session(&self, attached: &Attached) -> Result<(), Error> {
        match attached.session.death() {
            None => Ok(()),
            Some(death) => Err(death.error(true, attached.session.pid)),
        }
    }

    fn sleep(&self, attached: &Attached, at_most: Duration) -> Wait {
        let own = self.own.load(SeqCst);
        let has_news = || {
            self.closed.load(SeqCst)
                || attached.session.death().is_some()
                || attached.inbox.has_news()
        };
        attached.session.ears.sleep((&self.own, own), at_most, has_news)
    }

    /// The next event, for a task.
    pub(super) async fn recv_async(&self) -> Result<Event, Error> {
        loop {
            let found = std::future::poll_fn(|cx| self.poll(cx)).await;
            match found {
                Some(found) => return found,
                None => {
                    // Said before: the daemon is another one.
                    let attached = attach_async(&self.topic, Start::Oldest, self.keep).await?;
                    *self.attached.lock() = Some(attached);
                }
            }
        }
    }

    /// `None`: it is attached to nothing.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Error>>> {
        if self.stamp.is_child() {
            return Poll::Ready(Some(Err(Error::Forked)));
        }
        let Some(mut holder) = self.attached.try_lock() else {
            let text = "a thread receives from this subscription: let either it or tasks do so";
            return Poll::Ready(Some(Err(Error::invalid(text))));
        };
        if self.closed.load(SeqCst) {
            return Poll::Ready(Some(Err(Error::Closed)));
        }
        let Some(attached) = holder.as_mut() else { return Poll::Ready(None) };
        let found = match self.look(attached) {
            Ok(None) => {
                attached.session.ears.sleep_as_task(cx.waker());
                self.look(attached)
            }
            found => found,
        };
        let found = found.and_then(|event| match event {
            None => self.check_session(attached).map(|()| None),
            event => Ok(event),
        });
        if found.is_err() && attached.session.death().is_some() {
            *holder = None;
        }
        match found {
            Ok(None) => Poll::Pending,
            Ok(Some(event)) => Poll::Ready(Some(Ok(event))),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.close();
    }
}

fn delivered(event: log::Event, in_place: Option<InPlace<Hold>>, log: &Region) -> Event {
    match (event, in_place) {
        (log::Event::Overtaken { missed }, _) => Event::Overtaken { missed },
        (log::Event::Message(log::Message { position, envelope, payload }), in_place) => {
            let payload = match in_place {
                None => Payload::copied(payload),
                Some(InPlace { hold, at, len }) => {
                    Payload::held(Reply::held(log.clone(), at, len, hold))
                }
            };
            Event::Message(Message { position, envelope, payload })
        }
    }
}

fn attach(topic: &RemoteTopic, start: Start, keep: Keep) -> Result<Attached, Error> {
    let session = topic.remote().session()?;
    let number = take_number(&session)?;
    let subscribed = topic.call(|handle| {
        let request = subscribe_request(handle, number, start);
        topic.client.call(&topic.methods.subscribe, &request, &CallOptions::default())
    });
    attached(topic, session, number, keep, subscribed)
}

/// As [`attach`], for tasks.
async fn attach_async(topic: &RemoteTopic, start: Start, keep: Keep) -> Result<Attached, Error> {
    let gone = || Error::Restarted { outcome: Outcome::NotStarted, pid: 0 };
    let session = topic.remote().alive().ok_or_else(gone)?;
    let number = take_number(&session)?;
    let request = |handle| subscribe_request(handle, number, start);
    let options = CallOptions::default();
    let subscribed = topic.call_async(&topic.methods.subscribe, request, &options).await;
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
    subscribed: Result<Reply, Error>,
) -> Result<Attached, Error> {
    let inbox = subscribed.and_then(|reply| {
        let api::Subscribed { sequence } = api::Subscribed::decode(&reply)?;
        session.poll();
        // Of another session if the daemon was replaced meanwhile.
        let (outcome, pid) = (Outcome::NotStarted, session.pid);
        let log = session.ears.log(topic.handle() as u32);
        let log = log.ok_or(Error::Restarted { outcome, pid })?;
        let wrong = |what: String| Error::Protocol { what };
        let memory = log.clone();
        let mut log = LogReader::open(log).map_err(|error| wrong(error.to_string()))?;
        let at = Position { epoch: session.epoch, sequence };
        log.seek(Start::At(at)).map_err(|error| wrong(error.to_string()))?;
        Ok((Inbox::new(log, keep), memory))
    });
    match inbox {
        Ok((inbox, log)) => {
            let (policy, lull) = (topic.options().policy, Lull::default());
            Ok(Attached { session, number, inbox, log, policy, cut_off: None, lull })
        }
        Err(error) => {
            session.ears.give_number(number);
            Err(error)
        }
    }
}
