//! Calls that their engine answers later (SPEC F9): who may answer, and what their callers are told
//! when nobody does.

use std::time::Duration;

use nix::sys::signal::Signal;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::layout::Header;
use ringfence_protocol::sys::clock;

use super::daemon::{Daemon, until};
use super::raw::{Raw, code, encode, says};
use super::trial::Number;

ringfence_protocol::message! {
    /// As `testd` has it.
    struct Wait<'a> { key: u64, begin: bool, data: &'a [u8] }
}
ringfence_protocol::message! {
    /// As `testd` has it.
    struct Tell { key: u64, how: u8 }
}

const WAIT: u16 = 0;
const TELL: u16 = 1;
const KEPT: u16 = 2;

const HERE: u8 = 0;
const IN_A_THREAD: u8 = 1;
const DROP: u8 = 2;
const BEGIN: u8 = 3;

impl Raw {
    /// Submits a call that waits under `key`.
    fn wait_under(&mut self, key: u64) -> u64 {
        self.wait_with(key, false, 0)
    }

    fn wait_with(&mut self, key: u64, begin: bool, deadline: u32) -> u64 {
        let method = self.method("later", WAIT);
        let header = Header { method, deadline, ..Header::default() };
        self.submit_with(header, &encode(&Wait { key, begin, data: &[] }))
    }

    /// Tells the calls under `key`: how many there are.
    fn tell(&mut self, key: u64, how: u8) -> u64 {
        let method = self.method("later", TELL);
        number(self.call(method, &encode(&Tell { key, how })))
    }

    fn kept(&mut self) -> u64 {
        let method = self.method("later", KEPT);
        number(self.call(method, &encode(&Number { value: 0 })))
    }
}

fn number(reply: Result<Vec<u8>, Error>) -> u64 {
    u64::from_le_bytes(reply.unwrap().try_into().unwrap())
}

#[test]
fn a_call_is_answered_by_a_later_call_or_by_a_thread_and_holds_up_nobody() {
    let daemon = Daemon::start(&["--workers", "1"]);
    let (mut client, mut other) = (Raw::connect(&daemon), Raw::connect(&daemon));
    for how in [HERE, IN_A_THREAD] {
        let ticket = client.wait_under(7);
        until("it waits", || other.kept() == 1);
        client.echo(b"meanwhile, on the same lane");
        // No worker has it: the only one is free.
        let nap = other.method("trial", 0);
        other.call(nap, &encode(&Number { value: 1 })).unwrap();
        assert_eq!(other.tell(7, how), 1);
        let (answered, result) = client.take();
        assert_eq!((answered, number(result)), (ticket, 7));
    }
}

#[test]
fn an_engine_may_answer_or_fail_at_once() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let ticket = client.wait_under(0);
    let (answered, result) = client.take();
    assert_eq!((answered, number(result)), (ticket, 0));
    client.wait_under(1);
    says(client.take().1, "key 1 fails");
    assert_eq!(client.tell(1, HERE), 1, "an answer to a call that has one goes nowhere");
    client.echo(b"one answer each");
    assert!(client.try_take().is_none());
}

#[test]
fn a_call_that_the_engine_drops_is_interrupted() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let ticket = client.wait_under(7);
    let method = client.method("later", TELL);
    client.submit(method, &encode(&Tell { key: 7, how: DROP }));
    let (first, second) = (client.take(), client.take());
    let (_, interrupted) = if first.0 == ticket { first } else { second };
    assert_eq!(code(interrupted), ErrorCode::Interrupted);
}

#[test]
fn a_deadline_ends_it_and_says_whether_it_had_begun() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    for (begin, expected) in [(false, ErrorCode::Expired), (true, ErrorCode::Overdue)] {
        until("the engine had it before its time was over", || {
            let deadline = clock::deadline_after(Duration::from_millis(20));
            let ticket = client.wait_with(7, begin, deadline);
            let (answered, result) = client.take();
            assert_eq!(client.tell(7, BEGIN), 0, "nothing begins that was ended");
            let kept = client.tell(7, HERE) == 1;
            let expected = if kept { expected } else { ErrorCode::Expired };
            assert_eq!((answered, code(result)), (ticket, expected));
            kept
        });
    }
    client.echo(b"no second answers");
    assert!(client.try_take().is_none());
}

#[test]
fn a_cancel_ends_it() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let ticket = client.wait_under(7);
    until("it has an entry", || client.lane.cancel(ticket));
    let (answered, result) = client.take();
    assert_eq!((answered, code(result.clone())), (ticket, ErrorCode::Cancelled));
    says(result, "no effect");
    assert_eq!(client.tell(7, HERE), 1);
    client.echo(b"no second answer");
    assert!(client.try_take().is_none());
}

#[test]
fn what_a_dead_session_left_with_an_engine_is_dropped() {
    let daemon = Daemon::start(&[]);
    let (names, mut stays) = (daemon.names(), Raw::connect(&daemon));
    let with_one = daemon.names();
    assert!(with_one.len() > names.len());
    let mut goes = Raw::connect(&daemon);
    for key in 2..10 {
        goes.wait_under(key);
    }
    until("all wait", || stays.kept() == 8);
    drop(goes);
    until("the engine lets go", || stays.kept() == 0);
    until("its segments are gone", || daemon.names() == with_one);
}

#[test]
fn credit_bounds_the_calls_that_wait() {
    let daemon = Daemon::start(&[]);
    let (mut client, mut other) = (Raw::connect(&daemon), Raw::connect(&daemon));
    let slots = u64::from(client.opened.geometry.slots);
    for _ in 0..slots {
        client.wait_under(7);
    }
    until("all wait", || other.kept() == slots);
    // The table is full: what comes now stays in the ring until there is credit.
    let echo = client.method("system", ringfence_protocol::api::system::ECHO);
    client.submit(echo, b"after them");
    std::thread::sleep(super::raw::A_WHILE);
    assert!(client.try_take().is_none());
    other.echo(b"others go on");
    assert_eq!(other.tell(7, HERE), slots);
    for _ in 0..slots {
        assert_eq!(number(client.take().1), 7);
    }
    assert_eq!(client.take().1.unwrap(), b"after them");
}

#[test]
fn a_daemon_that_is_stopped_ends_them_and_leaves() {
    let mut daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let waits = client.wait_under(7);
    let begun = client.wait_with(8, true, 0);
    until("both wait", || client.lane.was_claimed(begun));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait(), Some(0));
    let answers = [client.take(), client.take()];
    for (ticket, result) in answers {
        let expected =
            if ticket == begun { ErrorCode::Interrupted } else { ErrorCode::ShuttingDown };
        assert!(ticket == begun || ticket == waits);
        assert_eq!(code(result), expected);
    }
}

/// A payload that a worker copies is run there, and may wait as well.
#[test]
fn a_large_request_waits_too() {
    let daemon = Daemon::start(&[]);
    let (mut client, mut other) = (Raw::connect(&daemon), Raw::connect(&daemon));
    let data = vec![1; 70_000];
    let request = encode(&Wait { key: 7, begin: false, data: &data });
    let (method, segment) = (client.method("later", WAIT), client.open_bulk(&request));
    let (len, block) = (request.len() as u32, segment << 24 | 1);
    let header = Header { method, len, block, ..Header::default() };
    let ticket = client.lane.submit(header, &[]).unwrap();
    client.bell.ring().unwrap();
    until("it waits", || other.kept() == 1);
    client.echo(b"meanwhile");
    assert_eq!(other.tell(7, IN_A_THREAD), 1);
    let (answered, result) = client.take();
    assert_eq!((answered, number(result)), (ticket, 7));
}
