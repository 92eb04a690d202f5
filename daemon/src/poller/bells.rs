//! Bells of one session that bring no work, and when they are a storm.
//!
//! A bell that is followed by a request costs no more than the request, and a client may make as many of
//! those as it likes. It does *not* answer bells, nor leave them unanswered: the poller does.

/// Bells in vain between two sweeps before a session is served by the sweep alone.
const BELLS_IN_VAIN: u64 = 1000;

/// Counts them.
#[derive(Debug, Default)]
pub(super) struct InVain {
    bells: u64,
    /// Requests of the session that had been served at the last bell.
    served: u64,
}

impl InVain {
    /// A bell rings, of a session that so many requests have been served of. Is it one too many?
    pub(super) fn is_storm(&mut self, served: u64) -> bool {
        // Each request makes up for one bell, also where another lane's bell had it found already.
        self.bells = (self.bells + 1).saturating_sub(served.saturating_sub(self.served));
        self.served = served;
        self.bells > BELLS_IN_VAIN
    }

    /// A sweep: what was is forgotten.
    pub(super) fn forgive(&mut self) {
        self.bells = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_a_thousand_bells_that_nothing_came_of() {
        let mut bells = InVain::default();
        for _ in 0..3 {
            assert!((0..BELLS_IN_VAIN).all(|_| !bells.is_storm(0)));
            assert!(bells.is_storm(0));
            bells.forgive();
        }
    }

    #[test]
    fn a_request_makes_up_for_a_bell() {
        let mut bells = InVain::default();
        assert!((0..10 * BELLS_IN_VAIN).all(|served| !bells.is_storm(served)));
        // Two lanes whose bells ring one after the other, and what both are for is found at the first.
        let two = |bell: u64| bell / 2 * 2;
        assert!((10 * BELLS_IN_VAIN..20 * BELLS_IN_VAIN).all(|bell| !bells.is_storm(two(bell))));
        let rarely = |bell: u64| 20 * BELLS_IN_VAIN + bell / 100;
        assert!((0..2 * BELLS_IN_VAIN).any(|bell| bells.is_storm(rarely(bell))));
    }
}
