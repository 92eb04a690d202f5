//! A lane with both its sides in one thread.

use std::os::fd::AsFd as _;
use std::time::Duration;

use parking_lot::Mutex;
use ringfence_core::system::{Facts, System};
use ringfence_core::{Deferred, Engine};
use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::names::Instance;
use ringfence_protocol::ring::ClientLane;
use ringfence_protocol::schema::{EngineSchema, MethodSchema};
use ringfence_protocol::sys::mapping::{Mapping, Options};
use ringfence_protocol::sys::socket::Conn;

use super::*;
use crate::bus;
use crate::config::Config;
use crate::inbox::{Inbox, Message};
use crate::policy::Policy;
use crate::segments::Segments;
use crate::session::NewSession;
use crate::workers::Workers;

/// Number of `later.wait`: the engine behind `system`.
const WAIT: u32 = 1 << 16;

/// Keeps its calls, to be answered by the test.
#[derive(Clone, Default)]
struct Later(Arc<Mutex<Vec<Deferred>>>);

impl Engine for Later {
    fn schema(&self) -> EngineSchema {
        use ringfence_protocol::api::system::Nothing;
        EngineSchema::new("later", "", vec![MethodSchema::new::<Nothing, Nothing>(0, "wait", "")])
    }
    fn cost(&self, _: u16, _: &[u8]) -> Cost {
        Cost::WAITS
    }
    fn call(&self, _: u16, call: &mut Call<'_>) -> Result<(), Error> {
        self.0.lock().push(call.defer()?);
        Ok(())
    }
}

fn lane() -> (Lane, ClientLane<Region, Region>, Bench, Arc<Registry>) {
    lane_with(Later::default())
}

fn lane_with(later: Later) -> (Lane, ClientLane<Region, Region>, Bench, Arc<Registry>) {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut registry = Registry::new();
    let late = crate::sight::LateSight::default();
    registry.add(Box::new(System::new(Arc::new(Facts::default()), Box::new(late)))).unwrap();
    registry.add(Box::new(later)).unwrap();
    let registry = Arc::new(registry);
    let workers = Workers::new(1, 8, Arc::clone(&registry));
    let instance: Instance = format!("lane-{}-{number}", std::process::id()).parse().unwrap();
    let uid = nix::unistd::geteuid().as_raw();
    let session = Arc::new(Session::new(NewSession {
        id: 1,
        uid,
        pid: 1,
        name: "test".into(),
        conn: Conn::pair().unwrap().0,
        usage: Policy::new(&Config::default()).open_session(uid).unwrap(),
        segments: Segments::new(uid, instance).unwrap(),
        bulk_bytes_max: 1 << 20,
    }));
    let geometry = Geometry::default();
    let new = crate::handshake::open_lane(&session, 0, geometry, 1).unwrap();
    let up = Mapping::read_write(new.up.as_fd(), geometry.up().len, Options::default()).unwrap();
    let down =
        Mapping::read_only(new.down.as_fd(), geometry.down().len, Options::default()).unwrap();
    let (up, down) = (Region::new(Arc::new(up)), Region::new(Arc::new(down)));
    let client = ClientLane::new(up, down, geometry, new.opened.start).unwrap();
    let segments = Segments::new(0, "lane".parse().unwrap()).unwrap();
    let bus = Arc::new(bus::engine(
        &Config::default(),
        0,
        segments,
        bus::Ears::new(0, &Config::default().bus),
    ));
    let bench = Bench::new(Arc::clone(&registry), workers, Inbox::new().unwrap(), bus, 50);
    let key = LaneKey { index: 0, generation: 1 };
    (Lane::new(session, *new.ring, key), client, bench, registry)
}

#[test]
fn an_echo_is_served_in_one_turn() {
    let (mut lane, mut client, mut bench, registry) = lane();
    let mut scratch = Scratch::new();
    for round in 0..1000u64 {
        let payload = round.to_le_bytes();
        let header = Header { method: 1, len: 8, ..Header::default() };
        let ticket = client.submit(header, &payload).unwrap();
        assert_eq!(lane.turn(&registry, &mut scratch, &mut bench), Ok(1));
        let answer = client.peek().unwrap().unwrap();
        assert_eq!((answer.ticket, answer.status, answer.len), (ticket, 0, 8));
        let mut reply = [0; 8];
        client.read(answer, &mut reply);
        assert_eq!(reply, payload);
        client.collect();
    }
    lane.session.close();
}

/// What the lane's poller does with what others push.
fn read_inbox(lane: &mut Lane, bench: &mut Bench) -> usize {
    let mut finished = 0;
    while let Some(message) = bench.inbox.pop() {
        let Message::Finished(answer) = message else { panic!("only answers are pushed here") };
        lane.finished(answer, bench).unwrap();
        finished += 1;
    }
    finished
}

#[test]
fn calls_that_wait_fill_the_table_and_are_answered_in_any_order() {
    let later = Later::default();
    let (mut lane, mut client, mut bench, registry) = lane_with(later.clone());
    let mut scratch = Scratch::new();
    let slots = Geometry::default().slots as usize;
    let submit = |client: &mut ClientLane<Region, Region>| {
        client.submit(Header { method: WAIT, ..Header::default() }, &[]).unwrap()
    };
    let first = submit(&mut client);
    for _ in 1..slots {
        submit(&mut client);
    }
    while lane.turn(&registry, &mut scratch, &mut bench) != Ok(0) {}
    assert_eq!((lane.running(), later.0.lock().len()), (slots, slots));
    assert!(!lane.is_worked_for() && !bench.handed_over);
    // One more finds no credit, and is no fault.
    submit(&mut client);
    assert_eq!(lane.turn(&registry, &mut scratch, &mut bench), Ok(0));
    let last = later.0.lock().pop().unwrap();
    assert_eq!(last.answer(Ok(vec![1])), None);
    assert_eq!(read_inbox(&mut lane, &mut bench), 1);
    let answer = client.peek().unwrap().unwrap();
    assert_eq!((answer.ticket, answer.status), (first + slots as u64 - 1, 0));
    client.collect();
    later.0.lock().drain(..).for_each(|call| drop(call.answer(Ok(Vec::new()))));
    assert_eq!(read_inbox(&mut lane, &mut bench), slots - 1);
    assert_eq!(lane.running(), 0);
    lane.session.close();
}

#[test]
fn a_call_that_waits_is_ended_by_one_and_knows_whether_it_had_begun() {
    let later = Later::default();
    let (mut lane, mut client, mut bench, registry) = lane_with(later.clone());
    let mut scratch = Scratch::new();
    let deadline = clock::deadline_after(Duration::ZERO);
    for begun in [false, true] {
        let header = Header { method: WAIT, ..Header::default() };
        client.submit(header, &[]).unwrap();
        client.submit(Header { deadline, ..header }, &[]).unwrap();
        // Taken in time, as far as the lane knows.
        bench.now = deadline.wrapping_sub(1);
        assert_eq!(lane.turn(&registry, &mut scratch, &mut bench), Ok(2));
        assert!(later.0.lock().iter().all(|call| !begun || call.begin()));
        while !clock::expired(clock::coarse_ticks(), deadline) {}
        lane.end_stopped(&mut bench);
        bench.draining = true;
        lane.end_stopped(&mut bench);
        bench.draining = false;
        let expected = if begun {
            [ErrorCode::Overdue, ErrorCode::Interrupted]
        } else {
            [ErrorCode::Expired, ErrorCode::ShuttingDown]
        };
        for code in expected {
            let answer = client.peek().unwrap().unwrap();
            assert_eq!(answer.status, code.as_u16());
            client.collect();
        }
        for call in later.0.lock().drain(..) {
            assert!(!call.begin());
            assert_eq!(call.stop(), Some(Stop::Cancelled));
            assert_eq!(call.answer(Ok(Vec::new())), Some(Ok(Vec::new())));
        }
        assert_eq!(read_inbox(&mut lane, &mut bench), 0, "what was ended has its answer");
    }
    lane.session.close();
}
