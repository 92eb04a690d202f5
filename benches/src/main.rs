//! The benchmarks of Ringfence: all its cases, all its goals.

use std::process::ExitCode;

use ringfence_benches::cli::{self, Suite};
use ringfence_benches::{cases, goals};

fn main() -> ExitCode {
    cli::run(&Suite {
        cases: cases::all,
        goals: &goals::GOALS,
        serve: cases::serve,
        out: "benches/out",
    })
}
