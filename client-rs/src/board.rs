//! [`Board`]: the daemon's counters, sessions and errors, read from shared memory.
//!
//! Invariant: read-only; nothing done with it can reach or slow the daemon. It does *not* follow
//! the daemon: after a restart it shows the last state of the one that is gone, whose
//! [`Totals::beat_ns`](ringfence_protocol::board::Totals) stands still.

use ringfence_protocol::board::Snapshot;
use ringfence_protocol::region::Region;

use crate::client::Client;
use crate::error::Error;
use crate::way::Way;

/// The board of a daemon. From [`Client::board`](crate::Client::board).
///
/// ```no_run
/// let board = ringfence::Client::connect()?.board()?;
/// for method in board.snapshot()?.methods {
///     println!("{}: {} calls", method.name, method.calls);
/// }
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Debug)]
pub struct Board {
    region: Region,
}

impl Board {
    pub(crate) fn new(region: Region) -> Self {
        Self { region }
    }

    /// What it shows now: numbers up to 100 ms old.
    ///
    /// # Errors
    /// Code `Internal`: it is no board that this library can read.
    ///
    /// ```no_run
    /// let board = ringfence::Client::connect()?.board()?;
    /// println!("{} sessions", board.snapshot()?.totals.sessions_open);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        let wrong = |error: ringfence_protocol::board::BoardError| Error::Protocol {
            what: error.to_string(),
        };
        Snapshot::read(&self.region).map_err(wrong)
    }
}

impl Client {
    /// The daemon's board: its counters, sessions and errors in shared memory, which it costs
    /// nothing to read.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] unless this user is the daemon's, root, or in its board group;
    /// engines in this process have none (code `InvalidArgument`).
    ///
    /// ```
    /// let client = ringfence::doctest_client();
    /// assert!(client.board().is_err(), "only a daemon has one");
    /// ```
    pub fn board(&self) -> Result<Board, Error> {
        match self.way() {
            Way::Remote(remote) => remote.here().session()?.open_board().map(Board::new),
            #[cfg(feature = "inproc")]
            Way::Inproc(_) => Err(Error::invalid("engines in this process have no board")),
        }
    }
}
