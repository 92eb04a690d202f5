//! Takes turns between cases (A B C A B C ...) so that all of them see the same phases of the
//! machine, and keeps one histogram per case and run.
//!
//! Invariants: an answer is checked before anything is timed; each turn starts with a warm-up that
//! is thrown away; only the peer of the case whose turn it is runs. A case that fails is reported
//! and left out, the others go on. Nothing here knows what a case does or what is good enough.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::BenchError;
use crate::clock::Clock;
use crate::raw::ticks;

/// The case that all ratios refer to.
pub const LIMIT: &str = "limit";
/// A turn that takes this long hangs: its spinning peer is gone. SIGALRM then ends the harness,
/// and with it all peers.
const TURN_LIMIT_S: u32 = 120;
/// No slice needs more samples, and the buffer has to stay in the caches' reach.
const MAX_SAMPLES: usize = 200_000;
/// Three digits: 0.1 %, finer than any goal.
const DIGITS: u8 = 3;
/// Ten minutes, in picoseconds: longer than a turn may take.
const LONGEST_PS: u64 = 600_000_000_000_000;

/// What a case may need to know.
#[derive(Clone, Debug)]
pub struct Context {
    /// This program, for peers.
    pub exe: PathBuf,
    /// The interpreter for Python cases.
    pub python: PathBuf,
    /// The daemon to talk to; none means the client's own search.
    pub target: Option<String>,
}

/// Something that can be timed.
pub trait Case {
    /// Its name in every report; goals look it up.
    fn name(&self) -> &'static str;
    /// One line for the reader of a report: who talks to whom, and how.
    fn description(&self) -> &'static str;
    /// False for variants that run only when named by `--only`.
    fn by_default(&self) -> bool {
        true
    }
    /// How often, if samples are too slow to fill turns with: seconds, or whole clients.
    fn few(&self) -> Option<Few> {
        None
    }
    /// How long each turn warms up, if not as long as all others: what a pause leaves of its data in the
    /// caches is no part of any figure.
    fn warm_up(&self) -> Option<Duration> {
        None
    }
    /// Starts what it needs, or says why it cannot.
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError>;
}

/// The turns in a run of a case that is slow. They have no warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Few {
    /// Spread over the rounds; never more than there are of these.
    pub turns: usize,
    /// In each turn.
    pub samples: usize,
}

impl Few {
    /// Is one of them in this round?
    fn has(self, round: usize, rounds: usize) -> bool {
        let before = |round: usize| round * self.turns / rounds.max(1);
        before(round) < before(round + 1)
    }
}

/// A case that is set up. Dropping it ends everything it started.
pub trait Runner {
    /// Makes calls and compares the answers; before any timing.
    fn check(&mut self) -> Result<(), BenchError>;
    /// Times `samples` operations, by `Slice::time` or, with a clock elsewhere, `Slice::push_ps`.
    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError>;
    /// Its turn begins: wakes its peer.
    fn resume(&mut self) -> Result<(), BenchError> {
        Ok(())
    }
    /// Its turn is over: nothing of it may run now.
    fn pause(&mut self) -> Result<(), BenchError> {
        Ok(())
    }
    /// Figures that are no times (a share, a rate), asked for once at the end of each run. Their names are
    /// those of no other case's, and say the unit.
    fn scalars(&mut self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

/// The samples of one turn.
#[derive(Debug, Default)]
pub struct Slice {
    ticks: Vec<u64>,
    ps: Vec<u64>,
}

impl Slice {
    fn new() -> Self {
        Self { ticks: Vec::with_capacity(MAX_SAMPLES), ps: Vec::new() }
    }

    /// Times `op` that often. The samples are turned into a histogram only after the turn.
    #[inline]
    pub fn time<T, E>(
        &mut self,
        samples: usize,
        mut op: impl FnMut() -> Result<T, E>,
    ) -> Result<(), E> {
        self.ticks.reserve(samples.min(MAX_SAMPLES));
        let mut last = ticks();
        for _ in 0..samples.min(MAX_SAMPLES) {
            black_box(op()?);
            let now = ticks();
            self.ticks.push(now.saturating_sub(last));
            last = now;
        }
        Ok(())
    }

    /// What was timed by [`time`](Self::time), in ticks.
    #[must_use]
    pub fn ticks(&self) -> &[u64] {
        &self.ticks
    }

    /// Adds samples that were timed in another process, by the same counter.
    pub fn push_ticks(&mut self, ticks: &[u64]) {
        self.ticks.extend_from_slice(ticks);
    }

    /// Adds a sample that was timed elsewhere, in picoseconds.
    pub fn push_ps(&mut self, ps: u64) {
        self.ps.push(ps);
    }

    fn clear(&mut self) {
        self.ticks.clear();
        self.ps.clear();
    }

    fn record(&self, clock: &Clock, into: &mut Histogram<u64>) {
        let timed_here = self.ticks.iter().enumerate().map(|(nth, t)| clock.to_ps(*t, nth));
        for ps in timed_here.chain(self.ps.iter().copied()) {
            into.saturating_record(ps);
        }
    }
}

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Complete repetitions; a goal has to hold in most of them.
    pub runs: usize,
    /// Turns of each case within a run.
    pub rounds: usize,
    /// Length of a turn; a case that is slower than this gets one sample.
    pub turn: Duration,
    /// Length of the warm-up before each turn.
    pub warm_up: Duration,
}

/// Percentiles in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary {
    /// Median.
    pub p50_ns: f64,
    /// 90 of 100 are no slower.
    pub p90_ns: f64,
    /// 99 of 100 are no slower.
    pub p99_ns: f64,
    /// 999 of 1000 are no slower.
    pub p999_ns: f64,
    /// The slowest.
    pub max_ns: f64,
    /// The time that passed, over the samples.
    pub mean_ns: f64,
    /// Number of samples.
    pub samples: u64,
}

impl Summary {
    /// Reads a histogram of picoseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            max_ns: histogram.max() as f64 / 1e3,
            mean_ns: histogram.mean() / 1e3,
            samples: histogram.len(),
        }
    }
}

/// What became of a case.
#[derive(Debug)]
pub struct Outcome {
    /// As the case says.
    pub name: &'static str,
    /// As the case says.
    pub description: &'static str,
    /// Picoseconds, one histogram a run; empty if the case was skipped or failed.
    pub runs: Vec<Histogram<u64>>,
    /// Figures that are no times, one map a run.
    pub scalars: Vec<BTreeMap<&'static str, f64>>,
    /// Why there are no figures.
    pub error: Option<BenchError>,
}

impl Outcome {
    /// All runs together.
    #[must_use]
    pub fn merged(&self) -> Option<Histogram<u64>> {
        let mut merged = self.runs.first()?.clone();
        for run in &self.runs[1..] {
            // Same bounds, so adding cannot fail; `add` reports that as a Result.
            merged.add(run).ok()?;
        }
        Some(merged).filter(|histogram| !histogram.is_empty())
    }
}

struct Entry {
    outcome: Outcome,
    // None once the case is out of the running.
    runner: Option<Box<dyn Runner>>,
    samples: usize,
    warm_up_samples: usize,
    few: Option<Few>,
}

impl Entry {
    fn has_turn(&self, round: usize, rounds: usize) -> bool {
        self.few.is_none_or(|few| few.has(round, rounds))
    }

    fn guard<T>(&mut self, result: Result<T, BenchError>) -> Option<T> {
        result
            .map_err(|error| {
                self.runner = None;
                self.outcome.runs.clear();
                self.outcome.error = Some(error);
            })
            .ok()
    }
}

/// Sets up all cases, then measures them in turns. `progress` hears of each run as it begins.
pub fn measure(
    cases: &[Box<dyn Case>],
    context: &Context,
    plan: Plan,
    clock: &Clock,
    mut progress: impl FnMut(usize),
) -> Vec<Outcome> {
    let mut slice = Slice::new();
    let mut entries: Vec<_> =
        cases.iter().map(|case| prepare(case.as_ref(), context, plan, &mut slice)).collect();
    for run in 0..plan.runs {
        progress(run);
        for entry in &mut entries {
            entry.outcome.runs.push(empty_histogram());
        }
        for round in 0..plan.rounds {
            let now = entries.iter_mut().filter(|entry| entry.has_turn(round, plan.rounds));
            let mut now: Vec<_> = now.collect();
            // There and back: nobody always comes after the same neighbour, whose data fill the caches.
            if round % 2 == 1 {
                now.reverse();
            }
            now.into_iter().for_each(|entry| take_turn(entry, clock, &mut slice));
        }
        entries.iter_mut().for_each(collect_scalars);
    }
    nix::unistd::alarm::cancel();
    entries.into_iter().map(finish).collect()
}

fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_PS, DIGITS).expect("constant bounds within the type's")
}

fn prepare(case: &dyn Case, context: &Context, plan: Plan, slice: &mut Slice) -> Entry {
    let outcome = Outcome {
        name: case.name(),
        description: case.description(),
        runs: Vec::new(),
        scalars: Vec::new(),
        error: None,
    };
    let few = case.few();
    let mut entry = Entry { outcome, runner: None, samples: 0, warm_up_samples: 0, few };
    let ready = case.setup(context).and_then(|mut runner| {
        nix::unistd::alarm::set(TURN_LIMIT_S);
        runner.resume()?;
        runner.check()?;
        let sample = match few {
            None => sample_time(runner.as_mut(), plan.turn, slice)?,
            Some(_) => Duration::MAX,
        };
        runner.pause()?;
        Ok((runner, sample))
    });
    nix::unistd::alarm::cancel();
    if let Some((runner, sample)) = entry.guard(ready) {
        let fit = |time: Duration| (time.as_secs_f64() / sample.as_secs_f64()) as usize;
        entry.runner = Some(runner);
        entry.samples = few.map_or(fit(plan.turn), |few| few.samples).clamp(1, MAX_SAMPLES);
        let warm_up = case.warm_up().unwrap_or(plan.warm_up);
        entry.warm_up_samples = fit(warm_up).min(MAX_SAMPLES);
    }
    entry
}

/// About how long one sample takes: from ever more of them until they fill half a turn, then the
/// best of three, because a neighbour's burst would leave the case with too few samples.
fn sample_time(
    runner: &mut dyn Runner,
    turn: Duration,
    slice: &mut Slice,
) -> Result<Duration, BenchError> {
    let mut samples = 1;
    let mut passed = time_of(runner, samples, slice)?;
    while passed < turn / 2 && samples * 2 <= MAX_SAMPLES {
        samples *= 2;
        passed = time_of(runner, samples, slice)?;
    }
    for _ in 0..2 {
        passed = passed.min(time_of(runner, samples, slice)?);
    }
    let each = passed.as_nanos() / samples as u128;
    Ok(Duration::from_nanos(u64::try_from(each).unwrap_or(u64::MAX).max(1)))
}

fn time_of(
    runner: &mut dyn Runner,
    samples: usize,
    slice: &mut Slice,
) -> Result<Duration, BenchError> {
    slice.clear();
    let start = Instant::now();
    runner.run(samples, slice)?;
    Ok(start.elapsed())
}

fn take_turn(entry: &mut Entry, clock: &Clock, slice: &mut Slice) {
    let Some(runner) = entry.runner.as_mut() else { return };
    nix::unistd::alarm::set(TURN_LIMIT_S);
    let turn = runner.resume().and_then(|()| {
        slice.clear();
        if entry.warm_up_samples > 0 {
            runner.run(entry.warm_up_samples, slice)?;
        }
        slice.clear();
        runner.run(entry.samples, slice)?;
        runner.pause()
    });
    if entry.guard(turn).is_none() {
        return;
    }
    if let Some(histogram) = entry.outcome.runs.last_mut() {
        slice.record(clock, histogram);
    }
}

fn collect_scalars(entry: &mut Entry) {
    if let Some(runner) = entry.runner.as_mut() {
        entry.outcome.scalars.push(runner.scalars().into_iter().collect());
    }
}

fn finish(entry: Entry) -> Outcome {
    let mut outcome = entry.outcome;
    if outcome.error.is_some() {
        outcome.runs.clear();
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_turns_are_spread_over_the_rounds() {
        let rounds_of = |turns, rounds| {
            let few = Few { turns, samples: 1 };
            (0..rounds).filter(|round| few.has(*round, rounds)).collect::<Vec<_>>()
        };
        assert_eq!(rounds_of(1, 30), [29]);
        assert_eq!(rounds_of(5, 30), [5, 11, 17, 23, 29]);
        assert_eq!(rounds_of(5, 2), [0, 1]);
        assert_eq!(rounds_of(0, 30), [0; 0]);
    }
}
