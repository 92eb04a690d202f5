//! Topics: from a publish to its receipt, messages a second, and many subscriptions.
//!
//! Publisher and subscriber are one thread with one client on the client's core, the daemon's poller has
//! the server's: with three spinning processes on two cores one would measure the scheduler. Messages
//! have 64 bytes and say which they are; each is compared.

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;

use ringfence::{
    Client, Event, Keep, Policy, Publication, Publisher, Start, Subscription, TopicOptions,
};

use super::ringfence::{Daemon, Shared, call_error, client};
use crate::BenchError;
use crate::harness::{Case, Context, Few, Runner, Slice};

/// Bytes of a message.
const BYTES: usize = 64;
/// Messages of a sample of the rate: fewer than the log holds.
const BATCH: u64 = 1_000;
/// Messages that are received at once.
const AT_ONCE: usize = 100;
/// Messages that the log holds.
const SLOTS: u32 = 2048;

/// The cases.
#[must_use]
pub fn all(shared: &Shared) -> Vec<Box<dyn Case>> {
    let case = |name, description, what| -> Box<dyn Case> {
        Box::new(Bus { name, description, what, shared: shared.clone() })
    };
    vec![
        case(
            "bus",
            "Rust publish to receive through the daemon, 64 bytes, one thread for both",
            What::Latency { inproc: false },
        ),
        case(
            "bus-inproc",
            "Rust publish to receive in process, 64 bytes, one thread for both",
            What::Latency { inproc: true },
        ),
        case(
            "bus-many",
            "Rust messages of 64 bytes, 1 000 published at once and received 100 at once; time of all over their number",
            What::Rate,
        ),
        Box::new(FanOut { shared: shared.clone() }),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Latency { inproc: bool },
    Rate,
}

struct Bus {
    name: &'static str,
    description: &'static str,
    what: What,
    shared: Shared,
}

impl Case for Bus {
    fn name(&self) -> &'static str {
        self.name
    }
    fn description(&self) -> &'static str {
        self.description
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let inproc = self.what == What::Latency { inproc: true };
        let daemon = if inproc { None } else { Some(self.shared.get(context)?) };
        let target =
            daemon.as_ref().map_or_else(|| "inproc:".into(), |daemon| daemon.borrow().target());
        let client = client(&target)?;
        let (publisher, subscription) = both(&client, self.name)?;
        Ok(Box::new(Pair { what: self.what, publisher, subscription, next: 0, daemon }))
    }
}

fn options() -> TopicOptions {
    TopicOptions {
        policy: Policy::Overwrite,
        slots: SLOTS,
        payload_bytes: BYTES,
        ..TopicOptions::default()
    }
}

fn both(client: &Client, name: &str) -> Result<(Publisher, Subscription), BenchError> {
    let topic = client.topic(name, options()).map_err(call_error)?;
    let subscription = topic.subscribe(Start::Newest, Keep::InLog).map_err(call_error)?;
    Ok((topic.publisher(), subscription))
}

fn message(number: u64) -> [u8; BYTES] {
    let mut bytes = [7; BYTES];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

struct Pair {
    what: What,
    publisher: Publisher,
    subscription: Subscription,
    next: u64,
    daemon: Option<Rc<RefCell<Daemon>>>,
}

/// Is it the message that was published as these bytes?
fn check(number: u64, published: &[u8; BYTES], event: &Event) -> Result<(), BenchError> {
    match event {
        Event::Message(message) if *message.payload == *published => Ok(()),
        other => Err(BenchError::WrongAnswer {
            request: number,
            expected: format!("message {number}"),
            got: format!("{other:?}"),
        }),
    }
}

impl Pair {
    /// Receives the message that was published as these bytes.
    fn receive(&self, number: u64, published: &[u8; BYTES]) -> Result<(), BenchError> {
        let event = self.subscription.recv(None).map_err(call_error)?;
        check(number, published, &event)
    }

    fn ping(&mut self) -> Result<(), BenchError> {
        let number = self.next;
        self.next += 1;
        let payload = black_box(message(number));
        self.publisher.post(&Publication::new(&payload)).map_err(call_error)?;
        self.receive(number, &payload)
    }

    fn batch(&mut self) -> Result<u64, BenchError> {
        let first = self.next;
        self.next += BATCH;
        let payloads: Vec<[u8; BYTES]> = (first..self.next).map(message).collect();
        let start = Instant::now();
        let messages = payloads.iter().map(|payload| Publication::new(payload));
        self.publisher.post_all(messages).map_err(call_error)?;
        for (first, payloads) in (first..).step_by(AT_ONCE).zip(payloads.chunks(AT_ONCE)) {
            let events = self.subscription.recv_batch(AT_ONCE, None).map_err(call_error)?;
            for ((number, payload), event) in (first..).zip(payloads).zip(&events) {
                check(number, payload, event)?;
            }
        }
        let passed = start.elapsed();
        self.publisher.flush().map_err(call_error)?;
        Ok(u64::try_from(passed.as_nanos() * 1_000 / u128::from(BATCH)).unwrap_or(u64::MAX))
    }
}

impl Runner for Pair {
    fn check(&mut self) -> Result<(), BenchError> {
        (0..BATCH).try_for_each(|_| self.ping())?;
        self.publisher.flush().map(drop).map_err(call_error)
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        if self.what == What::Rate {
            for _ in 0..samples {
                let ps = self.batch()?;
                slice.push_ps(ps);
            }
            return Ok(());
        }
        slice.time(samples, || self.ping())?;
        self.publisher.flush().map(drop).map_err(call_error)
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.daemon.as_ref().map_or(Ok(()), |daemon| daemon.borrow_mut().resume())
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.daemon.as_ref().map_or(Ok(()), |daemon| daemon.borrow_mut().pause())
    }
}

/// What a publish costs with 1, 8 and 64 subscriptions that sleep, each of its own session.
struct FanOut {
    shared: Shared,
}

/// Numbers of subscriptions, and the names of their figures.
const SUBSCRIPTIONS: [(usize, &str); 3] = [
    (1, "bus: publish beside 1 subscription, p50 ns"),
    (8, "bus: publish beside 8 subscriptions, p50 ns"),
    (64, "bus: publish beside 64 subscriptions, p50 ns"),
];
const PUBLISHES: usize = 20_000;

impl Case for FanOut {
    fn name(&self) -> &'static str {
        "bus-fan-out"
    }
    fn description(&self) -> &'static str {
        "Rust publish with its answer, 64 bytes, while 1, 8 and 64 sessions have subscribed and read later"
    }
    fn few(&self) -> Option<Few> {
        Some(Few { turns: 1, samples: 1 })
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let daemon = self.shared.get(context)?;
        Ok(Box::new(Fans { daemon, runs: 0, figures: Vec::new() }))
    }
}

struct Fans {
    daemon: Rc<RefCell<Daemon>>,
    runs: u32,
    figures: Vec<(&'static str, f64)>,
}

impl Fans {
    fn beside(&mut self, count: usize) -> Result<f64, BenchError> {
        let target = self.daemon.borrow().target();
        self.runs += 1;
        let name = format!("fan-out-{count}-{}", self.runs);
        let publisher = client(&target)?;
        let topic = publisher.topic(&name, options()).map_err(call_error)?;
        let readers: Vec<(Client, Subscription)> = (0..count)
            .map(|_| {
                let reader = client(&target)?;
                let topic = reader.find_topic(&name).map_err(call_error)?;
                let subscription =
                    topic.subscribe(Start::Newest, Keep::InLog).map_err(call_error)?;
                Ok((reader, subscription))
            })
            .collect::<Result<_, BenchError>>()?;
        let payload = message(0);
        let mut times: Vec<u64> = Vec::with_capacity(PUBLISHES);
        for _ in 0..PUBLISHES {
            let start = Instant::now();
            topic.publish(&Publication::new(&payload)).map_err(call_error)?;
            times.push(start.elapsed().as_nanos() as u64);
        }
        for (_, subscription) in &readers {
            // The last ones are there, and what was lost is counted: all of them together.
            let mut last = None;
            while let Ok(event) = subscription.recv(Some(std::time::Duration::ZERO)) {
                last = Some(event);
            }
            let counts = subscription.counts();
            if last.is_none() || counts.received + counts.missed != PUBLISHES as u64 {
                let (expected, got) = (format!("{PUBLISHES} in all"), format!("{counts:?}"));
                return Err(BenchError::WrongAnswer { request: 0, expected, got });
            }
        }
        times.sort_unstable();
        Ok(times[times.len() / 2] as f64)
    }
}

impl Runner for Fans {
    fn check(&mut self) -> Result<(), BenchError> {
        Ok(())
    }

    fn run(&mut self, _samples: usize, _slice: &mut Slice) -> Result<(), BenchError> {
        self.figures.clear();
        for (count, name) in SUBSCRIPTIONS {
            let p50 = self.beside(count)?;
            self.figures.push((name, p50));
        }
        Ok(())
    }

    fn scalars(&mut self) -> Vec<(&'static str, f64)> {
        std::mem::take(&mut self.figures)
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.daemon.borrow_mut().resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.daemon.borrow_mut().pause()
    }
}
