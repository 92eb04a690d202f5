//! Tests of the control socket. A forked child of another test may hold copies of our
//! descriptors for a moment, so hang-ups are waited for.

use std::fs::File;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use super::*;
use crate::sys::testing::{in_child, outcome, spawn_child};

const LONG: Duration = Duration::from_secs(15);

/// A folder of this test alone.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let random = crate::sys::random::random_u128().expect("getrandom");
        let path = std::env::temp_dir().join(format!("ringfence-test-{random:032x}"));
        std::fs::create_dir(&path).expect("mkdir");
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn accepted(listener: &Listener) -> Conn {
    listener.accept_nonblocking().expect("accept").expect("a connection waits")
}

fn received(conn: &Conn, buffer: &mut [u8], max_fds: usize) -> Received {
    conn.recv(buffer, max_fds, LONG).expect("recv").expect("a message")
}

#[test]
fn a_path_has_its_mode_and_leaves_with_the_listener() {
    let folder = Folder::new();
    let path = folder.socket();
    for mode in [0o600, 0o660, 0o666] {
        let listener = Listener::bind(&path, mode).expect("bind");
        let meta = std::fs::symlink_metadata(&path).expect("stat");
        assert!(meta.file_type().is_socket());
        assert_eq!(meta.permissions().mode() & 0o7777, mode);
        let copy = std::cell::Cell::new(Some(listener));
        assert_eq!(in_child(|| i32::from(copy.take().map(drop).is_none())), 0);
        assert!(path.exists(), "a forked child must not unlink");
        drop(copy.take());
        assert!(!path.exists());
    }
}

#[test]
fn only_a_stale_socket_is_replaced() {
    let folder = Folder::new();
    let path = folder.socket();
    let none = Conn::connect(&path, LONG);
    assert!(matches!(none, Err(SocketError::NobodyListens { .. })), "{none:?}");

    let listener = Listener::bind(&path, 0o600).expect("bind");
    let second = Listener::bind(&path, 0o600);
    assert!(matches!(second, Err(SocketError::InUse { .. })), "{second:?}");
    // As after a kill: the socket is closed, its path stays.
    let stale = folder.0.join("stale.sock");
    std::fs::rename(&path, &stale).expect("rename");
    drop(listener);
    until("nobody listens", || {
        matches!(Conn::connect(&stale, LONG), Err(SocketError::NobodyListens { .. }))
    });
    Listener::bind(&stale, 0o600).expect("replaces a stale socket");

    std::fs::write(&path, "precious").expect("write");
    let refused = Listener::bind(&path, 0o600);
    assert!(matches!(refused, Err(SocketError::Path { .. })), "{refused:?}");
    assert_eq!(std::fs::read(&path).expect("read"), b"precious");
    let long = Conn::connect(&folder.0.join("x".repeat(200)), LONG);
    assert!(matches!(long, Err(SocketError::Path { .. })), "{long:?}");
}

#[test]
fn a_passed_descriptor_must_listen() {
    let folder = Folder::new();
    let bound = Listener::bind(&folder.socket(), 0o600).expect("bind");
    let passed =
        Listener::from_fd(bound.as_fd().try_clone_to_owned().expect("dup")).expect("from_fd");
    assert!(passed.accept_nonblocking().expect("accept").is_none());
    let _client = Conn::connect(&folder.socket(), LONG).expect("connect");
    accepted(&passed);
    drop(passed);
    assert!(folder.socket().exists(), "a passed socket's path is not ours");
    let no_socket = File::open("/dev/null").expect("open").into();
    for other in [Conn::pair().expect("pair").0.into_fd(), new_socket().expect("new"), no_socket] {
        let refused = Listener::from_fd(other);
        assert!(matches!(refused, Err(SocketError::NotAListener)), "{refused:?}");
    }
}

#[test]
fn messages_and_descriptors_arrive_whole_and_in_order() {
    let folder = Folder::new();
    let listener = Listener::bind(&folder.socket(), 0o600).expect("bind");
    let client = Conn::connect(&folder.socket(), LONG).expect("connect");
    let server = accepted(&listener);
    let mut buffer = [0; 64];
    assert!(matches!(server.try_recv(&mut buffer, 0), Ok(TryReceived::Nothing)));

    let (reader, writer) = nix::unistd::pipe().expect("pipe");
    server.send(b"first", &[], LONG).expect("send");
    server.send(b"second", &[writer.as_fd(), reader.as_fd()], LONG).expect("send");
    let first = received(&client, &mut buffer, MAX_FDS);
    assert_eq!((&buffer[..first.len], first.fds.len()), (&b"first"[..], 0));
    let second = received(&client, &mut buffer, 2);
    assert_eq!((&buffer[..second.len], second.fds.len()), (&b"second"[..], 2));
    assert!(!first.fds_discarded && !second.fds_discarded);
    nix::unistd::write(&second.fds[0], b"x").expect("the writer came first");
    assert_eq!(nix::unistd::read(&second.fds[1], &mut buffer), Ok(1));
    for fd in &second.fds {
        let flags = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD).expect("fcntl");
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let (left, right) = Conn::pair().expect("pair");
    let mut buffer = [0; 8];
    for (sent, max_fds, kept) in
        [(1, 0, 0), (3, 2, 0), (MAX_FDS, 1, 0), (2, 2, 2), (MAX_FDS, MAX_FDS, MAX_FDS)]
    {
        let (reader, writer) = nix::unistd::pipe().expect("pipe");
        left.send(b"x", &vec![writer.as_fd(); sent], LONG).expect("send");
        drop(writer);
        let message = received(&right, &mut buffer, max_fds);
        assert_eq!((message.fds.len(), message.fds_discarded), (kept, kept != sent));
        drop(message);
        // The pipe ends when its last writer is closed, in whatever way it got here.
        let mut end = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        until("every copy is closed", || {
            poll(&mut end, 10_u16).expect("poll");
            end[0].revents().is_some_and(|flags| flags.contains(PollFlags::POLLHUP))
        });
    }
    let fd = left.as_fd();
    for (bytes, fds) in [(&b""[..], 0), (&b"x"[..], MAX_FDS + 1)] {
        let refused = left.try_send(bytes, &vec![fd; fds]);
        assert!(matches!(refused, Err(SocketError::Shape { .. })), "{refused:?}");
    }
}

#[test]
fn a_receiver_without_a_free_descriptor_loses_only_the_descriptors() {
    let (left, right) = Conn::pair().expect("pair");
    left.send(b"x", &[left.as_fd(), left.as_fd()], LONG).expect("send");
    let verdict = in_child(|| {
        use nix::sys::resource::{Resource, setrlimit};
        // Room for exactly one more: the kernel then installs one and truncates.
        let free = left.as_fd().try_clone_to_owned().expect("dup").as_raw_fd() as u64;
        setrlimit(Resource::RLIMIT_NOFILE, free + 1, free + 1).expect("setrlimit");
        let message = received(&right, &mut [0; 8], 2);
        let leaked = left.as_fd().try_clone_to_owned().is_err();
        i32::from(message.len != 1 || !message.fds_discarded || leaked)
    });
    assert_eq!(verdict, 0);
}

#[test]
fn refused_descriptors_do_not_arrive() {
    let folder = Folder::new();
    let listener = Listener::bind(&folder.socket(), 0o600).expect("bind");
    listener.refuse_fds().expect("refuse");
    let client = Conn::connect(&folder.socket(), LONG).expect("connect");
    // Linux 6.16 refuses at the sender, also before accept; before, they are discarded here.
    let early = client.try_send(b"x", &[client.as_fd()]);
    let server = accepted(&listener);
    server.refuse_fds().expect("refuse");
    match early {
        Err(SocketError::FdsRefused) => {
            let late = client.try_send(b"x", &[client.as_fd()]);
            assert!(matches!(late, Err(SocketError::FdsRefused)), "{late:?}");
        }
        Ok(true) => assert!(received(&server, &mut [0; 8], 0).fds_discarded),
        other => panic!("{other:?}"),
    }
    client.send(b"x", &[], LONG).expect("plain messages pass");
}

#[test]
fn a_long_message_is_an_error_at_either_end() {
    let (left, right) = Conn::pair().expect("pair");
    left.send(b"12345", &[left.as_fd()], LONG).expect("send");
    let cut = right.recv(&mut [0; 4], 1, LONG);
    assert!(matches!(cut, Err(SocketError::TooLong { limit: 4 })), "{cut:?}");
    let huge = vec![0; 64 << 20];
    let refused = left.try_send(&huge, &[]);
    assert!(matches!(refused, Err(SocketError::TooLong { .. })), "{refused:?}");
}

#[test]
fn nobody_waits_longer_than_allowed() {
    let (left, right) = Conn::pair().expect("pair");
    let short = Duration::from_millis(5);
    let nothing = left.recv(&mut [0; 8], 0, short);
    assert!(matches!(nothing, Err(SocketError::TimedOut(_))), "{nothing:?}");
    while left.try_send(&[7; 1024], &[]).expect("send") {}
    let full = left.send(b"x", &[], short);
    assert!(matches!(full, Err(SocketError::TimedOut(_))), "{full:?}");
    // Room made by the reader lets a waiting writer go on.
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| left.send(&[9], &[], LONG));
        let mut buffer = [0; 1024];
        while buffer[0] != 9 {
            received(&right, &mut buffer, 0);
        }
        writer.join().expect("writer").expect("send");
    });
    assert!(Deadline::after(Duration::MAX).poll_timeout() == PollTimeout::MAX);
}

#[test]
fn a_hang_up_is_seen_after_the_last_message() {
    let (left, right) = Conn::pair().expect("pair");
    assert!(!right.hung_up());
    // Unread by the peer: its close then resets us, and its own last words must still arrive.
    right.send(b"unread", &[], LONG).expect("send");
    left.send(b"refused: too old", &[], LONG).expect("send");
    drop(left);
    until("hang-up", || right.hung_up());
    let mut buffer = [0; 64];
    let last = received(&right, &mut buffer, 0);
    assert_eq!(&buffer[..last.len], b"refused: too old");
    assert!(matches!(right.recv(&mut buffer, 0, LONG), Ok(None)));
    assert!(matches!(right.recv(&mut buffer, 0, LONG), Ok(None)));
    let sent = right.send(b"x", &[], LONG);
    assert!(matches!(sent, Err(SocketError::HungUp)), "{sent:?}");
}

#[test]
fn the_kernel_says_who_the_peer_is_and_when_it_ends() {
    let folder = Folder::new();
    let listener = Listener::bind(&folder.socket(), 0o600).expect("bind");
    let child = spawn_child(|| {
        let conn = Conn::connect(&folder.socket(), LONG).expect("connect");
        // Until the parent hangs up.
        i32::from(!matches!(conn.recv(&mut [0; 8], 0, LONG), Ok(None)))
    });
    let mut conn = None;
    until("the child connects", || {
        conn = listener.accept_nonblocking().expect("accept");
        conn.is_some()
    });
    let conn = conn.expect("accepted");
    let cred = conn.peer_cred().expect("cred");
    let own = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    assert_eq!((cred.uid, cred.gid, cred.pid), (own.0, own.1, child.as_raw()));
    let pidfds = [conn.peer_pidfd().expect("pidfd"), pidfd_open(cred.pid).expect("pidfd_open")];
    let ended = |pidfd: &OwnedFd| {
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, 10_u16).expect("poll") == 1
    };
    assert!(!pidfds.iter().any(ended));
    // A copy of `conn` in another test's child would delay the hang-up: say it explicitly.
    nix::sys::socket::shutdown(conn.fd.as_raw_fd(), nix::sys::socket::Shutdown::Both)
        .expect("shutdown");
    until("the pidfd tells", || pidfds.iter().all(ended));
    assert_eq!(outcome(child), 0);
    assert!(matches!(peer_pidfd_by_pid(0), Err(SocketError::UnseenPeer)));
    let gone = conn.peer_pidfd();
    assert!(matches!(gone, Err(SocketError::HungUp) | Ok(_)), "{gone:?}");
}
