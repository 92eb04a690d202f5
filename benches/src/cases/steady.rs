//! A call whose engine takes 15 us by the clock, whatever the caches hold: what the boundary adds to a call of some
//! ten microseconds, without the noise of a search.
//!
//! The engine tells with each answer how long it took; the rest of what the caller waited is the boundary's.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ringfence::{CallOptions, Client, Method};
use ringfence_protocol::message::Message;
use ringfenced::{Call, Cost, Engine, EngineSchema, Error, MethodSchema, message};

use super::median;
use super::ringfence::{Daemon, Shared, call_error, client};
use super::vectors::encoded;
use crate::BenchError;
use crate::harness::{Case, Context, Runner, Slice};
use crate::raw::ticks;

const NAME: &str = "steady";
const TAKES: Duration = Duration::from_micros(15);
/// As many words as a search of 108 dimensions has there and 10 hits have back: eight lines, and three. Lists begin with
/// a word that says how long they are.
const ASKED: usize = 58;
const ANSWERED: usize = 20;

message! {
    /// Something to sum.
    struct Asked<'a> { words: &'a [u64] }
}

message! {
    /// The sum, the ticks that it took, and words to make it long.
    struct Answered<'a> { sum: u64, took: u64, words: &'a [u64] }
}

/// The engine.
pub(super) struct Steady;

impl Engine for Steady {
    fn schema(&self) -> EngineSchema {
        let work = MethodSchema::new::<Asked<'_>, Answered<'_>>(0, "work", "Takes 15 us.");
        EngineSchema::new(NAME, "Takes always the same time.", vec![work.idempotent()])
    }

    /// Light enough to be run in place.
    fn cost(&self, _op: u16, _request: &[u8]) -> Cost {
        Cost::micros(TAKES.as_micros() as u32)
    }

    fn call(&self, _op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        let (since, start) = (Instant::now(), ticks());
        let Asked { words } = call.request()?;
        let sum = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word));
        while since.elapsed() < TAKES {
            std::hint::spin_loop();
        }
        let took = ticks().saturating_sub(start);
        call.reply(&Answered { sum, took, words: &[sum; ANSWERED - 3] });
        Ok(())
    }
}

/// The case.
pub(super) struct Calls {
    shared: Shared,
}

impl Calls {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { shared: shared.clone() }
    }
}

impl Case for Calls {
    fn name(&self) -> &'static str {
        NAME
    }
    fn description(&self) -> &'static str {
        "Rust call of 464 bytes there and 160 back whose engine takes 15 us, through the daemon"
    }
    fn by_default(&self) -> bool {
        false
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let daemon = self.shared.get(context)?;
        let target = daemon.borrow().target();
        let client = client(&target)?;
        let work = client.method(NAME, "work").map_err(call_error)?;
        let request = encoded(&Asked { words: &[7; ASKED - 1] });
        Ok(Box::new(Caller { client, work, request, daemon, beside: Vec::new() }))
    }
}

struct Caller {
    client: Client,
    work: Method,
    request: Vec<u8>,
    daemon: Rc<RefCell<Daemon>>,
    /// What the engine did not take of each call of this run, in nanoseconds.
    beside: Vec<f64>,
}

impl Caller {
    /// The sum, and the ticks that the engine took.
    fn call(&self) -> Result<(u64, u64), BenchError> {
        let reply = self.client.call(&self.work, &self.request, &CallOptions::default());
        let reply = reply.map_err(call_error)?;
        let answered = Answered::decode(&reply)
            .map_err(|wrong| BenchError::Peer { what: NAME.into(), detail: wrong.to_string() })?;
        Ok((answered.sum, answered.took))
    }
}

impl Runner for Caller {
    fn check(&mut self) -> Result<(), BenchError> {
        let (expected, (got, _)) = (7 * (ASKED as u64 - 1), self.call()?);
        if got != expected {
            let (expected, got) = (expected.to_string(), got.to_string());
            return Err(BenchError::WrongAnswer { request: 0, expected, got });
        }
        Ok(())
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        let before = slice.ticks().len();
        let mut took = Vec::with_capacity(samples);
        let (since, start) = (Instant::now(), ticks());
        slice.time(samples, || self.call().map(|(_, ticks)| took.push(ticks)))?;
        let ns_per_tick = since.elapsed().as_nanos() as f64 / ticks().saturating_sub(start) as f64;
        let pairs = slice.ticks()[before..].iter().zip(&took);
        let beside = pairs.map(|(waited, took)| waited.saturating_sub(*took) as f64 * ns_per_tick);
        self.beside.extend(beside);
        Ok(())
    }

    fn scalars(&mut self) -> Vec<(&'static str, f64)> {
        let median = median(std::mem::take(&mut self.beside));
        median.map(|ns| ("steady: beside its engine, p50 ns", ns)).into_iter().collect()
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.daemon.borrow_mut().resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.daemon.borrow_mut().pause()
    }
}
