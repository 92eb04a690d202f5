//! Memory of a daemon that is killed at a chosen store.
//!
//! A killed process leaves a prefix of its stores: the stores that come after the chosen one never
//! happen, and neither does anything else that the daemon would do (it unwinds with [`Killed`]).
//! The order in which stores take effect can be changed, to what the memory model allows
//! ([`Order::Hoisted`]) and to what would be a mistake ([`Order::Late`]).

use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::layout::{ENTRY_BYTES, down, entry, slot};
use ringfence_protocol::limits::STRIDE;
use ringfence_protocol::memory::{Heap, Memory};

/// Four slots: a mix of eight requests uses every position twice. Below the minimum of `validated`,
/// which is for real lanes.
pub(crate) const GEOMETRY: Geometry = Geometry { slots: 4, up_blocks: 4, down_blocks: 2 };

/// What a killed daemon unwinds with.
pub(crate) struct Killed;

/// What a word of `down` is, as far as the order of stores is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Claimed,
    Done,
    Released,
    /// A completion's `seq`.
    Seq,
    /// An entry's header or payload.
    Body,
    /// An entry's ticket, when it takes a call.
    Taken,
    /// An entry's ticket, when its call is over.
    Freed,
    /// A lease's ticket.
    LeaseTicket,
    /// A lease's generation.
    Generation,
    Other,
}

/// In which order stores take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// As written.
    Program,
    /// As far from it as the orderings allow: a Relaxed store may come before all Release stores that
    /// stand above it, so these wait, in their order, for a call or a fence.
    Hoisted,
    /// The other way: Relaxed stores wait for the next store that is ordered, and come the last one first.
    Sunk,
    /// A mistake: stores to the first word wait until the second is stored.
    Late(Word, Word),
}

/// `down` of a mortal daemon.
#[derive(Clone)]
pub(crate) struct Tape {
    heap: Heap,
    order: Order,
    /// Stores until the kill.
    left: Rc<Cell<u64>>,
    /// Stores that wait, oldest first.
    waiting: Rc<RefCell<Vec<(usize, u64)>>>,
}

impl Tape {
    pub(crate) fn new(heap: Heap, order: Order, stores: u64) -> Self {
        Self { heap, order, left: Rc::new(Cell::new(stores)), waiting: Rc::default() }
    }

    /// The daemon calls something with effects beyond `down`. No compiler moves that before a store
    /// that is above it, and a killed process has made all stores that it got past.
    pub(crate) fn call(&self) {
        if matches!(self.order, Order::Hoisted | Order::Sunk) {
            self.emit_waiting();
        }
    }

    fn put(&self, at: usize, value: u64, release: bool) {
        match self.order {
            Order::Program => self.emit(at, value),
            Order::Hoisted if release => self.waiting.borrow_mut().push((at, value)),
            Order::Hoisted => {
                // Never past a store to the same word.
                if self.waiting.borrow().iter().any(|store| store.0 == at) {
                    self.emit_waiting();
                }
                self.emit(at, value);
            }
            Order::Sunk if release => {
                self.emit_waiting();
                self.emit(at, value);
            }
            Order::Sunk => {
                if self.waiting.borrow().iter().any(|store| store.0 == at) {
                    self.emit_waiting();
                }
                self.waiting.borrow_mut().push((at, value));
            }
            Order::Late(first, _) if word(at, value) == first => {
                self.waiting.borrow_mut().push((at, value));
            }
            Order::Late(_, second) => {
                self.emit(at, value);
                if word(at, value) == second {
                    self.emit_waiting();
                }
            }
        }
    }

    fn emit(&self, at: usize, value: u64) {
        if self.left.get() == 0 {
            resume_unwind(Box::new(Killed)); // no panic hook: nothing went wrong
        }
        self.left.set(self.left.get() - 1);
        self.heap.store(at, value);
    }

    fn emit_waiting(&self) {
        let mut waiting = self.waiting.take();
        if self.order == Order::Sunk {
            waiting.reverse();
        }
        for (at, value) in waiting {
            self.emit(at, value);
        }
    }
}

impl Memory for Tape {
    fn len(&self) -> usize {
        self.heap.len()
    }
    fn load(&self, at: usize) -> u64 {
        let waiting = self.waiting.borrow();
        let own = waiting.iter().rev().find(|store| store.0 == at);
        own.map_or_else(|| self.heap.load(at), |store| store.1)
    }
    fn store(&self, at: usize, value: u64) {
        self.put(at, value, false);
    }
    fn store_release(&self, at: usize, value: u64) {
        self.put(at, value, true);
    }
    fn load_u32(&self, at: usize) -> u32 {
        self.load(at) as u32
    }
    fn store_u32(&self, at: usize, value: u32) {
        self.put(at, value.into(), true);
    }
    fn fence(&self, order: Ordering) {
        // No store below either comes before one above.
        if matches!(order, Ordering::SeqCst | Ordering::Release | Ordering::AcqRel) {
            self.emit_waiting();
        }
    }
}

fn word(at: usize, value: u64) -> Word {
    let map = GEOMETRY.down();
    match at {
        down::CLAIMED => Word::Claimed,
        down::DONE => Word::Done,
        down::RELEASED => Word::Released,
        _ if at >= map.arena => Word::Other,
        _ if at >= map.ring.at(0) && (at - map.ring.at(0)).is_multiple_of(STRIDE) => Word::Seq,
        _ if at >= map.ring.at(0) => Word::Other,
        _ if at >= map.entries => match (at - map.entries) % ENTRY_BYTES {
            entry::TICKET if value == 0 => Word::Freed,
            entry::TICKET => Word::Taken,
            within if within >= entry::SLOT + slot::TICKET => Word::Body,
            _ => Word::Other,
        },
        _ if at >= map.lease && at.is_multiple_of(16) => Word::Generation,
        _ if at >= map.lease => Word::LeaseTicket,
        _ => Word::Other,
    }
}

/// A segment that the other side writes: PROT_READ.
#[derive(Clone)]
pub(crate) struct ReadOnly(pub(crate) Heap);

impl Memory for ReadOnly {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn load(&self, at: usize) -> u64 {
        self.0.load(at)
    }
    fn store(&self, at: usize, _: u64) {
        panic!("a store to offset {at} of the other side's segment");
    }
    fn store_release(&self, at: usize, value: u64) {
        self.store(at, value);
    }
    fn load_u32(&self, at: usize) -> u32 {
        self.0.load_u32(at)
    }
    fn store_u32(&self, at: usize, value: u32) {
        self.store(at, value.into());
    }
}
