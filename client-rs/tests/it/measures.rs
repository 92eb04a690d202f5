//! What a client says of its calls, as the daemon's side reads it.

use std::time::{Duration, Instant};

use ringfence::{CallOptions, Called, Client};
use ringfence_protocol::measures::{Accepted, Growth};

use crate::mock::{Act, Mock, eventually};

/// The sums of the first lane.
fn sums(mock: &Mock) -> Growth {
    let ups = mock.shared.ups.lock().unwrap();
    Accepted::default().read(&ups[0], u64::MAX, u64::MAX)
}

#[test]
fn one_call_in_64_is_measured_with_the_time_that_its_caller_saw() {
    let mock = Mock::echoing();
    let client = mock.client();
    let start = Instant::now();
    for _ in 0..64 * 200 {
        client.echo(b"x").unwrap();
    }
    let (all, sums) = (start.elapsed(), sums(&mock));
    assert!((150..=250).contains(&sums.calls), "{} of {}", sums.calls, 64 * 200);
    assert!(sums.call_ns > 0 && Duration::from_nanos(sums.call_ns) < all, "{sums:?} of {all:?}");
    assert_eq!((sums.waits, sums.wait_ns), (0, 0), "there is no interpreter");
}

#[test]
fn a_long_call_is_measured_to_its_end_whoever_waits_for_it() {
    let nap = Duration::from_millis(2);
    let mock = Mock::answering(move |_, payload| Act::After(nap, payload.to_vec()));
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let mut calls = 0;
    eventually("some are measured", || {
        for _ in 0..50 {
            client.call(&echo, b"x", &CallOptions::default()).unwrap();
            calls += 1;
        }
        sums(&mock).calls >= 2
    });
    eventually("more are", || {
        for _ in 0..50 {
            calls += 1;
            match client.call_or_pend(&echo, b"x", &CallOptions::default()).unwrap() {
                Called::Done(_) => {}
                Called::Pending(pending) => drop(client.wait(pending).unwrap()),
            }
        }
        sums(&mock).calls >= 4
    });
    let sums = sums(&mock);
    assert!(sums.calls <= calls / 20, "{} of {calls}", sums.calls);
    assert!(sums.call_ns >= sums.calls * nap.as_nanos() as u64, "{sums:?}");
    assert_eq!(sums.methods[0], (1, sums.calls, sums.call_ns), "echo is method 1");
}

#[test]
fn a_binding_adds_what_its_caller_waits_for_after_the_answer() {
    let nap = Duration::from_millis(1);
    let mock = Mock::answering(move |_, payload| Act::After(nap, payload.to_vec()));
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let mut measured = 0_u64;
    while measured < 2 {
        let Called::Pending(mut pending) =
            client.call_or_pend(&echo, b"x", &CallOptions::default()).unwrap()
        else {
            continue;
        };
        let measurement = pending.take_measurement();
        client.wait(pending).unwrap();
        let answered = Instant::now();
        if let Some(measurement) = measurement {
            std::thread::sleep(Duration::from_millis(10));
            measurement.finish(answered);
            measured += 1;
        }
    }
    let sums = sums(&mock);
    assert_eq!((sums.calls, sums.waits), (2, 2));
    assert!(sums.wait_ns >= 20_000_000 && sums.call_ns >= sums.wait_ns + 2_000_000, "{sums:?}");
}

#[test]
fn what_is_not_waited_for_or_fails_is_not_measured() {
    let mock = Mock::answering(|_, payload| match payload {
        b"bad" => Act::Fail(1001, "bad"),
        other => Act::Reply(other.to_vec()),
    });
    let client: Client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let options = CallOptions::default();
    for _ in 0..200 {
        let pending = client.submit(&echo, b"x", &options).unwrap();
        client.wait(pending).unwrap();
        client.call(&echo, b"bad", &options).unwrap_err();
    }
    client.call_many(&echo, vec![b"x"; 500], &options, |_, answer| drop(answer.unwrap())).unwrap();
    assert_eq!(sums(&mock), Growth { methods: sums(&mock).methods, ..Growth::default() });
}

#[test]
fn threads_that_share_a_lane_share_its_countdown() {
    const THREADS: u64 = 4;
    const CALLS: u64 = 64 * 40;
    let mock = Mock::echoing();
    let client = mock.client();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..CALLS).for_each(|_| drop(client.echo(b"x").unwrap())));
        }
    });
    // Steps that two threads take at once are one step, or a call more that is measured.
    let (measured, all) = (sums(&mock).calls, THREADS * CALLS);
    assert!((all / 64 / THREADS / 2..=all / 16).contains(&measured), "{measured} of {all}");
}
