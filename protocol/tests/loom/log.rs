//! One write and one read of a broadcast log.
//!
//! A log's payload is written while it is read, by design, so its words are loom atomics and not
//! cells: a Relaxed load may return any value that the memory model allows, and what must not happen
//! is that the reader accepts two words of different messages. Words that are the same in all
//! messages are not modelled. What a reader holds, or what waits for its cursor, is not written while it
//! is read: where a model is about that the words are cells, and loom fails it at two accesses that
//! nothing orders.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, fence};
use loom::thread;
use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::log::{
    Envelope, Holds, LogGeometry, LogReader, LogWriter, Position, Read, Start, header, slot,
};
use ringfence_protocol::memory::{Heap, Memory};

use super::{RACE, prove};

pub(super) const GEOMETRY: LogGeometry =
    LogGeometry { slots: 2, stride: 128, blocks: 1, block_bytes: 4096 };
pub(super) const LANE: Geometry = super::GEOMETRY;
/// Where the cursor of the first subscription stands.
pub(super) const CURSOR: usize = LANE.up().cursors;
/// The models cross the end of the numbers.
pub(super) const FIRST: u64 = u64::MAX - 2;

/// What of the table in `log/mod.rs` a run goes without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letter {
    /// The store of `seq` that says "being written".
    OStore,
    /// The fence behind it.
    OFence,
    P,
    Q,
    R,
    S,
    T,
    /// The store of `seq` that withdraws the message of a block.
    WStore,
    /// The fence behind it.
    W,
    /// Both fences of the writer: for a reader that copies, one is enough.
    OAndW,
    /// The fence between a publish and the look at who listens.
    AC,
    /// Its partner.
    AD,
    X,
    Y,
    Z,
    AI,
    AJ,
}

/// Who accesses the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Writer,
    Reader,
}

enum Word {
    Atomic(AtomicU64),
    Cell(UnsafeCell<u64>),
}

/// A log's memory, or that of a session's holds, as one side sees it.
#[derive(Clone)]
pub(super) struct LogMemory {
    modelled: Rc<HashMap<usize, Word>>,
    others: Heap,
    /// Is the log still being made? Then nothing is left out.
    fresh: Rc<Cell<bool>>,
    side: Side,
    without: Option<Letter>,
    /// What this side loaded last: which letter its next fence is.
    last: Cell<usize>,
}

impl LogMemory {
    /// Sequence words, two words of a payload, one in each line of a slot or at both ends of a block,
    /// and the hint. Are payloads `kept` while they are read, which is: are they cells?
    pub(super) fn new(without: Option<Letter>, kept: bool) -> Self {
        let of_slots = |word| (0..2).map(move |slot| GEOMETRY.slot(slot) + word);
        let order = of_slots(slot::SEQ).chain([header::NEXT]);
        let of_block = [0, LONG - 8].map(|word| GEOMETRY.block(0) + word);
        let payloads = of_slots(slot::BODY).chain(of_slots(slot::REST)).chain(of_block);
        let payload = |at| match kept {
            true => (at, Word::Cell(UnsafeCell::new(0))),
            false => (at, Word::Atomic(AtomicU64::new(0))),
        };
        let order = order.map(|at| (at, Word::Atomic(AtomicU64::new(0))));
        Self {
            modelled: Rc::new(order.chain(payloads.map(payload)).collect()),
            others: Heap::new(GEOMETRY.bytes()),
            fresh: Rc::new(Cell::new(true)),
            side: Side::Writer,
            without,
            last: Cell::new(0),
        }
    }

    /// The first hold word of a session.
    fn up(without: Option<Letter>, side: Side) -> Self {
        Self::of_lane(LANE.up().holds, without, side)
    }

    /// A segment of a lane of which one word is in play.
    pub(super) fn of_lane(word: usize, without: Option<Letter>, side: Side) -> Self {
        let word = (word, Word::Atomic(AtomicU64::new(0)));
        Self {
            modelled: Rc::new(HashMap::from([word])),
            others: Heap::new(LANE.up().len.max(LANE.down().len)),
            fresh: Rc::new(Cell::new(false)),
            side,
            without,
            last: Cell::new(0),
        }
    }

    /// The same memory as the other side sees it.
    pub(super) fn seen_by(&self, side: Side) -> Self {
        Self { side, ..self.clone() }
    }

    fn is_up(&self) -> bool {
        !self.modelled.contains_key(&header::NEXT)
    }

    fn is_seq(&self, at: usize) -> bool {
        (0..2).any(|position| at == GEOMETRY.slot(position)) && !self.is_up()
    }

    /// Is this a store that is left out?
    fn is_left_out(&self, at: usize) -> bool {
        let withdraws = at == GEOMETRY.slot(FIRST);
        self.is_seq(at)
            && (self.is_without(Letter::OStore) || withdraws && self.is_without(Letter::WStore))
    }

    fn is_without(&self, letter: Letter) -> bool {
        self.without == Some(letter) && !self.fresh.get()
    }

    fn put(&self, at: usize, value: u64, order: Ordering) {
        match self.modelled.get(&at) {
            Some(Word::Atomic(word)) => word.store(value, order),
            // SAFETY: loom fails the model before the access if another thread may be at the cell.
            Some(Word::Cell(cell)) => cell.with_mut(|word| unsafe { *word = value }),
            None => self.others.store(at, value),
        }
    }
}

impl Memory for LogMemory {
    fn len(&self) -> usize {
        self.others.len()
    }

    fn load(&self, at: usize) -> u64 {
        self.last.set(at);
        match self.modelled.get(&at) {
            Some(Word::Atomic(word)) => word.load(Ordering::Relaxed),
            // SAFETY: loom fails the model before the access if another thread may write the cell.
            Some(Word::Cell(cell)) => cell.with(|word| unsafe { *word }),
            None => self.others.load(at),
        }
    }

    fn store(&self, at: usize, value: u64) {
        if !self.is_left_out(at) {
            self.put(at, value, Ordering::Relaxed);
        }
    }

    fn store_release(&self, at: usize, value: u64) {
        let letter = match at {
            CURSOR if self.is_up() => Letter::AI,
            _ if self.is_up() => Letter::Y,
            header::NEXT => Letter::S,
            _ => Letter::Q,
        };
        let weakened = self.is_without(letter);
        self.put(at, value, if weakened { Ordering::Relaxed } else { Ordering::Release });
    }

    fn load_u32(&self, at: usize) -> u32 {
        self.load(at) as u32
    }

    fn store_u32(&self, at: usize, value: u32) {
        self.put(at, value.into(), Ordering::Release);
    }

    fn fence(&self, order: Ordering) {
        let letter = match (self.side, order) {
            (Side::Writer, Ordering::Release) => Letter::OFence,
            (Side::Writer, Ordering::SeqCst) => Letter::W,
            (Side::Writer, _) if self.last.get() == CURSOR => Letter::AJ,
            (Side::Writer, _) => Letter::Z,
            (Side::Reader, Ordering::SeqCst) => Letter::X,
            (Side::Reader, _) if self.last.get() == header::NEXT => Letter::T,
            (Side::Reader, _) if self.is_seq(self.last.get()) => Letter::R,
            (Side::Reader, _) => Letter::P,
        };
        let also = match letter {
            Letter::OFence => Letter::OAndW,
            // No model has both: a model with blocks has no sleepers.
            Letter::W if self.is_without(Letter::AC) => Letter::AC,
            Letter::W => Letter::OAndW,
            Letter::X => Letter::AD,
            letter => letter,
        };
        if !self.is_without(letter) && !self.is_without(also) {
            fence(order);
        }
    }
}

pub(super) type Log = (LogWriter<LogMemory>, LogReader<LogMemory>);

/// A log with so many messages, and a reader at the first.
pub(super) fn log(messages: u64, without: Option<Letter>) -> Log {
    log_in(LogMemory::new(without, false), |writer| (0..messages).for_each(|_| write(writer)))
}

/// A log with what is written into it before anything is left out.
pub(super) fn log_in(memory: LogMemory, fill: impl FnOnce(&mut LogWriter<LogMemory>)) -> Log {
    let first = Position { epoch: 1, sequence: FIRST };
    let mut writer = LogWriter::create(memory.clone(), GEOMETRY, first).unwrap();
    let reader = LogReader::open(LogMemory { side: Side::Reader, ..memory.clone() }).unwrap();
    fill(&mut writer);
    memory.fresh.set(false);
    (writer, reader)
}

/// A message that holds its position twice.
pub(super) fn write(writer: &mut LogWriter<LogMemory>) {
    writer.write(Envelope::default(), &payload(writer.next().sequence), |_, _| false).unwrap();
}

/// Bytes of a message that fits no slot.
const LONG: usize = 72;

/// The same in a block.
pub(super) fn long(sequence: u64) -> [u8; LONG] {
    let mut payload = [0; LONG];
    payload[..8].copy_from_slice(&sequence.to_le_bytes());
    payload[LONG - 8..].copy_from_slice(&sequence.to_le_bytes());
    payload
}

fn write_long(writer: &mut LogWriter<LogMemory>, up: &LogMemory) -> bool {
    let payload = long(writer.next().sequence);
    let holds = Holds::new(up, LANE);
    writer.write(Envelope::default(), &payload, |_, of| holds.has(of.held_by(0))).is_ok()
}

pub(super) fn payload(sequence: u64) -> [u8; 40] {
    let mut payload = [0; 40];
    payload[..8].copy_from_slice(&sequence.to_le_bytes());
    payload[slot::REST - slot::BODY..].copy_from_slice(&sequence.to_le_bytes());
    payload
}

pub(super) const TORN: &str = "torn";

/// Reads once; a message must be the one that stands there, whole.
pub(super) fn read(reader: &mut LogReader<LogMemory>) -> Read {
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

/// As [`read`], the short way.
fn read_short(reader: &mut LogReader<LogMemory>) {
    let expected = reader.position();
    if let Some(short) = reader.read_short() {
        let bytes: Vec<u8> = short.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let found = (short.position, &bytes[..short.len.into()]);
        assert_eq!(found, (expected, &payload(expected.sequence)[..]), "{TORN}");
    }
}

/// The same two of the short way to read.
#[test]
fn o_p_q_r_a_short_message_is_read_as_it_was_written_or_not_at_all() {
    fn overwritten(without: Option<Letter>) {
        let (mut writer, mut reader) = log(2, without);
        let writing = thread::spawn(move || write(&mut writer));
        read_short(&mut reader);
        writing.join().unwrap();
    }
    fn awaited(without: Option<Letter>) {
        let (mut writer, mut reader) = log(2, without);
        reader.seek(Start::Newest).unwrap();
        let writing = thread::spawn(move || write(&mut writer));
        read_short(&mut reader);
        writing.join().unwrap();
    }
    prove(overwritten, TORN, &[Letter::OStore, Letter::OFence, Letter::P]);
    prove(awaited, TORN, &[Letter::Q, Letter::R]);
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

/// The reader copies from the block that the writer reuses.
#[test]
fn w_p_a_block_that_is_reused_meanwhile_is_not_accepted() {
    fn model(without: Option<Letter>) {
        let up = LogMemory::up(without, Side::Writer);
        let log = log_in(LogMemory::new(without, false), |writer| {
            assert!(write_long(writer, &up));
        });
        let (mut writer, mut reader) = log;
        let writing = thread::spawn(move || assert!(write_long(&mut writer, &up)));
        let mut copied = Vec::new();
        match reader.read(&mut copied).expect(TORN) {
            Read::Message { .. } => assert_eq!(&*copied, &long(FIRST)[..], "{TORN}"),
            Read::Overtaken { missed: 1 } => {}
            other => panic!("{other:?}"),
        }
        writing.join().unwrap();
    }
    prove(model, TORN, &[Letter::WStore, Letter::OAndW, Letter::P]);
}

/// Gives a hold back when it is dropped, as clients do.
struct Held<'u>(Holds<'u, LogMemory>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.give_back(0);
    }
}

/// The reader reads in place, the writer wants the block again, and asks twice.
#[test]
fn w_x_y_z_a_block_is_reused_only_while_nobody_reads_it_in_place() {
    fn model(without: Option<Letter>) {
        let asked = LogMemory::up(without, Side::Writer);
        let up = LogMemory { side: Side::Reader, ..asked.clone() };
        let log = log_in(LogMemory::new(without, true), |writer| {
            assert!(write_long(writer, &asked));
        });
        let (mut writer, mut reader) = log;
        let memory = writer.memory().clone();
        let writing = thread::spawn(move || (0..2).any(|_| write_long(&mut writer, &asked)));
        let read = reader.read_held(&mut Vec::new(), |of, _| {
            let holds = Holds::new(&up, LANE);
            holds.store(0, of.held_by(0));
            Some(Held(holds))
        });
        match read.expect("the head is whole") {
            (Read::Message { .. }, Some(in_place)) => {
                let mut held = [0; LONG];
                memory.read(in_place.at, &mut held);
                assert_eq!((held, in_place.len), (long(FIRST), LONG));
            }
            (Read::Overtaken { missed: 1 }, None) => {}
            (other, _) => panic!("{other:?}"),
        }
        writing.join().unwrap();
    }
    let letters = [Letter::WStore, Letter::W, Letter::X, Letter::Y, Letter::Z];
    prove(model, RACE, &letters);
}
