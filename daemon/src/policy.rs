//! What one user may take: sessions, lanes, bytes of segments, and calls in flight.
//!
//! Counts are taken before and given back after; a refusal names the limit and what is taken.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};

use crate::config::{Config, Sessions};

/// What one user holds. Only the books know how many sessions; the rest is counted from any thread.
#[derive(Debug)]
pub(crate) struct Usage {
    uid: u32,
    /// Of segments.
    bytes: Count,
    lanes: Count,
    /// Calls of in-flight tables: queued, run, or to be answered later.
    in_flight: Count,
}

/// So many of at most so many.
#[derive(Debug)]
struct Count {
    taken: AtomicU64,
    most: u64,
}

impl Count {
    fn up_to(most: u64) -> Self {
        Self { taken: AtomicU64::new(0), most }
    }

    /// Takes so many, or says how many are taken.
    fn take(&self, count: u64, armed: bool) -> Result<(), u64> {
        // Relaxed: a count of its own, nothing is published by it.
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            taken.checked_add(count).filter(|sum| *sum <= self.most || !armed)
        });
        taken.map(drop)
    }

    fn give(&self, count: u64) {
        self.taken.fetch_sub(count, Ordering::Relaxed);
    }
}

impl Usage {
    fn new(uid: u32, limits: &Sessions) -> Self {
        Self {
            uid,
            bytes: Count::up_to(limits.bytes_per_uid),
            lanes: Count::up_to(limits.lanes_per_uid.into()),
            in_flight: Count::up_to(limits.in_flight_per_uid.into()),
        }
    }

    /// Counts `bytes` of a segment, or says why not.
    pub(crate) fn take_bytes(&self, bytes: u64) -> Result<(), Error> {
        self.bytes.take(bytes, is_armed("quota.bytes")).map_err(|held| {
            let text = format!(
                "{bytes} bytes more than the {held} that user {} holds are over [sessions] bytes_per_uid = {}: \
                 close sessions, release replies, or raise the limit",
                self.uid, self.bytes.most
            );
            Error::new(ErrorCode::Quota, text)
        })
    }

    /// Gives back what [`take_bytes`](Self::take_bytes) counted.
    pub(crate) fn give_bytes(&self, bytes: u64) {
        self.bytes.give(bytes);
    }

    /// Counts a lane, or says why not.
    pub(crate) fn take_lane(&self) -> Result<(), Error> {
        self.lanes.take(1, is_armed("quota.user-lanes")).map_err(|open| {
            let text = format!(
                "user {} has {open} lanes open, which is [sessions] lanes_per_uid: close sessions, or raise the limit",
                self.uid
            );
            Error::new(ErrorCode::Quota, text)
        })
    }

    /// Gives back so many of what [`take_lane`](Self::take_lane) counted.
    pub(crate) fn give_lanes(&self, count: u64) {
        self.lanes.give(count);
    }

    /// Counts a call of an in-flight table, or says why not.
    pub(crate) fn take_call(&self) -> Result<(), Error> {
        self.in_flight.take(1, is_armed("quota.in-flight")).map_err(|calls| {
            let text = format!(
                "user {} has {calls} heavy or waiting calls in flight, which is [sessions] in_flight_per_uid: \
                 wait for answers, or raise the limit",
                self.uid
            );
            Error::new(ErrorCode::Quota, text)
        })
    }

    /// Gives back what [`take_call`](Self::take_call) counted.
    pub(crate) fn give_call(&self) {
        self.in_flight.give(1);
    }

    /// Does a call of the user still take something?
    fn is_busy(&self) -> bool {
        self.in_flight.taken.load(Ordering::Relaxed) > 0
    }
}

/// The books of all users; the control thread's.
#[derive(Debug)]
pub(crate) struct Policy {
    limits: Sessions,
    sessions: u32,
    users: HashMap<u32, (u32, Arc<Usage>)>,
}

impl Policy {
    pub(crate) fn new(config: &Config) -> Self {
        Self { limits: config.sessions.clone(), sessions: 0, users: HashMap::new() }
    }

    /// Counts a session of `uid`, or says why not.
    pub(crate) fn open_session(&mut self, uid: u32) -> Result<Arc<Usage>, Error> {
        let over = |what: &str, limit: u32| {
            let text = format!(
                "{limit} sessions are open, which is [sessions] {what}: close some, or raise the limit"
            );
            Err(Error::new(ErrorCode::Quota, text))
        };
        let limits = &self.limits;
        if self.sessions == limits.max && is_armed("quota.all-sessions") {
            return over("max", limits.max);
        }
        let fresh = || (0, Arc::new(Usage::new(uid, limits)));
        let (sessions, usage) = self.users.entry(uid).or_insert_with(fresh);
        if *sessions == limits.max_per_uid && is_armed("quota.sessions") {
            return over("max_per_uid", limits.max_per_uid);
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
        }
        // A call may outlive its session, and counts until it ends: nobody gets rid of it by leaving.
        self.users.retain(|_, (sessions, usage)| *sessions > 0 || usage.is_busy());
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

    #[test]
    fn lanes_and_calls_are_counted_for_a_user_and_not_for_a_session() {
        let mut config = Config::default();
        config.sessions.lanes_per_uid = 2;
        config.sessions.in_flight_per_uid = 2;
        let mut policy = Policy::new(&config);
        let (one, other) = (policy.open_session(7).unwrap(), policy.open_session(7).unwrap());
        one.take_lane().unwrap();
        other.take_lane().unwrap();
        let refused = one.take_lane().unwrap_err().message;
        assert!(refused.contains("2 lanes") && refused.contains("lanes_per_uid"), "{refused}");
        policy.open_session(8).unwrap().take_lane().unwrap();
        one.give_lanes(2);
        other.take_lane().unwrap();
        one.take_call().unwrap();
        other.take_call().unwrap();
        let refused = one.take_call().unwrap_err().message;
        assert!(refused.contains("2 heavy") && refused.contains("in_flight_per_uid"), "{refused}");
        assert!(refused.len() <= ringfence_protocol::limits::INLINE_BYTES, "{refused}");
        // Who leaves and comes back has what still runs for it.
        policy.close_session(7);
        policy.close_session(7);
        let again = policy.open_session(7).unwrap();
        assert!(again.take_call().is_err());
        one.give_call();
        again.take_call().unwrap();
    }
}
