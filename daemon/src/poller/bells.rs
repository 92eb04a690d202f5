//! Bells: what they mean, and when those of a session are a storm.
//!
//! A bell that is followed by a request costs no more than the request, and a client may make as many of
//! those as it likes. Nor is one in vain that says that a message was read. Who rings for nothing too often is
//! served by the sweep alone for a while.

use std::os::fd::AsFd as _;

use nix::sys::epoll::{EpollEvent, EpollTimeout};
use ringfence_protocol::disarm::is_armed;

use super::{INBOX, Poller};

/// Bells in vain between two sweeps before a session is served by the sweep alone.
const BELLS_IN_VAIN: u64 = 1000;

impl Poller {
    pub(super) fn poll_bells(&mut self, timeout: EpollTimeout) {
        let mut events = [EpollEvent::empty(); 64];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            // EINTR: look again at the next turn. Nothing else can happen to a valid epoll.
            Err(_) => return,
        };
        for event in &events[..count] {
            if event.data() != INBOX {
                self.answer_bell(event.data());
            }
        }
    }

    /// A bell means: look at all lanes of that session.
    fn answer_bell(&mut self, session: u64) {
        let Some(member) = self.members.get_mut(&session) else { return };
        let lanes = member.lanes.iter().filter_map(|index| self.lanes[*index].as_ref());
        let served = lanes.map(|lane| lane.calls).sum();
        let read = || self.bench.bus.read_by(session);
        if member.in_vain.is_storm(served, read) && !member.masked {
            // A storm: the sweep serves this session until it is over.
            member.masked = self.epoll.delete(member.bell.as_fd()).is_ok();
        }
        for index in member.lanes.clone() {
            self.heat(index);
        }
    }
}

/// Counts them.
#[derive(Debug, Default)]
pub(super) struct InVain {
    bells: u64,
    /// Requests of the session that had been served at the last bell.
    served: u64,
    /// Messages that it had read when this was asked last.
    read: u64,
}

impl InVain {
    /// A bell rings, of a session that so many requests have been served of and that has read so many messages,
    /// which is asked only where it decides. Is it one too many?
    pub(super) fn is_storm(&mut self, served: u64, read: impl FnOnce() -> u64) -> bool {
        // Each request makes up for one bell, also where another lane's bell had it found already.
        self.bells = (self.bells + 1).saturating_sub(served.saturating_sub(self.served));
        self.served = served;
        if self.bells > BELLS_IN_VAIN {
            let read = read();
            self.bells = self.bells.saturating_sub(read.saturating_sub(self.read));
            self.read = read;
        }
        self.bells > BELLS_IN_VAIN && is_armed("bell.storm")
    }

    /// A sweep: what was is forgotten.
    pub(super) fn forgive(&mut self) {
        self.bells = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> u64 {
        0
    }

    #[test]
    fn a_storm_is_a_thousand_bells_that_nothing_came_of() {
        let mut bells = InVain::default();
        for _ in 0..3 {
            assert!((0..BELLS_IN_VAIN).all(|_| !bells.is_storm(0, nothing)));
            assert!(bells.is_storm(0, nothing));
            bells.forgive();
        }
    }

    #[test]
    fn a_request_makes_up_for_a_bell() {
        let mut bells = InVain::default();
        assert!((0..10 * BELLS_IN_VAIN).all(|served| !bells.is_storm(served, nothing)));
        // Two lanes whose bells ring one after the other, and what both are for is found at the first.
        let two = |bell: u64| bell / 2 * 2;
        let rings = 10 * BELLS_IN_VAIN..20 * BELLS_IN_VAIN;
        assert!(rings.into_iter().all(|bell| !bells.is_storm(two(bell), nothing)));
        let rarely = |bell: u64| 20 * BELLS_IN_VAIN + bell / 100;
        assert!((0..2 * BELLS_IN_VAIN).any(|bell| bells.is_storm(rarely(bell), nothing)));
    }

    #[test]
    fn a_message_that_was_read_makes_up_for_a_bell() {
        let mut bells = InVain::default();
        // The topic does not ask at every message.
        assert!((0..10 * BELLS_IN_VAIN).all(|bell| !bells.is_storm(0, || bell / 100 * 100)));
        // What was read once counts once.
        let all = || 10 * BELLS_IN_VAIN;
        assert!((0..2 * BELLS_IN_VAIN).any(|_| bells.is_storm(0, all)));
    }
}
