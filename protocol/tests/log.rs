//! A writer that laps its readers at full speed: no message that a reader accepts is torn, and read
//! and missed together are all that was written. And no block that a reader holds ever changes.
//!
//! Worth most in a release build (`cargo test --release --test log`). The canary is the shipped code
//! over memory that forgets one store, the one that says "being written": it must be caught, or the
//! test above it could not tell.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};

use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::log::{
    BlockUse, Envelope, Holds, InPlace, LogFault, LogGeometry, LogReader, LogWriter, Position,
    Read, WriteError, slot,
};
use ringfence_protocol::memory::{Heap, Memory};
use ringfence_protocol::region::Region;
use skip::skip;

#[path = "common/skip.rs"]
mod skip;

/// Few slots and blocks, so that the writer laps; large ones, so that a copy takes long.
const GEOMETRY: LogGeometry = LogGeometry { slots: 8, stride: 1024, blocks: 3, block_bytes: 4096 };
const FIRST: u64 = u64::MAX - 3;
/// Messages to be accepted while the writer laps.
const ACCEPTED: u64 = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
/// Messages to be written at most: the test is bounded also where both threads share a core.
const WRITTEN: u64 = if cfg!(debug_assertions) { 2_000_000 } else { 40_000_000 };

/// Memory in which the Relaxed store of a slot's `seq` has no effect, but for the first, which makes
/// the log.
#[derive(Clone)]
struct Forgetful<M>(M);

impl<M: Memory> Memory for Forgetful<M> {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn load(&self, at: usize) -> u64 {
        self.0.load(at)
    }
    fn store(&self, at: usize, value: u64) {
        let is_seq = (0..8).any(|position| GEOMETRY.slot(position) + slot::SEQ == at);
        if !is_seq || self.0.load(at) == 0 {
            self.0.store(at, value);
        }
    }
    fn store_release(&self, at: usize, value: u64) {
        self.0.store_release(at, value);
    }
    fn load_u32(&self, at: usize) -> u32 {
        self.0.load_u32(at)
    }
    fn store_u32(&self, at: usize, value: u32) {
        self.0.store_u32(at, value);
    }
    fn read(&self, at: usize, out: &mut [u8]) {
        self.0.read(at, out);
    }
    fn write(&self, at: usize, bytes: &[u8]) {
        self.0.write(at, bytes);
    }
    fn read_block(&self, at: usize, out: &mut [u8]) {
        self.0.read_block(at, out);
    }
    fn write_block(&self, at: usize, bytes: &[u8]) {
        self.0.write_block(at, bytes);
    }
}

/// Reads the next message as clients do: quickly if it is short.
fn read_either_way(
    reader: &mut LogReader<impl Memory>,
    payload: &mut Vec<u8>,
) -> Result<Read, LogFault> {
    let Some(short) = reader.read_short() else { return reader.read(payload) };
    payload.clear();
    payload.extend(short.words.iter().flat_map(|word| word.to_le_bytes()).take(short.len.into()));
    Ok(Read::Message { position: short.position, envelope: short.envelope })
}

/// What a reader saw of a writer that never waits for it.
#[derive(Debug, Default)]
struct Seen {
    accepted: u64,
    torn: u64,
    missed: u64,
    /// Where it stood in the end, counted from the first message.
    end: u64,
}

/// Every other message is too long for a slot; of the others every other one is short.
fn length(number: u64) -> usize {
    let most = [64, 2000, 900, 2000][(number % 4) as usize];
    most - (number % 64) as usize
}

/// A message is one byte repeated, as often as its number says; the number is the trace id, too.
fn message(number: u64, payload: &mut [u8]) -> (Envelope, &[u8]) {
    let payload = &mut payload[..length(number)];
    payload.fill(number as u8);
    (Envelope { trace: number.into(), publisher: number, ..Envelope::default() }, payload)
}

fn is_whole(number: u64, envelope: &Envelope, payload: &[u8]) -> bool {
    payload.len() == length(number)
        && payload.iter().all(|byte| *byte == number as u8)
        && (envelope.trace, envelope.publisher) == (number.into(), number)
}

fn race<M: Memory + Clone + Send>(memory: M, enough: impl Fn(&Seen) -> bool) -> Seen {
    let first = Position { epoch: 1, sequence: FIRST };
    let mut writer = LogWriter::create(memory.clone(), GEOMETRY, first).unwrap();
    let mut reader = LogReader::open(memory).unwrap();
    let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut payload = [0; 2048];
            for number in 0..WRITTEN {
                let (envelope, bytes) = message(number, &mut payload);
                writer.write(envelope, bytes, |_, _| false).unwrap();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            done.store(true, Ordering::Release);
        });
        let seen = follow(&mut reader, &stop, &done, enough);
        stop.store(true, Ordering::Relaxed);
        seen
    })
}

fn follow<M: Memory>(
    reader: &mut LogReader<M>,
    stop: &AtomicBool,
    done: &AtomicBool,
    enough: impl Fn(&Seen) -> bool,
) -> Seen {
    let (mut seen, mut payload) = (Seen::default(), Vec::new());
    loop {
        let last_look = done.load(Ordering::Acquire);
        match read_either_way(reader, &mut payload) {
            Ok(Read::Nothing) if last_look => break,
            Ok(Read::Nothing) => std::hint::spin_loop(),
            Ok(Read::Overtaken { missed }) => seen.missed += missed,
            Ok(Read::Message { position, envelope }) => {
                let number = position.sequence.wrapping_sub(FIRST);
                seen.accepted += 1;
                seen.torn += u64::from(!is_whole(number, &envelope, &payload));
            }
            // A torn head, which only the canary has.
            Err(_) => {
                seen.accepted += 1;
                seen.torn += 1;
            }
        }
        if enough(&seen) {
            stop.store(true, Ordering::Relaxed);
        }
    }
    seen.end = reader.position().sequence.wrapping_sub(FIRST);
    seen
}

fn never_torn(memory: impl Memory + Clone + Send) {
    let seen = race(memory, |seen| seen.accepted >= ACCEPTED && seen.missed > 0);
    assert_eq!(seen.torn, 0, "{seen:?}");
    assert_eq!(seen.accepted + seen.missed, seen.end, "{seen:?}");
    assert!(seen.accepted > 0 && seen.missed > 0, "nobody was lapped: {seen:?}");
}

#[test]
fn b3_a_reader_that_is_lapped_accepts_no_torn_message_on_the_heap() {
    never_torn(Heap::new(GEOMETRY.bytes()));
}

#[test]
fn b3_a_reader_that_is_lapped_accepts_no_torn_message_in_a_region() {
    never_torn(Region::private(GEOMETRY.bytes()));
}

#[test]
fn b3_without_the_writing_step_messages_are_torn() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        skip("one core changes hands between two messages much more often than within one");
        return;
    }
    let seen = race(Forgetful(Region::private(GEOMETRY.bytes())), |seen| seen.torn > 0);
    assert!(seen.torn > 0, "the test cannot tell: {seen:?}");
}

/// A hold word in use.
struct Held<'u>(Holds<'u, Region>, usize);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.give_back(self.1);
    }
}

/// Publishes long messages until it is told to stop.
fn publish(mut writer: LogWriter<Region>, stop: &AtomicBool, keeps: impl Fn(BlockUse) -> bool) {
    let mut payload = [0; 2048];
    for number in (1..WRITTEN).step_by(2) {
        let (envelope, bytes) = message(number, &mut payload);
        let envelope = Envelope { trace: 0, ..envelope };
        if let Err(error) = writer.write(envelope, bytes, |_, of| keeps(of)) {
            assert!(matches!(error, WriteError::Held { held: 3 }), "{error}");
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
}

/// A reader that holds up to three messages at a time and looks at each twice, when it reads it and
/// when it gives it back: how many it gave back, and how many looks were at something else.
fn hold(asks: bool, enough: impl Fn(u64, u64) -> bool) -> (u64, u64) {
    let first = Position { epoch: 1, sequence: FIRST };
    let (memory, lane) = (Region::private(GEOMETRY.bytes()), Geometry::default());
    let (up, stop) = (Region::private(lane.up().len), AtomicBool::new(false));
    let writer = LogWriter::create(memory.clone(), GEOMETRY, first).unwrap();
    let mut reader = LogReader::open(memory.clone()).unwrap();
    let is_changed = |number: u64, in_place: &InPlace<Held>| {
        let mut bytes = vec![0; in_place.len];
        memory.read_block(in_place.at, &mut bytes);
        u64::from(bytes.len() != length(number) || bytes.iter().any(|byte| *byte != number as u8))
    };
    let (mut held, mut given_back, mut changed) = (Vec::new(), 0, 0);
    let keeps = |of: BlockUse| asks && Holds::new(&up, lane).has(of.held_by(3));
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| publish(writer, &stop, keeps));
        while !enough(given_back, changed) && !publishing.is_finished() {
            // Given back in the order in which they were taken, so this one is free.
            let word = (given_back as usize + held.len()) % 4;
            let in_place = reader.read_held(&mut Vec::new(), |of, _| {
                let holds = Holds::new(&up, lane);
                holds.store(word, of.held_by(3));
                Some(Held(holds, word))
            });
            if let (Read::Message { envelope, .. }, Some(in_place)) = in_place.unwrap() {
                changed += is_changed(envelope.publisher, &in_place);
                held.push((envelope.publisher, in_place));
            }
            // Held while there is nothing to read: that is when the writer goes on.
            if held.len() == 3 {
                let (number, in_place) = held.remove(0);
                changed += is_changed(number, &in_place);
                given_back += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    (given_back, changed)
}

#[test]
fn b9_what_is_held_never_changes() {
    let (given_back, changed) = hold(true, |given_back, _| given_back >= ACCEPTED / 4);
    assert!(given_back > 0 && changed == 0, "{changed} changes in {given_back} messages");
}

#[test]
fn b9_what_nobody_asks_for_changes() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        skip("one core changes hands between two messages much more often than within one");
        return;
    }
    let (given_back, changed) = hold(false, |_, changed| changed > 0);
    assert!(changed > 0, "the test cannot tell, after {given_back} messages");
}
