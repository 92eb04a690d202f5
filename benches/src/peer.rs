//! The far half of a case: this program again, as `serve ROLE`, in its own process on its own core.
//!
//! A peer that spins must not do so while another case is timed, so peers are stopped (SIGSTOP)
//! between their turns. A peer dies with its harness, and is killed by its own pid when dropped.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::BenchError;

/// Core of everything that answers.
pub const SERVER_CORE: usize = 0;
/// Core of everything that asks, the harness and the Python driver.
pub const CLIENT_CORE: usize = 1;
const READY: &str = "ready";

/// Pins the calling thread, and what it starts, to one core.
pub fn pin(core: usize) -> Result<(), BenchError> {
    let mut set = CpuSet::new();
    let pinned = set.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    pinned.map_err(|source| BenchError::Pin { core, source })
}

/// Lets the calling thread run on any core again.
pub fn unpin() -> Result<(), BenchError> {
    let mut all = CpuSet::new();
    for core in 0..std::thread::available_parallelism()?.get().max(2) {
        let _beyond_the_machine = all.set(core);
    }
    sched_setaffinity(Pid::from_raw(0), &all)
        .map_err(|source| BenchError::Pin { core: SERVER_CORE, source })
}

/// Called first in a peer: takes the server's core and ties its life to the harness.
pub fn become_peer() -> Result<(), BenchError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|source| BenchError::Os { what: "set_pdeathsig", source })?;
    pin(SERVER_CORE)
}

/// Called in a peer when it has opened everything it was given.
pub fn say_ready() -> Result<(), BenchError> {
    let mut out = std::io::stdout();
    writeln!(out, "{READY}")?;
    Ok(out.flush()?)
}

/// A running peer.
#[derive(Debug)]
pub struct Peer {
    what: String,
    child: Child,
    // Set when the kernel told us its end: its pid may belong to another process by now.
    ended: bool,
}

impl Peer {
    /// Starts `exe serve ARGS...` and returns when it says that it is ready.
    pub fn spawn(exe: &Path, args: &[&str], stdin: Stdio) -> Result<Self, BenchError> {
        let mut command = Command::new(exe);
        command.arg("serve").args(args).stdin(stdin);
        Self::start(args.join(" "), command)
    }

    /// Starts another program that pins itself, dies with its parent and says that it is ready.
    pub fn start(what: String, mut command: Command) -> Result<Self, BenchError> {
        let child = command.stdout(Stdio::piped()).spawn()?;
        let mut peer = Self { what, child, ended: false };
        let mut line = String::new();
        if let Some(out) = peer.child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        if line.trim_end() == READY {
            return Ok(peer);
        }
        Err(peer.broken("did not say that it is ready"))
    }

    /// Lets it run again.
    pub fn resume(&mut self) -> Result<(), BenchError> {
        self.signal(Signal::SIGCONT)
    }

    /// Stops it, and returns when it stands still.
    pub fn pause(&mut self) -> Result<(), BenchError> {
        self.signal(Signal::SIGSTOP)?;
        let status = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED))
            .map_err(|source| BenchError::Os { what: "waitpid", source })?;
        if matches!(status, WaitStatus::Stopped(..)) {
            return Ok(());
        }
        self.ended = true;
        Err(self.broken("ended while it was measured"))
    }

    /// Lets it end in order: it runs, its input ends, and it is waited for.
    pub fn finish(&mut self) {
        if self.ended {
            return;
        }
        let _it_may_have_ended = self.resume();
        drop(self.child.stdin.take());
        self.ended = self.child.wait().is_ok();
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        // A pid fits: the kernel's limit is 2^22.
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn signal(&self, signal: Signal) -> Result<(), BenchError> {
        kill(self.pid(), signal).map_err(|source| BenchError::Os { what: "kill", source })
    }

    fn broken(&self, detail: &str) -> BenchError {
        BenchError::Peer { what: self.what.clone(), detail: String::from(detail) }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // It may have ended by itself; there is nobody left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
