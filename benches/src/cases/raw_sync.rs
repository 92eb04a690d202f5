//! The echo of 24 bytes as one would wire it by hand from shared_memory and raw_sync: two lines
//! for the payload, one event per direction.
//!
//! `BusyEvent` with manual reset (load, then clear: fewer locked instructions than its automatic
//! reset) is the crate's fastest mode; `Event` is its blocking one. No timeouts, they are broken
//! in 0.1.5. What happens when a holder is killed: `wedge`.

use std::hint::black_box;
use std::process::Stdio;
use std::rc::Rc;

use super::{Payload, check_echo};
use crate::BenchError;
use crate::harness::{Case, Context, Runner, Slice};
use crate::peer::{Peer, say_ready};
use crate::raw::{Flavour, OBJECT_LINES, RawEvent, Role, Segment};

const REQUEST_LINE: usize = 0;
const REPLY_LINE: usize = 1;
const ASKED_LINE: usize = 2;
const ANSWERED_LINE: usize = ASKED_LINE + OBJECT_LINES;
const LINES: usize = ANSWERED_LINE + OBJECT_LINES;

/// Both sides spin.
pub const BUSY: RawSync = RawSync { name: "raw-sync-busy", flavour: Flavour::Busy };
/// Both sides sleep.
pub const EVENT: RawSync = RawSync { name: "raw-sync-event", flavour: Flavour::Blocking };

/// One of the two cases.
#[derive(Clone, Copy, Debug)]
pub struct RawSync {
    name: &'static str,
    flavour: Flavour,
}

impl Case for RawSync {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> &'static str {
        match self.flavour {
            Flavour::Busy => "hand-wired shared_memory + raw_sync BusyEvent, 24 bytes, both spin",
            Flavour::Blocking => "hand-wired shared_memory + raw_sync Event, 24 bytes, both block",
        }
    }

    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let wire = Wire::new(Segment::create(LINES)?, self.flavour, Role::Maker)?;
        let args = [self.name, wire.segment.name()];
        let peer = Peer::spawn(&context.exe, &args, Stdio::null())?;
        wire.segment.unlink()?;
        Ok(Box::new(Client { wire, peer }))
    }
}

/// The server's half; it is killed, never asked to stop.
pub(super) fn serve(case: RawSync, name: &str) -> Result<(), BenchError> {
    let wire = Wire::new(Segment::open(name)?, case.flavour, Role::Opener)?;
    say_ready()?;
    loop {
        wire.asked.wait()?;
        let payload = wire.segment.lines()[REQUEST_LINE].load();
        wire.segment.lines()[REPLY_LINE].store(payload);
        wire.answered.set()?;
    }
}

struct Wire {
    segment: Rc<Segment>,
    asked: RawEvent,
    answered: RawEvent,
}

impl Wire {
    fn new(segment: Segment, flavour: Flavour, role: Role) -> Result<Self, BenchError> {
        let segment = Rc::new(segment);
        let asked = RawEvent::at(&segment, ASKED_LINE, flavour, role)?;
        let answered = RawEvent::at(&segment, ANSWERED_LINE, flavour, role)?;
        Ok(Self { segment, asked, answered })
    }

    #[inline]
    fn call(&self, payload: Payload) -> Result<Payload, BenchError> {
        let lines = self.segment.lines();
        lines[REQUEST_LINE].store(payload);
        self.asked.set()?;
        self.answered.wait()?;
        Ok(lines[REPLY_LINE].load())
    }
}

struct Client {
    wire: Wire,
    peer: Peer,
}

impl Runner for Client {
    fn check(&mut self) -> Result<(), BenchError> {
        check_echo(|payload| self.wire.call(payload))
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        let payload = black_box([1, 2, 3]);
        slice.time(samples, || self.wire.call(payload))
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.peer.resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.peer.pause()
    }
}
