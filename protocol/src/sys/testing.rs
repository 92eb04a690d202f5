//! What the tests of this layer share: a forked child with a verdict, and names of their own.
//!
//! What it does not do: exist outside tests.
#![allow(unsafe_code)]

use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::names::{Instance, SegmentKind, SegmentName};

/// A child that hangs is killed by its own alarm, so that a test is bounded.
const CHILD_LIMIT_S: u32 = 20;

/// What a child that panicked exits with.
const PANICKED: i32 = 101;

/// Forks, runs `body` in the child, and returns its pid. The child exits with `body`'s value.
pub(crate) fn spawn_child(body: impl FnOnce() -> i32) -> Pid {
    // SAFETY: the harness has threads, so the child may use only what survives that: glibc keeps
    // malloc usable across fork, and the bodies take no lock that another test's thread holds.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            nix::unistd::alarm::set(CHILD_LIMIT_S);
            let run = std::panic::AssertUnwindSafe(body);
            let code = std::panic::catch_unwind(run).unwrap_or(PANICKED);
            // SAFETY: `_exit` ends the child without running the harness's exit handlers.
            unsafe { libc::_exit(code) }
        }
    }
}

/// How the child ended: its exit code, or minus the signal that killed it.
pub(crate) fn outcome(child: Pid) -> i32 {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => return code,
            Ok(WaitStatus::Signaled(_, signal, _)) => return -(signal as i32),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => panic!("waitpid: {error}"),
        }
    }
}

/// Runs `body` in a forked child to its end.
pub(crate) fn in_child(body: impl FnOnce() -> i32) -> i32 {
    outcome(spawn_child(body))
}

/// An instance of this test alone.
pub(crate) fn instance() -> Instance {
    let random = crate::sys::random::random_u128().expect("getrandom");
    format!("t{:031x}", random >> 4).parse().expect("31 hex digits and a letter")
}

/// This process's uid.
pub(crate) fn uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// A segment name of this test alone.
pub(crate) fn segment_name(kind: SegmentKind) -> SegmentName {
    SegmentName::random(uid(), &instance(), kind).expect("getrandom")
}
