//! A client in a forked child.
#![allow(unsafe_code)]

use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use ringfence::{CallOptions, Client, Error};

use crate::mock::{Act, Mock};

/// A child that hangs is killed by its own alarm, so that a test is bounded.
const CHILD_LIMIT_S: u32 = 20;

/// Runs `body` in a forked child: whether it said that all was well.
fn in_child(body: impl FnOnce() -> bool) -> bool {
    // SAFETY: the harness has threads, so the child may use only what survives that: glibc keeps
    // malloc usable across fork, and the client takes no lock that another thread may have held.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => {
            matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 0)))
        }
        ForkResult::Child => {
            nix::unistd::alarm::set(CHILD_LIMIT_S);
            let run = std::panic::AssertUnwindSafe(body);
            let well = std::panic::catch_unwind(run).unwrap_or(false);
            // SAFETY: `_exit` ends the child without running the harness's exit handlers.
            unsafe { libc::_exit(i32::from(!well)) }
        }
    }
}

fn echoes(client: &Client, data: &[u8]) -> bool {
    client.echo(data).is_ok_and(|reply| reply == data)
}

#[test]
fn parent_child_and_grandchild_each_have_a_session() {
    let mock = Mock::echoing();
    let client = mock.client();
    assert!(echoes(&client, b"parent"));
    let well = in_child(|| {
        let grandchild = || in_child(|| echoes(&client, b"grandchild"));
        echoes(&client, b"child") && grandchild() && echoes(&client, b"child again")
    });
    assert!(well);
    assert!(echoes(&client, b"parent again"));
    let sessions = mock.shared.sessions.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(sessions, 3, "one each, and the parent keeps its own");
}

#[test]
fn calls_of_the_parent_are_not_the_childs() {
    let mock = Mock::answering(|_, payload| match payload {
        b"slow" => Act::After(std::time::Duration::from_millis(300), payload.to_vec()),
        b"big" => Act::Bulk(vec![9; 100_000]),
        other => Act::Reply(other.to_vec()),
    });
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let big = client.echo(b"big").unwrap();
    let mut slow = Some(client.submit(&echo, b"slow", &CallOptions::default()).unwrap());
    let mut kept = Some(big);
    let well = in_child(|| {
        let forked = matches!(client.wait(slow.take().unwrap()), Err(Error::Forked));
        // The parent's reply is readable here, and dropping it does not give it back.
        let big = kept.take().unwrap();
        let readable = big == vec![9; 100_000];
        drop(big);
        forked && readable && echoes(&client, b"own")
    });
    assert!(well);
    assert_eq!(client.wait(slow.take().unwrap()).unwrap(), b"slow");
    crate::mock::eventually("the parent still holds the reply", || {
        mock.shared.leased.load(std::sync::atomic::Ordering::SeqCst) == 100_000
    });
    assert_eq!(kept.take().unwrap(), vec![9; 100_000]);
}

#[test]
fn a_child_of_busy_threads_finds_no_lock_held() {
    let mock = Mock::echoing();
    let client = mock.client();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    assert!(echoes(&client, b"busy"));
                }
            });
        }
        let all_well = (0..10).all(|_| in_child(|| echoes(&client, b"child")));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(all_well);
    });
}
