//! The place where scrapers connect: opened, taken over from a dead predecessor, and left tidy.
//!
//! A Unix socket has mode 0660: whoever is in its group may read. What is there and does not belong to
//! a dead daemon is left alone.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::config::MetricsAddress;

const MODE: u32 = 0o660;

/// A socket that scrapers connect to; never blocks.
#[derive(Debug)]
pub(super) enum Listener {
    Unix(UnixListener, PathBuf),
    Loopback(TcpListener),
}

/// A connection; never blocks.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Loopback(TcpStream),
}

impl Listener {
    pub(super) fn open(address: &MetricsAddress, group: Option<u32>) -> io::Result<Self> {
        match address {
            MetricsAddress::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                let listener = Self::Unix(listener, path.clone());
                if group.is_some() {
                    std::os::unix::fs::chown(path, None, group)?;
                }
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
                Ok(listener)
            }
            MetricsAddress::Loopback(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Loopback(listener))
            }
        }
    }

    /// The next connection; `WouldBlock` if there is none.
    pub(super) fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Stream::Unix(stream))
            }
            Self::Loopback(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Stream::Loopback(stream))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // If somebody else was quicker, nothing is left to do.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A socket that nobody listens on is what a killed daemon left.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = match std::fs::symlink_metadata(path) {
        Ok(found) => found.file_type().is_socket(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !is_socket {
        let text = "there is a file of that name that is no socket: move it away";
        return Err(io::Error::new(ErrorKind::AlreadyExists, text));
    }
    // Without waiting: whoever listens may be stopped, with its queue full.
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => std::fs::remove_file(path),
        Ok(()) | Err(Errno::EAGAIN) => {
            let text = "another process serves there: give each instance a path of its own";
            Err(io::Error::new(ErrorKind::AddrInUse, text))
        }
        Err(errno) => Err(errno.into()),
    }
}

impl Stream {
    /// No more comes from us; what was sent is still delivered.
    pub(super) fn finish(&self) {
        // ENOTCONN: the other side is gone.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Loopback(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(out),
            Self::Loopback(stream) => stream.read(out),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Loopback(stream) => stream.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener, _) => listener.as_fd(),
            Self::Loopback(listener) => listener.as_fd(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Loopback(stream) => stream.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of its own in a directory of its own, gone with the test.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let dir = format!("ringfence-listen-{name}-{}", std::process::id());
            let dir = std::env::temp_dir().join(dir);
            std::fs::create_dir(&dir).unwrap();
            Self(dir)
        }

        fn open(&self) -> io::Result<Listener> {
            Listener::open(&MetricsAddress::Unix(self.path()), None)
        }

        fn path(&self) -> PathBuf {
            self.0.join("metrics.sock")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_a_dead_daemon_left_is_taken_over_and_the_name_goes_at_the_end() {
        let place = Place::new("stale");
        drop(UnixListener::bind(place.path()).unwrap());
        assert!(place.path().exists(), "std leaves the name");
        let listener = place.open().unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(listener);
        assert!(!place.path().exists());
    }

    #[test]
    fn what_somebody_else_uses_is_left_alone() {
        let place = Place::new("used");
        let busy = UnixListener::bind(place.path()).unwrap();
        assert_eq!(place.open().unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(busy);
        std::fs::remove_file(place.path()).unwrap();
        std::fs::write(place.path(), "mine").unwrap();
        assert_eq!(place.open().unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(place.path()).unwrap(), b"mine");
        std::fs::remove_file(place.path()).unwrap();
        std::os::unix::fs::symlink("/nonexistent", place.path()).unwrap();
        assert_eq!(place.open().unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
}
