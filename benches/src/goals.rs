//! The goals of the project that these benchmarks can judge, and the verdict on each.
//!
//! A goal is a list of bounds over one run's figures. It holds in a run when all its bounds do, and
//! is met when it holds in three of five runs (in general: in more than half). A goal whose cases
//! have no figures is not measured, which is neither met nor missed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cases::crowd::SILENCE;
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

    /// What a case took in this run.
    pub fn case(&self, name: &'static str) -> Result<&Summary, Missing> {
        self.cases.get(name).ok_or(Missing(name))
    }

    fn scalar(&self, name: &'static str) -> Result<f64, Missing> {
        self.scalars.get(name).copied().ok_or(Missing(name))
    }
}

/// A case or figure that a goal needs and that was not measured.
#[derive(Clone, Copy, Debug)]
pub struct Missing(&'static str);

/// Something that must not exceed something, or must reach it.
#[derive(Debug)]
pub struct Bound {
    what: &'static str,
    value: f64,
    wanted: Wanted,
    unit: Unit,
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    AtMost(f64),
    AtLeast(f64),
}
use Wanted::{AtLeast, AtMost};

impl Bound {
    /// `value` takes at least that many times as long as `base`.
    #[must_use]
    pub fn at_least_times(what: &'static str, value: f64, base: f64, at_least: f64) -> Self {
        Self { what, value: value / base, wanted: AtLeast(at_least), unit: Unit::Times }
    }

    /// 0.1 is 10 % on the wrong side of the bound; negative is room left.
    fn excess(&self) -> f64 {
        match self.wanted {
            AtMost(bound) => self.value / bound - 1.0,
            AtLeast(bound) => 1.0 - self.value / bound,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Times,
    Ns,
    Ms,
    Percent,
    MillionsPerSecond,
    KiB,
    MiB,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Times => format!("{value:.2}x"),
            Unit::Ns => format!("{value:.0} ns"),
            Unit::Ms => format!("{value:.2} ms"),
            Unit::Percent => format!("{value:.2} %"),
            Unit::MillionsPerSecond => format!("{value:.2} M/s"),
            Unit::KiB => format!("{value:.0} KiB"),
            Unit::MiB => format!("{value:.1} MiB"),
        }
    }
}

/// What a goal asks of one run, or the case it misses there.
pub type Bounds = Result<Vec<Bound>, Missing>;

/// What is wanted of a run.
#[derive(Debug)]
pub struct Goal {
    /// P1, P2, ...
    pub id: &'static str,
    /// In words.
    pub text: &'static str,
    /// In figures.
    pub bounds: fn(&RunFigures) -> Bounds,
}

/// The goals that Ringfence's own cases have figures for.
pub const GOALS: [Goal; 10] = [
    Goal { id: "P1", text: "a Rust call costs little more than the cache line", bounds: p1 },
    Goal { id: "P2", text: "a Python call costs its in-process twin and a cache line", bounds: p2 },
    Goal { id: "P3", text: "rates hold, with one client and with a crowd", bounds: p3 },
    Goal { id: "P4", text: "a message costs little more than a call", bounds: p4 },
    Goal { id: "P5", text: "large payloads cost what copying them costs", bounds: p5 },
    Goal { id: "P6", text: "a search through the daemon is as fast as in process", bounds: p6 },
    Goal { id: "P7", text: "an idle daemon costs nothing, and wakes quickly", bounds: p7 },
    Goal { id: "P8", text: "who says nothing costs nobody anything", bounds: p8 },
    Goal { id: "P9", text: "sessions and the daemon are small", bounds: p9 },
    Goal { id: "P10", text: "connecting and importing go unnoticed", bounds: p10 },
];

fn times(what: &'static str, value: f64, base: f64, at_most: f64) -> Bound {
    Bound { what, value: value / base, wanted: AtMost(at_most), unit: Unit::Times }
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
            wanted: AtMost(inproc.p50_ns + 1.5 * limit.p50_ns),
            unit: Unit::Ns,
        },
        times("python-inproc-echo p50 / pyo3-bare-echo p50", inproc.p50_ns, bare.p50_ns, 2.5),
    ])
}

fn percent(what: &'static str, value: f64, wanted: Wanted) -> Bound {
    Bound { what, value, wanted, unit: Unit::Percent }
}

/// The rate of the median batch: each has counted its answers.
fn rate(what: &'static str, case: &Summary, at_least: f64) -> Bound {
    let unit = Unit::MillionsPerSecond;
    Bound { what, value: 1e3 / case.p50_ns, wanted: AtLeast(at_least), unit }
}

fn p3(run: &RunFigures) -> Bounds {
    let (rust, python) = (run.case("rust-echo-many")?, run.case("python-echo-many")?);
    let (one, eight) = (
        run.scalar("busy clients: 1: adaptive M/s")?,
        run.scalar("busy clients: 8: adaptive M/s")?,
    );
    Ok(vec![
        rate("rust-echo-many", rust, 20.0),
        percent("8 busy clients of what 1 gets", eight / one * 100.0, AtLeast(85.0)),
        rate("python-echo-many", python, 5.0),
    ])
}

fn p4(run: &RunFigures) -> Bounds {
    let (limit, bus, many) = (run.case(LIMIT)?, run.case("bus")?, run.case("bus-many")?);
    Ok(vec![
        times("bus p50 / limit p50", bus.p50_ns, limit.p50_ns, 1.5),
        rate("bus-many", many, 10.0),
    ])
}

fn p5(run: &RunFigures) -> Bounds {
    let (small, large) = (run.case("bulk-out-1m")?, run.case("bulk-out-64m")?);
    let (memcpy, copied) = (run.case("memcpy-64m")?, run.case("bulk-in-64m")?);
    let mut bounds = vec![
        times("view of 64 MiB p50 / of 1 MiB", large.p50_ns, small.p50_ns, 1.2),
        times("64 MiB in p50 / memcpy p50", copied.p50_ns, memcpy.p50_ns, 2.5),
    ];
    // No such case yet.
    if let Ok(loaned) = run.case("bulk-in-64m-loaned") {
        bounds.push(times("64 MiB in, loaned / memcpy p50", loaned.p50_ns, memcpy.p50_ns, 1.2));
    }
    Ok(bounds)
}

fn p7(run: &RunFigures) -> Bounds {
    let (first, futex) = (run.case("first-call")?, run.case("futex-ping-pong")?);
    let idle = run.scalar("idle-daemon % of a core")?;
    Ok(vec![
        percent("100 silent sessions, of a core", idle, AtMost(0.5)),
        times("first-call p50 / futex-ping-pong p50", first.p50_ns, futex.p50_ns, 1.3),
    ])
}

fn p8(run: &RunFigures) -> Bounds {
    let ratio = run.scalar(SILENCE)?;
    Ok(vec![Bound { what: SILENCE, value: ratio, wanted: AtMost(1.2), unit: Unit::Times }])
}

fn p9(run: &RunFigures) -> Bounds {
    let (session, base) = (run.scalar("memory-session KiB")?, run.scalar("memory-base MiB")?);
    Ok(vec![
        Bound { what: "a session", value: session, wanted: AtMost(256.0), unit: Unit::KiB },
        Bound { what: "the daemon's base", value: base, wanted: AtMost(32.0), unit: Unit::MiB },
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
        percent("boundary share", share * 100.0, AtMost(1.5)),
    ])
}

fn p10(run: &RunFigures) -> Bounds {
    let (connect, import) = (run.case("connect")?, run.case("python-import")?);
    let ms = |what, ns, at_most| Bound {
        what,
        value: ns / 1e6,
        wanted: AtMost(at_most),
        unit: Unit::Ms,
    };
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

/// Judges every one of `goals`.
#[must_use]
pub fn judge(goals: &[Goal], runs: &[RunFigures]) -> Vec<Verdict> {
    goals.iter().map(|goal| verdict(goal, runs)).collect()
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
    let Bound { what, value, wanted, unit } = median;
    let (sign, bound) = match wanted {
        AtMost(bound) => ("<=", bound),
        AtLeast(bound) => (">=", bound),
    };
    let figures = format!("{} ({sign} {})", unit.show(*value), unit.show(*bound));
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
        judge(&GOALS, &runs).swap_remove(0)
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
        let verdict = judge(&GOALS, &[figures(&slow_greeter)]).swap_remove(0);
        assert_eq!(verdict.state, State::Missed, "{}", verdict.line);
    }

    fn with_scalars(cases: &[(&'static str, f64)], scalars: &[(&'static str, f64)]) -> RunFigures {
        RunFigures { scalars: scalars.iter().copied().collect(), ..figures(cases) }
    }

    fn goal(id: &str, runs: &[RunFigures]) -> Verdict {
        judge(&GOALS, runs).into_iter().find(|verdict| verdict.id == id).unwrap()
    }

    #[test]
    fn a_rival_has_to_take_so_many_times_as_long() {
        let rival = |run: &RunFigures| {
            let (theirs, ours) = (run.case("theirs")?, run.case("ours")?);
            Ok(vec![Bound::at_least_times("theirs / ours", theirs.p50_ns, ours.p50_ns, 3.0)])
        };
        let goals = [Goal { id: "P0", text: "far ahead", bounds: rival }];
        let line = |theirs| judge(&goals, &[figures(&[("theirs", theirs), ("ours", 100.0)])]);
        assert_eq!(line(310.0)[0].state, State::Met);
        assert_eq!(line(270.0)[0].state, State::Missed);
        assert!(line(270.0)[0].line.ends_with("theirs / ours 2.70x (>= 3.00x), missed by 10 %"));
    }

    #[test]
    fn a_rate_has_to_be_reached() {
        let run = |rust_ns, python_ns, eight| {
            let cases = [("rust-echo-many", rust_ns), ("python-echo-many", python_ns)];
            let (one, eight) =
                (("busy clients: 1: adaptive M/s", 8.0), ("busy clients: 8: adaptive M/s", eight));
            goal("P3", &[with_scalars(&cases, &[one, eight])])
        };
        let verdict = run(50.0, 200.0, 6.8);
        assert_eq!(verdict.state, State::Met, "{}", verdict.line);
        for slow in [run(51.0, 200.0, 6.8), run(50.0, 201.0, 6.8), run(50.0, 200.0, 6.7)] {
            assert_eq!(slow.state, State::Missed, "{}", slow.line);
        }
        let half = run(100.0, 200.0, 8.0).line;
        assert!(half.contains("10.00 M/s (>= 20.00 M/s), missed by 50 %"), "{half}");
        assert!(half.contains("100.00 % (>= 85.00 %);"), "{half}");
    }

    #[test]
    fn large_payloads_are_judged_against_a_small_one_and_a_memcpy() {
        let run = |out, copied, loaned: Option<f64>| {
            let mut cases = vec![("bulk-out-1m", 10.0), ("bulk-out-64m", out)];
            cases.extend([("memcpy-64m", 100.0), ("bulk-in-64m", copied)]);
            cases.extend(loaned.map(|ns| ("bulk-in-64m-loaned", ns)));
            goal("P5", &[figures(&cases)])
        };
        assert_eq!(run(12.0, 250.0, None).state, State::Met);
        assert_eq!(run(12.0, 250.0, Some(120.0)).state, State::Met);
        assert_eq!(run(12.2, 250.0, None).state, State::Missed);
        assert_eq!(run(12.0, 251.0, None).state, State::Missed);
        assert_eq!(run(12.0, 250.0, Some(121.0)).state, State::Missed);
    }

    #[test]
    fn an_idle_daemon_is_judged_by_a_core_and_by_a_wake_up() {
        let run = |share, first| {
            let cases = [("first-call", first), ("futex-ping-pong", 40_000.0)];
            goal("P7", &[with_scalars(&cases, &[("idle-daemon % of a core", share)])])
        };
        assert_eq!(run(0.5, 52_000.0).state, State::Met);
        assert_eq!(run(0.6, 52_000.0).state, State::Missed);
        assert_eq!(run(0.5, 53_000.0).state, State::Missed);
    }

    #[test]
    fn a_silent_crowd_is_judged_by_what_it_costs_one_who_calls() {
        let run = |ratio| goal("P8", &[with_scalars(&[], &[(SILENCE, ratio)])]);
        assert_eq!((run(1.2).state, run(1.21).state), (State::Met, State::Missed));
    }

    #[test]
    fn memory_is_judged_by_session_and_by_daemon() {
        let run = |session, base| {
            let sizes = [("memory-session KiB", session), ("memory-base MiB", base)];
            goal("P9", &[with_scalars(&[], &sizes)])
        };
        assert_eq!(run(256.0, 32.0).state, State::Met);
        assert_eq!(run(257.0, 32.0).state, State::Missed);
        let large = run(256.0, 33.0).line;
        assert!(large.contains("33.0 MiB (<= 32.0 MiB), missed by 3 %"), "{large}");
    }

    #[test]
    fn a_goal_without_figures_is_neither_met_nor_missed() {
        for runs in [vec![], vec![figures(&[(LIMIT, 100.0)])]] {
            let verdicts = judge(&GOALS, &runs);
            assert!(verdicts.iter().all(|verdict| verdict.state == State::NotMeasured));
        }
        assert!(judge(&GOALS, &[figures(&[(LIMIT, 1.0)])])[0].line.contains("rust-echo"));
    }
}
