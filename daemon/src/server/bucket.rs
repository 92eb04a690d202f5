//! [`TokenBucket`]: what may be done at once, and how much of it comes back in a second.

use std::time::{Duration, Instant};

/// Counts down what may be done, and up again as time passes.
#[derive(Debug)]
pub(super) struct TokenBucket {
    left: u32,
    most: u32,
    /// Until one comes back.
    every: Duration,
    /// When the last one came back.
    since: Instant,
}

impl TokenBucket {
    /// So many at once, and so many a second (not 0) after that.
    pub(super) fn new(most: u32, per_second: u32, now: Instant) -> Self {
        Self { left: most, most, every: Duration::from_secs(1) / per_second, since: now }
    }

    /// Takes one. `false`: there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let some = self.some(now);
        self.left -= u32::from(some);
        some
    }

    /// Is there one?
    pub(super) fn some(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_nanos();
        let back = u32::try_from(passed / self.every.as_nanos()).unwrap_or(u32::MAX);
        if back >= self.most - self.left {
            (self.left, self.since) = (self.most, now);
        } else {
            self.left += back;
            self.since += self.every * back;
        }
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_one_by_one_and_never_more_than_there_was() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut bucket = TokenBucket::new(3, 100, start);
        let mut taken = |ms| (0..9).take_while(|_| bucket.take(at(ms))).count();
        assert_eq!(taken(0), 3);
        assert_eq!(taken(9), 0);
        assert_eq!(taken(10), 1);
        // What was over at the last look counts for the next: 19 and 6 are 25.
        assert_eq!(taken(29), 1);
        assert_eq!(taken(35), 1);
        assert_eq!(taken(36), 0);
        assert_eq!(taken(1_000_000), 3);
        // Time that goes back brings nothing back.
        assert_eq!(taken(10), 0);
    }
}
