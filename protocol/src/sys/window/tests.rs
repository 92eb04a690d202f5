//! Tests of windows and their table, by calling `absorb` directly. That a real SIGBUS ends up
//! there is tested with the daemon's handler.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::*;
use crate::names::SegmentKind;
use crate::sys::segment::Segment;
use crate::sys::testing::{in_child, segment_name};

const LEN: usize = 3 * PAGE_BYTES + 100;
/// What one such segment takes of a reserve.
const TAKEN: usize = 4 * PAGE_BYTES + PAGE_BYTES;

fn segment() -> Segment {
    Segment::create(&segment_name(SegmentKind::Up), LEN).expect("create")
}

fn window(reserve: &Reserve, segment: &Segment, access: Access) -> Window {
    reserve.map(segment.fd(), segment.len(), access).expect("map")
}

fn word(window: &Window, page: usize) -> &AtomicU64 {
    // SAFETY: aligned, inside the window, and only accessed atomically.
    unsafe { AtomicU64::from_ptr(window.base().as_ptr().add(page * PAGE_BYTES).cast()) }
}

/// Whether the kernel can read a byte there.
fn readable(address: usize) -> bool {
    let (_reader, writer) = nix::unistd::pipe().expect("pipe");
    // SAFETY: the kernel checks the address, and says EFAULT.
    let written = unsafe { libc::syscall(libc::SYS_write, writer.as_raw_fd(), address, 1) };
    written == 1
}

#[test]
fn a_window_is_closed_by_its_drop_and_used_again() {
    let reserve = Reserve::new(2 * TAKEN).expect("reserve");
    let segment = segment();
    let first = window(&reserve, &segment, Access::ReadWrite);
    let second = window(&reserve, &segment, Access::ReadOnly);
    assert_eq!((first.len(), second.access()), (LEN, Access::ReadOnly));
    first.populate();
    second.populate();
    word(&first, 2).store(7, Relaxed);
    assert_eq!(word(&second, 2).load(Relaxed), 7);
    let at = second.base().as_ptr().addr();
    assert_eq!(at - first.base().as_ptr().addr(), TAKEN);
    assert!(readable(at) && !readable(at - 1), "a guard page lies before the second");

    let full = reserve.map(segment.fd(), LEN, Access::ReadOnly);
    assert!(matches!(full, Err(WindowError::Full { wanted: TAKEN, .. })), "{full:?}");
    drop(second);
    assert!(!readable(at));
    assert!(!absorb(at), "its entry is gone");
    assert_eq!(window(&reserve, &segment, Access::ReadOnly).base().as_ptr().addr(), at);
}

#[test]
fn a_segment_of_another_size_gets_no_window() {
    let reserve = Reserve::new(TAKEN).expect("reserve");
    let segment = segment();
    for len in [0, LEN - 1, LEN + PAGE_BYTES] {
        let refused = reserve.map(segment.fd(), len, Access::ReadOnly);
        assert!(matches!(refused, Err(WindowError::Map(MapError::Size { .. }))), "{refused:?}");
    }
    let reader = segment.reopen_read_only().expect("reopen");
    let refused = reserve.map(std::os::fd::AsFd::as_fd(&reader), LEN, Access::ReadWrite);
    assert!(matches!(refused, Err(WindowError::Os { .. })), "{refused:?}");
}

#[test]
fn absorbing_kills_one_segment_and_no_neighbour() {
    let reserve = Reserve::new(3 * TAKEN).expect("reserve");
    let segments = [segment(), segment(), segment()];
    let windows = segments.each_ref().map(|one| window(&reserve, one, Access::ReadWrite));
    for window in &windows {
        word(window, 0).store(1, Relaxed);
        word(window, 3).store(1, Relaxed);
    }
    let middle = windows[1].base().as_ptr().addr();
    // The guard pages and the ends of the neighbours are not in it.
    assert!(!absorb(middle - 1) && !absorb(middle + 4 * PAGE_BYTES) && !absorb(0));
    assert!(absorb(middle + 4 * PAGE_BYTES - 1));
    assert_eq!(windows.each_ref().map(Window::dead), [false, true, false]);
    for (window, expected) in windows.iter().zip([1, 0, 1]) {
        assert_eq!([0, 3].map(|page| word(window, page).load(Relaxed)), [expected; 2]);
    }
    // The next tenant of the same place begins alive, with its own bytes.
    let [_, dead, _] = windows;
    drop(dead);
    let next = window(&reserve, &segments[1], Access::ReadOnly);
    assert_eq!((next.base().as_ptr().addr(), next.dead()), (middle, false));
    assert_eq!(word(&next, 3).load(Relaxed), 1);
}

#[test]
fn a_child_has_no_windows_but_its_own() {
    let reserve = Reserve::new(2 * TAKEN).expect("reserve");
    let segment = segment();
    let parents = Cell::new(Some(window(&reserve, &segment, Access::ReadWrite)));
    let verdict = in_child(|| {
        let Some(inherited) = parents.take() else { return 1 };
        let at = inherited.base().as_ptr();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: NOREPLACE takes free memory only, and fails if DONTFORK left no hole.
        let hole = unsafe { libc::mmap(at.cast(), PAGE_BYTES, protection, flags, -1, 0) };
        if hole != at.cast() {
            return 2;
        }
        let own_word = word(&inherited, 0);
        own_word.store(9, Relaxed);
        if absorb(at.addr()) || own_word.load(Relaxed) != 9 {
            return 3;
        }
        // A window of the child's own is absorbed as everywhere.
        let own = window(&reserve, &segment, Access::ReadOnly);
        if !absorb(own.base().as_ptr().addr()) || !own.dead() {
            return 4;
        }
        drop(own);
        drop(inherited);
        i32::from(!readable(at.addr()))
    });
    assert_eq!(verdict, 0);
    assert!(parents.take().is_some_and(|window| !window.dead()));
}

#[test]
fn threads_that_map_and_unmap_never_share_a_window() {
    let reserve = Reserve::new(4 * TAKEN).expect("reserve");
    std::thread::scope(|scope| {
        for thread in 1..=4_u64 {
            let reserve = &reserve;
            scope.spawn(move || {
                let segment = segment();
                for _ in 0..200 {
                    let window = window(reserve, &segment, Access::ReadWrite);
                    word(&window, 1).store(thread, Relaxed);
                    assert_eq!(word(&window, 1).load(Relaxed), thread);
                    assert!(!window.dead());
                }
            });
        }
    });
}
