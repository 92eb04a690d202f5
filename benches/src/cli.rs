//! The command line of a suite of cases, and the entry of the peers it starts. It knows of no case and no goal.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::clock::Clock;
use crate::goals::{self, Goal, RunFigures, State, Verdict};
use crate::harness::{self, Case, Context, LIMIT, Outcome, Plan};
use crate::machine::Machine;
use crate::report::Report;
use crate::{BenchError, peer};

/// What it exits with when nothing was measured at all.
const EXIT_BROKEN: u8 = 2;
const VENV_PYTHON: &str = ".venv/bin/python";

/// What a program measures, and by what it judges.
#[derive(Debug)]
pub struct Suite {
    /// All cases, the limit among them.
    pub cases: fn() -> Vec<Box<dyn Case>>,
    /// The goals those cases have figures for.
    pub goals: &'static [Goal],
    /// Runs the far half of a case: its role and its segment.
    pub serve: fn(&str, &str) -> Result<(), BenchError>,
    /// Where the report goes, unless `--out` says otherwise.
    pub out: &'static str,
}

/// Measures Ringfence and its rivals, interleaved, as ratios to the limit of this machine.
#[derive(Debug, Parser)]
#[command(name = "ringfence-benches", version)]
struct Cli {
    /// One short run: seconds instead of a minute
    #[arg(long)]
    quick: bool,
    /// Turns of each case within a run [default: 30, quick: 10]
    #[arg(long)]
    rounds: Option<usize>,
    /// Complete runs; a goal has to hold in most of them [default: 5, quick: 1]
    #[arg(long)]
    runs: Option<usize>,
    /// Measure only this case (repeatable) and the limit; also variants that are off by default
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// List the cases and exit
    #[arg(long)]
    list: bool,
    /// Directory for results.json, results.md and percentiles.svg [default: below benches/out]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Exit with 1 if a goal is missed, or not measured although no --only was given
    #[arg(long)]
    check: bool,
    /// Interpreter of the Python cases [default: .venv/bin/python, else python3]
    #[arg(long)]
    python: Option<PathBuf>,
    /// Daemon for the cases that need one: instance name or socket path
    #[arg(long)]
    target: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The far half of a case, started by the harness.
    #[command(hide = true)]
    Serve {
        role: String,
        #[arg(default_value = "")]
        segment: String,
    },
}

/// Does what the command line of this process asks for.
#[must_use]
pub fn run(suite: &Suite) -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Serve { role, segment }) => {
            peer::become_peer().and_then(|()| (suite.serve)(role, segment)).map(|()| true)
        }
        None if cli.list => {
            list(suite);
            Ok(true)
        }
        None => bench(suite, &cli),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ringfence-benches: {error}");
            ExitCode::from(EXIT_BROKEN)
        }
    }
}

fn list(suite: &Suite) {
    for case in (suite.cases)() {
        let on_demand = if case.by_default() { "" } else { " (only by --only)" };
        println!("{:<20} {}{on_demand}", case.name(), case.description());
    }
}

/// True if nothing failed and, with `--check`, no goal was missed.
fn bench(suite: &Suite, cli: &Cli) -> Result<bool, BenchError> {
    let chosen = choose((suite.cases)(), &cli.only)?;
    let plan = plan(cli);
    let context = Context {
        exe: std::env::current_exe()?,
        // Absolute, because it is also given to cargo, which runs elsewhere.
        python: cli.python.as_ref().map_or_else(|| Ok(default_python()), std::path::absolute)?,
        target: cli.target.clone(),
    };
    let cores = std::thread::available_parallelism()?;
    peer::pin(peer::CLIENT_CORE)?;
    let clock = Clock::calibrate();
    let machine = Machine::read(&clock, &context.python, cores.get());
    if cfg!(debug_assertions) {
        eprintln!("debug build: these figures mean nothing, use --release");
    }
    let outcomes = harness::measure(&chosen, &context, plan, &clock, |run| {
        eprintln!("run {} of {}, {} rounds", run + 1, plan.runs, plan.rounds);
    });
    let verdicts = goals::judge(suite.goals, &RunFigures::by_run(&outcomes));
    let broken = failed(&outcomes) || (cli.check && missed(&verdicts, &cli.only));
    let report = Report::new(machine, &outcomes, verdicts);
    let out = cli.out.as_deref().unwrap_or(Path::new(suite.out));
    report.write(out)?;
    println!("{}", report.markdown());
    println!("written to {}", out.display());
    Ok(!broken)
}

fn plan(cli: &Cli) -> Plan {
    let (runs, rounds, turn_ms) = if cli.quick { (1, 10, 10) } else { (5, 30, 20) };
    Plan {
        runs: cli.runs.unwrap_or(runs).max(1),
        rounds: cli.rounds.unwrap_or(rounds).max(1),
        turn: Duration::from_millis(turn_ms),
        warm_up: Duration::from_millis(2),
    }
}

fn choose(mut all: Vec<Box<dyn Case>>, only: &[String]) -> Result<Vec<Box<dyn Case>>, BenchError> {
    let unknown = only.iter().find(|name| all.iter().all(|case| case.name() != *name));
    if let Some(name) = unknown {
        return Err(BenchError::NoCase(name.clone()));
    }
    all.retain(|case| {
        let named = only.iter().any(|name| name == case.name());
        named || case.name() == LIMIT || (only.is_empty() && case.by_default())
    });
    Ok(all)
}

fn default_python() -> PathBuf {
    // Absolute, because it is also given to cargo, which runs elsewhere.
    std::path::absolute(VENV_PYTHON)
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("python3"))
}

fn failed(outcomes: &[Outcome]) -> bool {
    let mut errors = outcomes.iter().filter_map(|outcome| outcome.error.as_ref());
    errors.any(|error| !error.is_skip())
}

/// A goal that nobody measured is no reason to believe that it is met.
fn missed(verdicts: &[Verdict], only: &[String]) -> bool {
    verdicts.iter().any(|verdict| match verdict.state {
        State::Met => false,
        State::Missed => true,
        State::NotMeasured => only.is_empty(),
    })
}
