//! The service manager: readiness, the watchdog, and an activated socket.
//!
//! Invariants: without a manager everything here does nothing and succeeds; nothing here blocks
//! for longer than a datagram to it takes, and feeding the watchdog never blocks at all. The
//! environment is read and left as it is.
//!
//! Not here: when to be ready, and who feeds the watchdog. That has to be the polling loop and
//! nothing else: a thread of its own would keep a stuck daemon alive.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, UnixAddr, getsockname, getsockopt, sockopt,
};
use sd_notify::NotifyState;

/// Tells the manager that clients can connect, with one line for `systemctl status`.
///
/// # Errors
/// The manager's socket refuses. The daemon works all the same; log it.
pub fn ready(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)])
}

/// Tells the manager that the daemon is leaving by itself.
///
/// # Errors
/// As [`ready`].
pub fn stopping() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Stopping])
}

/// Pings the manager; to be fed by the polling loop.
#[derive(Debug)]
pub struct Watchdog {
    socket: Option<UnixDatagram>,
    every: Duration,
    due: Option<Instant>,
}

impl Watchdog {
    /// The watchdog that `WATCHDOG_USEC`, `WATCHDOG_PID` and `NOTIFY_SOCKET` ask for; one that
    /// does nothing if they do not.
    ///
    /// # Errors
    /// A watchdog is asked for but its socket cannot be reached: the manager would kill the
    /// daemon after the interval.
    pub fn from_env() -> io::Result<Self> {
        let interval = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero());
        match (interval, std::env::var_os("NOTIFY_SOCKET")) {
            (Some(interval), Some(path)) => Self::connect(interval, &path),
            _ => Ok(Self { socket: None, every: Duration::MAX, due: None }),
        }
    }

    /// Its own socket, because `sd_notify` opens a blocking one at each call and a full queue of
    /// the manager must not stop a poller.
    fn connect(interval: Duration, path: &OsStr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(path)?,
        };
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        // sd_watchdog_enabled(3) recommends half of the interval.
        Ok(Self { socket: Some(socket), every: interval / 2, due: None })
    }

    /// How often it pings; nothing if nobody asked for it. A loop that sleeps must wake at least
    /// this often.
    pub fn every(&self) -> Option<Duration> {
        self.socket.is_some().then_some(self.every)
    }

    /// Pings if half of the interval has passed since the last ping; cheap otherwise. True if it
    /// pinged. A ping that the manager has no room for is tried again at the next call.
    pub fn feed(&mut self, now: Instant) -> bool {
        let Some(socket) = &self.socket else { return false };
        if self.due.is_some_and(|due| now < due) {
            return false;
        }
        let sent = socket.send(NotifyState::Watchdog.to_string().as_bytes()).is_ok();
        if sent {
            self.due = now.checked_add(self.every);
        }
        sent
    }
}

/// Why an activated socket was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivationError {
    /// The variables of the manager are wrong.
    #[error("socket activation: {0}; check LISTEN_FDS and LISTEN_PID, or start without them")]
    Environment(#[from] io::Error),
    /// More sockets than one.
    #[error("socket activation: {count} sockets, expected 1: one ListenSequentialPacket= a unit")]
    Count {
        /// Sockets passed.
        count: usize,
    },
    /// Another kind of descriptor.
    #[error(
        "socket activation: descriptor {number} is not a listening Unix SEQPACKET socket: use \
         ListenSequentialPacket= in the socket unit"
    )]
    Kind {
        /// Number of the descriptor.
        number: i32,
    },
}

/// The control socket that a socket unit has opened for this process; nothing without one. Only
/// the first call of a process can get it.
///
/// # Errors
/// The unit passes something else than one listening SEQPACKET socket.
pub fn activated_listener() -> Result<Option<OwnedFd>, ActivationError> {
    let mut sockets = ringfence_protocol::listen_fds::take()?;
    let count = sockets.len();
    match (sockets.pop(), count) {
        (None, _) => Ok(None),
        (Some(socket), 1) if is_listener(&socket) => Ok(Some(socket)),
        (Some(socket), 1) => Err(ActivationError::Kind { number: socket.as_raw_fd() }),
        (Some(_), count) => Err(ActivationError::Count { count }),
    }
}

fn is_listener(socket: &OwnedFd) -> bool {
    let unix = getsockname::<UnixAddr>(socket.as_raw_fd());
    unix.is_ok_and(|address| address.family() == Some(AddressFamily::Unix))
        && getsockopt(socket, sockopt::SockType) == Ok(SockType::SeqPacket)
        && getsockopt(socket, sockopt::AcceptConn) == Ok(true)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    use nix::sys::socket::{Backlog, SockFlag, bind, listen, socket};

    use super::*;

    fn abstract_name(what: &str) -> String {
        format!("ringfence-notify-{}-{what}", std::process::id())
    }

    fn manager(what: &str) -> (UnixDatagram, String) {
        let name = abstract_name(what);
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager.set_nonblocking(true).unwrap();
        (manager, format!("@{name}"))
    }

    fn received(manager: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    #[test]
    fn the_watchdog_pings_at_half_of_the_interval() {
        let (manager, path) = manager("rate");
        let interval = Duration::from_secs(10);
        let mut watchdog = Watchdog::connect(interval, OsStr::new(&path)).unwrap();
        assert_eq!(watchdog.every(), Some(interval / 2));
        let start = Instant::now();
        for (after_ms, pings) in
            [(0, true), (1, false), (4_999, false), (5_000, true), (9_999, false), (20_000, true)]
        {
            let fed = watchdog.feed(start + Duration::from_millis(after_ms));
            assert_eq!(fed, pings, "after {after_ms} ms");
            let want = pings.then(|| "WATCHDOG=1".to_owned());
            assert_eq!(received(&manager), want, "after {after_ms} ms");
        }
    }

    #[test]
    fn a_full_queue_of_the_manager_does_not_block_and_the_ping_is_tried_again() {
        let (manager, path) = manager("full");
        let mut watchdog = Watchdog::connect(Duration::from_nanos(2), OsStr::new(&path)).unwrap();
        let mut now = Instant::now();
        let mut step = || {
            now += Duration::from_secs(1);
            now
        };
        // net.unix.max_dgram_qlen is 10 to a few hundred.
        let full = (0..100_000).any(|_| !watchdog.feed(step()));
        assert!(full, "the queue never filled");
        assert!(!watchdog.feed(step()));
        while received(&manager).is_some() {}
        assert!(watchdog.feed(step()));
        assert_eq!(received(&manager).as_deref(), Some("WATCHDOG=1"));
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let mut watchdog = Watchdog { socket: None, every: Duration::MAX, due: None };
        assert!(!watchdog.feed(Instant::now()));
        assert_eq!(watchdog.every(), None);
        let missing = PathBuf::from("/nonexistent/notify");
        assert!(Watchdog::connect(Duration::from_secs(1), missing.as_os_str()).is_err());
    }

    /// Runs the test `name` of this binary once more with `socket` as its descriptor 3, as a
    /// service manager would, and a variable that tells it so.
    fn as_activated(name: &str, socket: OwnedFd, count: u32) -> String {
        let script = format!(
            "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS={count} RF_ACTIVATED=1 exec \"$@\""
        );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script, "sh"]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "--nocapture", "--test-threads=1"]);
        let output = command
            .arg(format!("notify::tests::{name}"))
            .stdin(Stdio::from(socket))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn is_activated() -> bool {
        std::env::var_os("RF_ACTIVATED").is_some()
    }

    fn listener(kind: SockType, what: &str) -> OwnedFd {
        let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let address = UnixAddr::new_abstract(abstract_name(what).as_bytes()).unwrap();
        bind(fd.as_raw_fd(), &address).unwrap();
        listen(&fd, Backlog::new(1).unwrap()).unwrap();
        fd
    }

    #[test]
    fn an_activated_listener_is_taken_once() {
        if !is_activated() {
            let listener = listener(SockType::SeqPacket, "seqpacket");
            let output = as_activated("an_activated_listener_is_taken_once", listener, 1);
            assert!(output.contains("took descriptor 3"), "{output}");
            return;
        }
        let taken = activated_listener().unwrap().unwrap();
        let flags = nix::fcntl::fcntl(&taken, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, nix::libc::FD_CLOEXEC);
        assert!(activated_listener().unwrap().is_none(), "only once");
        println!("took descriptor {}", taken.as_raw_fd());
    }

    #[test]
    fn a_stream_socket_is_refused() {
        if !is_activated() {
            let listener = listener(SockType::Stream, "stream");
            let output = as_activated("a_stream_socket_is_refused", listener, 1);
            assert!(output.contains("descriptor 3 is not a listening"), "{output}");
            return;
        }
        println!("{}", activated_listener().unwrap_err());
    }

    #[test]
    fn a_promised_descriptor_that_is_not_open_is_refused() {
        if !is_activated() {
            let listener = listener(SockType::SeqPacket, "missing");
            let name = "a_promised_descriptor_that_is_not_open_is_refused";
            let output = as_activated(name, listener, 4000);
            assert!(output.contains("check LISTEN_FDS"), "{output}");
            return;
        }
        println!("{}", activated_listener().unwrap_err());
    }
}
