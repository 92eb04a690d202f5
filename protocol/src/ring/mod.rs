//! One lane: a submission ring in `up`, a completion ring in `down`, and the words between them.
//!
//! [`ClientLane`] and [`ServerLane`] are its two sides, each single-threaded, each generic over the
//! memory, so that what loom and the kill model check is what ships. They never sleep, never make a
//! system call and never allocate per call. SPEC.md sections F (flow) and P (parking) are their law.
//!
//! Every ordering has a partner:
//!
//! ```text
//!   client                                        daemon
//!   A  submission.seq        Release store   ->   B  load, fence(Acquire)        a request's words
//!   D  load, fence(Acquire)                  <-   C  completion.seq Release      an answer's words
//!   F  load, fence(Acquire)                  <-   E  released       Release      a slot may be reused
//!   G  consumed              Release store   ->   H  load, then B's fence        an answer may be overwritten
//!   M  release[lease]        Release store   ->   N  load, fence(Acquire)        a reply block may be reused
//!   AB load, fence(Acquire)                  <-   AA entry.ticket Release      an entry's progress
//!   I  publish; fence(SeqCst); look at down.parked
//!                                                 J  down.parked; fence(SeqCst); look at slots and credit
//!   L  up.parked; fence(SeqCst); look at slots
//!                                                 K  publish; fence(SeqCst); look at up.parked
//! ```
//!
//! (A to N are here, O to Z, AI and AJ in `log/mod.rs` and ringfence-core's `bus/room.rs`, AC and AD in `listening.rs`,
//! AE to AH in `ledger.rs`.)
//!
//! I pairs with J and K with L: of two fences one comes first in their total order, so at least one
//! of the two sides sees what the other stored (Rust reference, `fence`; the same argument as
//! io_uring's `need_wakeup`). The remaining daemon stores (`claimed`, `done`, the entries) are Release
//! because their *order* is what a killed daemon leaves (SPEC F1): who reads them after its death
//! loads in the opposite order.
//!
//! Positions are free-running u64 that start anywhere below 2^63; a slot's index is a mask.

mod blocks;
mod client;
mod lease;
mod listening;
mod recovery;
mod request;
mod server;
#[cfg(test)]
mod tests;

pub use blocks::Blocks;
pub use client::{ClientLane, Full, Nap};
pub use lease::Leases;
pub use listening::{Listener, Teller};
pub use recovery::{Class, Left, Open, RecoveryError, classify, repair};
pub use request::{Place, Request};
pub use server::{Entry, Peek, ServerLane};

use crate::geometry::{Geometry, Slots};
use crate::layout::{self, Header, slot};
use crate::limits::{INLINE_BYTES, LINE_BYTES, LINE_WORDS, STRIDE};
use crate::memory::{Heap, Memory};

/// How a sleeping client wants to be woken: bit 1 of its parking word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeBy {
    /// By FUTEX_WAKE on `wake`.
    Futex,
    /// By a byte on its waker, and by FUTEX_WAKE for those of its threads that sleep so.
    Byte,
}

/// Bit 0 of a parking word: asleep.
const ASLEEP: u32 = 1;
/// Bit 1 of a client's parking word: wake by a byte.
const BY_BYTE: u32 = 2;
/// What a parking word grows by, so that every sleep has a value of its own.
const NEXT_SLEEP: u32 = 4;

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// Writes the words of the slot at `at` behind its `seq`. The first line comes last, right before `seq`:
/// the other side polls it, and takes it away from a writer who turns to another line meanwhile.
#[inline(always)]
fn write_slot(
    memory: &impl Memory,
    at: usize,
    header: Header,
    line: [u64; LINE_WORDS],
    behind: &[u8],
) {
    if !behind.is_empty() {
        memory.write(at + slot::PAYLOAD + LINE_BYTES, behind);
        let end = slot::PAYLOAD + LINE_BYTES + behind.len();
        for line in (2 * CACHE_LINE..end).step_by(CACHE_LINE) {
            memory.demote(at + line);
        }
    }
    let [ticket, method, flags, deadline] = header.words();
    let [first, second, third] = line;
    memory.store_words(at + slot::TICKET, [ticket, method, flags, deadline, first, second, third]);
}

/// Asks for the second line of the slot at `at`, for who is about to look at its first: both come in one step then
/// (the benches' `rust-echo-64`). Nothing is asked of the other side as long as it leaves it alone. Not so for the lines
/// behind: who writes them would lose them to each look, and so be slower by an eighth (`rust-echo-200`). They are demoted
/// instead.
#[inline(always)]
fn prefetch_second(memory: &impl Memory, at: usize) {
    memory.prefetch_read(at + CACHE_LINE);
}

/// Asks for the lines that a payload of so many bytes takes in the slot at `at`, for who will write them: the first
/// one, if it does not fit. The one that the other side polls comes last.
#[inline(always)]
fn prefetch_slot(memory: &impl Memory, at: usize, len: usize) {
    let bytes = if len <= INLINE_BYTES { slot::PAYLOAD + len } else { 0 };
    for line in (CACHE_LINE..bytes).step_by(CACHE_LINE) {
        memory.prefetch_write(at + line);
    }
    memory.prefetch_write(at);
}

/// Makes `down` of a fresh lane ready: no slot may look like a commit, none like an answer. The
/// creator calls it before it hands descriptors over.
pub fn initialise_down(down: &impl Memory, geometry: Geometry, start: u64) {
    initialise_ring(down, geometry.down().ring, start);
    for at in [layout::down::CLAIMED, layout::down::DONE, layout::down::RELEASED] {
        down.store(at, start);
    }
}

/// What `up` of a fresh lane holds up to the end of its ring, likewise. As bytes, because its creator
/// has no writable mapping of it.
#[must_use]
pub fn initial_up(geometry: Geometry, start: u64) -> Vec<u8> {
    let image = Heap::new(geometry.up().ring.end());
    initialise_up(&image, geometry, start);
    let mut bytes = vec![0; image.len()];
    image.read(0, &mut bytes);
    bytes
}

/// Makes both segments of a fresh lane ready: for tests and for lanes within one process.
pub fn initialise(up: &impl Memory, down: &impl Memory, geometry: Geometry, start: u64) {
    initialise_up(up, geometry, start);
    initialise_down(down, geometry, start);
}

fn initialise_up(up: &impl Memory, geometry: Geometry, start: u64) {
    initialise_ring(up, geometry.up().ring, start);
    up.store(layout::up::CONSUMED, start);
}

fn initialise_ring(memory: &impl Memory, ring: Slots, start: u64) {
    for at in (ring.at(0)..ring.end()).step_by(STRIDE) {
        memory.store(at + slot::TICKET, start.wrapping_sub(1));
        memory.store(at + slot::SEQ, start);
    }
}
