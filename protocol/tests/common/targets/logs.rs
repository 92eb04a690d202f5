//! What others only read: broadcast logs and the board.

use ringfence_protocol::board::{
    Geometry, Header, HeapWords, SessionRow, Snapshot, Totals, Words, write_header, write_row,
};
use ringfence_protocol::log::{
    Envelope, Event, Inbox, Keep, LogGeometry, LogReader, LogWriter, Position, Start,
};
use ringfence_protocol::memory::{Heap, Memory};

use super::allocation::peak;
use super::chance::Chance;

const GEOMETRY: LogGeometry = LogGeometry { slots: 8, stride: 128, blocks: 2, block_bytes: 4096 };

/// A log with some messages, then some of its words changed, its sizes too: no log, or a reader that is bounded:
/// it goes on with each read, ends where nothing more is said, and takes no more memory than its longest payload.
pub(crate) fn any_log(bytes: &[u8]) {
    let chance = &mut Chance::of(bytes);
    let (memory, first) = (Heap::new(GEOMETRY.bytes()), chance.start());
    let position = Position { epoch: 1, sequence: first };
    let mut writer = LogWriter::create(memory.clone(), GEOMETRY, position).unwrap();
    for _ in 0..chance.below(20) {
        let len = chance.pick(&[0, 8, 64, 65, 4096]);
        let trace = chance.pick(&[0, 1]);
        let envelope = Envelope { trace, ..Envelope::default() };
        writer.write(envelope, &vec![7; len], |_, _| false).unwrap();
    }
    let next = writer.next().sequence;
    for _ in 0..chance.below(8) {
        let slots = GEOMETRY.slot(0) as u64 / 8 + u64::from(GEOMETRY.slots) * 16;
        let at = chance.below(slots) as usize * 8;
        memory.store(at, chance.near(next));
    }
    let Ok(mut reader) = LogReader::open(memory) else { return };
    let longest = reader.geometry().message_bytes();
    assert!(reader.geometry().bytes() <= GEOMETRY.bytes());
    if chance.below(3) == 0 {
        let sequence = chance.near(next);
        let start = chance.pick(&[
            Start::Oldest,
            Start::Newest,
            Start::At(Position { epoch: 1, sequence }),
        ]);
        let _refused = reader.seek(start);
    }
    let keep =
        chance.pick(&[Keep::InLog, Keep::DropOldest { buffer: 2 }, Keep::DropNewest { buffer: 2 }]);
    read_all(Inbox::new(reader, keep), longest);
}

fn read_all(mut inbox: Inbox<Heap>, longest: usize) {
    // Nobody writes: each slot says one thing, so a reader that goes on meets each once or passes it.
    for _ in 0..64 {
        let (here, mut looks) = (inbox.position().sequence, 0);
        let may_go_on = || true;
        let moved = |_, _| looks += 1;
        let (next, held) = peak(|| inbox.next(may_go_on, moved, |_, _| None::<()>));
        // Its own, the message's, and those of a full buffer.
        assert!(
            held <= 8 * longest + 4096,
            "{held} bytes at once, the longest payload has {longest}"
        );
        assert!(looks <= 64, "{looks} steps in one read");
        match next {
            Ok(Some((Event::Message(message), None))) => assert!(message.payload.len() <= longest),
            Ok(Some((Event::Overtaken { missed }, None))) => assert!(missed > 0),
            Ok(Some((_, Some(_)))) => panic!("nobody holds anything"),
            Ok(None) => return assert_eq!(inbox.position().sequence, here, "nothing moves nobody"),
            Err(_) => assert_ne!(inbox.position().sequence, here, "a fault is passed"),
        }
    }
}

/// A board, then some of its words changed: no board, or no more rows than its tables have, and each row that was
/// left unfinished counted.
pub(crate) fn any_board(bytes: &[u8]) {
    let chance = &mut Chance::of(bytes);
    let geometry = Geometry::new(1, 3, 2).unwrap();
    let words = HeapWords::new(geometry.size_bytes());
    write_header(&words, &geometry, &Header::new(1, 2, 3, "fuzz")).unwrap();
    write_row(&words, geometry.totals_at(), &Totals::default());
    for index in 0..geometry.sessions() {
        let row = SessionRow { id: chance.below(3), ..SessionRow::default() };
        write_row(&words, geometry.session_at(index), &row);
    }
    for _ in 0..chance.below(6) {
        let anywhere = chance.below(geometry.size_bytes() as u64 / 8) as usize * 8;
        let at = chance.pick(&[anywhere, anywhere % 128, geometry.session_at(1)]);
        words.store(at, chance.near(2));
    }
    let (read, held) = peak(|| Snapshot::read(&words));
    assert!(held <= 8 * geometry.size_bytes() + 4096, "{held} bytes at once");
    if let Ok(snapshot) = read {
        let rows = snapshot.methods.len() + snapshot.sessions.len() + snapshot.errors.len();
        assert!(rows + snapshot.torn_rows <= geometry.size_bytes() / 128);
    }
}
