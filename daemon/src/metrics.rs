//! Prometheus metrics, served over HTTP on a Unix socket or a loopback port.
//!
//! One thread of its own reads the board as any other reader does: no lock of the daemon, no poller
//! and no worker ever waits for a scraper, however slow or hostile it is. What it has no room for it
//! drops; what takes too long it hangs up on.
//!
//! Not here: what is measured (the board), and who may be told (the socket's mode and group).

mod families;
mod http;
mod listen;
mod serve;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use ringfence_protocol::board::{Snapshot, Words};
use ringfence_protocol::sys::bell::Bell;
use ringfence_protocol::sys::clock::monotonic_ns;

use crate::config::MetricsAddress;
use listen::Listener;
use serve::Server;

/// What metrics are made of.
pub(crate) struct Source<W> {
    /// The board, as everybody sees it.
    pub(crate) board: W,
    pub(crate) instance: String,
    pub(crate) workers: u32,
    pub(crate) started: Instant,
}

impl<W: Words> Source<W> {
    /// The metrics as of the last sweep, in the Prometheus text format.
    fn text(&self) -> Result<String, String> {
        let snapshot = Snapshot::read(&self.board).map_err(|error| error.to_string())?;
        if snapshot.torn_rows > 0 {
            // Rows that are left out would look like counters that start anew.
            return Err("a poller has been writing the board for long: ask again".to_owned());
        }
        let facts = families::Facts {
            instance: &self.instance,
            workers: self.workers,
            uptime: self.started.elapsed(),
            now_ns: monotonic_ns(),
            resident_bytes: resident_bytes(),
        };
        families::encode(&snapshot, &facts).map_err(|error| error.to_string())
    }
}

/// The thread that serves metrics. Dropping it ends the thread, and its socket's name.
pub(crate) struct Exporter {
    thread: Option<JoinHandle<()>>,
    stop: Arc<Bell>,
}

impl Exporter {
    /// Listens on `address`, and serves. `group` may connect to a Unix socket, besides its owner.
    pub(crate) fn start(
        address: &MetricsAddress,
        group: Option<u32>,
        source: Source<impl Words + Send + 'static>,
    ) -> io::Result<Self> {
        let listener = Listener::open(address, group)?;
        let stop = Arc::new(Bell::new()?);
        let server = Server::new(listener, Arc::clone(&stop), Box::new(move || source.text()));
        let builder = std::thread::Builder::new().name("metrics".into());
        let thread = builder.spawn(move || server.run())?;
        tracing::info!(%address, "metrics");
        Ok(Self { thread: Some(thread), stop })
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && self.stop.ring().is_ok()
        {
            // A panic was logged by its hook.
            let _ = thread.join();
        }
    }
}

/// Memory of this process that is in RAM, segments included; nothing if the kernel does not say.
fn resident_bytes() -> Option<u64> {
    // proc(5): sizes in pages; the second is the resident one.
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}
