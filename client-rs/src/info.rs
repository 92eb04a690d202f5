//! What a client knows about its daemon: [`Info`] without asking it, [`Stats`] by asking it.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

use crate::client::Client;
use crate::remote::Remote;
use crate::way::Way;

/// What a client knows about its daemon without asking it.
///
/// ```
/// let client = ringfence::doctest_client();
/// let info = client.info();
/// assert!(info.inproc && info.daemon_pid == std::process::id());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The instance's name, if the socket's path says it.
    pub instance: Option<String>,
    /// The control socket; none in process.
    pub socket: Option<PathBuf>,
    /// The session's number in the daemon, 0 if there is none.
    pub session: u64,
    /// Of this run of the daemon.
    pub epoch: u64,
    /// The daemon's process id.
    pub daemon_pid: u32,
    /// The daemon's version.
    pub daemon_version: String,
    /// Does the daemon leave with its last client?
    pub private: bool,
    /// Did this client start it?
    pub autostarted: bool,
    /// Is there a session, as far as is known?
    pub connected: bool,
    /// Do the engines run inside this process?
    pub inproc: bool,
}

/// The daemon as it sees itself; counts since its start. They lag by up to 100 ms.
///
/// ```
/// let client = ringfence::doctest_client();
/// assert_eq!(client.stats()?.pid, std::process::id());
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Milliseconds since the daemon started.
    pub uptime_ms: u64,
    /// Sessions open now.
    pub sessions: u64,
    /// Lanes open now.
    pub lanes: u64,
    /// Requests answered, errors included.
    pub calls: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// Sessions ended by a broken rule.
    pub faults: u64,
    /// Bytes of reply memory that this client still holds.
    pub leased_bytes: u64,
    /// Bytes of segments that this client's session owns.
    pub segment_bytes: u64,
    /// The daemon's process id.
    pub pid: u32,
    /// The daemon's version.
    pub version: String,
}

impl From<ringfence_protocol::api::system::Stats<'_>> for Stats {
    fn from(stats: ringfence_protocol::api::system::Stats<'_>) -> Self {
        Self {
            uptime_ms: stats.uptime_ms,
            sessions: stats.sessions,
            lanes: stats.lanes,
            calls: stats.calls,
            errors: stats.errors,
            faults: stats.faults,
            leased_bytes: stats.leased_bytes,
            segment_bytes: stats.segment_bytes,
            pid: stats.pid,
            version: stats.version.to_owned(),
        }
    }
}

impl Remote {
    /// What is known without asking the daemon.
    pub(crate) fn info(&self) -> Info {
        let Some(session) = self.current.load_full() else { return Info::default() };
        let folder = session.candidate.path.parent().and_then(|folder| folder.file_name());
        Info {
            instance: folder.map(|name| name.to_string_lossy().into_owned()),
            socket: Some(session.candidate.path.clone()),
            session: session.id,
            epoch: session.epoch,
            daemon_pid: session.pid,
            daemon_version: session.version.clone(),
            private: session.private,
            autostarted: self.autostarted.load(Relaxed),
            connected: session.death().is_none(),
            inproc: false,
        }
    }
}

impl Client {
    /// What is known about the daemon without asking it.
    ///
    /// ```
    /// assert!(ringfence::doctest_client().info().inproc);
    /// ```
    #[must_use]
    pub fn info(&self) -> Info {
        match self.way() {
            Way::Remote(remote) => remote.here().info(),
            #[cfg(feature = "inproc")]
            Way::Inproc(inproc) => inproc.info(),
        }
    }
}
