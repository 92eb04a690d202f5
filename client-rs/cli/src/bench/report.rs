//! The shape of `ringfence bench --json`, the arithmetic behind it, and the table that people see.

use ringfence::Info;
use ringfence::board_rows::Histogram;
use serde::Serialize;

use super::ledger::{Step, clock_ns};
use crate::output::{nanos, percentile, printable, wrapped};
use crate::table::{Column, WIDTH, table};

/// A mean so many times p50 is not that of a quiet machine.
const DISTURBED: f64 = 2.0;

/// All that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    instance: Option<String>,
    pid: u32,
    version: String,
    /// The cores of the limit; without two there is no limit.
    limit_cores: Option<[usize; 2]>,
    /// Why there is no echo in process.
    in_process_reason: Option<String>,
    cases: Vec<Case>,
    /// Of the method that was named.
    boundary: Option<Boundary>,
    /// Where the time of a call of it goes, or of an echo; nothing if none of these calls had a ledger.
    ledger: Vec<Step>,
    /// What each step has of reading the clock.
    clock_ns: u64,
}

/// Percentiles of one case.
#[derive(Debug, Serialize)]
pub(super) struct Case {
    name: String,
    samples: usize,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    /// p50 over the limit's.
    ratio_to_limit: Option<f64>,
}

impl Case {
    /// Of names and samples in nanoseconds, the limit first; what has no samples is left out.
    pub(super) fn of_all<'c>(all: impl Iterator<Item = (&'c str, &'c mut Vec<u64>)>) -> Vec<Self> {
        let mut cases: Vec<Self> = all.filter_map(|(name, times)| Self::of(name, times)).collect();
        let limit = cases.iter().find(|case| case.name == "limit").map(|case| case.p50_ns);
        for case in &mut cases {
            case.ratio_to_limit = limit.map(|limit| case.p50_ns as f64 / limit.max(1) as f64);
        }
        cases
    }

    fn of(name: &str, times_ns: &mut [u64]) -> Option<Self> {
        times_ns.sort_unstable();
        let at = |percent| percentile(times_ns, percent);
        let (p50_ns, p90_ns, p99_ns) = (at(50)?, at(90)?, at(99)?);
        let samples = times_ns.len();
        Some(Self { name: name.into(), samples, p50_ns, p90_ns, p99_ns, ratio_to_limit: None })
    }
}

/// What a call of the named method costs beside its engine. Means, because those of the board are exact, and its
/// percentiles are not; so they have whatever else the machine did in them.
#[derive(Debug, Serialize)]
pub(super) struct Boundary {
    /// As this command waited.
    call_mean_ns: f64,
    /// From the claim of a request to its answer, by the daemon's samples, of all clients.
    service_mean_ns: Option<f64>,
    service_samples: u64,
    /// What is left of a call.
    tax_ns: Option<f64>,
    /// Of the whole call, 0 to 1.
    tax_share: Option<f64>,
    /// Why nothing is known of the service.
    reason: Option<String>,
}

impl Boundary {
    pub(super) fn between(
        before: &Result<Histogram, String>,
        after: &Result<Histogram, String>,
        call_mean_ns: f64,
    ) -> Self {
        let (sum_ns, service_samples, reason) = match (before, after) {
            (Ok(before), Ok(after)) => (
                after.sum_ns.wrapping_sub(before.sum_ns),
                after.samples.wrapping_sub(before.samples),
                None,
            ),
            (Err(reason), _) | (_, Err(reason)) => (0, 0, Some(reason.clone())),
        };
        let unsampled = || Some("the daemon has sampled no call: measure longer".to_owned());
        let reason = reason.or_else(|| if service_samples == 0 { unsampled() } else { None });
        let known = reason.is_none();
        let service_mean_ns = known.then(|| sum_ns as f64 / service_samples as f64);
        // Of few samples the mean may be above that of all calls.
        let tax_ns = service_mean_ns.map(|service| (call_mean_ns - service).max(0.0));
        let tax_share = tax_ns.map(|tax| tax / call_mean_ns);
        Self { call_mean_ns, service_mean_ns, service_samples, tax_ns, tax_share, reason }
    }

    fn text(&self, p50_ns: u64) -> String {
        let time = |ns: f64| nanos(ns as u64);
        let call = time(self.call_mean_ns);
        let (Some(service), Some(tax), Some(share)) =
            (self.service_mean_ns, self.tax_ns, self.tax_share)
        else {
            let reason = self.reason.as_deref().unwrap_or("unknown");
            return format!(
                "a call takes {call} (mean); of its service nothing is known: {reason}"
            );
        };
        let mut text = format!(
            "a call takes {call} (mean), its service {} by {} of the daemon's samples: the boundary costs {}, {:.1} % \
             of the call",
            time(service),
            self.service_samples,
            time(tax),
            share * 100.0
        );
        if self.call_mean_ns > DISTURBED * p50_ns as f64 {
            text.push_str(". The mean is far above p50: something else wants these cores, measure when it is quiet");
        }
        text
    }
}

impl Report {
    pub(super) fn new(
        info: Info,
        limit_cores: Option<[usize; 2]>,
        in_process_reason: Option<String>,
        cases: Vec<Case>,
        boundary: Option<Boundary>,
        ledger: Vec<Step>,
    ) -> Self {
        let Info { instance, daemon_pid: pid, daemon_version: version, .. } = info;
        let clock_ns = clock_ns();
        Self {
            instance,
            pid,
            version,
            limit_cores,
            in_process_reason,
            cases,
            boundary,
            ledger,
            clock_ns,
        }
    }

    pub(super) fn text(&self) -> String {
        let columns = [
            Column::Cut("WHAT"),
            Column::Right("P50"),
            Column::Right("P90"),
            Column::Right("P99"),
            Column::Right("P50/LIMIT"),
            Column::Right("SAMPLES"),
        ];
        let row = |case: &Case| {
            let ratio = case.ratio_to_limit.map_or("-".into(), |ratio| format!("{ratio:.2}"));
            let times = [case.p50_ns, case.p90_ns, case.p99_ns].map(nanos);
            let mut row = vec![case.name.clone()];
            row.extend(times);
            row.extend([ratio, case.samples.to_string()]);
            row
        };
        let rows: Vec<_> = self.cases.iter().map(row).collect();
        let mut text = table(&columns, &rows);
        let limit = match self.limit_cores {
            Some([one, other]) => {
                format!("limit: one cache line from core {one} to core {other} and one back")
            }
            None => "limit: not measured, it takes two cores".into(),
        };
        let p50_ns = self.cases.last().map_or(0, |case| case.p50_ns);
        let boundary = self.boundary.as_ref().map(|boundary| boundary.text(p50_ns));
        let reason = self.in_process_reason.as_ref();
        let in_process = reason.map(|reason| format!("in process: not measured, {reason}"));
        for note in std::iter::once(limit).chain(in_process).chain(boundary) {
            text.push_str(&format!("\n{}\n", wrapped(&printable(&note), WIDTH).join("\n")));
        }
        text + &self.steps()
    }

    /// The ledger as a table.
    fn steps(&self) -> String {
        let Some(name) = self.cases.last().map(|case| &case.name) else { return String::new() };
        if self.ledger.is_empty() {
            return format!(
                "\nledger: none of {name}: it is kept of one call in 64, and of none whose engine answers later\n"
            );
        }
        let columns = [
            Column::Cut("STEP"),
            Column::Right("P50"),
            Column::Right("P90"),
            Column::Right("SAMPLES"),
        ];
        let row = |step: &Step| {
            let [p50, p90] = [step.p50_ns, step.p90_ns].map(nanos);
            vec![step.step.to_owned(), p50, p90, step.samples.to_string()]
        };
        let rows: Vec<_> = self.ledger.iter().map(row).collect();
        let clock = nanos(self.clock_ns);
        let note =
            format!("ledger of {name}: each step has one reading of the clock in it, {clock}");
        let note = wrapped(&printable(&note), WIDTH).join("\n");
        format!("\n{note}\n{}", table(&columns, &rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_and_ratios_are_to_the_limit() {
        let (mut limit, mut echo) = ((1..=100).rev().collect(), vec![101; 7]);
        let mut none = Vec::new();
        let all = [("limit", &mut limit), ("echo", &mut echo), ("none", &mut none)];
        let cases = Case::of_all(all.into_iter());
        assert_eq!(cases.len(), 2);
        assert_eq!((cases[0].p50_ns, cases[0].p90_ns, cases[0].p99_ns), (50, 90, 99));
        assert_eq!(cases[1].ratio_to_limit, Some(101.0 / 50.0));
    }

    #[test]
    fn the_boundary_is_what_the_service_does_not_explain() {
        let times = |sum_ns, samples| Ok(Histogram { sum_ns, samples, ..Histogram::default() });
        let boundary = Boundary::between(&times(1_000, 10), &times(9_000, 20), 1_000.0);
        assert_eq!(boundary.service_mean_ns, Some(800.0));
        assert_eq!((boundary.tax_ns, boundary.tax_share), (Some(200.0), Some(0.2)));
        let text = boundary.text(900);
        assert!(text.contains("costs 200 ns, 20.0 %") && !text.contains("quiet"), "{text}");
        assert!(boundary.text(400).contains("quiet"));

        let above = Boundary::between(&times(0, 0), &times(3_000, 2), 1_000.0);
        assert_eq!(above.tax_ns, Some(0.0));
        let unsampled = Boundary::between(&times(5, 5), &times(5, 5), 1_000.0);
        assert!(unsampled.tax_ns.is_none() && unsampled.text(1).contains("longer"));
        let hidden = Boundary::between(&Err("not yours".into()), &times(5, 5), 1_000.0);
        assert!(hidden.text(1).contains("nothing is known: not yours"));
    }
}
