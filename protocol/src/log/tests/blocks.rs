//! Messages in blocks, and subscriptions that hold them: what is read, what is missed and what stays
//! as it was, against a model that knows messages only by their numbers.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::geometry::Geometry;

const SIZES: LogGeometry = LogGeometry { slots: 8, stride: 128, blocks: 3, block_bytes: 4096 };
const LANE: Geometry = Geometry { slots: 8, up_blocks: 1, down_blocks: 1 };
const SUBSCRIPTION: u8 = 5;

fn log(first: u64) -> LogWriter<Heap> {
    let first = Position { epoch: EPOCH, sequence: first };
    LogWriter::create(Heap::new(SIZES.bytes()), SIZES, first).unwrap()
}

fn up() -> Heap {
    Heap::new(LANE.up().len)
}

fn payload(number: u64, is_long: bool) -> Vec<u8> {
    let len = if is_long { 65 + number as usize * 97 % 4032 } else { number as usize % 65 };
    vec![number as u8; len]
}

/// A session's words and what it holds by them.
struct Session {
    up: Heap,
    /// Number of the hold word, number of the message, and where it lies.
    held: Vec<(usize, u64, usize, usize)>,
}

impl Session {
    fn holds(&self) -> Holds<'_, Heap> {
        Holds::new(&self.up, LANE)
    }

    fn has(&self, number: u64) -> bool {
        self.held.iter().any(|(_, held, ..)| *held == number)
    }

    /// Reads the next message in place if it is in a block.
    fn read(&mut self, reader: &mut LogReader<Heap>, log: &Heap, first: u64) -> (Read, Vec<u8>) {
        let number = reader.position().sequence.wrapping_sub(first);
        let word = (0..).find(|word| self.held.iter().all(|(taken, ..)| taken != word)).unwrap();
        let (mut payload, mut asked) = (Vec::new(), None);
        let holds = Holds::new(&self.up, LANE);
        let read = reader.read_held(&mut payload, |of, len| {
            holds.store(word, of.held_by(SUBSCRIPTION));
            asked = Some((of, len));
            Some(word)
        });
        let (read, in_place) = read.expect("an honest writer");
        if let Some(InPlace { hold, at, len }) = in_place {
            let (of, asked) = asked.unwrap();
            assert_eq!((hold, at, len), (word, SIZES.block(of.block), asked));
            self.held.push((word, number, at, len));
            payload.resize(len, 0);
            log.read(at, &mut payload);
        }
        (read, payload)
    }
}

/// The same log as numbers of messages.
#[derive(Default)]
struct Model {
    written: u64,
    prepared: bool,
    /// Which message is in each block, the longest used first.
    blocks: VecDeque<Option<u64>>,
    is_long: Vec<bool>,
    withdrawn: BTreeSet<u64>,
}

impl Model {
    fn new() -> Self {
        Self { blocks: VecDeque::from([None; 3]), ..Self::default() }
    }

    /// Is there a block? Messages on the way to it are withdrawn.
    fn take(&mut self, is_held: impl Fn(u64) -> bool) -> bool {
        for _ in 0..3 {
            let oldest = self.blocks.pop_front().unwrap();
            self.withdrawn.extend(oldest);
            if !oldest.is_some_and(&is_held) {
                self.blocks.push_back(Some(self.written));
                return true;
            }
            self.blocks.push_back(oldest);
        }
        false
    }

    fn write(&mut self, is_long: bool) {
        (self.written, self.prepared) = (self.written + 1, false);
        self.is_long.push(is_long);
    }

    fn is_left(&self, number: u64) -> bool {
        number + 8 >= self.written + u64::from(self.prepared) && !self.withdrawn.contains(&number)
    }

    fn first_left(&self, from: u64) -> u64 {
        (from..self.written).find(|number| self.is_left(*number)).unwrap_or(self.written)
    }

    /// Where a reader goes on that stood at a message which is gone.
    fn after(&self, gone: u64, lapped: bool) -> u64 {
        let from = (gone + 1).max(self.written.saturating_sub(8));
        let half = if lapped { (self.written - from) / 2 } else { 0 };
        self.first_left(from + half)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Short,
    Long,
    Prepare,
    Read { in_place: bool },
    GiveBack,
    Oldest,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Short),
        3 => Just(Step::Long),
        1 => Just(Step::Prepare),
        5 => any::<bool>().prop_map(|in_place| Step::Read { in_place }),
        1 => Just(Step::GiveBack),
        1 => Just(Step::Oldest),
    ]
}

proptest! {
    /// Random steps of a writer and a reader that copies or holds: all is read or counted, what is held
    /// stays as it was, and a publish is refused if and only if every block is held.
    #[test]
    fn blocks_are_read_counted_and_kept(
        first in firsts(),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut writer = log(first);
        let mut reader = LogReader::open(writer.memory().clone()).unwrap();
        let mut session = Session { up: up(), held: Vec::new() };
        let mut model = Model::new();
        let (mut expected, mut lapped) = (0, false);
        for step in steps {
            let number = model.written;
            match step {
                Step::Short | Step::Long => {
                    let is_long = matches!(step, Step::Long);
                    let holds = session.holds();
                    let written = writer.write(envelope(number), &payload(number, is_long), |of| {
                        holds.has(of.held_by(SUBSCRIPTION))
                    });
                    if is_long && !model.take(|number| session.has(number)) {
                        prop_assert_eq!(written, Err(WriteError::Held { held: 3 }));
                    } else {
                        prop_assert_eq!(written.unwrap().sequence, first.wrapping_add(number));
                        model.write(is_long);
                    }
                }
                Step::Prepare => {
                    writer.prepare();
                    model.prepared = true;
                }
                Step::GiveBack if session.held.is_empty() => {}
                Step::GiveBack => {
                    let (word, ..) = session.held.swap_remove(0);
                    session.holds().give_back(word);
                }
                Step::Oldest => {
                    reader.seek(Start::Oldest).unwrap();
                    (expected, lapped) = (model.first_left(number.saturating_sub(8)), false);
                }
                Step::Read { in_place } => {
                    let (read, copied) = if in_place {
                        session.read(&mut reader, writer.memory(), first)
                    } else {
                        let mut copied = Vec::new();
                        (reader.read(&mut copied).expect("an honest writer"), copied)
                    };
                    match read {
                        Read::Nothing => prop_assert_eq!(expected, number),
                        Read::Overtaken { missed } => {
                            prop_assert!(!model.is_left(expected));
                            prop_assert_eq!(expected + missed, model.after(expected, lapped));
                            (expected, lapped) = (expected + missed, true);
                        }
                        Read::Message { position, envelope: said } => {
                            prop_assert!(expected < number && model.is_left(expected));
                            prop_assert_eq!(position.sequence, first.wrapping_add(expected));
                            prop_assert_eq!(said, envelope(expected));
                            let is_long = model.is_long[expected as usize];
                            prop_assert_eq!(copied, payload(expected, is_long));
                            (expected, lapped) = (expected + 1, false);
                        }
                    }
                }
            }
            prop_assert_eq!(reader.position().sequence, first.wrapping_add(expected));
            for (_, number, at, len) in &session.held {
                let mut held = vec![0; *len];
                writer.memory().read(*at, &mut held);
                prop_assert_eq!(held, payload(*number, true));
            }
        }
    }
}

/// A hold names its subscription, its block and its use: no other one keeps a block.
#[test]
fn only_the_exact_hold_counts() {
    let up = up();
    let holds = Holds::new(&up, LANE);
    let of = BlockUse { block: 2, generation: 7 };
    holds.store(63, of.held_by(5));
    assert!(holds.has(of.held_by(5)));
    assert!(!holds.has(of.held_by(4)));
    assert!(!holds.has(BlockUse { block: 1, ..of }.held_by(5)));
    assert!(!holds.has(BlockUse { generation: 8, ..of }.held_by(5)));
    holds.give_back(63);
    assert!(!holds.has(of.held_by(5)));
}

/// Between a reader's two looks at the slot: the block is reused although it was just held.
#[test]
fn a_hold_that_comes_too_late_is_given_back() {
    struct Given<'c>(&'c std::cell::Cell<u32>);
    impl Drop for Given<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let (mut writer, given) = (log(0), std::cell::Cell::new(0));
    writer.write(envelope(0), &payload(0, true), |_| unreachable!("nothing was used yet")).unwrap();
    let mut reader = LogReader::open(writer.memory().clone()).unwrap();
    let read = reader.read_held(&mut Vec::new(), |of, _| {
        let asked = std::cell::Cell::new(None);
        for number in 1..4 {
            let payload = payload(number, true);
            writer
                .write(envelope(number), &payload, |of| asked.replace(Some(of)).is_some())
                .unwrap();
        }
        assert_eq!(asked.get(), Some(of));
        Some(Given(&given))
    });
    let (read, in_place) = read.unwrap();
    assert_eq!((read, in_place.is_some(), given.get()), (Read::Overtaken { missed: 1 }, false, 1));
}

/// A block that is not there, and a length beyond it: errors, and nobody is asked to hold anything
/// that is not there.
#[test]
fn what_a_slot_says_of_its_block_is_checked() {
    type Fault = LogFault;
    let [block, len] = [slot::BODY, slot::LEN];
    let cases = [
        (block, 3, Fault::Block { sequence: 0, block: 3, blocks: 3 }),
        (block, u32::MAX, Fault::Block { sequence: 0, block: u32::MAX, blocks: 3 }),
        (len, 4097, Fault::Length { sequence: 0, len: 4097, max: 4096 }),
    ];
    for (at, value, fault) in cases {
        let mut writer = log(0);
        writer.write(envelope(0), &payload(0, true), |_| false).unwrap();
        let at = SIZES.slot(0) + at;
        writer.memory().store(at, writer.memory().load(at) >> 32 << 32 | u64::from(value));
        let mut reader = LogReader::open(writer.memory().clone()).unwrap();
        let read =
            reader.read_held::<()>(&mut Vec::new(), |_, _| unreachable!("it makes no sense"));
        assert_eq!(read.map(|(read, _)| read), Err(fault));
        assert_eq!(reader.read(&mut Vec::new()), Ok(Read::Nothing), "gone past it");
    }
}

#[test]
fn a_payload_longer_than_a_block_is_refused_and_withdraws_nothing() {
    let mut writer = log(0);
    for number in 0..3 {
        writer.write(envelope(number), &payload(number, true), |_| false).unwrap();
    }
    let refused = writer.write(envelope(3), &[0; 4097], |_| unreachable!("no block fits"));
    assert_eq!(refused, Err(TooLong { len: 4097, max: 4096 }.into()));
    let reader = LogReader::open(writer.memory().clone()).unwrap();
    assert_eq!((reader.oldest(), reader.end()), (0, 3));
    assert!(writer.write(envelope(3), &[0; 4096], |_| false).is_ok());
    assert_eq!((reader.oldest(), reader.end()), (1, 4));
}
