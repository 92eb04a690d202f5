//! What `status` and `top` have in common: a fresh look at the board, its time, and the daemon and
//! its sessions, as JSON and as lines.
//!
//! Invariant: the daemon is asked for its board and nothing else. It does *not* print.

use std::time::{Duration, Instant, SystemTime};

use nix::time::{ClockId, clock_gettime};
use ringfence::board_rows::{Header, SessionRow, Snapshot, Totals};
use ringfence::{Board, Error, Info};
use ringfence_protocol::limits::SWEEP_MS;
use serde::Serialize;

use crate::output::{age, bold, printable};
use crate::table::Column;

pub(crate) const NS_PER_MS: u64 = 1_000_000;

/// The board after the daemon's next sweep, so that what was done before this command is in it. A
/// daemon that does not sweep is shown as it is.
pub(crate) fn fresh(board: &Board) -> Result<Snapshot, Error> {
    const NAP: Duration = Duration::from_millis(5);
    let (asked, since) = (Moment::now(), Instant::now());
    loop {
        let snapshot = board.snapshot()?;
        if asked.is_before(&snapshot) || since.elapsed() > 5 * Duration::from_millis(SWEEP_MS) {
            return Ok(snapshot);
        }
        std::thread::sleep(NAP);
    }
}

/// Now, by both clocks that daemons tell times by.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) unix_ns: u64,
    pub(crate) monotonic_ns: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            unix_ns: unix.map_or(0, |since| since.as_nanos() as u64),
            monotonic_ns: monotonic_ns(),
        }
    }

    /// Has the daemon swept since?
    fn is_before(&self, board: &Snapshot) -> bool {
        self.monotonic_ns < board.totals.beat_ns
    }

    pub(crate) fn unix_ms(&self) -> u64 {
        self.unix_ns / NS_PER_MS
    }

    /// Since a time that the daemon has written, by the wall clock.
    pub(crate) fn since_unix_ms(&self, ns: u64) -> u64 {
        self.unix_ns.saturating_sub(ns) / NS_PER_MS
    }

    /// Since the daemon's last sweep.
    pub(crate) fn since_beat_ms(&self, totals: &Totals) -> u64 {
        self.monotonic_ns.saturating_sub(totals.beat_ns) / NS_PER_MS
    }
}

/// The daemon's beat is of this clock.
fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC);
    time.map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

/// Which daemon it is.
#[derive(Debug, Serialize)]
pub(crate) struct Daemon {
    pub(crate) instance: Option<String>,
    pub(crate) socket: Option<String>,
    pub(crate) pid: u32,
    pub(crate) version: String,
    /// Of this run; text, because JSON numbers are floats to many readers.
    pub(crate) epoch: String,
    pub(crate) private: bool,
    pub(crate) uptime_ms: u64,
}

impl Daemon {
    pub(crate) fn of_board(header: &Header, info: Info, uptime_ms: u64) -> Self {
        Self { instance: Some(header.instance.to_string()), ..Self::of(info, uptime_ms) }
    }

    pub(crate) fn of(info: Info, uptime_ms: u64) -> Self {
        Self {
            instance: info.instance,
            socket: info.socket.map(|path| path.to_string_lossy().into_owned()),
            pid: info.daemon_pid,
            version: info.daemon_version,
            epoch: info.epoch.to_string(),
            private: info.private,
            uptime_ms,
        }
    }

    /// The first line about it.
    pub(crate) fn title(&self) -> String {
        let name = self.instance.as_deref().unwrap_or("(a daemon without a name)");
        let title = format!("{name}  ringfenced {}  pid {}", self.version, self.pid);
        format!("{}  up {}", bold(&printable(&title)), age(Duration::from_millis(self.uptime_ms)))
    }
}

/// Which session it is.
#[derive(Debug, Serialize)]
pub(crate) struct Who {
    pub(crate) id: u64,
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) name: String,
    pub(crate) lanes: u64,
}

impl Who {
    pub(crate) fn of(row: &SessionRow) -> Self {
        let (id, pid, uid, lanes) = (row.id, row.pid, row.uid, row.lanes);
        Self { id, pid, uid, name: row.name.to_string(), lanes }
    }

    /// Its line in a table of [`session_columns`]. `own`: is it the one of this command?
    pub(crate) fn line<const N: usize>(&self, own: bool, numbers: [String; N]) -> Vec<String> {
        let name = match own {
            true => format!("{} (this command)", self.name),
            false => self.name.clone(),
        };
        let which = [self.id, self.pid.into(), self.uid.into(), self.lanes];
        which.iter().map(u64::to_string).chain(numbers).chain([name]).collect()
    }
}

/// The columns of a table of sessions, with these numbers of theirs.
pub(crate) fn session_columns(numbers: &[&'static str]) -> Vec<Column> {
    let which = ["SESSION", "PID", "UID", "LANES"];
    let right = which.iter().chain(numbers).map(|head| Column::Right(head));
    right.chain([Column::Cut("NAME")]).collect()
}
