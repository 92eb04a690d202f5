//! Two processes that sleep on words in shared memory and wake one another: what a wake-up costs here,
//! by the kernel alone.
//!
//! Raw FUTEX_WAIT and FUTEX_WAKE, nothing of Ringfence's: a foreign measure of a first call after idle.

use std::hint::{black_box, spin_loop};
use std::process::Stdio;
use std::sync::atomic::Ordering;

use super::idle::{AFTER_PAUSES, PAUSE};
use super::{Payload, check_echo};
use crate::BenchError;
use crate::harness::{Case, Context, Few, Runner, Slice};
use crate::peer::{Peer, say_ready};
use crate::raw::{Line, Segment, futex_wait, futex_wake};

/// The name of its far half, too.
pub(super) const NAME: &str = "futex-ping-pong";

/// The case: how long its two sides sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Futex {
    /// As long as the other takes.
    PingPong,
    /// Before each sample as long as in `first-call`: processors that sleep for long wake up slowly.
    AfterIdle,
    /// The same, and then the near side does not sleep any more but looks, as a client does: one
    /// wake-up, and nothing besides. No first call can take less.
    OneWake,
}

impl Case for Futex {
    fn name(&self) -> &'static str {
        match self {
            Self::PingPong => NAME,
            Self::AfterIdle => "futex-after-idle",
            Self::OneWake => "futex-one-wake",
        }
    }

    fn description(&self) -> &'static str {
        match self {
            Self::PingPong => {
                "24 bytes in shared memory, both sides sleep on a futex until the other wakes them"
            }
            Self::AfterIdle => "the same after both sides slept for 50 ms",
            Self::OneWake => "the same after 50 ms, but the side that asks spins for the answer",
        }
    }

    fn few(&self) -> Option<Few> {
        (*self != Self::PingPong).then_some(AFTER_PAUSES)
    }

    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let segment = Segment::create(2)?;
        let peer = Peer::spawn(&context.exe, &[NAME, segment.name()], Stdio::null())?;
        segment.unlink()?;
        Ok(Box::new(Client { segment, peer, seq: 0, manner: *self }))
    }
}

/// The server's half; it is killed, never asked to stop.
pub(super) fn serve(name: &str) -> Result<(), BenchError> {
    let segment = Segment::open(name)?;
    let [request, reply] = lines(&segment)?;
    say_ready()?;
    let mut seq = 0;
    loop {
        seq += 1;
        let payload = receive(request, seq)?;
        send(reply, seq, payload)?;
    }
}

struct Client {
    segment: Segment,
    peer: Peer,
    seq: u64,
    manner: Futex,
}

impl Client {
    fn call(&mut self, payload: Payload) -> Result<Payload, BenchError> {
        let [request, reply] = lines(&self.segment)?;
        self.seq += 1;
        send(request, self.seq, payload)?;
        if self.manner == Futex::OneWake {
            while reply.seq.load(Ordering::Relaxed) != self.seq {
                spin_loop();
            }
        }
        receive(reply, self.seq)
    }
}

impl Runner for Client {
    fn check(&mut self) -> Result<(), BenchError> {
        check_echo(|payload| self.call(payload))
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        let payload = black_box([1, 2, 3]);
        if self.manner == Futex::PingPong {
            return slice.time(samples, || self.call(payload));
        }
        for _ in 0..samples {
            std::thread::sleep(PAUSE);
            slice.time(1, || self.call(payload))?;
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.peer.resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.peer.pause()
    }
}

fn lines(segment: &Segment) -> Result<&[Line; 2], BenchError> {
    let lines = segment.lines();
    let two = lines.first_chunk();
    two.ok_or(BenchError::SegmentBounds { line: 0, span: 2, lines: lines.len() })
}

fn send(line: &Line, seq: u64, payload: Payload) -> Result<(), BenchError> {
    line.publish(seq, payload);
    futex_wake(&line.seq)
}

fn receive(line: &Line, seq: u64) -> Result<Payload, BenchError> {
    loop {
        // Acquire: partner of Line::publish, so that the words are those of this number.
        let seen = line.seq.load(Ordering::Acquire);
        if seen == seq {
            return Ok(line.load());
        }
        futex_wait(&line.seq, seen)?;
    }
}
