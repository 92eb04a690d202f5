//! Guests: from an accepted connection to a session, or to a refusal.
//!
//! A guest has a moment to say hello and takes nothing but a descriptor or two until then.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{EpollEvent, EpollFlags};
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::schema::Digest;
use ringfence_protocol::sys::bell::Bell;
use ringfence_protocol::sys::socket::{Conn, SocketError, TryReceived};
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage, WireError};

use super::crowd::{self, Logged, may_log};
use super::{Client, FIRST, LISTENER, Running, requests};
use crate::handshake;
use crate::inbox::Message;
use crate::logging::escape_name;
use crate::scarce;
use crate::session::{NewSession, Session};

/// A connection that has not said hello.
pub(super) struct Guest {
    pub(super) conn: Conn,
    pidfd: Arc<OwnedFd>,
    pub(super) uid: u32,
    pid: i32,
    pub(super) until: Instant,
}

impl Running {
    pub(super) fn accept(&mut self) {
        // Bounded: what is left is announced again. Few, so that in a crowd those who leave are noticed.
        for _ in 0..16 {
            let Some(listener) = &self.server.listener else { return };
            let now = Instant::now();
            if !self.arrivals.some(now) && is_armed("door.pace") {
                return self.keep_pace();
            }
            match listener.accept_nonblocking() {
                Ok(Some(conn)) => {
                    self.arrivals.take(now);
                    self.admit(conn);
                }
                Ok(None) => return,
                // The kernel wants a descriptor before it looks whether anybody is there.
                Err(error) if scarce::limit(&error).is_some() && !crowd::waits(listener) => return,
                // Whoever says nothing gives way first.
                Err(error) if scarce::limit(&error).is_some() && self.dismiss_guest() => {}
                Err(_) if !is_armed("door.descriptors") => return,
                Err(error) => return self.run_dry(&error),
            }
        }
    }

    pub(super) fn listen_again(&self) {
        if let Some(listener) = &self.server.listener {
            // EEXIST if it was never taken out: fine.
            let _ = self
                .server
                .epoll
                .add(listener.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, LISTENER));
        }
    }

    fn admit(&mut self, conn: Conn) {
        // A kernel before 6.16 cannot refuse descriptors; those are discarded when they arrive.
        if is_armed("control.descriptors") {
            let _ = conn.refuse_fds();
        }
        // A peer that died meanwhile has no credentials worth asking for.
        let Ok(cred) = conn.peer_cred() else { return };
        let pidfd = loop {
            match conn.peer_pidfd() {
                Ok(pidfd) => break Arc::new(pidfd),
                // The connection has the last descriptor: here too whoever says nothing gives way.
                Err(error) if scarce::limit(&error).is_some() && self.dismiss_guest() => {}
                Err(error) => {
                    // Before Linux 6.5, a process of a PID namespace that is not seen from here.
                    let unseen = matches!(error, SocketError::UnseenPeer)
                        .then(|| Error::new(ErrorCode::Io, error.to_string()));
                    if let Some(told) = unseen.or_else(|| scarce::limit(&error)) {
                        self.server.sight.refused();
                        refuse(&conn, &told);
                    }
                    return;
                }
            }
        };
        let id = self.next_id;
        let token = FIRST + 2 * id;
        let watch =
            |fd, token| self.server.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token));
        let ends = watch(pidfd.as_fd(), token + 1);
        if ends.and_then(|()| watch(conn.as_fd(), token)).is_err() {
            return;
        }
        self.next_id += 1;
        let until = Instant::now()
            + Duration::from_millis(self.server.config.sessions.handshake_timeout_ms);
        self.guests.insert(id, Guest { conn, pidfd, uid: cred.uid, pid: cred.pid, until });
        self.greet(id);
        if self.guests.contains_key(&id) {
            self.limit_guests(cred.uid);
        }
    }

    /// Reads a guest's hello, if it is there.
    pub(super) fn greet(&mut self, id: u64) {
        let Some(guest) = self.guests.get(&id) else { return };
        let received = match guest.conn.try_recv(&mut self.buffer, 0) {
            Ok(TryReceived::Nothing) => return,
            Ok(TryReceived::Message(received))
                if !received.fds_discarded || !is_armed("control.descriptors") =>
            {
                received
            }
            _ => {
                self.guests.remove(&id);
                return;
            }
        };
        let message = wire::decode::<ClientMessage>(&self.buffer[..received.len]);
        if message.is_err() && !is_armed("guest.message") {
            return;
        }
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
        if !self.server.config.allows_uid(uid) && is_armed("door.users") {
            let text = format!("user {uid} may not use instance `{}`", self.server.config.instance);
            if may_log(&mut self.logged, Logged::Refused(uid)) {
                tracing::warn!(uid, pid, %name, "refused: the user is not allowed");
            }
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
        self.make_room();
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
        match self.open(&session, &guest.pidfd, engines) {
            Ok(()) => {
                tracing::debug!(session = id, uid, pid, name = %session.name, "session opened");
                self.server.sight.opened(&session);
                self.clients.insert(
                    id,
                    Client {
                        session,
                        pidfd: guest.pidfd,
                        lanes: 1,
                        messages: requests::messages(),
                    },
                );
            }
            Err(error) => {
                if may_log(&mut self.logged, Logged::Refused(uid)) {
                    tracing::warn!(uid, pid, %error, "session refused");
                }
                self.server.sight.refused();
                let _ = session.tell(&handshake::refusal(&error), &[]);
                session.close();
                self.inbox(id).push(Message::Close { session: id });
                self.policy.close_session(uid);
            }
        }
    }

    fn open(
        &self,
        session: &Arc<Session>,
        pidfd: &Arc<OwnedFd>,
        engines: &[(String, Digest)],
    ) -> Result<(), Error> {
        let bell = Arc::new(Bell::new().map_err(scarce::io)?);
        let lane = handshake::open_lane(session, 0, self.geometry, self.server.epoch)?;
        let first = (lane.ring.up().clone(), lane.ring.down().clone());
        self.server.ears.enter((session, pidfd), self.geometry, first);
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
        session.tell(&welcome, &[bell.as_fd(), lane.up.as_fd(), lane.down.as_fd()])
    }
}

/// Tells a connection why it gets no session.
pub(super) fn refuse(conn: &Conn, error: &Error) {
    if let Ok(bytes) = wire::encode(&handshake::refusal(error)) {
        // A stranger that does not read is not waited for.
        let _ = conn.try_send(&bytes, &[]);
    }
}
