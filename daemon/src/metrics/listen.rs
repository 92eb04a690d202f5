//! The place where scrapers connect: opened, taken over from a dead predecessor, and left tidy.
//!
//! A Unix socket has mode 0660: whoever is in its group may read. What is there and does not belong to
//! a dead daemon is left alone.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

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
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Ok(_) => {
            let text = "another process serves there: give each instance a path of its own";
            Err(io::Error::new(ErrorKind::AddrInUse, text))
        }
        Err(error) => Err(error),
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
