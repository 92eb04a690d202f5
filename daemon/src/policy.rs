//! What one user may take: sessions, and bytes of segments.
//!
//! Counts are taken before and given back after; a refusal names the limit and what is taken.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};

use crate::config::Config;

/// What one user holds.
#[derive(Debug)]
pub(crate) struct Usage {
    uid: u32,
    bytes: AtomicU64,
    bytes_max: u64,
}

impl Usage {
    /// Counts `bytes` of a segment, or says why not.
    pub(crate) fn take_bytes(&self, bytes: u64) -> Result<(), Error> {
        // Relaxed: a count of its own, nothing is published by it.
        let taken = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(bytes).filter(|sum| *sum <= self.bytes_max || !is_armed("quota.bytes"))
        });
        taken.map(drop).map_err(|held| {
            let text = format!(
                "{bytes} bytes more than the {held} that user {} holds are over [sessions] bytes_per_uid = {}: \
                 close sessions, release replies, or raise the limit",
                self.uid, self.bytes_max
            );
            Error::new(ErrorCode::Quota, text)
        })
    }

    /// Gives back what [`take_bytes`](Self::take_bytes) counted.
    pub(crate) fn give_bytes(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The books of all users; the control thread's.
#[derive(Debug)]
pub(crate) struct Policy {
    sessions_max: u32,
    sessions_per_uid: u32,
    bytes_max: u64,
    sessions: u32,
    users: HashMap<u32, (u32, Arc<Usage>)>,
}

impl Policy {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            sessions_max: config.sessions.max,
            sessions_per_uid: config.sessions.max_per_uid,
            bytes_max: config.sessions.bytes_per_uid,
            sessions: 0,
            users: HashMap::new(),
        }
    }

    /// Counts a session of `uid`, or says why not.
    pub(crate) fn open_session(&mut self, uid: u32) -> Result<Arc<Usage>, Error> {
        let over = |what: &str, limit: u32| {
            let text = format!(
                "{limit} sessions are open, which is [sessions] {what}: close some, or raise the limit"
            );
            Err(Error::new(ErrorCode::Quota, text))
        };
        if self.sessions == self.sessions_max {
            return over("max", self.sessions_max);
        }
        let bytes_max = self.bytes_max;
        let (sessions, usage) = self
            .users
            .entry(uid)
            .or_insert_with(|| (0, Arc::new(Usage { uid, bytes: AtomicU64::new(0), bytes_max })));
        if *sessions == self.sessions_per_uid && is_armed("quota.sessions") {
            return over("max_per_uid", self.sessions_per_uid);
        }
        *sessions += 1;
        self.sessions += 1;
        Ok(Arc::clone(usage))
    }

    /// A session of `uid` is gone.
    pub(crate) fn close_session(&mut self, uid: u32) {
        self.sessions -= 1;
        if let Some((sessions, _)) = self.users.get_mut(&uid) {
            *sessions -= 1;
            if *sessions == 0 {
                self.users.remove(&uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_per_user_and_are_given_back() {
        let mut config = Config::default();
        config.sessions.max = 3;
        config.sessions.max_per_uid = 2;
        config.sessions.bytes_per_uid = 100;
        let mut policy = Policy::new(&config);
        let usage = policy.open_session(7).unwrap();
        policy.open_session(7).unwrap();
        assert!(policy.open_session(7).unwrap_err().message.contains("max_per_uid"));
        policy.open_session(8).unwrap();
        assert!(policy.open_session(9).unwrap_err().message.contains("[sessions] max:"));
        usage.take_bytes(60).unwrap();
        let refused = usage.take_bytes(41).unwrap_err();
        assert!(
            refused.message.contains("41")
                && refused.message.contains("60")
                && refused.message.contains("100")
        );
        assert!(usage.take_bytes(u64::MAX).is_err());
        usage.give_bytes(60);
        usage.take_bytes(100).unwrap();
        policy.close_session(7);
        policy.open_session(7).unwrap();
    }
}
