//! What a daemon is put together from: threads, sockets, signals, folders.
//!
//! Each function makes one part, or says in a [`StartError`] why it cannot. It does *not* know the
//! order, which matters: see [`Builder::build`](super::Builder::build).

use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use ringfence_core::Registry;
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::sys::lock::{self, InstanceLock};
use ringfence_protocol::sys::socket::Listener;

use super::{StartError, io};
use crate::bus;
use crate::config::Config;
use crate::inbox::Inbox;
use crate::lane::Bench;
use crate::metrics::{Exporter, Source};
use crate::notify::Watchdog;
use crate::poller::{Poller, Setup};
use crate::reports::Reports;
use crate::sight::Sight;
use crate::workers::Workers;

type Pollers = (Vec<Arc<Inbox>>, Vec<JoinHandle<()>>);

pub(super) fn start_pollers(
    config: &Config,
    registry: &Arc<Registry>,
    (workers, bus): (&Arc<Workers>, &Arc<bus::Engine>),
    sight: &Arc<Sight>,
    reports: &Arc<Reports>,
) -> Result<Pollers, StartError> {
    let (mut inboxes, mut threads) = (Vec::new(), Vec::new());
    for number in 0..config.polling.pollers {
        let inbox = Inbox::new().map_err(io("a descriptor"))?;
        inboxes.push(Arc::clone(&inbox));
        let budget = config.workers.inline_budget_us as u32;
        let bench =
            Bench::new(Arc::clone(registry), Arc::clone(workers), inbox, Arc::clone(bus), budget);
        // The first poller's loop feeds the watchdog, and nothing else does.
        let mut watchdog = if number == 0 {
            Some(Watchdog::from_env().map_err(io("the watchdog"))?)
        } else {
            None
        };
        if !is_armed("poller.watchdog") {
            watchdog.take().into_iter().for_each(feed_by_a_thread);
        }
        let (sight, workers) = (Arc::clone(sight), Arc::clone(workers));
        let setup = Setup {
            bench,
            polling: config.polling.clone(),
            cpu: config.polling.cpus.as_ref().and_then(|cpus| cpus.get(number as usize).copied()),
            reports: Arc::clone(reports),
            on_sweep: Box::new(move |bench, observed| {
                sight.sweep(number as usize, bench, observed, workers.load());
                if let Some(watchdog) = &mut watchdog {
                    watchdog.feed(Instant::now());
                }
            }),
        };
        threads.push(Poller::start(setup, number).map_err(io("a poller thread"))?);
    }
    Ok((inboxes, threads))
}

/// What must never be: a thread of its own feeds the watchdog, so that a stuck daemon is kept alive.
#[cold]
fn feed_by_a_thread(mut watchdog: Watchdog) {
    let Some(every) = watchdog.every() else { return };
    std::thread::spawn(move || {
        loop {
            watchdog.feed(Instant::now());
            std::thread::sleep(every);
        }
    });
}

/// Serves metrics, if somebody wants them. Who may read the board may read them.
pub(super) fn export(
    config: &Config,
    sight: &Sight,
    group: Option<u32>,
) -> Result<Option<Exporter>, StartError> {
    let Some(address) = &config.metrics.listen else { return Ok(None) };
    let source = Source {
        board: sight.board(),
        instance: config.instance.clone(),
        workers: config.workers.threads,
        started: sight.started(),
    };
    let exporter = Exporter::start(address, group, source);
    let refused = |source| StartError::Metrics { address: address.to_string(), source };
    exporter.map(Some).map_err(refused)
}

pub(super) fn sweep(lock: &InstanceLock) -> Result<(), StartError> {
    let report = lock::sweep(lock).map_err(io("sweeping /dev/shm"))?;
    if !report.removed.is_empty() {
        tracing::info!(segments = report.removed.len(), "swept what a killed daemon left");
    }
    for refused in &report.refused {
        let (name, reason) = (&refused.name, &refused.reason);
        tracing::warn!(%name, %reason, "a name in /dev/shm looks like ours and is not: left alone");
    }
    Ok(())
}

/// SIGTERM and SIGINT come through a descriptor; blocked before any thread is started, so in all.
/// SIGXFSZ comes nowhere: a file that becomes too large is an error of the write.
pub(super) fn block_signals() -> Result<SignalFd, StartError> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    let errno = |errno: nix::errno::Errno| StartError::Io { what: "signals", source: errno.into() };
    let mut blocked = set;
    blocked.add(Signal::SIGXFSZ);
    blocked.thread_block().map_err(errno)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(errno)
}

pub(super) fn group(name: &str, setting: &'static str) -> Result<u32, StartError> {
    match nix::unistd::Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        _ => Err(StartError::Group { name: name.into(), setting }),
    }
}

/// The folder of the control socket. Others may pass through it if the socket is for them; nobody else
/// may own it or write into it, for they could put a socket of theirs there.
pub(super) fn make_runtime_dir(config: &Config) -> Result<(), StartError> {
    let shared = config.socket_mode.bits() & 0o066 != 0;
    let mode = if shared { 0o755 } else { 0o700 };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(config.instance_dir())
        .map_err(io("the runtime directory"))?;
    [&config.runtime_dir, &config.instance_dir()].into_iter().try_for_each(|dir| check_dir(dir))
}

fn check_dir(dir: &Path) -> Result<(), StartError> {
    let failed = || io("the runtime directory");
    let ours = |owner| owner == 0 || owner == nix::unistd::geteuid().as_raw();
    // A link's owner may have it lead elsewhere later.
    let link = dir.symlink_metadata().map_err(failed())?.uid();
    let found = dir.metadata().map_err(failed())?;
    let mode = found.mode() & 0o7777;
    // Sticky, as /tmp is: others may add names, and neither remove nor replace ours.
    let closed = mode & 0o002 == 0 || mode & 0o1000 != 0;
    if ours(link) && ours(found.uid()) && closed || !is_armed("folder.squatted") {
        return Ok(());
    }
    let owner = if ours(link) { found.uid() } else { link };
    Err(StartError::Squatted { dir: dir.to_owned(), owner, mode })
}

/// The socket that systemd passed, or one of our own.
pub(super) fn listen(config: &Config, activated: Option<OwnedFd>) -> Result<Listener, StartError> {
    if let Some(fd) = activated {
        return Ok(Listener::from_fd(fd)?);
    }
    let listener = Listener::bind(&config.socket_path(), config.socket_mode.bits())?;
    if let Some(name) = &config.socket_group {
        let gid = group(name, "socket_group")?;
        std::os::unix::fs::chown(config.socket_path(), None, Some(gid))
            .map_err(io("the control socket's group"))?;
        let mode = std::fs::Permissions::from_mode(config.socket_mode.bits());
        std::fs::set_permissions(config.socket_path(), mode)
            .map_err(io("the control socket's mode"))?;
    }
    Ok(listener)
}
