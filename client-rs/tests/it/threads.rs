//! Many threads, one client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use ringfence::{CallOptions, Client, Error, Pending, Spin};

use crate::mock::{Act, Mock, Plan};

fn hammer(client: &Client, threads: u64, calls: u64) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let client = client.clone();
            scope.spawn(move || {
                for call in 0..calls {
                    let data = [thread, call, thread ^ call].map(u64::to_le_bytes).concat();
                    assert_eq!(client.echo(&data).unwrap(), data);
                }
            });
        }
    });
}

#[test]
fn eight_threads_get_each_their_own_answers() {
    let mock = Mock::echoing();
    hammer(&mock.client(), 8, 3_000);
}

#[test]
fn several_lanes_serve_many_threads_and_a_refused_one_is_shared() {
    for granted in [4, 2] {
        let mock = Mock::start(Plan { lanes: granted, ..Plan::default() });
        let client = Client::builder().socket(mock.path()).lanes(4).connect().unwrap();
        hammer(&client, 8, 500);
    }
}

#[test]
fn sleeping_threads_are_woken_each_for_its_own() {
    let count = AtomicUsize::new(0);
    let mock = Mock::answering(move |_, payload| {
        let delay = Duration::from_millis(2 + count.fetch_add(1, SeqCst) as u64 % 7);
        Act::After(delay, payload.to_vec())
    });
    for spin in [Spin::Never, Spin::Adaptive] {
        let client = Client::builder().socket(mock.path()).spin(spin).connect().unwrap();
        hammer(&client, 6, 60);
    }
    assert!(mock.shared.wakes.load(SeqCst) > 0, "nobody slept");
}

/// Answers after a time that the payload's first byte says, in microseconds.
fn slow_by_its_first_byte() -> Mock {
    Mock::answering(|_, payload| {
        Act::After(Duration::from_micros(payload[0].into()), payload.to_vec())
    })
}

/// As long as only one of them has ever been there it keeps the lane while it waits. The payloads lie in the slot, and in the
/// arena.
#[test]
fn threads_that_linger_for_an_answer_meet() {
    let mock = slow_by_its_first_byte();
    for len in [24, 400] {
        let client = mock.client();
        let call = |delay: u8| {
            let data = vec![delay; len];
            assert_eq!(client.echo(&data).unwrap(), data);
        };
        call(50);
        std::thread::scope(|scope| {
            for thread in 0..3_u8 {
                scope.spawn(move || (0..300_u32).for_each(|n| call(n as u8 % 90 + 30 * thread)));
            }
        });
    }
}

#[test]
fn who_lingers_takes_the_answers_to_earlier_calls_of_its_own() {
    let mock = slow_by_its_first_byte();
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    for round in 0..400_u32 {
        let data = |which: u32| vec![(round * which % 120) as u8; 24 + 376 * (round % 2) as usize];
        let (first, second) = (data(7), data(11));
        let pending = client.submit(&echo, &first, &CallOptions::default()).unwrap();
        assert_eq!(client.echo(&second).unwrap(), second);
        assert_eq!(client.wait(pending).unwrap(), first);
    }
}

#[test]
fn who_lingers_ends_with_its_time() {
    let mock = Mock::answering(|_, _| Act::Never);
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    for micros in [1, 30, 90, 200] {
        let allowed = Duration::from_micros(micros);
        let options = CallOptions { timeout: allowed.into(), ..CallOptions::default() };
        let error = client.call(&echo, b"x", &options).unwrap_err();
        assert!(matches!(error, Error::Timeout { after, .. } if after == allowed), "{error:?}");
    }
}

#[test]
fn any_thread_may_wait_for_any_call() {
    let mock =
        Mock::answering(|_, payload| Act::After(Duration::from_micros(300), payload.to_vec()));
    let client = mock.client();
    let echo = Arc::new(client.method("system", "echo").unwrap());
    let (to_waiter, calls) = std::sync::mpsc::channel::<(u64, Pending)>();
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (client, echo, to_waiter) = (client.clone(), echo.clone(), to_waiter.clone());
            scope.spawn(move || {
                for call in 0..100 {
                    let number = thread << 32 | call;
                    let data = number.to_le_bytes();
                    let pending = client.submit(&echo, &data, &CallOptions::default()).unwrap();
                    to_waiter.send((number, pending)).unwrap();
                }
            });
        }
        drop(to_waiter);
        let mut seen = 0;
        for (number, pending) in calls {
            assert_eq!(client.wait(pending).unwrap(), number.to_le_bytes());
            seen += 1;
        }
        assert_eq!(seen, 300);
    });
}

#[test]
fn threads_survive_a_restart_together() {
    let mock = Mock::echoing();
    let client = mock.client();
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for call in 0..200_u64 {
                    // Idempotent, so the restart is not noticed as long as it is quick.
                    loop {
                        match client.echo(&call.to_le_bytes()) {
                            Ok(reply) => break assert_eq!(reply, call.to_le_bytes()),
                            Err(error) => assert!(error.outcome().is_some(), "{error:?}"),
                        }
                    }
                    done.fetch_add(1, SeqCst);
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
        }
        let mut mock = Some(mock);
        for at in [100, 300, 500] {
            while done.load(SeqCst) < at {
                std::thread::yield_now();
            }
            let dir = mock.take().unwrap().die();
            mock = Some(Mock::start_in(dir, Plan::default()));
        }
        while done.load(SeqCst) < 800 {
            std::thread::yield_now();
        }
    });
}
