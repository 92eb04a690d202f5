//! Starting a private daemon for a user who has none.
//!
//! One private daemon a user: of two that are started at once the instance lock lets one live, the
//! other leaves with code 75 and its client uses the first. It leaves by itself 2 s after its last
//! client. It does *not* start anything in place of a daemon that was named, or of a system daemon.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use parking_lot::Mutex;
use ringfence_protocol::names::{Instance, MAX_INSTANCE_LEN};

use crate::error::Error;

/// How long a daemon may take to listen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long after its last client a private daemon leaves.
const EXIT_WHEN_IDLE_MS: u32 = 2000;

/// The daemon's exit code when another one holds the instance (its `cli.rs`, EX_TEMPFAIL).
const INSTANCE_HELD: i32 = 75;

/// Children that may still run. Each is waited for when the next one is started, so that at most as
/// many zombies are left as daemons were started; a thread for it would be one too many in a process
/// that forks.
static STARTED: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// How to start one.
#[derive(Clone, Debug)]
pub(crate) struct Autostart {
    pub(crate) binary: Option<PathBuf>,
    pub(crate) runtime_dir: PathBuf,
    pub(crate) instance: Instance,
}

/// A daemon that was started and does not listen yet.
#[derive(Debug)]
pub(crate) struct Starting {
    child: Option<Child>,
    binary: PathBuf,
}

impl Autostart {
    /// Is starting allowed, by `RINGFENCE_AUTOSTART`?
    pub(crate) fn is_allowed() -> bool {
        std::env::var_os("RINGFENCE_AUTOSTART").is_none_or(|value| value != "0")
    }

    /// Starts one.
    pub(crate) fn start(&self) -> Result<Starting, Error> {
        STARTED.lock().retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        let binary = self.binary.clone().unwrap_or_else(daemon_binary);
        let mut command = Command::new(&binary);
        command
            .args(["--instance", self.instance.as_str(), "--runtime-dir"])
            .arg(&self.runtime_dir)
            .args(["--exit-when-idle-ms", &EXIT_WHEN_IDLE_MS.to_string()])
            // Its own group: Ctrl-C in this terminal is for this program.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().map_err(|error| Error::Unavailable {
            tried: format!(
                "no daemon runs, and {} could not be started: {error} (RINGFENCE_BIN names another binary)",
                binary.display()
            ),
        })?;
        Ok(Starting { child: Some(child), binary })
    }
}

/// The instance that a daemon of one's own is, if no other was named: the binary's name and a
/// number made of its path, so that two of the same name do not meet.
pub(crate) fn instance_of(binary: &Path) -> Instance {
    let mut hasher = DefaultHasher::new();
    binary.hash(&mut hasher);
    let number = format!("-{:08x}", hasher.finish() as u32);
    let name = binary.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase());
    let allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-');
    let room = MAX_INSTANCE_LEN - number.len();
    let mut text: String = name.unwrap_or_default().chars().filter(allowed).take(room).collect();
    text += &number;
    text.parse().unwrap_or_default()
}

impl Starting {
    /// Has it failed? That another daemon was faster is no failure.
    pub(crate) fn check(&mut self, tried: &str) -> Result<(), Error> {
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        let Ok(Some(status)) = child.try_wait() else { return Ok(()) };
        self.child = None;
        if status.code() == Some(INSTANCE_HELD) {
            return Ok(());
        }
        Err(Error::Unavailable {
            tried: format!(
                "{tried}; {} was started and ended at once ({status}): run it by hand to see why",
                self.binary.display()
            ),
        })
    }

    /// Is it the one that listens now, as process `pid`?
    pub(crate) fn is(&self, pid: u32) -> bool {
        self.child.as_ref().is_some_and(|child| child.id() == pid)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        STARTED.lock().extend(self.child.take());
    }
}

/// `RINGFENCE_BIN`, or `ringfenced` beside this program, or in `PATH`.
pub fn daemon_binary() -> PathBuf {
    if let Some(named) = std::env::var_os("RINGFENCE_BIN") {
        return named.into();
    }
    let beside = std::env::current_exe().ok();
    let beside = beside.as_deref().and_then(Path::parent).map(|dir| dir.join("ringfenced"));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| "ringfenced".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_of_one_name_are_different_instances() {
        let one = instance_of(Path::new("/a/Greeter.d (new), a name longer than instances have"));
        let two = instance_of(Path::new("/b/Greeter.d (new), a name longer than instances have"));
        assert!(one.as_str().starts_with("greeterdnewaname"), "{one}");
        assert_eq!(one.as_str().len(), MAX_INSTANCE_LEN);
        assert_ne!(one, two);
        assert_eq!(instance_of(Path::new("/")).as_str().len(), 9);
    }
}
