//! The words beside the rings, whatever the other side writes into them.

use super::*;
use crate::layout::down;

/// What a client may store: something near a value that means something, or anything.
fn near(value: u64) -> impl Strategy<Value = u64> {
    prop_oneof![Just(value), (0..4u64).prop_map(move |off| value.wrapping_add(off)), any::<u64>()]
}

proptest! {
    /// `consumed`: a value between the last accepted one and `done` gives credit, any other is a fault.
    #[test]
    fn f3_consumed_is_accepted_up_to_done(start in starts(), answered in 0u64..=8, said in near(0)) {
        let (mut client, mut server) = pair(start);
        for _ in 0..8 {
            submit(&mut client, &[]).unwrap();
        }
        for _ in 0..answered {
            serve_light(&mut server).unwrap();
        }
        let mut open = Vec::new();
        while let Ok(Peek::Request(request)) = server.peek() {
            open.push(server.admit(&request, &[]));
        }
        // A ninth request, so that the word is looked at.
        client.up().store(GEOMETRY.up().ring.at(start.wrapping_add(8)), start.wrapping_add(9));
        client.up().store(up::CONSUMED, start.wrapping_add(said));
        match server.peek() {
            Err(Fault::Consumed { .. }) => prop_assert!(said > answered),
            Ok(Peek::NoCredit) => prop_assert_eq!(said, 0),
            _ => prop_assert!((1..=answered).contains(&said)),
        }
    }

    /// The parking words of both sides: each value that says "asleep" is acted upon once.
    #[test]
    fn p2_any_parking_word_wakes_once_at_most(words in prop::collection::vec(any::<u32>(), 1..60)) {
        let (mut client, mut server) = pair(0);
        let mut wakes = 0;
        for word in words {
            client.up().store_u32(up::PARKED, word);
            server.down().store_u32(down::PARKED, word);
            let (woken, rung) = (server.wake_due(), client.bell_due());
            prop_assert!(word & ASLEEP != 0 || woken.is_none() && !rung);
            wakes += u32::from(woken.is_some());
            prop_assert_eq!(server.down().load_u32(down::WAKE), wakes);
            prop_assert!(server.wake_due().is_none() && !client.bell_due());
        }
    }

    /// Entries of the table, their cancel words and their progress: each is that of the ticket which stands
    /// there. From where lanes start (SPEC S1), for a mark of 0 is "free".
    #[test]
    fn f7_cancel_and_progress_find_their_call(start in 0..1_u64 << 63, steps in prop::collection::vec((0u8..4, 0usize..8, 1u64..1000), 1..80)) {
        let (mut client, mut server) = pair(start);
        let mut running: Vec<(u64, Entry, u64)> = Vec::new();
        for (step, which, value) in steps {
            match step {
                0 if running.len() < 8 && submit(&mut client, &[]).is_ok() => {
                    let Ok(Peek::Request(request)) = server.peek() else { continue };
                    running.push((request.ticket, server.admit(&request, &[]), 0));
                }
                1 if which < running.len() => {
                    let (ticket, entry, _) = running.remove(which);
                    server.finish(entry, Header { ticket, ..Header::default() }, &[]);
                    prop_assert_eq!(client.progress(ticket), None);
                    prop_assert!(!client.cancel(ticket));
                    take(&mut client);
                }
                2 if which < running.len() => {
                    server.progress(running[which].1, value);
                    running[which].2 = value;
                }
                3 if which < running.len() => {
                    let (ticket, entry, _) = running[which];
                    prop_assert!(client.cancel(ticket) && client.was_claimed(ticket));
                    prop_assert_eq!(server.up().load(server.cancel_at(entry)), ticket.wrapping_add(1));
                }
                _ => {}
            }
            for (ticket, _, progress) in &running {
                prop_assert_eq!(client.progress(*ticket), Some(*progress));
            }
        }
    }

    /// Leases: whatever stands in the release words, a block is lent to one answer at a time, and one is free again
    /// if and only if its own generation was given back.
    #[test]
    fn a5_only_its_generation_frees_a_lease(given_back in prop::collection::vec((0usize..4, near(0)), 0..40)) {
        let (client, mut server) = pair(0);
        let mut held = [false; 4];
        for ((number, off), ticket) in given_back.into_iter().zip(1..) {
            if let Some(block) = server.place(&[1; 9], ticket) {
                let first = block as usize - 1;
                prop_assert!(!held[first], "block {} is lent twice", first);
                held[first] = true;
            } else {
                prop_assert_eq!(held, [true; 4]);
            }
            let generation = server.down().load(GEOMETRY.down().lease + number * 16);
            client.up().store(GEOMETRY.up().release + number * 8, generation.wrapping_add(off));
            held[number] &= off != 0;
            prop_assert_eq!(server.leased().1, held.iter().filter(|held| **held).count());
        }
    }
}
