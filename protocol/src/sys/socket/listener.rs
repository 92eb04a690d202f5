//! The daemon's end of the control socket: bound by itself, or passed by systemd.
//!
//! Invariants: the path has its final mode from its first moment (never wider); a bound path is
//! unlinked on drop if it still leads to this socket, and only by the process that bound it.
//! What it does not do: take a path from somebody who listens, or create folders.
#![allow(unsafe_code)]

use std::fs::Permissions;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, UnixAddr, accept4, bind, getsockname,
    getsockopt, listen, sockopt,
};
use nix::sys::stat::{Mode, fchmod, lstat};

use super::{Conn, SocketError, address, new_socket, os, path_error, refuse_fds};
use crate::limits;
use crate::sys::fork::ForkStamp;
use crate::sys::segment::inode;

/// Whether somebody listens shows at once; the limit only bounds a full backlog.
const PROBE_TIMEOUT: Duration = Duration::from_millis(100);

/// A listening control socket.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    bound: Option<Bound>,
}

#[derive(Debug)]
struct Bound {
    path: PathBuf,
    inode: (u64, u64),
    stamp: ForkStamp,
}

impl Listener {
    /// Listens at `path` with permissions `mode` (0600; 0660 for a group). A socket that a killed
    /// daemon left there is replaced; the caller holds the instance lock.
    ///
    /// # Errors
    /// [`SocketError::InUse`] when somebody listens there, [`SocketError::Path`] otherwise.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, SocketError> {
        let fd = new_socket()?;
        let address = address(path)?;
        // The kernel gives the path the mode of the socket, less the umask. chmod adds what the
        // umask took; nothing is ever open to more than `mode`.
        fchmod(&fd, Mode::from_bits_truncate(mode)).map_err(|errno| os("fchmod", errno))?;
        match bind(fd.as_raw_fd(), &address) {
            Err(Errno::EADDRINUSE) => {
                remove_stale(path)?;
                bind(fd.as_raw_fd(), &address)
            }
            other => other,
        }
        .map_err(|errno| path_error(path, errno))?;
        let named = lstat(path).map_err(|errno| path_error(path, errno))?;
        let stamp = ForkStamp::now();
        let bound = Bound { path: path.to_owned(), inode: inode(&named), stamp };
        // From here on an early return unlinks the path.
        let listener = Self { fd, bound: Some(bound) };
        std::fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(|source| SocketError::Path { path: path.to_owned(), source })?;
        let backlog =
            Backlog::new(limits::CONNECTS_WAITING as i32).map_err(|errno| os("listen", errno))?;
        listen(&listener.fd, backlog).map_err(|errno| os("listen", errno))?;
        listener.set_nonblocking()?;
        Ok(listener)
    }

    /// Listens on a descriptor that was passed, by systemd for instance. Its path stays.
    /// As many wait there as whoever made it said: to listen again would make us the peer that clients see, and keep a
    /// dead daemon that peer.
    ///
    /// # Errors
    /// [`SocketError::NotAListener`].
    pub fn from_fd(fd: OwnedFd) -> Result<Self, SocketError> {
        let listens = getsockopt(&fd, sockopt::AcceptConn) == Ok(true);
        let packets = getsockopt(&fd, sockopt::SockType) == Ok(SockType::SeqPacket);
        let family = getsockname::<UnixAddr>(fd.as_raw_fd()).ok().and_then(|name| name.family());
        if !listens || !packets || family != Some(AddressFamily::Unix) {
            return Err(SocketError::NotAListener);
        }
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|errno| os("fcntl", errno))?;
        let listener = Self { fd, bound: None };
        listener.set_nonblocking()?;
        Ok(listener)
    }

    /// The next connection, if one waits.
    ///
    /// # Errors
    /// Out of descriptors (EMFILE, ENFILE): the connection stays in the backlog, so wait before
    /// the next try.
    pub fn accept_nonblocking(&self) -> Result<Option<Conn>, SocketError> {
        loop {
            match accept4(self.fd.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                Ok(raw) => {
                    // SAFETY: the call above has just made this descriptor; nobody else owns it.
                    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
                    return Ok(Some(Conn::from_fd(fd)));
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                Err(errno) => return Err(os("accept4", errno)),
            }
        }
    }

    /// Refuses descriptors also on connections that are not yet accepted (see
    /// [`Conn::refuse_fds`]; the kernel hands the option down).
    ///
    /// # Errors
    /// None that is known.
    pub fn refuse_fds(&self) -> Result<(), SocketError> {
        refuse_fds(self.fd.as_fd())
    }

    fn set_nonblocking(&self) -> Result<(), SocketError> {
        let flags = fcntl(&self.fd, FcntlArg::F_GETFL).map_err(|errno| os("fcntl", errno))?;
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
        fcntl(&self.fd, FcntlArg::F_SETFL(flags)).map_err(|errno| os("fcntl", errno))?;
        Ok(())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some(bound) = self.bound.take().filter(|bound| !bound.stamp.is_child()) else {
            return;
        };
        if lstat(&bound.path).is_ok_and(|stat| inode(&stat) == bound.inode) {
            let _gone = std::fs::remove_file(&bound.path);
        }
    }
}

/// Removes a socket at `path` that nobody listens on; refuses to remove anything else.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let stat = lstat(path).map_err(|errno| path_error(path, errno))?;
    let is_socket = stat.st_mode & libc::S_IFMT == libc::S_IFSOCK;
    if !is_socket || stat.st_uid != nix::unistd::geteuid().as_raw() {
        return Err(path_error(path, Errno::EADDRINUSE));
    }
    match Conn::connect(path, PROBE_TIMEOUT) {
        Err(SocketError::NobodyListens { .. }) => std::fs::remove_file(path)
            .map_err(|source| SocketError::Path { path: path.to_owned(), source }),
        Ok(_) | Err(SocketError::TimedOut(_)) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(error) => Err(error),
    }
}
