//! The goals of the project that these benchmarks can judge, and the verdict on each.
//!
//! A goal is a list of bounds over one run's figures. It holds in a run when all its bounds do, and
//! is met when it holds in three of five runs (in general: in more than half). A goal whose cases
//! have no figures is not measured, which is neither met nor missed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::harness::{LIMIT, Outcome, Summary};

/// The figures of one run.
#[derive(Debug, Default)]
pub struct RunFigures {
    /// By case.
    pub cases: BTreeMap<&'static str, Summary>,
    /// By the name the case gave.
    pub scalars: BTreeMap<&'static str, f64>,
}

impl RunFigures {
    /// Sorts outcomes by run.
    #[must_use]
    pub fn by_run(outcomes: &[Outcome]) -> Vec<Self> {
        let runs = outcomes.iter().map(|outcome| outcome.runs.len()).max().unwrap_or(0);
        (0..runs).map(|run| Self::of_run(outcomes, run)).collect()
    }

    fn of_run(outcomes: &[Outcome], run: usize) -> Self {
        let mut figures = Self::default();
        for outcome in outcomes {
            let histogram = outcome.runs.get(run).filter(|histogram| !histogram.is_empty());
            if let Some(histogram) = histogram {
                figures.cases.insert(outcome.name, Summary::of(histogram));
            }
            figures.scalars.extend(outcome.scalars.get(run).into_iter().flatten());
        }
        figures
    }

    fn case(&self, name: &'static str) -> Result<&Summary, Missing> {
        self.cases.get(name).ok_or(Missing(name))
    }

    fn scalar(&self, name: &'static str) -> Result<f64, Missing> {
        self.scalars.get(name).copied().ok_or(Missing(name))
    }
}

/// A case or figure that a goal needs and that was not measured.
#[derive(Clone, Copy, Debug)]
struct Missing(&'static str);

/// Something that must not exceed something.
struct Bound {
    what: &'static str,
    value: f64,
    at_most: f64,
    unit: Unit,
}

impl Bound {
    /// 0.1 is 10 % above the bound; negative is room left.
    fn excess(&self) -> f64 {
        self.value / self.at_most - 1.0
    }
}

#[derive(Clone, Copy)]
enum Unit {
    Times,
    Ns,
    Ms,
    Percent,
}

type Bounds = Result<Vec<Bound>, Missing>;

struct Goal {
    id: &'static str,
    text: &'static str,
    bounds: fn(&RunFigures) -> Bounds,
}

const GOALS: [Goal; 4] = [
    Goal { id: "P1", text: "a Rust call costs little more than the cache line", bounds: p1 },
    Goal { id: "P2", text: "a Python call costs its in-process twin and a cache line", bounds: p2 },
    Goal { id: "P6", text: "a search through the daemon is as fast as in process", bounds: p6 },
    Goal { id: "P10", text: "connecting and importing go unnoticed", bounds: p10 },
];

fn times(what: &'static str, value: f64, base: f64, at_most: f64) -> Bound {
    Bound { what, value: value / base, at_most, unit: Unit::Times }
}

fn p1(run: &RunFigures) -> Bounds {
    let (limit, echo) = (run.case(LIMIT)?, run.case("rust-echo")?);
    let greeter = run.case("greeter")?;
    Ok(vec![
        times("rust-echo p50 / limit p50", echo.p50_ns, limit.p50_ns, 1.5),
        times("rust-echo p99 / limit p99", echo.p99_ns, limit.p99_ns, 2.0),
        times("greeter p50 / rust-echo p50", greeter.p50_ns, echo.p50_ns, 1.1),
    ])
}

fn p2(run: &RunFigures) -> Bounds {
    let (limit, bare) = (run.case(LIMIT)?, run.case("pyo3-bare-echo")?);
    let (echo, inproc) = (run.case("python-echo")?, run.case("python-inproc-echo")?);
    Ok(vec![
        Bound {
            what: "python-echo p50, against python-inproc-echo + 1.5 limit",
            value: echo.p50_ns,
            at_most: inproc.p50_ns + 1.5 * limit.p50_ns,
            unit: Unit::Ns,
        },
        times("python-inproc-echo p50 / pyo3-bare-echo p50", inproc.p50_ns, bare.p50_ns, 2.5),
    ])
}

fn p6(run: &RunFigures) -> Bounds {
    let (search, inproc) = (run.case("vectors-search")?, run.case("vectors-search-inproc")?);
    let (batch, batch_inproc) = (run.case("vectors-batch")?, run.case("vectors-batch-inproc")?);
    let share = run.scalar("vectors-boundary-share")?;
    Ok(vec![
        times("vectors-search p50 / in process", search.p50_ns, inproc.p50_ns, 1.02),
        // At least 97 % of the rate is at most 1 / 0.97 of the time.
        times("vectors-batch time / in process", batch.mean_ns, batch_inproc.mean_ns, 1.0 / 0.97),
        Bound { what: "boundary share", value: share * 100.0, at_most: 1.5, unit: Unit::Percent },
    ])
}

fn p10(run: &RunFigures) -> Bounds {
    let (connect, import) = (run.case("connect")?, run.case("python-import")?);
    let ms = |what, ns, at_most| Bound { what, value: ns / 1e6, at_most, unit: Unit::Ms };
    Ok(vec![ms("connect p50", connect.p50_ns, 2.0), ms("python-import p50", import.p50_ns, 30.0)])
}

/// How a goal fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It held in more than half of the runs.
    Met,
    /// It did not.
    Missed,
    /// A case it needs has no figures.
    NotMeasured,
}

/// The verdict on one goal.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// P1, P2, ...
    pub id: &'static str,
    /// How it fared.
    pub state: State,
    /// The whole verdict in one line.
    pub line: String,
}

/// Judges every goal.
#[must_use]
pub fn judge(runs: &[RunFigures]) -> Vec<Verdict> {
    GOALS.iter().map(|goal| verdict(goal, runs)).collect()
}

fn verdict(goal: &Goal, runs: &[RunFigures]) -> Verdict {
    let Goal { id, text, bounds } = goal;
    let not_measured = |why: String| Verdict {
        id,
        state: State::NotMeasured,
        line: format!("{id:<4} not measured: {text} ({why})"),
    };
    let by_run = match runs.iter().map(bounds).collect::<Result<Vec<_>, _>>() {
        Ok(by_run) if by_run.is_empty() => return not_measured(String::from("no runs")),
        Ok(by_run) => by_run,
        Err(Missing(name)) => return not_measured(format!("no figures for {name}")),
    };
    let holds = |bounds: &Vec<Bound>| bounds.iter().all(|bound| bound.excess() <= 0.0);
    let held = by_run.iter().filter(|bounds| holds(bounds)).count();
    let met = held * 2 > by_run.len();
    let (state, word) = if met { (State::Met, "met") } else { (State::Missed, "MISSED") };
    let details: Vec<_> = (0..by_run[0].len()).map(|nth| describe(nth, &by_run)).collect();
    let details = details.join("; ");
    let line = format!("{id:<4} {word} in {held} of {} runs: {text}: {details}", by_run.len());
    Verdict { id, state, line }
}

/// The `nth` bound in its median run, and by how much it was missed there.
fn describe(nth: usize, by_run: &[Vec<Bound>]) -> String {
    let mut bounds: Vec<_> = by_run.iter().map(|bounds| &bounds[nth]).collect();
    bounds.sort_by(|a, b| a.excess().total_cmp(&b.excess()));
    let median = bounds[bounds.len() / 2];
    let Bound { what, value, at_most, unit } = median;
    let figures = match unit {
        Unit::Times => format!("{value:.2}x (<= {at_most:.2}x)"),
        Unit::Ns => format!("{value:.0} ns (<= {at_most:.0} ns)"),
        Unit::Ms => format!("{value:.2} ms (<= {at_most:.2} ms)"),
        Unit::Percent => format!("{value:.2} % (<= {at_most:.2} %)"),
    };
    if median.excess() <= 0.0 {
        return format!("{what} {figures}");
    }
    format!("{what} {figures}, missed by {:.0} %", (median.excess() * 100.0).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(cases: &[(&'static str, f64)]) -> RunFigures {
        let summary = |ns: f64| Summary {
            p50_ns: ns,
            p90_ns: ns,
            p99_ns: ns,
            p999_ns: ns,
            max_ns: ns,
            mean_ns: ns,
            samples: 1,
        };
        let cases = cases.iter().map(|(name, ns)| (*name, summary(*ns))).collect();
        RunFigures { cases, scalars: BTreeMap::new() }
    }

    fn p1_of(echoes_ns: &[f64]) -> Verdict {
        let run = |echo: &f64| figures(&[(LIMIT, 100.0), ("rust-echo", *echo), ("greeter", *echo)]);
        let runs: Vec<_> = echoes_ns.iter().map(run).collect();
        judge(&runs).swap_remove(0)
    }

    #[test]
    fn three_of_five_runs_meet_a_goal_and_two_do_not() {
        let verdict = p1_of(&[140.0, 140.0, 140.0, 190.0, 190.0]);
        assert_eq!(verdict.state, State::Met, "{}", verdict.line);
        let verdict = p1_of(&[140.0, 140.0, 165.0, 190.0, 190.0]);
        assert_eq!(verdict.state, State::Missed);
        assert!(verdict.line.contains("in 2 of 5 runs"), "{}", verdict.line);
        assert!(verdict.line.contains("1.65x (<= 1.50x), missed by 10 %"), "{}", verdict.line);
    }

    #[test]
    fn one_bound_of_several_misses_the_goal() {
        let slow_greeter = [(LIMIT, 100.0), ("rust-echo", 120.0), ("greeter", 140.0)];
        let verdict = judge(&[figures(&slow_greeter)]).swap_remove(0);
        assert_eq!(verdict.state, State::Missed, "{}", verdict.line);
    }

    #[test]
    fn a_goal_without_figures_is_neither_met_nor_missed() {
        for runs in [vec![], vec![figures(&[(LIMIT, 100.0)])]] {
            let verdicts = judge(&runs);
            assert!(verdicts.iter().all(|verdict| verdict.state == State::NotMeasured));
        }
        assert!(judge(&[figures(&[(LIMIT, 1.0)])])[0].line.contains("rust-echo"));
    }
}
