//! Engines that do what no process survives, or do not end: what callers and the manager see.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use ringfence::{CallOptions, Client, Error, ErrorCode, Outcome};

use super::daemon::{Daemon, until};
use super::raw::{Raw, encode};
use super::trial::{BURN, COUNT, COUNTED, DIG, Number, STEPS, Steps};

/// KiB of stack that an engine may count on (docs/own-engine.md).
const STACK_KIB: u64 = 7 * 1024;

fn client(daemon: &Daemon) -> Client {
    Client::builder().socket(daemon.socket()).connect().unwrap()
}

fn call(client: &Client, method: &str, value: u64) -> Result<(), Error> {
    let method = client.method("trial", method)?;
    client.call(&method, &value.to_le_bytes(), &CallOptions::default()).map(drop)
}

/// The stack that is promised is there, in a worker and in place.
#[test]
fn an_engine_may_take_the_stack_that_is_promised() {
    let daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    // An even number is for a worker, an odd one for the poller.
    for kib in [STACK_KIB, STACK_KIB - 1] {
        client.trial(DIG, &Number { value: kib }).unwrap();
    }
}

/// As if it were a defect of the daemon's own: a process that serves nobody must not look alive.
#[test]
fn a_panic_of_a_poller_ends_the_daemon() {
    // Besides what is disarmed already: see disarmed.rs.
    let disarmed = std::env::var("RINGFENCE_DISARM").unwrap_or_default();
    let mut daemon = Daemon::start_under(
        &["sh", "-c", "ulimit -c 0 && exec \"$@\"", "--"],
        &[("RINGFENCE_DISARM", &format!("engine.panic,{disarmed}"))],
    );
    let client = client(&daemon);
    // In place.
    let error = call(&client, "panic", 0).unwrap_err();
    assert_eq!(error.code(), ErrorCode::DaemonRestarted, "{error:?}");
    until("the daemon has ended", || !daemon.is_running());
    daemon.restart(&[]);
}

/// Neither can be caught: all sessions of this daemon are told at once, and the next daemon serves them.
#[test]
fn a_stack_overflow_and_an_abort_end_the_daemon_and_nothing_else() {
    for (method, value) in [("dig", 1 << 20), ("dig", (1 << 20) + 1), ("abort", 0)] {
        // Without a core file.
        let mut daemon =
            Daemon::start_under(&["sh", "-c", "ulimit -c 0 && exec \"$@\"", "--"], &[]);
        let (caller, neighbour) = (client(&daemon), client(&daemon));
        assert_eq!(neighbour.echo(b"before").unwrap(), b"before");
        let began = Instant::now();
        let error = call(&caller, method, value).unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(5), "{method}: {:?}", began.elapsed());
        assert_eq!(error.code(), ErrorCode::DaemonRestarted, "{method}: {error:?}");
        until("the daemon has ended", || !daemon.is_running());
        daemon.restart(&[]);
        for client in [&caller, &neighbour] {
            let mut last = client.echo(b"after");
            until("it finds the next daemon", || {
                let found = last.is_ok();
                if !found {
                    last = client.echo(b"after");
                }
                found
            });
            assert_eq!(last.unwrap(), b"after", "{method}");
        }
    }
}

/// A call that never looks at its deadline: its caller is told in time that nobody knows, its worker is busy to
/// the end, everybody else's calls go on, and it takes effect.
#[test]
fn a_call_that_runs_past_its_deadline_holds_its_worker_and_nobody_else() {
    let daemon = Daemon::start(&["--workers", "2"]);
    let (caller, neighbour) = (client(&daemon), client(&daemon));
    let count = caller.method("trial", "count").unwrap();
    let timeout = Duration::from_millis(200);
    let options = CallOptions { timeout: timeout.into(), ..CallOptions::default() };
    let began = Instant::now();
    let error = caller.call(&count, &2000_u64.to_le_bytes(), &options).map(drop).unwrap_err();
    let told = began.elapsed();
    assert_eq!(error.code(), ErrorCode::Expired, "{error:?}");
    assert_eq!(error.outcome(), Some(Outcome::Unknown), "{error:?}");
    assert!(told >= timeout && told < Duration::from_millis(1900), "{told:?}");
    assert_eq!(neighbour.echo(b"light").unwrap(), b"light");
    call(&neighbour, "nap", 1).unwrap();
    let counted = neighbour.method("trial", "counted").unwrap();
    until("it takes effect", || {
        let reply = neighbour.call(&counted, &0_u64.to_le_bytes(), &CallOptions::default());
        *reply.unwrap() == 1_u64.to_le_bytes()
    });
    assert!(began.elapsed() >= Duration::from_secs(2), "it ran to its end");
}

/// A call that outlives its session: the next one has the same place among the lanes, and the same entry.
#[test]
fn an_answer_to_who_is_gone_reaches_nobody() {
    let daemon = Daemon::start(&["--workers", "1"]);
    let mut gone = Raw::connect(&daemon);
    let its = daemon.names().into_iter().find(|name| name.ends_with(".up")).unwrap();
    let mut witness = Raw::connect(&daemon);
    let steps = gone.method("trial", STEPS);
    gone.submit(steps, &encode(&Steps { count: 1, step_us: 500_000 }));
    let examined = Number { value: 1 };
    until("it runs", || witness.trial(COUNTED, &examined).unwrap() == 1_u64.to_le_bytes());
    drop(gone);
    until("it is forgotten", || !daemon.names().contains(&its));
    let mut next = Raw::connect(&daemon);
    let count = next.method("trial", COUNT);
    // Behind the other in the only worker.
    let ticket = next.submit(count, &encode(&Number { value: 1 }));
    let (answered, result) = next.take();
    assert_eq!((answered, result.unwrap()), (ticket, 1_u64.to_le_bytes().to_vec()));
}

/// A service manager's end of the watchdog.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn bind(path: &std::path::Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        Self { socket }
    }

    /// Pings that come within this time.
    fn pings(&self, span: Duration) -> u32 {
        let (end, mut count) = (Instant::now() + span, 0);
        let mut buffer = [0; 256];
        while Instant::now() < end {
            if let Ok(len) = self.socket.recv(&mut buffer) {
                count += u32::from(&buffer[..len] == b"WATCHDOG=1");
            }
        }
        count
    }
}

/// Row 44: the polling loop feeds the watchdog. A long call in place starves it, so a manager would end the
/// daemon; one in a worker does not.
#[test]
fn the_watchdog_is_fed_by_the_polling_loop_and_by_nothing_else() {
    let (instance, dir) = Daemon::place();
    let path = dir.join("notify");
    let manager = Manager::bind(&path);
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000")];
    let daemon = Daemon::spawn_at(instance, dir, &[], &env);
    until("it pings", || manager.pings(Duration::from_millis(50)) > 0);
    let mut client = Raw::connect(&daemon);
    let (burn, count) = (client.method("trial", BURN), client.method("trial", COUNT));
    client.submit(count, &encode(&Number { value: 1500 }));
    let beside_a_worker = manager.pings(Duration::from_secs(1));
    assert!(beside_a_worker >= 2, "{beside_a_worker}");
    client.take().1.unwrap();
    let ticket = client.submit(burn, &encode(&Number { value: 5_000_000 }));
    until("it burns", || client.lane.was_claimed(ticket));
    manager.pings(Duration::from_millis(300));
    let stuck = manager.pings(Duration::from_secs(1));
    assert_eq!(stuck, 0, "somebody else feeds it");
    client.take().1.unwrap();
    until("it pings again", || manager.pings(Duration::from_millis(50)) > 0);
}
