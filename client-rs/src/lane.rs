//! One open lane: the ring, and the table of its open calls.
//!
//! Whoever holds it ([`crate::cell`]) is its single user, and takes answers for everybody: its own
//! it keeps, others it puts into their owner's [`Entry`].
//!
//! Invariants: a ticket stands in the table from the moment its submitter lets go of the lane until
//! its answer has been seen; request memory is held exactly as long. It does *not* wait: see
//! [`crate::wait`].

use std::sync::Arc;
use std::task::Waker;

use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::layout::{self, Header};
use ringfence_protocol::limits::{BLOCK_BYTES, COPY_REPLY_BYTES, LINE_BYTES, LINE_WORDS};
use ringfence_protocol::measures::Measures;
use ringfence_protocol::memory::Memory;
use ringfence_protocol::ring::{Nap, WakeBy};
use ringfence_protocol::wait::Lull;

use crate::error::Error;
use crate::many::Results;
use crate::owner::{Held, Owner};
use crate::pending::Entry;
use crate::remote::Remote;
use crate::reply::{AsReply, Lease, Reply, Sink};
use crate::session::{Death, Opened, Ring, Session};

/// The answer of a call.
pub(crate) type Answer = Result<Reply, Error>;

#[derive(Debug)]
struct Place {
    ticket: u64,
    owner: Owner,
    held: Held,
}

/// An open lane.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) ring: Ring,
    pub(crate) session: Arc<Session>,
    pub(crate) serial: u32,
    geometry: Geometry,
    /// Its number among the client's lanes.
    index: usize,
    /// Open calls by the low bits of their tickets.
    places: Box<[Place]>,
    /// Calls that are open for so long that a later one needed their place: few, so a list.
    displaced: Vec<Place>,
    /// Batches that have calls in this lane.
    pub(crate) batches: Vec<(u32, Arc<Results>)>,
    /// Cancellations of calls that had no entry in the daemon's table yet.
    cancels: Vec<u64>,
    /// Before the first look at a short answer.
    pub(crate) lull: Lull,
    /// The daemon slept when it was last asked whether to ring for what was submitted, and was woken.
    pub(crate) rang: bool,
    /// What was measured of its calls; in a box, since few calls touch it.
    measures: Box<Measures>,
}

impl Lane {
    pub(crate) fn new(opened: Opened, session: Arc<Session>, index: usize) -> Self {
        let (Opened { ring, geometry }, serial) = (opened, session.serial);
        // Open calls: at most the slots of the ring, and as many that the daemon has claimed.
        let count = 2 * geometry.slots as usize;
        let free = || Place { ticket: 0, owner: Owner::Free, held: Held::Nothing };
        let places = std::iter::repeat_with(free).take(count).collect();
        Self {
            ring,
            geometry,
            session,
            serial,
            index,
            places,
            displaced: Vec::new(),
            batches: Vec::new(),
            cancels: Vec::new(),
            lull: Lull::default(),
            rang: false,
            measures: Box::default(),
        }
    }

    #[inline]
    fn at(&self, ticket: u64) -> usize {
        ticket as usize & (self.places.len() - 1)
    }

    /// May one more call be open?
    #[inline]
    fn may_open(&self) -> bool {
        self.ring.outstanding() < self.places.len() as u64
    }

    /// May a request be submitted now?
    pub(crate) fn has_room(&mut self) -> bool {
        self.may_open() && self.ring.has_room()
    }

    /// Publishes a request with an inline payload; `None` if there is no room.
    #[inline(always)]
    pub(crate) fn submit(&mut self, header: Header, inline: &[u8]) -> Option<u64> {
        if !self.may_open() {
            return None;
        }
        self.ring.submit(header, inline).ok()
    }

    /// Bytes that the request arena holds at most.
    pub(crate) fn arena_bytes(&self) -> usize {
        self.geometry.up_blocks as usize * BLOCK_BYTES
    }

    /// How many calls of one batch are open at a time. Below the slots of the ring: while it is full,
    /// every submission looks at a word that the daemon is about to write (measured: a fifth of the
    /// rate).
    pub(crate) fn window(&self) -> usize {
        self.geometry.slots as usize * 3 / 4
    }

    /// Rings the daemon's bell if it sleeps. Once for a batch of submissions.
    #[inline]
    pub(crate) fn ring_bell_if_due(&mut self) {
        self.rang = false;
        if self.ring.bell_due() {
            self.session.ring_bell();
            self.rang = true;
        }
    }

    /// Puts a call aside: whoever takes its answer knows now what to do with it.
    pub(crate) fn register(&mut self, ticket: u64, owner: Owner, held: Held) {
        let at = self.at(ticket);
        let before = std::mem::replace(&mut self.places[at], Place { ticket, owner, held });
        if !matches!(before.owner, Owner::Free) {
            self.displaced.push(before);
        }
    }

    /// The same for an item of a batch, whose payload is inline. Written in place, word by word: a
    /// value that is put together and then copied is read back from stores that wait in line behind
    /// the slot's own, which miss every cache (measured: 35 ns a call).
    #[inline(always)]
    pub(crate) fn register_item(&mut self, ticket: u64, key: u32, index: u32) {
        let at = self.at(ticket);
        let place = &mut self.places[at];
        if !matches!(place.owner, Owner::Free) {
            return self.register(ticket, Owner::Item { key, index }, Held::Nothing);
        }
        // A free place holds nothing.
        place.ticket = ticket;
        place.owner = Owner::Item { key, index };
    }

    /// How many calls more may be submitted now.
    pub(crate) fn room(&mut self) -> usize {
        let open = self.ring.outstanding() as usize;
        if self.has_room() { self.places.len().saturating_sub(open) } else { 0 }
    }

    /// The tasks that wait for answers.
    pub(crate) fn tasks(&self) -> Vec<Waker> {
        let all = self.places.iter().chain(&self.displaced);
        all.filter_map(|place| match &place.owner {
            Owner::Entry(entry) => entry.task(),
            _ => None,
        })
        .collect()
    }

    /// The place of an open call.
    #[inline]
    fn place(&mut self, ticket: u64) -> Option<&mut Place> {
        let at = self.at(ticket);
        let direct = &self.places[at];
        if direct.ticket == ticket && !matches!(direct.owner, Owner::Free) {
            return Some(&mut self.places[at]);
        }
        self.displaced.iter_mut().find(|place| place.ticket == ticket)
    }

    /// Nobody wants the answer any more, so the daemon need not compute it.
    pub(crate) fn abandon(&mut self, ticket: u64) {
        if let Some(place) = self.place(ticket).filter(|p| matches!(p.owner, Owner::Entry(_))) {
            place.owner = Owner::Nobody;
            self.cancel(ticket);
        }
    }

    /// Asks for the end of a call, now or as soon as the daemon has it in its table.
    pub(crate) fn cancel(&mut self, ticket: u64) {
        if !self.ring.cancel(ticket) && !self.cancels.contains(&ticket) {
            self.cancels.push(ticket);
        }
    }

    /// Is this answer no error, and short enough for [`take_line`](Self::take_line)?
    #[inline(always)]
    pub(crate) fn is_line(&self, header: Header) -> bool {
        header.status == 0 && header.block == 0 && header.len as usize <= LINE_BYTES
    }

    /// Takes the answer that [`Ring::peek`] found, of one line.
    #[inline(always)]
    pub(crate) fn take_line(&mut self) -> [u64; LINE_WORDS] {
        let words = self.ring.read_line();
        self.collect();
        words
    }

    /// Is it an answer that lies in its slot?
    #[inline(always)]
    pub(crate) fn is_inline(&self, header: Header) -> bool {
        header.status == 0 && header.block == 0
    }

    /// Takes the answer that [`Ring::peek`] found, which [is inline](Self::is_inline).
    #[inline(always)]
    pub(crate) fn take_inline<S: Sink>(&mut self, header: Header, sink: S) -> S::Out {
        let out = sink.filled(header.len as usize, |out| self.ring.read(header, out));
        self.collect();
        out
    }

    /// Takes the answer that [`Ring::peek`] found, for its owner.
    #[inline(always)]
    pub(crate) fn take(&mut self, header: Header, remote: &Arc<Remote>) -> Answer {
        if !self.is_inline(header) {
            return self.take_other(header, remote);
        }
        if self.is_line(header) {
            return Ok(Reply::line(header.len as usize, self.take_line()));
        }
        Ok(self.take_inline(header, AsReply))
    }

    #[inline(always)]
    fn collect(&mut self) {
        if self.ring.collect() {
            self.session.ring_bell();
        }
    }

    /// An error, or a reply that is not inline.
    #[cold]
    fn take_other(&mut self, header: Header, remote: &Arc<Remote>) -> Answer {
        let len = header.len as usize;
        let segment = header.block >> 24;
        if segment != 0 && header.status != 0 {
            // A lease may not be dropped while the lane is held, so the text is given up.
            self.discard(header);
            let text = b"(its text was too long to be read)";
            return Err(Error::from_reply(header.status, text));
        }
        let answer = if segment == 0 {
            Ok(Reply::copied(len, |out| self.ring.read(header, out)))
        } else {
            self.leased(segment, len, remote)
        };
        self.collect();
        match answer {
            Ok(text) if header.status != 0 => Err(Error::from_reply(header.status, &text)),
            answer => answer,
        }
    }

    fn leased(&self, segment: u32, len: usize, remote: &Arc<Remote>) -> Answer {
        let region = self.session.reply_segment(segment, len)?;
        let number = self.ring.bulk_lease(segment);
        if len <= COPY_REPLY_BYTES {
            let reply = Reply::copied(len, |out| region.read_block(0, out));
            self.ring.release(number);
            return Ok(reply);
        }
        let lease = Lease { remote: remote.clone(), lane: self.index, serial: self.serial, number };
        Ok(Reply::leased(region, len, lease))
    }

    /// Gives an answer that nobody wants back unread.
    fn discard(&mut self, header: Header) {
        match (header.block, header.block >> 24) {
            (0, _) => {}
            (block, 0) => self.ring.release(block as usize - 1),
            (_, segment) => self.ring.release(self.ring.bulk_lease(segment)),
        }
        self.collect();
    }

    /// Takes the answer that [`Ring::peek`] found, and gives it to its owner.
    pub(crate) fn deliver(&mut self, header: Header, remote: &Arc<Remote>) -> Result<(), Error> {
        let owner = self.free(header.ticket)?;
        self.give_to(owner, header, remote);
        Ok(())
    }

    /// The same, for the thread that waits for it and holds its entry. `None`: it is not open.
    pub(crate) fn take_own(
        &mut self,
        header: Header,
        entry: &Entry,
        remote: &Arc<Remote>,
    ) -> Option<Answer> {
        let _its_owner_is_here = self.free(header.ticket).ok()?;
        entry.close();
        Some(self.take(header, remote))
    }

    /// The same, for the thread of batch `own`, which takes its items itself.
    #[inline(always)]
    pub(crate) fn deliver_item(
        &mut self,
        header: Header,
        own: u32,
        remote: &Arc<Remote>,
    ) -> Result<Option<(u32, Answer)>, Error> {
        match self.free(header.ticket)? {
            Owner::Item { key, index } if key == own => {
                Ok(Some((index, self.take(header, remote))))
            }
            other => {
                self.give_to(other, header, remote);
                Ok(None)
            }
        }
    }

    /// Frees the place of an item of batch `own`, if nothing more is to be done about it: its index.
    #[inline(always)]
    pub(crate) fn free_item(&mut self, ticket: u64, own: u32) -> Option<u32> {
        let is_all = self.displaced.is_empty() && self.cancels.is_empty();
        let place = self.place(ticket)?;
        let Owner::Item { key, index } = place.owner else { return None };
        if key != own || !is_all || !matches!(place.held, Held::Nothing) {
            return None;
        }
        place.owner = Owner::Free;
        Some(index)
    }

    /// Frees the place of a call that has been answered, and its request memory.
    #[inline]
    fn free(&mut self, ticket: u64) -> Result<Owner, Error> {
        let Some(place) = self.place(ticket) else {
            return Err(Error::Protocol {
                what: format!("an answer to call {ticket}, which is not open"),
            });
        };
        let owner = std::mem::replace(&mut place.owner, Owner::Free);
        let held = std::mem::replace(&mut place.held, Held::Nothing);
        self.give_back(held);
        if !self.displaced.is_empty() {
            self.displaced.retain(|place| !matches!(place.owner, Owner::Free));
        }
        if !self.cancels.is_empty() {
            self.cancels.retain(|cancelled| *cancelled != ticket);
        }
        Ok(owner)
    }

    fn give_to(&mut self, owner: Owner, header: Header, remote: &Arc<Remote>) {
        match owner {
            Owner::Free | Owner::Nobody => self.discard(header),
            Owner::Post(tally, count) if header.status == 0 => {
                self.discard(header);
                tally.published(count);
            }
            Owner::Post(tally, count) => {
                if let Err(error) = self.take(header, remote) {
                    tally.failed(error, count);
                }
            }
            Owner::Farewell(number) => {
                self.discard(header);
                self.is_forgotten(number, header.method);
            }
            Owner::Entry(entry) => entry.set(self.take(header, remote)),
            Owner::Item { key, index } => match self.batch(key) {
                Some(results) => results.set(index, self.take(header, remote)),
                None => self.discard(header),
            },
        }
    }

    fn batch(&self, key: u32) -> Option<Arc<Results>> {
        let found = self.batches.iter().find(|batch| batch.0 == key);
        found.map(|(_, results)| results.clone())
    }

    /// Nobody wants the open items of a batch any more: their indices, and whether the daemon has
    /// taken them.
    pub(crate) fn abandon_items(&mut self, batch: u32) -> Vec<(u32, bool)> {
        let mut given_up = Vec::new();
        for place in self.places.iter_mut().chain(&mut self.displaced) {
            if let Owner::Item { key, index } = place.owner
                && key == batch
            {
                place.owner = Owner::Nobody;
                given_up.push((place.ticket, index));
            }
        }
        given_up.iter().for_each(|(ticket, _)| self.cancel(*ticket));
        let claimed = |(ticket, index)| (index, self.ring.was_claimed(ticket));
        given_up.into_iter().map(claimed).collect()
    }

    /// The answer of the call that used this memory has been seen.
    #[inline]
    pub(crate) fn give_back(&mut self, held: Held) {
        match held {
            Held::Nothing => {}
            Held::Arena { block, len } => self.ring.give_back(block, len),
            Held::Bulk(segment) => segment.give_back(),
        }
    }

    /// Takes every answer that is there.
    pub(crate) fn drain(&mut self, remote: &Arc<Remote>) -> Result<(), Error> {
        while let Some(header) = self.ring.peek()? {
            self.deliver(header, remote)?;
        }
        self.cancel_again();
        Ok(())
    }

    /// Asks again for the end of calls that the daemon had not taken yet.
    pub(crate) fn cancel_again(&mut self) {
        if !self.cancels.is_empty() {
            let ring = &self.ring;
            self.cancels.retain(|ticket| !ring.cancel(*ticket));
        }
    }

    /// Parks the lane for threads that sleep on `down.wake` and for an event loop, after taking every
    /// answer: the value that `wake` has until the daemon wakes them. If the daemon breaks a rule its
    /// session dies, and there is no sleep.
    #[cold]
    pub(crate) fn park_or_drain(&mut self, remote: &Arc<Remote>, by: WakeBy) -> Option<u32> {
        let session = self.session.clone();
        loop {
            match self.ring.park(by, || session.ring_bell()) {
                Nap::Sleep { wake } => return Some(wake),
                Nap::Awake => self.drain_or_die(remote)?,
            }
        }
    }

    /// Takes every answer that is there. If the daemon breaks a rule its session dies: `None`.
    pub(crate) fn drain_or_die(&mut self, remote: &Arc<Remote>) -> Option<()> {
        match self.drain(remote) {
            Ok(()) => Some(()),
            Err(error) => {
                self.session.die(Death::Broken { what: error.to_string() });
                None
            }
        }
    }

    /// Adds a measured call, and shows the sums to the daemon.
    pub(crate) fn measured(&mut self, method: u32, call_ns: u64, wait_ns: Option<u64>) {
        self.measures.add(method, call_ns, wait_ns);
        self.ring.publish(&self.measures);
    }

    /// The value of the daemon's wake word now.
    pub(crate) fn wake_word(&self) -> u32 {
        self.ring.down().load_u32(layout::down::WAKE)
    }

    /// The session is over: everybody gets what was still answered, or `death`.
    pub(crate) fn bury(&mut self, death: &Death, remote: &Arc<Remote>) {
        let _broken_rules_do_not_matter_now = self.drain(remote);
        let pid = self.session.pid;
        for place in self.places.iter_mut().chain(&mut self.displaced) {
            let error = || Err(death.error(self.ring.was_claimed(place.ticket), pid));
            match std::mem::replace(&mut place.owner, Owner::Free) {
                Owner::Free | Owner::Nobody | Owner::Farewell(_) => {}
                Owner::Post(tally, count) => {
                    let error = death.error(self.ring.was_claimed(place.ticket), pid);
                    tally.failed(error, count);
                }
                Owner::Entry(entry) => entry.set(error()),
                Owner::Item { key, index } => {
                    let batch = self.batches.iter().find(|batch| batch.0 == key);
                    if let Some((_, results)) = batch {
                        results.set(index, error());
                    }
                }
            }
        }
    }
}
