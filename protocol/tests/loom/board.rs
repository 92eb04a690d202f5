//! One write and one read of the board: its rows are sequence locks, its header is written once.
//!
//! Rows are written while they are read, by design, so their words are loom atomics, as those of a log
//! are. Words that are the same in all rows are not modelled.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use loom::sync::atomic::{AtomicU64, fence};
use loom::thread;
use ringfence_protocol::board::{
    BoardError, Geometry, Header, HeapWords, SessionRow, Snapshot, Words, read_row, write_header,
    write_row,
};

use super::prove;

/// What a run goes without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    /// The store of the odd number.
    Odd,
    /// The writer's first fence: behind the odd number.
    Behind,
    /// Its second: before the even number, or before the magic.
    Before,
    /// The reader's first fence: behind the even number, or behind the magic.
    Seen,
    /// Its second: before the number is looked at again.
    Again,
}

/// Where the row of the models stands, and the words of it that differ: its number, and both ends.
const AT: usize = 4096;
const LAST: usize = AT + 8 + size_of::<SessionRow>() - 8;

#[derive(Clone)]
struct LoomWords {
    modelled: Rc<HashMap<usize, AtomicU64>>,
    others: Rc<HeapWords>,
    without: Option<Without>,
    fences: Rc<[std::cell::Cell<u32>; 2]>,
}

impl LoomWords {
    fn new(modelled: &[usize], without: Option<Without>) -> Self {
        let words = modelled.iter().map(|at| (*at, AtomicU64::new(0)));
        let others = Rc::new(HeapWords::new(2 * AT));
        Self { modelled: Rc::new(words.collect()), others, without, fences: Rc::default() }
    }

    /// The fence of one side; they come in turn.
    fn fence(&self, side: usize, letters: [Without; 2], order: Ordering) {
        let turn = self.fences[side].replace(self.fences[side].get() + 1) as usize % 2;
        if self.without != Some(letters[turn]) {
            fence(order);
        }
    }
}

impl Words for LoomWords {
    fn len_bytes(&self) -> usize {
        self.others.len_bytes()
    }

    fn load(&self, at: usize) -> u64 {
        let Some(word) = self.modelled.get(&at) else { return self.others.load(at) };
        let value = word.load(Ordering::Relaxed);
        if at == AT && value % 2 == 1 {
            // The reader tries again: not before the writer has gone on.
            thread::yield_now();
        }
        value
    }

    fn store(&self, at: usize, value: u64) {
        if at == AT && value % 2 == 1 && self.without == Some(Without::Odd) {
            return;
        }
        match self.modelled.get(&at) {
            Some(word) => word.store(value, Ordering::Relaxed),
            None => self.others.store(at, value),
        }
    }

    fn fence_acquire(&self) {
        self.fence(0, [Without::Seen, Without::Again], Ordering::Acquire);
    }

    fn fence_release(&self) {
        self.fence(1, [Without::Behind, Without::Before], Ordering::Release);
    }
}

const TORN: &str = "torn";

fn row(value: u64) -> SessionRow {
    SessionRow { id: value, opened_unix_ns: value, ..SessionRow::default() }
}

#[test]
fn a_row_that_is_written_meanwhile_is_not_accepted() {
    fn model(without: Option<Without>) {
        let words = LoomWords::new(&[AT, AT + 8, LAST], without);
        let written = words.clone();
        let writer = thread::spawn(move || write_row(&written, AT, &row(1)));
        let seen: SessionRow = read_row(&words, AT).expect("the writer goes on");
        assert_eq!(seen.id, seen.opened_unix_ns, "{TORN}");
        writer.join().unwrap();
    }
    let all = [Without::Odd, Without::Behind, Without::Before, Without::Seen, Without::Again];
    prove(model, TORN, &all);
}

#[test]
fn a_header_is_there_when_its_magic_is() {
    const PID: usize = std::mem::offset_of!(Header, pid);
    fn model(without: Option<Without>) {
        let words = LoomWords::new(&[0, PID], without);
        let written = words.clone();
        // One fence only: it stands before the magic.
        words.fences[1].set(1);
        let geometry = Geometry::new(0, 0, 0).unwrap();
        let writer = thread::spawn(move || {
            write_header(&written, &geometry, &Header::new(1, 7, 1, "loom")).unwrap();
        });
        match Snapshot::read(&words) {
            Ok(snapshot) => assert_eq!(snapshot.header.pid, 7, "{TORN}"),
            Err(BoardError::NotABoard { found: 0 }) => {}
            Err(other) => panic!("{other}"),
        }
        writer.join().unwrap();
    }
    prove(model, TORN, &[Without::Before, Without::Seen]);
}
