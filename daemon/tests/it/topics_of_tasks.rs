//! Topics between processes, by tasks: nobody waits where it is not awaited.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ringfence::{Driver, Keep, Policy, Start, Subscription};
use ringfence_protocol::limits::SUBSCRIPTIONS;

use crate::daemon::{PATIENCE, until};
use crate::topics::{client, options, publish_all, start};

/// The daemon makes what was given up meanwhile, and forgets it when it hears of that.
#[test]
fn a_subscribe_that_was_given_up_leaves_neither_a_place_nor_its_number_taken() {
    let daemon = start();
    let client = client(&daemon);
    let driver = client.driver().unwrap();
    let topic = client.topic("t", options(Policy::Reject, 4)).unwrap();
    let mut first = pin!(topic.subscribe_async(Start::Newest, Keep::InLog));
    drop(turned(&driver, first.as_mut()).unwrap());
    daemon.signal(Signal::SIGSTOP);
    for _ in 0..3 {
        let mut subscribe = Box::pin(topic.subscribe_async(Start::Newest, Keep::InLog));
        let polled = subscribe.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "the daemon stands still");
    }
    daemon.signal(Signal::SIGCONT);
    until("what they left is gone", || topic.stats().unwrap().subscriptions == 0);
    publish_all(&topic, 0..10);
    let all: Vec<_> = (0..SUBSCRIPTIONS)
        .map(|_| topic.subscribe(Start::Newest, Keep::InLog))
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(topic.stats().unwrap().subscriptions, SUBSCRIPTIONS as u64);
    drop(all);
    assert_eq!(topic.stats().unwrap().subscriptions, 0);
}

/// Whoever closes many while the daemon stands still would wait a second for each.
#[test]
fn a_task_that_lets_go_of_its_subscriptions_waits_for_nobody() {
    let daemon = start();
    let client = client(&daemon);
    let driver = client.driver().unwrap();
    let topic = client.topic("t", options(Policy::Overwrite, 4)).unwrap();
    for _ in 0..2 {
        let subscribe = || topic.subscribe_async(Start::Newest, Keep::InLog);
        let all: Vec<_> = (0..SUBSCRIPTIONS)
            .map(|_| turned(&driver, pin!(subscribe())))
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(turned(&driver, pin!(subscribe())).is_err(), "there are no more");
        all[0].close();
        drop(turned(&driver, pin!(subscribe())).unwrap());
        daemon.signal(Signal::SIGSTOP);
        let (began, calls) = (Instant::now(), all.len() as u32);
        all.iter().for_each(Subscription::close);
        assert!(began.elapsed() < calls * Duration::from_millis(500));
        daemon.signal(Signal::SIGCONT);
        until("all are gone", || topic.stats().unwrap().subscriptions == 0);
    }
}

/// What a future comes to, with the driver turned by hand.
fn turned<F: Future>(driver: &Driver, mut future: Pin<&mut F>) -> F::Output {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
        assert!(Instant::now() < end, "it comes to nothing");
        driver.turn();
        std::thread::yield_now();
    }
}
