//! SPEC B11, B12: where every message counts none is overwritten before the subscription has copied it, by the
//! shipped [`LogWriter`], [`Inbox`] and [`Cursors`]. Which cursors are believed is ringfence-core's `bus/place.rs`,
//! what they make room for its `bus/room.rs`; here that is a line each.
//!
//! Payloads are cells: loom fails the model where one is written that might still be read.

use loom::thread;
use ringfence_protocol::log::{Counts, Cursors, Envelope, Event, Inbox, Keep, LogWriter};

use super::log::{
    CURSOR, FIRST, GEOMETRY, LANE, Letter, LogMemory, Side, TORN, log_in, long, payload,
};
use super::memory::Letter as OfLane;
use super::sleep::Bell;
use super::{ASLEEP_FOR_EVER, RACE, lane, prove, until};

/// A message of this position.
type Payload = fn(u64) -> Vec<u8>;

const SHORT: Payload = |sequence| payload(sequence).to_vec();
/// It needs the log's only block.
const IN_BLOCK: Payload = |sequence| long(sequence).to_vec();

/// Publishes if nothing is overwritten that was not read.
fn publish(
    writer: &mut LogWriter<LogMemory>,
    cursors: &Cursors<'_, LogMemory>,
    like: Payload,
) -> bool {
    let (next, cursor) = (writer.next().sequence, cursors.get(0));
    if next.wrapping_sub(cursor) >= GEOMETRY.slots.into() {
        return false;
    }
    let is_unread = |sequence: u64| sequence.wrapping_sub(cursor) < GEOMETRY.slots.into();
    writer.write(Envelope::default(), &like(next), |sequence, _| is_unread(sequence)).is_ok()
}

/// Takes the message at `expected` if it is there. After each step of the reader its cursor is stored, as clients do.
fn take(
    inbox: &mut Inbox<LogMemory>,
    cursors: &Cursors<'_, LogMemory>,
    expected: (u64, Payload),
) -> bool {
    let moved = |counts, cursor| {
        assert_eq!(counts, Counts::default(), "nothing is missed");
        cursors.advance(0, cursor);
    };
    let (sequence, like) = expected;
    match inbox.next(|| true, moved, |_, _| None::<()>).expect(TORN) {
        None => false,
        Some((Event::Message(message), None)) => {
            let found = (message.position.sequence, &*message.payload);
            assert_eq!(found, (sequence, &*like(sequence)), "{TORN}");
            true
        }
        other => panic!("{other:?}"),
    }
}

/// The log is full, and so many more messages are published while all are read.
fn model(without: Option<Letter>, keep: Keep, (full, more): (u64, u64), like: Payload) {
    let asked = LogMemory::of_lane(CURSOR, without, Side::Writer);
    let up = asked.seen_by(Side::Reader);
    Cursors::new(&up, LANE).advance(0, FIRST);
    let (mut writer, reader) = log_in(LogMemory::new(without, true), |writer| {
        (0..full).for_each(|_| assert!(publish(writer, &Cursors::new(&asked, LANE), like)));
    });
    let publishing = thread::spawn(move || {
        let cursors = Cursors::new(&asked, LANE);
        (0..more).for_each(|_| until(|| publish(&mut writer, &cursors, like)));
    });
    let (mut inbox, cursors) = (Inbox::new(reader, keep), Cursors::new(&up, LANE));
    for message in 0..full + more {
        let sequence = FIRST.wrapping_add(message);
        until(|| take(&mut inbox, &cursors, (sequence, like)));
    }
    publishing.join().unwrap();
}

/// Both slots are full, and each is needed once more.
#[test]
fn ai_aj_a_message_is_overwritten_only_after_it_was_copied() {
    fn slots(without: Option<Letter>) {
        model(without, Keep::InLog, (2, 2), SHORT);
    }
    prove(slots, RACE, &[Letter::AI, Letter::AJ]);
}

/// The same where the subscription reads ahead into a buffer of its own.
#[test]
fn ai_aj_a_message_is_overwritten_only_after_it_was_copied_into_a_buffer() {
    fn slots(without: Option<Letter>) {
        model(without, Keep::DropNewest { buffer: 4 }, (2, 1), SHORT);
    }
    prove(slots, RACE, &[Letter::AI, Letter::AJ]);
}

/// The only block is needed once more. (The fence of W, between the look at the cursor and the new payload, would
/// do as well as AJ.)
#[test]
fn ai_a_block_is_reused_only_after_its_message_was_copied() {
    fn block(without: Option<Letter>) {
        model(without, Keep::InLog, (1, 1), IN_BLOCK);
    }
    prove(block, RACE, &[Letter::AI]);
}

/// A publish waits for room while the daemon sleeps by the bell, and a cursor makes it.
#[test]
fn i_j_a_sleeping_daemon_is_woken_for_a_cursor() {
    fn model(without: Option<OfLane>) {
        let (mut client, mut server) = lane(without);
        let bell = Bell::new();
        let rung = bell.clone();
        let daemon = thread::spawn(move || {
            let has_room = |up: &_| Cursors::new(up, LANE).get(0) == 1;
            while !has_room(server.up()) {
                let may_sleep = server.park().expect("the client is honest");
                // Once more after parking.
                if may_sleep && !has_room(server.up()) {
                    rung.wait();
                }
                server.unpark();
            }
        });
        Cursors::new(client.up(), LANE).advance(0, 1);
        if client.bell_due() {
            bell.ring();
        }
        daemon.join().unwrap();
    }
    prove(model, ASLEEP_FOR_EVER, &[OfLane::I, OfLane::J]);
}
