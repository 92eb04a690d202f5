//! The instance lock: whoever holds it owns every name of one uid and instance in /dev/shm.
//!
//! Invariants: the lock is a flock on a file that is verified to be ours *after* it is locked, and
//! to be the one that the name leads to; so a holder may unlink it, and two holders never exist.
//! A file that somebody else put there is never touched, only named. Sweeping needs the lock.
//! What it does not do: wait. A held lock is an answer.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::{FileStat, fstat, lstat};

use super::fork::ForkStamp;
use super::segment::{MODE, Wrong, check_stat, inode};
use crate::disarm::is_armed;
use crate::names::{Instance, SHM_DIR, SegmentName, lock_name};

/// How often the file may vanish between open and lock before that is somebody's mischief.
const MAX_ATTEMPTS: u32 = 16;

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("another daemon runs as instance {instance:?} of uid {uid}; stop it or choose another")]
    Held {
        /// The uid whose names are locked.
        uid: u32,
        /// The instance.
        instance: String,
    },
    /// Something that is not our lock file is in its place.
    #[error(
        "{path} is squatted: {wrong} (owner: uid {owner}); have its owner or root remove it, or \
         choose another instance name",
        path = path.display()
    )]
    Squatted {
        /// The path.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// What differs.
        wrong: Wrong,
    },
    /// A system call failed otherwise.
    #[error("{call} on {path} failed: {source}", path = path.display())]
    Os {
        /// The call.
        call: &'static str,
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The right to all names of one uid and instance, until it is dropped or the process ends.
#[derive(Debug)]
pub struct InstanceLock {
    file: File,
    path: PathBuf,
    /// Where its names are.
    dir: PathBuf,
    uid: u32,
    instance: Instance,
    stamp: ForkStamp,
}

impl InstanceLock {
    /// Takes the lock of `instance`, now or not at all. `uid` is the caller's own.
    ///
    /// # Errors
    /// [`LockError::Held`] while another daemon runs, [`LockError::Squatted`] names the owner.
    pub fn acquire(uid: u32, instance: &Instance) -> Result<Self, LockError> {
        Self::acquire_in(Path::new(SHM_DIR), uid, instance)
    }

    /// The same in another folder than [`SHM_DIR`], which must be as sticky: for `ringfence doctor`,
    /// whose tests must not sweep what other tests have in /dev/shm.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn acquire_in(dir: &Path, uid: u32, instance: &Instance) -> Result<Self, LockError> {
        let path = dir.join(lock_name(uid, instance));
        for _ in 0..MAX_ATTEMPTS {
            let file = open(&path, uid)?;
            if lock_named(&file, &path, uid, instance)? {
                let (instance, stamp) = (instance.clone(), ForkStamp::now());
                return Ok(Self { file, path, dir: dir.to_owned(), uid, instance, stamp });
            }
        }
        Err(os("flock", &path, io::Error::other("the file is replaced again and again")))
    }

    /// The uid whose names are owned.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The instance whose names are owned.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// For an instance that nobody will start again: removes the file too, while it is held.
    ///
    /// # Errors
    /// If the file could not be removed; the lock is released all the same.
    pub fn release_and_unlink(self) -> Result<(), LockError> {
        if self.stamp.is_child() || !is_named(&self.file, &self.path)? {
            return Ok(());
        }
        std::fs::remove_file(&self.path).map_err(|source| os("unlink", &self.path, source))
    }
}

impl Drop for InstanceLock {
    fn drop(&mut self) {
        // A forked child shares the lock: its unlock would be the parent's. The parent unlocks
        // explicitly, because a child that still lives would keep the lock past our close.
        if !self.stamp.is_child() {
            let _closing_unlocks_too = self.file.unlock();
        }
    }
}

/// A name of the swept instance that was not removed.
#[derive(Debug)]
pub struct Refused {
    /// The name.
    pub name: SegmentName,
    /// Why it stays.
    pub reason: RefusedReason,
}

/// Why a name was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RefusedReason {
    /// It is not what a segment of ours is.
    #[error("{0}; its owner or root must remove it")]
    Wrong(#[from] Wrong),
    /// A system call failed.
    #[error("{0}")]
    Os(#[from] io::Error),
}

/// What [`sweep`] did.
#[derive(Debug, Default)]
pub struct SweepReport {
    /// Names that are gone now.
    pub removed: Vec<SegmentName>,
    /// Names that stay, and why.
    pub refused: Vec<Refused>,
}

/// Removes every segment name of the lock's uid and instance: what a killed daemon left behind.
/// To be called before the holder creates its first segment.
///
/// # Errors
/// Only if the folder cannot be listed; a name that cannot be removed is in the report.
pub fn sweep(lock: &InstanceLock) -> io::Result<SweepReport> {
    let mut report = SweepReport::default();
    for entry in std::fs::read_dir(&lock.dir)? {
        let file_name = entry?.file_name();
        let Some(name) = file_name.to_str().and_then(|text| SegmentName::from_str(text).ok())
        else {
            continue;
        };
        if name.uid != lock.uid || name.instance != lock.instance {
            continue;
        }
        match remove(&lock.dir.join(name.to_string()), lock.uid) {
            Ok(()) => report.removed.push(name),
            Err(reason) => report.refused.push(Refused { name, reason }),
        }
    }
    Ok(report)
}

fn remove(path: &Path, uid: u32) -> Result<(), RefusedReason> {
    // Without this, another user's file says only "permission denied"; its owner says more.
    if !is_armed("sweep.squatted") {
        return Ok(std::fs::remove_file(path)?);
    }
    check_stat(&lstat(path).map_err(io::Error::from)?, uid, None)?;
    let file = OpenOptions::new().read(true).custom_flags(no_surprises()).open(path)?;
    let opened = fstat(&file).map_err(io::Error::from)?;
    check_stat(&opened, uid, None)?;
    // /dev/shm is sticky: nobody but this uid and root can exchange a file of ours from here on.
    if inode(&lstat(path).map_err(io::Error::from)?) != inode(&opened) {
        return Err(Wrong::Inode.into());
    }
    Ok(std::fs::remove_file(path)?)
}

/// O_NONBLOCK: opening a fifo that somebody put there must not wait for its other end.
fn no_surprises() -> i32 {
    libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY
}

fn open(path: &Path, uid: u32) -> Result<File, LockError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    match options.mode(MODE).custom_flags(no_surprises()).open(path) {
        Ok(file) => {
            let stat = fstat(&file).map_err(|errno| os("fstat", path, errno.into()))?;
            match check_stat(&stat, uid, None) {
                // Unlinked since the open; `acquire` sees that after it has locked, and retries.
                Ok(()) | Err(Wrong::Links(0)) => Ok(file),
                Err(_) if !is_armed("lock.squatted") => Ok(file),
                Err(wrong) => Err(squatted(path, &stat, wrong)),
            }
        }
        // A symbolic link says ELOOP, a folder EISDIR, another user's file EACCES.
        Err(source) => match lstat(path) {
            Ok(stat) => match check_stat(&stat, uid, None) {
                Err(wrong) => Err(squatted(path, &stat, wrong)),
                Ok(()) => Err(os("open", path, source)),
            },
            Err(_) => Err(os("open", path, source)),
        },
    }
}

/// Locks the file; false if it lost its name between our open and our lock, when its former holder
/// unlinked it. The next taker then locks another file, so ours is worth nothing.
fn lock_named(file: &File, path: &Path, uid: u32, instance: &Instance) -> Result<bool, LockError> {
    match file.try_lock() {
        Ok(()) => is_named(file, path),
        Err(TryLockError::WouldBlock) if !is_armed("lock.held") => Ok(true),
        Err(TryLockError::WouldBlock) => {
            Err(LockError::Held { uid, instance: instance.to_string() })
        }
        Err(TryLockError::Error(source)) => Err(os("flock", path, source)),
    }
}

fn squatted(path: &Path, stat: &FileStat, wrong: Wrong) -> LockError {
    LockError::Squatted { path: path.to_owned(), owner: stat.st_uid, wrong }
}

fn is_named(file: &File, path: &Path) -> Result<bool, LockError> {
    let opened = fstat(file).map_err(|errno| os("fstat", path, errno.into()))?;
    match lstat(path) {
        Ok(named) => Ok(inode(&named) == inode(&opened)),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(os("lstat", path, errno.into())),
    }
}

fn os(call: &'static str, path: &Path, source: io::Error) -> LockError {
    LockError::Os { call, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
