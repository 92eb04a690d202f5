//! Clients in processes of their own: killed at every step, stopped in the middle of their work, and survived by a
//! child that keeps their socket.

use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::torture::attack::{
    Attack, Busy, Expect, Outcome, Scene, Seen, TWO_SWEEPS, Wrong, broken, landed, must, patience,
};
use crate::torture::peer;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "killed",
        what: "clients killed -9 at each step of a hand-shake, a call, a lease, a subscription",
        rows: &[7, 8],
        expect: &[Expect::Gone],
        busy: Busy::Visits,
        run: killed,
    },
    Attack {
        name: "stopped",
        what: "a client is stopped with calls in flight, and goes on later",
        rows: &[10],
        expect: &[Expect::Unharmed],
        busy: Busy::Nobody,
        run: stopped,
    },
    Attack {
        name: "orphaned",
        what: "a client is killed -9, and a child of it keeps its socket open",
        rows: &[9, 58],
        expect: &[Expect::Gone],
        busy: Busy::Visits,
        run: orphaned,
    },
];

/// A client in a process of its own. It is gone when this is dropped.
struct Peer(Child);

impl Peer {
    fn start(scene: &Scene<'_>, step: &str) -> Result<Self, Wrong> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["torture", "--peer", step, "--at"]).arg(scene.home.socket());
        // Its own group: Ctrl-C in this terminal is for this program, which ends it.
        command.process_group(0);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self(pipes.spawn()?))
    }

    /// What it says if it could not do its step.
    fn complaint(&mut self) -> String {
        let mut text = String::new();
        if let Some(err) = self.0.stderr.as_mut() {
            let _ = err.read_to_string(&mut text);
        }
        text
    }

    /// Waits until it has killed itself.
    fn dies(&mut self, step: &str) -> Result<(), Wrong> {
        let end = Instant::now() + patience();
        loop {
            if let Some(status) = self.0.try_wait()? {
                let by_kill = status.signal() == Some(Signal::SIGKILL as i32);
                let text = if by_kill { String::new() } else { self.complaint() };
                return landed(by_kill, &format!("{step}: {status}: {text}"));
            }
            landed(Instant::now() < end, &format!("{step}: it does not get there"))?;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn killed(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let before = scene.home.holdings();
    for (step, _) in peer::DEATHS {
        let mut peer = Peer::start(scene, step)?;
        peer.dies(step)?;
        gone(scene, &before, step)?;
    }
    Seen::new(format!("SIGKILL at {} steps", peer::DEATHS.len()), Outcome::Gone)
}

/// Waits until the daemon holds what it held before.
fn gone(
    scene: &Scene<'_>,
    before: &crate::torture::home::Holdings,
    what: &str,
) -> Result<(), Wrong> {
    let since = Instant::now();
    loop {
        let now = scene.home.holdings();
        if now.names == before.names && now.descriptors <= before.descriptors {
            return Ok(());
        }
        must(since.elapsed() < patience(), || {
            format!(
                "{what}: {} names and {} descriptors are left of it",
                now.names, now.descriptors
            )
        })?;
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn stopped(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut peer = Peer::start(scene, peer::STOPS)?;
    let pid = Pid::from_raw(peer.0.id() as i32);
    let end = Instant::now() + patience();
    loop {
        match waitpid(pid, Some(WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG))? {
            WaitStatus::Stopped(..) => break,
            WaitStatus::StillAlive => {}
            other => return Err(Wrong::NotLanded(format!("{other:?}: {}", peer.complaint()))),
        }
        landed(Instant::now() < end, "it does not stop")?;
        std::thread::sleep(Duration::from_millis(1));
    }
    let since = Instant::now();
    while !scene.over() || since.elapsed() < TWO_SWEEPS {
        std::thread::sleep(Duration::from_millis(10));
    }
    let stood = since.elapsed();
    // Not waited for: its number is still its own.
    kill(pid, Signal::SIGCONT)?;
    let end = Instant::now() + patience();
    let status = loop {
        match peer.0.try_wait()? {
            Some(status) => break status,
            None if Instant::now() >= end => return broken("it does not get its answers"),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    must(status.success(), || format!("it goes on and fails: {}", peer.complaint()))?;
    Seen::new(format!("it stood for {stood:?}, then got all its answers"), Outcome::Unharmed)
}

fn orphaned(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let before = scene.home.holdings();
    let mut peer = Peer::start(scene, peer::LEAVES_A_CHILD)?;
    // The child reads it, and ends when we close it.
    let pipe = peer.0.stdin.take();
    peer.dies(peer::LEAVES_A_CHILD)?;
    let mut out = peer.0.stdout.take().ok_or(Wrong::NotLanded("no pipe".into()))?;
    let mut line = [0; 6];
    let said = out.read_exact(&mut line);
    landed(said.is_ok() && &line == b"holds\n", "its child does not hold the socket")?;
    gone(scene, &before, "a child holds the socket")?;
    drop(pipe);
    let mut rest = Vec::new();
    out.read_to_end(&mut rest)?;
    landed(rest == b"held\n", "its child did not hold the socket all along")?;
    Seen::new("its child held the socket until all of it was gone", Outcome::Gone)
}
