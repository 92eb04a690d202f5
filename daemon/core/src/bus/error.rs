//! What can go wrong on the bus, with the numbers in it, and what to do next.

use std::time::Duration;

use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::log::{
    BufferError, LogError, LogFault, LogGeometryError, Position, SeekError, TooLong, TopicOptions,
    WriteError,
};

use super::limits::NAME_BYTES;

/// Why there is no such topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// The name is no topic's name.
    #[error(
        "topic name {name:?} has {bytes} bytes: use 1 to {NAME_BYTES}, words of A-Z a-z 0-9 _ - joined by points"
    )]
    Name {
        /// The name, cut.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// The sizes are out of range.
    #[error(transparent)]
    Sizes(#[from] LogGeometryError),
    /// The log could not be made.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A topic of this name was made with other options.
    #[error(
        "topic {name:?} exists with {there:?}, not with {asked:?}: use the same, or another name"
    )]
    Otherwise {
        /// The name.
        name: String,
        /// What it was made with.
        there: TopicOptions,
        /// What was asked for.
        asked: TopicOptions,
    },
    /// There is none of this name.
    #[error("there is no topic {name:?}; {existing}")]
    Unknown {
        /// The name.
        name: String,
        /// What there is, as a text.
        existing: String,
    },
    /// Too many topics.
    #[error("there are {count} topics, as many as this bus takes: raise its limit, or use fewer")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// Too many bytes.
    #[error(
        "the topic's log needs {wanted} bytes, {used} of {limit} are taken: use fewer or smaller slots"
    )]
    Memory {
        /// Bytes of the log.
        wanted: u64,
        /// Bytes of all others.
        used: u64,
        /// Bytes that the bus may take.
        limit: u64,
    },
    /// The memory could not be made.
    #[error(transparent)]
    Room(#[from] Error),
    /// The bus was closed.
    #[error("the bus is closed")]
    Closed,
}

/// Why a message was not published. Nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The payload is longer than the topic takes.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The payload needs a block of the topic's log, and subscribers hold them all.
    #[error("subscribers hold all {held} blocks of the topic: publish again later")]
    Held {
        /// How many are held.
        held: u32,
    },
    /// [`Policy::Reject`](super::Policy::Reject): the slowest subscription has not read a message that
    /// would be overwritten.
    #[error(
        "the slowest subscriber is {behind} messages behind, the topic holds {slots}: publish again later"
    )]
    Backpressure {
        /// Messages that it has not read.
        behind: u64,
        /// Messages that the log holds.
        slots: u32,
    },
    /// [`Policy::Block`](super::Policy::Block): as many publishes wait as the topic keeps.
    #[error(
        "{waiting} of {most} publishes wait for room in the topic, with {bytes} of {most_bytes} bytes: publish again later"
    )]
    QueueFull {
        /// How many wait.
        waiting: usize,
        /// How many may.
        most: usize,
        /// Bytes of their payloads.
        bytes: usize,
        /// Bytes that these may have.
        most_bytes: usize,
    },
    /// Nobody has subscribed, and the message asked for somebody.
    #[error("nobody has subscribed to this topic")]
    NoSubscribers,
    /// The bus was closed.
    #[error("the bus is closed")]
    Closed,
}

impl From<WriteError> for PublishError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::TooLong(long) => Self::TooLong(long),
            WriteError::Held { held } => Self::Held { held },
        }
    }
}

/// Why there is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// It cannot start there.
    #[error(transparent)]
    Seek(#[from] SeekError),
    /// The buffer is too small or too large.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// Too many subscriptions.
    #[error("the topic has {count} subscriptions, as many as it takes: close one first")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The bus was closed.
    #[error("the bus is closed")]
    Closed,
}

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// Nothing came in time.
    #[error("nothing came within {waited:?}")]
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
    /// The subscription was closed.
    #[error("the subscription is closed")]
    Closed,
    /// The bus was closed, and everything that was published has been received.
    #[error("the bus is closed, and nothing is left to receive")]
    BusClosed,
    /// [`Policy::Block`](super::Policy::Block): a publish waited for this subscription for as long as
    /// the topic allows.
    #[error(
        "cut off at {at}: a publish waited {patience:?} for this subscription, which missed {missed} messages; \
         subscribe again, and read faster"
    )]
    CutOff {
        /// Where the publish stands that waited.
        at: Position,
        /// How long it waited.
        patience: Duration,
        /// Messages before it that were published and not read.
        missed: u64,
    },
    /// A message that makes no sense: a mistake of the log's writer.
    #[error(transparent)]
    Damaged(#[from] LogFault),
}

impl TopicError {
    /// The same by the table of all languages.
    #[must_use]
    #[cold]
    pub fn into_error(self) -> Error {
        let code = match self {
            TopicError::Room(error) => return error,
            TopicError::Otherwise { .. } => ErrorCode::AlreadyExists,
            TopicError::Unknown { .. } => ErrorCode::UnknownTopic,
            TopicError::TooMany { .. } | TopicError::Memory { .. } => ErrorCode::Quota,
            TopicError::Closed => ErrorCode::ShuttingDown,
            _ => ErrorCode::InvalidArgument,
        };
        Error::new(code, self.to_string())
    }
}

impl PublishError {
    /// The same by the table of all languages.
    #[must_use]
    #[cold]
    pub fn into_error(self) -> Error {
        let code = match self {
            PublishError::TooLong(_) => ErrorCode::TooLarge,
            PublishError::Backpressure { .. }
            | PublishError::Held { .. }
            | PublishError::QueueFull { .. } => ErrorCode::Backpressure,
            PublishError::NoSubscribers => ErrorCode::NoSubscribers,
            PublishError::Closed => ErrorCode::ShuttingDown,
        };
        Error::new(code, self.to_string())
    }
}

impl SubscribeError {
    /// The same by the table of all languages.
    #[must_use]
    #[cold]
    pub fn into_error(self) -> Error {
        let code = match self {
            SubscribeError::TooMany { .. } => ErrorCode::Quota,
            SubscribeError::Closed => ErrorCode::ShuttingDown,
            SubscribeError::Log(_) => ErrorCode::Internal,
            _ => ErrorCode::InvalidArgument,
        };
        Error::new(code, self.to_string())
    }
}
