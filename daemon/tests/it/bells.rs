//! Bells that ring too often, never, or cannot be rung; and wake-ups that nobody sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use ringfence::{Client, Event, Keep, Policy, Publication, Start, TopicOptions};
use ringfence_protocol::layout::{Header, down};
use ringfence_protocol::memory::Memory as _;
use ringfence_protocol::sys::futex;
use std::os::fd::AsFd as _;

use super::daemon::{Daemon, PATIENCE, until};
use super::raw::Raw;

/// The sweep comes every tenth of a second; the rest is for a loaded machine.
const SWEPT: Duration = Duration::from_secs(3);

/// The honest client's echoes while another thread does something without end.
fn beside(neighbour: &mut Raw, act: impl Fn() + Sync) -> Duration {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                act();
            }
        });
        let began = Instant::now();
        for round in 0..200_u32 {
            neighbour.echo(&round.to_le_bytes());
        }
        stop.store(true, Ordering::Relaxed);
        began.elapsed()
    })
}

/// Acts at the end of a scope, also if that panics.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Row 27. Who rings in vain is served by the sweep alone, and so is its own next call.
#[test]
fn a_storm_of_bells_costs_its_ringer_and_nobody_else() {
    let daemon = Daemon::start(&[]);
    let (mut neighbour, mut ringer) = (Raw::connect(&daemon), Raw::connect(&daemon));
    let bell = &ringer.bell;
    let took = beside(&mut neighbour, || bell.ring().unwrap());
    assert!(took < PATIENCE, "{took:?}");
    let began = Instant::now();
    ringer.echo(b"served all the same");
    assert!(began.elapsed() < SWEPT, "{:?}", began.elapsed());
}

/// Row 27, from inside: its bell is not among what is listened to, until a sweep.
#[test]
fn who_rings_in_vain_is_not_listened_to_until_the_sweep() {
    let daemon = Daemon::start(&["--spin", "never"]);
    let mut ringer = Raw::connect(&daemon);
    ringer.echo(b"before");
    let watched = daemon.watched();
    let stop = AtomicBool::new(false);
    let bell = &ringer.bell;
    std::thread::scope(|scope| {
        // Ended also if nothing comes of it.
        let _ends = OnDrop(|| stop.store(true, Ordering::Relaxed));
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                bell.ring().unwrap();
            }
        });
        until("nobody listens", || daemon.watched() == watched - 1);
    });
    until("somebody listens again", || daemon.watched() == watched);
    ringer.echo(b"served all the same");
}

/// Row 28.
#[test]
fn a_bell_that_is_never_rung_costs_a_tenth_of_a_second_and_no_more() {
    let daemon = Daemon::start(&["--spin", "never"]);
    let mut client = Raw::connect(&daemon);
    client.echo(b"before");
    let method = client.method("system", ringfence_protocol::api::system::ECHO);
    for _ in 0..5 {
        until("the daemon sleeps", || client.down.load_u32(down::PARKED) & 1 == 1);
        let began = Instant::now();
        client.lane.submit(Header { method, len: 4, ..Header::default() }, b"mute").unwrap();
        assert_eq!(client.take().1.unwrap(), b"mute");
        assert!(began.elapsed() < SWEPT, "{:?}", began.elapsed());
    }
}

/// Row 29. The counter is full, and whoever writes to it waits: the daemon never does.
#[test]
fn a_bell_that_is_full_and_blocks_stops_nobody() {
    let daemon = Daemon::start(&[]);
    let (mut neighbour, mut client) = (Raw::connect(&daemon), Raw::connect(&daemon));
    client.echo(b"before");
    let fd = client.bell.as_fd();
    // It may have been rung for the echo already; then it would be more than full.
    let _was_it = nix::unistd::read(fd, &mut [0; 8]);
    nix::unistd::write(fd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    fcntl(fd, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    let method = client.method("system", ringfence_protocol::api::system::ECHO);
    for round in 0..20_u32 {
        // Nobody rings: it would wait for ever.
        let bytes = round.to_le_bytes();
        client.lane.submit(Header { method, len: 4, ..Header::default() }, &bytes).unwrap();
        assert_eq!(client.take().1.unwrap(), bytes);
        neighbour.echo(&bytes);
    }
}

/// Row 30. Each wake-up is followed by a look: one that nobody needed changes nothing.
#[test]
fn wake_ups_that_nobody_sent_change_nothing() {
    let daemon = Daemon::start(&[]);
    let (mut neighbour, mut client) = (Raw::connect(&daemon), Raw::connect(&daemon));
    let region = client.down.clone();
    let took = beside(&mut neighbour, || {
        futex::wake(region.futex(down::WAKE), u32::MAX);
        futex::wake(region.futex(down::NEWS), u32::MAX);
    });
    assert!(took < PATIENCE, "{took:?}");
    client.echo(b"as before");
}

/// Who rings for each of its calls rings for something, however often: no sweep is needed to serve it.
#[test]
fn bells_that_bring_work_are_no_storm() {
    /// Far more than are taken in vain.
    const CALLS: u32 = 2000;
    let daemon = Daemon::start(&["--spin", "never"]);
    let mut client = Raw::connect(&daemon);
    until("thousands of calls between two sweeps", || {
        let beat = || client.down.load(down::BEAT);
        let before = beat();
        until("a sweep", || beat() != before);
        let swept = beat();
        (0..CALLS).for_each(|round| client.echo(&round.to_le_bytes()));
        client.down.load(down::BEAT) == swept
    });
}

/// Who reads a topic that waits for it rings for each message that it has read.
#[test]
fn bells_that_make_room_are_no_storm() {
    const MESSAGES: u64 = 20_000;
    let daemon = Daemon::start(&["--spin", "never", "--engines", "system,bus"]);
    let client = || Client::builder().socket(daemon.socket()).connect().unwrap();
    let (publisher, reader) = (client(), client());
    let policy = Policy::Block { patience: PATIENCE };
    let options = TopicOptions { policy, slots: 4, payload_bytes: 64, ..TopicOptions::default() };
    let topic = publisher.topic("t", options).unwrap();
    let subscription =
        reader.find_topic("t").unwrap().subscribe(Start::Newest, Keep::InLog).unwrap();
    let watched = daemon.watched();
    let reads = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..MESSAGES {
                topic.publish(&Publication::new(b"x")).unwrap();
            }
        });
        scope.spawn(|| {
            let _ends = OnDrop(|| reads.store(false, Ordering::Relaxed));
            for _ in 0..MESSAGES {
                let event = subscription.recv(Some(PATIENCE)).unwrap();
                assert!(matches!(event, Event::Message(_)), "{event:?}");
            }
        });
        while reads.load(Ordering::Relaxed) {
            assert_eq!(daemon.watched(), watched, "somebody is not listened to");
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}
