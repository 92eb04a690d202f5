//! Messages in blocks, and subscriptions that hold them: what is read, what is missed and what stays
//! as it was, against a model that knows messages only by their numbers.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::blocks::{LANE, SIZES, SUBSCRIPTION, log, payload, up};
use super::{
    Heap, Holds, InPlace, LogReader, Memory, Read, Short, Start, WriteError, begin, envelope,
    firsts,
};

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

/// Reads the next message as clients do who do not read in place.
fn quickly(reader: &mut LogReader<Heap>) -> (Read, Vec<u8>) {
    if let Some(Short { position, envelope, len, words }) = reader.read_short() {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).take(len.into());
        return (Read::Message { position, envelope }, bytes.collect());
    }
    let mut copied = Vec::new();
    (reader.read(&mut copied).expect("an honest writer"), copied)
}

/// The same log as numbers of messages.
#[derive(Default)]
struct Model {
    written: u64,
    begun: bool,
    /// Which message is in each block, the longest used first.
    blocks: VecDeque<Option<u64>>,
    is_long: Vec<bool>,
    withdrawn: BTreeSet<u64>,
}

impl Model {
    fn new() -> Self {
        Self { blocks: VecDeque::from([None; 3]), ..Self::default() }
    }

    /// Is there a block? Its message is withdrawn.
    fn take(&mut self, is_held: impl Fn(u64) -> bool) -> bool {
        for _ in 0..3 {
            let oldest = self.blocks.pop_front().unwrap();
            if !oldest.is_some_and(&is_held) {
                self.withdrawn.extend(oldest);
                self.blocks.push_back(Some(self.written));
                return true;
            }
            self.blocks.push_back(oldest);
        }
        false
    }

    fn write(&mut self, is_long: bool) {
        (self.written, self.begun) = (self.written + 1, false);
        self.is_long.push(is_long);
    }

    fn is_left(&self, number: u64) -> bool {
        number + 8 >= self.written + u64::from(self.begun) && !self.withdrawn.contains(&number)
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
    Begin,
    Read { in_place: bool },
    GiveBack,
    Oldest,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Short),
        3 => Just(Step::Long),
        1 => Just(Step::Begin),
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
                    let written = writer.write(envelope(number), &payload(number, is_long), |_, of| {
                        holds.has(of.held_by(SUBSCRIPTION))
                    });
                    if is_long && !model.take(|number| session.has(number)) {
                        prop_assert_eq!(written, Err(WriteError::Held { held: 3 }));
                    } else {
                        prop_assert_eq!(written.unwrap().sequence, first.wrapping_add(number));
                        model.write(is_long);
                    }
                }
                Step::Begin => {
                    begin(&writer);
                    model.begun = true;
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
                        quickly(&mut reader)
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
