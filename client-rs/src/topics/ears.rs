//! What a session knows of its subscriptions, and how they sleep (protocol SPEC P8, B11).
//!
//! All subscriptions of a session share one word in its `up`: each sleep stores a new odd value there,
//! each value is stored once, and the daemon acts once on each, so nobody has to say that it is awake
//! again. Invariant: nobody sleeps who has not looked at its log after it had stored its value. It
//! does *not* read logs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;
use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::layout::down;
use ringfence_protocol::limits::{HOLDS, SUBSCRIPTIONS};
use ringfence_protocol::log::{BlockUse, Cursors, Holds};
use ringfence_protocol::memory::Memory as _;
use ringfence_protocol::region::Region;
use ringfence_protocol::ring::{Listener, WakeBy};
use ringfence_protocol::sys::fork::ForkStamp;
use ringfence_protocol::sys::futex::{self, Wait};

use crate::session::Session;

/// The subscriptions of one session.
#[derive(Debug)]
pub(crate) struct Ears {
    /// Of the first lane.
    up: Region,
    down: Region,
    geometry: Geometry,
    /// Of each hold word: the subscription that has it.
    holders: Mutex<[Option<u8>; HOLDS]>,
    listener: Listener,
    /// Numbers of subscriptions that are taken, a bit each.
    taken: AtomicU64,
    /// Of them those whose subscription is over, and the daemon is to be told.
    leaving: AtomicU64,
    logs: Mutex<HashMap<u32, Region>>,
    cut_off: Mutex<HashMap<u32, u64>>,
    /// Tasks that wait, by their naps.
    tasks: Mutex<BTreeMap<u64, Waker>>,
    naps: AtomicU64,
}

const _: () = assert!(SUBSCRIPTIONS == u64::BITS as usize);

impl Ears {
    pub(crate) fn new(up: Region, down: Region, geometry: Geometry) -> Self {
        Self {
            up,
            down,
            geometry,
            holders: Mutex::new([None; HOLDS]),
            listener: Listener::default(),
            taken: AtomicU64::new(0),
            leaving: AtomicU64::new(0),
            logs: Mutex::default(),
            cut_off: Mutex::default(),
            tasks: Mutex::default(),
            naps: AtomicU64::new(0),
        }
    }

    /// A number for a subscription, if one is free.
    pub(crate) fn take_number(&self) -> Option<u32> {
        // Numbers that a hold still names are not free (SPEC B11).
        let held = self.holders.lock().iter().flatten().fold(0_u64, |held, by| held | 1 << by);
        let free = |taken: u64| {
            let busy = taken | held;
            (busy != u64::MAX).then(|| taken | 1 << busy.trailing_ones())
        };
        let taken = self.taken.fetch_update(SeqCst, SeqCst, free).ok()?;
        let number = (taken | held).trailing_ones();
        self.cut_off.lock().remove(&number);
        self.cursors().begin(number);
        Some(number)
    }

    /// It is free again: the daemon knows it no more.
    pub(crate) fn give_number(&self, number: u32) {
        self.taken.fetch_and(!(1 << number), SeqCst);
    }

    /// Its subscription is over, as far as this side is concerned.
    pub(super) fn leave(&self, number: u32) {
        self.leaving.fetch_or(1 << number, SeqCst);
    }

    /// Is there any that [leaves](Self::leave)?
    pub(super) fn any_leaves(&self) -> bool {
        self.leaving.load(SeqCst) != 0
    }

    /// One that leaves; whoever gets it tells the daemon.
    pub(super) fn next_to_leave(&self) -> Option<u32> {
        let without_first = |leaving: u64| (leaving != 0).then(|| leaving & (leaving - 1));
        let leaving = self.leaving.fetch_update(SeqCst, SeqCst, without_first).ok()?;
        Some(leaving.trailing_zeros())
    }

    /// The subscription has copied all below this sequence.
    pub(crate) fn advance(&self, number: u32, cursor: u64) {
        self.cursors().advance(number, cursor);
    }

    fn cursors(&self) -> Cursors<'_, Region> {
        Cursors::new(&self.up, self.geometry)
    }

    pub(crate) fn add_log(&self, topic: u32, log: Region) {
        self.logs.lock().insert(topic, log);
    }

    pub(crate) fn log(&self, topic: u32) -> Option<Region> {
        self.logs.lock().get(&topic).cloned()
    }

    /// The daemon says that a publish waited too long for this subscription.
    pub(crate) fn cut_off(&self, number: u32, sequence: u64) {
        self.cut_off.lock().insert(number, sequence);
        self.wake_tasks();
    }

    /// Was it cut off, and at which message?
    pub(crate) fn was_cut_off(&self, number: u32) -> Option<u64> {
        self.cut_off.lock().get(&number).copied()
    }

    /// Holds a block for a subscription, if a word is free. It counts after another look at the slot.
    fn store_hold(&self, subscription: u32, block: BlockUse) -> Option<usize> {
        let subscription = subscription as u8;
        let mut holders = self.holders.lock();
        let number = holders.iter().position(Option::is_none)?;
        holders[number] = Some(subscription);
        Holds::new(&self.up, self.geometry).store(number, block.held_by(subscription));
        Some(number)
    }

    fn give_back(&self, number: usize) {
        Holds::new(&self.up, self.geometry).give_back(number);
        self.holders.lock()[number] = None;
    }

    /// Says that somebody sleeps from now on. Its logs have to be looked at once more behind it.
    fn announce(&self, task: Option<(u64, Waker)>) -> u32 {
        let news = self.down.load_u32(down::NEWS);
        // Held until the value is stored: one that asks for a byte is not followed by one that does not.
        let mut tasks = self.tasks.lock();
        tasks.extend(task);
        let by = if tasks.is_empty() { WakeBy::Futex } else { WakeBy::Byte };
        self.listener.announce(&self.up, by);
        drop(tasks);
        news
    }

    /// Sleeps until there is news, `own` has another value than `asleep`, or the time is over; not at
    /// all if `look` finds something.
    pub(crate) fn sleep(
        &self,
        (own, asleep): (&AtomicU32, u32),
        at_most: Duration,
        look: impl FnOnce() -> bool,
    ) -> Wait {
        let news = self.announce(None);
        if look() {
            return Wait::Changed;
        }
        let own = futex::Word::private(own);
        futex::wait(&[(self.down.futex(down::NEWS), news), (own, asleep)], at_most)
    }

    /// All tasks that wait for news look again.
    pub(crate) fn wake_tasks(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.into_values().for_each(Waker::wake);
    }
}

/// A block of a log that is read in place until this is dropped. It keeps the session's memory, not the
/// session: where that ends first the daemon leaves the block alone as long as this process holds it.
#[derive(Debug)]
pub(crate) struct Hold {
    session: Arc<Session>,
    number: usize,
    stamp: ForkStamp,
}

impl Hold {
    pub(super) fn of(session: &Arc<Session>, subscription: u32, block: BlockUse) -> Option<Self> {
        let number = session.ears.store_hold(subscription, block)?;
        Some(Self { session: session.clone(), number, stamp: ForkStamp::now() })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A forked child has the view, and never the words: the parent gives the block back.
        if !self.stamp.is_child() {
            self.session.ears.give_back(self.number);
        }
    }
}

/// A task's place among those that are woken by a byte when there is news; given up when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Nap(Option<(Arc<Session>, u64)>);

impl Nap {
    /// The log has to be looked at once more behind it.
    pub(super) fn begin(&mut self, session: &Arc<Session>, task: &Waker) {
        let place = match &self.0 {
            Some((of, place)) if Arc::ptr_eq(of, session) => *place,
            _ => session.ears.naps.fetch_add(1, Relaxed),
        };
        *self = Self(Some((session.clone(), place)));
        session.ears.announce(Some((place, task.clone())));
    }
}

impl Drop for Nap {
    fn drop(&mut self) {
        if let Some((session, place)) = &self.0 {
            session.ears.tasks.lock().remove(place);
        }
    }
}
