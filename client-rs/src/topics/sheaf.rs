//! Short messages of one kind on their way in one request: a publish of many costs one slot and one
//! answer. They lie in the arena, never in a segment: what a worker reads, later messages could go by.

use std::sync::Arc;

use ringfence_protocol::api::bus::{MANY, PublishMany};
use ringfence_protocol::message::Message as _;

use super::Publication;
use super::publisher::Tally;
use crate::call::Request;
use crate::error::Error;
use crate::lane::Lane;
use crate::method::Method;
use crate::options::CallOptions;
use crate::owner::{Held, Owner};
use crate::remote::Remote;
use crate::room::Room;

/// Payload bytes of a request of many messages: a few of them fit the arena, so that one is filled while
/// others are served.
pub(super) const SHEAF_BYTES: usize = 12 * 1024;

/// Short messages of one kind on their way in one request.
#[derive(Debug, Default)]
pub(super) struct Sheaf {
    type_id: u16,
    flags: u32,
    lens: Vec<u32>,
    payloads: Vec<u8>,
    request: Vec<u8>,
}

impl Sheaf {
    /// How many messages.
    pub(super) fn len(&self) -> u32 {
        self.lens.len() as u32
    }

    pub(super) fn has_room_for(&self, message: &Publication<'_>) -> bool {
        let same = (self.type_id, self.flags) == (message.kind(), message.flags());
        let bytes = self.payloads.len() + message.payload().len();
        self.lens.is_empty() || same && self.lens.len() < MANY && bytes <= SHEAF_BYTES
    }

    pub(super) fn add(&mut self, message: &Publication<'_>) {
        (self.type_id, self.flags) = (message.kind(), message.flags());
        self.lens.push(message.payload().len() as u32);
        self.payloads.extend_from_slice(message.payload());
    }

    pub(super) fn clear(&mut self) {
        self.lens.clear();
        self.payloads.clear();
    }

    fn encode(&mut self, topic: u64) -> &[u8] {
        let Self { type_id, flags, lens, payloads, request } = self;
        request.clear();
        let (type_id, flags) = (*type_id, *flags);
        PublishMany { topic, type_id, flags, lens, payloads }.encode(request);
        request
    }
}

impl Remote {
    /// Submits a request of many messages, and waits for room if there is none.
    pub(super) fn post_request(
        self: &Arc<Self>,
        method: &Method,
        topic: u64,
        sheaf: &mut Sheaf,
        tally: &Arc<Tally>,
    ) -> Result<(), Error> {
        if self.stamp.is_child() {
            return Err(Error::Forked);
        }
        let (options, count) = (CallOptions::default(), sheaf.len());
        let payload = sheaf.encode(topic);
        let request = Request { method, payload, options: &options, turns: 0, stays: false };
        let mut room: Option<Room> = None;
        loop {
            let index = self.lane_index();
            let mut holder = self.lanes[index].hold();
            let Some(lane) = holder.as_mut() else {
                drop(holder);
                self.ensure(index, None)?;
                continue;
            };
            let (session, serial) = (lane.session.clone(), lane.serial);
            let Some(number) = method.number(serial) else {
                drop(holder);
                self.resolve(method, &session)?;
                continue;
            };
            let posted = lane.post_block(request, number, (tally, count), self);
            self.lanes[index].let_go(holder, self);
            if posted {
                return Ok(());
            }
            let room = room.get_or_insert_with(|| Room::new(self.settings.spin));
            room.wait(self, &request, serial, "the ring is full of messages")?;
        }
    }
}

impl Lane {
    /// Submits a request whose payload lies in the arena: never in a segment, which a worker would read, and
    /// later messages could go by it. `false`: there is no room for it now.
    fn post_block(
        &mut self,
        request: Request<'_>,
        number: u32,
        (tally, count): (&Arc<Tally>, u32),
        remote: &Arc<Remote>,
    ) -> bool {
        self.ring.unpark();
        self.drain_some(remote);
        let (payload, len) = (request.payload, request.payload.len());
        if !self.has_room() || self.ring.outstanding() >= self.window() as u64 {
            return false;
        }
        let Some(block) = self.ring.place(payload) else { return false };
        let held = Held::Arena { block, len };
        let Some(ticket) = self.submit(request.header(number, block, len), &[]) else {
            self.give_back(held);
            return false;
        };
        self.register(ticket, Owner::Post(tally.clone(), count), held);
        self.ring_bell_if_due();
        true
    }
}
