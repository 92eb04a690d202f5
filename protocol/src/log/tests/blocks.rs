//! Messages in blocks: what a slot says of them, what a hold keeps, and who is asked when.

use proptest::prelude::*;

use super::*;
use crate::geometry::Geometry;

pub(super) const SIZES: LogGeometry =
    LogGeometry { slots: 8, stride: 128, blocks: 3, block_bytes: 4096 };
pub(super) const LANE: Geometry = Geometry { slots: 8, up_blocks: 1, down_blocks: 1 };
pub(super) const SUBSCRIPTION: u8 = 5;

pub(super) fn log(first: u64) -> LogWriter<Heap> {
    let first = Position { epoch: EPOCH, sequence: first };
    LogWriter::create(Heap::new(SIZES.bytes()), SIZES, first).unwrap()
}

pub(super) fn up() -> Heap {
    Heap::new(LANE.up().len)
}

pub(super) fn payload(number: u64, is_long: bool) -> Vec<u8> {
    let len = if is_long { 65 + number as usize * 97 % 4032 } else { number as usize % 65 };
    vec![number as u8; len]
}

/// Who only asks is told the same as who takes, and takes nothing.
#[test]
fn a_block_is_asked_for_without_taking_it() {
    let mut writer = log(0);
    assert!(writer.any_block(|_, _| unreachable!("none was used yet")));
    for number in 0..4 {
        writer.write(envelope(number), &payload(number, number > 0), |_, _| false).unwrap();
    }
    let mut asked = Vec::new();
    let refuses = |sequence, of: BlockUse| {
        asked.push((sequence, of.block));
        false
    };
    assert!(!writer.any_block(refuses));
    assert_eq!(asked, [(1, 0), (2, 1), (3, 2)]);
    assert!(writer.any_block(|sequence, _| sequence == 3));
    let mut reader = LogReader::open(writer.memory().clone()).unwrap();
    for number in 0..4 {
        let read = reader.read(&mut Vec::new()).unwrap();
        assert!(matches!(read, Read::Message { position, .. } if position.sequence == number));
    }
}

/// Between the two steps others write, and take other blocks; the position is given at the end.
#[test]
fn a_block_is_taken_now_and_written_later() {
    let mut writer = log(0);
    for number in 0..3 {
        writer.write(envelope(number), &payload(number, true), |_, _| false).unwrap();
    }
    let mut late = LogReader::open(writer.memory().clone()).unwrap();
    let given_back = writer.take_block(|_, _| false).unwrap();
    let taken = writer.take_block(|_, _| false).unwrap();
    assert_eq!((given_back.block, taken), (0, BlockUse { block: 1, generation: 1 }));
    writer.give_back(given_back);
    assert_eq!(late.read(&mut Vec::new()), Ok(Read::Overtaken { missed: 2 }), "their messages");
    writer.memory().write_block(SIZES.block(taken.block), &payload(7, true));
    for number in 3..5 {
        writer.write(envelope(number), &payload(number, true), |_, _| false).unwrap();
    }
    let none = writer.take_block(|_, of| of.block == 0).map(|of| of.block);
    assert_eq!(none, Ok(2), "not the one that is being filled");
    let len = payload(7, true).len();
    assert_eq!(writer.write_taken(envelope(7), taken, len).sequence, 5);
    let mut reader = LogReader::open(writer.memory().clone()).unwrap();
    reader.seek(Start::At(Position { epoch: EPOCH, sequence: 5 })).unwrap();
    let mut read = Vec::new();
    assert!(matches!(reader.read(&mut read), Ok(Read::Message { .. })));
    assert_eq!(read, payload(7, true));
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
    writer
        .write(envelope(0), &payload(0, true), |_, _| unreachable!("nothing was used yet"))
        .unwrap();
    let mut reader = LogReader::open(writer.memory().clone()).unwrap();
    let read = reader.read_held(&mut Vec::new(), |of, _| {
        let mut taken = None;
        for number in 1..4 {
            let nobody = |_, of| {
                taken = Some(of);
                false
            };
            writer.write(envelope(number), &payload(number, true), nobody).unwrap();
        }
        assert_eq!(taken, Some(of));
        Some(Given(&given))
    });
    let (read, in_place) = read.unwrap();
    assert_eq!((read, in_place.is_some(), given.get()), (Read::Overtaken { missed: 1 }, false, 1));
}

/// Asked once more, after the message was withdrawn, somebody holds its block: it stays as it is.
#[test]
fn a_hold_between_the_two_questions_counts() {
    let mut writer = log(0);
    for number in 0..3 {
        writer.write(envelope(number), &payload(number, true), |_, _| false).unwrap();
    }
    let mut asked = Vec::new();
    let second = |sequence, of: BlockUse| {
        asked.push((sequence, of.generation));
        asked.len() == 2
    };
    writer.write(envelope(3), &payload(3, true), second).unwrap();
    assert_eq!(asked, [(0, 0), (0, 0), (1, 0), (1, 0)]);
    let reader = LogReader::open(writer.memory().clone()).unwrap();
    assert_eq!((reader.oldest(), reader.end()), (2, 4));
    let mut held = vec![0; payload(0, true).len()];
    writer.memory().read(SIZES.block(0), &mut held);
    assert_eq!(held, payload(0, true));
}

/// Nobody holds anything, but a subscription that must not miss has not read the messages.
#[test]
fn a_message_that_shall_stay_keeps_its_block() {
    let mut writer = log(0);
    for number in 0..3 {
        writer.write(envelope(number), &payload(number, true), |_, _| false).unwrap();
    }
    let mut reader = LogReader::open(writer.memory().clone()).unwrap();
    let mut publish = |cursor| writer.write(envelope(3), &[3; 99], |number, _| number >= cursor);
    assert_eq!(publish(0), Err(WriteError::Held { held: 3 }));
    assert!(matches!(reader.read(&mut Vec::new()), Ok(Read::Message { .. })), "it stayed");
    assert!(publish(1).is_ok());
    assert_eq!(reader.oldest(), 1, "only what was read has gone");
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
        writer.write(envelope(0), &payload(0, true), |_, _| false).unwrap();
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
        writer.write(envelope(number), &payload(number, true), |_, _| false).unwrap();
    }
    let refused = writer.write(envelope(3), &[0; 4097], |_, _| unreachable!("no block fits"));
    assert_eq!(refused, Err(TooLong { len: 4097, max: 4096 }.into()));
    let reader = LogReader::open(writer.memory().clone()).unwrap();
    assert_eq!((reader.oldest(), reader.end()), (0, 3));
    assert!(writer.write(envelope(3), &[0; 4096], |_, _| false).is_ok());
    assert_eq!((reader.oldest(), reader.end()), (1, 4));
}

proptest! {
    /// Whatever stands in the slots: errors, no panic, and nothing in place that lies outside.
    #[test]
    fn any_slot_is_read_without_panic(
        words in prop::collection::vec((32usize..160, any::<u64>(), 0u8..4), 1..40),
        holds in any::<bool>(),
    ) {
        let mut writer = log(0);
        for number in 0..12 {
            writer.write(envelope(number), &payload(number, true), |_, _| false).unwrap();
        }
        for (at, value, nearness) in words {
            let value = match nearness {
                0 => value,
                1 => value % 32,
                2 => value & 0xffff,
                _ => (value % 4096) | ((value >> 60) << 48),
            };
            writer.memory().store(at * 8, value);
        }
        let mut reader = LogReader::open(writer.memory().clone()).unwrap();
        let mut copied = Vec::new();
        for _ in 0..20 {
            let read = reader.read_held(&mut copied, |of, len| {
                assert!(of.block < SIZES.blocks && len <= SIZES.block_bytes as usize);
                holds.then_some(())
            });
            if let Ok((_, Some(InPlace { at, len, .. }))) = read {
                prop_assert!(at >= SIZES.arena() && at + len <= SIZES.bytes());
            }
            prop_assert!(copied.len() <= SIZES.message_bytes());
        }
    }
}

/// As it will be: the topic is read by a descriptor that cannot write, the holds are asked for by
/// one, and either side is a process.
#[test]
fn another_process_holds_blocks_of_a_topic_segment() {
    const MESSAGES: u64 = 5_000;
    let (topic_len, up_len) = (SIZES.bytes(), LANE.up().len);
    let topic = Segment::create(&segment_name(SegmentKind::Topic), topic_len).unwrap();
    let up = Segment::create(&segment_name(SegmentKind::Up), up_len).unwrap();
    let [shown, asked] = [&topic, &up].map(|segment| segment.reopen_read_only().unwrap());
    let writable = |segment: &Segment, len| {
        let mapping = Mapping::read_write(segment.fd(), len, Options::default()).unwrap();
        Region::new(Arc::new(mapping))
    };
    let readable = |fd: &std::os::fd::OwnedFd, len| {
        let mapping = Mapping::read_only(fd.as_fd(), len, Options::default()).unwrap();
        Region::new(Arc::new(mapping))
    };
    let first = Position { epoch: EPOCH, sequence: 0 };
    let mut writer = LogWriter::create(writable(&topic, topic_len), SIZES, first).unwrap();
    let child = spawn_child(|| {
        let (log, up) = (readable(&shown, topic_len), writable(&up, up_len));
        let mut reader = LogReader::open(log.clone()).unwrap();
        let (mut seen, mut in_place_at_all) = (reader.position().sequence, 0);
        while reader.position().sequence < MESSAGES {
            let (number, mut copied) = (reader.position().sequence, Vec::new());
            let read = reader.read_held(&mut copied, |of, _| {
                Holds::new(&up, LANE).store(7, of.held_by(SUBSCRIPTION));
                Some(())
            });
            match read.expect("an honest writer") {
                (Read::Nothing, _) => std::thread::yield_now(),
                (Read::Overtaken { missed }, _) => seen += missed,
                (Read::Message { .. }, None) => {
                    assert_eq!(copied, payload(number, false));
                    seen += 1;
                }
                (Read::Message { .. }, Some(InPlace { at, len, .. })) => {
                    let mut held = vec![0; len];
                    log.read_block(at, &mut held);
                    assert_eq!(held, payload(number, true));
                    std::thread::yield_now();
                    log.read_block(at, &mut held);
                    assert_eq!(held, payload(number, true), "changed while it was held");
                    (seen, in_place_at_all) = (seen + 1, in_place_at_all + 1);
                }
            }
            Holds::new(&up, LANE).give_back(7);
        }
        i32::from(seen != MESSAGES || in_place_at_all == 0)
    });
    let asked = readable(&asked, up_len);
    for number in 0..MESSAGES {
        let (is_long, holds) = (number % 4 != 0, Holds::new(&asked, LANE));
        let keeps = |_, of: BlockUse| holds.has(of.held_by(SUBSCRIPTION));
        // The reader goes on while its holds are looked at, so it can seem to hold all three blocks.
        while let Err(error) = writer.write(envelope(number), &payload(number, is_long), keeps) {
            assert_eq!(error, WriteError::Held { held: 3 });
            std::thread::yield_now();
        }
    }
    assert_eq!(outcome(child), 0);
}
