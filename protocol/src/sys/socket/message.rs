//! One message with descriptors, by sendmsg and recvmsg themselves.
//!
//! Why not nix's `recvmsg`: when the kernel truncates the control data (MSG_CTRUNC, for instance
//! because this process has no descriptor left), nix gives an error and the descriptors that did
//! arrive stay open for ever. Here they are owned before anything else is looked at.
//! Invariants: MSG_DONTWAIT always; a descriptor that arrives is owned or closed.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;

use super::{SocketError, TryReceived, os};

/// Most descriptors in one message. The largest, a welcome, has well under ten.
pub const MAX_FDS: usize = 16;

const FD_BYTES: usize = size_of::<RawFd>();

/// A received message; its bytes are in the caller's buffer.
#[derive(Debug)]
pub struct Received {
    /// Bytes received.
    pub len: usize,
    /// Descriptors received, in the sender's order, close-on-exec.
    pub fds: Vec<OwnedFd>,
    /// Descriptors came that were not asked for, or could not all be taken in (EMFILE); `fds` is
    /// empty then.
    pub fds_discarded: bool,
}

/// One header (16 bytes on 64-bit Linux) and [`MAX_FDS`] descriptors.
const CONTROL_BYTES: usize = size_of::<libc::cmsghdr>() + MAX_FDS * FD_BYTES;
const _: () = assert!(CONTROL_BYTES == 80 && align_of::<libc::cmsghdr>() <= 8);

/// Room for control data, aligned as a header must be.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Sends now; false when there is no room.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<bool, SocketError> {
    if bytes.is_empty() || fds.len() > MAX_FDS {
        return Err(SocketError::Shape { len: bytes.len(), fds: fds.len() });
    }
    let mut control = Control([0; CONTROL_BYTES]);
    let mut io = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut header = new_header(&mut io);
    if !fds.is_empty() {
        attach(&mut header, &mut control, fds);
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    loop {
        // SAFETY: the header points to `io`, which points to `bytes` (sendmsg only reads), and to
        // `control`; all outlive the call.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags) };
        match Errno::result(sent) {
            // SEQPACKET takes a message whole or not at all.
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(false),
            Err(errno) => return Err(send_error(errno, bytes.len(), !fds.is_empty())),
        }
    }
}

fn send_error(errno: Errno, len: usize, with_fds: bool) -> SocketError {
    match errno {
        Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN => SocketError::HungUp,
        Errno::EMSGSIZE => SocketError::TooLong { limit: len.saturating_sub(1) },
        Errno::EPERM if with_fds => SocketError::FdsRefused,
        other => os("sendmsg", other),
    }
}

/// Receives now. More than `max_fds` descriptors are discarded, all of them.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    max_fds: usize,
) -> Result<TryReceived, SocketError> {
    let max_fds = max_fds.min(MAX_FDS);
    let mut control = Control([0; CONTROL_BYTES]);
    let base = buffer.as_mut_ptr().cast();
    let mut io = libc::iovec { iov_base: base, iov_len: buffer.len() };
    let mut was_reset = false;
    let (header, len) = loop {
        let mut header = new_header(&mut io);
        if max_fds > 0 {
            header.msg_control = control.0.as_mut_ptr().cast();
            // Exactly so many and not one more: the rest, and with room for none all, is closed
            // by the kernel.
            header.msg_controllen = control_len(max_fds);
        }
        let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
        // SAFETY: the header points to `io`, which points to the exclusively borrowed `buffer`
        // with its length, and to `control` with at most its length; all outlive the call.
        let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        match Errno::result(got) {
            Ok(len) => break (header, len.unsigned_abs()),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(TryReceived::Nothing),
            // The peer closed without reading all of ours. What it had sent before (a refusal!)
            // is behind this error, which the kernel reports once.
            Err(Errno::ECONNRESET) if !was_reset => was_reset = true,
            Err(Errno::ECONNRESET | Errno::ENOTCONN) => return Ok(TryReceived::HungUp),
            Err(errno) => return Err(os("recvmsg", errno)),
        }
    };
    let fds = detach(&header);
    if header.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(SocketError::TooLong { limit: buffer.len() });
    }
    if len == 0 {
        return Ok(TryReceived::HungUp);
    }
    let fds_discarded = header.msg_flags & libc::MSG_CTRUNC != 0 || fds.len() > max_fds;
    let fds = if fds_discarded { Vec::new() } else { fds };
    Ok(TryReceived::Message(Received { len, fds, fds_discarded }))
}

fn new_header(io: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: msghdr is integers and pointers, for which zeros mean "none".
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = io;
    header.msg_iovlen = 1;
    header
}

/// CMSG_LEN of `count` descriptors, which `Control` has room for up to [`MAX_FDS`].
fn control_len(count: usize) -> usize {
    // SAFETY: pure arithmetic; at most 16 + 64.
    unsafe { libc::CMSG_LEN((count * FD_BYTES) as u32) as usize }
}

/// Writes the one control message that carries `fds`, of which there are 1 to [`MAX_FDS`].
fn attach(header: &mut libc::msghdr, control: &mut Control, fds: &[BorrowedFd<'_>]) {
    let len = control_len(fds.len());
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = len;
    // SAFETY: `control` is aligned for a header and at least `len` long (see CONTROL_BYTES), so
    // the first header and the data of `fds` lie inside; the writes need no alignment.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = len;
        let data = libc::CMSG_DATA(first).cast::<RawFd>();
        for (at, fd) in fds.iter().enumerate() {
            data.add(at).write_unaligned(fd.as_raw_fd());
        }
    }
}

/// Owns every descriptor that the kernel installed.
fn detach(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: recvmsg has set msg_controllen to what it wrote into `control`, a sequence of
    // complete headers with data, which the CMSG macros walk without leaving it. Each number
    // under SCM_RIGHTS is a new descriptor of this process that nobody else owns.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = next.as_ref() {
            if message.cmsg_level == libc::SOL_SOCKET && message.cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(next).cast::<RawFd>();
                let count = message.cmsg_len.saturating_sub(control_len(0)) / FD_BYTES;
                let owned = |at| OwnedFd::from_raw_fd(data.add(at).read_unaligned());
                fds.extend((0..count).map(owned));
            }
            next = libc::CMSG_NXTHDR(header, next);
        }
    }
    fds
}
