//! Descriptors that ran out: how that is recognised, what is said, and the one that is kept back.
//!
//! Invariant: whoever is refused for want of a descriptor is told so, and of which limit. It does
//! *not* decide who gets the ones that are left: the control thread does.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::{Resource, getrlimit};
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::sys::socket::{Conn, Listener};

/// The limit that an error comes from, if it comes from one of descriptors.
pub(crate) fn limit(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let mut link = Some(error);
    while let Some(error) = link {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return of_errno(io.raw_os_error()?);
        }
        link = error.source();
    }
    None
}

fn of_errno(errno: i32) -> Option<Error> {
    let text = match Errno::from_raw(errno) {
        Errno::EMFILE => {
            let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
            format!(
                "the daemon has no descriptor left, RLIMIT_NOFILE = {most}: close sessions, or raise LimitNOFILE"
            )
        }
        Errno::ENFILE => {
            "the machine has no descriptor left: close programs, or raise fs.file-max".to_owned()
        }
        _ => return None,
    };
    Some(Error::new(ErrorCode::Quota, text))
}

/// An error of a system call, as a client gets it.
pub(crate) fn io(error: std::io::Error) -> Error {
    limit(&error).unwrap_or_else(|| Error::new(ErrorCode::Io, error.to_string()))
}

/// Are so many descriptors left?
pub(crate) fn are_left(count: usize) -> bool {
    let taken: Vec<_> = (0..count).map_while(|_| one()).collect();
    taken.len() == count
}

fn one() -> Option<OwnedFd> {
    EventFd::from_flags(EfdFlags::EFD_CLOEXEC).ok().map(OwnedFd::from)
}

/// A descriptor that is kept back, to tell whoever finds none left.
#[derive(Debug)]
pub(crate) struct Spare(Option<OwnedFd>);

impl Spare {
    pub(crate) fn new() -> Self {
        Self(one())
    }

    /// Takes one that waits at the door, if the spare one lets it in, and gives the descriptor back
    /// afterwards. Was there one?
    pub(crate) fn meet(&mut self, listener: &Listener, tell: impl FnOnce(Conn)) -> bool {
        self.0 = None;
        let met = match listener.accept_nonblocking() {
            Ok(Some(conn)) => {
                tell(conn);
                true
            }
            // Another thread may have been faster: then the next one is told.
            Ok(None) | Err(_) => false,
        };
        self.0 = one();
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_descriptors_are_scarce_and_the_limit_is_named() {
        let of = |errno: Errno| limit(&std::io::Error::from(errno));
        let few = of(Errno::EMFILE).unwrap();
        assert_eq!(few.code, ErrorCode::Quota);
        assert!(few.message.contains("RLIMIT_NOFILE = "), "{few:?}");
        assert!(of(Errno::ENFILE).unwrap().message.contains("fs.file-max"));
        assert!(of(Errno::ENOSPC).is_none());
        assert!(limit(&std::fmt::Error).is_none());
        assert!(are_left(3) && !are_left(1 << 21));
    }
}
