//! The control socket of a session, and the hello that opens one: messages out, messages in, and
//! what a failure of either means to a call.
//!
//! Invariants: a [`Control`] is one end of one connection, and only its holder reads it; an answer
//! that comes after its asker has gone is expected, so that nobody takes it for the answer to
//! another question. It does *not* know what an answer changes: see [`crate::session`].

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use ringfence_protocol::error::{Error as RemoteError, ErrorCode};
use ringfence_protocol::limits::{CONTROL_BYTES, CONTROL_FDS};
use ringfence_protocol::schema::Digest;
use ringfence_protocol::sys::socket::{Conn, SocketError, TryReceived};
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage, Refusal};

use crate::catalogue::compiled_in;
use crate::error::{Error, Outcome};
use crate::options::Settings;
use crate::session::{Opened, Session};
use crate::target::Candidate;

/// One end of a connection to a daemon.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) conn: Conn,
    buffer: Vec<u8>,
    /// Whose the answers are that are still to come, the next one first. Who waits for one with the
    /// socket in hand has the one after these.
    pub(crate) due: VecDeque<Due>,
}

/// Whose an answer is.
#[derive(Debug)]
pub(crate) enum Due {
    /// Whoever asked has gone.
    Nobody,
    /// The pool's: a segment whose asker has gone.
    Pool,
    /// The pool's, and tasks wait for it.
    Tasks,
}

impl Control {
    /// Whose it is, if it is an answer that nobody waits for with the socket in hand.
    pub(crate) fn take_due(&mut self, message: &DaemonMessage) -> Option<Due> {
        if is_answer(message) { self.due.pop_front() } else { None }
    }

    /// Asks for what tasks wait for, unless the daemon has left so much unread that there is no room for
    /// a question: `false`.
    pub(crate) fn ask_for_tasks(&mut self, question: &ClientMessage) -> bool {
        let asked = wire::encode(question)
            .is_ok_and(|bytes| matches!(self.conn.try_send(&bytes, &[]), Ok(true)));
        if asked {
            self.due.push_back(Due::Tasks);
        }
        asked
    }

    pub(crate) fn say_goodbye(&self) {
        let bytes = wire::encode(&ClientMessage::Goodbye);
        let _best_effort = bytes.map(|bytes| self.conn.try_send(&bytes, &[]));
    }

    pub(crate) fn send(&self, message: &ClientMessage, timeout: Duration) -> Result<(), Error> {
        let bytes = wire::encode(message).map_err(|e| Error::invalid(e.to_string()))?;
        self.conn.send(&bytes, &[], timeout).map_err(socket_error)
    }

    pub(crate) fn receive(
        &mut self,
        timeout: Duration,
    ) -> Result<(DaemonMessage, Vec<OwnedFd>), Error> {
        let got = self.conn.recv(&mut self.buffer, CONTROL_FDS, timeout).map_err(socket_error)?;
        let got = got.ok_or_else(hung_up)?;
        Ok((self.decode(got.len)?, got.fds))
    }

    pub(crate) fn try_receive(&mut self) -> Result<Option<(DaemonMessage, Vec<OwnedFd>)>, Error> {
        match self.conn.try_recv(&mut self.buffer, CONTROL_FDS).map_err(socket_error)? {
            TryReceived::Nothing => Ok(None),
            TryReceived::HungUp => Err(hung_up()),
            TryReceived::Message(got) => Ok(Some((self.decode(got.len)?, got.fds))),
        }
    }

    fn decode(&self, len: usize) -> Result<DaemonMessage, Error> {
        wire::decode(&self.buffer[..len]).map_err(|wrong| match wrong {
            wire::WireError::Layout { .. } => {
                Error::SchemaMismatch { difference: wrong.to_string() }
            }
            other => Error::Protocol { what: other.to_string() },
        })
    }
}

/// A hello that was said and not answered yet.
#[derive(Debug)]
pub(crate) struct Greeting {
    control: Control,
    candidate: Candidate,
    timeout: Duration,
}

impl Greeting {
    /// Says hello over a fresh connection.
    pub(crate) fn say(
        conn: Conn,
        candidate: Candidate,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let control = Control { conn, buffer: vec![0; CONTROL_BYTES], due: VecDeque::new() };
        let hello = ClientMessage::Hello { name: settings.name.clone(), engines: digests() };
        let bytes = wire::encode(&hello).map_err(|e| Error::invalid(e.to_string()))?;
        match control.conn.send(&bytes, &[], settings.timeout) {
            // Who is refused unheard finds nobody to say it to, and the reason where an answer would be.
            Ok(()) | Err(SocketError::HungUp) => {}
            Err(error) => return Err(socket_error(error)),
        }
        Ok(Self { control, candidate, timeout: settings.timeout })
    }

    /// That nobody answers for so long: who listens lives, and says nothing. (Process 1 listens for a
    /// daemon that it starts.)
    pub(crate) fn stalled(conn: &Conn, candidate: &Candidate, waited: Duration) -> Error {
        match conn.peer_cred() {
            Ok(peer) if peer.pid > 1 => {
                let pid = peer.pid.unsigned_abs();
                Error::Stalled { outcome: Outcome::NotStarted, waited, pid }
            }
            _ => Error::Unavailable {
                tried: format!("nobody answered at {} within {waited:?}", candidate.path.display()),
            },
        }
    }

    /// That nobody has answered for so long.
    pub(crate) fn unanswered(&self, waited: Duration) -> Error {
        Self::stalled(&self.control.conn, &self.candidate, waited)
    }

    /// Where it was said.
    pub(crate) fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// Waits for the answer: the session, and its first lane.
    pub(crate) fn wait(mut self) -> Result<(Session, Opened), Error> {
        let (message, fds) = self.control.receive(self.timeout)?;
        self.answered(message, fds)
    }

    /// The answer, if it is there.
    pub(crate) fn look(&mut self) -> Result<Option<(DaemonMessage, Vec<OwnedFd>)>, Error> {
        self.control.try_receive()
    }

    /// What the answer means: the session, and its first lane.
    pub(crate) fn answered(
        self,
        message: DaemonMessage,
        fds: Vec<OwnedFd>,
    ) -> Result<(Session, Opened), Error> {
        let Self { control, candidate, timeout } = self;
        Session::welcomed(control, candidate, timeout, message, fds)
    }
}

impl AsFd for Greeting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.conn.as_fd()
    }
}

fn digests() -> Vec<(String, Digest)> {
    static DIGESTS: OnceLock<Vec<(String, Digest)>> = OnceLock::new();
    let all = || compiled_in().iter().map(|e| (e.name.clone(), e.digest())).collect();
    DIGESTS.get_or_init(all).clone()
}

/// Does it answer a question of a session?
pub(crate) fn is_answer(message: &DaemonMessage) -> bool {
    use DaemonMessage::{Board, Bulk, Lane, Refused};
    matches!(message, Lane(_) | Bulk { .. } | Board { .. } | Refused(_))
}

pub(crate) fn hung_up() -> Error {
    Error::Restarted { outcome: Outcome::NotStarted, pid: 0 }
}

pub(crate) fn no_descriptor() -> Error {
    Error::Protocol {
        what: "a message without its descriptor (or this process has none left)".into(),
    }
}

pub(crate) fn unexpected(to: &str, message: &DaemonMessage) -> Error {
    let name = match message {
        DaemonMessage::Welcome { .. } => "Welcome",
        DaemonMessage::Refused(_) => "Refused",
        DaemonMessage::Lane(_) => "Lane",
        DaemonMessage::Bulk { .. } => "Bulk",
        DaemonMessage::ReplyBulk { .. } => "ReplyBulk",
        DaemonMessage::Board { .. } => "Board",
        DaemonMessage::Killed { .. } => "Killed",
        DaemonMessage::ShuttingDown => "ShuttingDown",
        DaemonMessage::Waker => "Waker",
        DaemonMessage::Topic { .. } => "Topic",
        DaemonMessage::CutOff { .. } => "CutOff",
    };
    Error::Protocol { what: format!("`{name}` as the answer to {to}") }
}

/// What a failed call on the control socket means to a call.
pub(crate) fn socket_error(error: SocketError) -> Error {
    match error {
        SocketError::HungUp => hung_up(),
        SocketError::NobodyListens { .. } | SocketError::TimedOut(_) => {
            Error::Unavailable { tried: error.to_string() }
        }
        SocketError::Path { ref source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Error::PermissionDenied {
                reason: format!("{error}: is this user in the daemon's group?"),
            }
        }
        other => Error::Io { what: other.to_string() },
    }
}

pub(crate) fn refused(refusal: Refusal) -> Error {
    let Refusal { code, reason, remedy } = refusal;
    let text = if remedy.is_empty() { reason } else { format!("{reason}; {remedy}") };
    match ErrorCode::from_u16(code) {
        Some(ErrorCode::PermissionDenied) => Error::PermissionDenied { reason: text },
        Some(ErrorCode::ShuttingDown | ErrorCode::DaemonUnavailable) => {
            Error::Unavailable { tried: text }
        }
        Some(ErrorCode::SchemaMismatch) => Error::SchemaMismatch { difference: text },
        code => Error::Remote(RemoteError::new(code.unwrap_or(ErrorCode::Internal), text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Spin;

    /// As a daemon without descriptors does, which cannot wait for a hello.
    #[test]
    fn a_refusal_that_did_not_wait_for_the_hello_is_told() {
        let (ours, theirs) = Conn::pair().unwrap();
        let refusal = Refusal { code: 6004, reason: "full".into(), remedy: "come later".into() };
        let words = wire::encode(&DaemonMessage::Refused(refusal)).unwrap();
        theirs.send(&words, &[], Duration::from_secs(1)).unwrap();
        drop(theirs);
        let timeout = Duration::from_secs(1);
        let settings = Settings { name: "late".into(), timeout, spin: Spin::Adaptive, lanes: 1 };
        let candidate = Candidate { path: "/nowhere".into(), own_only: false };
        let error = Greeting::say(ours, candidate, &settings).unwrap().wait().unwrap_err();
        assert_eq!(error.code(), ErrorCode::Quota, "{error:?}");
        assert!(error.to_string().contains("full; come later"), "{error}");
    }
}
