//! What a new client of this extension connects to, a daemon, and where calls run.

use ringfence::{Builder, Error};

/// A builder for `target`, an instance or a socket path; none is the user's own daemon, then the
/// system's.
pub(crate) fn builder(target: Option<&str>) -> Result<Builder, Error> {
    match target {
        Some(target) => ringfence::Client::builder().target(target),
        None => Ok(ringfence::Client::builder()),
    }
}

/// Does a call run on its caller's thread? A daemon's never does.
pub(crate) const RUNS_HERE: bool = false;
