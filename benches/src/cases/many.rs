//! Rates: pipelined echo from one client, and more busy clients than cores.
//!
//! Busy clients are threads with a client (and so a session) of their own, against a daemon of the
//! case's own; nobody is pinned. They call without pause and without pipelining. A rate is answers that
//! were right, counted, over the time that passed. The daemon's own waiting is its default, whatever the
//! clients' is.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ringfence::{CallOptions, Client, Method, Spin};

use super::ringfence::{Daemon, Role, Shared, call_error, client};
use super::{CHECKED_REQUESTS, Payload};
use crate::BenchError;
use crate::harness::{Case, Context, Few, Runner, Slice};

/// Calls of a sample: enough to fill the ring many times over, few enough to be over before a neighbour on
/// a busy machine wants the core.
const BATCH: usize = 1_000;
const SENT: [u8; 24] = [7; 24];
/// How long each number of busy clients is counted.
const COUNTED: Duration = Duration::from_millis(200);
/// Calls of each busy client before it is counted.
const WARM_UP: usize = 2_000;
/// One call of so many is timed: two readings of a clock cost a third of a call.
const TIMED_EVERY: u64 = 8;

/// A minute: longer than a call can take.
const LONGEST_NS: u64 = 60_000_000_000;

/// One tier of waiting, and the names of its figures by [`CLIENTS`].
struct Tier {
    spin: Spin,
    rates: [&'static str; 4],
    p99s: [&'static str; 4],
}

/// Numbers of busy clients.
const CLIENTS: [usize; 4] = [1, 2, 4, 8];

const TIERS: [Tier; 3] = [
    Tier {
        spin: Spin::Always,
        rates: [
            "busy clients: 1: spin M/s",
            "busy clients: 2: spin M/s",
            "busy clients: 4: spin M/s",
            "busy clients: 8: spin M/s",
        ],
        p99s: [
            "busy clients: 1: spin p99 ns",
            "busy clients: 2: spin p99 ns",
            "busy clients: 4: spin p99 ns",
            "busy clients: 8: spin p99 ns",
        ],
    },
    Tier {
        spin: Spin::Adaptive,
        rates: [
            "busy clients: 1: adaptive M/s",
            "busy clients: 2: adaptive M/s",
            "busy clients: 4: adaptive M/s",
            "busy clients: 8: adaptive M/s",
        ],
        p99s: [
            "busy clients: 1: adaptive p99 ns",
            "busy clients: 2: adaptive p99 ns",
            "busy clients: 4: adaptive p99 ns",
            "busy clients: 8: adaptive p99 ns",
        ],
    },
    Tier {
        spin: Spin::Never,
        rates: [
            "busy clients: 1: park M/s",
            "busy clients: 2: park M/s",
            "busy clients: 4: park M/s",
            "busy clients: 8: park M/s",
        ],
        p99s: [
            "busy clients: 1: park p99 ns",
            "busy clients: 2: park p99 ns",
            "busy clients: 4: park p99 ns",
            "busy clients: 8: park p99 ns",
        ],
    },
];

/// The cases.
#[must_use]
pub fn all(shared: &Shared) -> Vec<Box<dyn Case>> {
    vec![Box::new(Pipelined { shared: shared.clone() }), Box::new(Busy)]
}

struct Pipelined {
    shared: Shared,
}

impl Case for Pipelined {
    fn name(&self) -> &'static str {
        "rust-echo-many"
    }
    fn description(&self) -> &'static str {
        "Rust client.call_many of system.echo, 24 bytes, batches of 1 000; time of a batch over its calls"
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let daemon = self.shared.get(context)?;
        let client = client(&daemon.borrow().target())?;
        let echo = client.method("system", "echo").map_err(call_error)?;
        Ok(Box::new(Batches { client, echo, daemon }))
    }
}

struct Batches {
    client: Client,
    echo: Method,
    daemon: Rc<RefCell<Daemon>>,
}

impl Runner for Batches {
    fn check(&mut self) -> Result<(), BenchError> {
        let sent: Vec<Payload> =
            (0..CHECKED_REQUESTS).map(|n| [n, !n, n.wrapping_mul(0x9e37_79b9_7f4a_7c15)]).collect();
        let bytes = |words: &Payload| words.map(u64::to_le_bytes).concat();
        let mut right = vec![false; sent.len()];
        let payloads = sent.iter().map(bytes);
        let done =
            self.client.call_many(&self.echo, payloads, &CallOptions::default(), |at, got| {
                right[at] = got.is_ok_and(|reply| reply == bytes(&sent[at]));
            });
        done.map_err(call_error)?;
        counted(right.len(), right.into_iter().filter(|right| *right).count())
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        for _ in 0..samples {
            let mut right = 0;
            let start = Instant::now();
            let payloads = std::iter::repeat_n(SENT, BATCH);
            let done =
                self.client.call_many(&self.echo, payloads, &CallOptions::default(), |_, got| {
                    right += usize::from(got.is_ok_and(|reply| reply == SENT));
                });
            let passed = start.elapsed();
            done.map_err(call_error)?;
            counted(BATCH, right)?;
            slice.push_ps((passed.as_nanos() * 1_000 / BATCH as u128) as u64);
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.daemon.borrow_mut().resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.daemon.borrow_mut().pause()
    }
}

fn counted(expected: usize, right: usize) -> Result<(), BenchError> {
    if expected == right {
        return Ok(());
    }
    let (expected, got) = (format!("{expected} right answers"), format!("{right}"));
    Err(BenchError::WrongAnswer { request: 0, expected, got })
}

struct Busy;

impl Case for Busy {
    fn name(&self) -> &'static str {
        "busy-clients"
    }
    fn description(&self) -> &'static str {
        "1, 2, 4 and 8 busy Rust clients, echo of 24 bytes, nobody pinned, each client spinning (Spin::Always), \
         adaptive or parking at once (Spin::Never): total calls/s, and p99 of the client with the worst"
    }
    fn few(&self) -> Option<Few> {
        Some(Few { turns: 1, samples: 1 })
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let daemon = Daemon::start(&context.exe, Role::AsShipped)?;
        Ok(Box::new(Crowds { daemon, figures: Vec::new() }))
    }
}

struct Crowds {
    daemon: Daemon,
    figures: Vec<(&'static str, f64)>,
}

impl Runner for Crowds {
    /// Each client checks its answers as it counts them; here that there is a daemon.
    fn check(&mut self) -> Result<(), BenchError> {
        client(&self.daemon.target())?.ping().map_err(call_error)
    }

    /// All crowds once; tiers take turns, so that they meet the same phase of the machine.
    fn run(&mut self, _samples: usize, _slice: &mut Slice) -> Result<(), BenchError> {
        self.figures.clear();
        for (nth, clients) in CLIENTS.into_iter().enumerate() {
            for tier in &TIERS {
                let crowd = crowd(&self.daemon.target(), clients, tier.spin)?;
                self.figures.push((tier.rates[nth], crowd.per_second / 1e6));
                self.figures.push((tier.p99s[nth], crowd.worst_p99_ns));
            }
        }
        Ok(())
    }

    fn scalars(&mut self) -> Vec<(&'static str, f64)> {
        std::mem::take(&mut self.figures)
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.daemon.resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.daemon.pause()
    }
}

/// What a crowd came to.
struct Crowd {
    per_second: f64,
    worst_p99_ns: f64,
}

/// What one of its clients did.
struct Share {
    calls: u64,
    times_ns: Histogram<u64>,
}

fn crowd(target: &str, clients: usize, spin: Spin) -> Result<Crowd, BenchError> {
    let connect = || Client::builder().target(target)?.spin(spin).connect();
    let all: Result<Vec<_>, _> = (0..clients).map(|_| connect()).collect();
    let (ready, over) = (Barrier::new(clients + 1), AtomicBool::new(false));
    let all = all.map_err(call_error)?;
    std::thread::scope(|scope| {
        let start = |client| scope.spawn(|| be_busy(client, &ready, &over));
        let threads: Vec<_> = all.into_iter().map(start).collect();
        ready.wait();
        let since = Instant::now();
        std::thread::sleep(COUNTED);
        over.store(true, Ordering::Relaxed);
        let mut crowd = Crowd { per_second: 0.0, worst_p99_ns: 0.0 };
        let mut calls = 0;
        for thread in threads {
            let ended =
                || BenchError::Peer { what: "busy client".into(), detail: "panicked".into() };
            let share = thread.join().map_err(|_| ended())??;
            calls += share.calls;
            let p99 = share.times_ns.value_at_quantile(0.99) as f64;
            crowd.worst_p99_ns = crowd.worst_p99_ns.max(p99);
        }
        // Whoever notices late has counted calls of that time, too.
        crowd.per_second = calls as f64 / since.elapsed().as_secs_f64();
        Ok(crowd)
    })
}

fn be_busy(client: Client, ready: &Barrier, over: &AtomicBool) -> Result<Share, BenchError> {
    let warm = crate::peer::unpin().and_then(|()| (0..WARM_UP).try_for_each(|_| echo(&client)));
    // Also when it failed: the others wait.
    ready.wait();
    warm?;
    let times_ns = Histogram::new_with_bounds(1, LONGEST_NS, 2);
    let mut times_ns = times_ns.map_err(|error| BenchError::Peer {
        what: "busy client".into(),
        detail: error.to_string(),
    })?;
    let mut calls = 0;
    while !over.load(Ordering::Relaxed) {
        calls += 1;
        if calls % TIMED_EVERY > 0 {
            echo(&client)?;
            continue;
        }
        let start = Instant::now();
        echo(&client)?;
        times_ns.saturating_record(start.elapsed().as_nanos() as u64);
    }
    Ok(Share { calls, times_ns })
}

fn echo(client: &Client) -> Result<(), BenchError> {
    let reply = client.echo(&SENT).map_err(call_error)?;
    counted(1, usize::from(reply == SENT))
}
