//! A lane with both its sides in one thread.

use std::os::fd::AsFd as _;

use ringfence_core::system::{Facts, System};
use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::names::Instance;
use ringfence_protocol::ring::ClientLane;
use ringfence_protocol::sys::mapping::{Mapping, Options};
use ringfence_protocol::sys::socket::Conn;

use super::*;
use crate::bus;
use crate::config::Config;
use crate::inbox::Inbox;
use crate::policy::Policy;
use crate::segments::Segments;
use crate::session::NewSession;
use crate::workers::Workers;

fn lane() -> (Lane, ClientLane<Region, Region>, Bench, Arc<Registry>) {
    let mut registry = Registry::new();
    let late = crate::sight::LateSight::default();
    registry.add(Box::new(System::new(Arc::new(Facts::default()), Box::new(late)))).unwrap();
    let registry = Arc::new(registry);
    let workers = Workers::new(1, 8, Arc::clone(&registry));
    let instance: Instance = format!("lane-{}", std::process::id()).parse().unwrap();
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
    let bus = Arc::new(bus::engine(&Config::default(), 0, segments, bus::Ears::new(0)));
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
