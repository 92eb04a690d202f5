//! [`Memory`] made of loom's primitives, with one ordering weakened on request.
//!
//! Control words (sequence words, positions, parking words, release words) are loom atomics: a
//! Relaxed load may return any value that the memory model allows. All other words are loom cells:
//! loom fails the model if two threads touch one without a happens-before between them, which is
//! more than the rings need (their data words are Relaxed atomics) and exactly what the lettered
//! pairs promise. Cells also see what loom's atomics cannot: a read that the hardware would move
//! behind the store that hands the memory back.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, fence};
use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::layout::{down, entry, slot, up};
use ringfence_protocol::memory::Memory;

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
    len: usize,
    side: Side,
    without: Option<Letter>,
}

impl LoomMemory {
    /// `up`, as the client and as the daemon see it.
    pub(crate) fn up(without: Option<Letter>) -> [Self; 2] {
        let map = GEOMETRY.up();
        let mut words = vec![
            (up::CONSUMED, Word::Consumed),
            (up::PARKED, Word::Other),
            (map.release, Word::Release),
            (map.arena, Word::Data),
        ];
        words.extend(ring(map.ring));
        Self::both(&words, map.len, without)
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
            words.push((at + entry::TICKET, Word::Other));
            words.extend([entry::ATTEMPTS, entry::PROGRESS].map(|word| (at + word, Word::Data)));
            let copy = slot_words(at + entry::SLOT).into_iter().skip(1);
            words.extend(copy.map(|at| (at, Word::Data)));
        }
        words.extend(ring(map.ring));
        Self::both(&words, map.len, without)
    }

    fn both(words: &[(usize, Word)], len: usize, without: Option<Letter>) -> [Self; 2] {
        let cell = |word| match word {
            Word::Data => Cell::Data(UnsafeCell::new(0)),
            _ => Cell::Control(AtomicU64::new(0)),
        };
        let cells: Rc<HashMap<_, _>> =
            Rc::new(words.iter().map(|&(at, word)| (at, (word, cell(word)))).collect());
        [Side::Client, Side::Daemon].map(|side| Self { cells: cells.clone(), len, side, without })
    }

    fn cell(&self, at: usize) -> &(Word, Cell) {
        self.cells.get(&at).unwrap_or_else(|| panic!("offset {at} is no word of the models"))
    }

    fn is_without(&self, side: Side, letter: Letter) -> bool {
        self.side == side && self.without == Some(letter)
    }

    fn put(&self, at: usize, value: u64, order: Ordering) {
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

fn ring(at: usize) -> Vec<(usize, Word)> {
    let slots = 0..GEOMETRY.slots as usize;
    let words = slots.flat_map(|index| slot_words(at + index * 256).into_iter().enumerate());
    words.map(|(number, at)| (at, if number == 0 { Word::Seq } else { Word::Data })).collect()
}

impl Memory for LoomMemory {
    fn len(&self) -> usize {
        self.len
    }

    fn load(&self, at: usize) -> u64 {
        match &self.cell(at).1 {
            Cell::Control(atomic) => atomic.load(Ordering::Relaxed),
            // SAFETY: loom fails the model before the access if another thread may write the cell.
            Cell::Data(cell) => cell.with(|word| unsafe { *word }),
        }
    }

    fn store(&self, at: usize, value: u64) {
        self.put(at, value, Ordering::Relaxed);
    }

    fn store_release(&self, at: usize, value: u64) {
        let letter = match (self.side, self.cell(at).0) {
            (Side::Client, Word::Seq) => Some(Letter::A),
            (Side::Daemon, Word::Seq) => Some(Letter::C),
            (Side::Daemon, Word::Released) => Some(Letter::E),
            (Side::Client, Word::Consumed) => Some(Letter::G),
            (Side::Client, Word::Release) => Some(Letter::M),
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
        let letters = match (self.side, order) {
            // One fence ends both: see `peek`.
            (Side::Daemon, Ordering::Acquire) => [Letter::B, Letter::H],
            (Side::Client, Ordering::Acquire) => [Letter::D; 2],
            // Each model lets only one side sleep, so only one letter of the two is in play.
            (Side::Client, _) => [Letter::I, Letter::L],
            (Side::Daemon, _) => [Letter::J, Letter::K],
        };
        if !letters.iter().any(|letter| self.is_without(self.side, *letter)) {
            fence(order);
        }
    }

    fn load_acquire(&self, at: usize) -> u64 {
        let value = self.load(at);
        let letter = match (self.side, self.cell(at).0) {
            (Side::Client, Word::Released) => Some(Letter::F),
            (Side::Daemon, Word::Release) => Some(Letter::N),
            _ => None,
        };
        if letter.is_none() || letter != self.without {
            fence(Ordering::Acquire);
        }
        value
    }
}
