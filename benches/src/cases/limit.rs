//! The limit: what the two cores and the memory between them allow, without any protocol.
//!
//! Two rings of 32 slots of one cache line each. The client publishes a number and 24 bytes in
//! the next slot of one ring, the server answers in the same slot of the other; both spin on the
//! slot's number. No checks, no wrap to guard (a ping-pong has one request under way), no sleep.

use std::hint::black_box;
use std::process::Stdio;
use std::sync::atomic::Ordering;

use super::{Payload, check_echo};
use crate::BenchError;
use crate::harness::{Case, Context, LIMIT, Runner, Slice};
use crate::peer::{Peer, say_ready};
use crate::raw::{Line, Segment};

const SLOTS: usize = 32;
type Ring = [Line; SLOTS];

/// The case; the variant without a pause in its spin loop runs only on demand, to show that the
/// limit is the faster of the two.
#[derive(Debug)]
pub struct Limit {
    /// Whether both sides pause between two looks.
    pub hint: bool,
}

impl Case for Limit {
    fn name(&self) -> &'static str {
        if self.hint { LIMIT } else { "limit-no-hint" }
    }

    fn description(&self) -> &'static str {
        if self.hint {
            "one cache line there and one back, 24 bytes, both sides spin, no checks"
        } else {
            "the same limit without a pause instruction in the spin loops"
        }
    }

    fn by_default(&self) -> bool {
        self.hint
    }

    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let segment = Segment::create(2 * SLOTS)?;
        let args = [self.name(), segment.name()];
        let peer = Peer::spawn(&context.exe, &args, Stdio::null())?;
        segment.unlink()?;
        if self.hint {
            Ok(Box::new(Client::<true> { segment, peer, seq: 0 }))
        } else {
            Ok(Box::new(Client::<false> { segment, peer, seq: 0 }))
        }
    }
}

/// The server's half; it is killed, never asked to stop.
pub(super) fn serve<const HINT: bool>(name: &str) -> Result<(), BenchError> {
    let segment = Segment::open(name)?;
    let (requests, replies) = rings(&segment)?;
    say_ready()?;
    let mut seq = 0;
    loop {
        seq += 1;
        let payload = receive::<HINT>(requests, seq);
        slot(replies, seq).publish(seq, payload);
    }
}

struct Client<const HINT: bool> {
    segment: Segment,
    peer: Peer,
    seq: u64,
}

impl<const HINT: bool> Runner for Client<HINT> {
    fn check(&mut self) -> Result<(), BenchError> {
        let (requests, replies) = rings(&self.segment)?;
        check_echo(|payload| {
            self.seq += 1;
            Ok(call::<HINT>(requests, replies, self.seq, payload))
        })
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        let (requests, replies) = rings(&self.segment)?;
        let payload = black_box([1, 2, 3]);
        let mut seq = self.seq;
        let done = slice.time(samples, || {
            seq += 1;
            Ok(call::<HINT>(requests, replies, seq, payload))
        });
        self.seq = seq;
        done
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.peer.resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.peer.pause()
    }
}

fn rings(segment: &Segment) -> Result<(&Ring, &Ring), BenchError> {
    let lines = segment.lines();
    let two = lines.split_first_chunk::<SLOTS>();
    let two = two.and_then(|(requests, rest)| Some((requests, rest.first_chunk::<SLOTS>()?)));
    two.ok_or(BenchError::SegmentBounds { line: 0, span: 2 * SLOTS, lines: lines.len() })
}

#[inline(always)]
fn slot(ring: &Ring, seq: u64) -> &Line {
    &ring[seq as usize & (SLOTS - 1)]
}

#[inline(always)]
fn call<const HINT: bool>(requests: &Ring, replies: &Ring, seq: u64, payload: Payload) -> Payload {
    slot(requests, seq).publish(seq, payload);
    receive::<HINT>(replies, seq)
}

#[inline(always)]
fn receive<const HINT: bool>(ring: &Ring, seq: u64) -> Payload {
    let line = slot(ring, seq);
    // Acquire: partner of Line::publish, so that the words are those of this number.
    while line.seq.load(Ordering::Acquire) != seq {
        if HINT {
            std::hint::spin_loop();
        }
    }
    line.load()
}
