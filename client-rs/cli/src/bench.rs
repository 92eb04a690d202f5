//! `ringfence bench`: what a call through the daemon costs on this machine, beside what its cores allow.
//!
//! Invariants: cases take turns, so that all of them see the same phases of the machine; an answer is
//! checked before anything is timed; a sample reaches from the end of one operation to the end of the next,
//! one reading of the clock included, the same for every case. It does *not* echo within this process: the
//! engines, and what they are made of, would have to be in this command. The daemon's binary does.

mod inproc;
mod ledger;
mod limit;
mod report;

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

use ringfence::board_rows::Histogram;
use ringfence::{CallOptions, Client, Method};

use crate::args::{Bench, Global};
use crate::board::fresh;
use crate::call::Prepared;
use crate::exit::{Exit, Failure};
use crate::output;
use report::{Boundary, Case, Report};

/// Turns of each case: enough that no burst of a neighbour hits one case alone.
const ROUNDS: usize = 20;
/// The part of a turn that is thrown away: caches and cores get used to the case.
const WARM_UP: f64 = 0.1;
/// Answers compared before echo is timed: more than a ring has slots by default.
const CHECKED: u64 = 100;
/// As large as what fits the first line of a slot.
const PAYLOAD: [u8; 24] = [7; 24];
/// What the daemon's binary measures without a client.
const IN_PROCESS: &str = "system.echo in process";
/// No turn needs more samples.
const MOST_SAMPLES: usize = 1 << 16;

pub(crate) fn run(global: &Global, bench: &Bench) -> Result<(), Failure> {
    let client = global.connect()?;
    let options = global.options();
    let wanted = match &bench.method {
        Some(path) => Some(Wanted::find(&client, path, bench, options)?),
        None => None,
    };
    let echo = Wanted::echo(&client, options)?;
    let before = wanted.as_ref().map(|wanted| wanted.service(&client));
    let mut cases = vec![Timed::new("limit"), Timed::new(IN_PROCESS), Timed::new(&echo.name)];
    cases.extend(wanted.as_ref().map(|wanted| Timed::new(&wanted.name)));
    let (mut limit, mut inproc) = (limit::Limit::find(), inproc::Inproc::find());
    let mut steps = ledger::Steps::default();
    let turn = bench.seconds.div_f64((ROUNDS * (cases.len() + 1)) as f64);
    let progress = Progress::new(global.json);
    for round in 0..ROUNDS {
        progress.show(round * 100 / ROUNDS);
        limit.turn(|call| cases[0].turn(turn, call))?;
        inproc.turn(turn, &mut cases[1].samples_ns);
        cases[2].turn(turn, || echo.call(&client))?;
        if let Some(wanted) = &wanted {
            cases[3].turn(turn, || wanted.call(&client))?;
        }
        let of = wanted.as_ref().unwrap_or(&echo);
        steps.turn(turn, &client, || of.call(&client))?;
    }
    drop(progress);
    let boundary = match (wanted, before) {
        (Some(wanted), Some(before)) => {
            Some(Boundary::between(&before, &wanted.service(&client), cases[3].mean_ns()))
        }
        _ => None,
    };
    let cases = Case::of_all(cases.iter_mut().map(|case| (&*case.name, &mut case.samples_ns)));
    let ledger = steps.summed();
    let report =
        Report::new(client.info(), limit.cores(), inproc.reason(), cases, boundary, ledger);
    if global.json { output::json(&report) } else { output::text(&report.text()) }
}

/// A method that is called again and again with the same request.
struct Wanted {
    name: String,
    method: Method,
    request: Vec<u8>,
    options: CallOptions,
}

impl Wanted {
    /// The one that was named; it has answered once.
    fn find(
        client: &Client,
        path: &str,
        bench: &Bench,
        options: CallOptions,
    ) -> Result<Self, Failure> {
        let catalogue = client.catalogue()?;
        let prepared = Prepared::of(&catalogue, path, &bench.arguments)?;
        let method = client.method(&prepared.engine.name, &prepared.schema.name)?;
        if !method.is_idempotent() && !bench.force {
            let text = format!(
                "{path} is not idempotent, and would be called many thousand times: --force does it"
            );
            return Err(Failure::usage(text));
        }
        let reply = client.call(&method, &prepared.request, &options)?;
        prepared.decode(&reply)?;
        let request = prepared.request;
        Ok(Self { name: path.to_owned(), method, request, options })
    }

    /// `system.echo`; it has answered what it was sent.
    fn echo(client: &Client, options: CallOptions) -> Result<Self, Failure> {
        let method = client.method("system", "echo")?;
        for number in 0..CHECKED {
            let sent = number.to_le_bytes().repeat(3);
            let got = client.call(&method, &sent, &options)?;
            if got != sent {
                let text = format!("system.echo answered {got:?} to {sent:?}");
                return Err(Failure::new(Exit::Internal, text));
            }
        }
        Ok(Self { name: "system.echo".into(), method, request: PAYLOAD.to_vec(), options })
    }

    #[inline]
    fn call(&self, client: &Client) -> Result<(), Failure> {
        Ok(client.call(&self.method, &self.request, &self.options).map(drop)?)
    }

    /// Its times on the daemon's board, or why they cannot be read.
    fn service(&self, client: &Client) -> Result<Histogram, String> {
        let snapshot = client.board().and_then(|board| fresh(&board));
        let snapshot = snapshot.map_err(|error| error.to_string())?;
        let rows = snapshot.methods.iter().map(|row| (row.name.to_string(), row.service));
        let rows: HashMap<_, _> = rows.collect();
        rows.get(&self.name).copied().ok_or_else(|| "the board has no row for it".into())
    }
}

/// A case and its samples.
struct Timed {
    name: String,
    samples_ns: Vec<u64>,
    /// Time and number of all calls, those of the warm-up too: the daemon's board counts them as well.
    spent: (Duration, u64),
}

impl Timed {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), samples_ns: Vec::new(), spent: (Duration::ZERO, 0) }
    }

    /// Calls for so long.
    fn turn(
        &mut self,
        turn: Duration,
        mut call: impl FnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let (warm, end) = (start + turn.mul_f64(WARM_UP), start + turn);
        let (mut last, mut calls, mut taken) = (start, 0, 0);
        while last < end && taken < MOST_SAMPLES {
            call()?;
            let now = Instant::now();
            if last >= warm {
                self.samples_ns.push((now - last).as_nanos() as u64);
                taken += 1;
            }
            calls += 1;
            last = now;
        }
        // A call that outlasts its turn is the only sample there is.
        if taken == 0 && calls > 0 {
            self.samples_ns.push((last - start).as_nanos() as u64 / calls);
        }
        self.spent = (self.spent.0 + (last - start), self.spent.1 + calls);
        Ok(())
    }

    fn mean_ns(&self) -> f64 {
        self.spent.0.as_nanos() as f64 / self.spent.1.max(1) as f64
    }
}

/// A line on a terminal, gone when it is over.
struct Progress {
    shown: bool,
}

impl Progress {
    fn new(json: bool) -> Self {
        Self { shown: !json && stderr().is_terminal() }
    }

    fn show(&self, percent: usize) {
        self.print(&format!("\rmeasuring, {percent} %"));
    }

    fn print(&self, text: &str) {
        if self.shown {
            // Whoever closed standard error wants no progress.
            let _ = stderr().write_all(text.as_bytes());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.print("\r\x1b[K");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_takes_its_time_and_counts_every_call() {
        let mut timed = Timed::new("case");
        let mut calls = 0;
        let call = || {
            calls += 1;
            std::thread::sleep(Duration::from_micros(100));
            Ok(())
        };
        timed.turn(Duration::from_millis(20), call).unwrap();
        assert_eq!(timed.spent.1, calls);
        assert!(timed.spent.0 >= Duration::from_millis(20));
        assert!(!timed.samples_ns.is_empty() && timed.samples_ns.len() as u64 <= calls);
        assert!(timed.samples_ns.iter().all(|ns| *ns >= 100_000), "{:?}", timed.samples_ns);
        assert!(timed.mean_ns() >= 100_000.0);
    }

    #[test]
    fn a_call_longer_than_its_turn_is_a_sample() {
        let mut timed = Timed::new("case");
        let call = || {
            std::thread::sleep(Duration::from_millis(5));
            Ok(())
        };
        timed.turn(Duration::from_millis(1), call).unwrap();
        assert_eq!(timed.samples_ns.len(), 1);
        assert!(timed.samples_ns[0] >= 5_000_000);
    }
}
