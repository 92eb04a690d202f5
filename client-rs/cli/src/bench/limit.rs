//! The limit: one cache line there and one back between two threads, each on a core of its own.
//!
//! Two rings of 32 slots of one line each, as many as a lane has by default; a slot is a number and 24
//! bytes. Both sides spin. No checks, no sleep: nothing that goes through memory is faster. It is what
//! `benches/` measures between two processes; memory does not know the difference.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::exit::{Exit, Failure};

const SLOTS: usize = 32;
const WORDS: usize = 3;

/// One cache line.
#[derive(Default)]
#[repr(align(64))]
struct Line {
    /// Written last with Release, read first with Acquire: it publishes the words.
    seq: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Line {
    #[inline]
    fn publish(&self, seq: u64, payload: [u64; WORDS]) {
        for (word, value) in self.words.iter().zip(payload) {
            word.store(value, Ordering::Relaxed);
        }
        // Partner: the load in `receive`.
        self.seq.store(seq, Ordering::Release);
    }
}

#[derive(Default)]
struct Rings {
    requests: [Line; SLOTS],
    replies: [Line; SLOTS],
    over: AtomicBool,
}

/// Two cores, if this process may use two.
pub(super) struct Limit {
    cores: Option<[usize; 2]>,
}

impl Limit {
    /// The first two cores that are allowed.
    pub(super) fn find() -> Self {
        let allowed = sched_getaffinity(Pid::from_raw(0)).ok();
        let mut cores = (0..CpuSet::count())
            .filter(|core| allowed.is_some_and(|set| set.is_set(*core).unwrap_or(false)));
        let two = cores.next().zip(cores.next());
        Self { cores: two.map(|(server, client)| [server, client]) }
    }

    /// Those of the two threads; `None`: there is no limit to be measured.
    pub(super) fn cores(&self) -> Option<[usize; 2]> {
        self.cores
    }

    /// Has `measure` make round trips, as long as it likes. Without two cores it is not asked.
    pub(super) fn turn(
        &mut self,
        measure: impl FnOnce(&mut dyn FnMut() -> Result<(), Failure>) -> Result<(), Failure> + Send,
    ) -> Result<(), Failure> {
        let Some([server, client]) = self.cores else { return Ok(()) };
        let rings = Rings::default();
        let done = std::thread::scope(|scope| {
            // A thread for each side: this one stays where the system puts it, as callers do.
            scope.spawn(|| {
                pin(server);
                serve(&rings);
            });
            let measured = scope.spawn(|| {
                let _over = Over(&rings.over);
                pin(client);
                let mut seq = 0;
                let payload = black_box([1, 2, 3]);
                let mut last = payload;
                let measured = measure(&mut || {
                    seq += 1;
                    rings.requests[at(seq)].publish(seq, payload);
                    last = receive(&rings, &rings.replies, seq).unwrap_or_default();
                    Ok(())
                });
                measured.map(|()| last == payload)
            });
            measured.join()
        });
        match done {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(broken("answered something else")),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(broken("panicked")),
        }
    }
}

/// Ends the other side with this one, however that ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn broken(what: &str) -> Failure {
    Failure::new(Exit::Internal, format!("the thread that measures the limit {what}"))
}

/// Unpinned threads find two cores by themselves, if somewhat later.
fn pin(core: usize) {
    let mut set = CpuSet::new();
    let _unpinned = set.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
}

fn at(seq: u64) -> usize {
    seq as usize % SLOTS
}

fn serve(rings: &Rings) {
    let mut seq = 1;
    while let Some(payload) = receive(rings, &rings.requests, seq) {
        rings.replies[at(seq)].publish(seq, payload);
        seq += 1;
    }
}

/// The words of this number; `None` when it is over.
#[inline]
fn receive(rings: &Rings, ring: &[Line; SLOTS], seq: u64) -> Option<[u64; WORDS]> {
    let line = &ring[at(seq)];
    // Partner: the store in `publish`.
    while line.seq.load(Ordering::Acquire) != seq {
        if rings.over.load(Ordering::Relaxed) {
            return None;
        }
        spin_loop();
    }
    Some(std::array::from_fn(|word| line.words[word].load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_with_its_measurer_and_counts_what_was_asked() {
        let mut limit = Limit::find();
        let mut calls = 0;
        for _ in 0..3 {
            let turn = limit.turn(|call| {
                calls += 100;
                (0..100).try_for_each(|_| call())
            });
            turn.unwrap();
        }
        assert_eq!(calls, if limit.cores().is_some() { 300 } else { 0 });
        let failed = limit.turn(|_| Err(Failure::usage("no")));
        assert_eq!(failed.is_err(), limit.cores().is_some());
    }
}
