//! [`Publisher`]: messages one after another, without an answer awaited for each.
//!
//! What a message costs here is its slot and a look at the answers that are there: no entry, no
//! allocation, no wait as long as the ring has room. Invariant: no failure is lost; [`Publisher::flush`]
//! says the first, and how many there were. It does *not* publish a message again whose fate is not
//! known.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::time::Instant;

use parking_lot::Mutex;
use ringfence_protocol::limits::INLINE_BYTES;
use ringfence_protocol::wait::{Patience, Step};

use super::Publication;
use super::remote::RemoteTopic;
use crate::call::Request;
use crate::error::Error;
use crate::lane::{Held, Lane, Owner};
use crate::method::Method;
use crate::options::CallOptions;
use crate::remote::Remote;

/// What became of the messages of one publisher, counted by whoever finds their answers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    answered: AtomicU64,
    failed: AtomicU64,
    first: Mutex<Option<Error>>,
}

impl Tally {
    #[inline]
    pub(crate) fn published(&self) {
        self.answered.fetch_add(1, SeqCst);
    }

    #[cold]
    pub(crate) fn failed(&self, error: Error) {
        self.first.lock().get_or_insert(error);
        self.failed.fetch_add(1, Relaxed);
        // Last: who waits for this answer then sees the error.
        self.answered.fetch_add(1, SeqCst);
    }
}

/// Messages that are submitted between two looks at whether the daemon sleeps.
const BURST: usize = 16;

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
    tally: Arc<Tally>,
    posted: u64,
}

impl Publisher {
    pub(super) fn remote(topic: RemoteTopic) -> Self {
        Self { inner: Inner::Remote(Posts { topic, tally: Arc::default(), posted: 0 }) }
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
                    Ok(_) => tally.published(),
                    Err(error) => tally.failed(Error::Remote(error.into_error())),
                }
                Ok(())
            }
        }
    }

    /// As [`post`](Self::post) of each, in bursts: a full fence for all of a burst and not for each message.
    ///
    /// # Errors
    /// As [`post`](Self::post).
    ///
    /// ```
    /// use ringfence::{Publication, TopicOptions};
    /// let topic = ringfence::doctest_client().topic("t", TopicOptions::default())?;
    /// let mut publisher = topic.publisher();
    /// publisher.post_all([b"one", b"two"].map(|text| Publication::new(text)))?;
    /// assert_eq!(publisher.flush()?, 2);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn post_all<'p>(
        &mut self,
        messages: impl IntoIterator<Item = Publication<'p>>,
    ) -> Result<(), Error> {
        let mut messages = messages.into_iter();
        loop {
            let posted = match &mut self.inner {
                Inner::Remote(posts) => posts.burst(&mut messages),
                #[cfg(feature = "inproc")]
                Inner::Inproc { .. } => Burst::Stopped(messages.next()),
            };
            match posted {
                Burst::More => {}
                Burst::Stopped(Some(message)) => self.post(&message)?,
                Burst::Stopped(None) => return Ok(()),
            }
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
        match tally.first.lock().take() {
            Some(error) => Err(error),
            None => Ok(all - failed),
        }
    }
}

/// What came of a burst.
enum Burst<'p> {
    /// There may be more messages, and room for them.
    More,
    /// This one found no room, or there is none left.
    Stopped(Option<Publication<'p>>),
}

impl Posts {
    /// Submits messages while there is room, holding the lane once.
    fn burst<'p>(&mut self, messages: &mut impl Iterator<Item = Publication<'p>>) -> Burst<'p> {
        let (topic, tally, posted) = (&self.topic, &self.tally, &mut self.posted);
        let remote = topic.remote();
        if remote.stamp.is_child() {
            return Burst::Stopped(messages.next());
        }
        let cell = &remote.lanes[remote.lane_index()];
        let mut holder = cell.hold();
        let Some(lane) = holder.as_mut() else { return Burst::Stopped(messages.next()) };
        lane.ring.unpark();
        let mut burst = Burst::More;
        for _ in 0..BURST {
            let Some(message) = messages.next() else {
                burst = Burst::Stopped(None);
                break;
            };
            let submitted =
                topic.request(&message, |_, method, bytes| lane.post(method, bytes, tally, remote));
            if !submitted {
                burst = Burst::Stopped(Some(message));
                break;
            }
            *posted += 1;
        }
        lane.ring_bell_if_due();
        if lane.ring.outstanding() >= lane.window() as u64 {
            lane.drain_some(remote);
        }
        cell.let_go(holder, remote);
        burst
    }

    #[inline]
    fn post(&mut self, message: &Publication<'_>) -> Result<(), Error> {
        let (topic, tally) = (&self.topic, &self.tally);
        let remote = topic.remote();
        let posted = topic.request(message, |_, method, bytes| remote.post(method, bytes, tally));
        self.posted += 1;
        if posted { Ok(()) } else { self.post_slowly(message) }
    }

    /// The ring is full, the message is large, or there is no lane: the way of every call.
    #[cold]
    fn post_slowly(&mut self, message: &Publication<'_>) -> Result<(), Error> {
        let published = self.topic.publish(message, &CallOptions::default());
        match published {
            Ok(_) => self.tally.published(),
            Err(error) => self.tally.failed(error),
        }
        Ok(())
    }

    /// Until every message is answered.
    fn wait(&self) -> Result<(), Error> {
        let remote = self.topic.remote();
        let mut patience = Patience::new(self.topic.client.spin());
        let since = Instant::now();
        let limit = CallOptions::default();
        let timeout = self.topic.publish_timeout(&limit);
        while self.tally.answered.load(SeqCst) < self.posted {
            remote.collect_posts();
            let step = patience.step();
            if step == Step::Look {
                continue;
            }
            if let Some(session) = remote.current.load_full() {
                let _or_another_thread_notices = session.poll_if_free();
                remote.bury(&session);
            }
            if timeout.is_some_and(|timeout| since.elapsed() > timeout) {
                let outcome = crate::error::Outcome::Unknown;
                return Err(Error::Timeout { outcome, after: since.elapsed() });
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
    fn post(self: &Arc<Self>, method: &Method, bytes: &[u8], tally: &Arc<Tally>) -> bool {
        if self.stamp.is_child() {
            return false;
        }
        let index = self.lane_index();
        let cell = &self.lanes[index];
        let mut holder = cell.hold();
        let Some(lane) = holder.as_mut() else { return false };
        lane.ring.unpark();
        let posted = lane.post(method, bytes, tally, self);
        if posted {
            lane.ring_bell_if_due();
            // Rarely, and then all that are there: each look takes a line away from the daemon.
            if lane.ring.outstanding() >= lane.window() as u64 {
                lane.drain_some(self);
            }
        }
        cell.let_go(holder, self);
        posted
    }

    /// Takes the answers that are there.
    fn collect_posts(self: &Arc<Self>) {
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
        bytes: &[u8],
        tally: &Arc<Tally>,
        remote: &Arc<Remote>,
    ) -> bool {
        if bytes.len() > INLINE_BYTES {
            return false;
        }
        let Some(number) = method.number(self.serial) else { return false };
        let options = CallOptions::default();
        let request = Request { method, payload: bytes, options: &options, turns: 0 };
        let header = request.header(number, 0, bytes.len());
        loop {
            if let Some(ticket) = self.submit(header, bytes) {
                self.register(ticket, Owner::Post(tally.clone()), Held::Nothing);
                return true;
            }
            // Full: there may be answers to be taken.
            if !self.drain_some(remote) {
                return false;
            }
        }
    }

    /// Takes answers that are there, a few. Were there any?
    #[inline]
    fn drain_some(&mut self, remote: &Arc<Remote>) -> bool {
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
