//! What a kill -9 leaves, and what it means (SPEC section K).
//!
//! A killed process leaves a prefix of its stores. [`repair`] turns the `down` of a dead daemon into
//! one that a new daemon could have left, in an order that may itself be cut off by another kill;
//! [`classify`] is the same reasoning without a store: what became of each request? It is what the
//! checker and the client's `outcome` rest on. Recovery applies the rules for hostile memory to `down`
//! itself.

use crate::geometry::Geometry;
use crate::layout::{ENTRY_BYTES, Header, down, entry, slot};
use crate::limits::INLINE_BYTES;
use crate::memory::Memory;
use crate::ring::request::place_of;
use crate::ring::{Entry, Place};

/// A call that was taken and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its position.
    pub ticket: u64,
    /// Its place in the in-flight table.
    pub entry: Entry,
    /// How often it may have been started when the daemon died: at least 1.
    pub attempts: u64,
    /// The copy of its header.
    pub header: Header,
    /// Where its payload lies. `None` if the header does not hold what a request may: the client has
    /// written over the slot of a light call, so it can only be answered "interrupted".
    pub place: Option<Place>,
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

impl Left {
    /// Was this position taken and answered?
    #[must_use]
    pub fn is_answered(&self, position: u64) -> bool {
        let open = self.open.binary_search_by_key(&position, |call| call.ticket).is_ok();
        is_before(position, self.claimed) && !open
    }
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

/// `down` holds what no daemon can have left: the session is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The three positions contradict each other.
    #[error(
        "claimed {claimed}, done {done}, released {released} cannot be a daemon's: discard the session"
    )]
    Positions {
        /// Requests taken.
        claimed: u64,
        /// Answers published.
        done: u64,
        /// Slots given back.
        released: u64,
    },
    /// The in-flight table does not hold exactly the calls that are taken and not answered.
    #[error("{found} open calls where {unanswered} are unanswered: discard the session")]
    Entries {
        /// Different open calls found.
        found: u64,
        /// Requests taken minus answers published.
        unanswered: u64,
    },
    /// A lease runs over the arena's end or into another.
    #[error("lease {number} of {pages} pages overlaps another or the end: discard the session")]
    Lease {
        /// Number of the lease.
        number: usize,
        /// Pages that it claims.
        pages: u64,
    },
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
        let plausible = claimed.wrapping_sub(released) <= 1;
        if down.load_acquire(answer_at(geometry, done) + slot::SEQ) == done.wrapping_add(1) {
            done = done.wrapping_add(1);
        }
        if !plausible || claimed.wrapping_sub(done) > slots {
            return Err(RecoveryError::Positions { claimed, done, released });
        }
        let last_answered = down.load(answer_at(geometry, done.wrapping_sub(1)) + slot::TICKET);
        Ok(Self { claimed, done, released, last_answered })
    }
}

/// Is `position` below `end`? Positions are free-running: half of them lie before.
fn is_before(position: u64, end: u64) -> bool {
    end.wrapping_sub(position).wrapping_sub(1) < 1 << 63
}

/// What stands in `down`, before anything is stored.
struct Scan {
    words: Words,
    /// Calls with an entry, by ticket.
    open: Vec<Open>,
    /// Entries that hold no call: never claimed, so the slot still holds it; or answered, so the
    /// entry only outlived its answer.
    void: Vec<u32>,
    /// The light call that was interrupted.
    light: Option<u64>,
}

impl Scan {
    fn of(down: &impl Memory, geometry: Geometry) -> Result<Self, RecoveryError> {
        let words = Words::load(down, geometry)?;
        let (mut open, mut void) = (Vec::new(), Vec::new());
        for index in 0..geometry.slots {
            let at = entry_at(geometry, index);
            let mark = down.load_acquire(at + entry::TICKET);
            let ticket = mark.wrapping_sub(1);
            if mark == 0 {
                continue;
            }
            if !is_before(ticket, words.claimed) || ticket == words.last_answered {
                void.push(index);
            } else {
                open.push(open_entry(down, geometry, index, ticket));
            }
        }
        open.sort_by_key(|call| call.ticket);
        let has_entry = |position| open.iter().any(|call| call.ticket == position);
        let light = (words.released != words.claimed
            && words.released != words.last_answered
            && !has_entry(words.released))
        .then_some(words.released);
        Self { words, open, void, light }.consistent()
    }

    /// Each call that is taken and not answered is there, once: what all that follows rests on.
    fn consistent(mut self) -> Result<Self, RecoveryError> {
        let unanswered = self.words.claimed.wrapping_sub(self.words.done);
        let listed = self.open.len();
        self.open.dedup_by_key(|call| call.ticket);
        let found = self.open.len() as u64 + u64::from(self.light.is_some());
        if self.open.len() != listed || found != unanswered {
            return Err(RecoveryError::Entries { found, unanswered });
        }
        Ok(self)
    }
}

/// Repairs `done`, the entries and `released`, in this order, and lists the calls left open. Idempotent:
/// a kill in the middle leaves what another `repair` finishes.
///
/// # Errors
/// [`RecoveryError`] if no daemon can have left this. Then nothing was stored.
pub fn repair(
    up: &impl Memory,
    down: &impl Memory,
    geometry: Geometry,
) -> Result<Left, RecoveryError> {
    let Scan { words, mut open, void, light } = Scan::of(down, geometry)?;
    down.store_release(down::DONE, words.done);
    for index in void {
        down.store_release(entry_at(geometry, index) + entry::TICKET, 0);
    }
    if let Some(position) = light {
        open.push(adopt_light(up, down, geometry, position));
        open.sort_by_key(|call| call.ticket);
    }
    if words.released != words.claimed {
        down.store_release(down::RELEASED, words.claimed);
    }
    Ok(Left { claimed: words.claimed, done: words.done, released: words.claimed, open })
}

fn open_entry(down: &impl Memory, geometry: Geometry, index: u32, ticket: u64) -> Open {
    let at = entry_at(geometry, index);
    let header = header_at(down, at + entry::SLOT);
    Open {
        ticket,
        entry: Entry::new(index),
        attempts: down.load(at + entry::ATTEMPTS),
        header,
        place: place_of(header, geometry).ok(),
    }
}

/// The light call that was interrupted becomes an entry, before its slot is given back.
fn adopt_light(up: &impl Memory, down: &impl Memory, geometry: Geometry, position: u64) -> Open {
    let from = geometry.up().ring.at(position);
    let header = header_at(up, from);
    // The client may have written over the slot since: the copy is checked as at first.
    let place = place_of(header, geometry).ok();
    let mut payload = [0; INLINE_BYTES];
    let len = if place == Some(Place::Inline) { header.len as usize } else { 0 };
    up.read(from + slot::PAYLOAD, &mut payload[..len]);
    let free = (0..geometry.slots)
        .find(|index| down.load(entry_at(geometry, *index) + entry::TICKET) == 0)
        .expect("the scan found at most slots - 1 other open calls, and the void ones are freed");
    let at = entry_at(geometry, free);
    down.store(at + entry::ATTEMPTS, 1);
    down.store(at + entry::PROGRESS, 0);
    for (number, value) in header.words().into_iter().enumerate() {
        down.store(at + entry::SLOT + slot::TICKET + number * 8, value);
    }
    down.write(at + entry::SLOT + slot::PAYLOAD, &payload[..len]);
    down.store_release(at + entry::TICKET, position.wrapping_add(1));
    Open { ticket: position, entry: Entry::new(free), attempts: 1, header, place }
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
    let Scan { words, open, light, .. } = Scan::of(down, geometry)?;
    let class = |position: u64| {
        if !is_before(position, words.claimed) {
            return Class::NotStarted;
        }
        let open = open.binary_search_by_key(&position, |call| call.ticket).is_ok();
        if open || light == Some(position) { Class::Interrupted } else { Class::Answered }
    };
    Ok((0..end.wrapping_sub(first)).map(|offset| class(first.wrapping_add(offset))).collect())
}

fn header_at(memory: &impl Memory, at: usize) -> Header {
    let word = |number: usize| memory.load(at + slot::TICKET + number * 8);
    Header::from_words([word(0), word(1), word(2), word(3)])
}

fn entry_at(geometry: Geometry, index: u32) -> usize {
    geometry.down().entries + index as usize * ENTRY_BYTES
}

fn answer_at(geometry: Geometry, position: u64) -> usize {
    geometry.down().ring.at(position)
}
