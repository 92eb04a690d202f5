//! What a new client of this extension connects to: a daemon.

use ringfence::Builder;

/// A builder for `target`, an instance or a socket path; none is the user's own daemon, then the
/// system's.
pub(crate) fn builder(target: Option<&str>) -> Builder {
    match target {
        Some(target) => ringfence::Client::builder().target(target),
        None => ringfence::Client::builder(),
    }
}
