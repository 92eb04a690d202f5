//! Metrics from outside: what a scraper gets, what a hostile one does, and what clients say of themselves.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ringfence_protocol::layout::up;
use ringfence_protocol::measures::Measures;
use ringfence_protocol::memory::Memory as _;

use super::daemon::{Daemon, PATIENCE, until};
use super::raw::Raw;
use super::trial::{BURN, NAP};

const US: u64 = 1_000;

fn serving() -> (Daemon, std::path::PathBuf) {
    let env = [
        ("RINGFENCE_METRICS_LISTEN", "DIR/metrics.sock"),
        ("RINGFENCE_OVERHEAD_WINDOW_MS", "1000"),
    ];
    let daemon = Daemon::start_logged(&env);
    let path = daemon.own_path("metrics.sock");
    (daemon, path)
}

fn ask(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub(crate) fn scrape(path: &Path) -> String {
    let answer = ask(path, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    body.to_owned()
}

/// The value of a line, 0 if it is not there.
fn value(path: &Path, series: &str) -> f64 {
    let text = scrape(path);
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[test]
fn a_scraper_sees_what_clients_did() {
    let (daemon, path) = serving();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
    let mut raw = Raw::connect(&daemon);
    for _ in 0..10 {
        raw.call(1, b"hello").unwrap();
    }
    until("the calls are counted", || {
        value(&path, "ringfence_calls_total{engine=\"system\",method=\"echo\"}") == 10.0
    });
    assert_eq!(value(&path, "ringfence_sessions"), 1.0);
    assert_eq!(value(&path, "ringfence_received_bytes_total"), 50.0);
    assert!(value(&path, "memory_usage_mb") > 1.0);
    assert!(value(&path, "ringfence_sweep_age_seconds") < 5.0);
    assert!(value(&path, "ringfence_segment_bytes") > 4096.0);
    drop(raw);
    until("the session is gone", || value(&path, "ringfence_sessions") == 0.0);
}

#[test]
fn workers_that_run_and_jobs_that_wait_show() {
    let (daemon, path) = serving();
    let mut raw = Raw::connect(&daemon);
    let nap = raw.method("trial", NAP);
    let jobs = 20;
    for _ in 0..jobs {
        raw.submit(nap, &5_000_u64.to_le_bytes());
    }
    until("a worker is busy", || value(&path, "ringfence_workers_busy") >= 1.0);
    until("jobs wait", || {
        let (busy, queue) =
            (value(&path, "ringfence_workers_busy"), value(&path, "ringfence_worker_queue"));
        queue > 0.0 && busy + queue <= f64::from(jobs)
    });
}

#[test]
fn whoever_hoards_connections_or_says_nothing_locks_nobody_out() {
    let (daemon, path) = serving();
    let descriptors = daemon.descriptors();
    let silent: Vec<_> = (0..40).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let mut slow = UnixStream::connect(&path).unwrap();
    slow.write_all(b"GET /metr").unwrap();
    let before = Instant::now();
    assert!(scrape(&path).contains("ringfence_build_info"));
    // Whoever came before it was met before it.
    assert!(daemon.descriptors() <= descriptors + 8, "eight at a time");
    assert!(before.elapsed() < Duration::from_secs(2), "it waited for the silent ones");
    // Each is hung up on, by the newer ones or by the clock.
    for mut stream in silent.into_iter().chain([slow]) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match stream.read(&mut [0; 16]) {
            Ok(read) => assert_eq!(read, 0),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    let endless = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(20_000));
    let mut stream = UnixStream::connect(&path).unwrap();
    // It hangs up while we still write.
    let _ = stream.write_all(endless.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"));
    assert!(ask(&path, "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    let mut raw = Raw::connect(&daemon);
    assert_eq!(raw.call(1, b"x").unwrap(), b"x");
}

#[test]
fn a_port_of_loopback_serves_the_same() {
    // Whoever takes the port in between makes the daemon refuse; then another one is tried.
    for _ in 0..10 {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = port.to_string();
        let daemon = Daemon::start_logged(&[("RINGFENCE_METRICS_LISTEN", &address)]);
        let Ok(mut stream) = std::net::TcpStream::connect(port) else { continue };
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(&format!("daemon=\"{}\"", daemon.instance)), "{answer}");
        return;
    }
    panic!("no port was free ten times");
}

#[test]
fn the_socket_goes_with_its_daemon_and_a_dead_ones_is_taken_over() {
    let (mut daemon, path) = serving();
    daemon.kill();
    assert!(path.exists(), "nobody was left to remove it");
    let listen = path.to_str().unwrap().to_owned();
    daemon.restart(&["--metrics-listen", &listen]);
    assert!(scrape(&path).contains("ringfence_uptime_seconds"));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait(), Some(0));
    assert!(!path.exists());
}

/// Calls `burn` so often, for so long, and says that it took the client `call_ns` each.
fn calls_that_took(raw: &mut Raw, said: &mut Measures, calls: u32, burn_us: u64, call_ns: u64) {
    let method = raw.method("trial", BURN);
    for _ in 0..calls {
        raw.call(method, &burn_us.to_le_bytes()).unwrap();
        said.add(method, call_ns, Some(call_ns / 10));
    }
    raw.lane.publish(said);
}

#[test]
fn the_overhead_of_a_method_goes_up_and_down_and_is_warned_of_once_a_window() {
    const RATIO: &str = "ringfence_overhead_ratio{engine=\"trial\",method=\"burn\"}";
    let (daemon, path) = serving();
    let warnings = || {
        let log = std::fs::read_to_string(daemon.own_path("log")).unwrap();
        log.lines().filter(|line| line.contains("is not its engine's")).count()
    };
    let mut raw = Raw::connect(&daemon);
    let mut said = Measures::default();
    // Each takes at least the time that it burns, so 10 times that is overhead whatever the machine does.
    until("it is up", || {
        calls_that_took(&mut raw, &mut said, 8, 50, 100_000 * US);
        value(&path, RATIO) > 0.5
    });
    until("it is warned of", || warnings() > 0);
    assert!(value(&path, "ffi_call_duration_seconds_count") >= 8.0);
    assert!(value(&path, "ffi_call_duration_seconds_sum") >= 0.8);
    assert!(value(&path, "python_gil_acquisition_seconds_sum") >= 0.08);
    // A call that takes as long as the engine works has none.
    let mut calls = 0;
    until("it is down", || {
        calls_that_took(&mut raw, &mut said, 8, 50, 50 * US);
        calls += 8;
        scrape(&path).contains(RATIO) && value(&path, RATIO) < 0.05
    });
    let counted = warnings();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2500) {
        calls_that_took(&mut raw, &mut said, 8, 50, 50 * US);
    }
    assert_eq!(warnings(), counted, "nothing to warn of");
    until("it is up again", || {
        calls_that_took(&mut raw, &mut said, 8, 50, 100_000 * US);
        value(&path, RATIO) > 0.5 && warnings() > counted
    });
}

#[test]
fn what_clients_say_outlives_them_and_lies_are_cut() {
    let (daemon, path) = serving();
    let mut honest = Raw::connect(&daemon);
    let mut said = Measures::default();
    calls_that_took(&mut honest, &mut said, 3, 1, 30 * US);
    drop(honest);
    until("the sums of a client that is gone", || {
        value(&path, "ringfence_sessions") == 0.0
            && value(&path, "ffi_call_duration_seconds_count") == 3.0
    });
    let mut liar = Raw::connect(&daemon);
    liar.call(1, b"x").unwrap();
    liar.up.store_words(up::MEASURES, [u64::MAX; 16]);
    until("one call is one call", || value(&path, "ffi_call_duration_seconds_count") == 4.0);
    liar.up.store_words(up::MEASURES, [0; 16]);
    let sum = value(&path, "ffi_call_duration_seconds_sum");
    assert!(sum < 60.0, "not longer than the lane is there: {sum}");
    for round in 0..50 {
        liar.up.store_words(up::MEASURES, [round * 7; 16]);
        assert_eq!(liar.call(1, b"y").unwrap(), b"y", "a lie is no fault");
    }
    assert!(value(&path, "ffi_call_duration_seconds_count") <= 54.0);
    assert_eq!(value(&path, "ringfence_faults_total"), 0.0);
}
