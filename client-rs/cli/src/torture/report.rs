//! What was seen: a line while it happens, a table at the end, or the same as data.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use super::attack::{Attack, Busy, Outcome};
use super::honest::Times;
use super::judge::Verdict;
use crate::output::{printable, time, wrapped};
use crate::table::{Column, WIDTH, table};

/// Times of the honest neighbour, in JSON.
#[derive(Clone, Debug, Serialize)]
struct Latency {
    p50_ns: u64,
    p99_ns: u64,
}

impl From<Times> for Latency {
    fn from(times: Times) -> Self {
        Self { p50_ns: times.p50_ns, p99_ns: times.p99_ns }
    }
}

/// One attack, in JSON.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    name: &'static str,
    what: &'static str,
    /// Numbers of the project's list of faults.
    rows: &'static [u8],
    expected: Vec<String>,
    rounds: u64,
    landed: Option<String>,
    outcome: Option<String>,
    /// The code of the fault that ended the session.
    fault: Option<String>,
    pub(super) held: bool,
    /// What was seen that must not be.
    wrong: Option<String>,
    skipped: Option<String>,
    honest_calls: u64,
    beside_attack: Option<Latency>,
    beside_honest: Option<Latency>,
    p99_ratio: Option<f64>,
    #[serde(skip)]
    busy: Busy,
}

impl Row {
    pub(super) fn new(attack: &Attack, verdict: Verdict) -> Self {
        let Verdict { rounds, landed, outcome, wrong, skipped, calls, times } = verdict;
        Self {
            name: attack.name,
            what: attack.what,
            rows: attack.rows,
            expected: attack.expect.iter().map(ToString::to_string).collect(),
            rounds,
            landed,
            outcome: outcome.as_ref().map(ToString::to_string),
            fault: match outcome {
                Some(Outcome::Fault(fault)) => Some(fault),
                _ => None,
            },
            held: wrong.is_none(),
            wrong,
            skipped,
            honest_calls: calls,
            beside_attack: times.map(Latency::from),
            beside_honest: None,
            p99_ratio: None,
            busy: attack.busy,
        }
    }

    /// With what the neighbour saw beside honest ones that were as busy.
    pub(super) fn compare(&mut self, beside_honest: &HashMap<Busy, Times>) {
        let Some(honest) = beside_honest.get(&self.busy) else { return };
        self.beside_honest = Some(Latency::from(*honest));
        let ratio = |attack: &Latency| attack.p99_ns as f64 / honest.p99_ns.max(1) as f64;
        self.p99_ratio = self.beside_attack.as_ref().map(ratio);
    }

    /// Without the word before the code: faults are written like-this, codes LikeThis.
    fn shown_outcome(&self) -> String {
        let outcome = match &self.skipped {
            Some(_) => "skipped",
            None => self.outcome.as_deref().unwrap_or("-"),
        };
        let code = outcome.strip_prefix("fault ").or(outcome.strip_prefix("refused "));
        code.unwrap_or(outcome).to_owned()
    }

    fn result(&self) -> &'static str {
        match (&self.skipped, self.held) {
            (Some(_), _) => "-",
            (None, true) => "yes",
            (None, false) => "NO",
        }
    }

    fn cells(&self, width: usize) -> Vec<String> {
        let p99 = |times: &Option<Latency>| time(times.as_ref().map(|times| times.p99_ns));
        vec![
            format!("{:<width$}", self.name),
            self.result().into(),
            self.shown_outcome(),
            time(self.beside_attack.as_ref().map(|times| times.p50_ns)),
            p99(&self.beside_attack),
            p99(&self.beside_honest),
            self.p99_ratio.map_or("-".into(), |ratio| format!("{ratio:.2}")),
        ]
    }
}

/// The run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) daemon: String,
    pub(super) version: String,
    pub(super) kernel: String,
    pub(super) seed: u64,
    pub(super) seconds_per_attack: f64,
    pub(super) interrupted: bool,
    pub(super) attacks: Vec<Row>,
}

impl Report {
    /// Names of the attacks whose defence failed.
    pub(super) fn failed(&self) -> Vec<&'static str> {
        self.attacks.iter().filter(|row| !row.held).map(|row| row.name).collect()
    }

    pub(super) fn text(&self) -> String {
        let columns = [
            Column::Right("ATTACK"),
            Column::Right("HELD"),
            Column::Cut("OUTCOME"),
            Column::Right("P50"),
            Column::Right("P99"),
            Column::Right("HONEST"),
            Column::Right("RATIO"),
        ];
        let width = self.attacks.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let rows: Vec<_> = self.attacks.iter().map(|row| row.cells(width)).collect();
        let mut text = table(&columns, &rows);
        let held = self.attacks.iter().filter(|row| row.held && row.skipped.is_none()).count();
        let mut notes = vec![
            "HELD: the attack landed, and what must come of it came. OUTCOME: the fault that ended the attacker's \
             session, or the code that it was refused with, or how else it ended. P50 and P99: an honest neighbour's echoes beside the attack. HONEST: its P99 \
             beside honest clients in the attackers' place that were as busy, before and after all such attacks. RATIO is between the two."
                .to_owned(),
            format!(
                "{} (version {}) on Linux {}, seed {}: {held} of {} attacks, every defence of them held",
                self.daemon, self.version, self.kernel, self.seed, self.attacks.len()
            ),
        ];
        if !self.failed().is_empty() {
            let last = notes.len() - 1;
            notes[last] = notes[last].replace(", every defence of them held", " were held off");
        }
        for row in self.attacks.iter().filter(|row| !row.held) {
            notes.push(format!(
                "FAILED {}: {}. Expected: {}. Run `ringfence torture --only {} --seed {}` again, and report it with \
                 its output",
                row.name,
                row.wrong.as_deref().unwrap_or("unknown"),
                row.expected.join(" or "),
                row.name,
                self.seed
            ));
        }
        for note in notes {
            text.push_str(&format!("\n{}\n", wrapped(&printable(&note), WIDTH).join("\n")));
        }
        text
    }
}

/// A line on a terminal's standard error while an attack is under way.
pub(super) fn progress(number: usize, of: usize, what: &str, json: bool) {
    let mut err = std::io::stderr();
    if !json && err.is_terminal() {
        // Nobody is left to tell when it is closed. \r and "erase to the end of the line".
        let _ = write!(err, "\r\x1b[K{number}/{of} {what}");
    }
}

/// Takes that line away.
pub(super) fn progress_ends(json: bool) {
    let mut err = std::io::stderr();
    if !json && err.is_terminal() {
        let _ = write!(err, "\r\x1b[K");
    }
}

/// What there is, for `--list`.
pub(super) fn list(attacks: &[&Attack]) -> String {
    let columns = [Column::Right("ATTACK"), Column::Cut("WHAT IT DOES")];
    let width = attacks.iter().map(|attack| attack.name.len()).max().unwrap_or(0);
    let rows: Vec<_> = attacks
        .iter()
        .map(|attack| vec![format!("{:<width$}", attack.name), attack.what.to_owned()])
        .collect();
    table(&columns, &rows)
}

/// The same, in JSON.
#[derive(Serialize)]
pub(super) struct Listed {
    name: &'static str,
    what: &'static str,
    rows: &'static [u8],
    expected: Vec<String>,
}

impl From<&&Attack> for Listed {
    fn from(attack: &&Attack) -> Self {
        let expected = attack.expect.iter().map(ToString::to_string).collect();
        Self { name: attack.name, what: attack.what, rows: attack.rows, expected }
    }
}
