//! A peer as a process of its own, and what it wrote down.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::daemon::until;
use super::oracle::Testimony;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Publish,
    Subscribe,
}

pub(crate) struct Peer {
    pub(crate) role: Role,
    child: Child,
    /// Its end, also that of the test, tells the peer to end.
    stdin: Option<ChildStdin>,
    is_stopped: bool,
    journal: PathBuf,
    key: u64,
}

impl Peer {
    pub(crate) fn start(role: Role, socket: &Path, journal: PathBuf, key: u64) -> Self {
        let name = if role == Role::Publish { "publish" } else { "subscribe" };
        let mut child = Command::new(program())
            .arg(name)
            .args([socket, &journal])
            .arg(key.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        Self { role, child, stdin, is_stopped: false, journal, key }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn stop_or_continue(&mut self) {
        self.signal(if self.is_stopped { Signal::SIGCONT } else { Signal::SIGSTOP });
        self.is_stopped = !self.is_stopped;
    }

    pub(crate) fn go_on(&mut self) {
        if self.is_stopped {
            self.stop_or_continue();
        }
    }

    /// Lets it come to its own end.
    pub(crate) fn end(&mut self) {
        self.stdin = None;
        let mut status = None;
        until("the peer ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "peer {} ended with {status:?}", self.key);
    }

    /// What it wrote down, which nobody needs any longer.
    pub(crate) fn testimony(self) -> Testimony {
        // One that was killed at once has written nothing.
        let text = std::fs::read_to_string(&self.journal).unwrap_or_default();
        let records = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let _there_may_be_none = std::fs::remove_file(&self.journal);
        Testimony { key: self.key, records }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _it_ends_meanwhile = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Cargo builds the examples before it runs the tests, beside them.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/bus_peer");
    assert!(path.exists(), "{} is missing: cargo build --examples -p ringfenced", path.display());
    path
}
