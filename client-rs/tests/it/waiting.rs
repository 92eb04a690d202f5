//! Bells and sleep, on both sides.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ringfence::{CallOptions, Client, Spin};

use crate::mock::{Act, Mock, eventually};

#[test]
fn a_sleeping_daemon_is_woken_by_the_first_call() {
    let mock = Mock::echoing();
    let client = mock.client();
    for round in 0..5_u8 {
        let parks = mock.shared.parks.load(SeqCst);
        eventually("the mock parks", || mock.shared.parks.load(SeqCst) > parks);
        assert_eq!(client.echo(&[round]).unwrap(), [round]);
    }
}

#[test]
fn a_client_that_never_spins_sleeps_and_is_woken() {
    let mock = Mock::answering(|_, payload| Act::After(Duration::from_millis(5), payload.to_vec()));
    let client = Client::builder().socket(mock.path()).spin(Spin::Never).connect().unwrap();
    for round in 0..5_u8 {
        assert_eq!(client.echo(&[round]).unwrap(), [round]);
    }
    assert!(mock.shared.wakes.load(SeqCst) >= 4, "{}", mock.shared.wakes.load(SeqCst));
}

#[test]
fn a_sleeper_is_woken_by_a_thread_that_takes_its_answer() {
    let mock = Mock::answering(|_, payload| match payload {
        b"slow" => Act::After(Duration::from_millis(60), payload.to_vec()),
        other => Act::Reply(other.to_vec()),
    });
    let client = mock.client();
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| client.echo(b"slow").unwrap());
        while !sleeper.is_finished() {
            assert_eq!(client.echo(b"fast").unwrap(), b"fast");
        }
        assert_eq!(sleeper.join().unwrap(), b"slow");
    });
}

#[test]
fn looking_without_waiting_is_enough() {
    let mock = Mock::answering(|_, payload| Act::After(Duration::from_millis(3), payload.to_vec()));
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let mut pending = client.submit(&echo, b"x", &CallOptions::default()).unwrap();
    eventually("done", || pending.is_done());
    assert_eq!(pending.wait_for(Duration::ZERO).unwrap().unwrap(), b"x");
}

#[test]
fn a_cancelled_call_reaches_the_daemon() {
    let mock = Mock::answering(|_, _| Act::Never);
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let pending = client.submit(&echo, b"x", &CallOptions::default()).unwrap();
    // Early: the daemon may not have it in its table yet. It is kept until then.
    pending.cancel();
    eventually("cancelled", || {
        let _looks = pending.is_done();
        mock.shared.cancelled.load(SeqCst) == 1
    });
}
