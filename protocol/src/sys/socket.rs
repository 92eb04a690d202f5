//! The control socket: whole messages with descriptors, over a SEQPACKET Unix socket.
//!
//! Invariants: no call waits past its timeout; every descriptor is close-on-exec, and one that
//! was not asked for is closed before the call returns; a peer is known by what the kernel says
//! about it (uid, gid, pidfd), never by what it wrote; no signal (SIGPIPE) is ever raised.
//! What it does not do: know any message. An empty message cannot be sent: to a SEQPACKET reader
//! it looks like a hang-up, and is taken for one.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, setsockopt, socket,
    socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

mod listener;
mod message;

pub use listener::Listener;
pub use message::{MAX_FDS, Received};

/// linux/socket.h: the peer's pidfd (Linux 6.5).
const SO_PEERPIDFD: libc::c_int = 77;
/// linux/socket.h: whether a peer may send descriptors (Linux 6.16).
const SO_PASSRIGHTS: libc::c_int = 83;

/// Why a call on a socket failed.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Nobody listens there.
    #[error("no daemon listens at {path}; is it running, and as the same instance?",
        path = path.display())]
    NobodyListens {
        /// The path.
        path: PathBuf,
    },
    /// Somebody listens there already.
    #[error("another process listens at {path}; stop it or choose another instance",
        path = path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The path may not be used, or leads to something that is no socket of this kind.
    #[error("{path} cannot be used as a control socket: {source}", path = path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The descriptor that systemd (or another parent) passed is not what the name says.
    #[error("the descriptor passed is no listening SEQPACKET Unix socket; ListenSequentialPacket=")]
    NotAListener,
    /// The timeout passed.
    #[error("the other side did not take or give a message within {0:?}")]
    TimedOut(Duration),
    /// The other side is gone.
    #[error("the other side closed the connection")]
    HungUp,
    /// Longer than the socket's buffer, or than the buffer given to receive into.
    #[error("a message is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// Nothing to send, or more descriptors than [`MAX_FDS`].
    #[error(
        "a message has at least one byte and at most {MAX_FDS} descriptors, not {len} and {fds}"
    )]
    Shape {
        /// Bytes to be sent.
        len: usize,
        /// Descriptors to be sent.
        fds: usize,
    },
    /// The peer is in a PID namespace that is not seen from here, and the kernel cannot watch it.
    #[error(
        "the process at the other end has no number in this PID namespace, and this kernel can \
         watch it by its number only: let both share one (docker: --pid), or take Linux 6.5 or newer"
    )]
    UnseenPeer,
    /// The other side takes no descriptors.
    #[error("the other side refuses descriptors")]
    FdsRefused,
    /// A system call failed otherwise.
    #[error("{call} failed: {source}")]
    Os {
        /// The call.
        call: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Who is at the other end, as the kernel saw it when the connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCred {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Process, for messages to people only: pids are reused, see [`Conn::peer_pidfd`].
    pub pid: i32,
}

/// One connection.
#[derive(Debug)]
pub struct Conn {
    fd: OwnedFd,
}

impl Conn {
    /// Connects to a daemon.
    ///
    /// # Errors
    /// [`SocketError::NobodyListens`], or [`SocketError::TimedOut`] when its backlog stays full.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, SocketError> {
        let fd = new_socket()?;
        let address = address(path)?;
        let deadline = Deadline::after(timeout);
        loop {
            // connect() on a Unix socket waits for the backlog, for as long as a send may take.
            set_connect_timeout(&fd, deadline.left())?;
            match connect(fd.as_raw_fd(), &address) {
                Ok(()) => return Ok(Self { fd }),
                Err(Errno::EINTR) if !deadline.left().is_zero() => {}
                Err(Errno::EAGAIN | Errno::EINTR) => return Err(SocketError::TimedOut(timeout)),
                Err(Errno::ENOENT | Errno::ECONNREFUSED) => {
                    return Err(SocketError::NobodyListens { path: path.to_owned() });
                }
                Err(errno) => return Err(path_error(path, errno)),
            }
        }
    }

    /// Two connected ends, for the asyncio wake socket and for tests.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub fn pair() -> Result<(Self, Self), SocketError> {
        let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
        let (left, right) = socketpair(family, kind, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|errno| os("socketpair", errno))?;
        Ok((Self { fd: left }, Self { fd: right }))
    }

    /// A connection received as a descriptor.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The descriptor, to be sent on or kept by an event loop.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Sends one message, waiting for room up to `timeout`.
    ///
    /// # Errors
    /// [`SocketError::HungUp`], [`SocketError::TimedOut`], [`SocketError::TooLong`].
    pub fn send(
        &self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
        timeout: Duration,
    ) -> Result<(), SocketError> {
        let deadline = Deadline::after(timeout);
        while !self.try_send(bytes, fds)? {
            self.wait_for(PollFlags::POLLOUT, &deadline)?;
        }
        Ok(())
    }

    /// Sends one message now; false when there is no room for it.
    ///
    /// # Errors
    /// As [`Self::send`], but no timeout.
    pub fn try_send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<bool, SocketError> {
        message::send(self.fd.as_fd(), bytes, fds)
    }

    /// Receives one message into `buffer`, waiting up to `timeout`; `None` is a hang-up. More
    /// than `max_fds` descriptors are discarded, all of them.
    ///
    /// # Errors
    /// [`SocketError::TimedOut`]; [`SocketError::TooLong`] for a message that exceeds `buffer`.
    pub fn recv(
        &self,
        buffer: &mut [u8],
        max_fds: usize,
        timeout: Duration,
    ) -> Result<Option<Received>, SocketError> {
        let deadline = Deadline::after(timeout);
        loop {
            match self.try_recv(buffer, max_fds)? {
                TryReceived::Message(received) => return Ok(Some(received)),
                TryReceived::HungUp => return Ok(None),
                TryReceived::Nothing => self.wait_for(PollFlags::POLLIN, &deadline)?,
            }
        }
    }

    /// Receives one message if there is one.
    ///
    /// # Errors
    /// As [`Self::recv`], but no timeout.
    pub fn try_recv(&self, buffer: &mut [u8], max_fds: usize) -> Result<TryReceived, SocketError> {
        message::receive(self.fd.as_fd(), buffer, max_fds)
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// Not on a connected socket.
    pub fn peer_cred(&self) -> Result<PeerCred, SocketError> {
        let cred = getsockopt(&self.fd, sockopt::PeerCredentials)
            .map_err(|errno| os("getsockopt(SO_PEERCRED)", errno))?;
        Ok(PeerCred { uid: cred.uid(), gid: cred.gid(), pid: cred.pid() })
    }

    /// The process that connected, as a descriptor that becomes readable when it ends, whatever PID
    /// namespace it is in. Before Linux 6.5 it is found by pid, which is exact as long as that
    /// process has not ended yet.
    ///
    /// # Errors
    /// [`SocketError::HungUp`] when the process has ended already; [`SocketError::UnseenPeer`].
    pub fn peer_pidfd(&self) -> Result<OwnedFd, SocketError> {
        match peer_pidfd_by_socket(self.fd.as_fd()) {
            Ok(fd) => Ok(fd),
            Err(Errno::ENOPROTOOPT) => peer_pidfd_by_pid(self.peer_cred()?.pid),
            // What kernels say when the process has been waited for: ESRCH, EINVAL or ENODATA.
            Err(Errno::ESRCH | Errno::EINVAL | Errno::ENODATA) => Err(SocketError::HungUp),
            Err(errno) => Err(os("getsockopt(SO_PEERPIDFD)", errno)),
        }
    }

    /// Asks the kernel to refuse descriptors sent to us. Kernels before 6.16 cannot; there the
    /// ones that arrive are discarded by `max_fds` = 0.
    ///
    /// # Errors
    /// None that is known.
    pub fn refuse_fds(&self) -> Result<(), SocketError> {
        refuse_fds(self.fd.as_fd())
    }

    /// Whether the other end is closed. Messages that it sent before may still be unread.
    #[must_use]
    pub fn hung_up(&self) -> bool {
        // nix knows no POLLRDHUP, and calls flags that it does not know no flags at all.
        let gone = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
        let mut fd = libc::pollfd { fd: self.fd.as_raw_fd(), events: gone, revents: 0 };
        loop {
            // SAFETY: one live pollfd, as the count says.
            match Errno::result(unsafe { libc::poll(&raw mut fd, 1, 0) }) {
                Ok(_) => return fd.revents & gone != 0,
                Err(Errno::EINTR) => {}
                // Only for want of memory: the next call answers.
                Err(_) => return false,
            }
        }
    }

    /// Waits for `events` or a hang-up; both mean: try again.
    fn wait_for(&self, events: PollFlags, deadline: &Deadline) -> Result<(), SocketError> {
        loop {
            let mut fds = [PollFd::new(self.fd.as_fd(), events)];
            match poll(&mut fds, deadline.poll_timeout()) {
                Ok(0) if deadline.left().is_zero() => {
                    return Err(SocketError::TimedOut(deadline.timeout));
                }
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(os("poll", errno)),
            }
        }
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What [`Conn::try_recv`] found.
#[derive(Debug)]
pub enum TryReceived {
    /// A message.
    Message(Received),
    /// No message yet.
    Nothing,
    /// The other side is gone, and nothing of it is left to read.
    HungUp,
}

/// When a call must give up. A timeout that no clock can add means never.
struct Deadline {
    timeout: Duration,
    at: Option<Instant>,
}

impl Deadline {
    fn after(timeout: Duration) -> Self {
        Self { timeout, at: Instant::now().checked_add(timeout) }
    }

    fn left(&self) -> Duration {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        self.at.map_or(Duration::MAX, until)
    }

    /// Rounded up: rounded down, the last millisecond would be a busy loop.
    fn poll_timeout(&self) -> PollTimeout {
        let left_ms = self.left().as_nanos().div_ceil(1_000_000);
        PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX)
    }
}

fn os(call: &'static str, errno: Errno) -> SocketError {
    SocketError::Os { call, source: errno.into() }
}

fn path_error(path: &Path, errno: Errno) -> SocketError {
    SocketError::Path { path: path.to_owned(), source: errno.into() }
}

fn address(path: &Path) -> Result<UnixAddr, SocketError> {
    UnixAddr::new(path).map_err(|errno| path_error(path, errno))
}

fn new_socket() -> Result<OwnedFd, SocketError> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| os("socket", errno))
}

fn set_connect_timeout(fd: &OwnedFd, left: Duration) -> Result<(), SocketError> {
    // Zero would mean "for ever"; a day is as good as for ever and fits every time_t.
    let left = left.clamp(Duration::from_millis(1), Duration::from_secs(86_400));
    let value = TimeVal::microseconds(left.as_micros() as i64);
    setsockopt(fd, sockopt::SendTimeout, &value)
        .map_err(|errno| os("setsockopt(SO_SNDTIMEO)", errno))
}

fn peer_pidfd_by_socket(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut pidfd: libc::c_int = -1;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    let value = (&raw mut pidfd).cast();
    // SAFETY: `value` and `len` describe one live c_int, which is what this option writes.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, SO_PEERPIDFD, value, &raw mut len)
    };
    Errno::result(result)?;
    // SAFETY: on success the kernel has installed a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// SO_PEERCRED says 0 for a process of a PID namespace that is not below this one.
fn peer_pidfd_by_pid(pid: i32) -> Result<OwnedFd, SocketError> {
    match pidfd_open(pid) {
        _ if pid == 0 => Err(SocketError::UnseenPeer),
        Ok(fd) => Ok(fd),
        Err(Errno::ESRCH) => Err(SocketError::HungUp),
        Err(errno) => Err(os("pidfd_open", errno)),
    }
}

fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: a call with two integers. PIDFD flags 0: always close-on-exec.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = Errno::result(fd)?;
    // SAFETY: the new descriptor of the call above (they fit c_int), which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

fn refuse_fds(fd: BorrowedFd<'_>) -> Result<(), SocketError> {
    let no: libc::c_int = 0;
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    let value = (&raw const no).cast();
    // SAFETY: `value` and `len` describe one live c_int.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, value, len) };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ENOPROTOOPT) => Ok(()),
        Err(errno) => Err(os("setsockopt(SO_PASSRIGHTS)", errno)),
    }
}

#[cfg(test)]
mod tests;
