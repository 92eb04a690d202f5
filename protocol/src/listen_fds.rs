//! Taking over the sockets that a service manager opened for this process (sd_listen_fds(3)).
//!
//! Invariant: each descriptor becomes an [`OwnedFd`] at most once in the life of the process.
//! It lives here because an `OwnedFd` can be made of a number only with `unsafe`, which the
//! daemon forbids itself. It does not look at what the descriptors are: the caller does.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::libc;

/// Number of the first descriptor: `SD_LISTEN_FDS_START`.
const FIRST: RawFd = 3;
/// More than any service manager passes (systemd: 4096 stored ones); a bound for a bad variable.
const COUNT_MAX: RawFd = 4096;

/// Descriptors that the service manager passed, close-on-exec from here on; empty without one,
/// and at every later call.
///
/// # Errors
/// `LISTEN_FDS` or `LISTEN_PID` is not a number, or a promised descriptor is not open. Then none
/// is taken.
pub fn take() -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let variable = |name| std::env::var(name).ok();
    let count = count(variable("LISTEN_PID"), variable("LISTEN_FDS"), std::process::id())?;
    if count == 0 || TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    let numbers = FIRST..FIRST + count;
    for number in numbers.clone() {
        // SAFETY: F_SETFD takes any number and touches no memory; a closed one gives EBADF.
        let result = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        Errno::result(result)?;
    }
    // SAFETY: LISTEN_PID names this very process, so the manager opened 3..3+count for it before
    // exec and passed their ownership (sd_listen_fds(3)); all were open a moment ago; TAKEN lets
    // only the first caller get here, so no other OwnedFd is made of them.
    Ok(numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect())
}

/// How many descriptors are meant for process `own`.
fn count(pid: Option<String>, fds: Option<String>, own: u32) -> io::Result<RawFd> {
    let (Some(pid), Some(fds)) = (pid, fds) else { return Ok(0) };
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let pid: u32 =
        pid.parse().map_err(|_| invalid(format!("LISTEN_PID={pid:?} is not a process id")))?;
    if pid != own {
        return Ok(0);
    }
    let count = fds.parse().ok().filter(|count| (0..=COUNT_MAX).contains(count));
    count
        .ok_or_else(|| invalid(format!("LISTEN_FDS={fds:?} is not a number from 0 to {COUNT_MAX}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_descriptors_for_this_process_count() {
        let text = |text: &str| Some(text.to_owned());
        let cases = [
            (None, None, Some(0)),
            (None, text("1"), Some(0)),
            (text("7"), None, Some(0)),
            (text("7"), text("2"), Some(2)),
            (text("7"), text("0"), Some(0)),
            (text("8"), text("2"), Some(0)),
            (text("8"), text("nonsense for another"), Some(0)),
            (text("me"), text("1"), None),
            (text("7"), text("-1"), None),
            (text("7"), text("4097"), None),
            (text("7"), text("all"), None),
        ];
        for (pid, fds, want) in cases {
            assert_eq!(count(pid.clone(), fds.clone(), 7).ok(), want, "{pid:?} {fds:?}");
        }
    }

    #[test]
    fn nothing_is_taken_without_a_service_manager() {
        // Test runners are not socket-activated; the daemon's tests cover the other case.
        if std::env::var_os("LISTEN_FDS").is_none() {
            assert!(take().unwrap().is_empty());
        }
    }
}
