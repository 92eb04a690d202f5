//! The way to a daemon, across its restarts and across forks of this process.
//!
//! A [`Remote`] belongs to one process: a forked child, whose parent's threads may have held any lock
//! in it, uses a fresh one ([`Remote::here`], one load when nothing was forked). Its lanes are
//! replaced when the daemon is. It does *not* wait for answers: see [`crate::wait`].

use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use ringfence_protocol::sys::fork::ForkStamp;
use ringfence_protocol::sys::socket::{Conn, SocketError};

use crate::autostart::Autostart;
use crate::cell::LaneCell;
use crate::control::{Greeting, socket_error};
use crate::error::Error;
use crate::lane::Lane;
use crate::options::Settings;
use crate::pending::Call;
use crate::reactor::Reactor;
use crate::session::{Death, Opened, Session};
use crate::target::Candidate;

/// Between two looks for a daemon that is not there yet.
pub(crate) const RETRY_EVERY: Duration = Duration::from_millis(5);

/// The way to a daemon.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) stamp: ForkStamp,
    pub(crate) settings: Settings,
    pub(crate) lanes: Box<[LaneCell]>,
    /// The last session, dead or alive.
    pub(crate) current: ArcSwapOption<Session>,
    pub(crate) autostarted: AtomicBool,
    pub(crate) autostart: Option<Autostart>,
    /// Lanes that the daemon grants: fewer than asked for, if it refused one.
    granted: AtomicUsize,
    pub(crate) gate: Mutex<Gate>,
    closed: AtomicBool,
    /// Its part in an event loop, if it has one.
    reactor: ArcSwapOption<Reactor>,
    /// The same for a forked child.
    child: OnceLock<Arc<Remote>>,
}

/// What only one thread at a time does: connecting.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Where to look. After the first success only there.
    pub(crate) candidates: Vec<Candidate>,
    /// When looking last was in vain, and why.
    failed: Option<(Instant, String)>,
}

impl Remote {
    /// A way that has not been gone yet.
    pub(crate) fn new(
        settings: Settings,
        candidates: Vec<Candidate>,
        autostart: Option<Autostart>,
    ) -> Self {
        let lanes = std::iter::repeat_with(LaneCell::default).take(settings.lanes).collect();
        Self {
            stamp: ForkStamp::now(),
            granted: AtomicUsize::new(settings.lanes),
            settings,
            lanes,
            current: ArcSwapOption::empty(),
            autostarted: AtomicBool::new(false),
            autostart,
            gate: Mutex::new(Gate { candidates, failed: None }),
            closed: AtomicBool::new(false),
            reactor: ArcSwapOption::empty(),
            child: OnceLock::new(),
        }
    }

    /// The way of the calling process: this one, unless it was forked since.
    #[inline]
    pub(crate) fn here(self: &Arc<Self>) -> &Arc<Self> {
        if self.stamp.is_child() { self.of_child() } else { self }
    }

    #[cold]
    fn of_child(self: &Arc<Self>) -> &Arc<Self> {
        let mut ancestor = self;
        while ancestor.stamp.is_child() {
            if ancestor.child.get().is_none() {
                // Made before it is set, so that a fork meanwhile finds no half-set cell.
                let fresh = Arc::new(ancestor.fresh());
                let _another_thread_was_first = ancestor.child.set(fresh);
            }
            ancestor = ancestor.child.get_or_init(|| Arc::new(ancestor.fresh()));
        }
        ancestor
    }

    /// As new: for a child, or for a session of its own. The gate may be held for ever by a thread of the parent.
    pub(crate) fn fresh(&self) -> Self {
        let candidates = self.current.load().as_ref().map(|s| vec![s.candidate.clone()]);
        let candidates = candidates
            .or_else(|| self.gate.try_lock().map(|gate| gate.candidates.clone()))
            .unwrap_or_default();
        let fresh = Self::new(self.settings.clone(), candidates, self.autostart.clone());
        fresh.closed.store(self.closed.load(Relaxed), Relaxed);
        fresh
    }

    /// The lane for the calling thread: the one that it had before.
    #[inline]
    pub(crate) fn lane_index(&self) -> usize {
        if self.lanes.len() == 1 { 0 } else { self.choose_lane() }
    }

    fn choose_lane(&self) -> usize {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static THREAD: usize = THREADS.fetch_add(1, Relaxed);
        }
        let thread = THREAD.try_with(|thread| *thread).unwrap_or(0);
        thread % self.granted.load(Relaxed).max(1)
    }

    /// Connects for the first time: nobody there is an error at once.
    pub(crate) fn connect(self: &Arc<Self>) -> Result<(), Error> {
        let mut gate = self.gate.lock();
        match self.connect_once(&mut gate) {
            Err(Error::Unavailable { tried }) => match &self.autostart {
                Some(autostart) => self.start_daemon(autostart, &mut gate),
                None => Err(Error::Unavailable { tried }),
            },
            other => other,
        }
    }

    fn start_daemon(self: &Arc<Self>, how: &Autostart, gate: &mut Gate) -> Result<(), Error> {
        let until = Instant::now() + self.settings.timeout.max(crate::autostart::PATIENCE);
        let mut started = how.start()?;
        loop {
            match self.connect_once(gate) {
                Err(Error::Unavailable { tried }) => {
                    started.check(&tried)?;
                    if Instant::now() >= until {
                        return Err(Error::Unavailable { tried });
                    }
                    std::thread::sleep(RETRY_EVERY);
                }
                other => {
                    let pid = self.alive().map_or(0, |session| session.pid);
                    self.autostarted.store(other.is_ok() && started.is(pid), Relaxed);
                    return other;
                }
            }
        }
    }

    /// Makes lane `index` usable, waiting for a daemon that is restarting until then, but no longer
    /// than a connect may take.
    #[cold]
    pub(crate) fn ensure(
        self: &Arc<Self>,
        index: usize,
        until: Option<Instant>,
    ) -> Result<(), Error> {
        let entered = Instant::now();
        let latest = entered + self.settings.timeout;
        let until = until.map_or(latest, |until| until.min(latest));
        let Some(mut gate) = self.gate.try_lock_until(until) else {
            let tried = "another thread is still connecting".to_owned();
            return Err(Error::Unavailable { tried });
        };
        if self.is_closed() {
            return Err(Error::Closed);
        }
        if let Some(session) = self.alive() {
            return self.further_lane(index, &session);
        }
        if let Some((_, tried)) = gate.failed.as_ref().filter(|(at, _)| *at >= entered) {
            return Err(Error::Unavailable { tried: tried.clone() });
        }
        self.reconnect(&mut gate, until)
    }

    fn reconnect(self: &Arc<Self>, gate: &mut Gate, until: Instant) -> Result<(), Error> {
        loop {
            match self.connect_once(gate) {
                Err(Error::Unavailable { tried }) => {
                    if let Some(autostart) = &self.autostart {
                        return self.start_daemon(autostart, gate);
                    }
                    if self.is_closed() {
                        return Err(Error::Closed);
                    }
                    let now = Instant::now();
                    if now >= until {
                        gate.failed = Some((now, tried.clone()));
                        return Err(Error::Unavailable { tried });
                    }
                    std::thread::sleep(RETRY_EVERY.min(until - now));
                }
                other => return other,
            }
        }
    }

    /// Is there a session that is not over?
    pub(crate) fn is_alive(&self) -> bool {
        self.current.load().as_ref().is_some_and(|session| session.death().is_none())
    }

    /// The session, unless it is over.
    pub(crate) fn alive(&self) -> Option<Arc<Session>> {
        self.current.load_full().filter(|session| session.death().is_none())
    }

    fn further_lane(self: &Arc<Self>, index: usize, session: &Arc<Session>) -> Result<(), Error> {
        if self.lanes[index].hold().is_some() {
            return Ok(());
        }
        match session.open_lane() {
            Ok(opened) => self.install(opened, session, index),
            Err(Error::Remote(_)) if index > 0 => {
                // A quota: from now on threads share what there is.
                self.granted.store(index, Relaxed);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn install(
        self: &Arc<Self>,
        opened: Opened,
        session: &Arc<Session>,
        index: usize,
    ) -> Result<(), Error> {
        let lane = Lane::new(opened, session.clone(), index);
        *self.lanes[index].hold() = Some(lane);
        Ok(())
    }

    fn connect_once(self: &Arc<Self>, gate: &mut Gate) -> Result<(), Error> {
        let mut tried = Vec::new();
        for candidate in &gate.candidates {
            match self.try_candidate(candidate) {
                Ok((session, opened)) => {
                    gate.candidates = vec![session.candidate.clone()];
                    return self.adopt(session, opened);
                }
                Err(Error::Unavailable { tried: text }) => tried.push(text),
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unavailable { tried: tried.join("; ") })
    }

    /// Goes on with a fresh session.
    pub(crate) fn adopt(self: &Arc<Self>, session: Session, opened: Opened) -> Result<(), Error> {
        if let Some(old) = self.current.load_full() {
            old.die(Death::Gone);
            self.bury(&old);
        }
        let session = Arc::new(session);
        self.granted.store(self.settings.lanes, Relaxed);
        self.current.store(Some(session.clone()));
        self.install(opened, &session, 0)?;
        if self.is_closed() {
            // Closed meanwhile, by somebody who saw no session yet.
            self.close();
            return Err(Error::Closed);
        }
        Ok(())
    }

    fn try_candidate(&self, candidate: &Candidate) -> Result<(Session, Opened), Error> {
        let timeout = self.settings.timeout;
        let conn = Conn::connect(&candidate.path, timeout).map_err(|error| match error {
            SocketError::TimedOut(after) => Error::Unavailable {
                tried: format!(
                    "the daemon at {} took no connection within {after:?}: is it stopped, or overloaded?",
                    candidate.path.display()
                ),
            },
            other => socket_error(other),
        })?;
        candidate.check_owner(&conn)?;
        let asked = Instant::now();
        let stalled = Greeting::stalled(&conn, candidate, timeout);
        match Greeting::say(conn, candidate.clone(), &self.settings).and_then(Greeting::wait) {
            Err(Error::Unavailable { .. }) if asked.elapsed() >= timeout => Err(stalled),
            other => other.map_err(|error| or_slammed(error, candidate)),
        }
    }

    /// Ends what a dead session left open: everybody who waits gets an answer or an error.
    #[cold]
    pub(crate) fn bury(self: &Arc<Self>, session: &Session) {
        let Some(death) = session.death() else { return };
        for cell in &self.lanes {
            let mut holder = cell.hold();
            if holder.as_ref().is_none_or(|lane| lane.serial != session.serial) {
                continue;
            }
            let lane = holder.take().map(|mut lane| {
                lane.bury(death, self);
                lane
            });
            drop(holder);
            drop(lane);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Nobody drives any more: wakes every task that waits for an answer, to be told so.
    pub(crate) fn wake_all(self: &Arc<Self>) {
        for cell in &self.lanes {
            let tasks = cell.hold().as_ref().map(Lane::tasks).unwrap_or_default();
            tasks.into_iter().for_each(Waker::wake);
        }
    }

    /// Its part in an event loop, if somebody drives it.
    pub(crate) fn reactor(&self) -> Option<Arc<Reactor>> {
        self.reactor.load_full().filter(|reactor| !reactor.is_closed())
    }

    /// Makes its part in an event loop; there is one at a time.
    pub(crate) fn make_reactor(&self) -> Result<Arc<Reactor>, Error> {
        let _one_at_a_time = self.gate.lock();
        if self.reactor().is_some() {
            return Err(Error::invalid("the client has a driver already: drop that one first"));
        }
        let reactor = Arc::new(Reactor::new()?);
        if let Some(session) = self.alive() {
            reactor.watch_session(&session);
        }
        self.reactor.store(Some(reactor.clone()));
        Ok(reactor)
    }

    /// Leaves the daemon. Open calls end with [`Error::Closed`].
    pub(crate) fn close(self: &Arc<Self>) {
        // SeqCst, as in `is_closed`: of this and a connect that ends now, one sees the other.
        self.closed.store(true, SeqCst);
        if let Some(session) = self.current.load_full() {
            session.leave();
            self.bury(&session);
        }
    }

    /// Gives a lease of lane `lane` back, unless its session is over or its owner another process.
    pub(crate) fn release_lease(self: &Arc<Self>, lane: usize, serial: u32, number: usize) {
        self.with_lane(lane, serial, |lane| lane.ring.release(number));
    }

    /// Does something with a lane of a session, if there still is one.
    fn with_lane<T>(
        self: &Arc<Self>,
        index: usize,
        serial: u32,
        act: impl FnOnce(&mut Lane) -> T,
    ) -> Option<T> {
        if self.stamp.is_child() {
            return None;
        }
        let cell = &self.lanes[index];
        let mut holder = cell.hold();
        let done = holder.as_mut().filter(|lane| lane.serial == serial).map(act);
        cell.let_go(holder, self);
        done
    }

    /// Rings the daemon's bell if it sleeps on the first lane of this session.
    pub(crate) fn ring_if_parked(self: &Arc<Self>, serial: u32) {
        self.with_lane(0, serial, Lane::ring_bell_if_due);
    }

    /// Asks for the end of a call.
    pub(crate) fn cancel(self: &Arc<Self>, call: &Call) {
        self.with_lane(call.lane, call.serial, |lane| {
            let _if_it_is_broken_the_wait_says_so = lane.drain_or_die(self);
            if !call.entry.is_done() {
                lane.cancel(call.ticket);
            }
        });
    }

    /// Nobody waits for a call any more.
    pub(crate) fn abandon(self: &Arc<Self>, call: &Call) {
        self.with_lane(call.lane, call.serial, |lane| lane.abandon(call.ticket));
    }

    /// How far a call is.
    pub(crate) fn progress(self: &Arc<Self>, call: &Call) -> Option<u64> {
        self.with_lane(call.lane, call.serial, |lane| lane.ring.progress(call.ticket)).flatten()
    }
}

/// What went wrong with a hello: a daemon that took the connection and hung up is none.
pub(crate) fn or_slammed(error: Error, candidate: &Candidate) -> Error {
    match error {
        Error::Restarted { .. } => Error::Unavailable {
            tried: format!(
                "the daemon at {} closed the connection without a word: its log says why",
                candidate.path.display()
            ),
        },
        other => other,
    }
}
