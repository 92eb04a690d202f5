//! The attacks, by kind.

mod calls;
mod control;
mod deaths;
mod flow;
mod guests;
mod headers;
mod segments;
mod topics;
mod words;

use ringfence_protocol::api::serving;
use ringfence_protocol::layout::Header;

use super::attack::{Attack, Random, Wrong, until};
use super::attacker::{Attacker, encode};
use super::home::Home;

/// All of them, in the order in which they are made.
pub(super) static ALL: &[&[Attack]] = &[
    headers::ATTACKS,
    words::ATTACKS,
    segments::ATTACKS,
    flow::ATTACKS,
    calls::ATTACKS,
    topics::ATTACKS,
    control::ATTACKS,
    guests::ATTACKS,
    deaths::ATTACKS,
];

/// Makes what attacks need of the daemon from its start on, so that it holds the same before and after.
pub(super) fn prepare(home: &Home) -> Result<(), Wrong> {
    match topics::prepare(&mut Attacker::connect(&home.socket())?) {
        Err(Wrong::Skipped(_)) => Ok(()),
        made => made,
    }
}

/// Subscribes a session that is about to die.
pub(super) fn subscribed(attacker: &mut Attacker) -> Result<(), Wrong> {
    topics::subscribed(attacker)
}

/// A call that waits: for a server of a name that nobody serves. Its method and payload.
fn waiting_payload(attacker: &Attacker) -> Result<(u32, Vec<u8>), Wrong> {
    let method = attacker.method(serving::NAME, serving::CALL)?;
    let request = serving::Request { wait: true, name: "torture.nobody", payload: b"please" };
    Ok((method, encode(&request)))
}

/// Publishes such a call with this deadline, and sees it taken.
pub(super) fn waiting(attacker: &mut Attacker, deadline: u32) -> Result<u64, Wrong> {
    let (method, payload) = waiting_payload(attacker)?;
    let before = attacker.claimed();
    let header = Header { method, len: payload.len() as u32, deadline, ..Header::default() };
    let ticket = attacker.publish(header, &payload)?;
    until("the call was taken", || attacker.claimed() > before)?;
    Ok(ticket)
}
