//! A named shared-memory segment, seen from the process that creates it (the daemon).
//!
//! Invariants: a [`Segment`] is fully allocated before anybody maps it, so a full tmpfs is a
//! refused request and never a SIGBUS; it is 0600, ours, has one link and its exact size; its
//! name is gone when it is dropped, but only by the process that made it, not by a forked child.
//! `shared_memory` creates and unlinks the name. Its own mapping is closed to every access at
//! once: the mapping that is used comes from [`super::window`] or [`super::mapping`].
//! What it does not do: map, or read one byte.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, posix_fallocate};
use nix::libc;
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{FileStat, Mode, fstat, lstat};
use nix::sys::statvfs::statvfs;
use shared_memory::{Shmem, ShmemConf, ShmemError};

use super::fork::ForkStamp;
use crate::disarm::is_armed;
use crate::names::{SHM_DIR, SegmentName};

/// The only permissions a segment or a lock ever has.
pub(super) const MODE: u32 = 0o600;

/// Allocation goes by this many bytes, because tmpfs undoes a whole call when a signal meets it:
/// under a profiler's timer one call for a large segment might never end.
const ALLOCATE_STEP_BYTES: u64 = 32 << 20;

/// What ran out, with the numbers an operator needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `/dev/shm` has too little room.
    Tmpfs {
        /// Bytes free when asked.
        free_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// The process may not make files that large (RLIMIT_FSIZE), which the kernel enforces by a
    /// deadly SIGXFSZ.
    FileSize {
        /// The limit in bytes.
        max_bytes: u64,
    },
    /// The memory of the control group (or the machine) is used up.
    Memory,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tmpfs { free_bytes, total_bytes } => write!(
                f,
                "{SHM_DIR} has {free_bytes} of {total_bytes} bytes free; enlarge it (docker: \
                 --shm-size) or lower the arena sizes or quotas"
            ),
            Self::FileSize { max_bytes } => {
                write!(f, "RLIMIT_FSIZE is {max_bytes} bytes; raise LimitFSIZE or ulimit -f")
            }
            Self::Memory => f.write_str("the memory limit is reached; raise MemoryMax or cgroup"),
        }
    }
}

/// Why a segment could not be made or reopened.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// A segment of no bytes, or of more than a file can have.
    #[error("a segment of {len} bytes cannot exist; ask for 1 to {max}", max = i64::MAX)]
    Length {
        /// The bytes asked for.
        len: usize,
    },
    /// No room: a refused request, never a SIGBUS later.
    #[error("no room for a segment of {len} bytes: {limit}")]
    NoSpace {
        /// The bytes asked for.
        len: usize,
        /// What ran out.
        limit: Limit,
    },
    /// The name is taken, which 128 random bits do not do by chance.
    #[error("{name} exists already; look for another process of this uid that made it")]
    Exists {
        /// The name.
        name: String,
    },
    /// The file behind the name is not the one that was made.
    #[error("{name} is not what was created: {wrong}; its owner must remove it")]
    NotOurs {
        /// The name.
        name: String,
        /// What differs.
        wrong: Wrong,
    },
    /// A system call failed otherwise.
    #[error("{call} on {name} failed: {source}")]
    Os {
        /// The call.
        call: &'static str,
        /// The name.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What fstat said that it must not say, about a file in [`SHM_DIR`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Another user's.
    #[error("it belongs to uid {0}")]
    Owner(u32),
    /// A symbolic link, a fifo, a folder.
    #[error("it is no regular file (type {0:#o})")]
    Type(u32),
    /// Not 0600.
    #[error("its mode is {0:#o}, not {MODE:#o}")]
    Mode(u32),
    /// Linked elsewhere, or unlinked.
    #[error("it has {0} links, not one")]
    Links(u64),
    /// Not the size asked for.
    #[error("it has {found} bytes, not {expected}")]
    Size {
        /// Bytes found.
        found: i64,
        /// Bytes expected.
        expected: u64,
    },
    /// The name leads to another file now.
    #[error("the name leads to another file")]
    Inode,
}

/// Checks all that may be known about a file of ours from its stat; `len` where it is known.
pub(super) fn check_stat(stat: &FileStat, uid: u32, len: Option<u64>) -> Result<(), Wrong> {
    let kind = stat.st_mode & libc::S_IFMT;
    let mode = stat.st_mode & 0o7777;
    // The owner goes first: it is what an operator needs to know about a squatted name.
    if stat.st_uid != uid {
        return Err(Wrong::Owner(stat.st_uid));
    }
    if kind != libc::S_IFREG {
        return Err(Wrong::Type(kind));
    }
    if mode != MODE {
        return Err(Wrong::Mode(mode));
    }
    if stat.st_nlink != 1 {
        return Err(Wrong::Links(stat.st_nlink));
    }
    match len {
        Some(expected) if u64::try_from(stat.st_size) != Ok(expected) => {
            Err(Wrong::Size { found: stat.st_size, expected })
        }
        _ => Ok(()),
    }
}

/// One file's identity.
pub(super) fn inode(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// A segment that this process created, allocated and will unlink.
pub struct Segment {
    guard: ManuallyDrop<Shmem>,
    fd: OwnedFd,
    name: SegmentName,
    len: usize,
    inode: (u64, u64),
    stamp: ForkStamp,
}

// SAFETY: what keeps `Shmem` from being Send is the raw pointer to its mapping. Nobody reads
// through it (it is PROT_NONE); it is used once, by munmap in drop, which any thread may call.
unsafe impl Send for Segment {}
// SAFETY: as above, and through `&Segment` the `Shmem` is not reachable at all.
unsafe impl Sync for Segment {}

impl Segment {
    /// Creates `name`, exclusively, with `len` bytes that are allocated when this returns.
    ///
    /// # Errors
    /// [`SegmentError::NoSpace`] names the limit; the name does not stay behind in any case.
    pub fn create(name: &SegmentName, len: usize) -> Result<Self, SegmentError> {
        if is_armed("segment.allocated") {
            check_room(name, len)?;
        }
        let os_id = os_id(name);
        let conf = ShmemConf::new().os_id(&os_id).size(len);
        let guard = conf.create().map_err(|error| creation_error(name, len, error))?;
        close_mapping(&guard, name)?;
        // An early return drops `guard`, which unlinks the name.
        let fd = shm_open(os_id.as_str(), open_flags(OFlag::O_RDWR), Mode::empty())
            .map_err(|errno| os_error("shm_open", name, errno))?;
        if is_armed("segment.allocated") {
            allocate(fd.as_fd(), len as u64).map_err(|errno| allocation_error(name, len, errno))?;
        }
        let inode = verify(name, fd.as_fd(), len)?;
        let guard = ManuallyDrop::new(guard);
        Ok(Self { guard, fd, name: name.clone(), len, inode, stamp: ForkStamp::now() })
    }

    /// The descriptor that may write. It goes to the writer of this kind of segment only.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A new descriptor that can never write, whatever its receiver does to it (another uid
    /// cannot reopen a 0600 file through /proc either).
    ///
    /// # Errors
    /// [`SegmentError::NotOurs`] if the name leads elsewhere by now.
    pub fn reopen_read_only(&self) -> Result<OwnedFd, SegmentError> {
        let flags = open_flags(OFlag::O_RDONLY);
        let fd = shm_open(os_id(&self.name).as_str(), flags, Mode::empty())
            .map_err(|errno| os_error("shm_open", &self.name, errno))?;
        let found = verify(&self.name, fd.as_fd(), self.len)?;
        if found != self.inode && is_armed("segment.replaced") {
            return Err(SegmentError::NotOurs { name: self.name.to_string(), wrong: Wrong::Inode });
        }
        Ok(fd)
    }

    /// Its size in bytes, exactly as asked for.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no segment is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &SegmentName {
        &self.name
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // A child shares the name with its parent and owns nothing; the guard's mapping is not
        // even there (DONTFORK), so its munmap could hit what the child mapped since.
        if self.stamp.is_child() {
            return;
        }
        // The guard unlinks by name alone; the name must still lead to our file for that.
        let path = self.name.path();
        let still_ours = || lstat(&path).is_ok_and(|stat| inode(&stat) == self.inode);
        if !still_ours() {
            self.guard.set_owner(false);
        }
        // SAFETY: dropped here only, once, and never used again.
        unsafe { ManuallyDrop::drop(&mut self.guard) };
        // `shared_memory` takes descriptor 0 for "none" and then forgets to unlink.
        if still_ours() {
            let _gone = shm_unlink(os_id(&self.name).as_str());
        }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({}, {} bytes)", self.name, self.len)
    }
}

fn os_id(name: &SegmentName) -> String {
    format!("/{name}")
}

fn open_flags(access: OFlag) -> OFlag {
    access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

/// Refuses beforehand what would kill (SIGXFSZ) or fill the machine before it failed.
fn check_room(name: &SegmentName, len: usize) -> Result<(), SegmentError> {
    if len == 0 || i64::try_from(len).is_err() {
        return Err(SegmentError::Length { len });
    }
    let (max_bytes, _) =
        getrlimit(Resource::RLIMIT_FSIZE).map_err(|errno| os_error("getrlimit", name, errno))?;
    if len as u64 > max_bytes {
        return Err(SegmentError::NoSpace { len, limit: Limit::FileSize { max_bytes } });
    }
    match room() {
        Ok(Some((free, _))) if len as u64 > free => Err(no_space(len)),
        Ok(_) => Ok(()),
        Err(errno) => Err(os_error("statvfs", name, errno)),
    }
}

/// Free and total bytes of [`SHM_DIR`]; `None` where it is mounted without a limit.
fn room() -> Result<Option<(u64, u64)>, Errno> {
    let stat = statvfs(SHM_DIR)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    let limited = stat.blocks() != 0;
    Ok(limited.then(|| (bytes(stat.blocks_available()), bytes(stat.blocks()))))
}

fn no_space(len: usize) -> SegmentError {
    let limit = match room() {
        Ok(Some((free_bytes, total_bytes))) => Limit::Tmpfs { free_bytes, total_bytes },
        Ok(None) | Err(_) => Limit::Memory,
    };
    SegmentError::NoSpace { len, limit }
}

/// Gives every page of the file a home now. `fd` must be writable.
fn allocate(fd: BorrowedFd<'_>, len: u64) -> Result<(), Errno> {
    let mut start = 0;
    while start < len {
        let step = ALLOCATE_STEP_BYTES.min(len - start);
        // `check_room` keeps lengths below i64::MAX, so neither cast can wrap.
        match posix_fallocate(fd, start as libc::off_t, step as libc::off_t) {
            Ok(()) => start += step,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The guard maps read-write, which the daemon must not have of an `up`: close that mapping.
fn close_mapping(guard: &Shmem, name: &SegmentName) -> Result<(), SegmentError> {
    let at = guard.as_ptr().cast();
    // SAFETY: the range is exactly the guard's own mapping, which nothing refers into.
    let closed = unsafe { libc::mprotect(at, guard.len(), libc::PROT_NONE) };
    Errno::result(closed).map_err(|errno| os_error("mprotect", name, errno))?;
    // SAFETY: as above.
    let kept_from_children = unsafe { libc::madvise(at, guard.len(), libc::MADV_DONTFORK) };
    Errno::result(kept_from_children).map_err(|errno| os_error("madvise", name, errno))?;
    Ok(())
}

/// That `fd` is the file that `name` leads to, and is all that a segment must be.
fn verify(name: &SegmentName, fd: BorrowedFd<'_>, len: usize) -> Result<(u64, u64), SegmentError> {
    let not_ours = |wrong| SegmentError::NotOurs { name: name.to_string(), wrong };
    let opened = fstat(fd).map_err(|errno| os_error("fstat", name, errno))?;
    let own_uid = nix::unistd::geteuid().as_raw();
    check_stat(&opened, own_uid, Some(len as u64)).map_err(not_ours)?;
    let named = lstat(&name.path()).map_err(|errno| os_error("lstat", name, errno))?;
    if inode(&named) != inode(&opened) {
        return Err(not_ours(Wrong::Inode));
    }
    Ok(inode(&opened))
}

fn os_error(call: &'static str, name: &SegmentName, errno: Errno) -> SegmentError {
    SegmentError::Os { call, name: name.to_string(), source: errno.into() }
}

fn allocation_error(name: &SegmentName, len: usize, errno: Errno) -> SegmentError {
    match errno {
        Errno::ENOSPC => no_space(len),
        Errno::ENOMEM => SegmentError::NoSpace { len, limit: Limit::Memory },
        other => os_error("posix_fallocate", name, other),
    }
}

fn creation_error(name: &SegmentName, len: usize, error: ShmemError) -> SegmentError {
    match error {
        ShmemError::MappingIdExists => SegmentError::Exists { name: name.to_string() },
        ShmemError::MapCreateFailed(code) | ShmemError::UnknownOsError(code) => {
            allocation_error(name, len, Errno::from_raw(code as i32))
        }
        other => SegmentError::Os {
            call: "shared_memory create",
            name: name.to_string(),
            source: io::Error::other(other.to_string()),
        },
    }
}

#[cfg(test)]
mod tests;
