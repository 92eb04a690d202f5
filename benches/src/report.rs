//! Writes what was measured: `results.json` for programs, `results.md` for readers (the same table
//! that is printed), `percentiles.svg` for the eye. It computes nothing but ratios.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::BenchError;
use crate::goals::Verdict;
use crate::harness::{LIMIT, Outcome, Summary};
use crate::machine::Machine;

mod figures;
mod plot;

const METHOD: &str = "All cases take turns in one run, both sides pinned. A sample reaches from the \
end of one operation to the end of the next by one reading of the time stamp counter, for the \
limit as for all others; nothing is subtracted. Python cases are timed in batches of 100 calls, \
the loop included, and *-many in batches of thousands: their p99 is one of batches. A case that says so times each call. Cases with busy or silent clients \
have a daemon of their own that nobody pinned. All runs are merged here; goals are judged run by \
run.";

/// Everything that is written down.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: Machine,
    method: &'static str,
    cases: Vec<CaseReport>,
    /// Shares, rates and sizes, over all runs.
    figures: Vec<figures::Figure>,
    /// Those that belong together, again.
    tables: Vec<figures::Table>,
    goals: Vec<Verdict>,
}

#[derive(Debug, Serialize)]
struct CaseReport {
    name: &'static str,
    description: &'static str,
    /// All runs merged; none if it was skipped or failed.
    #[serde(flatten)]
    summary: Option<Summary>,
    /// p50 and p99 over the limit's.
    ratio_to_limit: Option<Ratio>,
    runs: Vec<Summary>,
    scalars: Vec<BTreeMap<&'static str, f64>>,
    /// Why there are no figures.
    reason: Option<String>,
    #[serde(skip)]
    curve: Vec<plot::Point>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Ratio {
    p50: f64,
    p99: f64,
}

impl Report {
    /// Puts together what the harness and the goals found.
    #[must_use]
    pub fn new(machine: Machine, outcomes: &[Outcome], goals: Vec<Verdict>) -> Self {
        let limit = outcomes.iter().find(|outcome| outcome.name == LIMIT);
        let limit = limit.and_then(Outcome::merged).map(|histogram| Summary::of(&histogram));
        let cases = outcomes.iter().map(|outcome| CaseReport::new(outcome, limit.as_ref()));
        let cases = cases.collect();
        let figures = figures::of(outcomes);
        let tables = figures::tables(&figures);
        Self { machine, method: METHOD, cases, figures, tables, goals }
    }

    /// The report as Markdown; as readable on a terminal.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = table(&self.cases);
        text.push('\n');
        text.push_str(&figures::markdown(&self.figures, &self.tables));
        text.push('\n');
        for case in &self.cases {
            text.push_str(&format!("- `{}`: {}\n", case.name, case.description));
        }
        text.push('\n');
        for goal in &self.goals {
            text.push_str(&format!("- {}\n", goal.line));
        }
        text.push_str(&format!("\n{METHOD}\n\n"));
        for (name, value) in self.machine.entries() {
            text.push_str(&format!("- {name}: {value}\n"));
        }
        text
    }

    /// Writes all three files into `dir`, which it makes.
    pub fn write(&self, dir: &Path) -> Result<(), BenchError> {
        let cannot = |path: &Path, detail: String| BenchError::Report { path: path.into(), detail };
        std::fs::create_dir_all(dir).map_err(|error| cannot(dir, error.to_string()))?;
        let json = serde_json::to_string_pretty(self);
        let json = json.map_err(|error| cannot(dir, error.to_string()))?;
        let markdown = format!("# Ringfence benchmarks\n\n{}", self.markdown());
        for (name, text) in [("results.json", json + "\n"), ("results.md", markdown)] {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(|error| cannot(&path, error.to_string()))?;
        }
        let curves: Vec<_> = self.cases.iter().map(|case| (case.name, &case.curve[..])).collect();
        let path = dir.join("percentiles.svg");
        plot::draw(&path, &curves).map_err(|detail| cannot(&path, detail))
    }
}

impl CaseReport {
    fn new(outcome: &Outcome, limit: Option<&Summary>) -> Self {
        let merged = outcome.merged();
        let summary = merged.as_ref().map(Summary::of);
        let ratio_to_limit = summary.as_ref().zip(limit).map(|(ours, limit)| Ratio {
            p50: ours.p50_ns / limit.p50_ns,
            p99: ours.p99_ns / limit.p99_ns,
        });
        Self {
            name: outcome.name,
            description: outcome.description,
            summary,
            ratio_to_limit,
            runs: outcome.runs.iter().filter(|run| !run.is_empty()).map(Summary::of).collect(),
            scalars: outcome.scalars.clone(),
            reason: outcome.error.as_ref().map(ToString::to_string),
            curve: merged.as_ref().map(plot::curve).unwrap_or_default(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![String::from(self.name)];
        let (Some(summary), ratio) = (&self.summary, self.ratio_to_limit) else {
            cells.push(self.reason.clone().unwrap_or_else(|| String::from("no figures")));
            return cells;
        };
        let ns = [summary.p50_ns, summary.p90_ns, summary.p99_ns, summary.p999_ns, summary.max_ns];
        cells.extend(ns.map(nanoseconds));
        cells.push(summary.samples.to_string());
        cells.push(ratio.map_or_else(|| String::from("-"), |ratio| format!("{:.2}x", ratio.p50)));
        cells.push(ratio.map_or_else(|| String::from("-"), |ratio| format!("{:.2}x", ratio.p99)));
        cells
    }
}

fn nanoseconds(ns: f64) -> String {
    if ns < 1_000.0 { format!("{ns:.1}") } else { format!("{ns:.0}") }
}

const HEADER: [&str; 9] = [
    "case",
    "p50 ns",
    "p90 ns",
    "p99 ns",
    "p99.9 ns",
    "max ns",
    "samples",
    "p50 / limit",
    "p99 / limit",
];

/// All that was timed, or should have been: then the reason stands below the table.
fn table(cases: &[CaseReport]) -> String {
    // What has figures that are no times has its say elsewhere.
    let told = |case: &&CaseReport| {
        case.summary.is_some() || case.reason.is_some() || case.scalars.is_empty()
    };
    let mut rows = vec![HEADER.map(String::from).to_vec()];
    let mut reasons = String::new();
    for case in cases.iter().filter(told) {
        let mut cells = case.cells();
        if case.summary.is_none() {
            reasons.push_str(&format!("\n{}\n", cells.join(": ")));
            cells.truncate(1);
            cells.resize(HEADER.len(), String::from("-"));
        }
        rows.push(cells);
    }
    aligned(&rows) + &reasons
}

/// Rows, the first of which is the head, as a Markdown table whose columns are aligned.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (nth, row) in rows.iter().enumerate() {
        text.push_str(&table_row(row, &widths));
        if nth == 0 {
            let rule = widths.iter().enumerate().map(|(column, width)| {
                if column == 0 { "-".repeat(*width) } else { "-".repeat(width - 1) + ":" }
            });
            text.push_str(&table_row(&rule.collect::<Vec<_>>(), &widths));
        }
    }
    text
}

fn table_row(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
        if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    });
    format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
}
