//! Sleeping on words, several at once, private ones and ones in shared memory.
//!
//! Invariants: a sleep always ends at its timeout; shared words are waited for and woken without
//! the PRIVATE flag (another process has another address for them), also through a read-only
//! mapping; a kernel without `futex_waitv` (before 5.16, or a seccomp filter) costs at most 1 ms
//! of latency per wake-up, never a hang.
//! What it does not do: decide when to sleep, or fence. Both are `wait.rs`'s.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::null;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;

/// The kernel's limit for one sleep (FUTEX_WAITV_MAX). Words beyond it are looked at every slice.
pub const MAX_WORDS: usize = 128;

/// How long a kernel that watches only one word sleeps before all words are looked at again.
const SLICE: Duration = Duration::from_millis(1);

/// linux/futex.h: a 32-bit word.
const FUTEX2_SIZE_U32: u32 = 2;
/// linux/futex.h: a word of this process alone.
const FUTEX2_PRIVATE: u32 = 128;

/// Learnt from the first ENOSYS; the kernel does not change under a process.
static NO_WAITV: AtomicBool = AtomicBool::new(false);

/// `struct futex_waitv` of linux/futex.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct WaitV {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// A word that can be slept on.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a> {
    pointer: *const u32,
    shared: bool,
    owner: PhantomData<&'a AtomicU32>,
}

// SAFETY: the pointer is valid for 'a on any thread of this process (see the two constructors),
// and is only loaded from atomically or handed to the kernel.
unsafe impl Send for Word<'_> {}
// SAFETY: as above; `&Word` allows nothing that `Word` (Copy) does not.
unsafe impl Sync for Word<'_> {}

impl<'a> Word<'a> {
    /// A word of this process alone.
    #[must_use]
    pub fn private(word: &'a AtomicU32) -> Self {
        Self { pointer: word.as_ptr(), shared: false, owner: PhantomData }
    }

    /// A word in memory shared with other processes; a read-only mapping will do.
    ///
    /// # Safety
    /// `pointer` is aligned to 4 and stays mapped for `'a`, and everybody accesses it atomically.
    #[must_use]
    pub unsafe fn shared(pointer: *const u32) -> Self {
        Self { pointer, shared: true, owner: PhantomData }
    }

    fn load(self) -> u32 {
        // SAFETY: valid and aligned for 'a. No reference to non-atomic memory arises, and Rust
        // allows Relaxed loads of this size from read-only memory.
        unsafe { AtomicU32::from_ptr(self.pointer.cast_mut()) }.load(Relaxed)
    }

    fn waitv(self, value: u32) -> WaitV {
        let scope = if self.shared { 0 } else { FUTEX2_PRIVATE };
        let address = self.pointer.addr() as u64;
        WaitV { value: u64::from(value), address, flags: FUTEX2_SIZE_U32 | scope, reserved: 0 }
    }

    fn plain_operation(self, operation: i32) -> i32 {
        if self.shared { operation } else { operation | libc::FUTEX_PRIVATE_FLAG }
    }
}

/// Why a sleep ended. Every one of them means: look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Somebody woke one of the words.
    Woken,
    /// A word had another value already, so there was no sleep.
    Changed,
    /// The timeout passed.
    TimedOut,
    /// A signal came: let the caller's signal handlers (Python's) run.
    Interrupted,
}

/// Sleeps while every word has its expected value, until a wake, a signal or the timeout.
/// [`Wait::Woken`] may be spurious.
#[must_use]
pub fn wait(words: &[(Word<'_>, u32)], timeout: Duration) -> Wait {
    if words.len() > MAX_WORDS || NO_WAITV.load(Relaxed) {
        return wait_in_slices(words, timeout);
    }
    match waitv(words, timeout) {
        Ok(()) => Wait::Woken,
        Err(Errno::EAGAIN) => Wait::Changed,
        Err(Errno::ETIMEDOUT) => Wait::TimedOut,
        Err(Errno::EINTR) => Wait::Interrupted,
        // EPERM is what older seccomp filters say to system calls that they do not know.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            NO_WAITV.store(true, Relaxed);
            wait_in_slices(words, timeout)
        }
        // EINVAL for no words; ENOMEM; EFAULT if a mapping lost its pages. Never spin on it.
        Err(_) => {
            std::thread::sleep(SLICE.min(timeout));
            if timeout <= SLICE { Wait::TimedOut } else { Wait::Interrupted }
        }
    }
}

/// Wakes up to `count` sleepers on `word`, in every process that maps it; says how many.
pub fn wake(word: Word<'_>, count: u32) -> u32 {
    let operation = word.plain_operation(libc::FUTEX_WAKE);
    let count = count.min(i32::MAX as u32);
    // SAFETY: the kernel only uses the address as a key; it reads or writes nothing there.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.pointer, operation, count) };
    u32::try_from(woken).unwrap_or(0)
}

fn waitv(words: &[(Word<'_>, u32)], timeout: Duration) -> Result<(), Errno> {
    let mut table = [const { MaybeUninit::<WaitV>::uninit() }; MAX_WORDS];
    for (entry, (word, value)) in table.iter_mut().zip(words) {
        entry.write(word.waitv(*value));
    }
    // The kernel wants the point in time, on the clock named.
    let deadline = after(timeout);
    let (count, flags) = (words.len() as u32, 0_u32);
    // SAFETY: the first `count` entries are written, `count` is at most MAX_WORDS, the words are
    // valid for the call, and both structures outlive it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            table.as_ptr(),
            count,
            flags,
            &raw const deadline,
            libc::CLOCK_MONOTONIC,
        )
    };
    Errno::result(result).map(drop)
}

/// The point in time `timeout` from now, as far away as the clock reaches.
fn after(timeout: Duration) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live timespec. This clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let mut at = now;
    let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
    at.tv_sec = now.tv_sec.saturating_add(seconds);
    at.tv_nsec += i64::from(timeout.subsec_nanos());
    if at.tv_nsec >= 1_000_000_000 {
        at.tv_nsec -= 1_000_000_000;
        at.tv_sec = at.tv_sec.saturating_add(1);
    }
    at
}

/// The plain futex watches one word; the others are looked at between slices.
fn wait_in_slices(words: &[(Word<'_>, u32)], timeout: Duration) -> Wait {
    let start = Instant::now();
    loop {
        if words.iter().any(|(word, value)| word.load() != *value) {
            return Wait::Changed;
        }
        let left = timeout.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Wait::TimedOut;
        }
        let slice = if words.len() == 1 { left } else { left.min(SLICE) };
        match words.first().map(|&(word, value)| plain_wait(word, value, slice)) {
            Some(Ok(())) => return Wait::Woken,
            Some(Err(Errno::EAGAIN)) => return Wait::Changed,
            Some(Err(Errno::EINTR)) => return Wait::Interrupted,
            Some(Err(Errno::ETIMEDOUT)) => {}
            Some(Err(_)) | None => std::thread::sleep(SLICE.min(left)),
        }
    }
}

fn plain_wait(word: Word<'_>, value: u32, timeout: Duration) -> Result<(), Errno> {
    let operation = word.plain_operation(libc::FUTEX_WAIT);
    let timeout = libc::timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    // SAFETY: the word is valid for the call, which reads it atomically; the timespec outlives
    // the call; the last two arguments are not used by this operation.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.pointer,
            operation,
            value,
            &raw const timeout,
            null::<u32>(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests;
