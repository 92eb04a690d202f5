//! Everything that is timed, in the order of the report, and the far halves of the cases that
//! need one. To add a case: implement `Case` and `Runner`, name it in `all`, and give its peer,
//! if it has one, a role in `serve`.

pub mod bulk;
pub mod bus;
pub mod crowd;
pub mod futex;
pub mod idle;
pub mod ledger;
pub mod limit;
pub mod many;
pub mod python;
pub mod raw_sync;
pub mod ringfence;
mod steady;
mod twin;
pub mod unix;
pub mod vectors;

use crate::harness::Case;
use crate::raw::PAYLOAD_WORDS;
use crate::{BenchError, wedge};

/// The payload of all echoes: 24 bytes.
pub type Payload = [u64; PAYLOAD_WORDS];
/// Requests compared before a case is timed: more than any ring has slots.
const CHECKED_REQUESTS: u64 = 1_000;

/// All cases, the limit first.
#[must_use]
pub fn all() -> Vec<Box<dyn Case>> {
    let mut cases: Vec<Box<dyn Case>> = vec![
        Box::new(limit::Limit { hint: true }),
        Box::new(limit::Limit { hint: false }),
        Box::new(raw_sync::BUSY),
        Box::new(raw_sync::EVENT),
        Box::new(unix::SPIN),
        Box::new(unix::BLOCK),
        Box::new(futex::Futex::PingPong),
        Box::new(futex::Futex::AfterIdle),
        Box::new(futex::Futex::OneWake),
    ];
    let daemon = ringfence::Shared::default();
    cases.extend(ringfence::all(&daemon));
    cases.push(Box::new(ledger::OfEcho::new(&daemon)));
    cases.extend(many::all(&daemon));
    cases.extend(bus::all(&daemon));
    cases.extend(python::all(&daemon));
    cases.extend(idle::all(&daemon));
    cases.push(Box::new(crowd::SilentCrowd));
    cases.extend(bulk::all(&daemon));
    cases.extend(vectors::all(&daemon));
    cases.push(Box::new(steady::Calls::new(&daemon)));
    cases
}

/// Runs the far half named `role`, with the segment's name where it needs one; returns when the
/// other half hangs up, or never.
pub fn serve(role: &str, segment: &str) -> Result<(), BenchError> {
    match role {
        "limit" => limit::serve::<true>(segment),
        "limit-no-hint" => limit::serve::<false>(segment),
        "raw-sync-busy" => raw_sync::serve(raw_sync::BUSY, segment),
        "raw-sync-event" => raw_sync::serve(raw_sync::EVENT, segment),
        "unix-spin" => unix::serve(unix::SPIN),
        "unix-block" => unix::serve(unix::BLOCK),
        futex::NAME => futex::serve(segment),
        "daemon" => ringfence::serve(segment, ringfence::Role::Bench),
        "daemon-as-shipped" => ringfence::serve(segment, ringfence::Role::AsShipped),
        "wedge-hold" => wedge::hold(segment),
        "wedge-wait" => wedge::wait(segment),
        _ => Err(BenchError::Peer { what: String::from(role), detail: String::from("is no role") }),
    }
}

/// The one in the middle of these.
fn median(mut all: Vec<f64>) -> Option<f64> {
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

/// Sends echoes of different content and compares what comes back.
pub fn check_echo<const WORDS: usize>(
    mut echo: impl FnMut([u64; WORDS]) -> Result<[u64; WORDS], BenchError>,
) -> Result<(), BenchError> {
    for request in 0..CHECKED_REQUESTS {
        let number = |word: usize| request * WORDS as u64 + word as u64 + 1;
        let sent = std::array::from_fn(|word| number(word).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let got = echo(sent)?;
        if got != sent {
            let (expected, got) = (format!("{sent:x?}"), format!("{got:x?}"));
            return Err(BenchError::WrongAnswer { request, expected, got });
        }
    }
    Ok(())
}
