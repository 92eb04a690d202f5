//! What can go wrong with a call, with the numbers in it and a text that says what to do next.
//!
//! Invariant: every variant has one [`ErrorCode`] of the cross-language table, from which the Python
//! client derives its exception. It does *not* decide about retries: [`Error::may_retry`] only says
//! whether one is safe.

use std::time::Duration;

use ringfence_protocol::error::{Error as RemoteError, ErrorCode};
use ringfence_protocol::log::Position;

/// What is known about a call that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It took no effect: it was never started, or the daemon gave it up before its end.
    NotStarted,
    /// It may have taken effect or not.
    Unknown,
}

impl Outcome {
    /// `not_started` or `unknown`.
    ///
    /// ```
    /// assert_eq!(ringfence::Outcome::NotStarted.name(), "not_started");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::NotStarted => "not_started",
            Outcome::Unknown => "unknown",
        }
    }
}

/// Why a call failed.
///
/// ```
/// use ringfence::{Error, ErrorCode};
///
/// let client = ringfence::doctest_client();
/// let error = client.method("system", "eccho").unwrap_err();
/// assert_eq!(error.code(), ErrorCode::UnknownMethod);
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody answers at the target.
    #[error("{tried}: start one with `ringfenced`, or name another with RINGFENCE_TARGET")]
    Unavailable {
        /// What was tried, and what came of it.
        tried: String,
    },
    /// The daemon went away while the call was in flight.
    #[error(
        "the daemon (pid {pid}) went away while the call was in flight; outcome: {}. {}",
        outcome.name(), advice(*outcome)
    )]
    Restarted {
        /// What is known about the call.
        outcome: Outcome,
        /// The daemon that is gone.
        pid: u32,
    },
    /// Whoever answered the call is gone, and the daemon is not.
    #[error("{what}; outcome: {}. {}", Outcome::Unknown.name(), advice(Outcome::Unknown))]
    Interrupted {
        /// Who.
        what: String,
    },
    /// The daemon lives, but has not run for as long as the call waited.
    #[error(
        "the daemon (pid {pid}) has not run for {waited:?}: is it stopped, or the machine overloaded? Outcome: {}. {}",
        outcome.name(), advice(*outcome)
    )]
    Stalled {
        /// What is known about the call. One that lies in the ring may be taken in the very moment in
        /// which it is given up.
        outcome: Outcome,
        /// How long the call waited.
        waited: Duration,
        /// The daemon.
        pid: u32,
    },
    /// The call's own time is over.
    #[error("no answer within {after:?}; outcome: {}. {}", outcome.name(), advice(*outcome))]
    Timeout {
        /// What is known about the call.
        outcome: Outcome,
        /// The time that it had.
        after: Duration,
    },
    /// The two sides were built with different layouts of this method.
    #[error("{difference}: install matching versions of client and daemon")]
    SchemaMismatch {
        /// The first difference.
        difference: String,
    },
    /// No room for the request within its time.
    #[error("no room for the request within {waited:?}: {reason}")]
    Backpressure {
        /// What is full, and what to do.
        reason: String,
        /// How long the call waited for room.
        waited: Duration,
    },
    /// No message came within the time of a receive.
    #[error("no message within {within:?}")]
    NoMessage {
        /// The time.
        within: Duration,
    },
    /// A publish waited for this subscription for as long as its topic allows.
    #[error(
        "cut off from topic `{topic}` at {at}: a publish waited for this subscription, which missed {missed} messages; \
         subscribe again, and read faster"
    )]
    CutOff {
        /// The topic.
        topic: String,
        /// Where the publish stands that waited.
        at: Position,
        /// Messages before it that were published and not read.
        missed: u64,
    },
    /// Submitting the call would have waited, which [`at_once`](crate::CallOptions::at_once) forbids.
    #[error("submitting the call would wait: for room, for memory, or for the daemon")]
    WouldBlock,
    /// The daemon does not let this user in, or is not to be trusted by this user.
    #[error("{reason}")]
    PermissionDenied {
        /// Why, and what to do.
        reason: String,
    },
    /// The daemon ended the session, because this process broke a rule of the protocol.
    #[error(
        "the daemon ended the session, fault `{fault}`: {text}. Please report it; the next call opens a new session"
    )]
    SessionKilled {
        /// The fault's constant name.
        fault: String,
        /// The fault with its numbers.
        text: String,
    },
    /// The call was submitted by the parent of this process.
    #[error(
        "the call was submitted before this process was forked: only the parent can wait for it"
    )]
    Forked,
    /// The client was closed.
    #[error("the client is closed: connect again")]
    Closed,
    /// An error of the engine, or of arguments that this library checks before it sends them.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The daemon broke a rule of the protocol.
    #[error("the daemon broke a rule of the protocol: {what}. Please report it")]
    Protocol {
        /// Which.
        what: String,
    },
    /// The operating system refused something.
    #[error("{what}")]
    Io {
        /// What, and why.
        what: String,
    },
}

fn advice(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotStarted => "It took no effect: call again.",
        Outcome::Unknown => "It may have taken effect: look before you call again.",
    }
}

impl Error {
    /// Its number in the cross-language table.
    ///
    /// ```
    /// use ringfence::{Error, ErrorCode};
    /// assert_eq!(Error::Forked.code(), ErrorCode::ForkedSession);
    /// ```
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Unavailable { .. } => ErrorCode::DaemonUnavailable,
            Error::Restarted { .. } => ErrorCode::DaemonRestarted,
            Error::Interrupted { .. } => ErrorCode::Interrupted,
            Error::Stalled { .. } => ErrorCode::DaemonStalled,
            Error::Timeout { .. } | Error::NoMessage { .. } => ErrorCode::Expired,
            Error::CutOff { .. } => ErrorCode::CutOff,
            Error::SchemaMismatch { .. } => ErrorCode::SchemaMismatch,
            Error::Backpressure { .. } | Error::WouldBlock => ErrorCode::Backpressure,
            Error::PermissionDenied { .. } => ErrorCode::PermissionDenied,
            Error::SessionKilled { .. } => ErrorCode::SessionKilled,
            Error::Forked => ErrorCode::ForkedSession,
            Error::Closed => ErrorCode::InvalidArgument,
            Error::Remote(error) => error.code,
            Error::Protocol { .. } => ErrorCode::Internal,
            Error::Io { .. } => ErrorCode::Io,
        }
    }

    /// What is known about the call, where the error leaves a doubt.
    ///
    /// ```
    /// use ringfence::{Error, Outcome};
    /// let error = Error::Restarted { outcome: Outcome::Unknown, pid: 7 };
    /// assert_eq!(error.outcome(), Some(Outcome::Unknown));
    /// assert_eq!(Error::Closed.outcome(), None);
    /// ```
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Error::Restarted { outcome, .. }
            | Error::Stalled { outcome, .. }
            | Error::Timeout { outcome, .. } => Some(*outcome),
            Error::Interrupted { .. } => Some(Outcome::Unknown),
            Error::Unavailable { .. } => Some(Outcome::NotStarted),
            _ => None,
        }
    }

    /// Would it do no harm to make the call again, because the daemon went away before it took the
    /// call, or because a second time changes nothing (`idempotent`)?
    ///
    /// ```
    /// use ringfence::{Error, Outcome};
    /// let error = Error::Restarted { outcome: Outcome::Unknown, pid: 7 };
    /// assert!(error.may_retry(true) && !error.may_retry(false));
    /// ```
    #[must_use]
    pub fn may_retry(&self, idempotent: bool) -> bool {
        match self {
            Error::Restarted { outcome, .. } => idempotent || *outcome == Outcome::NotStarted,
            Error::Interrupted { .. } => idempotent,
            Error::Remote(error) => error.code == ErrorCode::ShuttingDown,
            _ => false,
        }
    }

    /// The error that a completion with this status and payload stands for.
    #[cold]
    pub(crate) fn from_reply(status: u16, payload: &[u8]) -> Self {
        Self::of_engine(RemoteError::from_reply(status, payload))
    }

    /// An error that came as an answer. That its deadline passed is the caller's own time-out, and
    /// this time it is known that it took no effect, unless it had begun.
    pub(crate) fn of_engine(error: RemoteError) -> Self {
        match error.code {
            ErrorCode::Interrupted => Error::Interrupted { what: error.message },
            ErrorCode::Expired => {
                Error::Timeout { outcome: Outcome::NotStarted, after: Duration::ZERO }
            }
            ErrorCode::Overdue => {
                Error::Timeout { outcome: Outcome::Unknown, after: Duration::ZERO }
            }
            _ => Error::Remote(error),
        }
    }

    /// The same, with the time that the call had.
    pub(crate) fn within(mut self, timeout: Option<Duration>) -> Self {
        if let (Error::Timeout { after, .. }, Some(timeout)) = (&mut self, timeout) {
            *after = timeout;
        }
        self
    }

    /// An argument that cannot be sent.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Error::Remote(RemoteError::new(ErrorCode::InvalidArgument, text))
    }
}

impl From<ringfence_protocol::fault::Fault> for Error {
    fn from(fault: ringfence_protocol::fault::Fault) -> Self {
        Error::Protocol { what: fault.to_string() }
    }
}

impl From<ringfence_protocol::message::Malformed> for Error {
    fn from(wrong: ringfence_protocol::message::Malformed) -> Self {
        Error::Protocol { what: format!("a reply with another layout than declared: {wrong}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_answer_is_of_unknown_outcome() {
        let error = Error::from_reply(ErrorCode::Interrupted.as_u16(), b"died");
        assert_eq!(error.outcome(), Some(Outcome::Unknown));
        assert!(error.may_retry(true) && !error.may_retry(false));
    }

    #[test]
    fn texts_say_what_to_do() {
        let timeout = Error::Timeout { outcome: Outcome::Unknown, after: Duration::from_secs(3) };
        assert!(timeout.to_string().contains("3s") && timeout.to_string().contains("look before"));
    }
}
