//! iceoryx2 from Rust: a call, the two ping-pongs of its own benchmark of request-response, and that of
//! publish/subscribe. What it is told is what its own benchmarks tell it.
//!
//! Compiled without the crate (no feature `iceoryx2`: the registry did not have it), the rows say so.

use ringfence_benches::BenchError;
use ringfence_benches::harness::{Case, Context, Runner};

#[cfg(feature = "iceoryx2")]
mod exchange;
#[cfg(feature = "iceoryx2")]
mod messages;
#[cfg(feature = "iceoryx2")]
mod requests;

/// A request and its response: what an echo is.
pub(crate) const CALL: Iceoryx2 = Iceoryx2 {
    name: "iceoryx2-request-response",
    description: "iceoryx2 0.10.0, ipc (release, thin LTO): a request and its response, 24 bytes; max_clients 1, \
                  max_servers 1, max_response_buffer_size 1; next request loaned in advance, both sides poll",
};
/// The first half of its benchmark.
pub(crate) const REQUESTS: Iceoryx2 = Iceoryx2 {
    name: "iceoryx2-requests",
    description: "the same, a request there and a request back by two services, neither answered (its benchmark \
                  REQUESTS)",
};
/// The second half of its benchmark.
pub(crate) const RESPONSES: Iceoryx2 = Iceoryx2 {
    name: "iceoryx2-responses",
    description: "the same, a response there and a response back to two requests that stay open (its benchmark \
                  RESPONSE_STREAM)",
};
/// A message there and one back.
pub(crate) const PUBSUB_24: Iceoryx2 = Iceoryx2 {
    name: "iceoryx2-pubsub-24",
    description: "iceoryx2 0.10.0, ipc (release, thin LTO): a message there and one back by two services, 24 bytes; \
                  max_publishers 1, max_subscribers 1, history_size 0, subscriber_max_buffer_size 1, safe overflow; \
                  next message loaned in advance, both sides poll",
};
/// The same with a message as large as the bus's.
pub(crate) const PUBSUB_64: Iceoryx2 =
    Iceoryx2 { name: "iceoryx2-pubsub-64", description: "the same, 64 bytes" };

/// One of the cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Iceoryx2 {
    /// As in the table.
    pub(crate) name: &'static str,
    description: &'static str,
}

impl Case for Iceoryx2 {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> &'static str {
        self.description
    }

    #[cfg(feature = "iceoryx2")]
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        use exchange::Near;
        match *self {
            REQUESTS => Near::<requests::Unanswered, 3>::start(*self, context),
            RESPONSES => Near::<requests::Responses, 3>::start(*self, context),
            PUBSUB_24 => Near::<messages::Messages<3>, 3>::start(*self, context),
            PUBSUB_64 => Near::<messages::Messages<8>, 8>::start(*self, context),
            _ => Near::<requests::Caller, 3>::start(*self, context),
        }
    }

    #[cfg(not(feature = "iceoryx2"))]
    fn setup(&self, _context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let why = "the crate iceoryx2 could not be fetched; make bench-rivals tries again";
        Err(BenchError::Skipped(String::from(why)))
    }
}

/// The far half, if that is what `role` names; it ends when it is killed.
#[cfg(feature = "iceoryx2")]
pub(crate) fn serve(role: &str, dir: &str) -> Option<Result<(), BenchError>> {
    use exchange::answer;
    let all = [CALL, REQUESTS, RESPONSES, PUBSUB_24, PUBSUB_64];
    Some(match all.into_iter().find(|case| case.name == role)? {
        REQUESTS => answer::<requests::Unanswered, 3>(dir.as_ref()),
        RESPONSES => answer::<requests::Responses, 3>(dir.as_ref()),
        PUBSUB_24 => answer::<messages::Messages<3>, 3>(dir.as_ref()),
        PUBSUB_64 => answer::<messages::Messages<8>, 8>(dir.as_ref()),
        _ => answer::<requests::Callee, 3>(dir.as_ref()),
    })
}

/// Has no role.
#[cfg(not(feature = "iceoryx2"))]
pub(crate) fn serve(_role: &str, _dir: &str) -> Option<Result<(), BenchError>> {
    None
}
