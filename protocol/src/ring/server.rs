//! The daemon's side of a lane.
//!
//! Not thread-safe: only the lane's poller calls it. Everything read from `up` is hostile: it is loaded
//! once, checked, and then the copy is used. The order of the stores to `down` is SPEC F1, which is
//! what makes a killed daemon's segments readable:
//!
//! ```text
//! light:  copy · claimed = p+1 · run · completion.seq · done+1 · released = p+1
//! heavy:  entry body · entry.ticket = p+1 · claimed = p+1 · released = p+1
//!         · run · completion.seq · done+1 · entry.ticket = 0
//! ```

use std::sync::atomic::Ordering;

use crate::crash;
use crate::disarm::is_armed;
use crate::fault::Fault;
use crate::geometry::{Down, Geometry, Up};
use crate::layout::{ENTRY_BYTES, Header, down, entry, slot, up};
use crate::limits::{BLOCK_BYTES, INLINE_BYTES, INLINE_WORDS, LINE_BYTES, LINE_WORDS};
use crate::memory::{Memory, line_words, words_of};
use crate::ring::request::place_of;
use crate::ring::{
    ASLEEP, BY_BYTE, Leases, NEXT_SLEEP, Open, Place, RecoveryError, Request, WakeBy,
    prefetch_second, prefetch_slot, recovery, write_slot,
};

/// What the submission ring holds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Nothing.
    Empty,
    /// A request, but the client owes answers: it is skipped, not killed.
    NoCredit,
    /// A request.
    Request(Request),
}

/// An entry of the in-flight table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(u32);

impl Entry {
    /// Its place in the table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The daemon's side of a lane.
#[derive(Debug)]
pub struct ServerLane<U, D> {
    up: U,
    down: D,
    geometry: Geometry,
    up_map: Up,
    down_map: Down,
    claimed: u64,
    done: u64,
    released: u64,
    /// The client's `consumed` as last accepted.
    consumed: u64,
    free_entries: Vec<u32>,
    leases: Leases,
    /// The client's odd parking value that was acted upon.
    rung: u32,
    parked: u32,
    wake: u32,
    beat: u64,
    /// Bytes that lay in the slot of the last answer.
    last_len: usize,
}

impl<U: Memory, D: Memory> ServerLane<U, D> {
    /// A fresh lane: both rings are made ready at `start`.
    ///
    /// # Panics
    /// If a segment is smaller than the geometry needs: the daemon made both.
    pub fn new(up: U, down: D, geometry: Geometry, start: u64, epoch: u64) -> Self
    where
        U: Memory,
    {
        down.store(down::EPOCH, epoch);
        Self::at(up, down, geometry, [start; 4])
    }

    /// Takes over the segments of a daemon that died, after repairing them. The calls that are left
    /// open must be run again ([`rerun`](Self::rerun)) or answered with [`finish`](Self::finish).
    /// Reply blocks of answered calls stay leased until the client gives them back.
    ///
    /// # Errors
    /// [`RecoveryError`] if `down` cannot have been left by a daemon.
    pub fn recover(
        up: U,
        down: D,
        geometry: Geometry,
        epoch: u64,
    ) -> Result<(Self, Vec<Open>), RecoveryError> {
        let left = recovery::repair(&up, &down, geometry)?;
        let leases = Leases::recover(&up, &down, geometry, |ticket| left.is_answered(ticket))?;
        let consumed = up.load_acquire(up::CONSUMED);
        let in_range = left.done.wrapping_sub(consumed) <= u64::from(geometry.slots);
        let consumed = if in_range { consumed } else { left.done };
        down.store_release(down::EPOCH, epoch);
        let mut lane =
            Self::at(up, down, geometry, [left.claimed, left.done, left.released, consumed]);
        lane.free_entries.retain(|index| left.open.iter().all(|open| open.entry.0 != *index));
        lane.leases = leases;
        // The dead daemon may have been asleep. Its successor's first sleep needs a value that no
        // client has rung for, so the word goes on from where it stands.
        lane.unpark();
        Ok((lane, left.open))
    }

    fn at(
        up: U,
        down: D,
        geometry: Geometry,
        [claimed, done, released, consumed]: [u64; 4],
    ) -> Self {
        let (up_map, down_map) = (geometry.up(), geometry.down());
        assert!(
            up.len() >= up_map.len && down.len() >= down_map.len,
            "segments smaller than their geometry"
        );
        let (wake, parked) = (down.load_u32(down::WAKE), down.load_u32(down::PARKED));
        let beat = down.load(down::BEAT);
        Self {
            up,
            down,
            geometry,
            up_map,
            down_map,
            claimed,
            done,
            released,
            consumed,
            free_entries: (0..geometry.slots).rev().collect(),
            leases: Leases::new(geometry),
            rung: 0,
            parked,
            wake,
            beat,
            last_len: 0,
        }
    }

    /// The client's segment.
    #[must_use]
    pub fn up(&self) -> &U {
        &self.up
    }

    /// The daemon's segment.
    #[must_use]
    pub fn down(&self) -> &D {
        &self.down
    }

    /// Requests claimed and not yet answered.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.claimed.wrapping_sub(self.done)
    }

    /// Is there a request? One load: for a loop that polls.
    #[inline(always)]
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let at = self.request_at(self.claimed);
        prefetch_second(&self.up, at);
        let seq = self.up.load(at + slot::SEQ);
        if !is_armed("request.seq") {
            return seq > self.claimed;
        }
        seq == self.claimed.wrapping_add(1)
    }

    /// The next request, validated, not yet claimed.
    ///
    /// # Errors
    /// A [`Fault`]: the session ends.
    #[inline(always)]
    pub fn peek(&mut self) -> Result<Peek, Fault> {
        if !self.is_ready() {
            return Ok(Peek::Empty);
        }
        if !self.has_credit()? {
            return Ok(Peek::NoCredit);
        }
        let at = self.request_at(self.claimed);
        // B, pairs with A.
        self.up.fence(Ordering::Acquire);
        let mut header = Header::from_words(self.up.load_words(at + slot::TICKET));
        let place = place_of(header, self.geometry)?;
        if !is_armed("request.copied-once") {
            header = self.header_again(at);
        }
        Ok(Peek::Request(Request { ticket: self.claimed, header, place }))
    }

    /// What must never be: what was checked is looked at a second time, and used. After a moment in which it may
    /// change, also where its owner needs this core.
    #[cold]
    fn header_again(&self, at: usize) -> Header {
        std::thread::sleep(std::time::Duration::from_millis(1));
        Header::from_words(self.up.load_words(at + slot::TICKET))
    }

    /// Copies a request's payload, as far as `out` goes, from the slot or the arena.
    #[inline(always)]
    pub fn read(&self, request: &Request, out: &mut [u8]) {
        match request.place {
            Place::Inline => self.up.read(self.request_at(self.claimed) + slot::PAYLOAD, out),
            Place::Arena { at } => self.up.read_block(at, out),
            Place::Bulk { .. } => {}
        }
    }

    /// Copies an inline request's payload, and with it all words of the first line. Each from the slot to `out` by a
    /// register.
    #[inline(always)]
    pub fn read_inline(&self, request: &Request, out: &mut [u64; INLINE_WORDS]) {
        let at = self.request_at(self.claimed) + slot::PAYLOAD;
        let (line, behind) = out.split_at_mut(LINE_WORDS);
        self.up.read_words(at, line);
        let words = words_of(request.header.len as usize);
        if words > LINE_WORDS {
            self.up.read_words(at + LINE_BYTES, &mut behind[..words - LINE_WORDS]);
        }
    }

    #[inline(always)]
    fn has_credit(&mut self) -> Result<bool, Fault> {
        let slots = u64::from(self.geometry.slots);
        if self.claimed.wrapping_sub(self.consumed) < slots || !is_armed("request.credit") {
            return Ok(true);
        }
        // H, pairs with G: the client has read the answers below. Its fence is the caller's (B), which
        // stands between this load and whatever is answered.
        let consumed = self.up.load(up::CONSUMED);
        let owed = self.done.wrapping_sub(self.consumed);
        if consumed.wrapping_sub(self.consumed) > owed && is_armed("consumed") {
            return Err(Fault::Consumed { consumed, from: self.consumed, done: self.done });
        }
        self.consumed = consumed;
        Ok(self.claimed.wrapping_sub(consumed) < slots)
    }

    /// Takes the request that [`peek`](Self::peek) found, to be run in place: [`answer`](Self::answer)
    /// and [`release`](Self::release) must follow before anything else.
    #[inline(always)]
    pub fn claim(&mut self) {
        self.claimed = self.claimed.wrapping_add(1);
        self.down.store_release(down::CLAIMED, self.claimed);
        crash::point("daemon.claimed");
    }

    /// The slot of the claimed request may be reused.
    #[inline(always)]
    pub fn release(&mut self) {
        self.released = self.released.wrapping_add(1);
        // E, pairs with F: we have read the slot.
        self.down.store_release(down::RELEASED, self.released);
        crash::point("daemon.released");
    }

    /// Takes the request that [`peek`](Self::peek) found into the in-flight table, so that it never
    /// holds up its slot. `inline` is the private copy of an inline payload.
    ///
    /// # Panics
    /// If no entry is free: credit bounds the claimed requests to the entries.
    pub fn admit(&mut self, request: &Request, inline: &[u8]) -> Entry {
        let entry =
            self.free_entries.pop().expect("credit bounds the entries: claimed - consumed < slots");
        self.write_entry(entry, request, inline);
        self.claim();
        self.release();
        Entry(entry)
    }

    fn write_entry(&self, index: u32, request: &Request, inline: &[u8]) {
        let at = self.entry_at(index);
        // The entry was freed before (`finish`): no word of the new call may stand in it while it still
        // bears the ticket of the last one, or a successor would run that one with this one's payload.
        self.down.fence(Ordering::Release);
        self.down.store(at + entry::ATTEMPTS, 1);
        self.down.store(at + entry::PROGRESS, 0);
        self.down.store_words(at + entry::SLOT + slot::TICKET, request.header.words());
        self.down.write(at + entry::SLOT + slot::PAYLOAD, inline);
        crash::point("daemon.entry.body");
        // AA, pairs with AB: whoever finds this ticket finds no progress of the entry's last call.
        self.down.store_release(at + entry::TICKET, request.ticket.wrapping_add(1));
        crash::point("daemon.entry.ticket");
    }

    /// Records that a call which recovery left open is about to run again, *before* it runs: should
    /// this daemon die too, the next one sees how often the call was started.
    pub fn rerun(&mut self, open: &Open) {
        let at = self.entry_at(open.entry.0);
        self.down.store(at + entry::PROGRESS, 0);
        self.down.store_release(at + entry::ATTEMPTS, open.attempts.saturating_add(1));
    }

    /// Copies the payload of a call that recovery left open, as far as `out` goes: from its entry, or
    /// from the arena of `up`, which is the daemon's until the call is answered.
    pub fn read_open(&self, open: &Open, out: &mut [u8]) {
        match open.place {
            Some(Place::Inline) => {
                self.down.read(self.entry_at(open.entry.0) + entry::SLOT + slot::PAYLOAD, out);
            }
            Some(Place::Arena { at }) => self.up.read_block(at, out),
            Some(Place::Bulk { .. }) | None => {}
        }
    }

    /// Publishes an answer whose payload is `inline`, or lies in the block that `header` names.
    #[inline(always)]
    pub fn answer(&mut self, header: Header, inline: &[u8]) {
        debug_assert!(inline.len() <= INLINE_BYTES);
        self.last_len = inline.len();
        let at = self.answer_at(self.done);
        let (line, behind) = inline.split_at(inline.len().min(LINE_BYTES));
        write_slot(&self.down, at, header, line_words(line), behind);
        crash::point("daemon.answer.words");
        self.done = self.done.wrapping_add(1);
        // C, pairs with D.
        self.down.store_release(at + slot::SEQ, self.done);
        crash::point("daemon.answer.seq");
        self.down.store_release(down::DONE, self.done);
        crash::point("daemon.answer.done");
        // The client reads it next.
        self.down.demote(at);
    }

    /// Bytes that lay in the slot of the last answer.
    #[must_use]
    pub fn last_len(&self) -> usize {
        self.last_len
    }

    /// Asks for the lines of the next answer, of so many bytes in its slot, so that they are here when they
    /// are written. Worth it only if the client does not look before that, see [`Lull`](crate::wait::Lull).
    #[inline(always)]
    pub fn prepare_answer(&self, len: usize) {
        prefetch_slot(&self.down, self.answer_at(self.done), len);
    }

    /// Asks for the line of an answer a few ahead, for who answers many one after another: stores wait in line, so
    /// that without this each line is asked for when the one before has come. Not the next one's: the client
    /// may look at it.
    #[inline(always)]
    pub fn prepare_answer_ahead(&self) {
        self.down.prefetch_write(self.answer_at(self.done.wrapping_add(3)));
    }

    /// Asks for the line of a request a few ahead, for who finds many one after another: they come at the same time and
    /// not one after the other. Two ahead: who writes many at once is further (three and more took lines away from
    /// who was about to write them).
    #[inline(always)]
    pub fn prefetch_request_ahead(&self) {
        self.up.prefetch_read(self.request_at(self.claimed.wrapping_add(2)));
    }

    /// Answers a call of the in-flight table and frees its entry.
    pub fn finish(&mut self, entry: Entry, header: Header, inline: &[u8]) {
        self.answer(header, inline);
        self.down.store_release(self.entry_at(entry.0) + entry::TICKET, 0);
        crash::point("daemon.entry.freed");
        self.free_entries.push(entry.0);
    }

    /// Publishes how far a call of the in-flight table is.
    pub fn progress(&self, entry: Entry, done: u64) {
        self.down.store(self.entry_at(entry.0) + entry::PROGRESS, done);
    }

    /// Offset of an entry's progress word in `down`, for whoever runs the call.
    #[must_use]
    pub fn progress_at(&self, entry: Entry) -> usize {
        self.entry_at(entry.0) + entry::PROGRESS
    }

    /// Offset of an entry's cancel word in `up`; the call is cancelled while it holds ticket + 1.
    #[must_use]
    pub fn cancel_at(&self, entry: Entry) -> usize {
        self.up_map.cancel + entry.index() * 8
    }

    /// Copies `payload` into the reply arena under a lease for `ticket`: the `block` word that names
    /// it, or `None` if the client holds too much.
    pub fn place(&mut self, payload: &[u8], ticket: u64) -> Option<u32> {
        let first = self.leases.take_blocks(&self.up, &self.down, payload.len(), ticket)?;
        self.down.write_block(self.down_map.arena + first as usize * BLOCK_BYTES, payload);
        Some(first + 1)
    }

    /// Records bulk segment `segment` as leased for `ticket`: the `block` word that names it.
    pub fn lease_bulk(&mut self, segment: u32, bytes: u64, ticket: u64) -> u32 {
        self.leases.take_bulk(&self.down, segment, bytes, ticket);
        segment << 24 | 1
    }

    /// Does the client still hold bulk segment `segment`?
    pub fn bulk_is_held(&mut self, segment: u32) -> bool {
        self.leases.bulk_is_held(&self.up, segment)
    }

    /// Bytes and number of leases that the client holds.
    pub fn leased(&mut self) -> (u64, usize) {
        (self.leases.leased_bytes(&self.up), self.leases.count())
    }

    /// Must the client be woken for what was published? At most once per its odd value; the `wake`
    /// word has moved when this says so.
    #[inline(always)]
    pub fn wake_due(&mut self) -> Option<WakeBy> {
        // K, pairs with L: either we see it parked, or it sees what we published.
        self.down.fence(Ordering::SeqCst);
        let parked = self.up.load_u32(up::PARKED);
        let acted_upon = parked == self.rung && is_armed("wake.once");
        if parked & ASLEEP == 0 || acted_upon {
            return None;
        }
        self.rung = parked;
        self.wake = self.wake.wrapping_add(1);
        self.down.store_u32(down::WAKE, self.wake);
        Some(if parked & BY_BYTE != 0 { WakeBy::Byte } else { WakeBy::Futex })
    }

    /// Forgets which sleep was acted upon, so that a client that is asleep with answers waiting is
    /// woken again: for the sweep.
    pub fn ring_again(&mut self) {
        if self.consumed != self.done {
            self.rung = 0;
        }
    }

    /// Parks the lane: from now on only a bell makes the poller look. `false` if something arrived
    /// meanwhile.
    ///
    /// # Errors
    /// A [`Fault`]: the session ends.
    pub fn park(&mut self) -> Result<bool, Fault> {
        self.parked = (self.parked & !ASLEEP).wrapping_add(NEXT_SLEEP) | ASLEEP;
        self.down.store_u32(down::PARKED, self.parked);
        // J, pairs with I: either the client sees us parked, or we see what it published.
        self.down.fence(Ordering::SeqCst);
        if matches!(self.peek()?, Peek::Request(_)) {
            self.unpark();
            return Ok(false);
        }
        Ok(true)
    }

    /// The lane is polled again.
    pub fn unpark(&mut self) {
        if self.parked & ASLEEP != 0 {
            self.parked &= !ASLEEP;
            self.down.store_u32(down::PARKED, self.parked);
        }
    }

    /// Tells the client that the daemon runs: once a sweep.
    pub fn beat(&mut self) {
        self.beat = self.beat.wrapping_add(1);
        self.down.store(down::BEAT, self.beat);
    }

    #[inline(always)]
    fn request_at(&self, position: u64) -> usize {
        self.up_map.ring.at(position)
    }

    #[inline(always)]
    fn answer_at(&self, position: u64) -> usize {
        self.down_map.ring.at(position)
    }

    fn entry_at(&self, index: u32) -> usize {
        self.down_map.entries + index as usize * ENTRY_BYTES
    }
}

impl Entry {
    pub(super) const fn new(index: u32) -> Self {
        Self(index)
    }
}
