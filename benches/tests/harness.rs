//! What the harness promises to every case: turns, a check before timing, and that one bad case
//! harms no other. The cases here time nothing real.
// Helpers of tests fail by panicking.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use ringfence_benches::BenchError;
use ringfence_benches::clock::Clock;
use ringfence_benches::goals;
use ringfence_benches::harness::{Case, Context, Few, Outcome, Plan, Runner, Slice, measure};
use ringfence_benches::machine::Machine;
use ringfence_benches::report::Report;

const PLAN: Plan =
    Plan { runs: 2, rounds: 3, turn: Duration::from_millis(1), warm_up: Duration::ZERO };
/// What every sample of a fake case says, in picoseconds.
const SAMPLE_PS: u64 = 70_000;

type Log = Rc<RefCell<Vec<(&'static str, &'static str)>>>;

#[derive(Clone)]
struct Fake {
    name: &'static str,
    log: Log,
    wrong: bool,
}

impl Case for Fake {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> &'static str {
        "a fake"
    }

    fn few(&self) -> Option<Few> {
        (self.name == "rare").then_some(Few { turns: 2, samples: 3 })
    }

    fn setup(&self, _context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        if self.name == "absent" {
            return Err(BenchError::Skipped(String::from("not here")));
        }
        Ok(Box::new(self.clone()))
    }
}

impl Fake {
    fn did(&self, what: &'static str) {
        self.log.borrow_mut().push((self.name, what));
    }
}

impl Runner for Fake {
    fn check(&mut self) -> Result<(), BenchError> {
        self.did("check");
        if !self.wrong {
            return Ok(());
        }
        let (expected, got) = (String::from("1"), String::from("2"));
        Err(BenchError::WrongAnswer { request: 0, expected, got })
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        self.did("run");
        (0..samples).for_each(|_| slice.push_ps(SAMPLE_PS));
        Ok(())
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.did("resume");
        Ok(())
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.did("pause");
        Ok(())
    }

    fn scalars(&mut self) -> Vec<(&'static str, f64)> {
        vec![("share", 0.25)]
    }
}

fn outcomes(names: &[(&'static str, bool)]) -> (Vec<Outcome>, Vec<(&'static str, &'static str)>) {
    let log = Log::default();
    let fake = |(name, wrong): &(&'static str, bool)| -> Box<dyn Case> {
        Box::new(Fake { name, log: Rc::clone(&log), wrong: *wrong })
    };
    let cases: Vec<_> = names.iter().map(fake).collect();
    let context = Context { exe: PathBuf::new(), python: PathBuf::new(), target: None };
    let outcomes = measure(&cases, &context, PLAN, &Clock::calibrate(), |_| {});
    drop(cases);
    (outcomes, Rc::into_inner(log).unwrap().into_inner())
}

#[test]
fn cases_take_turns_and_never_overlap() {
    let (outcomes, log) = outcomes(&[("limit", false), ("other", false)]);
    let turns: Vec<_> = log.iter().filter(|(_, what)| *what == "resume").map(|t| t.0).collect();
    // One turn each to be set up, then rounds, of which every second one goes backwards.
    let rounds = (0..PLAN.rounds).flat_map(|round| match round % 2 {
        0 => ["limit", "other"],
        _ => ["other", "limit"],
    });
    let runs: Vec<_> = rounds.collect::<Vec<_>>().repeat(PLAN.runs);
    assert_eq!(turns, [&["limit", "other"], &runs[..]].concat());
    let mut awake = None;
    for (name, what) in &log {
        match *what {
            "resume" => assert_eq!(awake.replace(*name), None, "{log:?}"),
            "pause" => assert_eq!(awake.take(), Some(*name), "{log:?}"),
            _ => assert_eq!(awake, Some(*name), "{log:?}"),
        }
    }
    for outcome in &outcomes {
        assert_eq!(outcome.runs.len(), PLAN.runs);
        assert_eq!(outcome.scalars.len(), PLAN.runs);
    }
}

#[test]
fn a_slow_case_has_its_samples_and_no_others() {
    let (outcomes, log) = outcomes(&[("limit", false), ("rare", false)]);
    let count = |what| log.iter().filter(|did| **did == ("rare", what)).count();
    // To be set up it is checked, and not timed.
    assert_eq!(count("check"), 1);
    assert_eq!(count("run"), PLAN.runs * 2);
    assert_eq!(count("resume"), 1 + PLAN.runs * 2);
    assert_eq!(count("pause"), count("resume"));
    let samples: Vec<_> = outcomes[1].runs.iter().map(|run| run.len()).collect();
    assert_eq!(samples, vec![6; PLAN.runs]);
}

#[test]
fn a_wrong_answer_is_never_timed_and_spoils_nothing_else() {
    let (outcomes, log) = outcomes(&[("limit", false), ("liar", true), ("absent", false)]);
    assert!(!log.contains(&("liar", "run")));
    assert!(matches!(outcomes[1].error, Some(BenchError::WrongAnswer { .. })));
    assert!(outcomes[1].merged().is_none());
    assert!(outcomes[2].error.as_ref().unwrap().is_skip());
    assert!(outcomes[0].merged().is_some());
}

#[test]
fn the_report_has_the_figures_and_the_reasons() {
    let (outcomes, _log) = outcomes(&[("limit", false), ("liar", true), ("other", false)]);
    let machine = Machine::read(&Clock::calibrate(), &PathBuf::from("python3"), 2);
    let report = Report::new(machine, &outcomes, goals::judge(&goals::GOALS, &[]));
    let dir = std::env::temp_dir().join(format!("ringfence-benches-{}", std::process::id()));
    report.write(&dir).unwrap();
    let read = |name| std::fs::read_to_string(dir.join(name)).unwrap();
    let (json, markdown, svg) = (read("results.json"), read("results.md"), read("percentiles.svg"));
    std::fs::remove_dir_all(&dir).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let p50_ns = json["cases"][2]["p50_ns"].as_f64().unwrap();
    assert!((p50_ns - 70.0).abs() < 0.1, "{p50_ns}");
    assert_eq!(json["cases"][2]["ratio_to_limit"]["p50"], 1.0);
    assert!(json["cases"][1]["reason"].as_str().unwrap().contains("wrong answer"));
    assert!(markdown.contains("| other |   70.0 |"), "{markdown}");
    assert!(markdown.contains("| liar  |      - |"), "{markdown}");
    assert!(markdown.contains("liar: wrong answer"), "{markdown}");
    assert!(markdown.contains("P1   not measured"), "{markdown}");
    assert_eq!(json["figures"][0]["name"], "share");
    assert_eq!(json["figures"][0]["median"], 0.25);
    assert!(markdown.contains("- share: 0.250 (runs: 0.250 to 0.250)"), "{markdown}");
    assert!(svg.contains("99.9 %") && svg.contains("other"));
}
