//! What an open session asks for over its control socket.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Instant;

use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::fault::Fault;
use ringfence_protocol::limits;
use ringfence_protocol::sys::socket::TryReceived;
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage};

use super::Running;
use super::bucket::TokenBucket;
use crate::handshake;
use crate::inbox::Message;
use crate::session::Session;

/// Control messages that a session may send.
pub(super) fn messages() -> TokenBucket {
    TokenBucket::new(limits::CONTROL_MESSAGES, limits::CONTROL_MESSAGES_PER_SECOND, Instant::now())
}

impl Running {
    pub(super) fn read(&mut self, id: u64) {
        // Bounded: what is left is announced again.
        for _ in 0..16 {
            let Some(client) = self.clients.get_mut(&id) else { return };
            let received = match client.session.conn.try_recv(&mut self.buffer, 0) {
                Ok(TryReceived::Nothing) => return,
                Ok(TryReceived::Message(received)) => received,
                Ok(TryReceived::HungUp) if !is_armed("reap.socket") => return,
                Ok(TryReceived::HungUp) => return self.gone(id),
                Err(_) if !is_armed("control.message") => continue,
                Err(_) => return self.end_for_fault(id, Fault::Control),
            };
            if received.fds_discarded && is_armed("control.descriptors") {
                return self.end_for_fault(id, Fault::Descriptors);
            }
            if !client.messages.take(Instant::now()) && is_armed("control.flood") {
                let limit = limits::CONTROL_MESSAGES;
                return self.end_for_fault(id, Fault::ControlFlood { count: limit + 1, limit });
            }
            match wire::decode(&self.buffer[..received.len]) {
                Ok(message) => self.request(id, message),
                Err(_) if !is_armed("control.message") => {}
                Err(_) => return self.end_for_fault(id, Fault::Control),
            }
        }
    }

    fn request(&mut self, id: u64, message: ClientMessage) {
        let Some(client) = self.clients.get(&id) else { return };
        let session = Arc::clone(&client.session);
        let sent = match message {
            ClientMessage::Hello { .. } if !is_armed("control.once") => return,
            ClientMessage::Hello { .. } => return self.end_for_fault(id, Fault::Control),
            ClientMessage::Goodbye => return self.gone(id),
            ClientMessage::OpenLane => self.open_lane(id, &session),
            ClientMessage::OpenBulk { len } => handshake::answer_open_bulk(&session, len),
            ClientMessage::OpenWaker => handshake::answer_open_waker(&session),
            ClientMessage::OpenBoard => self.server.sight.send_board(&session),
        };
        if let Err(error) = sent
            && is_armed("control.unread")
        {
            tracing::info!(session = id, %error, "a client could not be answered: its session ends");
            self.gone(id);
        }
    }

    fn open_lane(&mut self, id: u64, session: &Arc<Session>) -> Result<(), Error> {
        let lanes = self.clients.get(&id).map_or(0, |client| client.lanes);
        let max = self.server.config.lanes.max_per_session;
        if lanes == max && is_armed("quota.lanes") {
            let text = format!(
                "{lanes} lanes are open, which is [lanes] max_per_session: use them, or raise the limit"
            );
            return session.tell(&handshake::refusal(&Error::new(ErrorCode::Quota, text)), &[]);
        }
        match handshake::open_lane(session, lanes, self.geometry, self.server.epoch) {
            Err(error) => session.tell(&handshake::refusal(&error), &[]),
            Ok(lane) => {
                self.inbox(id).push(Message::Lane { session: id, lane: lane.ring });
                if let Some(client) = self.clients.get_mut(&id) {
                    client.lanes += 1;
                }
                session
                    .tell(&DaemonMessage::Lane(lane.opened), &[lane.up.as_fd(), lane.down.as_fd()])
            }
        }
    }
}
