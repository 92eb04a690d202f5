//! What an honest client may rely on.

use nix::sys::signal::Signal;
use ringfence::{CallOptions, Client};
use ringfence_protocol::api::system;
use ringfence_protocol::error::ErrorCode;
use ringfence_protocol::layout::Header;
use ringfence_protocol::ledger::Ledger;
use ringfence_protocol::ring::{Nap, WakeBy};
use ringfence_protocol::sys::clock;
use ringfence_protocol::sys::socket::Conn;
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage};
use std::time::Duration;

use super::daemon::{Daemon, PATIENCE, until};
use super::raw::{Raw, code, encode, hear, says, tell};
use super::trial::{COUNTED, FAIL, FILL, NAP, Number, PANIC, STEPS, Steps};

#[test]
fn echoes_of_every_inline_length_come_back() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    for len in 0..=216 {
        client.echo(&vec![len as u8; len]);
    }
}

#[test]
fn the_catalogue_names_every_engine_and_method() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let method = client.method("system", system::CATALOGUE);
    let engines = wire::decode_catalogue(&client.call(method, &[]).unwrap()).unwrap();
    assert_eq!(engines[0], system::schema());
    let trial = engines.iter().find(|engine| engine.name == "trial").unwrap();
    assert_eq!(trial.method("nap").unwrap().op, NAP);
}

#[test]
fn an_unknown_method_is_an_error_and_the_session_lives() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    assert_eq!(code(client.call(0x0000_00ff, &[])), ErrorCode::UnknownMethod);
    says(client.call(0x003f_0000, &[]), "[engines] enable");
    client.echo(b"still here");
}

#[test]
fn a_malformed_request_names_its_field() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let method = client.method("trial", NAP);
    says(client.call(method, &[1, 2, 3]), "`value`");
    client.echo(b"still here");
}

/// Issue: 1 000 echoes submitted behind a 200 ms call on the same lane finish first. Here the call lasts
/// until it is cancelled, so that a slow machine proves the same.
#[test]
fn a_thousand_echoes_overtake_a_long_call_on_their_lane() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let (nap, echo) = (client.method("trial", NAP), client.method("system", system::ECHO));
    let long = client.submit(nap, &encode(&Number { value: 600_000 }));
    for number in 0..1000u64 {
        let ticket = client.submit(echo, &number.to_le_bytes());
        let (answered, result) = client.take();
        assert_eq!(answered, ticket, "the nap came before echo {number}");
        assert_eq!(result.unwrap(), number.to_le_bytes());
    }
    assert!(client.lane.cancel(long), "it is still in the table");
    assert_eq!(client.take().0, long);
}

#[test]
fn a_full_pipeline_is_answered_in_order_whatever_the_client_reads() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let echo = client.method("system", system::ECHO);
    let (mut sent, mut taken) = (0u64, 0u64);
    while taken < 20_000 {
        while sent < 20_000 && client.lane.has_room() {
            client.submit(echo, &sent.to_le_bytes());
            sent += 1;
        }
        while let Some((_, result)) = client.try_take() {
            assert_eq!(result.unwrap(), taken.to_le_bytes());
            taken += 1;
        }
    }
}

#[test]
fn a_panic_in_place_and_in_a_worker_is_an_error_of_that_call() {
    let mut daemon = Daemon::start(&[]);
    let (mut client, mut neighbour) = (Raw::connect(&daemon), Raw::connect(&daemon));
    for value in [0, 1] {
        let result = client.trial(PANIC, &Number { value });
        assert_eq!(code(result.clone()), ErrorCode::EnginePanicked);
        says(result, &format!("panic with {value}"));
        client.echo(b"still here");
        neighbour.echo(b"did not notice");
    }
    assert!(daemon.is_running());
}

#[test]
fn an_engines_error_keeps_its_number_and_text() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    for (error, _, _) in ErrorCode::TABLE {
        let result = client.trial(FAIL, &Number { value: u64::from(error.as_u16()) });
        assert_eq!(code(result.clone()), *error);
        says(result, "asked to fail");
    }
}

#[test]
fn replies_come_inline_in_the_arena_and_in_order() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    for len in [0u64, 1, 216, 217, 4096, 4097, 65_536] {
        let reply = client.trial(FILL, &Number { value: len }).unwrap();
        assert_eq!(reply.len() as u64, len);
        assert!(reply.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
    }
}

/// Issue: after a deadline has passed, at most one batch more is examined.
#[test]
fn a_running_call_stops_at_the_batch_after_its_deadline() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let steps = client.method("trial", STEPS);
    let deadline = clock::deadline_after(Duration::from_millis(30));
    client.submit_with(
        Header { method: steps, deadline, ..Header::default() },
        &encode(&Steps { count: 100_000, step_us: 1000 }),
    );
    let (_, result) = client.take();
    assert_eq!(code(result), ErrorCode::Expired);
    // Between the deadline and the answer no further step began.
    let counted = client.method("trial", COUNTED);
    let examined = |client: &mut Raw| client.call(counted, &encode(&Number { value: 1 })).unwrap();
    let first = examined(&mut client);
    std::thread::sleep(super::raw::A_WHILE);
    assert_eq!(examined(&mut client), first);
    assert!(u64::from_le_bytes(first.try_into().unwrap()) < 1000);
}

#[test]
fn a_request_that_is_late_already_has_no_effect() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let deadline = clock::coarse_ticks().wrapping_sub(10).max(1);
    let method = client.method("trial", 4);
    client.submit_with(
        Header { method, deadline, ..Header::default() },
        &encode(&Number { value: 0 }),
    );
    says(client.take().1, "no effect");
    assert_eq!(client.trial(COUNTED, &Number { value: 0 }).unwrap(), 0u64.to_le_bytes());
}

#[test]
fn cancel_ends_a_running_and_a_queued_call() {
    let daemon = Daemon::start(&["--workers", "1"]);
    let mut client = Raw::connect(&daemon);
    let nap = client.method("trial", NAP);
    let running = client.submit(nap, &encode(&Number { value: 60_000 }));
    let queued = client.submit(nap, &encode(&Number { value: 60_000 }));
    until("both have an entry", || client.lane.cancel(queued));
    assert_eq!(client.take().0, queued, "the sweep ends a call that no worker has");
    assert!(client.lane.cancel(running));
    let (ticket, result) = client.take();
    assert_eq!((ticket, code(result)), (running, ErrorCode::Cancelled));
}

#[test]
fn progress_can_be_read_while_a_call_runs() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let steps = client.method("trial", STEPS);
    let ticket = client.submit(steps, &encode(&Steps { count: 100_000, step_us: 500 }));
    until("some steps are done", || client.lane.progress(ticket).is_some_and(|done| done > 3));
    assert!(client.lane.cancel(ticket));
    assert_eq!(code(client.take().1), ErrorCode::Cancelled);
}

#[test]
fn a_lane_that_was_quiet_is_woken_by_a_bell() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    for _ in 0..5 {
        until("the lane is parked", || {
            use ringfence_protocol::memory::Memory as _;
            client.down.load_u32(ringfence_protocol::layout::down::PARKED) & 1 == 1
        });
        client.echo(b"wake up");
    }
}

#[test]
fn an_event_loop_is_woken_by_a_byte() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    tell(&client.conn, &ClientMessage::OpenWaker);
    let (message, mut fds) = hear(&client.conn).unwrap();
    assert_eq!(message, DaemonMessage::Waker);
    let waker = Conn::from_fd(fds.pop().unwrap());
    let nap = client.method("trial", NAP);
    let mut buffer = [0; 8];
    for _ in 0..3 {
        let ticket = client.submit(nap, &encode(&Number { value: 5 }));
        let bell = &client.bell;
        // Every sleep has a value of its own, and gets a byte of its own.
        while matches!(client.lane.park(WakeBy::Byte, || bell.ring().unwrap()), Nap::Sleep { .. }) {
            assert!(waker.recv(&mut buffer, 0, PATIENCE).unwrap().is_some());
            client.lane.unpark();
            if client.lane.peek().unwrap().is_some() {
                break;
            }
        }
        assert_eq!(client.take().0, ticket);
    }
    // Never read: the bytes that find no room are dropped, and nothing waits for them.
    for _ in 0..600 {
        let bell = &client.bell;
        let _awake_or_asleep = client.lane.park(WakeBy::Byte, || bell.ring().unwrap());
        client.echo(b"unread");
    }
    tell(&client.conn, &ClientMessage::OpenWaker);
    let (message, _) = hear(&client.conn).unwrap();
    assert!(matches!(message, DaemonMessage::Refused(refusal) if refusal.reason.contains("waker")));
    client.echo(b"still here");
    drop(daemon);
    while waker.recv(&mut buffer, 0, PATIENCE).unwrap().is_some() {}
}

#[test]
fn further_lanes_are_independent_and_limited() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let mut lanes = Vec::new();
    for number in 1..64 {
        tell(&client.conn, &ClientMessage::OpenLane);
        let (message, fds) = hear(&client.conn).unwrap();
        let DaemonMessage::Lane(opened) = message else { panic!("{message:?}") };
        assert_eq!(opened.lane, number);
        lanes.push(super::raw::map(&opened, &fds[0], &fds[1]));
    }
    tell(&client.conn, &ClientMessage::OpenLane);
    let (message, _) = hear(&client.conn).unwrap();
    assert!(
        matches!(message, DaemonMessage::Refused(refusal) if refusal.reason.contains("max_per_session"))
    );
    client.echo(b"the first lane still works");
    let echo = client.method("system", system::ECHO);
    for (lane, _, _) in &mut lanes {
        lane.submit(Header { method: echo, len: 2, ..Header::default() }, b"hi").unwrap();
        if lane.bell_due() {
            client.bell.ring().unwrap();
        }
    }
    for (lane, _, _) in &mut lanes {
        until("each lane is answered", || lane.peek().unwrap().is_some());
    }
}

#[test]
fn names_and_descriptors_return_to_the_baseline_when_a_client_leaves() {
    let daemon = Daemon::start(&[]);
    let (names, descriptors) = (daemon.names(), daemon.descriptors());
    let clients: Vec<_> = (0..5).map(|_| Raw::connect(&daemon)).collect();
    assert_eq!(daemon.names().len(), names.len() + 10, "two segments a lane");
    drop(clients);
    until("all are gone", || daemon.names() == names && daemon.descriptors() <= descriptors);
}

#[test]
fn sigterm_answers_what_runs_says_goodbye_and_leaves_nothing() {
    let mut daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let nap = client.method("trial", NAP);
    let ticket = client.submit(nap, &encode(&Number { value: 300 }));
    until("the nap has begun", || client.lane.was_claimed(ticket));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait(), Some(0));
    assert!(client.take().1.is_ok(), "what ran was answered");
    assert_eq!(client.last_words(), Some(DaemonMessage::ShuttingDown));
    assert_eq!(daemon.names(), Vec::<String>::new());
}

#[test]
fn a_second_daemon_of_the_same_instance_is_refused_with_its_own_code() {
    let daemon = Daemon::start(&[]);
    let test = std::env::current_exe().unwrap();
    let second =
        std::process::Command::new(test.parent().unwrap().parent().unwrap().join("examples/testd"))
            .args([
                "--instance",
                &daemon.instance,
                "--engines",
                "system",
                "--runtime-dir",
                // Where nobody can make one, should it get that far.
                "/proc/nonexistent",
            ])
            .output()
            .unwrap();
    assert_eq!(second.status.code(), Some(75));
    Raw::connect(&daemon).echo(b"the first serves on");
}

#[test]
fn a_restart_sweeps_what_a_kill_left() {
    let mut daemon = Daemon::start(&[]);
    let client = Raw::connect(&daemon);
    let left = daemon.names();
    assert_eq!(left.len(), 4, "{left:?}");
    daemon.kill_and_restart(&[]);
    drop(client);
    let now = daemon.names();
    assert!(
        left.iter().filter(|name| !name.ends_with(".lock")).all(|name| !now.contains(name)),
        "{now:?}"
    );
    Raw::connect(&daemon).echo(b"as new");
}

#[test]
fn a_private_daemon_leaves_after_its_last_client() {
    let mut daemon = Daemon::start(&["--exit-when-idle-ms", "200"]);
    let client = Raw::connect(&daemon);
    std::thread::sleep(Duration::from_millis(400));
    assert!(daemon.is_running(), "a client is there");
    drop(client);
    assert_eq!(daemon.wait(), Some(0));
}

/// SPEC M4: of a call in place, and of one that a worker runs.
#[test]
fn a_ledger_says_when_a_call_was_where() {
    let daemon = Daemon::start(&[]);
    let client = Client::builder().socket(daemon.socket()).connect().unwrap();
    for (method, least) in [("nap", 1_000_000), ("burn", 0)] {
        let method = client.method("trial", method).unwrap();
        let mut calls = 0;
        until("there is a ledger", || {
            calls += 1;
            let submitted = clock::monotonic_ns();
            client.call(&method, &1_u64.to_le_bytes(), &CallOptions::default()).unwrap();
            // Written behind the answer: of the next call it may be too early to ask.
            std::thread::yield_now();
            let received = clock::monotonic_ns();
            let Some(ledger) = client.ledger() else { return false };
            let Ledger { seen, dispatched, done, published } = ledger;
            let places = [submitted, seen, dispatched, done, published];
            assert!(places.is_sorted() && done < received, "{places:?} {received}");
            assert!(done - dispatched >= least, "{ledger:?}");
            true
        });
        assert!(calls <= 64 * 20, "of one call in 64, not in {calls}");
    }
}
