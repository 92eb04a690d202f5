//! What a new client of this extension connects to, the core in this process, and where calls
//! run.

use ringfence::{Builder, Error};

/// A builder for the in-process core; there is nothing to choose from.
pub(crate) fn builder(_target: Option<&str>) -> Result<Builder, Error> {
    Ok(ringfence::Client::builder().inproc())
}

/// Does a call run on its caller's thread? All of them do: long ones must let Python go on.
pub(crate) const RUNS_HERE: bool = true;
