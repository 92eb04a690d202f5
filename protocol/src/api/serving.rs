//! `serving`: names that client processes answer requests to, instead of an engine.
//!
//! A process *serves* a name, and *takes* requests one at a time: a take waits until there is one. What
//! it answers goes in the next take, so that a served request costs its server one call.

use crate::api::system::{Bytes, Nothing};
use crate::message;
use crate::schema::{EngineSchema, MethodSchema};

/// The engine's name.
pub const NAME: &str = "serving";

/// Number of `call`.
pub const CALL: u16 = 0;
/// Number of `serve`.
pub const SERVE: u16 = 1;
/// Number of `withdraw`.
pub const WITHDRAW: u16 = 2;
/// Number of `take`.
pub const TAKE: u16 = 3;
/// Number of `answer`.
pub const ANSWER: u16 = 4;
/// Number of `wanted`.
pub const WANTED: u16 = 5;
/// Number of `list`.
pub const LIST: u16 = 6;

/// The time that is left to a request without a deadline.
pub const FOR_EVER: u64 = u64::MAX;

message! {
    /// A request to whoever serves a name.
    pub struct Request<'a> {
        /// Wait for a server where there is none, as long as the call may take.
        wait: bool,
        /// The name.
        name: &'a str,
        /// What the server is given.
        payload: &'a [u8],
    }
}

message! {
    /// A name.
    pub struct Serve<'a> {
        /// The name.
        name: &'a str,
    }
}

message! {
    /// That a session serves a name.
    pub struct Handle {
        /// Its number, never 0, in this daemon.
        handle: u64,
    }
}

message! {
    /// An answer, if there is one, and the wish for the next request.
    pub struct Take<'a> {
        /// The name that is served.
        handle: u64,
        /// The request that is answered; 0 is none.
        answers: u64,
        /// 0, or why it could not be answered: a number of the error table.
        status: u16,
        /// The answer, or a text.
        payload: &'a [u8],
    }
}

message! {
    /// A request that was taken: its server owes the answer.
    pub struct Taken<'a> {
        /// Its number, never 0.
        request: u64,
        /// Microseconds until its caller waits no longer; 2^64 - 1 is for ever.
        time_left_us: u64,
        /// What the caller sent.
        payload: &'a [u8],
    }
}

message! {
    /// An answer.
    pub struct Answer<'a> {
        /// The request that is answered.
        answers: u64,
        /// 0, or why it could not be answered: a number of the error table.
        status: u16,
        /// The answer, or a text.
        payload: &'a [u8],
    }
}

message! {
    /// A request that was taken.
    pub struct Which {
        /// Its number.
        request: u64,
    }
}

message! {
    /// Does its caller still wait?
    pub struct Wanted {
        /// Does anybody want the answer?
        wanted: bool,
        /// Microseconds until nobody does; 2^64 - 1 is for ever.
        time_left_us: u64,
    }
}

message! {
    /// What is served; one element a name, in order of the names. Counts since the name was first served
    /// or asked for.
    pub struct Services<'a> {
        /// Sessions that serve it, each as often as it does.
        servers: &'a [u64],
        /// Takes that wait for a request.
        idle: &'a [u64],
        /// Requests that wait for a take.
        queued: &'a [u64],
        /// Requests that were taken and not answered.
        running: &'a [u64],
        /// Requests that were answered.
        answered: &'a [u64],
        /// Requests whose server ended before it answered.
        interrupted: &'a [u64],
        /// The names, a line each.
        names: &'a str,
    }
}

/// The engine's schema.
#[must_use]
pub fn schema() -> EngineSchema {
    EngineSchema::new(
        NAME,
        "Names that client processes answer requests to.",
        vec![
            MethodSchema::new::<Request, Bytes>(
                CALL,
                "call",
                "Asks whoever serves the name, and answers what that answers.",
            ),
            MethodSchema::new::<Serve, Handle>(
                SERVE,
                "serve",
                "Serves the name until it is withdrawn or the session ends.",
            ),
            MethodSchema::new::<Handle, Nothing>(
                WITHDRAW,
                "withdraw",
                "Serves the name no longer: takes that wait end. What was taken may be answered.",
            ),
            MethodSchema::new::<Take, Taken>(
                TAKE,
                "take",
                "Answers a request, if it names one, and waits for the next.",
            )
            .timeout_ms(None),
            MethodSchema::new::<Answer, Nothing>(
                ANSWER,
                "answer",
                "Answers a request without waiting for another.",
            ),
            MethodSchema::new::<Which, Wanted>(
                WANTED,
                "wanted",
                "Does the caller of a request still wait for its answer?",
            )
            .idempotent(),
            MethodSchema::new::<Nothing, Services>(LIST, "list", "What is served.").idempotent(),
        ],
    )
}
