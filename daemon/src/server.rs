//! The control thread: who may connect, sessions from hello to goodbye, and the end of the daemon.
//!
//! Everything that can happen is an [`Event`]; each is handled without waiting for anybody. A client is
//! gone when its socket hangs up *or* its pidfd fires (a forked child can keep the socket open). It owns
//! the books; the pollers own the lanes.

mod bucket;
mod crowd;
mod guests;
mod requests;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signalfd::SignalFd;
use ringfence_core::Registry;
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::fault::Fault;
use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::limits;
use ringfence_protocol::sys::socket::Listener;
use ringfence_protocol::wire::DaemonMessage;

use crate::bus::Ears;
use crate::config::Config;
use crate::inbox::{Inbox, Message};
use crate::policy::Policy;
use crate::reports::{Report, Reports};
use crate::scarce::Spare;
use crate::segments::Segments;
use crate::session::Session;
use crate::sight::Sight;
use bucket::TokenBucket;
use crowd::Logged;
use guests::Guest;

/// How long calls in flight may take to finish once the daemon was told to stop.
const DRAIN: Duration = Duration::from_secs(2);

const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
const REPORTS: u64 = 2;
/// Tokens of sessions: `FIRST + 2 * id`, plus 1 for the pidfd.
const FIRST: u64 = 16;

/// Everything that can happen to the control thread.
#[derive(Debug)]
enum Event {
    Connection,
    Signal,
    Reports,
    Readable(u64),
    Gone(u64),
}

impl Event {
    fn of(token: u64) -> Self {
        match token {
            LISTENER => Event::Connection,
            SIGNALS => Event::Signal,
            REPORTS => Event::Reports,
            _ if (token - FIRST).is_multiple_of(2) => Event::Readable((token - FIRST) / 2),
            _ => Event::Gone((token - FIRST) / 2),
        }
    }
}

/// A session, with what only the control thread needs of it.
struct Client {
    session: Arc<Session>,
    pidfd: Arc<OwnedFd>,
    lanes: u32,
    /// Control messages that it may send.
    messages: TokenBucket,
}

/// What the control thread is made of.
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) registry: Arc<Registry>,
    pub(crate) segments: Segments,
    pub(crate) ears: Arc<Ears>,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) sight: Arc<Sight>,
    pub(crate) listener: Option<Listener>,
    pub(crate) signals: SignalFd,
    pub(crate) epoll: Epoll,
    /// For whoever finds no descriptor left.
    pub(crate) spare: Spare,
    pub(crate) epoch: u64,
}

/// The running control thread.
struct Running {
    server: Server,
    policy: Policy,
    geometry: Geometry,
    guests: HashMap<u64, Guest>,
    clients: HashMap<u64, Client>,
    next_id: u64,
    /// Connections that may come in.
    arrivals: TokenBucket,
    /// What control messages are read to.
    buffer: Box<[u8]>,
    /// When something that anybody can provoke was logged last.
    logged: HashMap<Logged, Instant>,
    /// Nothing is accepted before this.
    paused_until: Option<Instant>,
    idle_since: Instant,
    stopping: bool,
}

impl Server {
    /// Serves until told to stop.
    ///
    /// # Errors
    /// If its descriptors cannot be watched.
    pub(crate) fn run(self) -> std::io::Result<()> {
        let epoll = &self.epoll;
        let level = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
        if let Some(listener) = &self.listener {
            epoll.add(listener.as_fd(), level(LISTENER))?;
        }
        epoll.add(self.signals.as_fd(), level(SIGNALS))?;
        epoll.add(
            self.reports.bell.as_fd(),
            EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, REPORTS),
        )?;
        let lanes = &self.config.lanes;
        let blocks = (lanes.arena_bytes / limits::BLOCK_BYTES as u64) as u32;
        let geometry = Geometry { slots: lanes.slots, up_blocks: blocks, down_blocks: blocks }
            .validated()
            .map_err(std::io::Error::other)?;
        let policy = Policy::new(&self.config);
        Running {
            server: self,
            policy,
            geometry,
            guests: HashMap::new(),
            clients: HashMap::new(),
            next_id: 1,
            arrivals: crowd::arrivals(),
            buffer: vec![0; limits::CONTROL_BYTES].into(),
            logged: HashMap::new(),
            paused_until: None,
            idle_since: Instant::now(),
            stopping: false,
        }
        .run();
        Ok(())
    }
}

impl Running {
    fn run(mut self) {
        let mut events = [EpollEvent::empty(); 64];
        while !self.stopping {
            let count = self.server.epoll.wait(&mut events, self.timeout()).unwrap_or(0);
            for event in &events[..count] {
                self.handle(Event::of(event.data()));
            }
            self.tick(Instant::now());
        }
        self.leave();
    }

    fn timeout(&self) -> EpollTimeout {
        let idle = self.server.config.exit_when_idle_ms.filter(|_| self.clients.is_empty());
        let soon = self.guests.values().map(|guest| guest.until).chain(self.paused_until);
        let next = soon.chain(idle.map(|ms| self.idle_since + Duration::from_millis(ms))).min();
        let left = next
            .map_or(1000, |next| next.saturating_duration_since(Instant::now()).as_millis() + 1);
        EpollTimeout::from(left.min(1000) as u16)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connection => self.accept(),
            Event::Signal => {
                while let Ok(Some(info)) = self.server.signals.read_signal() {
                    tracing::info!(signal = info.ssi_signo, "asked to stop");
                    self.stopping = true;
                }
            }
            Event::Reports => {
                while let Some(report) = self.server.reports.pop() {
                    if let Report::Fault { session, fault } = report {
                        self.end_for_fault(session, fault);
                    }
                }
            }
            Event::Readable(id) if self.guests.contains_key(&id) => self.greet(id),
            Event::Readable(id) => self.read(id),
            Event::Gone(_) if !is_armed("reap.pidfd") => {}
            Event::Gone(id) => self.gone(id),
        }
    }

    fn tick(&mut self, now: Instant) {
        self.guests.retain(|_, guest| guest.until > now || !is_armed("guest.timeout"));
        self.server.sight.judge_overhead(now);
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            self.listen_again();
        }
        if let Some(ms) = self.server.config.exit_when_idle_ms {
            let idle = self.clients.is_empty() && self.guests.is_empty();
            if idle && now.saturating_duration_since(self.idle_since) >= Duration::from_millis(ms) {
                tracing::info!("the last client has left; so do I");
                self.stopping = true;
            }
        }
    }

    /// All lanes of a session belong to one poller.
    fn inbox(&self, session: u64) -> &Arc<Inbox> {
        &self.server.inboxes[(session % self.server.inboxes.len() as u64) as usize]
    }

    fn end_for_fault(&mut self, id: u64, fault: Fault) {
        let Some(client) = self.clients.get(&id) else { return };
        let session = &client.session;
        tracing::warn!(session = id, uid = session.uid, pid = session.pid, name = %session.name, fault = fault.code(), "session ended: {fault}");
        self.server.sight.fault(&fault);
        let killed = DaemonMessage::Killed { fault: fault.code().into(), text: fault.to_string() };
        // A client that does not read does not hear why.
        let _ = session.tell(&killed, &[]);
        self.gone(id);
    }

    /// A client is gone, by itself or by our decision: its names go now.
    fn gone(&mut self, id: u64) {
        if self.guests.remove(&id).is_some() {
            return;
        }
        let Some(client) = self.clients.remove(&id) else { return };
        // Closing the descriptors would take them out too, but a job may still hold the session.
        let _ = self.server.epoll.delete(client.session.conn.as_fd());
        let _ = self.server.epoll.delete(client.pidfd.as_fd());
        client.session.hang_up();
        client.session.close();
        self.inbox(id).push(Message::Close { session: id });
        self.policy.close_session(client.session.uid);
        self.server.sight.closed(id);
        tracing::debug!(session = id, "session closed");
        if self.clients.is_empty() {
            self.idle_since = Instant::now();
        }
        // There is a descriptor again, if that was why; who comes too often is made to wait again.
        if self.paused_until.take().is_some() {
            self.listen_again();
        }
    }

    /// Stops in order: accept nothing, let what runs finish, say goodbye.
    fn leave(mut self) {
        self.server.listener = None;
        self.guests.clear();
        for inbox in &self.server.inboxes {
            inbox.push(Message::Drain);
        }
        let until = Instant::now() + DRAIN;
        let mut drained = 0;
        let mut events = [EpollEvent::empty(); 8];
        while drained < self.server.inboxes.len() && Instant::now() < until {
            while let Some(report) = self.server.reports.pop() {
                drained += usize::from(matches!(report, Report::Drained));
            }
            if drained < self.server.inboxes.len() {
                // Whatever wakes us (a client that leaves keeps its event): look again soon.
                let _ = self.server.epoll.wait(&mut events, EpollTimeout::from(10u8));
            }
        }
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            if let Some(client) = self.clients.get(&id) {
                let _ = client.session.tell(&DaemonMessage::ShuttingDown, &[]);
            }
            self.gone(id);
        }
        for inbox in &self.server.inboxes {
            inbox.push(Message::Stop);
        }
    }
}
