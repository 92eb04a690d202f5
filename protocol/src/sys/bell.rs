//! The eventfd by which a client wakes its session's poller.
//!
//! Invariants: ringing never blocks and never fails for being rung already. The daemon watches it
//! edge-triggered and never reads it: every write is an edge, and nothing is left to drain.
//! What it does not do: carry a meaning. A bell means: look at all open lanes of that session. The
//! daemon never rings one that a client holds too (a full counter would block it; SPEC: waiting).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// One session's bell.
#[derive(Debug)]
pub struct Bell {
    event: EventFd,
}

impl Bell {
    /// A new bell: the daemon makes one per session.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { event })
    }

    /// The client's copy, as received from the daemon.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        // SAFETY: "unsafe" in nix because it cannot know that this is an eventfd. Whatever it is,
        // only an 8-byte write is ever done to it, and the kernel checks that.
        let event = unsafe { EventFd::from_owned_fd(fd) };
        Self { event }
    }

    /// Wakes the poller. Non-blocking travels with the open file, so also in the client.
    ///
    /// # Errors
    /// Only if the descriptor is no eventfd.
    pub fn ring(&self) -> io::Result<()> {
        loop {
            match self.event.write(1) {
                // EAGAIN: the counter is at 2^64 - 2. The write is no edge then, and the sweep
                // finds the lane; it takes 500 years of ringing or a client that wants it.
                Ok(_) | Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

    use super::*;

    fn rings(epoll: &Epoll) -> usize {
        epoll.wait(&mut [EpollEvent::empty(); 4], EpollTimeout::ZERO).expect("epoll")
    }

    #[test]
    fn every_ring_is_an_edge_that_nobody_has_to_read() {
        let bell = Bell::new().expect("eventfd");
        let client = Bell::from_fd(bell.as_fd().try_clone_to_owned().expect("dup"));
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
        let edge = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 1);
        epoll.add(&bell, edge).expect("add");
        assert_eq!(rings(&epoll), 0);
        for _ in 0..3 {
            client.ring().expect("ring");
            assert_eq!((rings(&epoll), rings(&epoll)), (1, 0));
        }
    }

    #[test]
    fn a_full_counter_neither_blocks_nor_fails() {
        let bell = Bell::new().expect("eventfd");
        bell.event.write(u64::MAX - 1).expect("the largest value");
        bell.ring().expect("no failure");
        let pipe = nix::unistd::pipe().expect("pipe").0;
        assert!(Bell::from_fd(pipe).ring().is_err(), "the read end of a pipe takes no write");
    }
}
