//! One ledger written over another while it is read: a sequence lock whose number is the ticket.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use loom::sync::atomic::{AtomicU64, fence};
use loom::thread;
use ringfence_protocol::layout::{LINE, down};
use ringfence_protocol::ledger::Ledger;
use ringfence_protocol::memory::{Heap, Memory};

use super::prove;

/// What a run goes without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    /// The 0 that stands while a ledger is written.
    Zero,
    /// AE: the Release of the ticket.
    Ticket,
    /// AF: the Acquire of the first look.
    Seen,
    /// AG: the fence behind the 0.
    Behind,
    /// AH: the fence before the second look.
    Again,
}

/// The words that differ between the two ledgers, in the model: the ticket, the first and the last.
const MODELLED: [usize; 3] = [down::LEDGER, down::LEDGER + 8, down::LEDGER + 32];

#[derive(Clone)]
struct Line {
    modelled: Rc<HashMap<usize, AtomicU64>>,
    others: Heap,
    without: Option<Without>,
    acquired: Rc<std::cell::Cell<u32>>,
}

impl Line {
    fn new(without: Option<Without>) -> Self {
        let words = MODELLED.map(|at| (at, AtomicU64::new(0)));
        let others = Heap::new(down::LEDGER + LINE);
        Self { modelled: Rc::new(words.into()), others, without, acquired: Rc::default() }
    }
}

impl Memory for Line {
    fn len(&self) -> usize {
        self.others.len()
    }
    fn load(&self, at: usize) -> u64 {
        self.modelled.get(&at).map_or_else(|| self.others.load(at), |it| it.load(Ordering::Relaxed))
    }
    fn store(&self, at: usize, value: u64) {
        if at == down::LEDGER && self.without == Some(Without::Zero) {
            return;
        }
        match self.modelled.get(&at) {
            Some(word) => word.store(value, Ordering::Relaxed),
            None => self.others.store(at, value),
        }
    }
    fn store_release(&self, at: usize, value: u64) {
        let weak = self.without == Some(Without::Ticket);
        let order = if weak { Ordering::Relaxed } else { Ordering::Release };
        self.modelled[&at].store(value, order);
    }
    fn load_u32(&self, _at: usize) -> u32 {
        unreachable!("a ledger has words only")
    }
    fn store_u32(&self, _at: usize, _value: u32) {
        unreachable!("a ledger has words only")
    }
    fn fence(&self, order: Ordering) {
        let letter = if order == Ordering::Release {
            Without::Behind
        } else {
            // The reader's come in turn.
            let turn = self.acquired.replace(self.acquired.get() + 1);
            if turn.is_multiple_of(2) { Without::Seen } else { Without::Again }
        };
        if self.without != Some(letter) {
            fence(order);
        }
    }
}

const TORN: &str = "torn";

fn of(call: u64) -> Ledger {
    Ledger { seen: call, dispatched: 0, done: 0, published: call }
}

#[test]
fn ae_af_ag_ah_a_ledger_that_is_written_meanwhile_is_not_accepted() {
    fn model(without: Option<Without>) {
        let line = Line::new(without);
        let written = line.clone();
        let writer = thread::spawn(move || (1..3).for_each(|call| of(call).store(&written, call)));
        // One look: two would need the reader's fences told apart by more than their turn.
        if let Some(ledger) = Ledger::load(&line, 1) {
            assert_eq!(ledger, of(1), "{TORN}");
        }
        writer.join().unwrap();
    }
    let all = [Without::Zero, Without::Ticket, Without::Seen, Without::Behind, Without::Again];
    prove(model, TORN, &all);
}
