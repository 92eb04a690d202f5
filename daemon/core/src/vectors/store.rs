//! The directory of saved collections: one file a collection, each replaced as a whole or not at
//! all.
//!
//! A file is written under another name, synced and renamed; whoever dies in between leaves the old
//! one whole and a partial one, which the next save of anybody removes: its writer held a lock on
//! it, which went with the writer. Names of files are made here, out of collections' names: no byte
//! that a path could give a meaning to stays what it is.
//!
//! It does not know what is in a file, and removes none that is whole.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nix::fcntl::OFlag;
use ringfence_protocol::disarm::is_armed;

use super::refusal::Refusal;

/// How the name of a whole file ends.
const WHOLE: &str = ".vectors";

/// How the name of a file ends that is being written.
const PARTIAL: &str = ".partial";

/// Names of partial files of this process so far: each is used once.
static PARTIALS: AtomicU32 = AtomicU32::new(0);

/// Where collections are saved.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    /// Whole files that there may be.
    most: usize,
}

/// A file that is being written. Gone when dropped, unless it was kept.
#[derive(Debug)]
struct Partial {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Store {
    pub(super) fn new(dir: PathBuf, most: usize) -> Self {
        Self { dir, most }
    }

    /// The file of a collection.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(escaped(name) + WHOLE)
    }

    /// Writes the file of a collection, by `content`, in place of the one that may be there.
    pub(super) fn write<E: From<Refusal>>(
        &self,
        name: &str,
        content: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        self.make_dir().map_err(|error| failed("making", &self.dir, &error))?;
        let count = self.sweep().map_err(|error| failed("reading", &self.dir, &error))?;
        let path = self.path(name);
        let is_new = path.symlink_metadata().is_err();
        if count >= self.most && is_new && is_armed("vectors.files") {
            return Err(Refusal::TooManyFiles { count, dir: shown(&self.dir) }.into());
        }
        let mut partial = self.partial(name).map_err(|error| failed("writing", &path, &error))?;
        content(&mut partial.file)?;
        partial.keep_as(&path).map_err(|error| failed("writing", &path, &error))?;
        // Its name is what makes it the file of the collection, and lies in the directory.
        sync(&self.dir).map_err(|error| failed("syncing", &self.dir, &error))?;
        Ok(())
    }

    /// The file of a collection, opened for reading, and its length.
    pub(super) fn open(&self, name: &str) -> Result<(File, u64), Refusal> {
        let path = self.path(name);
        // Not through a link, and not waiting for the other end of a pipe.
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&path);
        let opened = file.and_then(|file| file.metadata().map(|about| (file, about)));
        match opened {
            Ok((file, about)) if about.is_file() => Ok((file, about.len())),
            Ok(_) => Err(Refusal::Damaged { path: shown(&path), what: "it is no file".into() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Refusal::NoFile { name: name.into(), path: shown(&path) })
            }
            Err(error) => Err(failed("opening", &path, &error)),
        }
    }

    fn make_dir(&self) -> io::Result<()> {
        if self.dir.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        // The engine's and the instance's may both be new. Who may make a folder in a directory
        // need not be able to open it.
        for parent in self.dir.ancestors().skip(1).take(2) {
            let _ = sync(parent);
        }
        Ok(())
    }

    /// Removes what writers that died have left; returns how many whole files there are.
    fn sweep(&self) -> io::Result<usize> {
        let mut whole = 0;
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            whole += usize::from(name.ends_with(WHOLE));
            if name.starts_with('.') && name.ends_with(PARTIAL) {
                remove_abandoned(&path);
            }
        }
        Ok(whole)
    }

    fn partial(&self, name: &str) -> io::Result<Partial> {
        loop {
            let number = PARTIALS.fetch_add(1, Relaxed);
            let name = format!(".{}.{}-{number}{PARTIAL}", escaped(name), std::process::id());
            let path = self.dir.join(name);
            let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)
            {
                // Of a process that had this one's number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => opened?,
            };
            let partial = Partial { path, file, kept: false };
            match partial.file.try_lock() {
                // A sweep that came before the lock has unlinked it, or is about to.
                Err(TryLockError::WouldBlock) => continue,
                Ok(()) if partial.file.metadata()?.nlink() == 0 => continue,
                // A file system without locks: then nobody sweeps there either.
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(partial),
            }
        }
    }
}

impl Partial {
    fn keep_as(mut self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, path)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes a partial file if its writer has died. That is done under the lock, so that a writer
/// that is about to take it sees either.
fn remove_abandoned(path: &Path) {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path) else { return };
    if file.try_lock().is_ok() {
        // Somebody else may be faster.
        let _ = std::fs::remove_file(path);
    }
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What the system said, and what to do about it.
pub(super) fn failed(doing: &'static str, path: &Path, error: &io::Error) -> Refusal {
    use io::ErrorKind::{
        FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    let hint = match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            "what was saved before is whole; make room there, or name another directory"
        }
        PermissionDenied | ReadOnlyFilesystem => {
            "the state directory must be writable for this process's user"
        }
        _ => "what was saved before is whole",
    };
    Refusal::File { doing, path: shown(path), error: error.to_string(), hint }
}

pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A collection's name as part of a file's: letters, digits, `-` and `_` stay, every other byte is
/// `%` and two digits. Different for different names; at most 192 of the 255 bytes that a name has.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_is_a_path() {
        for (name, file) in [
            ("docs", "docs"),
            ("a_B-9", "a_B-9"),
            ("../etc/passwd", "%2E%2E%2Fetc%2Fpasswd"),
            (".", "%2E"),
            ("%2E", "%252E"),
            ("é", "%C3%A9"),
            ("two words", "two%20words"),
        ] {
            assert_eq!(escaped(name), file);
        }
        let longest = "/".repeat(super::super::limits::NAME_BYTES);
        let partial = format!(".{}.{}-{}{PARTIAL}", escaped(&longest), u32::MAX, u32::MAX);
        assert!(partial.len() <= 255 && escaped(&longest).len() + WHOLE.len() <= 255);
    }
}
