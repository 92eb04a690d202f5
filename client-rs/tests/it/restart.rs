//! Daemons that go away, break rules, or stand still.

use std::time::{Duration, Instant};

use ringfence::{CallOptions, Client, Error, ErrorCode, Outcome, Spin};
use ringfence_protocol::api;

use crate::mock::{Act, Manner, Mock, Plan};

/// `vectors.create` is not idempotent.
fn with_vectors(answer: impl Fn(u32, &[u8]) -> Act + Send + Sync + 'static) -> Plan {
    let engines = vec![(api::system::schema(), None), (api::vectors::schema(), None)];
    Plan { engines, answer: Box::new(answer), ..Plan::default() }
}

#[test]
fn the_next_call_finds_the_next_daemon() {
    let mock = Mock::echoing();
    let client = mock.client();
    assert_eq!(client.echo(b"1").unwrap(), b"1");
    let dir = mock.die();
    let mock = Mock::start_in(dir, Plan::default());
    assert_eq!(client.echo(b"2").unwrap(), b"2");
    let dir = mock.die();
    // Not there yet when the call begins.
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        Mock::start_in(dir, Plan::default())
    });
    let error = client.echo(b"3").err();
    if let Some(error) = error {
        // In flight when the loss was noticed: raised after the grace.
        assert_eq!(error.outcome(), Some(Outcome::NotStarted), "{error:?}");
        assert_eq!(client.echo(b"3").unwrap(), b"3");
    }
    drop(late.join().unwrap());
}

#[test]
fn a_call_that_waits_learns_of_the_death_in_time() {
    for spin in [Spin::Adaptive, Spin::Always, Spin::Never] {
        let mock = Mock::start(with_vectors(|_, _| Act::Never));
        let client = Client::builder().socket(mock.path()).spin(spin).connect().unwrap();
        let create = client.method("vectors", "create").unwrap();
        let pending = client.submit(&create, b"x", &CallOptions::default()).unwrap();
        // Claimed: it has an entry.
        while pending.progress().is_none() {
            std::thread::yield_now();
        }
        let waiter = std::thread::spawn(move || (client.wait(pending), Instant::now()));
        let dir = mock.die();
        let died = Instant::now();
        let (answer, at) = waiter.join().unwrap();
        std::fs::remove_dir_all(dir).unwrap();
        let error = answer.unwrap_err();
        assert!(
            matches!(error, Error::Restarted { outcome: Outcome::Unknown, pid: 4242 }),
            "{spin:?} {error:?}"
        );
        // The promise is 200 ms; a loaded machine gets more, but not a slice that never ends.
        assert!(at.saturating_duration_since(died) < Duration::from_secs(5));
    }
}

#[test]
fn what_was_not_taken_has_no_effect_and_says_so() {
    let plan = with_vectors(|_, _| Act::Never);
    let mock = Mock::start(Plan { manner: Manner::Deaf, ..plan });
    let client = mock.client();
    let create = client.method("vectors", "create").unwrap();
    let pending = client.submit(&create, b"x", &CallOptions::default()).unwrap();
    let dir = mock.die();
    let error = client.wait(pending).unwrap_err();
    std::fs::remove_dir_all(dir).unwrap();
    assert!(matches!(error, Error::Restarted { outcome: Outcome::NotStarted, .. }), "{error:?}");
    let error = client.echo(b"x").unwrap_err();
    assert_eq!(error.code(), ErrorCode::DaemonUnavailable);
}

#[test]
fn an_idempotent_call_is_made_again_and_another_is_not() {
    let first = Mock::start(with_vectors(|_, _| Act::Die));
    let client = first.client();
    let path = first.path();
    let create = client.method("vectors", "create").unwrap();
    // The listener of the first one stays: it receives the client again, and kills it again.
    let error = client.call(&create, b"x", &CallOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Restarted { outcome: Outcome::Unknown, .. }), "{error:?}");
    drop(first);

    let deaths = std::sync::atomic::AtomicUsize::new(0);
    let mock = Mock::start(with_vectors(move |_, payload| {
        match deaths.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Act::Die,
            _ => Act::Reply(payload.to_vec()),
        }
    }));
    assert_ne!(mock.path(), path);
    assert_eq!(mock.client().echo(b"again").unwrap(), b"again");
    assert_eq!(mock.shared.sessions.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[test]
fn an_idempotent_call_waits_for_the_next_daemon_as_long_as_a_connect_may_take() {
    let mock = Mock::mannered(Manner::Deaf);
    let patient = Client::builder().socket(mock.path()).timeout(Duration::from_secs(20));
    let client = patient.connect().unwrap();
    let caller = std::thread::spawn(move || client.echo(b"x").map(ringfence::Reply::into_vec));
    let dir = mock.die();
    // Longer than a call waits that may not be made again.
    std::thread::sleep(Duration::from_millis(400));
    assert!(!caller.is_finished());
    let _next = Mock::start_in(dir, Plan::default());
    assert_eq!(caller.join().unwrap().unwrap(), b"x");
}

#[test]
fn answers_that_came_before_the_death_are_given() {
    let mock = Mock::answering(|_, payload| match payload {
        b"die" => Act::Die,
        other => Act::Reply(other.to_vec()),
    });
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let first = client.submit(&echo, b"first", &CallOptions::default()).unwrap();
    let die = client.submit(&echo, b"die", &CallOptions::default()).unwrap();
    let last = client.submit(&echo, b"last", &CallOptions::default()).unwrap();
    let error = client.wait(die).unwrap_err();
    assert_eq!(error.outcome(), Some(Outcome::Unknown), "{error:?}");
    assert_eq!(client.wait(first).unwrap(), b"first");
    let error = client.wait(last).unwrap_err();
    assert_eq!(error.outcome(), Some(Outcome::NotStarted), "{error:?}");
    assert!(error.may_retry(false));
}

#[test]
fn a_killed_session_says_why_and_the_next_call_opens_another() {
    let mock = Mock::answering(|_, payload| match payload {
        b"bad" => Act::Kill,
        other => Act::Reply(other.to_vec()),
    });
    let client = mock.client();
    let error = client.echo(b"bad").unwrap_err();
    assert_eq!(error.code(), ErrorCode::SessionKilled, "{error:?}");
    assert!(error.to_string().contains("inline-length"), "{error}");
    assert_eq!(client.echo(b"good").unwrap(), b"good");
    assert_eq!(mock.shared.sessions.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[test]
fn a_daemon_that_breaks_a_rule_is_left() {
    for act in [Act::WrongTicket, Act::Overlong] {
        let bad = act.clone();
        let mock = Mock::answering(move |_, payload| match payload {
            b"bad" => bad.clone(),
            other => Act::Reply(other.to_vec()),
        });
        let client = mock.client();
        let error = client.echo(b"bad").unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{act:?}: {error:?}");
        assert_eq!(client.echo(b"good").unwrap(), b"good");
    }
}

#[test]
fn a_daemon_that_stands_still_is_told_from_a_busy_one() {
    let mock = Mock::mannered(Manner::Deaf);
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let after = Duration::from_millis(400);
    let options = CallOptions { timeout: after.into(), ..CallOptions::default() };
    let error = client.call(&echo, b"x", &options).unwrap_err();
    assert!(matches!(error, Error::Stalled { waited, .. } if waited >= after), "{error:?}");
    let busy = Mock::answering(|_, _| Act::Never);
    let error = busy.client().call(&echo, b"x", &options).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Expired, "{error:?}");
}
