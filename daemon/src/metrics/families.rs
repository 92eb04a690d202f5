//! From a snapshot of the board to the Prometheus text format.
//!
//! [`FAMILIES`] is the whole list, with the words that a scraper shows; docs/operations.md describes
//! each, and a test holds the two together. Times are seconds and sizes bytes, as Prometheus wants it;
//! the one exception has its unit in its name.

use std::time::Duration;

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Summary,
};
use ringfence_protocol::board::{self, MethodRow, Snapshot, Totals};

use MetricType::{COUNTER, GAUGE};

/// One metric: its name, what it says, and where its values come from.
pub(super) struct Family {
    pub(super) name: &'static str,
    help: &'static str,
    values: Values,
}

/// Where the values of a metric come from.
enum Values {
    /// One value; nothing if it is not known.
    One(MetricType, fn(&Seen<'_>) -> Option<f64>),
    /// A count and a sum of nanoseconds.
    Sum(fn(&Totals) -> (u64, u64)),
    /// One value for each method; nothing where it is not known.
    Method(MetricType, fn(&MethodRow) -> Option<f64>),
    /// The service times of each method that has any.
    Service,
    /// 1, and facts as labels.
    Build,
}

/// What values are taken from.
struct Seen<'a> {
    snapshot: &'a Snapshot,
    totals: &'a Totals,
    facts: &'a Facts<'a>,
}

const fn now(
    name: &'static str,
    help: &'static str,
    value: fn(&Seen<'_>) -> Option<f64>,
) -> Family {
    Family { name, help, values: Values::One(GAUGE, value) }
}

const fn total(
    name: &'static str,
    help: &'static str,
    value: fn(&Seen<'_>) -> Option<f64>,
) -> Family {
    Family { name, help, values: Values::One(COUNTER, value) }
}

const fn family(name: &'static str, help: &'static str, values: Values) -> Family {
    Family { name, help, values }
}

/// Every metric.
#[rustfmt::skip]
pub(super) const FAMILIES: &[Family] = &[
    family("ffi_call_duration_seconds",
        "Time of calls as their callers saw it, measured by clients for one call in 64.",
        Values::Sum(|totals| (totals.client_calls, totals.client_ns))),
    family("python_gil_acquisition_seconds",
        "Time that Python callers waited for the interpreter lock after an answer, one in 64.",
        Values::Sum(|totals| (totals.interpreter_waits, totals.interpreter_ns))),
    now("memory_usage_mb", "Resident memory of the daemon in megabytes (10^6 bytes).",
        |seen| Some(seen.facts.resident_bytes? as f64 / 1e6)),
    family("ringfence_build_info", "1, with version and daemon (its instance) as labels.", Values::Build),
    now("ringfence_uptime_seconds", "Time since the daemon started.",
        |seen| Some(seen.facts.uptime.as_secs_f64())),
    now("ringfence_sweep_age_seconds",
        "Time since a poller last swept: 0.1 at most, unless it is stuck.",
        |seen| Some(seconds(seen.facts.now_ns.saturating_sub(seen.totals.beat_ns)))),
    now("ringfence_sessions", "Open sessions.", |seen| whole(seen.totals.sessions_open)),
    total("ringfence_sessions_opened_total", "Sessions that were opened.",
        |seen| whole(seen.totals.sessions_total)),
    total("ringfence_sessions_refused_total", "Handshakes that were refused.",
        |seen| whole(seen.totals.sessions_refused)),
    now("ringfence_lanes", "Open lanes.", |seen| whole(seen.totals.lanes_open)),
    now("ringfence_leases", "Replies that clients hold.",
        |seen| whole(seen.snapshot.sessions.iter().map(|session| session.leases).sum())),
    now("ringfence_leased_bytes", "Bytes of reply memory that clients hold.",
        |seen| whole(seen.totals.leased_bytes)),
    now("ringfence_segment_bytes", "Bytes of all segments of sessions.",
        |seen| whole(seen.totals.segment_bytes)),
    total("ringfence_requests_total", "Requests taken out of rings.",
        |seen| whole(seen.totals.requests)),
    total("ringfence_answers_total", "Answers published, errors included.",
        |seen| whole(seen.totals.completions)),
    total("ringfence_error_answers_total", "Answers that carry an error.",
        |seen| whole(seen.totals.errors)),
    total("ringfence_faults_total", "Sessions ended because they broke a rule of the protocol.",
        |seen| whole(seen.totals.faults)),
    total("ringfence_received_bytes_total", "Payload bytes of requests.",
        |seen| whole(seen.totals.bytes_in)),
    total("ringfence_sent_bytes_total", "Payload bytes of answers.",
        |seen| whole(seen.totals.bytes_out)),
    now("ringfence_workers", "Worker threads.", |seen| whole(seen.facts.workers.into())),
    now("ringfence_workers_busy", "Workers that run a job.",
        |seen| whole(seen.totals.workers_busy)),
    now("ringfence_worker_queue", "Jobs that wait for a worker.",
        |seen| whole(seen.totals.queue_depth)),
    family("ringfence_calls_total", "Calls answered, by method.",
        Values::Method(COUNTER, |row| whole(row.calls))),
    family("ringfence_call_errors_total", "Calls answered with an error, by method.",
        Values::Method(COUNTER, |row| whole(row.errors))),
    family("ringfence_service_seconds",
        "Time in the engine, by method; one in 64 of the shortest calls, all others.",
        Values::Service),
    family("ringfence_client_calls_total", "Calls measured by clients, by method.",
        Values::Method(COUNTER, |row| whole(row.client_calls))),
    family("ringfence_client_seconds_total", "Time of the calls measured by clients, by method.",
        Values::Method(COUNTER, |row| Some(seconds(row.client_ns)))),
    family("ringfence_overhead_ratio",
        "Part of a call's time in which its engine did not work, by method, in the last window.",
        Values::Method(GAUGE, MethodRow::overhead_ratio)),
];

/// Buckets of a time, as powers of two of nanoseconds: 256 ns to 17 s; the board has more.
const BUCKETS: std::ops::RangeInclusive<usize> = 7..=33;

/// What the board does not say.
pub(super) struct Facts<'a> {
    pub(super) instance: &'a str,
    pub(super) workers: u32,
    pub(super) uptime: Duration,
    /// CLOCK_MONOTONIC.
    pub(super) now_ns: u64,
    pub(super) resident_bytes: Option<u64>,
}

/// The text.
pub(super) fn encode(snapshot: &Snapshot, facts: &Facts<'_>) -> prometheus::Result<String> {
    let seen = Seen { snapshot, totals: &snapshot.totals, facts };
    let mut families = Vec::with_capacity(FAMILIES.len());
    for Family { name, help, values } in FAMILIES {
        let (kind, metrics) = values.take(&seen);
        // The encoder takes a family without metrics for a mistake.
        if metrics.is_empty() {
            continue;
        }
        let mut family = MetricFamily::default();
        family.set_name((*name).to_owned());
        family.set_help((*help).to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        families.push(family);
    }
    TextEncoder::new().encode_to_string(&families)
}

impl Values {
    fn take(&self, seen: &Seen<'_>) -> (MetricType, Vec<Metric>) {
        let rows = seen.snapshot.methods.iter();
        match self {
            Self::One(kind, value) => {
                (*kind, value(seen).map(|value| of(*kind, value, Vec::new())).into_iter().collect())
            }
            Self::Sum(sum) => (MetricType::SUMMARY, vec![summary(sum(seen.totals))]),
            Self::Method(kind, value) => {
                let metric = |row| Some(of(*kind, value(row)?, method_labels(row)));
                (*kind, rows.filter_map(metric).collect())
            }
            Self::Service => {
                // A line per bucket: only for methods that are used.
                let used = rows.filter(|row| row.service.samples > 0);
                let metric = |row: &MethodRow| histogram(&row.service, method_labels(row));
                (MetricType::HISTOGRAM, used.map(metric).collect())
            }
            Self::Build => {
                let version = ("version", env!("CARGO_PKG_VERSION"));
                let labels = labels(&[version, ("daemon", seen.facts.instance)]);
                (GAUGE, vec![of(GAUGE, 1.0, labels)])
            }
        }
    }
}

fn method_labels(row: &MethodRow) -> Vec<LabelPair> {
    let full = row.name.to_string();
    let (engine, method) = full.split_once('.').unwrap_or(("", &full));
    labels(&[("engine", engine), ("method", method)])
}

fn whole(value: u64) -> Option<f64> {
    Some(value as f64)
}

fn of(kind: MetricType, value: f64, labels: Vec<LabelPair>) -> Metric {
    let mut metric = Metric::from_label(labels);
    if kind == COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn summary((count, ns): (u64, u64)) -> Metric {
    let mut summary = Summary::default();
    summary.set_sample_count(count);
    summary.set_sample_sum(seconds(ns));
    let mut metric = Metric::default();
    metric.set_summary(summary);
    metric
}

fn histogram(service: &board::Histogram, labels: Vec<LabelPair>) -> Metric {
    let mut histogram = Histogram::default();
    histogram.set_sample_count(service.samples);
    histogram.set_sample_sum(seconds(service.sum_ns));
    let mut below: u64 = service.buckets[..*BUCKETS.start()].iter().sum();
    let buckets = BUCKETS.map(|index| {
        below += service.buckets[index];
        let mut bucket = Bucket::default();
        bucket.set_cumulative_count(below);
        // The next power of two: times are whole nanoseconds, and this is easier to read.
        bucket.set_upper_bound(seconds(board::Histogram::upper_bound_ns(index) + 1));
        bucket
    });
    histogram.set_bucket(buckets.collect());
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(histogram);
    metric
}

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    pairs.iter().map(pair).collect()
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use ringfence_protocol::board::{HeapWords, write_header, write_row};

    use super::*;

    fn text() -> String {
        let geometry = board::Geometry::new(2, 1, 1).unwrap();
        let words = HeapWords::new(geometry.size_bytes());
        write_header(&words, &geometry, &board::Header::new(1, 2, 3, "i")).unwrap();
        let mut row = MethodRow::new(1, "vectors.search");
        (row.calls, row.client_calls, row.client_ns) = (640, 10, 20_000_000);
        row.overhead = 250_001;
        row.service.record(100);
        row.service.record(1_000);
        row.service.record(u64::MAX / 2);
        write_row(&words, geometry.method_at(0), &row);
        write_row(&words, geometry.method_at(1), &MethodRow::new(2, "vectors.add"));
        let mut totals = Totals::default();
        (totals.client_calls, totals.client_ns) = (3, 1_500);
        write_row(&words, geometry.totals_at(), &totals);
        let facts = Facts {
            instance: "i",
            workers: 4,
            uptime: Duration::from_secs(5),
            now_ns: 1,
            resident_bytes: Some(12_000_000),
        };
        encode(&Snapshot::read(&words).unwrap(), &facts).unwrap()
    }

    #[test]
    fn the_text_says_what_the_board_says() {
        let text = text();
        for line in [
            "# TYPE ffi_call_duration_seconds summary",
            "ffi_call_duration_seconds_sum 0.0000015",
            "ffi_call_duration_seconds_count 3",
            "memory_usage_mb 12",
            "ringfence_workers 4",
            "ringfence_calls_total{engine=\"vectors\",method=\"search\"} 640",
            "ringfence_calls_total{engine=\"vectors\",method=\"add\"} 0",
            "ringfence_client_seconds_total{engine=\"vectors\",method=\"search\"} 0.02",
            "ringfence_overhead_ratio{engine=\"vectors\",method=\"search\"} 0.25",
            "ringfence_service_seconds_bucket{engine=\"vectors\",method=\"search\",le=\"0.000000256\"} 1",
            "ringfence_service_seconds_bucket{engine=\"vectors\",method=\"search\",le=\"0.000001024\"} 2",
            "ringfence_service_seconds_bucket{engine=\"vectors\",method=\"search\",le=\"+Inf\"} 3",
            "ringfence_service_seconds_count{engine=\"vectors\",method=\"search\"} 3",
        ] {
            assert!(text.lines().any(|have| have == line), "no {line} in\n{text}");
        }
        assert!(!text.contains("ringfence_overhead_ratio{engine=\"vectors\",method=\"add\"}"));
    }

    #[test]
    fn every_family_is_in_the_text() {
        let text = text();
        for Family { name, .. } in FAMILIES {
            assert!(text.contains(&format!("# HELP {name} ")), "{name} is missing");
        }
    }

    #[test]
    fn the_documentation_has_every_metric_and_no_other() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        let table = docs.split("\n| name | type | what it is |\n").nth(1).unwrap();
        let rows = table.split("\n\n").next().unwrap().lines();
        let told: Vec<_> =
            rows.filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let names: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(told, names, "the table of docs/operations.md, in the order of FAMILIES");
    }
}
