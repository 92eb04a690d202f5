//! [`Memory`] made of loom's primitives, with one ordering weakened on request.
//!
//! Control words (sequence words, positions, parking words, release words) are loom atomics: a
//! Relaxed load may return any value that the memory model allows. All other words are loom cells:
//! loom fails the model if two threads touch one without a happens-before between them, which is
//! more than the rings need (their data words are Relaxed atomics) and exactly what the lettered
//! pairs promise. Cells also see what loom's atomics cannot: a read that the hardware would move
//! behind the store that hands the memory back.

use std::cell::Cell as Private;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, fence};
use ringfence_protocol::geometry::{Geometry, Slots};
use ringfence_protocol::layout::{down, entry, slot, up};
use ringfence_protocol::memory::{Heap, Memory};

/// Two slots: every position wraps after two. Below the limit that `validated` enforces, which is
/// for real lanes; the code knows no other minimum than a power of two.
pub(crate) const GEOMETRY: Geometry = Geometry { slots: 2, up_blocks: 1, down_blocks: 1 };

/// A letter of the table in `ring/mod.rs`: the one ordering that a run of a model goes without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Letter {
    A,
    B,
    C,
    D,
    E,
    F,
    G,
    H,
    I,
    J,
    K,
    L,
    M,
    N,
    AA,
    AB,
}

/// Who accesses the memory: the same word has another letter on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Daemon,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Seq,
    Consumed,
    Released,
    Release,
    Ticket,
    Other,
    Data,
}

enum Cell {
    Control(AtomicU64),
    Data(UnsafeCell<u64>),
}

/// A segment of a model, as one side sees it.
#[derive(Clone)]
pub(crate) struct LoomMemory {
    cells: Rc<HashMap<usize, (Word, Cell)>>,
    /// The leases of bulk segments, which no model takes and recovery looks at.
    bulk: Heap,
    bulk_words: (usize, usize),
    len: usize,
    side: Side,
    without: Option<Letter>,
    /// What this side loaded last: which letter its next fence is.
    last: Private<Word>,
}

impl LoomMemory {
    /// `up`, as the client and as the daemon see it.
    pub(crate) fn up(without: Option<Letter>) -> [Self; 2] {
        let map = GEOMETRY.up();
        let mut words = vec![
            (up::CONSUMED, Word::Consumed),
            (up::PARKED, Word::Other),
            (map.release, Word::Release),
            (map.cursors, Word::Other),
            (map.arena, Word::Data),
        ];
        words.extend(ring(map.ring));
        Self::both(&words, map.len, (map.release + 8, map.cursors), without)
    }

    /// `down`, as the client and as the daemon see it.
    pub(crate) fn down(without: Option<Letter>) -> [Self; 2] {
        let map = GEOMETRY.down();
        let control =
            [down::EPOCH, down::BEAT, down::CLAIMED, down::DONE, down::PARKED, down::WAKE];
        let mut words: Vec<_> = control.into_iter().map(|at| (at, Word::Other)).collect();
        words.push((down::RELEASED, Word::Released));
        words.extend([map.lease, map.lease + 8, map.arena].map(|at| (at, Word::Data)));
        for index in 0..GEOMETRY.slots as usize {
            let at = map.entries + index * ringfence_protocol::layout::ENTRY_BYTES;
            words.push((at + entry::TICKET, Word::Ticket));
            words.extend([(at + entry::ATTEMPTS, Word::Data), (at + entry::PROGRESS, Word::Other)]);
            let copy = slot_words(at + entry::SLOT).into_iter().skip(1);
            words.extend(copy.map(|at| (at, Word::Data)));
        }
        words.extend(ring(map.ring));
        Self::both(&words, map.len, (map.lease + 16, map.entries), without)
    }

    fn both(
        words: &[(usize, Word)],
        len: usize,
        bulk_words: (usize, usize),
        without: Option<Letter>,
    ) -> [Self; 2] {
        let cell = |word| match word {
            Word::Data => Cell::Data(UnsafeCell::new(0)),
            _ => Cell::Control(AtomicU64::new(0)),
        };
        let cells: Rc<HashMap<_, _>> =
            Rc::new(words.iter().map(|&(at, word)| (at, (word, cell(word)))).collect());
        let bulk = Heap::new(bulk_words.1);
        [Side::Client, Side::Daemon].map(|side| Self {
            cells: cells.clone(),
            bulk: bulk.clone(),
            bulk_words,
            len,
            side,
            without,
            last: Private::new(Word::Other),
        })
    }

    fn cell(&self, at: usize) -> &(Word, Cell) {
        self.cells.get(&at).unwrap_or_else(|| panic!("offset {at} is no word of the models"))
    }

    fn is_bulk(&self, at: usize) -> bool {
        (self.bulk_words.0..self.bulk_words.1).contains(&at)
    }

    fn is_without(&self, side: Side, letter: Letter) -> bool {
        self.side == side && self.without == Some(letter)
    }

    fn put(&self, at: usize, value: u64, order: Ordering) {
        if self.is_bulk(at) {
            return self.bulk.store(at, value);
        }
        match &self.cell(at).1 {
            Cell::Control(atomic) => atomic.store(value, order),
            // SAFETY: loom fails the model before the access if another thread may be at the cell.
            Cell::Data(cell) => cell.with_mut(|word| unsafe { *word = value }),
        }
    }
}

/// The words of a slot's first line: `seq`, the header, and what of the payload is with them.
fn slot_words(at: usize) -> [usize; 8] {
    std::array::from_fn(|word| at + slot::SEQ + word * 8)
}

fn ring(ring: Slots) -> Vec<(usize, Word)> {
    let positions = 0..u64::from(GEOMETRY.slots);
    let words =
        positions.flat_map(|position| slot_words(ring.at(position)).into_iter().enumerate());
    words.map(|(number, at)| (at, if number == 0 { Word::Seq } else { Word::Data })).collect()
}

impl Memory for LoomMemory {
    fn len(&self) -> usize {
        self.len
    }

    fn load(&self, at: usize) -> u64 {
        if self.is_bulk(at) {
            return self.bulk.load(at);
        }
        let (word, cell) = self.cell(at);
        self.last.set(*word);
        match cell {
            Cell::Control(atomic) => atomic.load(Ordering::Relaxed),
            // SAFETY: loom fails the model before the access if another thread may write the cell.
            Cell::Data(cell) => cell.with(|word| unsafe { *word }),
        }
    }

    fn store(&self, at: usize, value: u64) {
        self.put(at, value, Ordering::Relaxed);
    }

    fn store_release(&self, at: usize, value: u64) {
        if self.is_bulk(at) {
            return self.bulk.store_release(at, value);
        }
        let letter = match (self.side, self.cell(at).0) {
            (Side::Client, Word::Seq) => Some(Letter::A),
            (Side::Daemon, Word::Seq) => Some(Letter::C),
            (Side::Daemon, Word::Released) => Some(Letter::E),
            (Side::Client, Word::Consumed) => Some(Letter::G),
            (Side::Client, Word::Release) => Some(Letter::M),
            (Side::Daemon, Word::Ticket) => Some(Letter::AA),
            _ => None,
        };
        let weakened = letter.is_some() && letter == self.without;
        self.put(at, value, if weakened { Ordering::Relaxed } else { Ordering::Release });
    }

    fn load_u32(&self, at: usize) -> u32 {
        self.load(at) as u32
    }

    fn store_u32(&self, at: usize, value: u32) {
        self.put(at, value.into(), Ordering::Release);
    }

    fn fence(&self, order: Ordering) {
        let letters = match (self.side, order, self.last.get()) {
            (Side::Daemon, Ordering::Acquire, Word::Release) => [Letter::N; 2],
            // One fence ends both: see `peek`.
            (Side::Daemon, Ordering::Acquire, _) => [Letter::B, Letter::H],
            (Side::Client, Ordering::Acquire, Word::Released) => [Letter::F; 2],
            (Side::Client, Ordering::Acquire, Word::Ticket) => [Letter::AB; 2],
            (Side::Client, Ordering::Acquire, _) => [Letter::D; 2],
            // Each model lets only one side sleep, so only one letter of the two is in play.
            (Side::Client, ..) => [Letter::I, Letter::L],
            (Side::Daemon, ..) => [Letter::J, Letter::K],
        };
        if !letters.iter().any(|letter| self.is_without(self.side, *letter)) {
            fence(order);
        }
    }
}
