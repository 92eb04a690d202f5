//! A daemon process of a test's own, and the command that asks it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// How long a condition may take on a loaded machine before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon with the engine `trial`.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) instance: String,
    dir: Dir,
}

/// A directory that is gone when the test is.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringfence-cli-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Daemon {
    pub(crate) fn start() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let instance = format!("c{}-{number}", std::process::id());
        let dir = Dir::new();
        let child = spawn(&instance, &dir.0);
        let mut daemon = Self { child, instance, dir };
        daemon.wait();
        daemon
    }

    fn wait(&mut self) {
        let socket = self.socket();
        until("the daemon listens", || {
            assert!(self.child.try_wait().unwrap().is_none(), "the daemon did not start");
            is_listening(&socket)
        });
    }

    /// Kills it with -9 and starts another in its place.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.instance, &self.dir.0);
        self.wait();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.0.join(&self.instance).join("control.sock")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Kills it with -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The command with this daemon as its target.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = ringfence(args);
        command.arg("--target").arg(self.socket()).env("RINGFENCE_BIN", testd());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().unwrap())
    }
}

fn spawn(instance: &str, dir: &Path) -> Child {
    Command::new(testd())
        .args(["--engines", "system", "--log-format", "text", "--log-level", "error"])
        .args(["--instance", instance, "--runtime-dir"])
        .arg(dir)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::SIGCONT);
            self.signal(Signal::SIGTERM);
            let end = Instant::now() + PATIENCE;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // What a daemon that was killed left behind.
        let part = format!(".{}.", self.instance);
        for entry in std::fs::read_dir("/dev/shm").unwrap().flatten() {
            if entry.file_name().to_string_lossy().contains(&part) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// What a command came to.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn of(output: Output) -> Self {
        let err = String::from_utf8(output.stderr).unwrap();
        Self { code: output.status.code(), out: output.stdout, err }
    }

    /// Standard output of a command that must have left with 0 and without a message.
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""));
        String::from_utf8(self.out).unwrap()
    }

    /// The same as JSON: one line.
    pub(crate) fn json(self) -> Value {
        let out = self.ok();
        assert_eq!(out.lines().count(), 1, "{out}");
        serde_json::from_str(&out).unwrap()
    }

    /// The message of a command that must have left with this code and printed nothing.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.err);
        assert_eq!(self.out, b"", "{}", self.err);
        self.err
    }
}

/// The command, independent of this process's surroundings.
pub(crate) fn ringfence(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.args(args).stdin(Stdio::null());
    for name in ["RINGFENCE_TARGET", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
}

/// Waits for a condition, never for a time.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Asks the kernel: a connection would be a session in the numbers.
fn is_listening(path: &Path) -> bool {
    /// `__SO_ACCEPTCON` of linux/net.h, as /proc/net/unix prints it.
    const ACCEPTS: &str = "00010000";
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    table.lines().any(|line| {
        line.ends_with(path.to_str().unwrap()) && line.split(' ').any(|word| word == ACCEPTS)
    })
}

/// The tests' daemon, an example of another package: built if nobody has built it yet.
pub(crate) fn testd() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let profile = Path::new(env!("CARGO_BIN_EXE_ringfence")).parent().unwrap();
        let path = profile.join("examples/testd");
        // Cargo knows whether it is of today.
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "-p", "ringfenced", "--example", "testd"]);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "cannot build testd");
        path
    })
}
