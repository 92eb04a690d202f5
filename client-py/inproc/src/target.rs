//! What a new client of this extension connects to: the core in this process.

use ringfence::Builder;

/// A builder for the in-process core; there is nothing to choose from.
pub(crate) fn builder(_target: Option<&str>) -> Builder {
    ringfence::Client::builder().inproc()
}
