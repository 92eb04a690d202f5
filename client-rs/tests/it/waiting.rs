//! Bells and sleep, on both sides.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use ringfence::{CallOptions, Client, Spin, wait_any};

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

/// Between the last look and the sleep: by then the answer is where another thread would have left it.
#[test]
fn an_answer_that_comes_while_the_lane_is_parked_is_not_slept_for() {
    let mock = Mock::echoing();
    let client = Client::builder().socket(mock.path()).spin(Spin::Never).connect().unwrap();
    for round in 0..20_000_u32 {
        let since = Instant::now();
        assert_eq!(client.echo(&round.to_le_bytes()).unwrap(), round.to_le_bytes());
        // Who sleeps on finds it when the time of its call is over, 30 s.
        assert!(since.elapsed() < Duration::from_secs(20), "it was slept for in round {round}");
    }
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

#[test]
fn whichever_is_answered_first() {
    // The number says after how many milliseconds.
    let mock = Mock::answering(|_, payload| {
        Act::After(Duration::from_millis(payload[0].into()), payload.to_vec())
    });
    for (spin, lanes) in [(Spin::Adaptive, 1), (Spin::Never, 1), (Spin::Never, 3)] {
        let client =
            Client::builder().socket(mock.path()).spin(spin).lanes(lanes).connect().unwrap();
        let echo = client.method("system", "echo").unwrap();
        let other = mock.client();
        let mut calls: Vec<_> = [60_u8, 5, 120, 30]
            .iter()
            .map(|delay| client.submit(&echo, &[*delay], &CallOptions::default()).unwrap())
            .collect();
        if lanes > 1 {
            calls.push(other.submit(&echo, &[90], &CallOptions::default()).unwrap());
        }
        assert_eq!(wait_any(&calls, Duration::ZERO), None);
        let mut order = Vec::new();
        while let Some(first) = wait_any(&calls, Duration::from_secs(20)) {
            order.push(client.wait(calls.remove(first)).unwrap()[0]);
        }
        assert!(calls.is_empty());
        // A loaded machine may answer two at once; none is early or lost.
        order.sort_unstable();
        let all: &[u8] = if lanes > 1 { &[5, 30, 60, 90, 120] } else { &[5, 30, 60, 120] };
        assert_eq!(order, all, "{spin:?}");
    }
    assert_eq!(wait_any::<ringfence::Pending>(&[], Duration::from_secs(20)), None);
}

#[test]
fn a_thread_that_takes_an_answer_wakes_who_waits_for_any() {
    let mock = Mock::answering(|_, payload| match payload {
        b"slow" => Act::After(Duration::from_millis(60), payload.to_vec()),
        b"never" => Act::Never,
        other => Act::Reply(other.to_vec()),
    });
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let submit = |text: &[u8]| client.submit(&echo, text, &CallOptions::default()).unwrap();
    let calls = [submit(b"never"), submit(b"slow")];
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| wait_any(&calls, Duration::from_secs(20)));
        while !waiter.is_finished() {
            assert_eq!(client.echo(b"fast").unwrap(), b"fast");
        }
        assert_eq!(waiter.join().unwrap(), Some(1));
    });
}

#[test]
fn a_call_whose_time_is_over_is_the_first() {
    let mock = Mock::answering(|_, _| Act::Never);
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let timeout = Duration::from_millis(20).into();
    let short = CallOptions { timeout, ..CallOptions::default() };
    let calls = [
        client.submit(&echo, b"x", &CallOptions::default()).unwrap(),
        client.submit(&echo, b"x", &short).unwrap(),
    ];
    assert_eq!(wait_any(&calls, Duration::from_secs(20)), Some(1));
}
