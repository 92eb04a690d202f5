//! The private daemon that is attacked: an instance, a runtime directory and a log of its own.
//!
//! Invariants: nothing of it is left when it is dropped; if this process is killed, the daemon leaves by itself when
//! it has no client any more. It does *not* read the user's configuration or environment: the limits are those of
//! [`CONFIG`], so that every one of them can be reached.

use std::cell::Cell;
use std::fs::{DirBuilder, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfence_protocol::names::SHM_DIR;
use ringfence_protocol::sys::random::random_u128;
use ringfence_protocol::sys::socket::Conn;

use super::attack::patience;

/// Quotas low enough to be reached, a hand-shake that is soon over; all else as it is by default.
const CONFIG: &str = "\
exit_when_idle_ms = 3000
[sessions]
handshake_timeout_ms = 300
max_per_uid = 48
bytes_per_uid = 33554432
bulk_bytes_max = 4194304
[lanes]
max_per_session = 8
[log]
format = \"text\"
level = \"warn\"
";

/// A daemon.
pub(super) struct Home {
    child: Child,
    dir: PathBuf,
    instance: String,
    /// How much of the log was looked at.
    read: Cell<u64>,
}

/// What it holds: names in shared memory and descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holdings {
    pub(super) names: usize,
    pub(super) descriptors: usize,
}

impl Home {
    /// Starts one.
    pub(super) fn start(binary: &Path) -> Result<Self, String> {
        let number = random_u128().map_err(|error| error.to_string())? as u32;
        let instance = format!("torture-{}-{number:08x}", std::process::id());
        let dir = std::env::temp_dir().join(format!("ringfence-{instance}"));
        let cannot = |what: &str, error: std::io::Error| format!("cannot {what}: {error}");
        DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(|error| cannot(&format!("make {}", dir.display()), error))?;
        let child = spawn(binary, &instance, &dir).inspect_err(|_| {
            // Nobody uses it yet.
            let _ = std::fs::remove_dir_all(&dir);
        })?;
        let mut home = Self { child, dir, instance, read: Cell::new(0) };
        home.wait(binary)?;
        Ok(home)
    }

    fn wait(&mut self, binary: &Path) -> Result<(), String> {
        let end = Instant::now() + patience();
        // Its name is there a moment before it listens.
        while Conn::connect(&self.socket(), patience()).is_err() {
            if let Some(ended) = self.ended() {
                let log = self.news();
                return Err(format!("{} ended at once ({ended}): {log}", binary.display()));
            }
            if Instant::now() >= end {
                return Err(format!("{} does not listen", binary.display()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.join(&self.instance).join("control.sock")
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// What it holds now.
    pub(super) fn holdings(&self) -> Holdings {
        let count = |path: &Path| std::fs::read_dir(path).map_or(0, Iterator::count);
        let descriptors = count(Path::new(&format!("/proc/{}/fd", self.child.id())));
        Holdings { names: self.names().len(), descriptors }
    }

    /// Its names in shared memory, the lock included.
    fn names(&self) -> Vec<PathBuf> {
        let part = format!(".{}.", self.instance);
        let entries = std::fs::read_dir(SHM_DIR).into_iter().flatten().flatten();
        let ours = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().contains(&part))
        };
        entries.map(|entry| entry.path()).filter(ours).collect()
    }

    /// What it has logged since this was asked last.
    pub(super) fn news(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(self.dir.join("log")).and_then(|mut log| {
            log.seek(SeekFrom::Start(self.read.get()))?;
            log.read_to_end(&mut bytes)
        });
        self.read.set(self.read.get() + read.unwrap_or(0) as u64);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn spawn(binary: &Path, instance: &str, dir: &Path) -> Result<Child, String> {
    let cannot =
        |what: &Path, error: std::io::Error| format!("cannot write {}: {error}", what.display());
    let (config, log) = (dir.join("config.toml"), dir.join("log"));
    std::fs::write(&config, CONFIG).map_err(|error| cannot(&config, error))?;
    let log = File::create(&log).map_err(|error| cannot(&log, error))?;
    let mut command = Command::new(binary);
    // What this shell says about other daemons is not for this one, but for the switches of test builds.
    let of_others = |name: &std::ffi::OsString| {
        name.to_string_lossy().starts_with("RINGFENCE_") && name != "RINGFENCE_DISARM"
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| of_others(name)) {
        command.env_remove(name);
    }
    command
        .args(["--instance", instance, "--config"])
        .arg(config)
        .arg("--runtime-dir")
        .arg(dir)
        .arg("--state-dir")
        .arg(dir.join("state"))
        .env("RUST_BACKTRACE", "0")
        // Its own group: Ctrl-C in this terminal is for this program, which ends it.
        .process_group(0)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| {
            format!(
                "{} could not be started: {error} (--daemon or RINGFENCE_BIN names another binary)",
                binary.display()
            )
        })
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let pid = Pid::from_raw(self.child.id() as i32);
            // It runs: its number is nobody else's until it is waited for. One that was stopped hears nothing.
            let _ = kill(pid, Signal::SIGCONT);
            let _ = kill(pid, Signal::SIGTERM);
            let end = Instant::now() + patience();
            while self.ended().is_none() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // What one that had to be killed left behind: its instance was ours alone.
        for name in self.names() {
            let _ = std::fs::remove_file(name);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
