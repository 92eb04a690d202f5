//! The control thread: who may connect, sessions from hello to goodbye, and the end of the daemon.
//!
//! Everything that can happen is an [`Event`]; each is handled without waiting for anybody. A client is
//! gone when its socket hangs up *or* its pidfd fires (a forked child can keep the socket open). It owns
//! the books; the pollers own the lanes.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signalfd::SignalFd;
use ringfence_core::Registry;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::fault::Fault;
use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::limits;
use ringfence_protocol::schema::Digest;
use ringfence_protocol::sys::bell::Bell;
use ringfence_protocol::sys::socket::{Conn, Listener, TryReceived};
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage, WireError};

use crate::config::Config;
use crate::handshake;
use crate::inbox::{Inbox, Message};
use crate::logging::escape_name;
use crate::policy::Policy;
use crate::reports::{Report, Reports};
use crate::segments::Segments;
use crate::session::{NewSession, Session};
use crate::sight::Sight;

/// Control messages that one session may send at once...
const CONTROL_BURST: u32 = 1000;
/// ... and how many a second it regains.
const CONTROL_PER_SECOND: u32 = 100;

/// How long calls in flight may take to finish once the daemon was told to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// How long nothing is accepted after descriptors ran out.
const PAUSE: Duration = Duration::from_millis(500);

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

/// A connection that has not said hello.
struct Guest {
    conn: Conn,
    pidfd: OwnedFd,
    uid: u32,
    pid: i32,
    until: Instant,
}

/// A session, with what only the control thread needs of it.
struct Client {
    session: Arc<Session>,
    pidfd: OwnedFd,
    lanes: u32,
    /// Control messages that it has not regained, as of `since`.
    messages: u32,
    since: Instant,
}

/// What the control thread is made of.
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) registry: Arc<Registry>,
    pub(crate) segments: Segments,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) sight: Arc<Sight>,
    pub(crate) listener: Option<Listener>,
    pub(crate) signals: SignalFd,
    pub(crate) epoch: u64,
}

/// The running control thread.
struct Running {
    server: Server,
    policy: Policy,
    epoll: Epoll,
    geometry: Geometry,
    guests: HashMap<u64, Guest>,
    clients: HashMap<u64, Client>,
    next_id: u64,
    /// Nothing is accepted before this.
    paused_until: Option<Instant>,
    idle_since: Instant,
    stopping: bool,
}

impl Server {
    /// Serves until told to stop.
    ///
    /// # Errors
    /// Only if epoll itself cannot be set up.
    pub(crate) fn run(self) -> std::io::Result<()> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
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
            epoll,
            geometry,
            guests: HashMap::new(),
            clients: HashMap::new(),
            next_id: 1,
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
            let count = self.epoll.wait(&mut events, self.timeout()).unwrap_or(0);
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
            Event::Gone(id) => self.gone(id),
        }
    }

    fn tick(&mut self, now: Instant) {
        self.guests.retain(|_, guest| guest.until > now);
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

    fn accept(&mut self) {
        // Bounded: what is left is announced again.
        for _ in 0..64 {
            let Some(listener) = &self.server.listener else { return };
            match listener.accept_nonblocking() {
                Ok(Some(conn)) => self.admit(conn),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept: pausing; raise LimitNOFILE if descriptors ran out");
                    let _ = self.epoll.delete(listener.as_fd());
                    self.paused_until = Some(Instant::now() + PAUSE);
                    return;
                }
            }
        }
    }

    fn listen_again(&self) {
        if let Some(listener) = &self.server.listener {
            // EEXIST if it was never taken out: fine.
            let _ =
                self.epoll.add(listener.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, LISTENER));
        }
    }

    fn admit(&mut self, conn: Conn) {
        // A kernel before 6.16 cannot refuse descriptors; those are discarded when they arrive.
        let _ = conn.refuse_fds();
        // A peer that died meanwhile has no credentials worth asking for.
        let (Ok(cred), Ok(pidfd)) = (conn.peer_cred(), conn.peer_pidfd()) else { return };
        let id = self.next_id;
        let token = FIRST + 2 * id;
        let watched =
            self.epoll.add(conn.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, token)).and_then(
                |()| self.epoll.add(pidfd.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, token + 1)),
            );
        if watched.is_err() {
            return;
        }
        self.next_id += 1;
        let until = Instant::now()
            + Duration::from_millis(self.server.config.sessions.handshake_timeout_ms);
        self.guests.insert(id, Guest { conn, pidfd, uid: cred.uid, pid: cred.pid, until });
        self.greet(id);
    }

    /// Reads a guest's hello, if it is there.
    fn greet(&mut self, id: u64) {
        let Some(guest) = self.guests.get(&id) else { return };
        let mut buffer = vec![0; limits::CONTROL_BYTES];
        let received = match guest.conn.try_recv(&mut buffer, 0) {
            Ok(TryReceived::Nothing) => return,
            Ok(TryReceived::Message(received)) if !received.fds_discarded => received,
            _ => {
                self.guests.remove(&id);
                return;
            }
        };
        let message = wire::decode::<ClientMessage>(&buffer[..received.len]);
        let Some(guest) = self.guests.remove(&id) else { return };
        match message {
            Ok(ClientMessage::Hello { name, engines }) => self.welcome(id, guest, &name, &engines),
            Ok(_) => refuse(
                &guest.conn,
                &Error::new(ErrorCode::Malformed, "the first message must be a hello"),
            ),
            Err(error) => {
                let code = if matches!(error, WireError::Layout { .. }) {
                    ErrorCode::SchemaMismatch
                } else {
                    ErrorCode::Malformed
                };
                refuse(&guest.conn, &Error::new(code, error.to_string()));
            }
        }
    }

    fn welcome(&mut self, id: u64, guest: Guest, name: &str, engines: &[(String, Digest)]) {
        let name = escape_name(name);
        let (uid, pid) = (guest.uid, guest.pid);
        if !self.server.config.allows_uid(uid) {
            let text = format!("user {uid} may not use instance `{}`", self.server.config.instance);
            tracing::warn!(uid, pid, %name, "refused: the user is not allowed");
            self.server.sight.refused();
            return refuse(&guest.conn, &Error::new(ErrorCode::PermissionDenied, text));
        }
        let usage = match self.policy.open_session(uid) {
            Ok(usage) => usage,
            Err(error) => {
                self.server.sight.refused();
                return refuse(&guest.conn, &error);
            }
        };
        let session = Arc::new(Session::new(NewSession {
            id,
            uid,
            pid,
            name,
            conn: guest.conn,
            usage,
            segments: self.server.segments.clone(),
            bulk_bytes_max: self.server.config.sessions.bulk_bytes_max,
        }));
        match self.open(&session, engines) {
            Ok(()) => {
                tracing::debug!(session = id, uid, pid, name = %session.name, "session opened");
                self.server.sight.opened(&session);
                self.clients.insert(
                    id,
                    Client {
                        session,
                        pidfd: guest.pidfd,
                        lanes: 1,
                        messages: 0,
                        since: Instant::now(),
                    },
                );
            }
            Err(error) => {
                tracing::warn!(uid, pid, %error, "session refused");
                self.server.sight.refused();
                let _ = handshake::send(&session, &handshake::refusal(&error), &[]);
                session.close();
                self.inbox(id).push(Message::Close { session: id });
                self.policy.close_session(uid);
            }
        }
    }

    fn open(&self, session: &Arc<Session>, engines: &[(String, Digest)]) -> Result<(), Error> {
        let io = |error: std::io::Error| Error::new(ErrorCode::Io, error.to_string());
        let bell = Arc::new(Bell::new().map_err(io)?);
        let lane = handshake::open_lane(session, 0, self.geometry, self.server.epoch)?;
        let inbox = self.inbox(session.id);
        inbox.push(Message::Open { session: Arc::clone(session), bell: Arc::clone(&bell) });
        inbox.push(Message::Lane { session: session.id, lane: lane.ring });
        let welcome = DaemonMessage::Welcome {
            session: session.id,
            epoch: self.server.epoch,
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            private: self.server.config.exit_when_idle_ms.is_some(),
            engines: handshake::engine_ids(&self.server.registry, engines),
            lane: lane.opened,
        };
        handshake::send(session, &welcome, &[bell.as_fd(), lane.up.as_fd(), lane.down.as_fd()])
    }

    /// All lanes of a session belong to one poller.
    fn inbox(&self, session: u64) -> &Arc<Inbox> {
        &self.server.inboxes[(session % self.server.inboxes.len() as u64) as usize]
    }

    fn read(&mut self, id: u64) {
        let mut buffer = vec![0; limits::CONTROL_BYTES];
        // Bounded: what is left is announced again.
        for _ in 0..16 {
            let Some(client) = self.clients.get_mut(&id) else { return };
            let received = match client.session.conn.try_recv(&mut buffer, 0) {
                Ok(TryReceived::Nothing) => return,
                Ok(TryReceived::Message(received)) => received,
                Ok(TryReceived::HungUp) => return self.gone(id),
                Err(_) => return self.end_for_fault(id, Fault::Control),
            };
            if received.fds_discarded {
                return self.end_for_fault(id, Fault::Descriptors);
            }
            let seconds = client.since.elapsed().as_secs();
            if seconds > 0 {
                let regained = (seconds * u64::from(CONTROL_PER_SECOND)).min(CONTROL_BURST.into());
                client.messages = client.messages.saturating_sub(regained as u32);
                client.since = Instant::now();
            }
            client.messages += 1;
            if client.messages > CONTROL_BURST {
                let fault = Fault::ControlFlood { count: client.messages, limit: CONTROL_BURST };
                return self.end_for_fault(id, fault);
            }
            match wire::decode(&buffer[..received.len]) {
                Ok(message) => self.request(id, message),
                Err(_) => return self.end_for_fault(id, Fault::Control),
            }
        }
    }

    fn request(&mut self, id: u64, message: ClientMessage) {
        let Some(client) = self.clients.get(&id) else { return };
        let session = Arc::clone(&client.session);
        let sent = match message {
            ClientMessage::Hello { .. } => return self.end_for_fault(id, Fault::Control),
            ClientMessage::Goodbye => return self.gone(id),
            ClientMessage::OpenLane => self.open_lane(id, &session),
            ClientMessage::OpenBulk { len } => handshake::answer_open_bulk(&session, len),
            ClientMessage::OpenBoard => self.server.sight.send_board(&session),
        };
        if let Err(error) = sent {
            tracing::info!(session = id, %error, "a client could not be answered: its session ends");
            self.gone(id);
        }
    }

    fn open_lane(&mut self, id: u64, session: &Arc<Session>) -> Result<(), Error> {
        let lanes = self.clients.get(&id).map_or(0, |client| client.lanes);
        let max = self.server.config.lanes.max_per_session;
        if lanes == max {
            let text = format!(
                "{lanes} lanes are open, which is [lanes] max_per_session: use them, or raise the limit"
            );
            return handshake::send(
                session,
                &handshake::refusal(&Error::new(ErrorCode::Quota, text)),
                &[],
            );
        }
        match handshake::open_lane(session, lanes, self.geometry, self.server.epoch) {
            Err(error) => handshake::send(session, &handshake::refusal(&error), &[]),
            Ok(lane) => {
                self.inbox(id).push(Message::Lane { session: id, lane: lane.ring });
                if let Some(client) = self.clients.get_mut(&id) {
                    client.lanes += 1;
                }
                handshake::send(
                    session,
                    &DaemonMessage::Lane(lane.opened),
                    &[lane.up.as_fd(), lane.down.as_fd()],
                )
            }
        }
    }

    fn end_for_fault(&mut self, id: u64, fault: Fault) {
        let Some(client) = self.clients.get(&id) else { return };
        let session = &client.session;
        tracing::warn!(session = id, uid = session.uid, pid = session.pid, name = %session.name, fault = fault.code(), "session ended: {fault}");
        self.server.sight.fault(&fault);
        let killed = DaemonMessage::Killed { fault: fault.code().into(), text: fault.to_string() };
        // A client that does not read does not hear why.
        let _ = handshake::send(session, &killed, &[]);
        self.gone(id);
    }

    /// A client is gone, by itself or by our decision: its names go now.
    fn gone(&mut self, id: u64) {
        if self.guests.remove(&id).is_some() {
            return;
        }
        let Some(client) = self.clients.remove(&id) else { return };
        // Closing the descriptors would take them out too, but a job may still hold the session.
        let _ = self.epoll.delete(client.session.conn.as_fd());
        let _ = self.epoll.delete(client.pidfd.as_fd());
        client.session.hang_up();
        client.session.close();
        self.inbox(id).push(Message::Close { session: id });
        self.policy.close_session(client.session.uid);
        self.server.sight.closed(id);
        tracing::debug!(session = id, "session closed");
        if self.clients.is_empty() {
            self.idle_since = Instant::now();
        }
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
                let _ = self.epoll.wait(&mut events, EpollTimeout::from(10u8));
            }
        }
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            if let Some(client) = self.clients.get(&id) {
                let _ = handshake::send(&client.session, &DaemonMessage::ShuttingDown, &[]);
            }
            self.gone(id);
        }
        for inbox in &self.server.inboxes {
            inbox.push(Message::Stop);
        }
    }
}

fn refuse(conn: &Conn, error: &Error) {
    if let Ok(bytes) = wire::encode(&handshake::refusal(error)) {
        // A stranger that does not read is not waited for.
        let _ = conn.try_send(&bytes, &[]);
    }
}
