//! [`copy_once`]: bytes from or to memory that a peer may write meanwhile, each of them read once.
//!
//! On x86-64 the copy is made of `asm!` blocks, which the compiler must treat as reading and writing all
//! memory: nothing is cached across them or read again. Processors that say that `rep movsb` is fast
//! (ERMS: Intel's since 2013, AMD's since Zen 3) do it with that, as fast as the C library's `memcpy`; on others
//! it is slow to begin and takes twice the time for megabytes, so vectors of SSE2 move a cache line at a
//! time, from [`PAST_CACHES`] on with stores that do not read the target first.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::asm;

/// A block of this size leaves nothing of itself in the caches by the time that it is read on the other
/// side. (Zen and Zen 2 have 8 or 16 MiB of L3 for four cores; the C library's bound is 3/4 of that.
/// Measured with 8 MiB, two copies one after the other and a look at each line: equal at 2 MiB.)
#[cfg(target_arch = "x86_64")]
const PAST_CACHES: usize = 2 << 20;
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;
/// Blocks of less are moved in words: they were just written in words, and a load of two waits until both
/// stores have left the core. (Measured: 6 % of an echo of 64 bytes.)
#[cfg(target_arch = "x86_64")]
const FEW_LINES: usize = 4 * LINE;

/// Copies `len` bytes, reading each source byte exactly once as far as the compiler knows.
///
/// # Safety
/// `from` is readable and `to` writable for `len` bytes, and they do not overlap.
#[inline]
pub(super) unsafe fn copy_once(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise is the same.
    unsafe {
        if std::arch::is_x86_feature_detected!("ermsb") {
            by_string(from, to, len);
        } else {
            by_lines(from, to, len);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the caller's promise is the same.
    unsafe {
        by_bytes(from, to, len);
    }
}

/// # Safety
/// As [`copy_once`].
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn by_string(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise. `rep movsb` moves `rcx` bytes upwards (the direction flag is clear on
    // entry, Rust reference "Inline assembly").
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags)
        );
    }
}

/// Moves a line by loads of 16 bytes and by `$store`s of as many.
#[cfg(target_arch = "x86_64")]
macro_rules! move_line {
    ($store:literal, $from:expr, $to:expr) => {
        asm!(
            "movdqu {a}, [{from}]",
            "movdqu {b}, [{from} + 16]",
            "movdqu {c}, [{from} + 32]",
            "movdqu {d}, [{from} + 48]",
            concat!($store, " [{to}], {a}"),
            concat!($store, " [{to} + 16], {b}"),
            concat!($store, " [{to} + 32], {c}"),
            concat!($store, " [{to} + 48], {d}"),
            from = in(reg) $from,
            to = in(reg) $to,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack, preserves_flags)
        )
    };
}

/// # Safety
/// As [`copy_once`].
#[cfg(target_arch = "x86_64")]
unsafe fn by_lines(from: *const u8, to: *mut u8, len: usize) {
    let mut at = 0;
    // SAFETY: `at` grows by what was moved and stays within `len`, so each step is within the caller's
    // promise; `by_string` and the loop have brought `to` to a line's beginning before the first of the
    // stores that need one; a prefetch touches nothing that a program can see. `sfence` orders those stores,
    // which pass others, before whatever store publishes them (AMD64 manual, volume 2, "Memory ordering").
    // Only the manual asks for it: no test turned red without it, for whole lines leave at once.
    unsafe {
        if len >= PAST_CACHES {
            at = to.align_offset(LINE).min(LINE);
            by_string(from, to, at);
            while len - at >= LINE {
                asm!("prefetcht0 [{} + 512]", in(reg) from.add(at), options(nostack, preserves_flags));
                move_line!("movntdq", from.add(at), to.add(at));
                at += LINE;
            }
            asm!("sfence", options(nostack, preserves_flags));
        }
        while len >= FEW_LINES && len - at >= LINE {
            move_line!("movdqu", from.add(at), to.add(at));
            at += LINE;
        }
        while len - at >= 8 {
            asm!(
                "mov {word}, [{from}]",
                "mov [{to}], {word}",
                word = out(reg) _,
                from = in(reg) from.add(at),
                to = in(reg) to.add(at),
                options(nostack, preserves_flags)
            );
            at += 8;
        }
        by_bytes(from.add(at), to.add(at), len - at);
    }
}

/// # Safety
/// As [`copy_once`].
#[inline]
unsafe fn by_bytes(from: *const u8, to: *mut u8, len: usize) {
    for index in 0..len {
        // SAFETY: the caller's promise, byte by byte; volatile so that nothing is read twice.
        unsafe { to.add(index).write_volatile(from.add(index).read_volatile()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Way = unsafe fn(*const u8, *mut u8, usize);

    fn ways() -> Vec<Way> {
        let mut ways: Vec<Way> = vec![copy_once, by_bytes];
        #[cfg(target_arch = "x86_64")]
        ways.extend([by_string as Way, by_lines]);
        ways
    }

    fn copies(way: Way, len: usize, from_at: usize, to_at: usize) {
        let from: Vec<u8> = (0..from_at + len).map(|at| (at % 251) as u8 + 1).collect();
        let mut to = vec![0; to_at + len + 64];
        // SAFETY: both vectors hold `len` bytes from there on.
        unsafe { way(from[from_at..].as_ptr(), to[to_at..].as_mut_ptr(), len) };
        assert_eq!(to[to_at..to_at + len], from[from_at..], "{len} bytes, {from_at} to {to_at}");
        let around = to[..to_at].iter().chain(&to[to_at + len..]);
        assert!(around.copied().all(|byte| byte == 0), "{len} bytes, {from_at} to {to_at}");
    }

    #[test]
    fn every_way_moves_what_it_is_asked_to_and_no_byte_more() {
        for way in ways() {
            for len in (0..200).chain([1000, 4096 + 7]) {
                for (from, to) in [(0, 0), (1, 0), (0, 3), (5, 8), (16, 63)] {
                    copies(way, len, from, to);
                }
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn large_blocks_past_the_caches_too() {
        for len in [PAST_CACHES - 1, PAST_CACHES, PAST_CACHES + 1, PAST_CACHES + 127] {
            for (from, to) in [(0, 0), (3, 1), (0, 63), (8, 16)] {
                copies(by_lines, len, from, to);
            }
        }
    }
}
