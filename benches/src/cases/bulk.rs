//! Payloads of megabytes: from the answer to a view of a leased reply, and requests against a memcpy.
//!
//! The engine is the benchmark's own: one method answers so many bytes, one takes any number. Both run on
//! a worker. Warm cases use segments whose pages have been touched; a cold one is a client's first.
//! It does *not* time how long an engine takes to make 64 MiB, but every reply waits for as much.

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use ringfence::{CallOptions, Client, Loan, Method};
use ringfence_protocol::message::Message;
use ringfenced::{Call, Cost, Engine, EngineSchema, Error, MethodSchema, message};

use super::ringfence::{Daemon, Shared, call_error, client};
use crate::BenchError;
use crate::harness::{Case, Context, Few, Runner, Slice};
use crate::raw::{ends, ticks};

const ENGINE: &str = "bulk";
const SMALL: usize = 1 << 20;
/// A numpy array of 4096 x 4096 floats.
const LARGE: usize = 64 << 20;
/// What `fill` puts first and last, and between.
const FIRST: u8 = 0xa5;
const LAST: u8 = 0x5a;
const MIDDLE: u8 = 7;
/// Between two looks for an answer that takes milliseconds: its worker may need this very core.
const LOOK_EVERY: Duration = Duration::from_micros(200);
/// Enough for a median; spread, so that they meet the same phases of the machine.
const WARM: Few = Few { turns: 10, samples: 3 };
/// A client of its own each.
const COLD: Few = Few { turns: 1, samples: 1 };

message! {
    /// How many bytes.
    struct Size { bytes: u64 }
}

message! {
    /// Any bytes.
    struct Bytes<'a> { data: &'a [u8] }
}

message! {
    /// What came: its size, its ends, and the sum of its bytes if that was asked for.
    struct Taken { bytes: u64, first: u64, last: u64, sum: u64 }
}

const FILL: u16 = 0;
const TAKE: u16 = 1;
const SUM: u16 = 2;

/// The daemon's half.
pub(super) struct Bulk;

impl Engine for Bulk {
    fn schema(&self) -> EngineSchema {
        let fill = MethodSchema::new::<Size, Bytes<'_>>(
            FILL,
            "fill",
            "Answers so many bytes, of 64 MiB that it makes.",
        );
        let take = MethodSchema::new::<Bytes<'_>, Taken>(TAKE, "take", "Looks at both ends.");
        let sum = MethodSchema::new::<Bytes<'_>, Taken>(SUM, "sum", "Looks at every byte.");
        EngineSchema::new(ENGINE, "Large payloads.", vec![fill, take, sum])
    }

    fn cost(&self, _op: u16, _request: &[u8]) -> Cost {
        Cost::micros(u32::MAX)
    }

    fn call(&self, op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        if op == FILL {
            let Size { bytes } = call.request()?;
            let reply = call.reply_buffer();
            reply.clear();
            // As much work for a small reply as for a large one: what it leaves of the caches, and of the
            // client's core after a wait of milliseconds, is none of the size's doing.
            reply.resize(LARGE, MIDDLE);
            reply.truncate(bytes as usize);
            if let [first, .., last] = reply.as_mut_slice() {
                (*first, *last) = (FIRST, LAST);
            }
            return Ok(());
        }
        let taken = taken(call.bytes(), op == SUM);
        call.reply(&taken);
        Ok(())
    }
}

fn taken(data: &[u8], all: bool) -> Taken {
    let end = |byte: Option<&u8>| byte.copied().map_or(0, u64::from);
    let sum = if all { data.iter().copied().map(u64::from).sum() } else { 0 };
    Taken { bytes: data.len() as u64, first: end(data.first()), last: end(data.last()), sum }
}

/// The cases, around one daemon.
#[must_use]
pub fn all(shared: &Shared) -> Vec<Box<dyn Case>> {
    let out = |name, description, bytes, cold| -> Box<dyn Case> {
        Box::new(Transfer { name, description, way: Way::Out(bytes), cold, shared: shared.clone() })
    };
    let into = |name, description, way, cold| -> Box<dyn Case> {
        Box::new(Transfer { name, description, way, cold, shared: shared.clone() })
    };
    vec![
        out(
            "bulk-out-1m",
            "from the look that finds a reply of 1 MiB to a view of it, both ends read in place",
            SMALL,
            false,
        ),
        out("bulk-out-64m", "the same with a reply of 64 MiB", LARGE, false),
        out("bulk-out-64m-cold", "the same, a client's first large reply", LARGE, true),
        Box::new(Memcpy),
        into("bulk-in-64m", "Rust call with a request of 64 MiB, copied in", Way::Copied, false),
        into(
            "bulk-in-64m-cold",
            "the same, a client's first: its segment's pages are made",
            Way::Copied,
            true,
        ),
        into("bulk-in-64m-loaned", "the same out of a loan, filled before", Way::Loaned, false),
    ]
}

/// How the bytes travel.
#[derive(Clone, Copy)]
enum Way {
    /// A reply of so many bytes, viewed under its lease.
    Out(usize),
    /// A request of 64 MiB out of the caller's own memory.
    Copied,
    /// A request of 64 MiB that lies where the daemon reads it.
    Loaned,
}

struct Transfer {
    name: &'static str,
    description: &'static str,
    way: Way,
    cold: bool,
    shared: Shared,
}

impl Case for Transfer {
    fn name(&self) -> &'static str {
        self.name
    }
    fn description(&self) -> &'static str {
        self.description
    }
    fn few(&self) -> Option<Few> {
        Some(if self.cold { COLD } else { WARM })
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let daemon = self.shared.get(context)?;
        let target = daemon.borrow().target();
        let line = Line::open(&target)?;
        let payload = match self.way {
            Way::Out(_) => Vec::new(),
            Way::Copied | Way::Loaned => (0..LARGE).map(|at| (at % 251) as u8).collect(),
        };
        let loan = match self.way {
            Way::Loaned => Some(line.lend(&payload)?),
            _ => None,
        };
        Ok(Box::new(Carrier {
            way: self.way,
            cold: self.cold,
            target,
            line,
            payload,
            loan,
            daemon,
        }))
    }
}

/// A client and the methods it calls.
struct Line {
    client: Client,
    fill: Method,
    take: Method,
    sum: Method,
}

impl Line {
    fn open(target: &str) -> Result<Self, BenchError> {
        let client = client(target)?;
        let method = |name| client.method(ENGINE, name).map_err(call_error);
        let (fill, take, sum) = (method("fill")?, method("take")?, method("sum")?);
        Ok(Self { client, fill, take, sum })
    }

    /// Ticks from the look that found the answer until both ends of it have been read.
    fn view(&self, bytes: usize) -> Result<u64, BenchError> {
        let mut request = Vec::new();
        Size { bytes: bytes as u64 }.encode(&mut request);
        let options = CallOptions::default();
        let pending = self.client.submit(&self.fill, &request, &options).map_err(call_error)?;
        let mut start = ticks();
        while !pending.is_done() {
            std::thread::sleep(LOOK_EVERY);
            start = ticks();
        }
        let reply = self.client.wait(pending).map_err(call_error)?;
        let seen = black_box(ends(&reply));
        let passed = ticks().saturating_sub(start);
        if !reply.is_leased() || reply.len() != bytes || seen != (FIRST, LAST) {
            return Err(wrong(format!("a lease of {bytes} bytes"), format!("{reply:?}")));
        }
        Ok(passed)
    }

    fn lend(&self, payload: &[u8]) -> Result<Loan, BenchError> {
        let loan = self.client.loan(payload.len()).map_err(call_error)?;
        loan.write(0, payload);
        Ok(loan)
    }

    fn give(
        &self,
        method: &Method,
        payload: &[u8],
        loan: Option<&Loan>,
    ) -> Result<Taken, BenchError> {
        let options = CallOptions::default();
        let reply = match loan {
            Some(loan) => self.client.call_loaned(method, &[], loan, loan.len(), &options),
            None => self.client.call(method, payload, &options),
        };
        let reply = reply.map_err(call_error)?;
        Taken::decode(&reply).map_err(|error| wrong("an answer".into(), error.to_string()))
    }
}

fn wrong(expected: String, got: String) -> BenchError {
    BenchError::WrongAnswer { request: 0, expected, got }
}

struct Carrier {
    way: Way,
    cold: bool,
    target: String,
    line: Line,
    payload: Vec<u8>,
    loan: Option<Loan>,
    daemon: Rc<RefCell<Daemon>>,
}

impl Carrier {
    /// One transfer, timed.
    fn time(&self, line: &Line, slice: &mut Slice) -> Result<(), BenchError> {
        match self.way {
            Way::Out(bytes) => slice.push_ticks(&[line.view(bytes)?]),
            Way::Copied | Way::Loaned => {
                let expected = taken(&self.payload, false);
                let start = ticks();
                let got = line.give(&line.take, &self.payload, self.loan.as_ref())?;
                slice.push_ticks(&[ticks().saturating_sub(start)]);
                compare(&expected, &got)?;
            }
        }
        Ok(())
    }
}

fn compare(expected: &Taken, got: &Taken) -> Result<(), BenchError> {
    let words = |t: &Taken| [t.bytes, t.first, t.last, t.sum];
    if words(expected) == words(got) {
        return Ok(());
    }
    Err(wrong(format!("{:?}", words(expected)), format!("{:?}", words(got))))
}

impl Runner for Carrier {
    /// Every byte, and twice, so that the segments of both turns are warm.
    fn check(&mut self) -> Result<(), BenchError> {
        for _ in 0..2 {
            match self.way {
                Way::Out(bytes) => {
                    self.line.view(bytes)?;
                    let mut request = Vec::new();
                    Size { bytes: bytes as u64 }.encode(&mut request);
                    let options = CallOptions::default();
                    let reply = self.line.client.call(&self.line.fill, &request, &options);
                    let reply = reply.map_err(call_error)?;
                    if !reply[1..bytes - 1].iter().all(|byte| *byte == MIDDLE) {
                        return Err(wrong(format!("{bytes} bytes"), format!("{reply:?}")));
                    }
                }
                Way::Copied | Way::Loaned => {
                    let loan = self.loan.as_ref();
                    let got = self.line.give(&self.line.sum, &self.payload, loan)?;
                    compare(&taken(&self.payload, true), &got)?;
                }
            }
        }
        Ok(())
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        if self.cold {
            let first = Line::open(&self.target)?;
            return self.time(&first, slice);
        }
        // The first of a turn finds the caches full of other cases, as the memcpy beside it does.
        (0..samples).try_for_each(|_| self.time(&self.line, slice))
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.daemon.borrow_mut().resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.daemon.borrow_mut().pause()
    }
}

/// What 64 MiB cost in one process.
struct Memcpy;

impl Case for Memcpy {
    fn name(&self) -> &'static str {
        "memcpy-64m"
    }
    fn description(&self) -> &'static str {
        "64 MiB copied from one warm buffer to another of this process"
    }
    fn few(&self) -> Option<Few> {
        Some(WARM)
    }
    fn setup(&self, _context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        // Not zeros, which would be pages that nobody has made yet.
        Ok(Box::new(Buffers { from: vec![FIRST; LARGE], to: vec![MIDDLE; LARGE] }))
    }
}

struct Buffers {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Runner for Buffers {
    fn check(&mut self) -> Result<(), BenchError> {
        self.run(1, &mut Slice::default())?;
        if self.from == self.to { Ok(()) } else { Err(wrong("a copy".into(), "another".into())) }
    }
    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        slice.time(samples, || {
            black_box(&mut self.to).copy_from_slice(black_box(&self.from));
            Ok(())
        })
    }
}
