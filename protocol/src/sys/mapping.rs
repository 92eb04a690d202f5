//! A received descriptor in the client's memory.
//!
//! Invariants: the mapping is exactly as long as the file was when it was mapped; it is unmapped
//! once, and never by a forked child, whose own mapping may lie at that address by then (the hole
//! that DONTFORK leaves is reused: measured). No slice or reference into it is ever made here.
//! What it does not do: survive a truncation by the writer (the daemon's side does that, see
//! [`super::window`]; clients trust the daemon), or bounds-check accesses (that is the region's).
#![allow(unsafe_code)]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use memmap2::{Advice, MmapOptions, MmapRaw};
use nix::libc;
use nix::sys::stat::fstat;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::fork::ForkStamp;

/// Why a descriptor was not mapped.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The file has another size than the daemon said.
    #[error("the segment has {found} bytes, {expected} were announced; is it the same version?")]
    Size {
        /// Bytes found.
        found: i64,
        /// Bytes expected.
        expected: usize,
    },
    /// A descriptor, but of no shared memory: mapping a file elsewhere could hang or fault.
    #[error("the descriptor is no shared memory (file type {kind:#o}, file system {magic:#x})")]
    NotSharedMemory {
        /// The S_IFMT bits.
        kind: u32,
        /// The file system's magic number.
        magic: i64,
    },
    /// A system call failed.
    #[error("{call} for {len} bytes failed: {source}")]
    Os {
        /// The call.
        call: &'static str,
        /// The bytes to be mapped.
        len: usize,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What may be chosen about a mapping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Not to be in a forked child's memory: for rings and `up`. Reply memory stays in it, so
    /// that a numpy view in a child does not fault.
    pub dont_fork: bool,
    /// Page tables filled now, not at the first touch. Best effort (Linux 5.14).
    pub populate: bool,
}

/// Checks that a received descriptor is a regular tmpfs file of exactly `len` bytes.
///
/// # Errors
/// [`MapError`] says what it is instead.
pub fn check_received(fd: BorrowedFd<'_>, len: usize) -> Result<(), MapError> {
    let os =
        |call| move |errno: nix::errno::Errno| MapError::Os { call, len, source: errno.into() };
    let stat = fstat(fd).map_err(os("fstat"))?;
    let magic = fstatfs(fd).map_err(os("fstatfs"))?.filesystem_type();
    let kind = stat.st_mode & libc::S_IFMT;
    if kind != libc::S_IFREG || magic != TMPFS_MAGIC {
        return Err(MapError::NotSharedMemory { kind, magic: magic.0 });
    }
    if usize::try_from(stat.st_size) != Ok(len) {
        return Err(MapError::Size { found: stat.st_size, expected: len });
    }
    Ok(())
}

/// One segment, mapped whole and shared.
#[derive(Debug)]
pub struct Mapping {
    // The kernel keeps the file alive by the mapping; the descriptor may be closed.
    map: ManuallyDrop<MmapRaw>,
    base: NonNull<u8>,
    len: usize,
    stamp: ForkStamp,
}

// `MmapRaw` is Send and Sync, so the raw pointer beside it changes nothing:
// SAFETY: the pointer is only handed out; whoever reads through it answers for the accesses.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` changes nothing.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a segment that this process may write.
    ///
    /// # Errors
    /// [`MapError`], also if `fd` may only read.
    pub fn read_write(fd: BorrowedFd<'_>, len: usize, options: Options) -> Result<Self, MapError> {
        check_received(fd, len)?;
        let mapped = MmapOptions::new().len(len).map_raw(&fd);
        Self::new(mapped, len, options, Advice::PopulateWrite)
    }

    /// Maps a segment that this process reads.
    ///
    /// # Errors
    /// [`MapError`].
    pub fn read_only(fd: BorrowedFd<'_>, len: usize, options: Options) -> Result<Self, MapError> {
        check_received(fd, len)?;
        let mapped = MmapOptions::new().len(len).map_raw_read_only(&fd);
        Self::new(mapped, len, options, Advice::PopulateRead)
    }

    fn new(
        mapped: io::Result<MmapRaw>,
        len: usize,
        options: Options,
        populate: Advice,
    ) -> Result<Self, MapError> {
        let os = |call| move |source| MapError::Os { call, len, source };
        let map = mapped.map_err(os("mmap"))?;
        if options.dont_fork {
            map.advise(Advice::DontFork).map_err(os("madvise(MADV_DONTFORK)"))?;
        }
        if options.populate {
            // The pages exist (posix_fallocate); without this the first touches are slower.
            let _best_effort = map.advise(populate);
        }
        let null = || MapError::Os { call: "mmap", len, source: io::ErrorKind::Other.into() };
        let base = NonNull::new(map.as_mut_ptr()).ok_or_else(null)?;
        Ok(Self { map: ManuallyDrop::new(map), base, len, stamp: ForkStamp::now() })
    }

    /// Its first byte. Valid for [`Self::len`] bytes as long as this value lives and
    /// [`Self::in_forked_child`] is false.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Its size in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no segment is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether this process is a forked child of the one that mapped it.
    #[inline]
    #[must_use]
    pub fn in_forked_child(&self) -> bool {
        self.stamp.is_child()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if !self.stamp.is_child() {
            // SAFETY: dropped here only, once, and `base` is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.map) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;
    use crate::names::SegmentKind;
    use crate::sys::segment::Segment;
    use crate::sys::testing::{in_child, segment_name};

    const LEN: usize = 8192;
    const PLAIN: Options = Options { dont_fork: false, populate: false };
    const FULL: Options = Options { dont_fork: true, populate: true };

    fn segment() -> Segment {
        Segment::create(&segment_name(SegmentKind::Up), LEN).expect("create")
    }

    fn word(mapping: &Mapping) -> &AtomicU32 {
        // SAFETY: page-aligned, mapped as long as the borrow, and only accessed atomically.
        unsafe { AtomicU32::from_ptr(mapping.base().as_ptr().cast()) }
    }

    #[test]
    fn both_mappings_show_the_same_memory() {
        let segment = segment();
        let reader_fd = segment.reopen_read_only().expect("reopen");
        for options in [PLAIN, FULL] {
            let writer = Mapping::read_write(segment.fd(), LEN, options).expect("writer");
            let reader = Mapping::read_only(reader_fd.as_fd(), LEN, options).expect("reader");
            assert_eq!((writer.len(), reader.len()), (LEN, LEN));
            word(&writer).fetch_add(7, Relaxed);
            assert_eq!(word(&reader).load(Relaxed), word(&writer).load(Relaxed));
        }
    }

    #[test]
    fn what_is_not_a_whole_segment_is_refused() {
        let segment = segment();
        for len in [0, LEN - 1, LEN + 1] {
            let refused = Mapping::read_only(segment.fd(), len, PLAIN);
            assert!(matches!(refused, Err(MapError::Size { .. })), "{refused:?}");
        }
        let pipe = nix::unistd::pipe().expect("pipe").0;
        let proc = std::fs::File::open("/proc/self/status").expect("proc");
        for fd in [pipe.as_fd(), proc.as_fd()] {
            let refused = Mapping::read_only(fd, LEN, PLAIN);
            assert!(matches!(refused, Err(MapError::NotSharedMemory { .. })), "{refused:?}");
        }
        let reader = segment.reopen_read_only().expect("reopen");
        let refused = Mapping::read_write(reader.as_fd(), LEN, PLAIN);
        assert!(matches!(refused, Err(MapError::Os { .. })), "{refused:?}");
    }

    #[test]
    fn a_childs_own_mapping_in_the_hole_survives_our_drop() {
        let segment = segment();
        let mapping = Mapping::read_write(segment.fd(), LEN, FULL).expect("map");
        let copy = std::cell::Cell::new(Some(mapping));
        let verdict = in_child(|| {
            let Some(mapping) = copy.take() else { return 1 };
            let at = mapping.base().as_ptr().cast();
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            // SAFETY: NOREPLACE takes free memory only, and fails if DONTFORK left no hole.
            if unsafe { libc::mmap(at, LEN, protection, flags, -1, 0) } != at {
                return 2;
            }
            word(&mapping).store(9, Relaxed);
            let kept = word(&mapping).as_ptr();
            if !mapping.in_forked_child() {
                return 3;
            }
            drop(mapping);
            // SAFETY: the child's own mapping above, which it never unmapped.
            let value = unsafe { AtomicU32::from_ptr(kept) }.load(Relaxed);
            i32::from(value != 9)
        });
        assert_eq!(verdict, 0);
    }

    #[test]
    fn a_drop_unmaps_in_the_process_that_mapped() {
        let segment = segment();
        let mapping = Mapping::read_only(segment.fd(), LEN, PLAIN).expect("map");
        // In a child of its own, so that no other thread can map into the hole meanwhile; but
        // mapped there too, because a child does not unmap what its parent mapped.
        let verdict = in_child(|| {
            let own = Mapping::read_only(segment.fd(), LEN, PLAIN).expect("map");
            let at = own.base().as_ptr().cast();
            drop(own);
            // SAFETY: msync only asks whether the range is mapped.
            let unmapped = unsafe { libc::msync(at, LEN, libc::MS_ASYNC) } != 0;
            i32::from(!unmapped)
        });
        assert_eq!(verdict, 0);
        drop(mapping);
    }
}
