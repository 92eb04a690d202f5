//! A number among the subscriptions of a session, from before the daemon is asked until it has said that it knows
//! no subscription of that number.
//!
//! Whoever subscribes may give up before there is an answer: the time is over, or a future is dropped. The daemon may
//! have a subscription then that nobody reads. So a number is free again only when an unsubscribe was answered, for
//! which nobody waits. Invariant: in the daemon no subscription outlives its [`Number`] by more than that answer takes.

use std::sync::Arc;

use ringfence_protocol::api::bus as api;
use ringfence_protocol::error::{Error as RemoteError, ErrorCode};
use ringfence_protocol::layout::Header;
use ringfence_protocol::limits::SUBSCRIPTIONS;
use ringfence_protocol::message::Message as _;

use crate::error::Error;
use crate::lane::Lane;
use crate::method::Method;
use crate::owner::{Held, Owner};
use crate::remote::Remote;
use crate::session::Session;

/// A number that is taken. Dropped, it is the daemon's until that has forgotten its subscription.
#[derive(Debug)]
pub(super) struct Number {
    remote: Arc<Remote>,
    pub(super) session: Arc<Session>,
    number: u32,
    /// The daemon has no subscription of this number, and gets none.
    free: bool,
}

impl Number {
    pub(super) fn take(remote: &Arc<Remote>, session: Arc<Session>) -> Result<Self, Error> {
        remote.say_farewells(&session);
        // That somebody was cut off is not to be read when the number is another's.
        session.poll();
        match session.ears.take_number() {
            Some(number) => Ok(Self { remote: remote.clone(), session, number, free: false }),
            None => {
                let text = format!(
                    "{SUBSCRIPTIONS} subscriptions of this client are open, the most of one session: close one first"
                );
                Err(Error::Remote(RemoteError::new(ErrorCode::Quota, text)))
            }
        }
    }

    pub(super) fn get(&self) -> u32 {
        self.number
    }

    /// The daemon has said that there is no such subscription.
    pub(super) fn give_back(mut self) {
        self.free = true;
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        let Self { remote, session, number, free } = self;
        if remote.stamp.is_child() {
            return;
        }
        if *free {
            return session.ears.give_number(*number);
        }
        session.ears.leave(*number);
        remote.say_farewells(session);
    }
}

impl Remote {
    /// Has the daemon forget the subscriptions of a session that are over: those for which there is room now, the
    /// others with their answers.
    fn say_farewells(self: &Arc<Self>, session: &Arc<Session>) {
        if !session.ears.any_leaves() || session.death().is_some() {
            return;
        }
        let method = Method::of_session(api::NAME, "unsubscribe", session.serial);
        if self.resolve(&method, session).is_err() {
            return;
        }
        let cell = &self.lanes[0];
        let mut holder = cell.hold();
        // A session that is over has no subscriptions.
        if let Some(lane) = holder.as_mut().filter(|lane| lane.serial == session.serial)
            && let Some(number) = method.number(lane.serial)
        {
            lane.ring.unpark();
            let _if_it_is_broken_the_next_call_says_so = lane.drain_or_die(self);
            lane.say_farewells(number);
        }
        cell.let_go(holder, self);
    }
}

impl Lane {
    /// The daemon has forgotten this subscription.
    #[cold]
    pub(crate) fn is_forgotten(&mut self, subscription: u32, method: u32) {
        self.session.ears.give_number(subscription);
        self.say_farewells(method);
    }

    /// As many as there is room for.
    fn say_farewells(&mut self, method: u32) {
        while self.session.ears.any_leaves() && self.has_room() {
            let Some(subscription) = self.session.ears.next_to_leave() else { break };
            let mut payload = Vec::with_capacity(8);
            api::Unsubscribe { subscription }.encode(&mut payload);
            // Without a deadline: it is to be heard however late it is.
            let header = Header { method, len: payload.len() as u32, ..Header::default() };
            let Some(ticket) = self.submit(header, &payload) else {
                return self.session.ears.leave(subscription);
            };
            self.register(ticket, Owner::Farewell(subscription), Held::Nothing);
        }
        self.ring_bell_if_due();
    }
}
