//! The one ordering that this very processor shows: of two sides that store a word, fence, and look at the
//! other's, at least one sees (SPEC P2, P3). On x86 nothing but the fence makes it so; without it some of the
//! rounds below end with both sides blind (`make mutants` takes it away).
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringfence_protocol::memory::{Heap, Memory};
use ringfence_protocol::region::Region;

const ROUNDS: u64 = 200_000;
/// Two threads on one core show nothing, and take long for it.
const AT_MOST: Duration = Duration::from_millis(1500);
const BALLAST: usize = 2048;
const LINES: usize = 12;
/// Words far from each other.
const WORDS: [usize; 2] = [0, 1024];

/// Rounds in which neither side saw the other's word, of how many.
fn blind<M: Memory + Sync>(memory: &M) -> (usize, usize) {
    let turns = [AtomicU64::new(0), AtomicU64::new(0)];
    let until = Instant::now() + AT_MOST;
    let side = |own: usize| {
        let mut saw = Vec::new();
        for round in 1..=ROUNDS {
            turns[own].store(round, Ordering::SeqCst);
            let mut looks = 0_u32;
            while turns[1 - own].load(Ordering::SeqCst) < round {
                looks += 1;
                if looks.is_multiple_of(1000) {
                    thread::yield_now();
                }
                if looks.is_multiple_of(1 << 16) && Instant::now() > until {
                    return saw;
                }
            }
            // Stores wait in line: these, to lines that both sides want, hold up the one that counts.
            for line in 0..LINES {
                memory.store(BALLAST + line * 128 + own * 8, round);
            }
            memory.store(WORDS[own], round);
            memory.fence(Ordering::SeqCst);
            saw.push(memory.load(WORDS[1 - own]) >= round);
            if round.is_multiple_of(64) && Instant::now() > until {
                return saw;
            }
        }
        saw
    };
    let [one, other] = thread::scope(|scope| {
        let side = &side;
        [0, 1].map(|own| scope.spawn(move || side(own))).map(|thread| thread.join().unwrap())
    });
    let rounds = one.len().min(other.len());
    (one.iter().zip(&other).filter(|(one, other)| !**one && !**other).count(), rounds)
}

#[test]
fn p2_one_of_two_sides_sees_what_the_other_stored() {
    for (blind, rounds) in [blind(&Heap::new(4096)), blind(&Region::private(4096))] {
        assert!(rounds > 0);
        assert_eq!(blind, 0, "of {rounds} rounds");
    }
}
