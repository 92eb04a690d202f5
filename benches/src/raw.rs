//! The only unsafe code of the benchmarks: the time stamp counter, cache lines in shared memory,
//! raw_sync objects placed in such lines, the kernel's futex, and a look at memory under a lease.
//!
//! Invariants: a segment is made of whole zeroed lines, every byte of which is seen as an atomic
//! or belongs to one raw_sync object; an object keeps its segment mapped. Nothing here validates
//! what the other process writes: both halves are ours.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use raw_sync::Timeout;
use raw_sync::events::{BusyEvent, Event, EventImpl, EventInit, EventState};
use raw_sync::locks::{LockGuard, LockImpl, LockInit, Mutex};
use shared_memory::{Shmem, ShmemConf};

use crate::BenchError;

/// Bytes of a cache line on every x86_64 there is.
pub const LINE_BYTES: usize = 64;
/// Lines set aside for one raw_sync object: an `Event` takes 96 bytes, and no two objects may
/// share a line.
pub const OBJECT_LINES: usize = 4;
/// Words of payload in an echo of 24 bytes.
pub const PAYLOAD_WORDS: usize = 3;

/// Reads the time stamp counter; unordered on purpose, see `clock`.
#[inline(always)]
#[must_use]
pub fn ticks() -> u64 {
    // SAFETY: RDTSC exists on every x86_64 processor and touches no memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// One cache line that two processes share: a sequence number and words of payload.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Line {
    /// Written last with Release, read first with Acquire: it publishes the words.
    pub seq: AtomicU64,
    /// The payload; the partner of every Relaxed access here is `seq`.
    pub words: [AtomicU64; 7],
}

const _: () = assert!(size_of::<Line>() == LINE_BYTES);

impl Line {
    /// Writes an echo's payload, then publishes it as `seq`.
    #[inline(always)]
    pub fn publish(&self, seq: u64, payload: [u64; PAYLOAD_WORDS]) {
        self.store(payload);
        self.seq.store(seq, Ordering::Release);
    }

    /// The payload without a word about whether it is published.
    #[inline(always)]
    #[must_use]
    pub fn load(&self) -> [u64; PAYLOAD_WORDS] {
        std::array::from_fn(|word| self.words[word].load(Ordering::Relaxed))
    }

    /// Writes the payload without publishing it.
    #[inline(always)]
    pub fn store(&self, payload: [u64; PAYLOAD_WORDS]) {
        for (word, value) in self.words.iter().zip(payload) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

/// Sleeps in the kernel until somebody wakes `word`, unless its lower half is not `seen` any more. May
/// return for no reason.
pub fn futex_wait(word: &AtomicU64, seen: u64) -> Result<(), BenchError> {
    match futex(word, nix::libc::FUTEX_WAIT, seen as u32) {
        Ok(()) | Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(()),
        Err(source) => Err(BenchError::Os { what: "FUTEX_WAIT", source }),
    }
}

/// Wakes one that sleeps in [`futex_wait`], in whatever process.
pub fn futex_wake(word: &AtomicU64) -> Result<(), BenchError> {
    futex(word, nix::libc::FUTEX_WAKE, 1)
        .map_err(|source| BenchError::Os { what: "FUTEX_WAKE", source })
}

fn futex(word: &AtomicU64, operation: i32, value: u32) -> Result<(), nix::Error> {
    // The lower half, which is what counts up, comes first in memory.
    let half = word.as_ptr().cast::<u32>();
    // SAFETY: `half` is aligned and stays valid while `word` is borrowed; the kernel only compares it,
    // atomically; neither operation follows another pointer but the time-out, which is null: none.
    let done = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_futex,
            half,
            operation,
            value,
            std::ptr::null::<nix::libc::timespec>(),
        )
    };
    nix::errno::Errno::result(done).map(drop)
}

/// The first and the last byte of a reply, looked at where they lie; 0 if it is empty.
#[must_use]
pub fn ends(reply: &ringfence::Reply) -> (u8, u8) {
    if reply.is_empty() {
        return (0, 0);
    }
    let first = reply.as_ptr();
    // SAFETY: `as_ptr` leads to `len` mapped bytes as long as the reply is there, and it is borrowed here.
    // Under a lease they are the daemon's, which may write them: they are read as volatile bytes.
    unsafe { (first.read_volatile(), first.add(reply.len() - 1).read_volatile()) }
}

/// A named segment of cache lines, by shared_memory.
pub struct Segment {
    shmem: Shmem,
    // True while we made the name and nobody has removed it.
    named: Cell<bool>,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Segment {
    /// Makes a segment with a random name. Its name goes with `unlink` or with this value.
    pub fn create(lines: usize) -> Result<Self, BenchError> {
        let conf = ShmemConf::new().size(lines * LINE_BYTES);
        let mut shmem = conf
            .create()
            .map_err(|source| BenchError::Segment { name: String::from("(new)"), source })?;
        // The name is ours to remove, and earlier than Shmem would.
        shmem.set_owner(false);
        Ok(Self { shmem, named: Cell::new(true) })
    }

    /// Opens a segment that another process made.
    pub fn open(name: &str) -> Result<Self, BenchError> {
        let shmem = ShmemConf::new()
            .os_id(name)
            .open()
            .map_err(|source| BenchError::Segment { name: String::from(name), source })?;
        Ok(Self { shmem, named: Cell::new(false) })
    }

    /// The name to open it by.
    #[must_use]
    pub fn name(&self) -> &str {
        self.shmem.get_os_id()
    }

    /// Removes the name; both mappings stay. Called once the peer has opened it, so that not even
    /// SIGKILL leaves anything behind.
    pub fn unlink(&self) -> Result<(), BenchError> {
        if !self.named.replace(false) {
            return Ok(());
        }
        nix::sys::mman::shm_unlink(self.name())
            .map_err(|source| BenchError::Os { what: "shm_unlink", source })
    }

    /// All lines of the segment.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        let count = self.shmem.len() / LINE_BYTES;
        // SAFETY: the mapping is page-aligned, so aligned for Line; it is `count` whole lines long
        // and stays mapped as long as `self`; Line consists of atomics only, for which any bit
        // pattern is valid and which another process may change through its own mapping.
        unsafe { std::slice::from_raw_parts(self.shmem.as_ptr().cast::<Line>(), count) }
    }

    fn object_at(&self, line: usize) -> Result<*mut u8, BenchError> {
        let lines = self.lines().len();
        if line + OBJECT_LINES > lines {
            return Err(BenchError::SegmentBounds { line, span: OBJECT_LINES, lines });
        }
        // SAFETY: the check above keeps the offset inside the mapping.
        Ok(unsafe { self.shmem.as_ptr().add(line * LINE_BYTES) })
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // Somebody else may have removed it; then it is gone, which is what we want.
        let _ = self.unlink();
    }
}

/// Which half of a raw_sync object we are: the one that initialises it, or the one that finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Initialises the object; once, before the peer opens the segment.
    Maker,
    /// Uses an object that is initialised already.
    Opener,
}

/// Which of raw_sync's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// `BusyEvent`, manual reset: spins on a byte.
    Busy,
    /// `Event`, automatic reset: a pthread mutex and a condition variable.
    Blocking,
}

/// A raw_sync event in lines of a segment.
pub struct RawEvent {
    event: Box<dyn EventImpl>,
    manual: bool,
    // The event points into it.
    _segment: Rc<Segment>,
}

impl std::fmt::Debug for RawEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawEvent").field("manual", &self.manual).finish_non_exhaustive()
    }
}

impl RawEvent {
    /// Places the event at `line`, which with the next ones belongs to it alone.
    pub fn at(
        segment: &Rc<Segment>,
        line: usize,
        flavour: Flavour,
        role: Role,
    ) -> Result<Self, BenchError> {
        let memory = segment.object_at(line)?;
        // SAFETY: `memory` is aligned to a line and has OBJECT_LINES lines, more than either event
        // takes; the segment outlives the event, which holds it. A Maker runs before there is a
        // peer; an Opener finds what the Maker of the same flavour left.
        let made = unsafe {
            match (flavour, role) {
                (Flavour::Busy, Role::Maker) => BusyEvent::new(memory, false),
                (Flavour::Busy, Role::Opener) => BusyEvent::from_existing(memory),
                (Flavour::Blocking, Role::Maker) => Event::new(memory, true),
                (Flavour::Blocking, Role::Opener) => Event::from_existing(memory),
            }
        };
        let (event, _bytes) = made.map_err(raw_sync_error)?;
        Ok(Self { event, manual: flavour == Flavour::Busy, _segment: Rc::clone(segment) })
    }

    /// Signals the other side.
    #[inline]
    pub fn set(&self) -> Result<(), BenchError> {
        // BusyEvent stores with Relaxed: the payload has to be published by a fence. Partner: wait.
        std::sync::atomic::fence(Ordering::Release);
        self.event.set(EventState::Signaled).map_err(raw_sync_error)
    }

    /// Waits for the other side's signal, and takes it. Without a timeout: raw_sync's are broken.
    #[inline]
    pub fn wait(&self) -> Result<(), BenchError> {
        self.event.wait(Timeout::Infinite).map_err(raw_sync_error)?;
        if self.manual {
            self.event.set(EventState::Clear).map_err(raw_sync_error)?;
        }
        // Partner: the fence in set.
        std::sync::atomic::fence(Ordering::Acquire);
        Ok(())
    }
}

/// A raw_sync mutex in lines of a segment.
pub struct RawLock {
    lock: Box<dyn LockImpl>,
    // The lock points into it.
    _segment: Rc<Segment>,
}

impl std::fmt::Debug for RawLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawLock").finish_non_exhaustive()
    }
}

impl RawLock {
    /// Places the mutex at `line`. A blocking `RawEvent` begins with such a mutex, so an Opener
    /// may also name the line of one.
    pub fn at(segment: &Rc<Segment>, line: usize, role: Role) -> Result<Self, BenchError> {
        let memory = segment.object_at(line)?;
        // SAFETY: `memory` is aligned to a line and has OBJECT_LINES lines, more than a mutex
        // takes; the mutex guards no data, so its data pointer is the memory itself and never
        // followed; the segment outlives the mutex, which holds it.
        let made = unsafe {
            match role {
                Role::Maker => Mutex::new(memory, memory),
                Role::Opener => Mutex::from_existing(memory, memory),
            }
        };
        let (lock, _bytes) = made.map_err(raw_sync_error)?;
        Ok(Self { lock, _segment: Rc::clone(segment) })
    }

    /// Waits for the mutex; for ever, if its holder was killed.
    pub fn lock(&self) -> Result<LockGuard<'_>, BenchError> {
        self.lock.lock().map_err(raw_sync_error)
    }
}

fn raw_sync_error(error: Box<dyn std::error::Error>) -> BenchError {
    BenchError::RawSync(error.to_string())
}
