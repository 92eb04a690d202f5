//! The one error table of Ringfence: numbers that cross processes and languages.
//!
//! Thousands group them: 1 validation, 2 computation, 3 input and output, 4 internal, 5 boundary,
//! 6 resources. A code fits the `status` half-word of a completion (0 is success); the text
//! travels as the completion's payload. Each code has one Python class; both clients derive their
//! own types from [`ErrorCode::TABLE`] and a test holds the mapping exhaustive.
//!
//! It does *not* hold faults (broken protocol rules): these end a session, see [`crate::fault`].

use std::fmt;

/// The Python exception that a code is raised as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PythonClass {
    /// `ValueError`
    ValueError,
    /// `TypeError`
    TypeError,
    /// `KeyError`
    KeyError,
    /// `OverflowError`
    OverflowError,
    /// `MemoryError`
    MemoryError,
    /// `OSError`
    OSError,
    /// `FileNotFoundError`
    FileNotFoundError,
    /// `RuntimeError`
    RuntimeError,
    /// `ringfence.CallTimeout`, also a `TimeoutError`
    CallTimeout,
    /// `ringfence.DaemonUnavailable`, also a `ConnectionError`
    DaemonUnavailable,
    /// `ringfence.DaemonRestarted`, also a `ConnectionError`
    DaemonRestarted,
    /// `ringfence.DaemonStalled`, also a `TimeoutError`
    DaemonStalled,
    /// `ringfence.SchemaMismatch`, also a `ValueError`
    SchemaMismatch,
    /// `ringfence.Backpressure`, also a `BlockingIOError`
    Backpressure,
    /// `ringfence.PermissionDenied`, also a `PermissionError`
    PermissionDenied,
    /// `ringfence.SessionKilled`
    SessionKilled,
    /// `ringfence.ForkedSession`
    ForkedSession,
    /// `ringfence.Cancelled`
    Cancelled,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal => $python:ident),+ $(,)?) => {
        /// A number of the error table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $name = $code),+
        }

        impl ErrorCode {
            /// Every code with its Python class and its one-line meaning, in rising order.
            pub const TABLE: &[(ErrorCode, PythonClass, &'static str)] = &[
                $((ErrorCode::$name, PythonClass::$python, concat!($($doc),+))),+
            ];

            /// The name of the code, as in this table.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(ErrorCode::$name => stringify!($name)),+ }
            }

            /// The code with this number, if this version knows it.
            #[must_use]
            pub const fn from_u16(number: u16) -> Option<ErrorCode> {
                match number { $($code => Some(ErrorCode::$name),)+ _ => None }
            }

            /// The Python class that this code is raised as.
            #[must_use]
            pub const fn python(self) -> PythonClass {
                match self { $(ErrorCode::$name => PythonClass::$python),+ }
            }
        }
    };
}

codes! {
    /// An argument has a value that the method does not accept.
    InvalidArgument = 1001 => ValueError,
    /// A vector has another number of dimensions than its collection.
    WrongDimension = 1002 => ValueError,
    /// A number is NaN or infinite where a finite one is needed.
    NotFinite = 1003 => ValueError,
    /// An argument has a type that the method does not accept.
    WrongType = 1004 => TypeError,
    /// A number does not fit the field that it is meant for.
    OutOfRange = 1005 => OverflowError,
    /// The payload does not have the layout that the method declares.
    Malformed = 1006 => ValueError,
    /// A thing of this name exists already.
    AlreadyExists = 1007 => ValueError,
    /// No collection has this name.
    UnknownCollection = 1011 => KeyError,
    /// No item has this id.
    UnknownId = 1014 => KeyError,
    /// No engine or method of this name or number is enabled in the daemon.
    UnknownMethod = 1015 => KeyError,
    /// No process serves this name.
    NotServed = 1016 => KeyError,
    /// No topic has this name or number.
    UnknownTopic = 1017 => KeyError,
    /// A computation could not be carried out.
    Algorithm = 2001 => RuntimeError,
    /// The process that serves this name failed to answer.
    HandlerFailed = 2002 => RuntimeError,
    /// A file or directory does not exist.
    FileNotFound = 3001 => FileNotFoundError,
    /// The operating system refused an operation.
    Io = 3002 => OSError,
    /// The daemon or the client broke one of its own invariants: please report it.
    Internal = 4001 => RuntimeError,
    /// No daemon answers at the target.
    DaemonUnavailable = 5001 => DaemonUnavailable,
    /// The daemon went away while the call was in flight.
    DaemonRestarted = 5002 => DaemonRestarted,
    /// The daemon lives but has not run for longer than the call could wait.
    DaemonStalled = 5003 => DaemonStalled,
    /// The two sides were built with different layouts of this method.
    SchemaMismatch = 5004 => SchemaMismatch,
    /// The engine panicked; the daemon and all other calls go on.
    EnginePanicked = 5005 => RuntimeError,
    /// The daemon ended this session because the client broke a rule of the protocol.
    SessionKilled = 5006 => SessionKilled,
    /// The call's deadline passed.
    Expired = 5008 => CallTimeout,
    /// The call was cancelled by its caller.
    Cancelled = 5009 => Cancelled,
    /// Whoever answered this call died; whether it took effect is unknown.
    Interrupted = 5010 => DaemonRestarted,
    /// The daemon does not let this user in.
    PermissionDenied = 5011 => PermissionDenied,
    /// The session belongs to the parent of this process.
    ForkedSession = 5012 => ForkedSession,
    /// The daemon is shutting down.
    ShuttingDown = 5013 => DaemonUnavailable,
    /// The call's deadline passed after it had begun; whether it took effect is unknown.
    Overdue = 5014 => CallTimeout,
    /// A message asked for somebody to hear it, and nobody has subscribed.
    NoSubscribers = 5015 => RuntimeError,
    /// A publish waited for this subscription for as long as its topic allows.
    CutOff = 5016 => RuntimeError,
    /// Memory could not be had.
    OutOfMemory = 6001 => MemoryError,
    /// The payload is larger than this method, lane or instance takes.
    TooLarge = 6002 => ValueError,
    /// A queue is full: take answers first, or try again later.
    Backpressure = 6003 => Backpressure,
    /// A quota of this user or session is used up.
    Quota = 6004 => Backpressure,
    /// The reply found no room because earlier replies are still held.
    ReplyArenaFull = 6005 => Backpressure,
}

impl ErrorCode {
    /// The number that travels.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self as u16
    }
}

/// An error with its number and a text that says what was wrong, with the numbers in it, and what
/// to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind of error.
    pub code: ErrorCode,
    /// What was wrong and what to do.
    pub message: String,
}

impl Error {
    /// An error of this code with this text.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The error that a completion with this `status` and payload stands for. A number of a newer
    /// daemon becomes [`ErrorCode::Internal`] and keeps its text.
    #[must_use]
    pub fn from_reply(status: u16, payload: &[u8]) -> Self {
        let text = String::from_utf8_lossy(payload);
        match ErrorCode::from_u16(status) {
            Some(code) => Self::new(code, text),
            None => {
                Self::new(ErrorCode::Internal, format!("error {status} of a newer daemon: {text}"))
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [RF{}]", self.message, self.code.as_u16())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_number_and_stands_in_its_thousand() {
        for pair in ErrorCode::TABLE.windows(2) {
            assert!(pair[0].0.as_u16() < pair[1].0.as_u16());
        }
        for (code, python, _) in ErrorCode::TABLE {
            assert_eq!(ErrorCode::from_u16(code.as_u16()), Some(*code));
            assert_eq!(code.python(), *python);
            assert!((1000..7000).contains(&code.as_u16()));
        }
        assert_eq!(ErrorCode::from_u16(0), None);
    }

    #[test]
    fn an_unknown_number_keeps_its_text() {
        let error = Error::from_reply(6999, b"a later idea");
        assert_eq!(error.code, ErrorCode::Internal);
        assert!(error.to_string().contains("6999") && error.to_string().contains("a later idea"));
    }
}
