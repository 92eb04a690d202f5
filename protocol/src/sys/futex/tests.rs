//! Tests of `futex.rs`: both ways to sleep, read-only mappings, and two processes.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering::SeqCst;

use super::*;
use crate::names::SegmentKind;
use crate::sys::mapping::{Mapping, Options};
use crate::sys::segment::Segment;
use crate::sys::testing::{outcome, segment_name, spawn_child};

/// Longer than any machine is slow; a test that sleeps it through has failed.
const LONG: Duration = Duration::from_secs(15);
const LEN: usize = 4096;

type WaitFn = fn(&[(Word<'_>, u32)], Duration) -> Wait;

/// What `wait` does here, and what it does on an old kernel.
const BOTH: [WaitFn; 2] = [wait, wait_in_slices];

#[test]
fn a_changed_word_ends_the_sleep_before_it_begins() {
    for wait in BOTH {
        let (first, second) = (AtomicU32::new(1), AtomicU32::new(2));
        let (first, second) = (Word::private(&first), Word::private(&second));
        assert_eq!(wait(&[(first, 1), (second, 3)], LONG), Wait::Changed);
        assert_eq!(wait(&[(first, 0)], LONG), Wait::Changed);
    }
}

#[test]
fn a_timeout_ends_the_sleep_and_not_before_time() {
    for wait in BOTH {
        let words = [AtomicU32::new(1), AtomicU32::new(2)];
        let words = [(Word::private(&words[0]), 1), (Word::private(&words[1]), 2)];
        for timeout in [Duration::ZERO, Duration::from_millis(3)] {
            let start = Instant::now();
            assert_eq!(wait(&words, timeout), Wait::TimedOut);
            assert_eq!(wait(&words[..1], timeout), Wait::TimedOut);
            assert!(start.elapsed() >= timeout * 2);
        }
        // Nothing to wait for, and far more time than a timespec can count, are no errors.
        assert_eq!(wait(&[], Duration::from_micros(10)), Wait::TimedOut);
        assert_eq!(wait(&[(words[0].0, 9)], Duration::MAX), Wait::Changed);
    }
}

#[test]
fn more_words_than_the_kernel_takes_are_still_watched() {
    let word = AtomicU32::new(0);
    let mut words = vec![(Word::private(&word), 0); MAX_WORDS + 1];
    assert_eq!(wait(&words, Duration::from_millis(2)), Wait::TimedOut);
    words[MAX_WORDS].1 = 1;
    assert_eq!(wait(&words, LONG), Wait::Changed);
}

/// Wakes `word` until the sleeper says that it is up: no wake can fall before the sleep for good.
fn wake_until(up: &AtomicU32, word: Word<'_>) {
    let start = Instant::now();
    while up.load(SeqCst) == 0 && start.elapsed() < LONG {
        wake(word, 1);
        std::thread::yield_now();
    }
}

#[test]
fn a_wake_on_any_word_ends_the_sleep() {
    let words = [AtomicU32::new(0), AtomicU32::new(0)];
    for woken in &words {
        let up = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                let list = [(Word::private(&words[0]), 0), (Word::private(&words[1]), 0)];
                let ended = wait(&list, LONG);
                up.store(1, SeqCst);
                ended
            });
            wake_until(&up, Word::private(woken));
            assert_eq!(sleeper.join().expect("sleeper"), Wait::Woken);
        });
    }
}

#[test]
fn slices_see_a_change_of_the_second_word_without_a_wake() {
    let words = [AtomicU32::new(0), AtomicU32::new(0)];
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let list = [(Word::private(&words[0]), 0), (Word::private(&words[1]), 0)];
            wait_in_slices(&list, LONG)
        });
        words[1].store(1, SeqCst);
        assert_eq!(sleeper.join().expect("sleeper"), Wait::Changed);
    });
}

#[test]
fn another_process_wakes_a_sleeper_on_a_read_only_mapping() {
    for wait in BOTH {
        let segment = Segment::create(&segment_name(SegmentKind::Down), LEN).expect("create");
        let reader_fd = segment.reopen_read_only().expect("reopen");
        let options = Options::default();
        let writer = Mapping::read_write(segment.fd(), LEN, options).expect("writer");
        // SAFETY: page-aligned, mapped while `writer` lives, and only accessed atomically.
        let up = unsafe { AtomicU32::from_ptr(writer.base().as_ptr().cast::<u32>().add(1)) };

        let child = spawn_child(|| {
            let Ok(reader) = Mapping::read_only(reader_fd.as_fd(), LEN, options) else { return 2 };
            // SAFETY: page-aligned, mapped while `reader` lives, and only accessed atomically.
            let shared = unsafe { Word::shared(reader.base().as_ptr().cast()) };
            let private = AtomicU32::new(5);
            let ended = wait(&[(shared, 0), (Word::private(&private), 5)], LONG);
            up.store(1, SeqCst);
            i32::from(ended != Wait::Woken)
        });
        // SAFETY: as for `up`.
        wake_until(up, unsafe { Word::shared(writer.base().as_ptr().cast()) });
        assert_eq!(outcome(child), 0);
    }
}

#[test]
fn a_signal_ends_the_sleep() {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};

    extern "C" fn nothing(_signal: i32) {}
    let word = AtomicU32::new(0);
    let segment = Segment::create(&segment_name(SegmentKind::Bulk), LEN).expect("create");
    let shared = Mapping::read_write(segment.fd(), LEN, Options::default()).expect("map");
    // SAFETY: page-aligned, mapped while `shared` lives, and only accessed atomically.
    let done = unsafe { AtomicU32::from_ptr(shared.base().as_ptr().cast()) };
    let child = spawn_child(|| {
        let action =
            SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing, and the child has no other.
        unsafe { sigaction(Signal::SIGUSR1, &action) }.expect("sigaction");
        done.store(1, SeqCst);
        let ended = wait(&[(Word::private(&word), 0)], LONG);
        done.store(2, SeqCst);
        i32::from(ended != Wait::Interrupted)
    });
    let start = Instant::now();
    while done.load(SeqCst) != 2 && start.elapsed() < LONG {
        if done.load(SeqCst) == 1 {
            kill(child, Signal::SIGUSR1).expect("our own child, not yet waited for");
        }
        std::thread::yield_now();
    }
    assert_eq!(outcome(child), 0);
}
