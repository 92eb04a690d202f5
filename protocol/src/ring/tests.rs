//! Both sides of a lane over heap memory: the plain properties. Interleavings are loom's work
//! (`tests/loom.rs`), kills the kill model's (`tests/kill_model.rs`).

use proptest::prelude::*;

mod words;

use super::*;
use crate::fault::Fault;
use crate::layout::{Header, up};
use crate::memory::Heap;

const GEOMETRY: Geometry = Geometry { slots: 8, up_blocks: 4, down_blocks: 4 };

type Pair = (ClientLane<Heap, Heap>, ServerLane<Heap, Heap>);

fn pair(start: u64) -> Pair {
    let (up, down) = (Heap::new(GEOMETRY.up().len), Heap::new(GEOMETRY.down().len));
    initialise(&up, &down, GEOMETRY, start);
    let server = ServerLane::new(up.clone(), down.clone(), GEOMETRY, start, 1);
    (ClientLane::new(up, down, GEOMETRY, start).unwrap(), server)
}

/// Runs the next request in place, answering its own payload. Its ticket.
fn serve_light(server: &mut ServerLane<Heap, Heap>) -> Option<u64> {
    let Peek::Request(request) = server.peek().unwrap() else { return None };
    let mut payload = vec![0; request.header.len as usize];
    server.read(&request, &mut payload);
    server.claim();
    server.answer(answer_to(&request, payload.len()), &payload);
    server.release();
    Some(request.ticket)
}

fn answer_to(request: &Request, len: usize) -> Header {
    Header { ticket: request.ticket, len: len as u32, ..Header::default() }
}

fn take(client: &mut ClientLane<Heap, Heap>) -> Option<(u64, Vec<u8>)> {
    let header = client.peek().unwrap()?;
    let mut payload = vec![0; header.len as usize];
    client.read(header, &mut payload);
    client.collect();
    Some((header.ticket, payload))
}

fn submit(client: &mut ClientLane<Heap, Heap>, payload: &[u8]) -> Result<u64, Full> {
    client.submit(Header { len: payload.len() as u32, ..Header::default() }, payload)
}

fn starts() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just((1 << 32) - 3),
        Just((1 << 63) - 3),
        Just(u64::MAX - 3),
        0..u64::MAX / 2
    ]
}

proptest! {
    /// Random steps of both sides against a queue: every answer comes once, in its place, unchanged;
    /// nothing is overwritten, whatever the positions.
    #[test]
    fn a_lane_is_a_queue(start in starts(), steps in prop::collection::vec((0u8..4, 0usize..=216), 1..300)) {
        let (mut client, mut server) = pair(start);
        let mut sent = std::collections::VecDeque::new();
        let mut heavy = Vec::new();
        for (step, len) in steps {
            match step {
                0 => match submit(&mut client, &vec![len as u8; len]) {
                    Ok(ticket) => sent.push_back((ticket, vec![len as u8; len])),
                    Err(Full { slots }) => prop_assert_eq!(slots, 8),
                },
                1 => { serve_light(&mut server); }
                2 => if let Peek::Request(request) = server.peek().unwrap() {
                    let mut payload = vec![0; request.header.len as usize];
                    server.read(&request, &mut payload);
                    heavy.push((server.admit(&request, &payload), request, payload));
                },
                _ => if let Some((ticket, payload)) = take(&mut client) {
                    let at = sent.iter().position(|s| s.0 == ticket).expect("answered once");
                    prop_assert_eq!(sent.remove(at).unwrap().1, payload);
                },
            }
            if heavy.len() > 2 {
                let (entry, request, payload) = heavy.remove(0);
                server.finish(entry, answer_to(&request, payload.len()), &payload);
            }
        }
        for (entry, request, payload) in heavy {
            server.finish(entry, answer_to(&request, payload.len()), &payload);
        }
        loop {
            let served = serve_light(&mut server).is_some();
            let taken = take(&mut client).map(|(ticket, payload)| {
                let at = sent.iter().position(|s| s.0 == ticket).expect("answered once");
                assert_eq!(sent.remove(at).unwrap().1, payload);
            });
            if !served && taken.is_none() { break; }
        }
        prop_assert!(sent.is_empty(), "unanswered: {:?}", sent.len());
        prop_assert_eq!(server.running(), 0);
    }

    /// Whatever stands in a request's header: a fault or a place within bounds, never a panic.
    #[test]
    fn any_header_is_a_fault_or_in_bounds(words in prop::array::uniform4(any::<u64>()), zeros in 0u8..16, start in starts()) {
        let (mut client, mut server) = pair(start);
        let mut words = words;
        for (index, word) in words.iter_mut().enumerate() {
            if zeros >> index & 1 == 1 { *word &= 0xff_0000_0fff; }
        }
        client.submit(Header::from_words(words), &[]).unwrap();
        if let Ok(Peek::Request(request)) = server.peek() {
            let end = match request.place {
                Place::Inline => request.header.len as usize <= 216,
                Place::Arena { at } => at + request.header.len as usize <= GEOMETRY.up().len,
                Place::Bulk { segment, .. } => (1..=255).contains(&segment),
            };
            prop_assert!(end);
        }
    }

    /// `consumed` is accepted from what it was to `done` and nowhere else.
    #[test]
    fn a_forged_consumed_is_a_fault(start in starts(), forged: u64) {
        let (mut client, mut server) = pair(start);
        for _ in 0..8 {
            submit(&mut client, b"x").unwrap();
            serve_light(&mut server).unwrap();
        }
        submit(&mut client, b"x").unwrap();
        server.up().store(up::CONSUMED, forged);
        let honest = forged.wrapping_sub(start) <= 8;
        match server.peek() {
            Ok(_) => prop_assert!(honest),
            Err(Fault::Consumed { consumed, .. }) => prop_assert!(!honest && consumed == forged),
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn without_credit_a_lane_is_skipped_and_nothing_is_overwritten() {
    let (mut client, mut server) = pair(u64::MAX - 3);
    for byte in 0..8u8 {
        submit(&mut client, &[byte]).unwrap();
        serve_light(&mut server).unwrap();
    }
    submit(&mut client, &[8]).unwrap();
    assert_eq!(server.peek(), Ok(Peek::NoCredit));
    for byte in 0..8u8 {
        assert_eq!(take(&mut client).unwrap().1, [byte]);
        // `submitted - consumed` was at C: the first answer read is told at once.
        assert!(serve_light(&mut server).is_some() == (byte == 0));
    }
    assert_eq!(take(&mut client).unwrap().1, [8]);
}

#[test]
fn a_bell_is_due_once_per_sleep() {
    let (mut client, mut server) = pair(0);
    submit(&mut client, b"1").unwrap();
    assert!(!client.bell_due(), "nobody sleeps");
    assert_eq!(server.park(), Ok(false), "a request is there");
    serve_light(&mut server).unwrap();
    assert_eq!(server.park(), Ok(true));
    submit(&mut client, b"2").unwrap();
    assert!(client.bell_due());
    submit(&mut client, b"3").unwrap();
    assert!(!client.bell_due(), "rung for this sleep");
    server.unpark();
    while serve_light(&mut server).is_some() {}
    assert_eq!(server.park(), Ok(true));
    submit(&mut client, b"4").unwrap();
    assert!(client.bell_due(), "a new sleep");
}

#[test]
fn a_bell_before_the_fence_is_the_bell_of_its_sleep() {
    let (mut client, mut server) = pair(0);
    submit(&mut client, b"1").unwrap();
    assert!(!client.bell_due_unfenced(), "nobody sleeps");
    serve_light(&mut server).unwrap();
    assert_eq!(server.park(), Ok(true));
    submit(&mut client, b"2").unwrap();
    assert!(client.bell_due_unfenced());
    assert!(!client.bell_due(), "rung for this sleep");
    server.unpark();
    while serve_light(&mut server).is_some() {}
    assert_eq!(server.park(), Ok(true));
    submit(&mut client, b"3").unwrap();
    assert!(client.bell_due_unfenced(), "a new sleep");
}

#[test]
fn a_sleeper_is_woken_once_and_the_way_it_wants() {
    let (mut client, mut server) = pair(0);
    submit(&mut client, b"1").unwrap();
    assert_eq!(client.park(WakeBy::Byte, || {}), Nap::Sleep { wake: 0 });
    serve_light(&mut server).unwrap();
    assert_eq!(server.wake_due(), Some(WakeBy::Byte));
    assert_eq!(server.wake_due(), None);
    assert_eq!(client.park(WakeBy::Futex, || {}), Nap::Awake, "an answer is there");
    take(&mut client).unwrap();
    assert_eq!(client.park(WakeBy::Futex, || {}), Nap::Sleep { wake: 1 });
    submit(&mut client, b"2").unwrap();
    serve_light(&mut server).unwrap();
    assert_eq!(server.wake_due(), Some(WakeBy::Futex));
}

#[test]
fn cancel_and_progress_find_the_entry_of_their_ticket() {
    let (mut client, mut server) = pair(5);
    let ticket = submit(&mut client, b"long").unwrap();
    assert!(!client.cancel(ticket), "not taken yet: ask again");
    let Peek::Request(request) = server.peek().unwrap() else { panic!("a request") };
    let entry = server.admit(&request, b"long");
    server.progress(entry, 42);
    assert_eq!(client.progress(ticket), Some(42));
    assert!(client.cancel(ticket));
    assert_eq!(server.up().load(server.cancel_at(entry)), ticket + 1);
    server.finish(entry, answer_to(&request, 0), &[]);
    assert!(!client.cancel(ticket) && client.progress(ticket).is_none());
}

#[test]
fn arena_payloads_go_and_come_back() {
    let (mut client, mut server) = pair(9);
    let rows: Vec<u8> = (0..9000).map(|n| n as u8).collect();
    let block = client.place(&rows).unwrap();
    assert_eq!(client.place(&rows), None, "3 of 4 blocks are taken");
    client.submit(Header { len: 9000, block, ..Header::default() }, &[]).unwrap();
    let Peek::Request(request) = server.peek().unwrap() else { panic!("a request") };
    let mut copy = vec![0; 9000];
    server.read(&request, &mut copy);
    assert_eq!(copy, rows);
    server.claim();
    let block = server.place(&copy, request.ticket).unwrap();
    server.answer(Header { block, ..answer_to(&request, 9000) }, &[]);
    server.release();
    assert_eq!(server.leased(), (3 * 4096, 1));
    assert_eq!(take(&mut client).unwrap().1, rows);
    client.give_back(request.header.block, 9000);
    assert_eq!(server.leased(), (0, 0), "copied out, given back at once");
}

#[test]
fn credit_that_is_owed_is_stored_with_the_request_that_needs_it() {
    let (mut client, mut server) = pair((1 << 32) - 3);
    submit(&mut client, b"read, not told").unwrap();
    serve_light(&mut server).unwrap();
    take(&mut client).unwrap();
    for _ in 0..8 {
        submit(&mut client, b"next").unwrap();
        assert!(serve_light(&mut server).is_some(), "one answer of a full ring was read");
    }
}
