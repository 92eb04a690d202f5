//! [`Publisher`]: messages one after another, without an answer awaited for each.
//!
//! What a message costs here is its slot, and now and then a look at the answers that are there: no entry,
//! no allocation, no wait as long as the ring has room. Invariant: no failure is lost; [`Publisher::flush`]
//! says the first, and how many there were. It does *not* publish a message again whose fate is not
//! known.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::time::Instant;

use parking_lot::Mutex;
use ringfence_protocol::error::ErrorCode;
use ringfence_protocol::limits::INLINE_BYTES;
use ringfence_protocol::log::{Policy, TopicOptions};
use ringfence_protocol::sys::fork::ForkStamp;
use ringfence_protocol::wait::{Patience, Step};

use super::Publication;
use super::publish::{HEAD, Lines};
use super::remote::RemoteTopic;
use super::sheaf::{SHEAF_BYTES, Sheaf};
use crate::call::Request;
use crate::error::{Error, Outcome};
use crate::lane::Lane;
use crate::method::Method;
use crate::options::CallOptions;
use crate::owner::{Held, Owner};
use crate::remote::Remote;
use crate::wait::CLOCK_EVERY;

/// What became of the messages of one publisher, counted by whoever finds their answers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    answered: AtomicU64,
    failed: AtomicU64,
    first: Mutex<Option<Error>>,
}

impl Tally {
    #[inline]
    pub(crate) fn published(&self, count: u32) {
        self.answered.fetch_add(count.into(), SeqCst);
    }

    #[cold]
    pub(crate) fn failed(&self, error: Error, count: u32) {
        self.first.lock().get_or_insert(error);
        self.failed.fetch_add(count.into(), Relaxed);
        // Last: who waits for this answer then sees the error.
        self.answered.fetch_add(count.into(), SeqCst);
    }
}

/// Looks for answers while the ring is full: some microseconds. Then the message goes the way of every call,
/// which sleeps.
const FULL_LOOKS: u32 = 256;

/// Publishes messages one after another. From [`Topic::publisher`](super::Topic::publisher).
///
/// A publisher that is dropped before [`flush`](Self::flush) leaves its messages to the daemon, and
/// nobody hears of failures.
#[derive(Debug)]
pub struct Publisher {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Remote(Posts),
    #[cfg(feature = "inproc")]
    Inproc {
        topic: ringfence_core::bus::Topic,
        posted: u64,
        tally: Tally,
    },
}

#[derive(Debug)]
struct Posts {
    topic: RemoteTopic,
    options: TopicOptions,
    tally: Arc<Tally>,
    posted: u64,
    /// Empty between two calls; its memory stays.
    sheaf: Sheaf,
    /// The process whose messages are counted.
    stamp: ForkStamp,
}

impl Publisher {
    pub(super) fn remote(topic: RemoteTopic) -> Self {
        let (options, tally) = (topic.options(), Arc::default());
        let (sheaf, stamp) = (Sheaf::default(), ForkStamp::now());
        Self { inner: Inner::Remote(Posts { topic, options, tally, posted: 0, sheaf, stamp }) }
    }

    #[cfg(feature = "inproc")]
    pub(super) fn inproc(topic: ringfence_core::bus::Topic) -> Self {
        Self { inner: Inner::Inproc { topic, posted: 0, tally: Tally::default() } }
    }

    /// Publishes a message, and does not wait for its place in the topic. Waits for room in the ring if
    /// the daemon is behind. Messages of one publisher keep their order.
    ///
    /// # Errors
    /// The message could not be submitted. What comes of it later is [`flush`](Self::flush)'s.
    #[inline]
    pub fn post(&mut self, message: &Publication<'_>) -> Result<(), Error> {
        match &mut self.inner {
            Inner::Remote(posts) => posts.post(message),
            #[cfg(feature = "inproc")]
            Inner::Inproc { topic, posted, tally } => {
                *posted += 1;
                match topic.publish(&message.outgoing()) {
                    Ok(_) => tally.published(1),
                    Err(error) => tally.failed(Error::Remote(error.into_error()), 1),
                }
                Ok(())
            }
        }
    }

    /// As [`post`](Self::post) of each, many in one request where they are short, have no ids and go to a topic
    /// that overwrites: these fail together.
    ///
    /// # Errors
    /// As [`post`](Self::post).
    ///
    /// ```
    /// use ringfence::{Publication, TopicOptions};
    /// let topic = ringfence::doctest_client().topic("t", TopicOptions::default())?;
    /// let mut publisher = topic.publisher();
    /// publisher.post_all([&b"one"[..], b"two"].map(Publication::new))?;
    /// assert_eq!(publisher.flush()?, 2);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn post_all<'p>(
        &mut self,
        messages: impl IntoIterator<Item = Publication<'p>>,
    ) -> Result<(), Error> {
        for message in messages {
            match &mut self.inner {
                Inner::Remote(posts) if posts.takes_sheaves(&message) => posts.gather(&message)?,
                Inner::Remote(posts) => {
                    posts.post_sheaf()?;
                    posts.post(&message)?;
                }
                #[cfg(feature = "inproc")]
                Inner::Inproc { .. } => self.post(&message)?,
            }
        }
        match &mut self.inner {
            Inner::Remote(posts) => posts.post_sheaf(),
            #[cfg(feature = "inproc")]
            Inner::Inproc { .. } => Ok(()),
        }
    }

    /// Waits until all messages so far have their places: how many were published since the last time.
    ///
    /// # Errors
    /// The first failure since the last time; the others were published, as far as is known.
    ///
    /// ```
    /// use ringfence::{Publication, TopicOptions};
    /// let topic = ringfence::doctest_client().topic("t", TopicOptions::default())?;
    /// let mut publisher = topic.publisher();
    /// for n in 0_u64..100 {
    ///     publisher.post(&Publication::new(&n.to_le_bytes()))?;
    /// }
    /// assert_eq!(publisher.flush()?, 100);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn flush(&mut self) -> Result<u64, Error> {
        let (posted, tally) = match &mut self.inner {
            Inner::Remote(posts) => {
                posts.wait()?;
                (&mut posts.posted, &*posts.tally)
            }
            #[cfg(feature = "inproc")]
            Inner::Inproc { posted, tally, .. } => (posted, &*tally),
        };
        let all = std::mem::take(posted);
        tally.answered.fetch_sub(all, SeqCst);
        let failed = tally.failed.swap(0, Relaxed);
        let first = tally.first.lock().take();
        match first {
            Some(error) => Err(self.explained(error)),
            None => Ok(all - failed),
        }
    }

    /// The daemon did not know the topic's handle: it has started anew.
    fn explained(&self, error: Error) -> Error {
        match &self.inner {
            Inner::Remote(posts) if error.code() == ErrorCode::UnknownTopic => {
                match posts.topic.open_again() {
                    Ok(_) => Error::Restarted { outcome: Outcome::NotStarted, pid: 0 },
                    Err(error) => error,
                }
            }
            _ => error,
        }
    }
}

impl Posts {
    fn takes_sheaves(&self, message: &Publication<'_>) -> bool {
        let TopicOptions { policy, payload_bytes, .. } = self.options;
        let is_short = message.payload().len() <= payload_bytes.min(SHEAF_BYTES);
        policy == Policy::Overwrite && is_short && !message.has_ids()
    }

    /// Puts the message to those that go with one request.
    #[inline]
    fn gather(&mut self, message: &Publication<'_>) -> Result<(), Error> {
        if !self.sheaf.has_room_for(message) {
            self.post_sheaf()?;
        }
        self.sheaf.add(message);
        Ok(())
    }

    /// Submits what was gathered as one request.
    fn post_sheaf(&mut self) -> Result<(), Error> {
        let count = self.sheaf.len();
        if count == 0 {
            return Ok(());
        }
        let method = self.topic.method_of_many();
        let (handle, sheaf) = (self.topic.handle(), &mut self.sheaf);
        let posted = self.topic.remote().post_request(method, handle, sheaf, &self.tally);
        self.sheaf.clear();
        self.posted += u64::from(count);
        if let Err(error) = posted {
            self.tally.failed(error, count);
        }
        Ok(())
    }

    #[inline]
    fn post(&mut self, message: &Publication<'_>) -> Result<(), Error> {
        if self.stamp.is_child() {
            return Err(Error::Forked);
        }
        let topic = &self.topic;
        let (method, remote) = (topic.method(message), topic.remote());
        let post = |lines: Lines<'_>| remote.post(method, lines, &self.tally);
        if message.in_slot(topic.handle(), post) == Some(true) {
            self.posted += 1;
            return Ok(());
        }
        if message.payload().len() > INLINE_BYTES - HEAD && self.takes_sheaves(message) {
            self.gather(message)?;
            return self.post_sheaf();
        }
        self.posted += 1;
        self.post_slowly(message)
    }

    /// The ring is full, the message is large, or there is no lane: the way of every call.
    #[cold]
    fn post_slowly(&mut self, message: &Publication<'_>) -> Result<(), Error> {
        let published = self.topic.publish(message, &CallOptions::default());
        match published {
            Ok(_) => self.tally.published(1),
            Err(error) => self.tally.failed(error, 1),
        }
        Ok(())
    }

    /// Until every message is answered.
    fn wait(&self) -> Result<(), Error> {
        if self.stamp.is_child() {
            return Err(Error::Forked);
        }
        let remote = self.topic.remote();
        let (mut patience, mut looks) = (Patience::new(self.topic.client.spin()), 0);
        let since = Instant::now();
        let limit = CallOptions::default();
        let timeout = self.topic.publish_timeout(&limit);
        while self.tally.answered.load(SeqCst) < self.posted {
            remote.collect_posts();
            let step = patience.step();
            looks += 1;
            // Who always spins looks around, too.
            if step == Step::Look && looks % CLOCK_EVERY != 0 {
                continue;
            }
            if let Some(session) = remote.current.load_full() {
                let _or_another_thread_notices = session.poll_if_free();
                remote.bury(&session);
            }
            if timeout.is_some_and(|timeout| since.elapsed() > timeout) {
                return Err(Error::Timeout { outcome: Outcome::Unknown, after: since.elapsed() });
            }
            if step == Step::Park {
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        }
        Ok(())
    }
}

impl Remote {
    /// Submits a publish whose answer is only counted. `false`: there is no room, or no lane.
    #[inline]
    fn post(self: &Arc<Self>, method: &Method, lines: Lines<'_>, tally: &Arc<Tally>) -> bool {
        if self.stamp.is_child() {
            return false;
        }
        let index = self.lane_index();
        let cell = &self.lanes[index];
        let mut holder = cell.hold();
        let Some(lane) = holder.as_mut() else { return false };
        lane.ring.prepare_request(lines.len);
        lane.ring.unpark();
        let posted = lane.post(method, lines, tally, self);
        if posted {
            lane.ring_bell_if_due();
            // Not each answer by itself: a look at the line that the daemon writes next takes as long as a
            // message, and whoever posts may be about to wait for one.
            if lane.ring.outstanding() * 2 >= lane.window() as u64 {
                lane.drain_some(self);
            }
        }
        cell.let_go(holder, self);
        posted
    }

    /// Takes the answers that are there.
    pub(super) fn collect_posts(self: &Arc<Self>) {
        for cell in &self.lanes {
            self.look_at(cell);
            if cell.is_waited_for() {
                cell.let_go(cell.hold(), self);
            }
        }
    }
}

impl Lane {
    /// Submits a publish that fits a slot, and does not ring. `false`: there is no room for it.
    #[inline]
    fn post(
        &mut self,
        method: &Method,
        lines: Lines<'_>,
        tally: &Arc<Tally>,
        remote: &Arc<Remote>,
    ) -> bool {
        let Some(number) = method.number(self.serial) else { return false };
        let options = CallOptions::default();
        let request = Request { method, payload: &[], options: &options, turns: 0, stays: false };
        let Lines { len, line, behind } = lines;
        let header = request.header(number, 0, len);
        for _ in 0..FULL_LOOKS {
            // No more than the daemon has credit for: whoever posts may never look at answers again, and
            // wait for a message instead.
            let has_credit = self.ring.outstanding() < self.window() as u64;
            if has_credit && let Ok(ticket) = self.ring.submit_lines(header, line, behind) {
                self.register(ticket, Owner::Post(tally.clone(), 1), Held::Nothing);
                return true;
            }
            // Full: the daemon is about to answer, unless it sleeps.
            if !self.drain_some(remote) {
                self.ring_bell_if_due();
                std::hint::spin_loop();
            }
        }
        false
    }

    /// Takes answers that are there, a few. Were there any?
    #[inline]
    pub(super) fn drain_some(&mut self, remote: &Arc<Remote>) -> bool {
        const SOME: usize = 32;
        let mut found = false;
        for _ in 0..SOME {
            let Ok(Some(header)) = self.ring.peek() else { break };
            found = true;
            if let Err(error) = self.deliver(header, remote) {
                self.session.die(crate::session::Death::Broken { what: error.to_string() });
                break;
            }
        }
        found
    }
}
