//! Many calls at once: each is answered once, whatever happens.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ringfence::{CallOptions, Client, Error, ErrorCode, Outcome, Spin};

use crate::mock::{Act, Mock, Plan};

type Answers = Vec<Result<Vec<u8>, Error>>;

/// Calls `echo` for every payload: what each one got, and what the whole got.
fn echo_all(
    client: &Client,
    payloads: &[Vec<u8>],
    options: &CallOptions,
) -> (Answers, Result<(), Error>) {
    let echo = client.method("system", "echo").unwrap();
    let mut answers: Vec<Option<Result<Vec<u8>, Error>>> = Vec::new();
    answers.resize_with(payloads.len(), || None);
    let outcome = client.call_many(&echo, payloads, options, |index, answer| {
        let before = answers[index].replace(answer.map(|reply| reply.into_vec()));
        assert!(before.is_none(), "two answers for item {index}");
    });
    (answers.into_iter().flatten().collect(), outcome)
}

fn numbers(count: u32) -> Vec<Vec<u8>> {
    (0..count).map(|n| n.to_le_bytes().repeat(1 + n as usize % 50)).collect()
}

fn assert_all(client: &Client, payloads: &[Vec<u8>]) {
    let (answers, outcome) = echo_all(client, payloads, &CallOptions::default());
    outcome.unwrap();
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap()).collect();
    assert!(answers == payloads, "changed, missing or out of place");
}

#[test]
fn every_item_is_answered_in_its_place() {
    let mock = Mock::echoing();
    let client = mock.client();
    for count in [0, 1, 31, 32, 33, 1000] {
        assert_all(&client, &numbers(count));
    }
}

#[test]
fn large_and_small_items_may_be_mixed() {
    let mock = Mock::echoing();
    let mut payloads = numbers(100);
    for (at, len) in [(0, 5_000), (17, 70_000), (18, 217), (60, 200_000), (99, 4096)] {
        payloads[at] = vec![at as u8; len];
    }
    assert_all(&mock.client(), &payloads);
}

#[test]
fn slow_answers_in_any_order_are_slept_for() {
    let mock = Mock::answering(|_, payload| {
        let delay = Duration::from_millis(u64::from(payload[0]) % 7);
        Act::After(delay, payload.to_vec())
    });
    for spin in [Spin::Adaptive, Spin::Never] {
        let client = Client::builder().socket(mock.path()).spin(spin).connect().unwrap();
        assert_all(&client, &numbers(150));
    }
    assert!(mock.shared.wakes.load(SeqCst) > 0);
}

#[test]
fn other_threads_may_collect_a_batchs_answers() {
    let mock = Mock::answering(|_, payload| match payload.len() {
        1 => Act::Reply(payload.to_vec()),
        _ => Act::After(Duration::from_micros(300), payload.to_vec()),
    });
    let client = mock.client();
    std::thread::scope(|scope| {
        let batches: Vec<_> =
            (0..2).map(|_| scope.spawn(|| assert_all(&client, &numbers(400)))).collect();
        while batches.iter().any(|batch| !batch.is_finished()) {
            assert_eq!(client.echo(b"x").unwrap(), b"x");
        }
    });
}

#[test]
fn what_the_daemons_death_leaves_open_is_reported_too() {
    let mock = Mock::answering(|_, payload| match payload {
        [200, 0, 0, 0, ..] => Act::Die,
        other => Act::Reply(other.to_vec()),
    });
    let (answers, outcome) = echo_all(&mock.client(), &numbers(300), &CallOptions::default());
    // The listener lives, so the rest goes to a second session.
    outcome.unwrap();
    assert_eq!(answers.len(), 300);
    assert_eq!(answers[200].as_ref().unwrap_err().outcome(), Some(Outcome::Unknown));
    let lost = answers.iter().filter(|answer| answer.is_err()).count();
    assert!((1..=32).contains(&lost), "{lost}");
    for error in answers[201..].iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(error.outcome(), Some(Outcome::NotStarted), "{error:?}");
    }
}

#[test]
fn what_cannot_be_submitted_ends_the_batch_with_its_reason() {
    let mock = Mock::answering(|_, _| Act::Die);
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let mut mock = Some(mock);
    let mut seen = 0;
    let payloads = (0..1000).map(|n: u32| n.to_le_bytes());
    let outcome = client.call_many(&echo, payloads, &CallOptions::default(), |_, answer| {
        assert!(answer.unwrap_err().outcome().is_some());
        seen += 1;
        if let Some(mock) = mock.take() {
            std::fs::remove_dir_all(mock.die()).unwrap();
        }
    });
    assert_eq!(outcome.unwrap_err().code(), ErrorCode::DaemonUnavailable);
    assert!((1..1000).contains(&seen), "{seen}");
}

#[test]
fn items_that_are_never_answered_time_out_and_leave_no_trace() {
    let mock = Mock::answering(|_, payload| match payload.len() {
        8 => Act::Never,
        _ => Act::Reply(payload.to_vec()),
    });
    let client = mock.client();
    let options =
        CallOptions { timeout: Duration::from_millis(50).into(), ..CallOptions::default() };
    let (answers, outcome) = echo_all(&client, &vec![vec![7; 8]; 40], &options);
    // What the daemon takes, and what then waits in the ring; after that there is no room.
    assert_eq!(answers.len(), 32);
    assert_eq!(outcome.unwrap_err().code(), ErrorCode::Backpressure);
    for answer in answers {
        assert_eq!(answer.unwrap_err().code(), ErrorCode::Expired);
    }
    // Sixteen of them are the daemon's for ever: its credit is used up, but not its client.
    drop(client);
    assert_all(
        &mock.client(),
        &numbers(20).into_iter().filter(|p| p.len() != 8).collect::<Vec<_>>(),
    );
}

#[test]
fn a_panic_in_the_callers_closure_leaves_the_lane_usable() {
    let mock = Mock::start(Plan::default());
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let run = std::panic::AssertUnwindSafe(|| {
        client.call_many(&echo, numbers(100), &CallOptions::default(), |index, _| {
            assert!(index < 40, "on purpose");
        })
    });
    assert!(std::panic::catch_unwind(run).is_err());
    assert_all(&client, &numbers(100));
}
