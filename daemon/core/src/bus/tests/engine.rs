//! The engine, as a session that may do little and one that ends see it.

use parking_lot::Mutex;
use ringfence_protocol::api::bus as api;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::log::BlockUse;
use ringfence_protocol::message::Message as _;

use super::*;
use crate::bus::Right;
use crate::engine::{Call, Engine as _, Stop, Surroundings};

/// What has happened, in order.
type Events = Arc<Mutex<Vec<&'static str>>>;

/// Of sessions: 1 may do everything, 2 publish, 3 subscribe, others nothing.
struct Post(Events);

impl Carrier for Post {
    type Memory = Heap;

    fn memory(&self, _session: u64, _topic: &str, len: usize) -> Result<Heap, Error> {
        Ok(Heap::new(len))
    }
    fn check(&self, session: u64, _topic: &str, right: Right) -> Result<(), Error> {
        match (session, right) {
            (1, _) | (2, Right::Publish) | (3, Right::Subscribe) => Ok(()),
            _ => Err(Error::new(ErrorCode::PermissionDenied, "it may not")),
        }
    }
    fn hand_over(&self, _session: u64, _topic: &Topic) -> Result<(), Error> {
        Ok(())
    }
    fn reach(&self, _session: u64, _subscription: u32) -> Result<Box<dyn Elsewhere>, Error> {
        Ok(Box::new(Reader(self.0.clone())))
    }
    fn session_ended(&self, _session: u64) {
        self.0.lock().push("not reached any more");
    }
}

struct Reader(Events);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.lock().push("out");
    }
}

impl Elsewhere for Reader {
    fn cursor(&self) -> u64 {
        0
    }
    fn holds(&self, _block: BlockUse) -> bool {
        false
    }
    fn holds_any(&self) -> bool {
        false
    }
    fn wake(&self) {}
    fn cut_off(&self, _at: u64) {}
}

struct Of(u64);

impl Surroundings for Of {
    fn stop(&self) -> Option<Stop> {
        None
    }
    fn progress(&self, _done: u64) {}
    fn session(&self) -> u64 {
        self.0
    }
}

fn engine() -> (Engine<Post>, Events) {
    let events = Events::default();
    (Engine::new(7, Limits::default(), Post(events.clone())), events)
}

fn call(engine: &Engine<Post>, session: u64, op: u16, request: &[u8]) -> Result<(), Error> {
    let mut reply = Vec::new();
    engine.call(op, &mut Call::new(request, &mut reply, &Of(session)))
}

fn open(slots: u32) -> Vec<u8> {
    let mut request = Vec::new();
    let open = api::Open {
        slots,
        payload_bytes: 48,
        blocks: 0,
        block_bytes: 0,
        patience_ms: 0,
        policy: api::OVERWRITE,
        name: "t",
    };
    open.encode(&mut request);
    request
}

#[test]
fn who_may_neither_read_nor_write_a_topic_learns_nothing_of_it() {
    let (engine, _) = engine();
    call(&engine, 1, api::OPEN, &open(8)).unwrap();
    let mut stats = Vec::new();
    api::Topic { topic: api::handle(7, 0) }.encode(&mut stats);
    for (op, request) in [(api::OPEN, open(0)), (api::OPEN, open(8)), (api::STATS, stats)] {
        for session in [1, 2, 3] {
            assert_eq!(call(&engine, session, op, &request), Ok(()), "{session}: {op}");
        }
        let refused = call(&engine, 4, op, &request).unwrap_err();
        assert_eq!(refused.code, ErrorCode::PermissionDenied, "{op}");
    }
    // Nor, by its options, that others made it otherwise.
    let otherwise = call(&engine, 4, api::OPEN, &open(16)).unwrap_err();
    assert_eq!(otherwise.code, ErrorCode::PermissionDenied);
}

/// A block may be held by it.
#[test]
fn a_number_that_is_open_is_nobody_elses() {
    let (engine, _) = engine();
    call(&engine, 1, api::OPEN, &open(8)).unwrap();
    let request = |op| {
        let mut request = Vec::new();
        let (topic, start) = (api::handle(7, 0), api::FROM_NEWEST);
        match op {
            api::SUBSCRIBE => {
                let (subscription, epoch, sequence) = (3, 0, 0);
                api::Subscribe { topic, subscription, start, epoch, sequence }.encode(&mut request);
            }
            _ => api::Unsubscribe { subscription: 3 }.encode(&mut request),
        }
        request
    };
    let ask = |session, op| call(&engine, session, op, &request(op));
    ask(1, api::SUBSCRIBE).unwrap();
    assert_eq!(ask(1, api::SUBSCRIBE).unwrap_err().code, ErrorCode::AlreadyExists);
    // Of another session it is another, which only that one ends.
    ask(3, api::SUBSCRIBE).unwrap();
    ask(3, api::UNSUBSCRIBE).unwrap();
    assert_eq!(ask(1, api::SUBSCRIBE).unwrap_err().code, ErrorCode::AlreadyExists);
    ask(1, api::UNSUBSCRIBE).unwrap();
    ask(1, api::SUBSCRIBE).unwrap();
}

/// What subscribes between the two is not reached, instead of staying for ever.
#[test]
fn a_session_that_ended_is_not_reached_before_its_subscriptions_are_taken_out() {
    let (engine, events) = engine();
    call(&engine, 1, api::OPEN, &open(8)).unwrap();
    let mut subscribe = Vec::new();
    let (topic, start) = (api::handle(7, 0), api::FROM_NEWEST);
    api::Subscribe { topic, subscription: 0, start, epoch: 0, sequence: 0 }.encode(&mut subscribe);
    call(&engine, 1, api::SUBSCRIBE, &subscribe).unwrap();
    engine.session_ended(1);
    assert_eq!(*events.lock(), ["not reached any more", "out"]);
}
