//! Why a configuration was refused, and where a value comes from.
//!
//! Each text names the place, the value, the rule with its numbers and the next step. It does not
//! decide anything: `load` and `settings` do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::logging::escape;

/// Bytes of a line that help whoever has to find it.
const SHOWN: usize = 200;

/// The layer that set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// An environment variable, by name.
    Env(String),
    /// A flag, with its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A refused configuration. The daemon prints it and leaves with code 78.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file that was asked for, or that exists, cannot be read.
    #[error("{}: cannot be read: {source}; check the path and its permissions", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file larger than any sane configuration.
    #[error("{}: {bytes} bytes, a configuration file has at most {max}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Not TOML.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and the reason.
        message: String,
    },
    /// A key that does not exist.
    #[error("{origin}: unknown key `{key}` in {place}: {hint}")]
    UnknownKey {
        /// Who set it.
        origin: Origin,
        /// The key as written.
        key: String,
        /// `[section]` or `the top level`.
        place: String,
        /// A near name, or what exists.
        hint: String,
    },
    /// A value of the wrong type or out of bounds.
    #[error("{origin}: {path} = {value}: expected {rule}")]
    Invalid {
        /// Who set it.
        origin: Origin,
        /// `section.key`.
        path: String,
        /// The value as written.
        value: String,
        /// What would be accepted, with the numbers.
        rule: String,
    },
    /// Values that are fine alone and impossible together.
    #[error("{path} = {value} ({origin}): {reason}")]
    Conflict {
        /// Who set the first of them.
        origin: Origin,
        /// `section.key`.
        path: &'static str,
        /// Its value.
        value: String,
        /// The other values and what to change.
        reason: String,
    },
}

/// What a file says on a line, or a value that it gives, as an error shows it: as it is where that prints and is short.
pub(super) fn shown(text: &str) -> String {
    let prints = |c: char| matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1;
    if text.len() <= SHOWN && text.chars().all(prints) {
        return text.to_owned();
    }
    escape(text, SHOWN)
}
