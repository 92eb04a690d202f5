//! What a kill -9 leaves, and what it means (SPEC section K).
//!
//! A killed process leaves a prefix of its stores. [`repair`] turns the `down` of a dead daemon into
//! one that a new daemon could have left, in an order that may itself be cut off by another kill;
//! [`classify`] is the same reasoning without a store: what became of each request? It is what the
//! checker and the client's `outcome` rest on. Recovery applies the rules for hostile memory to `down`
//! itself.

use crate::geometry::{Down, Geometry};
use crate::layout::{ENTRY_BYTES, Header, down, entry, slot};
use crate::limits::{INLINE_BYTES, STRIDE};
use crate::memory::Memory;
use crate::ring::Entry;

/// A call that was taken and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its position.
    pub ticket: u64,
    /// Its place in the in-flight table.
    pub entry: Entry,
    /// How often it had been started when the daemon died.
    pub attempts: u64,
    /// The validated copy of its header.
    pub header: Header,
}

/// What a repaired `down` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Requests taken.
    pub claimed: u64,
    /// Answers published.
    pub done: u64,
    /// Slots given back.
    pub released: u64,
    /// Calls taken and not answered.
    pub open: Vec<Open>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The daemon never took it.
    NotStarted,
    /// It was taken, and whether it took effect is unknown.
    Interrupted,
    /// Its answer was published.
    Answered,
}

/// `down` holds what no daemon can have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "claimed {claimed}, done {done}, released {released} cannot be a daemon's: the session is discarded"
)]
pub struct RecoveryError {
    /// Requests taken.
    pub claimed: u64,
    /// Answers published.
    pub done: u64,
    /// Slots given back.
    pub released: u64,
}

/// The words that the order of stores is about, each loaded once.
struct Words {
    claimed: u64,
    done: u64,
    released: u64,
    /// The ticket that the last published completion answers.
    last_answered: u64,
}

impl Words {
    fn load(down: &impl Memory, geometry: Geometry) -> Result<Self, RecoveryError> {
        let claimed = down.load_acquire(down::CLAIMED);
        let released = down.load_acquire(down::RELEASED);
        let mut done = down.load_acquire(down::DONE);
        let slots = u64::from(geometry.slots);
        let plausible = claimed.wrapping_sub(released) <= 1 && claimed.wrapping_sub(done) <= slots;
        if !plausible {
            return Err(RecoveryError { claimed, done, released });
        }
        if down.load_acquire(answer_at(geometry, done) + slot::SEQ) == done.wrapping_add(1) {
            done = done.wrapping_add(1);
        }
        let last_answered = down.load(answer_at(geometry, done.wrapping_sub(1)) + slot::TICKET);
        Ok(Self { claimed, done, released, last_answered })
    }

    /// Is this position taken? Positions run at most a ring ahead, so a wrapping distance tells.
    fn is_claimed(&self, position: u64) -> bool {
        self.claimed.wrapping_sub(position).wrapping_sub(1) < 1 << 63
    }
}

/// Repairs `done`, the entries and `released`, in this order, and lists the calls left open. Idempotent:
/// a kill in the middle leaves what another `repair` finishes.
///
/// # Errors
/// [`RecoveryError`] if no daemon can have left this.
pub fn repair(
    up: &impl Memory,
    down: &impl Memory,
    geometry: Geometry,
) -> Result<Left, RecoveryError> {
    let words = Words::load(down, geometry)?;
    down.store_release(down::DONE, words.done);
    let map = geometry.down();
    let mut open = Vec::new();
    for index in 0..geometry.slots {
        let at = map.entries + index as usize * ENTRY_BYTES;
        let mark = down.load_acquire(at + entry::TICKET);
        let ticket = mark.wrapping_sub(1);
        if mark == 0 {
            continue;
        }
        // Void: never claimed, so the slot still holds it. Answered: the entry outlived its answer.
        if !words.is_claimed(ticket) || ticket == words.last_answered {
            down.store_release(at + entry::TICKET, 0);
            continue;
        }
        open.push(open_entry(down, map, index, ticket));
    }
    if words.released != words.claimed {
        let position = words.released;
        let known =
            position == words.last_answered || open.iter().any(|call| call.ticket == position);
        if !known {
            open.push(adopt_light(up, down, geometry, position));
        }
        down.store_release(down::RELEASED, words.claimed);
    }
    open.sort_by_key(|call| call.ticket);
    Ok(Left { claimed: words.claimed, done: words.done, released: words.claimed, open })
}

fn open_entry(down: &impl Memory, map: Down, index: u32, ticket: u64) -> Open {
    let at = map.entries + index as usize * ENTRY_BYTES;
    let word = |number: usize| down.load(at + entry::SLOT + slot::TICKET + number * 8);
    Open {
        ticket,
        entry: Entry::new(index),
        attempts: down.load(at + entry::ATTEMPTS),
        header: Header::from_words([word(0), word(1), word(2), word(3)]),
    }
}

/// The light call that was interrupted becomes an entry, before its slot is given back.
fn adopt_light(up: &impl Memory, down: &impl Memory, geometry: Geometry, position: u64) -> Open {
    let map = geometry.down();
    let from = geometry.up().ring + geometry.index(position) * STRIDE;
    let word = |number: usize| up.load(from + slot::TICKET + number * 8);
    let mut header = Header::from_words([word(0), word(1), word(2), word(3)]);
    // The client may have scribbled over the slot since: a length is checked as at first.
    let mut payload = [0; INLINE_BYTES];
    if header.block == 0 {
        header.len = header.len.min(INLINE_BYTES as u32);
        up.read(from + slot::PAYLOAD, &mut payload);
    }
    let free = (0..geometry.slots)
        .find(|index| down.load(map.entries + *index as usize * ENTRY_BYTES + entry::TICKET) == 0)
        .unwrap_or(0); // at most slots - 1 others are open: claimed - done <= slots
    let at = map.entries + free as usize * ENTRY_BYTES;
    down.store(at + entry::ATTEMPTS, 1);
    down.store(at + entry::PROGRESS, 0);
    for (number, value) in header.words().into_iter().enumerate() {
        down.store(at + entry::SLOT + slot::TICKET + number * 8, value);
    }
    down.write(at + entry::SLOT + slot::PAYLOAD, &payload);
    down.store_release(at + entry::TICKET, position.wrapping_add(1));
    Open { ticket: position, entry: Entry::new(free), attempts: 1, header }
}

/// What became of each request from `first` to before `end`, read from the `down` of a daemon that is
/// dead. Nothing is stored.
///
/// # Errors
/// [`RecoveryError`] if no daemon can have left this.
pub fn classify(
    down: &impl Memory,
    geometry: Geometry,
    first: u64,
    end: u64,
) -> Result<Vec<Class>, RecoveryError> {
    let words = Words::load(down, geometry)?;
    let map = geometry.down();
    let entries: Vec<u64> = (0..geometry.slots as usize)
        .map(|index| down.load_acquire(map.entries + index * ENTRY_BYTES + entry::TICKET))
        .filter(|mark| *mark != 0)
        .map(|mark| mark.wrapping_sub(1))
        .collect();
    let class = |position: u64| {
        if !words.is_claimed(position) {
            return Class::NotStarted;
        }
        let open = entries.contains(&position)
            || (words.released != words.claimed && position == words.released);
        if open && position != words.last_answered { Class::Interrupted } else { Class::Answered }
    };
    Ok((0..end.wrapping_sub(first)).map(|offset| class(first.wrapping_add(offset))).collect())
}

fn answer_at(geometry: Geometry, position: u64) -> usize {
    geometry.down().ring + geometry.index(position) * STRIDE
}
