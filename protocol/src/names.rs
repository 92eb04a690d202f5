//! Every name that two Ringfence processes must agree on: instances, segments, locks, sockets.
//!
//! Invariants: a parsed name is canonical (it displays as exactly the text that was parsed), and
//! an [`Instance`] is safe inside a file name, so no other module ever escapes or checks one.
//! What it does not do: touch the file system, or read the environment (values are arguments).

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::sys::random::random_u128;

/// Longest instance name in bytes; keeps the socket path below the kernel's 108.
pub const MAX_INSTANCE_LEN: usize = 32;

/// Where POSIX shared memory lives on Linux. glibc's `shm_open` knows no other place.
pub const SHM_DIR: &str = "/dev/shm";

const PREFIX: &str = "ringfence";
const RANDOM_HEX_LEN: usize = 32;

/// Why a text is not a Ringfence name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or longer than [`MAX_INSTANCE_LEN`].
    #[error("an instance name has 1 to {MAX_INSTANCE_LEN} characters, this one has {len}")]
    InstanceLength {
        /// The length found, in bytes.
        len: usize,
    },
    /// A character outside `[a-z0-9_-]`.
    #[error("an instance name is made of a-z, 0-9, _ and -, this one has {found:?} at {at}")]
    InstanceCharacter {
        /// The offending character.
        found: char,
        /// Its byte position.
        at: usize,
    },
    /// Not `ringfence.<uid>.<instance>.<32 hex>.<kind>`.
    #[error("{0:?} is not a segment name: ringfence.<uid>.<instance>.<32 hex>.<kind>")]
    NotASegment(String),
}

/// One daemon among several of the same user: `[a-z0-9_-]{1,32}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instance(String);

impl Instance {
    /// The checked text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Instance {
    /// `default`: what a client means when it names none.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for Instance {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > MAX_INSTANCE_LEN {
            return Err(NameError::InstanceLength { len: text.len() });
        }
        let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-');
        match text.char_indices().find(|&(_, c)| !allowed(c)) {
            Some((at, found)) => Err(NameError::InstanceCharacter { found, at }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a segment is for, which decides who writes it (SPEC: segments and names).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SegmentKind {
    /// Written by a client: a lane's submissions and request arena.
    Up,
    /// Written by the daemon: a lane's completions and reply arena.
    Down,
    /// One large payload, written by its owner.
    Bulk,
    /// The daemon's counters.
    Board,
    /// A broadcast log.
    Topic,
}

impl SegmentKind {
    /// Every kind, in the order of the table in SPEC.
    pub const ALL: [Self; 5] = [Self::Up, Self::Down, Self::Bulk, Self::Board, Self::Topic];

    /// The last part of a segment's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Bulk => "bulk",
            Self::Board => "board",
            Self::Topic => "topic",
        }
    }
}

impl fmt::Display for SegmentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `ringfence.<uid>.<instance>.<32 hex>.<kind>`: the name of one segment in [`SHM_DIR`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SegmentName {
    /// The uid of the daemon that owns the segment.
    pub uid: u32,
    /// The daemon's instance.
    pub instance: Instance,
    /// 128 random bits, so that nobody can occupy the name beforehand.
    pub random: u128,
    /// What the segment is for.
    pub kind: SegmentKind,
}

impl SegmentName {
    /// A fresh name that nobody can have guessed.
    ///
    /// # Errors
    /// Only where a seccomp filter forbids the `getrandom` system call.
    pub fn random(uid: u32, instance: &Instance, kind: SegmentKind) -> std::io::Result<Self> {
        Ok(Self { uid, instance: instance.clone(), random: random_u128()?, kind })
    }

    /// The file behind the name.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(SHM_DIR).join(self.to_string())
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, instance, random, kind } = self;
        write!(f, "{PREFIX}.{uid}.{instance}.{random:032x}.{kind}")
    }
}

impl FromStr for SegmentName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // The last comparison refuses every second spelling: +1, 007, ABC.
        parse_segment(text)
            .filter(|name| name.to_string() == text)
            .ok_or_else(|| NameError::NotASegment(text.to_owned()))
    }
}

fn parse_segment(text: &str) -> Option<SegmentName> {
    let mut parts = text.split('.');
    if parts.next()? != PREFIX {
        return None;
    }
    let uid = parts.next()?.parse().ok()?;
    let instance = parts.next()?.parse().ok()?;
    let hex = parts.next().filter(|hex| hex.len() == RANDOM_HEX_LEN)?;
    let random = u128::from_str_radix(hex, 16).ok()?;
    let last = parts.next()?;
    let kind = SegmentKind::ALL.into_iter().find(|kind| kind.as_str() == last)?;
    parts.next().is_none().then_some(SegmentName { uid, instance, random, kind })
}

/// The name of an instance's lock: who holds it owns all names of that uid and instance.
#[must_use]
pub fn lock_name(uid: u32, instance: &Instance) -> String {
    format!("{PREFIX}.{uid}.{instance}.lock")
}

/// The file of an instance's lock, in [`SHM_DIR`].
#[must_use]
pub fn lock_path(uid: u32, instance: &Instance) -> PathBuf {
    Path::new(SHM_DIR).join(lock_name(uid, instance))
}

/// The folder that holds one folder per instance, and in it the control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeDir(PathBuf);

impl RuntimeDir {
    /// A folder that configuration names.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder of a system daemon.
    #[must_use]
    pub fn system() -> Self {
        Self::at("/run/ringfence")
    }

    /// The folder of a user's own daemon. `xdg_runtime_dir` is the variable of that name; the XDG
    /// rules say to ignore a relative one.
    #[must_use]
    pub fn user(xdg_runtime_dir: Option<&OsStr>, uid: u32) -> Self {
        match xdg_runtime_dir.map(Path::new).filter(|dir| dir.is_absolute()) {
            Some(dir) => Self(dir.join(PREFIX)),
            None => Self::at(format!("/tmp/{PREFIX}-{uid}")),
        }
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `<dir>/<instance>`: what the daemon creates, 0700 or as its group rule says.
    #[must_use]
    pub fn instance_dir(&self, instance: &Instance) -> PathBuf {
        self.0.join(instance.as_str())
    }

    /// `<dir>/<instance>/control.sock`.
    #[must_use]
    pub fn control_socket(&self, instance: &Instance) -> PathBuf {
        self.instance_dir(instance).join("control.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(text: &str) -> Instance {
        text.parse().expect("a valid instance")
    }

    #[test]
    fn instances_are_safe_in_file_names() {
        for good in ["a", "default", "a-b_9", &"x".repeat(32)] {
            assert_eq!(instance(good).to_string(), good);
        }
        assert_eq!("".parse::<Instance>(), Err(NameError::InstanceLength { len: 0 }));
        let long = "x".repeat(33);
        assert_eq!(long.parse::<Instance>(), Err(NameError::InstanceLength { len: 33 }));
        for bad in ["A", "a.b", "a/b", "..", "a b", "é", "a\0", "a\n"] {
            let refused = bad.parse::<Instance>();
            assert!(matches!(refused, Err(NameError::InstanceCharacter { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_segment_name_survives_the_round_trip() {
        for kind in SegmentKind::ALL {
            let name = SegmentName { uid: 1000, instance: instance("a-b"), random: 0xbeef, kind };
            let text = name.to_string();
            assert_eq!(text, format!("ringfence.1000.a-b.{:028}beef.{kind}", 0));
            assert_eq!(text.parse(), Ok(name));
        }
    }

    #[test]
    fn every_other_spelling_is_refused() {
        let hex = "0123456789abcdef0123456789abcdef";
        let refused = [
            format!("ringfence.1.a.{hex}.up.x"),
            format!("ringfence.1.a.{hex}"),
            format!("ringfence.01.a.{hex}.up"),
            format!("ringfence.+1.a.{hex}.up"),
            format!("ringfence.4294967296.a.{hex}.up"),
            format!("ringfence.1.A.{hex}.up"),
            format!("ringfence.1.a.{}.up", hex.to_uppercase()),
            format!("ringfence.1.a.+{}.up", &hex[1..]),
            format!("ringfence.1.a.{}.up", &hex[1..]),
            format!("ringfence.1.a.{hex}.UP"),
            format!("other.1.a.{hex}.up"),
            "ringfence.1.a.lock".to_owned(),
        ];
        for text in refused {
            assert!(text.parse::<SegmentName>().is_err(), "{text}");
        }
    }

    #[test]
    fn fresh_names_differ() {
        let name = || SegmentName::random(1, &instance("a"), SegmentKind::Up).expect("random");
        assert_ne!(name(), name());
    }

    #[test]
    fn places_follow_the_table() {
        let a = instance("a");
        assert_eq!(lock_path(7, &a), Path::new("/dev/shm/ringfence.7.a.lock"));
        let system = RuntimeDir::system().control_socket(&a);
        assert_eq!(system, Path::new("/run/ringfence/a/control.sock"));
        let user = RuntimeDir::user(Some(OsStr::new("/run/user/7")), 7).control_socket(&a);
        assert_eq!(user, Path::new("/run/user/7/ringfence/a/control.sock"));
        for no_use in [None, Some(OsStr::new("")), Some(OsStr::new("relative"))] {
            assert_eq!(RuntimeDir::user(no_use, 7).path(), Path::new("/tmp/ringfence-7"));
        }
    }
}
