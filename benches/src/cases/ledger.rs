//! Where the time of a call goes: the steps between the places that it passes on its way.
//!
//! The daemon keeps a ledger of one light call in 64 (`Client::ledger`); the client notes when it submits a call
//! and has its answer. Both read one clock, so each step has one reading of that in it. Figures, no case
//! beside others: calls that are looked at like this are slower.

use std::cell::RefCell;
use std::hint::spin_loop;
use std::rc::Rc;

use ringfence::{Client, Ledger};
use ringfence_protocol::sys::clock::monotonic_ns;

use super::ringfence::{Daemon, Shared, call_error, client};
use crate::BenchError;
use crate::harness::{Case, Context, Few, Runner, Slice};

/// The names of the figures, one for each of [`Ledger::STEPS`].
const STEPS: [&str; Ledger::STEPS.len()] = [
    "ledger of an echo: submitted to seen, p50 ns",
    "ledger of an echo: seen to dispatched, p50 ns",
    "ledger of an echo: dispatched to done, p50 ns",
    "ledger of an echo: done to published, p50 ns",
    "ledger of an echo: published to received, p50 ns",
];
/// Calls of a turn: a ledger is kept of some 300.
const CALLS: usize = 20_000;
/// The ledger is written behind the answer: turns of the processor's pause until it is looked at.
const PAUSES: u32 = 64;

/// The ledger of `rust-echo`.
pub(super) struct OfEcho {
    shared: Shared,
}

impl OfEcho {
    /// By this daemon.
    pub(super) fn new(shared: &Shared) -> Self {
        Self { shared: shared.clone() }
    }
}

impl Case for OfEcho {
    fn name(&self) -> &'static str {
        "ledger"
    }
    fn description(&self) -> &'static str {
        "where the time of a Rust client.echo of 24 bytes goes, by the clock that both sides read: calls of which the daemon keeps a ledger"
    }
    fn few(&self) -> Option<Few> {
        Some(Few { turns: 10, samples: 1 })
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let daemon = self.shared.get(context)?;
        let client = client(&daemon.borrow().target())?;
        Ok(Box::new(Steps { daemon, client, samples: Default::default() }))
    }
}

struct Steps {
    daemon: Rc<RefCell<Daemon>>,
    client: Client,
    samples: [Vec<u64>; STEPS.len()],
}

impl Steps {
    fn call(&mut self) -> Result<(), BenchError> {
        let submitted = monotonic_ns();
        self.client.echo(&[7; 24]).map_err(call_error)?;
        let received = monotonic_ns();
        (0..PAUSES).for_each(|_| spin_loop());
        if let Some(ledger) = self.client.ledger() {
            for (samples, ns) in self.samples.iter_mut().zip(ledger.steps(submitted, received)) {
                samples.push(ns);
            }
        }
        Ok(())
    }
}

impl Runner for Steps {
    fn check(&mut self) -> Result<(), BenchError> {
        Ok(())
    }

    fn run(&mut self, _samples: usize, _slice: &mut Slice) -> Result<(), BenchError> {
        (0..CALLS).try_for_each(|_| self.call())
    }

    fn scalars(&mut self) -> Vec<(&'static str, f64)> {
        let median = |(name, mut times): (&'static str, Vec<u64>)| {
            times.sort_unstable();
            times.get(times.len() / 2).map(|ns| (name, *ns as f64))
        };
        STEPS.into_iter().zip(std::mem::take(&mut self.samples)).filter_map(median).collect()
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.daemon.borrow_mut().resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.daemon.borrow_mut().pause()
    }
}
