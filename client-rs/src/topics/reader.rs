//! A subscription to a topic of the daemon: a log, a number among the session's subscriptions, and the
//! ways to wait for more.
//!
//! Invariants: one thread at a time has the log; a cursor is stored only after what lies below it was
//! copied; whoever sleeps is woken by news, by [`close`](Reader::close), or looks after the session
//! itself within 50 ms.

use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use ringfence_protocol::log::{Counts, Keep, Policy, Position, Start};
use ringfence_protocol::sys::fork::ForkStamp;
use ringfence_protocol::sys::futex::{self, Wait, Word};
use ringfence_protocol::wait::{Patience, Spin, Step};

use super::attach::{Attached, attach, attach_async};
use super::ears::{Hold, Nap};
use super::message::{Event, Message};
use super::remote::RemoteTopic;
use super::subscription::Time;
use crate::error::Error;
use crate::wait::CLOCK_EVERY;

/// A sleep lasts this long at most; then the control socket is looked at.
const SLICE: Duration = Duration::from_millis(50);

/// Of so many receives that did not sleep, one looks at the control socket: a system call.
const POLL_EVERY: u32 = 64;

/// Looks before the first look around: two to three microseconds.
const FEW_LOOKS: u32 = 64;

/// A subscription to a topic of the daemon.
pub(super) struct Reader {
    topic: RemoteTopic,
    keep: Keep,
    stamp: ForkStamp,
    received: AtomicU64,
    missed: AtomicU64,
    dropped: AtomicU64,
    closed: AtomicBool,
    /// Threads that wait, and have the log as long as they do.
    threads: AtomicU32,
    /// Changed by `close`, for who sleeps.
    own: AtomicU32,
    attached: Mutex<Option<Attached>>,
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
            threads: AtomicU32::new(0),
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

    /// What is there now; never connects, and never waits.
    pub(super) fn try_recv(&self) -> Result<Event, Error> {
        let time = Time::new(Some(Duration::ZERO));
        let mut attached = self.attached(time)?;
        if attached.is_none() && !self.is_closed() {
            return Err(time.over());
        }
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
            if let Some(attached) = attached.as_mut()
                && let Some(message) = self.short(attached)
            {
                batch.push(Event::Message(message));
                continue;
            }
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
            attached.detach(&self.topic);
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
        if self.comes_soon(attached, time)
            && let Some(message) = self.short(attached)
        {
            return Ok(Event::Message(message));
        }
        let event = self.wait(attached, time, signals);
        if attached.is_over {
            // Said once; the next receive subscribes again.
            **holder = None;
        }
        event
    }

    /// The next message, if it is short, of a topic in which no publish waits for who reads. `None` says nothing:
    /// [`look`](Self::look) knows more.
    #[inline(always)]
    fn short(&self, attached: &mut Attached) -> Option<Message> {
        if attached.policy != Policy::Overwrite || self.closed.load(Relaxed) {
            return None;
        }
        let short = attached.inbox.next_short()?;
        self.count();
        Some(short.into())
    }

    /// Looks for the next event, a few times if the caller has time. Only these looks say how long to sit out
    /// before the first: for what takes longer it gains nothing.
    #[inline]
    fn comes_soon(&self, attached: &mut Attached, time: Time) -> bool {
        let most = match self.topic.client.spin() {
            _ if time.is_none() => 0,
            Spin::Never => 0,
            Spin::Adaptive | Spin::Always => FEW_LOOKS,
        };
        if most > 0 {
            attached.lull.sit_out();
        }
        for looks in 0..=most {
            if attached.inbox.is_ready() {
                attached.lull.found_after(looks);
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    // Not inside `next`, whose every call would pay for its frame.
    #[inline(never)]
    fn wait(&self, attached: &mut Attached, time: Time, signals: bool) -> Result<Event, Error> {
        if let Some(event) = self.look(attached)? {
            return Ok(event);
        }
        if time.is_none() {
            return self.give_up(attached, time);
        }
        let mut patience = Patience::new(self.topic.client.spin());
        let (mut looks, mut waiting) = (0, None);
        loop {
            let step = patience.step();
            looks += 1;
            // Who always spins looks around, too.
            let looks_around = step != Step::Look || looks % CLOCK_EVERY == 0;
            if looks_around {
                waiting.get_or_insert_with(|| Waiting::begin(&self.threads));
                if self.is_closed() {
                    return Err(Error::Closed);
                }
                if time.left().is_zero() {
                    return self.give_up(attached, time);
                }
                if step == Step::Park && self.fall_asleep(attached, time, signals)? {
                    patience.reset();
                }
            }
            if !looks_around && !attached.inbox.is_ready() {
                continue;
            }
            if let Some(event) = self.look(attached)? {
                return Ok(event);
            }
            if !looks_around {
                continue;
            }
            if let Some(event) = self.look_at_end(attached)? {
                return Ok(event);
            }
            // What is waited for may be a message of this client's own, and stand behind others that the
            // daemon has no credit for.
            self.topic.remote().collect_posts();
        }
    }

    /// The time is over. Of who never sleeps nobody may look at the control socket.
    fn give_up(&self, attached: &mut Attached, time: Time) -> Result<Event, Error> {
        attached.in_vain = attached.in_vain.wrapping_add(1);
        if attached.in_vain.is_multiple_of(POLL_EVERY) {
            let _or_another_thread_notices = attached.session.poll_if_free();
        }
        self.look_at_end(attached)?.ok_or_else(|| time.over())
    }

    /// Was it woken?
    fn fall_asleep(&self, attached: &Attached, time: Time, signals: bool) -> Result<bool, Error> {
        let slept = self.sleep(attached, time.left().min(SLICE));
        match slept {
            Wait::Interrupted if signals => return Err(time.over()),
            // That it was cut off is said on the control socket before it is woken.
            Wait::Woken | Wait::Changed if attached.policy == Policy::Overwrite => {}
            _ => {
                let _or_another_thread_hears_it = attached.session.poll_if_free();
            }
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
    fn look(&self, attached: &mut Attached) -> Result<Option<Event>, Error> {
        if let Some(error) = &attached.cut_off {
            return Err(error.clone());
        }
        let Attached { session, number, inbox, policy, log, .. } = attached;
        let is_open = || !self.closed.load(Relaxed);
        let (mut missed, mut has_moved) = (0, false);
        let moved = |counts: Counts, cursor| {
            has_moved = true;
            if counts != Counts::default() {
                missed += counts.missed;
                self.dropped.fetch_add(counts.dropped, Relaxed);
            }
            if *policy != Policy::Overwrite {
                session.ears.advance(number.get(), cursor);
            }
        };
        let found = inbox.next(is_open, moved, |of, _| Hold::of(session, number.get(), of));
        let found = found.map_err(|fault| Error::Protocol { what: fault.to_string() });
        let event =
            found.map(|found| found.map(|(event, in_place)| Event::of_log(event, in_place, log)));
        if matches!(policy, Policy::Block { .. }) {
            if has_moved {
                self.tell_room(attached);
            }
            // Not in place of a message, which was stored before.
            let is_lapped = missed > 0 && matches!(event, Ok(Some(Event::Overtaken { .. })));
            if is_lapped || matches!(event, Ok(None)) {
                self.hear_of_cut_off(attached, missed)?;
            }
        }
        if missed > 0 {
            self.missed.fetch_add(missed, Relaxed);
        }
        let event = event?;
        if let Some(Event::Message(_)) = event {
            self.count();
        }
        Ok(event)
    }

    /// A message was received. Only whoever has the log counts.
    #[inline]
    fn count(&self) {
        self.received.store(self.received.load(Relaxed) + 1, Relaxed);
    }

    /// A publish may wait for the cursor that was just stored.
    fn tell_room(&self, attached: &Attached) {
        self.topic.remote().ring_if_parked(attached.session.serial);
    }

    /// `lapped`: so many messages were missed right now, which nobody was told of yet.
    fn hear_of_cut_off(&self, attached: &mut Attached, lapped: u64) -> Result<(), Error> {
        let Attached { session, number, .. } = &*attached;
        // Said before the message was written that was not to be missed.
        if lapped > 0 && session.ears.was_cut_off(number.get()).is_none() {
            session.poll();
        }
        let Some(sequence) = session.ears.was_cut_off(number.get()) else { return Ok(()) };
        let here = attached.inbox.position();
        // What was published later it would not have got.
        let missed = (sequence + lapped).saturating_sub(here.sequence);
        self.missed.fetch_add(missed, Relaxed);
        let at = Position { sequence, ..here };
        let error = Error::CutOff { topic: self.topic().to_owned(), at, missed };
        attached.cut_off = Some(error.clone());
        Err(error)
    }

    /// Is the session over? What is left of the log comes first.
    fn look_at_end(&self, attached: &mut Attached) -> Result<Option<Event>, Error> {
        let session = &attached.session;
        let Some(error) = session.death().map(|death| death.error(true, session.pid)) else {
            return Ok(None);
        };
        // The last message may have come between the look before and the end.
        match self.look(attached)? {
            None => {
                attached.is_over = true;
                Err(error)
            }
            event => Ok(event),
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
        let mut nap = Nap::default();
        loop {
            let found = std::future::poll_fn(|cx| self.poll(cx, &mut nap)).await;
            match found {
                Some(found) => return found,
                None => {
                    // Said before: the daemon is another one.
                    let attached = attach_async(&self.topic, Start::Oldest, self.keep).await?;
                    self.attached_by_task(attached);
                }
            }
        }
    }

    fn attached_by_task(&self, attached: Attached) {
        let mut holder = self.attached.lock();
        if holder.is_none() && !self.is_closed() {
            *holder = Some(attached);
            return;
        }
        // Another task was first, or it was closed meanwhile.
        drop(holder);
        attached.detach(&self.topic);
    }

    /// `None`: it is attached to nothing.
    fn poll(&self, cx: &mut Context<'_>, nap: &mut Nap) -> Poll<Option<Result<Event, Error>>> {
        if self.stamp.is_child() {
            return Poll::Ready(Some(Err(Error::Forked)));
        }
        if self.is_closed() {
            return Poll::Ready(Some(Err(Error::Closed)));
        }
        if self.threads.load(SeqCst) > 0 {
            let text = "a thread receives from this subscription: let either it or tasks do so";
            return Poll::Ready(Some(Err(Error::invalid(text))));
        }
        // Of another task, for a moment.
        let mut holder = self.attached.lock();
        let Some(attached) = holder.as_mut() else { return Poll::Ready(None) };
        let found = match self.look(attached) {
            Ok(None) => {
                nap.begin(&attached.session, cx.waker());
                self.look(attached)
            }
            found => found,
        };
        let found = found.and_then(|event| match event {
            None => self.look_at_end(attached),
            event => Ok(event),
        });
        if attached.is_over {
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

/// Tells tasks that a thread has the log for long.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn begin(threads: &'a AtomicU32) -> Self {
        threads.fetch_add(1, SeqCst);
        Self(threads)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
