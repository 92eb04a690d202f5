//! `ringfence ping`: does the daemon answer, and how fast?

use std::time::Instant;

use serde::Serialize;

use crate::args::{Global, Ping};
use crate::exit::Failure;
use crate::output::{self, nanos};

/// What came of it. Times are round trips.
#[derive(Serialize)]
struct Pong {
    instance: Option<String>,
    pid: u32,
    version: String,
    connect_ns: u64,
    count: usize,
    min_ns: u64,
    p50_ns: u64,
    max_ns: u64,
}

pub(crate) fn run(global: &Global, ping: &Ping) -> Result<(), Failure> {
    let started = Instant::now();
    let client = global.connect()?;
    let connect_ns = nanos_since(started);
    let (method, options) = (client.method("system", "ping")?, global.options());
    let mut times_ns = Vec::with_capacity(ping.count as usize);
    for _ in 0..ping.count {
        let before = Instant::now();
        client.call(&method, &[], &options)?;
        times_ns.push(nanos_since(before));
    }
    if ping.quiet {
        return Ok(());
    }
    times_ns.sort_unstable();
    let info = client.info();
    let at = |index: usize| times_ns.get(index).copied().unwrap_or_default();
    let pong = Pong {
        instance: info.instance,
        pid: info.daemon_pid,
        version: info.daemon_version,
        connect_ns,
        count: times_ns.len(),
        min_ns: at(0),
        p50_ns: at((times_ns.len() - 1) / 2),
        max_ns: at(times_ns.len() - 1),
    };
    if global.json { output::json(&pong) } else { output::text(&line(&pong)) }
}

fn line(pong: &Pong) -> String {
    let name = pong.instance.as_deref().unwrap_or("the daemon");
    let times = match pong.count {
        1 => nanos(pong.min_ns),
        count => format!(
            "{count} round trips, min {}, p50 {}, max {}",
            nanos(pong.min_ns),
            nanos(pong.p50_ns),
            nanos(pong.max_ns)
        ),
    };
    format!("{name} answers (pid {}, version {}): {times}\n", pong.pid, pong.version)
}

fn nanos_since(since: Instant) -> u64 {
    since.elapsed().as_nanos() as u64
}
