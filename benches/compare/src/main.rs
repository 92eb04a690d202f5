//! Ringfence and its rivals in one run: the harness of the benchmarks (`ringfence_benches`) with a few of its cases
//! and, in turn with them, what others offer, each as its authors mean it to be fast.
//!
//! It has no way of its own to measure or to report. A rival that is not there says so in its row.

use std::process::ExitCode;

use ringfence_benches::cli::{self, Suite};
use ringfence_benches::goals::{Bound, Bounds, Goal, RunFigures};
use ringfence_benches::harness::Case;
use ringfence_benches::{BenchError, cases};

mod iceoryx2;
mod python;

/// Ours, which rivals stand beside: calls, the bus, calls from Python.
const CALLS: [&str; 2] = ["limit", "rust-echo"];
const BUS: [&str; 1] = ["bus"];
const PYTHON: [&str; 1] = ["python-echo"];

/// The halves of goals that name a rival; `make bench` judges the others.
const GOALS: [Goal; 2] = [
    Goal { id: "P1", text: "at least 3x faster than iceoryx2 request-response", bounds: p1 },
    Goal { id: "P2", text: "at least 20x faster than iceoryx2's Python package", bounds: p2 },
];

fn main() -> ExitCode {
    cli::run(&Suite { cases: all, goals: &GOALS, serve, out: "benches/out/rivals" })
}

/// In the order of the table: rivals below what they are compared with.
fn all() -> Vec<Box<dyn Case>> {
    let mut all = ours(&CALLS);
    all.push(Box::new(iceoryx2::CALL));
    all.push(Box::new(iceoryx2::REQUESTS));
    all.push(Box::new(iceoryx2::RESPONSES));
    all.extend(ours(&BUS));
    all.push(Box::new(iceoryx2::PUBSUB_24));
    all.push(Box::new(iceoryx2::PUBSUB_64));
    all.extend(ours(&PYTHON));
    all.extend(python::all());
    all
}

fn ours(names: &[&str]) -> Vec<Box<dyn Case>> {
    cases::all().into_iter().filter(|case| names.contains(&case.name())).collect()
}

fn serve(role: &str, segment: &str) -> Result<(), BenchError> {
    iceoryx2::serve(role, segment).unwrap_or_else(|| cases::serve(role, segment))
}

/// Whichever shape of theirs is the fastest.
fn p1(run: &RunFigures) -> Bounds {
    let echo = run.case("rust-echo")?;
    let bound = |what, case: iceoryx2::Iceoryx2| {
        Ok(Bound::at_least_times(what, run.case(case.name)?.p50_ns, echo.p50_ns, 3.0))
    };
    let all = [
        bound("iceoryx2-request-response p50 / rust-echo p50", iceoryx2::CALL),
        bound("iceoryx2-requests p50 / rust-echo p50", iceoryx2::REQUESTS),
        bound("iceoryx2-responses p50 / rust-echo p50", iceoryx2::RESPONSES),
    ];
    all.into_iter().collect()
}

fn p2(run: &RunFigures) -> Bounds {
    let (rival, echo) = (run.case(python::ICEORYX2)?, run.case("python-echo")?);
    let what = "iceoryx2-python p50 / python-echo p50";
    Ok(vec![Bound::at_least_times(what, rival.p50_ns, echo.p50_ns, 20.0)])
}
