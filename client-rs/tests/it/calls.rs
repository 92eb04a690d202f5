//! One call after another.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ringfence::{CallOptions, Called, Error, ErrorCode, Outcome, Spin, Timeout};
use ringfence_protocol::api;

use crate::mock::{Act, Mock, Plan, eventually};

#[test]
fn every_inline_length_comes_back_unchanged() {
    let mock = Mock::echoing();
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    for len in 0..=216 {
        let data: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        let reply = client.echo(&data).unwrap();
        assert_eq!(reply, data);
        assert_eq!(reply.as_slice().as_ptr().addr() % 8, 0);
        let options = CallOptions::default();
        let taken = client.call_with(&echo, &data, &options, |bytes| bytes.to_vec()).unwrap();
        match taken {
            Called::Done(bytes) => assert_eq!(bytes, data),
            Called::Pending(pending) => assert_eq!(client.wait(pending).unwrap(), data),
        }
    }
    assert_eq!(client.info().daemon_version, "mock");
    assert_eq!(client.info().socket, Some(mock.path()));
}

#[test]
fn more_calls_than_the_ring_has_slots() {
    let mock = Mock::echoing();
    let client = mock.client();
    for number in 0..5_000_u64 {
        assert_eq!(client.echo(&number.to_le_bytes()).unwrap(), number.to_le_bytes());
    }
}

#[test]
fn pipelined_calls_are_answered_to_their_own_askers_in_any_order() {
    let mock = Mock::answering(|_, payload| Act::Reversed(8, payload.to_vec()));
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let submit = |n: u8| client.submit(&echo, &[n; 5], &CallOptions::default()).unwrap();
    let all: Vec<_> = (0..8).map(submit).collect();
    assert_eq!(all.windows(2).filter(|two| two[0].ticket() == two[1].ticket()).count(), 0);
    for (n, pending) in all.into_iter().enumerate() {
        assert_eq!(client.wait(pending).unwrap(), [n as u8; 5]);
    }
}

#[test]
fn an_engines_error_has_its_code_and_text() {
    let mock = Mock::answering(|_, _| Act::Fail(1002, "128 dimensions, the collection has 4"));
    let error = mock.client().echo(b"x").unwrap_err();
    assert_eq!(error.code(), ErrorCode::WrongDimension);
    assert!(error.to_string().contains("128 dimensions"), "{error}");
    assert_eq!(error.outcome(), None);
}

#[test]
fn what_the_daemon_gave_up_had_no_effect() {
    let mock = Mock::answering(|_, _| Act::Fail(ErrorCode::Expired.as_u16(), "late"));
    let client = mock.client();
    let error = client.echo(b"x").unwrap_err();
    let expected = Duration::from_secs(30);
    assert!(
        matches!(error, Error::Timeout { outcome: Outcome::NotStarted, after } if after == expected),
        "{error:?}"
    );
}

#[test]
fn a_timeout_leaves_the_outcome_unknown_and_the_client_usable() {
    let mock = Mock::answering(|_, payload| match payload {
        b"never" => Act::Never,
        other => Act::Reply(other.to_vec()),
    });
    let all = [Spin::Adaptive, Spin::Always, Spin::Never].map(|spin| {
        let builder = ringfence::Client::builder().socket(mock.path()).spin(spin);
        builder.connect().unwrap()
    });
    for client in &all {
        let echo = client.method("system", "echo").unwrap();
        let after = Duration::from_millis(30);
        let options = CallOptions { timeout: after.into(), ..CallOptions::default() };
        let error = client.call(&echo, b"never", &options).unwrap_err();
        assert!(
            matches!(error, Error::Timeout { outcome: Outcome::Unknown, after: had } if had == after),
            "{error:?}"
        );
        assert_eq!(client.echo(b"fine").unwrap(), b"fine");
    }
    // Each was cancelled, too.
    eventually("cancelled", || {
        mock.shared.cancelled.load(std::sync::atomic::Ordering::SeqCst) == 3
    });
}

#[test]
fn a_full_ring_is_waited_for_and_then_is_backpressure() {
    let mock = Mock::answering(|_, _| Act::Never);
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let options =
        CallOptions { timeout: Duration::from_millis(100).into(), ..CallOptions::default() };
    let mut pending = Vec::new();
    let error = loop {
        match client.submit(&echo, b"x", &options) {
            Ok(call) => pending.push(call),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), ErrorCode::Backpressure, "{error:?}");
    assert!(error.to_string().contains("take answers first"), "{error}");
    // As many as the daemon takes, and as many as then wait in the ring.
    assert_eq!(pending.len(), 32);
}

#[test]
fn a_full_ring_that_empties_is_no_error() {
    let mock = Mock::answering(|_, payload| Act::After(Duration::from_millis(2), payload.to_vec()));
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let submit = |n: u16| {
        client.submit(&echo, &n.to_le_bytes(), &CallOptions::default()).map(|call| (n, call))
    };
    let all: Vec<_> = (0..200).map(|n| submit(n).unwrap()).collect();
    for (n, call) in all {
        assert_eq!(client.wait(call).unwrap(), n.to_le_bytes());
    }
}

#[test]
fn call_or_pend_gives_the_answer_or_the_call() {
    let mock = Mock::answering(|_, payload| match payload {
        b"slow" => Act::Held(payload.to_vec()),
        other => Act::Reply(other.to_vec()),
    });
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let patient = CallOptions { spin_turns: Some(u32::MAX), ..CallOptions::default() };
    let called = client.call_or_pend(&echo, b"fast", &patient).unwrap();
    assert!(matches!(called, Called::Done(ref reply) if *reply == b"fast"), "{called:?}");
    let called = client.call_or_pend(&echo, b"slow", &CallOptions::default()).unwrap();
    let Called::Pending(mut pending) = called else { panic!("{called:?}") };
    assert!(pending.wait_for(Duration::from_micros(50)).is_none());
    mock.shared.lets_go.store(true, SeqCst);
    let answer = loop {
        if let Some(answer) = pending.wait_for(Duration::from_millis(5)) {
            break answer;
        }
    };
    assert_eq!(answer.unwrap(), b"slow");
    assert!(pending.is_done());
    assert!(pending.wait_for(Duration::ZERO).unwrap().is_err(), "an answer is given once");
}

#[test]
fn a_dropped_call_frees_its_place_when_its_answer_comes() {
    let mock = Mock::answering(|_, payload| Act::After(Duration::from_millis(1), payload.to_vec()));
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    for n in 0..200_u8 {
        // In the arena, which has 16 blocks: they must come back too.
        drop(client.submit(&echo, &[n; 4000], &CallOptions::default()).unwrap());
    }
    assert_eq!(client.echo(&[1; 4000]).unwrap(), vec![1; 4000]);
}

#[test]
fn a_closed_client_says_so() {
    let mock = Mock::answering(|_, _| Act::Never);
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let pending = client.submit(&echo, b"x", &CallOptions::default()).unwrap();
    client.close();
    client.close();
    assert!(matches!(client.wait(pending), Err(Error::Closed)));
    assert!(matches!(client.echo(b"x"), Err(Error::Closed)));
    assert!(matches!(client.method("system", "echo"), Err(Error::Closed)));
}

#[test]
fn methods_are_numbered_as_the_daemon_numbers_them() {
    let mut vectors = api::vectors::schema();
    let mut there = vectors.clone();
    there.methods.retain(|method| method.name != "list");
    there.methods.iter_mut().filter(|m| m.name == "count").for_each(|m| m.op = 99);
    std::mem::swap(&mut vectors, &mut there);
    let engines = vec![(api::system::schema(), None), (there, Some(vectors))];
    let answer = |number: u32, _: &[u8]| Act::Reply(number.to_le_bytes().to_vec());
    let mock = Mock::start(Plan { engines, answer: Box::new(answer), ..Plan::default() });
    let client = mock.client();
    let search = client.method("vectors", "search").unwrap();
    assert!(search.is_idempotent());
    let reply = client.call(&search, b"", &CallOptions::default()).unwrap();
    assert_eq!(reply, (1 << 16 | u32::from(api::vectors::SEARCH)).to_le_bytes());
    for (name, difference) in [("list", "here only"), ("count", "number 8 here, 99 there")] {
        let error = client.method("vectors", name).unwrap_err();
        assert!(matches!(error, Error::SchemaMismatch { .. }), "{error:?}");
        assert!(error.to_string().contains(difference), "{error}");
    }
    let error = client.method("vectors", "serach").unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnknownMethod);
    let error = client.method("graph", "path").unwrap_err();
    assert!(error.to_string().contains("there are: system, vectors"), "{error}");
}

#[test]
fn an_engine_that_only_the_daemon_knows_comes_from_its_catalogue() {
    let mut greeter = api::system::schema();
    greeter.name = "greeter".into();
    greeter.methods.retain(|method| method.name == "echo");
    greeter.methods[0].timeout_ms = None;
    let all = vec![api::system::schema(), greeter.clone()];
    let encoded = ringfence_protocol::wire::encode_catalogue(&all).unwrap();
    let answer = move |number: u32, _: &[u8]| match number {
        2 => Act::Reply(encoded.clone()),
        other => Act::Reply(other.to_le_bytes().to_vec()),
    };
    let engines = vec![(api::system::schema(), None), (greeter, None)];
    let mock = Mock::start(Plan { engines, answer: Box::new(answer), ..Plan::default() });
    let client = mock.client();
    let echo = client.method("greeter", "echo").unwrap();
    assert_eq!(echo.default_timeout(), None);
    let options = CallOptions { timeout: Timeout::Never, ..CallOptions::default() };
    assert_eq!(client.call(&echo, b"", &options).unwrap(), 0x1_0001_u32.to_le_bytes());
    assert_eq!(client.catalogue().unwrap()[1].name, "greeter");
}
