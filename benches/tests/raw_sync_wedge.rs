//! Why Ringfence does not lock: a raw_sync mutex whose holder is killed stays locked for ever, and
//! every raw_sync `Event` contains such a mutex.
//!
//! raw_sync's own timeouts are broken (no carry into the seconds), so the waiter waits without one
//! in a process of its own, is watched from outside, and is killed at the end. The same waiter
//! behind a holder that lets go gets through, so the test would notice if it always hung.
// Helpers of tests fail by panicking.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use ringfence_benches::raw::Segment;
use ringfence_benches::wedge;

/// A live peer answers within this, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);
/// A mutex that is free is taken in microseconds; this is how long we believe in it.
const WEDGED_AFTER: Duration = Duration::from_secs(1);
/// Number of the system call futex on x86_64.
const FUTEX_CALL: u32 = 202;

struct Process {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Process {
    /// Starts `serve ROLE SEGMENT` and waits until it is ready.
    fn start(role: &str, segment: &Segment) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence-benches"))
            .args(["serve", role, segment.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            // Ends with the process, when its output does.
            output.lines().map_while(Result::ok).for_each(|line| drop(send.send(line)));
        });
        let process = Self { child, input, lines };
        assert_eq!(process.lines.recv_timeout(PATIENCE).as_deref(), Ok("ready"), "{role}");
        process
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// SIGKILL, by its own pid, and its end seen.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the process sleeps in a futex.
    fn await_sleep_in_lock(&self) {
        let syscall = format!("/proc/{}/syscall", self.child.id());
        let start = Instant::now();
        let futex = format!("{} ", FUTEX_CALL);
        while !std::fs::read_to_string(&syscall).unwrap().starts_with(&futex) {
            assert!(start.elapsed() < PATIENCE, "the waiter does not wait in a lock");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail after `kill`, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A holder that has both mutexes, and a waiter asleep in front of `what`. The name is gone from
/// /dev/shm before anybody is killed.
fn holder_and_waiter(what: &str) -> (Process, Process) {
    let segment = Rc::new(Segment::create(wedge::LINES).unwrap());
    wedge::make(&segment).unwrap();
    let holder = Process::start("wedge-hold", &segment);
    let mut waiter = Process::start("wedge-wait", &segment);
    segment.unlink().unwrap();
    let name = segment.name().trim_start_matches('/');
    assert!(!Path::new("/dev/shm").join(name).exists());
    waiter.say(what);
    waiter.await_sleep_in_lock();
    (holder, waiter)
}

fn killed_holder_wedges(what: &str) {
    let (mut holder, mut waiter) = holder_and_waiter(what);
    holder.kill();
    let answer = waiter.lines.recv_timeout(WEDGED_AFTER);
    assert_eq!(answer, Err(RecvTimeoutError::Timeout), "raw_sync recovered from a dead holder");
    assert!(waiter.child.try_wait().unwrap().is_none(), "the waiter ended instead of waiting");
    waiter.await_sleep_in_lock();
    waiter.kill();
}

fn living_holder_lets_go(what: &str) {
    let (mut holder, waiter) = holder_and_waiter(what);
    holder.say("let go");
    assert_eq!(waiter.lines.recv_timeout(PATIENCE).as_deref(), Ok(wedge::ACQUIRED));
}

#[test]
fn a_killed_mutex_holder_wedges_the_other_side() {
    killed_holder_wedges("mutex");
}

#[test]
fn a_process_killed_inside_an_event_wedges_whoever_sets_it() {
    killed_holder_wedges("event");
}

#[test]
fn a_mutex_holder_that_lets_go_wedges_nobody() {
    living_holder_lets_go("mutex");
}

#[test]
fn a_process_that_leaves_an_event_wedges_nobody() {
    living_holder_lets_go("event");
}
