//! Everybody's turn: whoever has most to do, or does it slowest, does not hold up the others (SPEC R8).
//!
//! Nothing here takes times. `trial.place` says in which order calls ran, and what they had to choose from was
//! there before the first of them did.

use nix::sys::signal::Signal;
use ringfence_protocol::error::ErrorCode;
use ringfence_protocol::layout::down;
use ringfence_protocol::memory::Memory as _;
use ringfence_protocol::region::Region;
use ringfence_protocol::wire::{ClientMessage, DaemonMessage};

use super::daemon::{Daemon, until};
use super::raw::{Raw, code, encode, hear, map, says, tell};
use super::stopped::state;
use super::trial::{COUNTED, Number, PLACE, STEPS, Steps};

/// Slots of a ring, many times a turn.
const SLOTS: usize = 1024;
/// As the daemon has it: requests of one turn...
const A_TURN: usize = 32;
/// ... and turns in a row of a lane that is served for its bell.
const TURNS_WHEN_PARKED: usize = 4;
/// What a call costs that is a turn by itself, and one that is for the workers.
const SLOW_US: u64 = 20;
const HEAVY_US: u64 = 1000;

fn place(client: &mut Raw, cost_us: u64) -> u64 {
    let method = client.method("trial", PLACE);
    client.submit(method, &encode(&Number { value: cost_us }))
}

fn number(answer: (u64, Result<Vec<u8>, ringfence_protocol::error::Error>)) -> u64 {
    u64::from_le_bytes(answer.1.unwrap().try_into().unwrap())
}

/// Two clients have their rings full of calls at one moment: the most of one that ran in a row.
fn longest_run(spin: &str, cost_us: u64) -> usize {
    let slots = SLOTS.to_string();
    let env = [("RINGFENCE_SPIN", spin), ("RINGFENCE_LANES_SLOTS", &slots)];
    let daemon = Daemon::start_under(&[], &env);
    let mut clients = [Raw::connect(&daemon), Raw::connect(&daemon)];
    clients.iter_mut().for_each(|client| client.echo(b"before"));
    daemon.signal(Signal::SIGSTOP);
    until("it is stopped", || state(daemon.pid()) == 'T');
    for client in &mut clients {
        while client.lane.has_room() {
            place(client, cost_us);
        }
    }
    daemon.signal(Signal::SIGCONT);
    let mut owners = vec![2; 2 * SLOTS];
    for (owner, client) in clients.iter_mut().enumerate() {
        for _ in 0..SLOTS {
            owners[number(client.take()) as usize] = owner;
        }
    }
    owners.chunk_by(|one, next| one == next).map(<[_]>::len).max().unwrap()
}

#[test]
fn a_full_lane_gives_way_after_a_turn() {
    assert_eq!(longest_run("always", 0), A_TURN);
}

#[test]
fn a_call_that_takes_a_turns_time_is_a_turn() {
    assert_eq!(longest_run("always", SLOW_US), 1);
}

#[test]
fn a_full_lane_that_is_served_for_its_bell_gives_way() {
    assert_eq!(longest_run("never", 0), TURNS_WHEN_PARKED * A_TURN);
}

/// A daemon that never stops looking at a lane, of which a session or a user may have one.
fn looks_at_one(limit: &str) -> Daemon {
    Daemon::start_under(&[], &[("RINGFENCE_SPIN", "always"), (limit, "1")])
}

fn is_parked(down: &Region) -> bool {
    down.load_u32(down::PARKED) & 1 == 1
}

#[test]
fn of_one_session_only_so_many_lanes_are_looked_at_unasked() {
    let daemon = looks_at_one("RINGFENCE_HOT_LANES_PER_SESSION");
    let mut client = Raw::connect(&daemon);
    tell(&client.conn, &ClientMessage::OpenLane);
    let (message, fds) = hear(&client.conn).unwrap();
    let DaemonMessage::Lane(opened) = message else { panic!("{message:?}") };
    let (_lane, _up, second) = map(&opened, &fds[0], &fds[1]);
    until("the second is parked", || is_parked(&second));
    client.echo(b"by the first");
    assert!(!is_parked(&client.down));
}

#[test]
fn of_one_user_only_so_many_lanes_are_looked_at_unasked() {
    let daemon = looks_at_one("RINGFENCE_HOT_LANES_PER_UID");
    let (mut first, mut second) = (Raw::connect(&daemon), Raw::connect(&daemon));
    second.echo(b"for its bell");
    until("the second is parked", || is_parked(&second.down));
    first.echo(b"unasked");
    assert!(!is_parked(&first.down));
}

/// Has a worker at it until its session ends.
fn keeps_a_worker(client: &mut Raw) {
    let steps = client.method("trial", STEPS);
    client.submit(steps, &encode(&Steps { count: 600_000, step_us: 1000 }));
    let counted = client.method("trial", COUNTED);
    until("it runs", || {
        client.submit(counted, &encode(&Number { value: 1 }));
        number(client.take()) > 0
    });
}

#[test]
fn workers_take_the_sessions_in_turn() {
    let daemon = Daemon::start_under(&[], &[("RINGFENCE_WORKERS", "1")]);
    let [mut busy, mut many, mut one] = [(); 3].map(|()| Raw::connect(&daemon));
    keeps_a_worker(&mut busy);
    let tickets: Vec<u64> = (0..8).map(|_| place(&mut many, HEAVY_US)).collect();
    until("eight wait", || many.lane.was_claimed(tickets[7]));
    let ticket = place(&mut one, HEAVY_US);
    until("nine wait", || one.lane.was_claimed(ticket));
    drop(busy);
    assert_eq!(number(one.take()), 1, "after one of the eight");
    let places: Vec<u64> = tickets.iter().map(|_| number(many.take())).collect();
    assert_eq!(places, [0, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn one_session_does_not_get_all_workers() {
    let env = [("RINGFENCE_WORKERS", "2"), ("RINGFENCE_RUNNING_PER_SESSION", "1")];
    let daemon = Daemon::start_under(&[], &env);
    let (mut greedy, mut other) = (Raw::connect(&daemon), Raw::connect(&daemon));
    keeps_a_worker(&mut greedy);
    let steps = greedy.method("trial", STEPS);
    let second = greedy.submit(steps, &encode(&Steps { count: 600_000, step_us: 1000 }));
    until("its second waits", || greedy.lane.was_claimed(second));
    place(&mut other, HEAVY_US);
    assert_eq!(number(other.take()), 0);
}

#[test]
fn what_waits_for_a_worker_is_bounded() {
    let env = [("RINGFENCE_WORKERS", "1"), ("RINGFENCE_WORKER_QUEUE", "2")];
    let daemon = Daemon::start_under(&[], &env);
    let mut client = Raw::connect(&daemon);
    keeps_a_worker(&mut client);
    let heavy = client.method("trial", PLACE);
    let first_two = [(); 2].map(|()| place(&mut client, HEAVY_US));
    until("two wait", || first_two.iter().all(|ticket| client.lane.was_claimed(*ticket)));
    let refused = client.call(heavy, &encode(&Number { value: HEAVY_US }));
    assert_eq!(code(refused.clone()), ErrorCode::Backpressure);
    says(refused, "[workers] queue");
}
