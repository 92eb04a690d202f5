//! When more come than there is room for: who gives way, who waits, and who is told.
//!
//! Connections that have not said hello are worth the least: the oldest of the user who has most of
//! them gives way. Who connects again and again is made to wait: for a millisecond nobody is asked.
//! Invariants: a user's silent connections keep nobody else out; while nothing is accepted no time is
//! spent on it; what anybody can provoke is logged once a minute, a refusal for each user.

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::limits;
use ringfence_protocol::sys::socket::Listener;

use super::bucket::TokenBucket;
use super::{Running, guests};
use crate::scarce;

/// How long nothing is accepted after so many came as may.
const PACE: Duration = Duration::from_millis(1);

/// How long nothing is accepted after descriptors ran out.
const PAUSE: Duration = Duration::from_millis(500);

/// Connections of one user that have not said hello. A client says it at once.
const GUESTS_PER_UID: usize = 64;

/// Descriptors that a session needs while it is made, with some to spare.
const DESCRIPTORS_OF_A_SESSION: usize = 12;

/// How often the same is logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Users whose last refusal is remembered.
const LOGGED_MAX: usize = 1024;

/// What anybody can provoke again and again, and is logged only now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Logged {
    /// This user was refused.
    Refused(u32),
    /// Nothing can be accepted.
    RanDry,
    /// Whoever connects has to wait.
    Paced,
}

/// Connections that may come in.
pub(super) fn arrivals() -> TokenBucket {
    TokenBucket::new(limits::CONNECTS, limits::CONNECTS_PER_SECOND, Instant::now())
}

impl Running {
    /// So many have come that the next ones wait: in the backlog, or to get there.
    pub(super) fn keep_pace(&mut self) {
        if may_log(&mut self.logged, Logged::Paced) {
            let most = limits::CONNECTS_PER_SECOND;
            tracing::info!(
                "more than {most} connections a second: the next ones wait for their turn"
            );
        }
        self.pause(PACE);
    }

    /// Nothing is accepted for so long.
    fn pause(&mut self, time: Duration) {
        if let Some(listener) = &self.server.listener {
            let _ = self.server.epoll.delete(listener.as_fd());
            self.paused_until = Some(Instant::now() + time);
        }
    }

    /// Nothing can be accepted: those who wait are told why, and then nobody is asked for a while.
    pub(super) fn run_dry(&mut self, error: &(dyn std::error::Error + 'static)) {
        let Some(listener) = &self.server.listener else { return };
        if may_log(&mut self.logged, Logged::RanDry) {
            tracing::warn!(%error, "cannot accept: pausing; raise LimitNOFILE if descriptors ran out");
        }
        if let Some(told) = scarce::limit(error) {
            // Bounded: what is left is told after the pause.
            for _ in 0..64 {
                if !self.server.spare.meet(listener, |conn| guests::refuse(&conn, &told)) {
                    break;
                }
                self.server.sight.refused();
            }
        }
        self.pause(PAUSE);
    }

    /// The user has one more connection that says nothing: one of too many gives way.
    pub(super) fn limit_guests(&mut self, uid: u32) {
        let of_user = self.guests.values().filter(|guest| guest.uid == uid).count();
        if of_user > GUESTS_PER_UID && is_armed("door.guests") {
            self.dismiss_oldest(uid);
        }
    }

    /// Has the user with most silent connections lose the oldest. Was there one?
    pub(super) fn dismiss_guest(&mut self) -> bool {
        if !is_armed("door.guests") {
            return false;
        }
        let mut counts = HashMap::new();
        for guest in self.guests.values() {
            *counts.entry(guest.uid).or_insert(0_usize) += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        most.is_some_and(|(uid, _)| self.dismiss_oldest(uid))
    }

    fn dismiss_oldest(&mut self, uid: u32) -> bool {
        // Numbers are given in the order of arrival.
        let of_user = self.guests.iter().filter(|(_, guest)| guest.uid == uid);
        let oldest = of_user.map(|(id, _)| *id).min();
        let Some(guest) = oldest.and_then(|id| self.guests.remove(&id)) else { return false };
        let text = "others wait, and this connection has not said hello: say it at once";
        guests::refuse(&guest.conn, &Error::new(ErrorCode::Quota, text));
        self.server.sight.refused();
        true
    }

    /// Lets silent connections go until there are descriptors for a session, or no more of them.
    pub(super) fn make_room(&mut self) {
        while !self.guests.is_empty() && !scarce::are_left(DESCRIPTORS_OF_A_SESSION) {
            if !self.dismiss_guest() {
                break;
            }
        }
    }
}

/// Does anybody wait at the door?
pub(super) fn waits(listener: &Listener) -> bool {
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    // What cannot be asked may be.
    !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
}

/// May this be logged? Not if it was a moment ago.
pub(super) fn may_log(logged: &mut HashMap<Logged, Instant>, what: Logged) -> bool {
    let now = Instant::now();
    let lately = |at: &Instant| now.saturating_duration_since(*at) < LOG_EVERY;
    if logged.get(&what).is_some_and(lately) && is_armed("door.log-once") {
        return false;
    }
    if logged.len() >= LOGGED_MAX {
        logged.clear();
    }
    logged.insert(what, now);
    true
}
