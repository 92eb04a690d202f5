//! Can the oracle fail? Each lie in an otherwise true story is found.

use super::journal::{Received, Record, digest, payload};
use super::oracle::{Testimony, judge};

const OVERWRITE: usize = 0;
const BLOCK: usize = 1;
const REJECT: usize = 2;

const EPOCH: u64 = 7;
const PUBLISHER: u64 = 1;
const READER: u64 = 2;

fn published(topic: usize, sequence: u64) -> Record {
    Record::Published { topic, number: sequence, epoch: EPOCH, sequence }
}

fn seen(sequence: u64) -> Received {
    Received {
        epoch: EPOCH,
        sequence,
        session: 1000,
        key: PUBLISHER,
        number: sequence,
        digest: Some(digest(&payload(PUBLISHER, sequence))),
    }
}

fn received(topic: usize, message: Received) -> Record {
    Record::Received { topic, subscription: 1, message }
}

fn closed(topic: usize, received: u64, missed: u64) -> Record {
    Record::Closed { topic, subscription: 1, received, missed, drained: true }
}

/// Ten messages, published and received.
fn story(topic: usize) -> [Vec<Record>; 2] {
    let publisher = (0..10).map(|n| published(topic, n)).collect();
    let mut reader: Vec<_> = (0..10).map(|n| received(topic, seen(n))).collect();
    reader.push(closed(topic, 10, 0));
    [publisher, reader]
}

fn verdict([publisher, reader]: [Vec<Record>; 2]) -> Vec<String> {
    let publisher = Testimony { key: PUBLISHER, records: publisher };
    judge(&[publisher, Testimony { key: READER, records: reader }])
}

/// The story of this topic with a lie in it is found out, in these words.
fn found(topic: usize, says: &str, lie: impl FnOnce(&mut Vec<Record>, &mut Vec<Record>)) {
    let [mut publisher, mut reader] = story(topic);
    lie(&mut publisher, &mut reader);
    let faults = verdict([publisher, reader]);
    assert!(faults.iter().any(|fault| fault.contains(says)), "{says:?} is not in {faults:#?}");
}

#[test]
fn a_true_story_is_believed() {
    for topic in [OVERWRITE, BLOCK, REJECT] {
        assert_eq!(verdict(story(topic)), Vec::<String>::new());
    }
    // Lapped and told so; a kill leaves the rest untold.
    let mut lapped = story(OVERWRITE);
    let missed = Record::Overtaken { topic: OVERWRITE, subscription: 1, missed: 4 };
    lapped[1].splice(2..6, [missed]);
    lapped[1].pop();
    lapped[1].push(closed(OVERWRITE, 6, 4));
    assert_eq!(verdict(lapped.clone()), Vec::<String>::new());
    lapped[1].truncate(4);
    assert_eq!(verdict(lapped), Vec::<String>::new());
    // Cut off, and the daemon died before it could be told.
    let publisher = (0..30).map(|n| published(BLOCK, n));
    let later = Record::Published { topic: BLOCK, number: 50, epoch: EPOCH + 1, sequence: 0 };
    let mut reader: Vec<_> = (0..30).map(|n| received(BLOCK, seen(n))).collect();
    reader[20] = Record::Overtaken { topic: BLOCK, subscription: 1, missed: 1 };
    let unheard = [publisher.chain([later]).collect(), reader];
    assert_eq!(verdict(unheard), Vec::<String>::new());
    // Cut off and told so, and a publish of unknown outcome.
    let mut cut_off = story(BLOCK);
    cut_off[1].truncate(3);
    cut_off[1].push(Record::CutOff { topic: BLOCK, subscription: 1, at: 8, missed: 5 });
    let end =
        Record::Closed { topic: BLOCK, subscription: 1, received: 3, missed: 5, drained: false };
    cut_off[1].push(end);
    cut_off[0][9] = Record::Failed { topic: BLOCK, number: 9, certain: false };
    assert_eq!(verdict(cut_off), Vec::<String>::new());
}

#[test]
fn a_duplicate_is_found() {
    found(OVERWRITE, "7:3 after Some((7, 4))", |_, reader| {
        reader.insert(4, received(OVERWRITE, seen(3)));
    });
    // The same message at two positions.
    found(OVERWRITE, "twice: 1/3", |publisher, _| {
        publisher.push(Record::Published {
            topic: OVERWRITE,
            number: 3,
            epoch: EPOCH,
            sequence: 10,
        });
    });
}

#[test]
fn a_gap_is_found() {
    found(OVERWRITE, "7:5 after Some((7, 4)) and 0 missed", |_, reader| drop(reader.remove(4)));
    found(OVERWRITE, "and 2 missed", |_, reader| {
        reader[4] = Record::Overtaken { topic: OVERWRITE, subscription: 1, missed: 2 };
    });
}

#[test]
fn the_end_of_a_log_that_was_not_read_is_found() {
    found(BLOCK, "ended drained at 7:9, the last message is 9", |_, reader| {
        reader.truncate(9);
        reader.push(closed(BLOCK, 9, 0));
    });
    found(BLOCK, "ended with the daemon at 7:8", |_, reader| {
        reader.truncate(8);
        reader.push(Record::Restarted { topic: BLOCK, subscription: 1 });
    });
}

#[test]
fn a_swapped_order_is_found() {
    found(REJECT, "7:5 after Some((7, 4))", |_, reader| reader.swap(4, 5));
    // Of one publisher, with all readers of one mind.
    let swap = |records: &mut Vec<Record>| {
        for record in records {
            if let Record::Published { number, .. }
            | Record::Received { message: Received { number, .. }, .. } = record
            {
                *number = 9 - *number;
            }
        }
    };
    found(REJECT, "out of order: 1/8", |publisher, reader| {
        swap(publisher);
        swap(reader);
    });
}

#[test]
fn a_changed_byte_is_found() {
    found(BLOCK, "wrong bytes at chaos.block 7:6", |_, reader| {
        let mut bytes = payload(PUBLISHER, 6);
        bytes[15] ^= 1;
        reader[6] = received(BLOCK, Received { digest: Some(digest(&bytes)), ..seen(6) });
    });
    // Of a block that was held.
    found(BLOCK, "wrong bytes at chaos.block 7:6", |_, reader| {
        reader[6] = received(BLOCK, Received { digest: None, ..seen(6) });
        let changed = Record::Released { topic: BLOCK, epoch: EPOCH, sequence: 6, digest: 0 };
        reader.insert(9, changed);
    });
}

#[test]
fn another_message_at_a_position_is_found() {
    found(OVERWRITE, "two messages at chaos.overwrite 7:5", |publisher, _| {
        publisher[6] = Record::Published { topic: OVERWRITE, number: 6, epoch: EPOCH, sequence: 5 };
    });
    found(OVERWRITE, "two messages", |_, reader| {
        reader.insert(
            0,
            Record::Received {
                topic: OVERWRITE,
                subscription: 2,
                message: Received { session: 1001, ..seen(4) },
            },
        );
    });
}

#[test]
fn a_publish_that_raised_and_took_effect_is_found() {
    found(REJECT, "published, and it raised: 1/4", |publisher, _| {
        publisher[4] = Record::Failed { topic: REJECT, number: 4, certain: true };
    });
}

#[test]
fn a_loss_that_the_policy_forbids_is_found() {
    // Of forty messages, far behind where it began.
    let lapped = |topic| {
        let publisher = (0..40).map(|n| published(topic, n)).collect();
        let mut reader: Vec<_> = (0..40).map(|n| received(topic, seen(n))).collect();
        reader[20] = Record::Overtaken { topic, subscription: 1, missed: 1 };
        reader.push(closed(topic, 39, 1));
        verdict([publisher, reader])
    };
    for topic in [REJECT, BLOCK] {
        let faults = lapped(topic);
        assert!(faults.len() == 1 && faults[0].contains("lost 1 before 7:21 of 39"), "{faults:#?}");
    }
    assert_eq!(lapped(OVERWRITE), Vec::<String>::new());
    let cut_off = |topic, at| {
        move |_: &mut Vec<Record>, reader: &mut Vec<Record>| {
            reader.truncate(4);
            reader.push(Record::CutOff { topic, subscription: 1, at, missed: 5 });
        }
    };
    found(REJECT, "cut off at 9", cut_off(REJECT, 9));
    found(BLOCK, "cut off at 7:8, 5 missed", cut_off(BLOCK, 8));
}

#[test]
fn wrong_counts_are_found() {
    found(OVERWRITE, "counts (received, missed) (10, 1)", |_, reader| {
        reader[10] = closed(OVERWRITE, 10, 1);
    });
}
