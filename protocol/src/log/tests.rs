//! One writer and its readers over heap memory: the plain properties, against a model that keeps
//! every message. Interleavings are loom's work (`tests/loom/log.rs`), laps at full speed those of
//! `tests/log.rs`.

use std::os::fd::AsFd;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::memory::{Heap, Memory};
use crate::names::SegmentKind;
use crate::region::Region;
use crate::sys::mapping::{Mapping, Options};
use crate::sys::segment::Segment;
use crate::sys::testing::{outcome, segment_name, spawn_child};

mod blocks;
mod model;

const GEOMETRY: LogGeometry = LogGeometry { slots: 8, stride: 128, blocks: 0, block_bytes: 0 };
const EPOCH: u64 = 7;

fn log(first: u64) -> LogWriter<Heap> {
    log_in(Heap::new(GEOMETRY.bytes()), first)
}

fn log_in<M: Memory>(memory: M, first: u64) -> LogWriter<M> {
    LogWriter::create(memory, GEOMETRY, Position { epoch: EPOCH, sequence: first }).unwrap()
}

fn reader(writer: &LogWriter<Heap>) -> LogReader<Heap> {
    LogReader::open(writer.memory().clone()).unwrap()
}

/// A message that says its own number, counted from the first.
fn write(writer: &mut LogWriter<impl Memory>, number: u64) -> Position {
    let payload = vec![number as u8; (number % 65) as usize];
    writer.write(envelope(number), &payload, |_, _| false).unwrap()
}

/// Every other message has ids.
fn envelope(number: u64) -> Envelope {
    let ids = u128::from(number) * u128::from(number % 2);
    Envelope {
        type_id: number as u16,
        timestamp: number << 1,
        publisher: number << 2,
        trace: ids << 64,
        correlation: ids << 3,
    }
}

fn write_all(writer: &mut LogWriter<impl Memory>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        write(writer, number);
    }
}

/// Reads one message and checks that it is the one whose number its position says.
fn next(reader: &mut LogReader<impl Memory>, first: u64) -> Read {
    let mut payload = vec![0xee; 3];
    let read = reader.read(&mut payload).expect("an honest writer");
    if let Read::Message { position, envelope: said } = read {
        let number = position.sequence.wrapping_sub(first);
        assert_eq!((position.epoch, said), (EPOCH, envelope(number)));
        assert_eq!(payload, vec![number as u8; (number % 65) as usize]);
    }
    read
}

/// What is no message in a slot, or a longer one, is left to `read`.
#[test]
fn the_short_way_takes_short_messages_and_nothing_else() {
    let sizes = LogGeometry { slots: 4, stride: 192, blocks: 1, block_bytes: 4096 };
    let memory = Heap::new(sizes.bytes());
    let first = Position { epoch: EPOCH, sequence: 0 };
    let mut writer = LogWriter::create(memory.clone(), sizes, first).unwrap();
    let mut reader = LogReader::open(memory).unwrap();
    let mut expect = |len: usize, trace: u128, is_short: bool| {
        assert_eq!(reader.read_short(), None, "nothing is there");
        let envelope = Envelope { trace, ..Envelope::default() };
        writer.write(envelope, &vec![7; len], |_, _| false).unwrap();
        let short = reader.read_short();
        assert_eq!(
            short.map(|short| (usize::from(short.len), short.envelope)),
            is_short.then_some((len, envelope))
        );
        if let Some(short) = short {
            let bytes: Vec<u8> = short.words.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert_eq!(bytes[..len], vec![7; len]);
        } else {
            assert!(matches!(reader.read(&mut Vec::new()), Ok(Read::Message { .. })));
        }
    };
    for trace in [0, 9] {
        for (len, is_short) in
            [(0, true), (1, true), (64, true), (65, false), (128, false), (4096, false)]
        {
            expect(len, trace, is_short);
        }
    }
    for _ in 0..5 {
        writer.write(Envelope::default(), &[], |_, _| false).unwrap();
    }
    assert_eq!(reader.read_short(), None, "it was overtaken");
    assert_eq!(reader.read(&mut Vec::new()), Ok(Read::Overtaken { missed: 1 }));
    assert!(reader.read_short().is_some());
}

fn firsts() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just((1 << 32) - 3), Just((1 << 63) - 3), Just(u64::MAX - 3), any::<u64>()]
}

proptest! {
    /// Random steps of a writer and three readers that start anew now and then: what is read and what
    /// is reported missing is, for each, every message from its start, once and in order.
    #[test]
    fn every_message_is_read_or_counted_as_missed(
        first in firsts(),
        steps in prop::collection::vec((0u8..7, 0usize..3, 0u64..20), 1..300),
    ) {
        let mut writer = log(first);
        let mut readers = [0; 3].map(|_| (reader(&writer), 0_u64, false));
        let (mut written, mut begun) = (0_u64, 0);
        for (step, which, amount) in steps {
            let (reader, expected, lapped) = &mut readers[which];
            match step {
                0 | 1 => for _ in 0..amount {
                    let position = write(&mut writer, written);
                    prop_assert_eq!(position.sequence, first.wrapping_add(written));
                    (written, begun) = (written + 1, 0);
                },
                2 => {
                    reader.seek(Start::Oldest).unwrap();
                    (*expected, *lapped) = (written.saturating_sub(8 - begun), false);
                }
                3 => {
                    reader.seek(Start::Newest).unwrap();
                    (*expected, *lapped) = (written, false);
                }
                4 => {
                    begin(&writer);
                    begun = 1;
                }
                _ => for _ in 0..amount {
                    match next(reader, first) {
                        Read::Nothing => prop_assert_eq!(*expected, written),
                        Read::Message { position, .. } => {
                            prop_assert_eq!(position.sequence, first.wrapping_add(*expected));
                            (*expected, *lapped) = (*expected + 1, false);
                        }
                        Read::Overtaken { missed } => {
                            *expected += missed;
                            prop_assert!(missed > 0);
                            let left = if *lapped { 4 } else { 8 - begun };
                            prop_assert_eq!(*expected, written - left, "as little as possible");
                            *lapped = true;
                        }
                    }
                },
            }
        }
    }

    /// A position given by this log is found again or told to be gone; all others are errors.
    #[test]
    fn a_position_is_found_gone_or_an_error(first in firsts(), written in 0u64..40, asked: u64, near in 0u64..64, begun: bool) {
        let mut writer = log(first);
        write_all(&mut writer, 0..written);
        if begun {
            begin(&writer);
        }
        let mut reader = reader(&writer);
        for sequence in [asked, first.wrapping_add(near)] {
            let asked = Position { epoch: EPOCH, sequence };
            let number = sequence.wrapping_sub(first);
            match reader.seek(Start::At(asked)) {
                Err(error) => {
                    prop_assert!(number > written);
                    prop_assert_eq!(error, SeekError::NotYet { asked, next: first.wrapping_add(written) });
                }
                Ok(()) => {
                    let oldest = written.saturating_sub(8 - u64::from(begun));
                    match next(&mut reader, first) {
                        Read::Nothing => prop_assert_eq!(number, written),
                        Read::Overtaken { missed } => prop_assert_eq!(number + missed, oldest),
                        Read::Message { position, .. } => {
                            prop_assert_eq!(position.sequence, sequence);
                            prop_assert!((oldest..written).contains(&number));
                        }
                    }
                }
            }
        }
        let strange = Position { epoch: EPOCH + 1, sequence: first };
        let refused = Err(SeekError::OtherEpoch { asked: strange, here: EPOCH });
        prop_assert_eq!(reader.seek(Start::At(strange)), refused);
    }

    /// Whatever stands in the log, at its opening and afterwards: errors, no panic, no long payload.
    #[test]
    fn any_memory_is_read_without_panic(
        first in firsts(),
        before in prop::collection::vec((0usize..160, any::<u64>(), 0u8..4), 0..4),
        after in prop::collection::vec((0usize..160, any::<u64>(), 0u8..4), 0..40),
    ) {
        let mut writer = log(first);
        write_all(&mut writer, 0..12);
        let memory = writer.memory().clone();
        let scribble = |words: &[(usize, u64, u8)]| for (at, value, nearness) in words {
            let value = match nearness {
                0 => *value,
                1 => first.wrapping_add(value % 32),
                2 => value & 0xffff,
                _ => 1 << (value % 64),
            };
            memory.store(at * 8 % memory.len(), value);
        };
        scribble(&before);
        if let Ok(mut reader) = LogReader::open(memory.clone()) {
            scribble(&after);
            let mut payload = Vec::new();
            for turn in 0..40 {
                if let Ok(Read::Message { .. }) = reader.read(&mut payload) {
                    prop_assert!(payload.len() <= reader.geometry().payload_bytes());
                }
                if turn % 8 == 7 {
                    let start = [Start::Oldest, Start::Newest, Start::At(reader.position())];
                    let _may_be_refused = reader.seek(start[turn / 8 % 3]);
                }
            }
        }
    }
}

/// What stands in each slot of a fresh log looks like no message, wherever a reader stands.
#[test]
fn a_fresh_log_holds_nothing() {
    for first in [0, (1 << 63) - 3, u64::MAX - 3, u64::MAX] {
        let writer = log(first);
        let mut reader = reader(&writer);
        assert_eq!(next(&mut reader, first), Read::Nothing);
        let slots = (0..8).map(|ahead| GEOMETRY.slot(first.wrapping_add(ahead)));
        let seqs: Vec<u64> = slots.map(|at| writer.memory().load(at)).collect();
        let waiting: Vec<u64> = (0..8).map(|ahead| first.wrapping_add(ahead)).collect();
        assert_eq!(seqs, waiting);
    }
}

#[test]
fn a_lapped_reader_counts_exactly() {
    for first in [0, u64::MAX - 3, u64::MAX - 12] {
        let mut writer = log(first);
        let mut reader = reader(&writer);
        write_all(&mut writer, 0..8);
        assert!(matches!(next(&mut reader, first), Read::Message { .. }), "nothing is lost yet");
        write_all(&mut writer, 8..109);
        assert_eq!(next(&mut reader, first), Read::Overtaken { missed: 100 });
        for number in 101..109 {
            let Read::Message { position, .. } = next(&mut reader, first) else { panic!("there") };
            assert_eq!(position.sequence, first.wrapping_add(number));
        }
        assert_eq!(next(&mut reader, first), Read::Nothing);
    }
}

/// The reader does not depend on the hint: with one that never moves it still counts exactly.
#[test]
fn the_hint_is_only_a_hint() {
    let mut writer = log(0);
    let mut reader = reader(&writer);
    let (mut missed_at_all, mut read) = (0, 0);
    for number in 0..30 {
        write(&mut writer, number);
        writer.memory().store(header::NEXT, 0);
    }
    loop {
        match next(&mut reader, 0) {
            Read::Nothing => break,
            Read::Message { .. } => read += 1,
            Read::Overtaken { missed } => missed_at_all += missed,
        }
    }
    assert_eq!((missed_at_all, read), (22, 8));
}

/// As a writer does that is stopped right after the mark.
fn begin(writer: &LogWriter<Heap>) {
    let next = writer.next().sequence;
    writer.memory().store(writer.geometry().slot(next), next);
}

/// While the next message is being written the oldest is gone, and nothing else has changed.
#[test]
fn a_message_that_is_being_written_is_neither_the_old_nor_the_new_one() {
    for first in [0, u64::MAX - 3] {
        let mut writer = log(first);
        write_all(&mut writer, 0..8);
        let (mut late, mut early) = (reader(&writer), reader(&writer));
        early.seek(Start::Newest).unwrap();
        begin(&writer);
        assert_eq!(reader(&writer).position().sequence, first.wrapping_add(1));
        assert_eq!(next(&mut late, first), Read::Overtaken { missed: 1 });
        assert!(matches!(next(&mut late, first), Read::Message { .. }), "overtaken once only");
        assert_eq!(next(&mut early, first), Read::Nothing);
        write(&mut writer, 8);
        assert!(matches!(next(&mut early, first), Read::Message { .. }));
    }
}

#[test]
fn a_payload_that_does_not_fit_is_refused_with_the_numbers_and_writes_nothing() {
    let mut writer = log(0);
    let refused = writer.write(Envelope::default(), &[1; 65], |_, _| false);
    assert_eq!(refused, Err(TooLong { len: 65, max: 64 }.into()));
    assert_eq!(next(&mut reader(&writer), 0), Read::Nothing);
    assert_eq!(writer.write(Envelope::default(), &[1; 64], |_, _| false).unwrap().sequence, 0);
}

/// A whole message that makes no sense is an error of its own, and the reader goes on behind it.
#[test]
fn lengths_and_flags_are_checked() {
    type Fault = LogFault;
    let cases = [
        (65, Fault::Length { sequence: 0, len: 65, max: 64 }),
        (65 | 1 << 48, Fault::Length { sequence: 0, len: 65, max: 64 }),
        (u32::MAX.into(), Fault::Length { sequence: 0, len: u32::MAX, max: 64 }),
        (1 << 63, Fault::Flags { sequence: 0, flags: 1 << 15 }),
        (5 << 48, Fault::Flags { sequence: 0, flags: 5 }),
        (2 << 48, Fault::Block { sequence: 0, block: 0, blocks: 0 }),
    ];
    for (value, fault) in cases {
        let mut writer = log(0);
        write(&mut writer, 0);
        write(&mut writer, 1);
        writer.memory().store(GEOMETRY.slot(0) + slot::LEN, value);
        let mut reader = reader(&writer);
        assert_eq!(reader.read(&mut Vec::new()), Err(fault));
        assert!(matches!(next(&mut reader, 0), Read::Message { .. }));
    }
}

#[test]
fn memory_that_is_no_log_is_refused() {
    let open = |memory: &Heap| LogReader::open(memory.clone()).map(drop);
    let empty = Heap::new(4096);
    assert_eq!(open(&empty), Err(LogError::NotALog { found: 0 }));
    assert_eq!(open(&Heap::new(8)), Err(LogError::Small { len: 8, needed: 256 }));
    let writer = log(0);
    writer.memory().store(header::SLOTS, 1024 | 128 << 32);
    let (len, needed) = (GEOMETRY.bytes(), LogGeometry { slots: 1024, ..GEOMETRY }.bytes());
    assert_eq!(open(writer.memory()), Err(LogError::Small { len, needed }));
    writer.memory().store(header::SLOTS, 9 | 128 << 32);
    let refused = LogError::Geometry(LogGeometryError::Slots { slots: 9 });
    assert_eq!(open(writer.memory()), Err(refused));
    let small = LogWriter::create(Heap::new(64), GEOMETRY, Position { epoch: 0, sequence: 0 });
    assert!(matches!(small, Err(LogError::Small { len: 64, .. })));
}

/// Another process reads by a descriptor that cannot write: everything once, or counted.
#[test]
fn another_process_reads_a_topic_segment_read_only() {
    const MESSAGES: u64 = 100_000;
    let len = GEOMETRY.bytes();
    let segment = Segment::create(&segment_name(SegmentKind::Topic), len).unwrap();
    let mapping = Mapping::read_write(segment.fd(), len, Options::default()).unwrap();
    let mut writer = log_in(Region::new(Arc::new(mapping)), 0);
    let shown = segment.reopen_read_only().unwrap();
    let child = spawn_child(|| {
        let mapping = Mapping::read_only(shown.as_fd(), len, Options::default()).unwrap();
        let mut reader = LogReader::open(Region::new(Arc::new(mapping))).unwrap();
        let (start, mut read, mut missed_at_all) = (reader.position().sequence, 0, 0);
        while reader.position().sequence < MESSAGES {
            match next(&mut reader, 0) {
                Read::Nothing => std::thread::yield_now(),
                Read::Message { .. } => read += 1,
                Read::Overtaken { missed } => missed_at_all += missed,
            }
        }
        i32::from(start + read + missed_at_all != MESSAGES || read == 0)
    });
    write_all(&mut writer, 0..MESSAGES);
    assert_eq!(outcome(child), 0);
}
