//! One write and one read of a broadcast log.
//!
//! A log's payload is written while it is read, by design, so its words are loom atomics and not
//! cells: a Relaxed load may return any value that the memory model allows, and what must not happen
//! is that the reader accepts two words of different messages. Words that are the same in all
//! messages are not modelled.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use loom::sync::atomic::{AtomicU64, fence};
use loom::thread;
use ringfence_protocol::log::{
    Envelope, LogGeometry, LogReader, LogWriter, Position, Read, Start, header, slot,
};
use ringfence_protocol::memory::{Heap, Memory};

use super::prove;

const GEOMETRY: LogGeometry = LogGeometry { slots: 2, stride: 128, blocks: 0 };
/// The models cross the end of the numbers.
const FIRST: u64 = u64::MAX - 2;

/// What of the table in `log/mod.rs` a run goes without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letter {
    /// The store of `seq` that says "being written".
    OStore,
    /// The fence behind it.
    OFence,
    P,
    Q,
    R,
    S,
    T,
}

/// Who accesses the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Writer,
    Reader,
}

/// A log's memory as one side sees it.
#[derive(Clone)]
struct LogMemory {
    modelled: Rc<HashMap<usize, AtomicU64>>,
    others: Heap,
    /// Is the log still being made? Then nothing is left out.
    fresh: Rc<Cell<bool>>,
    side: Side,
    without: Option<Letter>,
}

impl LogMemory {
    /// Sequence words, two words of a payload, one in each line of a slot, and the hint.
    fn new(without: Option<Letter>) -> Self {
        let of_slot = [slot::SEQ, slot::BODY, slot::REST];
        let slots = (0..2).flat_map(|at| of_slot.map(|word| GEOMETRY.slot(at) + word));
        let words = slots.chain([header::NEXT]).map(|at| (at, AtomicU64::new(0)));
        Self {
            modelled: Rc::new(words.collect()),
            others: Heap::new(GEOMETRY.bytes()),
            fresh: Rc::new(Cell::new(true)),
            side: Side::Writer,
            without,
        }
    }

    fn is_seq(at: usize) -> bool {
        at != header::NEXT && (at - header::RING).is_multiple_of(GEOMETRY.stride as usize)
    }

    fn is_without(&self, letter: Letter) -> bool {
        self.without == Some(letter) && !self.fresh.get()
    }
}

impl Memory for LogMemory {
    fn len(&self) -> usize {
        self.others.len()
    }

    fn load(&self, at: usize) -> u64 {
        match self.modelled.get(&at) {
            Some(word) => word.load(Ordering::Relaxed),
            None => self.others.load(at),
        }
    }

    fn store(&self, at: usize, value: u64) {
        match self.modelled.get(&at) {
            Some(_) if Self::is_seq(at) && self.is_without(Letter::OStore) => {}
            Some(word) => word.store(value, Ordering::Relaxed),
            None => self.others.store(at, value),
        }
    }

    fn store_release(&self, at: usize, value: u64) {
        let letter = if at == header::NEXT { Letter::S } else { Letter::Q };
        let order = if self.is_without(letter) { Ordering::Relaxed } else { Ordering::Release };
        match self.modelled.get(&at) {
            Some(word) => word.store(value, order),
            None => self.others.store_release(at, value),
        }
    }

    fn load_u32(&self, _at: usize) -> u32 {
        unreachable!("a log has no parking words")
    }

    fn store_u32(&self, _at: usize, _value: u32) {
        unreachable!("a log has no parking words")
    }

    fn fence(&self, order: Ordering) {
        let letter = match self.side {
            Side::Writer => Letter::OFence,
            Side::Reader => Letter::P,
        };
        if !self.is_without(letter) {
            fence(order);
        }
    }

    fn load_acquire(&self, at: usize) -> u64 {
        let value = self.load(at);
        let letter = if at == header::NEXT { Letter::T } else { Letter::R };
        if !self.is_without(letter) {
            fence(Ordering::Acquire);
        }
        value
    }
}

type Log = (LogWriter<LogMemory>, LogReader<LogMemory>);

/// A log with so many messages, and a reader at the first.
fn log(messages: u64, without: Option<Letter>) -> Log {
    let memory = LogMemory::new(without);
    let first = Position { epoch: 1, sequence: FIRST };
    let mut writer = LogWriter::create(memory.clone(), GEOMETRY, first).unwrap();
    let reader = LogReader::open(LogMemory { side: Side::Reader, ..memory.clone() }).unwrap();
    (0..messages).for_each(|_| write(&mut writer));
    memory.fresh.set(false);
    (writer, reader)
}

/// A message that holds its position twice.
fn write(writer: &mut LogWriter<LogMemory>) {
    writer.write(Envelope::default(), &payload(writer.next().sequence)).unwrap();
}

fn payload(sequence: u64) -> [u8; 40] {
    let mut payload = [0; 40];
    payload[..8].copy_from_slice(&sequence.to_le_bytes());
    payload[slot::REST - slot::BODY..].copy_from_slice(&sequence.to_le_bytes());
    payload
}

const TORN: &str = "torn";

/// Reads once; a message must be the one that stands there, whole.
fn read(reader: &mut LogReader<LogMemory>) -> Read {
    let (expected, mut copied) = (reader.position(), Vec::new());
    let read = reader.read(&mut copied).expect(TORN);
    if let Read::Message { position, .. } = read {
        assert_eq!((position, &*copied), (expected, &payload(expected.sequence)[..]), "{TORN}");
    }
    read
}

/// The reader copies the message that the writer overwrites.
#[test]
fn o_p_a_message_that_is_overwritten_meanwhile_is_not_accepted() {
    fn model(without: Option<Letter>) {
        let (mut writer, mut reader) = log(2, without);
        let writing = thread::spawn(move || write(&mut writer));
        match read(&mut reader) {
            Read::Message { .. } | Read::Overtaken { missed: 1 } => {}
            other => panic!("{other:?}"),
        }
        writing.join().unwrap();
    }
    prove(model, TORN, &[Letter::OStore, Letter::OFence, Letter::P]);
}

/// The reader waits for the message that the writer writes, over an older one.
#[test]
fn q_r_a_message_is_read_as_it_was_written() {
    fn model(without: Option<Letter>) {
        let (mut writer, mut reader) = log(2, without);
        reader.seek(Start::Newest).unwrap();
        let writing = thread::spawn(move || write(&mut writer));
        match read(&mut reader) {
            Read::Message { .. } | Read::Nothing => {}
            other @ Read::Overtaken { .. } => panic!("{other:?}"),
        }
        writing.join().unwrap();
    }
    prove(model, TORN, &[Letter::Q, Letter::R]);
}

/// Who joins finds every message below the end that it saw.
#[test]
fn s_t_what_lies_below_the_end_is_there() {
    const LATE: &str = "below the end and not there";
    fn model(without: Option<Letter>) {
        let (mut writer, mut reader) = log(1, without);
        let writing = thread::spawn(move || write(&mut writer));
        let last = FIRST.wrapping_add(1);
        if reader.end() == FIRST.wrapping_add(2) {
            reader.seek(Start::At(Position { epoch: 1, sequence: last })).expect(LATE);
            assert!(matches!(read(&mut reader), Read::Message { .. }), "{LATE}");
        }
        writing.join().unwrap();
    }
    prove(model, LATE, &[Letter::S, Letter::T]);
}
