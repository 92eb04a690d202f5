//! Submitting a call that the fast path does not take: it connects, asks for the method's number,
//! finds memory for a large payload, and waits for room.
//!
//! Invariants: the lane is let go of before anything waits; a segment that was taken for a payload
//! is given back unless the call was submitted, or its session is over. It does *not* look at the
//! answer: see [`crate::call`].

use std::sync::Arc;
use std::time::Instant;

use ringfence_protocol::limits::INLINE_BYTES;

use crate::bulk::{self, Placed};
use crate::call::Request;
use crate::cell::Holder;
use crate::error::Error;
use crate::lane::Lane;
use crate::owner::{Held, Owner};
use crate::pending::{Call, Entry, Pending};
use crate::remote::Remote;
use crate::room::Room;

const RING_FULL: &str = "the ring is full: take answers first, or make fewer calls at once";

/// What came of a try to submit.
enum Tried {
    Submitted(u64, Held),
    NeedsBulk,
    Full,
    Broken(Error),
}

impl Remote {
    /// Submits a call, whatever it takes: a connection, the method's number, room, memory for the
    /// payload.
    pub(crate) fn submit(
        self: &Arc<Self>,
        mut index: usize,
        request: Request<'_>,
    ) -> Result<(usize, Holder<'_>, u64, Held), Error> {
        // Made when it is needed: it reads the exact clock.
        let mut waiting: Option<Room> = None;
        let mut in_bulk = None;
        loop {
            let mut holder = self.lanes[index].hold();
            let Some(lane) = holder.as_mut() else {
                drop(holder);
                if request.options.at_once {
                    return Err(Error::WouldBlock);
                }
                in_bulk = None;
                let room = waiting.get_or_insert_with(|| Room::new(self.settings.spin));
                self.ensure(index, room.until(&request))?;
                index = self.lane_index();
                continue;
            };
            let Some(number) = request.method.number(lane.serial) else {
                let session = lane.session.clone();
                drop(holder);
                self.resolve(request.method, &session)?;
                continue;
            };
            match self.try_submit(lane, number, request, &mut in_bulk) {
                Tried::Submitted(ticket, held) => {
                    lane.ring_bell_if_due();
                    return Ok((index, holder, ticket, held));
                }
                Tried::NeedsBulk => {
                    let session = lane.session.clone();
                    self.lanes[index].let_go(holder, self);
                    let room = waiting.get_or_insert_with(|| Room::new(self.settings.spin));
                    let (at_once, until) = (request.options.at_once, room.until(&request));
                    let placed = bulk::place(&session, request.payload, at_once, until);
                    self.bury(&session);
                    match placed? {
                        Some(segment) => {
                            let (serial, len) = (session.serial, request.payload.len());
                            in_bulk = Some(Placed { serial, segment, at: 0, len });
                        }
                        None => room.wait(self, &request, session.serial, bulk::ALL_BUSY)?,
                    }
                }
                Tried::Full => {
                    let serial = lane.serial;
                    self.lanes[index].let_go(holder, self);
                    let room = waiting.get_or_insert_with(|| Room::new(self.settings.spin));
                    if let Err(error) = room.wait(self, &request, serial, RING_FULL) {
                        if let Some(placed) = in_bulk {
                            placed.segment.give_back();
                        }
                        return Err(error);
                    }
                }
                Tried::Broken(error) => return Err(self.broken(holder, error)),
            }
        }
    }

    /// Submits a call whose payload lies in a segment that a loan holds, and that is held for this call
    /// too. `None`: the session of that segment is over.
    pub(crate) fn submit_placed(
        self: &Arc<Self>,
        request: Request<'_>,
        placed: &Placed,
    ) -> Result<Option<Pending>, Error> {
        let mut to_submit = Some(placed.clone());
        let submitted = self.try_placed(request, placed.serial, &mut to_submit);
        if to_submit.is_some() {
            placed.segment.give_back();
        }
        submitted
    }

    fn try_placed(
        self: &Arc<Self>,
        request: Request<'_>,
        serial: u32,
        to_submit: &mut Option<Placed>,
    ) -> Result<Option<Pending>, Error> {
        let index = self.lane_index();
        let mut room = Room::new(self.settings.spin);
        loop {
            let mut holder = self.lanes[index].hold();
            let Some(lane) = holder.as_mut().filter(|lane| lane.serial == serial) else {
                return Ok(None);
            };
            let Some(number) = request.method.number(serial) else {
                let session = lane.session.clone();
                drop(holder);
                self.resolve(request.method, &session)?;
                continue;
            };
            match self.try_submit(lane, number, request, to_submit) {
                Tried::Submitted(ticket, held) => {
                    lane.ring_bell_if_due();
                    let since = Instant::now();
                    return Ok(Some(self.put_aside(index, holder, ticket, held, request, since)));
                }
                Tried::Broken(error) => return Err(self.broken(holder, error)),
                // It was taken, and given back because the last slot was gone.
                _ if to_submit.is_none() => return Ok(None),
                Tried::Full | Tried::NeedsBulk => {
                    self.lanes[index].let_go(holder, self);
                    room.wait(self, &request, serial, RING_FULL)?;
                }
            }
        }
    }

    fn try_submit(
        self: &Arc<Self>,
        lane: &mut Lane,
        number: u32,
        request: Request<'_>,
        in_bulk: &mut Option<Placed>,
    ) -> Tried {
        lane.ring.prepare_request(request.payload.len());
        lane.ring.unpark();
        // Answers are looked at only for the room that they give: the look would take the next one's line away from
        // the daemon, and the request would wait for it.
        if !lane.has_room() {
            if let Err(error) = lane.drain(self) {
                return Tried::Broken(error);
            }
            if !lane.has_room() {
                return Tried::Full;
            }
        }
        let payload = request.payload;
        let mut len = payload.len();
        let (held, block, inline) = if let Some(placed) = in_bulk.take()
            && placed.serial == lane.serial
        {
            len = placed.len;
            let block = placed.segment.block(placed.at);
            (Held::Bulk(placed.segment), block, &[][..])
        } else if len <= INLINE_BYTES {
            (Held::Nothing, 0, payload)
        } else if len <= lane.arena_bytes() {
            let mut block = lane.ring.place(payload);
            if block.is_none() {
                if let Err(error) = lane.drain(self) {
                    return Tried::Broken(error);
                }
                block = lane.ring.place(payload);
            }
            match block {
                Some(block) => (Held::Arena { block, len }, block, &[][..]),
                // Whoever may not wait awaits each answer, if the order matters.
                None if request.method.is_in_order() && !request.options.at_once => {
                    return Tried::Full;
                }
                None => return Tried::NeedsBulk,
            }
        } else {
            return Tried::NeedsBulk;
        };
        match lane.submit(request.header(number, block, len), inline) {
            Some(ticket) => Tried::Submitted(ticket, held),
            None => {
                lane.give_back(held);
                Tried::Full
            }
        }
    }

    /// Registers a call that was submitted at `since`, so that whoever takes its answer has a place for it,
    /// and lets go of the lane.
    pub(crate) fn put_aside(
        self: &Arc<Self>,
        index: usize,
        mut holder: Holder<'_>,
        ticket: u64,
        held: Held,
        request: Request<'_>,
        since: Instant,
    ) -> Pending {
        let entry = Arc::new(Entry::default());
        let (mut serial, mut beat, mut rang) = (0, 0, false);
        if let Some(lane) = holder.as_mut() {
            lane.register(ticket, Owner::Entry(entry.clone()), held);
            (serial, beat, rang) = (lane.serial, lane.ring.beat(), lane.rang);
        }
        self.lanes[index].let_go(holder, self);
        Pending::new(Call {
            remote: self.clone(),
            entry,
            lane: index,
            serial,
            ticket,
            since,
            timeout: request.timeout(),
            beat,
            rang,
            idempotent: request.method.is_idempotent(),
            measured: None,
        })
    }
}
