//! What an event loop watches of a client: one descriptor, and what to do when it is readable.
//!
//! The descriptor is an epoll set of the control socket, of the waker into which the daemon puts bytes,
//! of a timer, and of a bell of our own. All are watched edge-triggered, so that one look at the events
//! makes the set quiet again, also where a peer has hung up.
//!
//! A lane that a task waits for counts as awake from the moment the loop is nudged until it has looked
//! ([`Reactor::turn`]), which parks the lane once for all calls that were made meanwhile.
//!
//! Invariant: whoever waits holds a [`Watch`], so that the lane is parked for a byte. It does *not* know
//! any runtime, and never blocks but for the moments in which another thread holds a lane.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Relaxed, SeqCst},
};
use std::task::Waker;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use parking_lot::Mutex;
use ringfence_protocol::limits::CONTROL_FDS;
use ringfence_protocol::sys::bell::Bell;
use ringfence_protocol::sys::socket::TryReceived;

use crate::cell::LaneCell;
use crate::error::Error;
use crate::link::Link;
use crate::remote::Remote;
use crate::session::Session;
use crate::timers::Timers;

/// What is watched; the order does not matter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Nudge = 1,
    Timer,
    Control,
    Waker,
    Greeting,
}

/// One client's part in an event loop.
#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: Epoll,
    nudge: Bell,
    pub(crate) timers: Timers,
    pub(crate) link: Mutex<Link>,
    room: Mutex<Room>,
    watched: Mutex<Watched>,
    closed: AtomicBool,
    /// Calls that were answered while they were submitted.
    at_once: AtomicU32,
}

/// Calls in a row that may be answered without giving way: a task that makes one after the other would
/// else keep its thread from all other tasks. (tokio allows its own resources as many.)
const SHARE: u32 = 128;

/// Tasks that wait for room in a ring, by their place in the queue.
#[derive(Debug, Default)]
struct Room {
    tasks: BTreeMap<u64, Waker>,
    places: u64,
}

/// The session whose descriptors are in the set.
#[derive(Debug, Default)]
struct Watched {
    serial: u32,
    waker: bool,
    /// Its control socket said something while another thread had it.
    unread: bool,
}

/// When a control socket is looked at again that another thread has.
const UNREAD: Duration = Duration::from_millis(1);

/// Somebody waits for a lane.
#[derive(Debug)]
pub(crate) struct Watch {
    remote: Arc<Remote>,
    lane: usize,
}

impl Watch {
    pub(crate) fn new(remote: &Arc<Remote>, lane: usize) -> Self {
        remote.lanes[lane].watchers.fetch_add(1, SeqCst);
        Self { remote: remote.clone(), lane }
    }

    pub(crate) fn cell(&self) -> &LaneCell {
        &self.remote.lanes[self.lane]
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.cell().watchers.fetch_sub(1, SeqCst);
    }
}

fn os(error: impl std::fmt::Display) -> Error {
    Error::Io { what: format!("no descriptor for an event loop: {error}") }
}

impl Reactor {
    pub(crate) fn new() -> Result<Self, Error> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(os)?;
        let (nudge, timers) = (Bell::new().map_err(os)?, Timers::new().map_err(os)?);
        let reactor = Self {
            epoll,
            nudge,
            timers,
            link: Mutex::default(),
            room: Mutex::default(),
            watched: Mutex::default(),
            closed: AtomicBool::new(false),
            at_once: AtomicU32::new(0),
        };
        reactor.add(reactor.nudge.as_fd(), Source::Nudge)?;
        reactor.add(reactor.timers.as_fd(), Source::Timer)?;
        Ok(reactor)
    }

    fn add(&self, fd: BorrowedFd<'_>, source: Source) -> Result<(), Error> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.epoll.add(fd, EpollEvent::new(flags, source as u64)).map_err(os)
    }

    /// Watches a connection whose hello has not been answered.
    pub(crate) fn watch_greeting(&self, fd: BorrowedFd<'_>) -> Result<(), Error> {
        self.add(fd, Source::Greeting)
    }

    /// It watches itself from now on, under another name.
    pub(crate) fn forget_greeting(&self, fd: BorrowedFd<'_>) {
        // ENOENT if it was never watched: gone either way.
        let _ = self.epoll.delete(fd);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Nobody watches any more: everybody who waits is told so.
    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
        std::mem::take(&mut self.room.lock().tasks).into_values().for_each(Waker::wake);
        self.link.lock().wake();
    }

    /// One more call was answered at once: is it the turn of other tasks?
    pub(crate) fn is_share_over(&self) -> bool {
        self.at_once.fetch_add(1, Relaxed) % SHARE == SHARE - 1
    }

    /// Asks the loop to look at a lane: a call was made in it that is not answered yet.
    pub(crate) fn nudge(&self, cell: &LaneCell) {
        if !cell.nudged.swap(true, SeqCst) {
            cell.awake.fetch_add(1, SeqCst);
            self.ring();
        }
    }

    /// Makes the descriptor readable.
    pub(crate) fn ring(&self) {
        // It fails for descriptors that are no eventfd; this one is.
        let _ = self.nudge.ring();
    }

    /// Has `task` woken when there may be room in a ring: its place in the queue, which is the one that
    /// it had.
    pub(crate) fn await_room(&self, place: Option<u64>, task: &Waker) -> u64 {
        let mut room = self.room.lock();
        let place = place.unwrap_or_else(|| {
            room.places += 1;
            room.places
        });
        room.tasks.insert(place, task.clone());
        place
    }

    /// The task at `place` waits no longer. Had it been woken? Then there was room for it.
    pub(crate) fn leave_room(&self, place: u64) -> bool {
        self.room.lock().tasks.remove(&place).is_none()
    }

    /// Takes what has come, for everybody. To be called when the descriptor is readable; never blocks.
    pub(crate) fn turn(&self, remote: &Arc<Remote>) {
        let mut events = [EpollEvent::empty(); 8];
        // Nothing but EINTR can happen to a valid set: the next turn finds the same.
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let has = |source| events[..count].iter().any(|event| event.data() == source as u64);
        if let Some(session) = remote.current.load_full() {
            if has(Source::Waker) {
                drain(&session);
                session.ears.wake_tasks();
            }
            self.hear(&session, has(Source::Control));
            self.watch_session(&session);
            remote.bury(&session);
        }
        for cell in &remote.lanes {
            self.look_at(cell, remote);
        }
        if has(Source::Timer) {
            self.timers.fire();
        }
        self.link.lock().wake();
    }

    /// Reads the control socket if it said something. Its event does not come again, so what another
    /// thread, which waits for an answer there, leaves unread is looked for a little later.
    fn hear(&self, session: &Session, said: bool) {
        let unread = std::mem::take(&mut self.watched.lock().unread);
        if (said || unread) && !session.poll_if_free() {
            self.watched.lock().unread = true;
            self.timers.set(Instant::now() + UNREAD, Waker::noop().clone());
        }
    }

    fn look_at(&self, cell: &LaneCell, remote: &Arc<Remote>) {
        if !cell.nudged.swap(false, SeqCst) {
            cell.awake.fetch_add(1, SeqCst);
        }
        remote.look_at(cell);
        let free = cell.hold().as_mut().map_or(usize::MAX, |lane| lane.room());
        let woken: Vec<Waker> = {
            let mut room = self.room.lock();
            std::iter::from_fn(|| room.tasks.pop_first()).take(free).map(|(_, task)| task).collect()
        };
        remote.fall_silent(cell);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Puts the session's descriptors into the set, when it has them.
    pub(crate) fn watch_session(&self, session: &Session) {
        let mut watched = self.watched.lock();
        if session.death().is_some() {
            return;
        }
        if watched.serial != session.serial {
            *watched = Watched { serial: session.serial, ..Watched::default() };
            let added = session.with_control(|fd| self.add(fd, Source::Control));
            if added.is_ok() && session.waker().is_none() {
                session.ask_for_waker();
            }
        }
        if let Some(waker) = session.waker().filter(|_| !watched.waker) {
            watched.waker = self.add(waker.as_fd(), Source::Waker).is_ok();
        }
    }
}

/// Reads the waker until there is nothing more: then the next byte is an edge.
fn drain(session: &Session) {
    let Some(waker) = session.waker() else { return };
    let mut buffer = [0; 8];
    while matches!(waker.try_recv(&mut buffer, CONTROL_FDS), Ok(TryReceived::Message(_))) {}
}

impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}
