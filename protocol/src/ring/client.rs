//! The client's side of a lane.
//!
//! Not thread-safe: whoever holds the lane (a CAS on a private word, client-rs) calls it. It trusts
//! the daemon and still checks bounds.
//!
//! What a call goes through is inlined always: a header or a payload that passes through memory
//! between two functions is read back wider than it was written, which waits until all earlier
//! stores, the slot's among them, have reached the cache (measured: 40 ns a call when pipelined).

use std::sync::atomic::Ordering;

use crate::crash;
use crate::fault::Fault;
use crate::geometry::{Down, Geometry, Up};
use crate::layout::{Header, down, entry, slot, up};
use crate::ledger::Ledger;
use crate::limits::{BLOCK_BYTES, BULK_SEGMENTS, INLINE_BYTES, LINE_BYTES, LINE_WORDS};
use crate::measures::Measures;
use crate::memory::{Memory, line_words};
use crate::ring::{
    ASLEEP, BY_BYTE, Blocks, CACHE_LINE, NEXT_SLEEP, WakeBy, prefetch_second, prefetch_slot,
    write_slot,
};

/// No slot is free: take answers first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {slots} slots of the lane are taken: take answers first")]
pub struct Full {
    /// Slots of the ring.
    pub slots: u32,
}

/// How to go to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nap {
    /// Something arrived meanwhile: do not sleep.
    Awake,
    /// Sleep on `wake` as long as it holds this value.
    Sleep {
        /// The value that `wake` had before the lane was parked.
        wake: u32,
    },
}

/// The client's side of a lane.
#[derive(Debug)]
pub struct ClientLane<U, D> {
    up: U,
    down: D,
    geometry: Geometry,
    up_map: Up,
    down_map: Down,
    /// Position of the next request.
    submitted: u64,
    /// Stale copy of `down.released`; refreshed when the ring looks full.
    released: u64,
    /// Position of the next completion.
    collected: u64,
    /// What `up.consumed` holds.
    consumed: u64,
    /// Blocks of the request arena.
    pub arena: Blocks,
    /// The daemon's odd parking value that a bell was rung for.
    rung: u32,
    /// Our own parking word.
    parked: u32,
    /// The block of an open request whose lines have been asked for again.
    asked_back: u32,
}

impl<U: Memory, D: Memory> ClientLane<U, D> {
    /// A lane whose both rings stand at `start`.
    ///
    /// # Errors
    /// [`Fault::Truncated`] if a segment is smaller than the geometry needs.
    pub fn new(up: U, down: D, geometry: Geometry, start: u64) -> Result<Self, Fault> {
        let (up_map, down_map) = (geometry.up(), geometry.down());
        if up.len() < up_map.len {
            return Err(Fault::Truncated { segment: "up" });
        }
        if down.len() < down_map.len {
            return Err(Fault::Truncated { segment: "down" });
        }
        Ok(Self {
            up,
            down,
            geometry,
            up_map,
            down_map,
            submitted: start,
            released: start,
            collected: start,
            consumed: start,
            arena: Blocks::new(geometry.up_blocks),
            rung: 0,
            parked: 0,
            asked_back: 0,
        })
    }

    /// Requests submitted and not yet answered, or answered and not yet collected.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.submitted.wrapping_sub(self.collected)
    }

    /// The ledger of the answer that was collected last, if the daemon kept one and has stored it.
    #[must_use]
    pub fn ledger(&self) -> Option<Ledger> {
        let last = self.down_map.ring.at(self.collected.wrapping_sub(1));
        let ticket = self.down.load(last + slot::TICKET);
        Ledger::load(&self.down, ticket)
    }

    /// The ticket that the next request will have.
    #[must_use]
    pub fn next_ticket(&self) -> u64 {
        self.submitted
    }

    /// The client's segment, for the words of subscriptions.
    #[must_use]
    pub fn up(&self) -> &U {
        &self.up
    }

    /// The daemon's segment, for its futex and for reply views.
    #[must_use]
    pub fn down(&self) -> &D {
        &self.down
    }

    /// Is a slot free? Looks at `released` only if the ring looks full.
    #[inline(always)]
    pub fn has_room(&mut self) -> bool {
        let slots = u64::from(self.geometry.slots);
        if self.submitted.wrapping_sub(self.released) < slots {
            return true;
        }
        // F, pairs with E: the daemon has done reading the slots below.
        let released = self.down.load_acquire(down::RELEASED);
        if self.submitted.wrapping_sub(released) <= slots {
            self.released = released;
        }
        self.submitted.wrapping_sub(self.released) < slots
    }

    /// Publishes a request whose payload is `inline`, or lies in the block that `header` names (then
    /// `inline` is empty). Its ticket. Afterwards [`bell_due`](Self::bell_due) must be asked, once
    /// for a batch.
    ///
    /// # Errors
    /// [`Full`].
    ///
    /// # Panics
    /// If `inline` is longer than [`INLINE_BYTES`].
    #[inline(always)]
    pub fn submit(&mut self, header: Header, inline: &[u8]) -> Result<u64, Full> {
        let (line, behind) = inline.split_at(inline.len().min(LINE_BYTES));
        self.submit_lines(header, line_words(line), behind)
    }

    /// As [`submit`](Self::submit) of a payload of which these words and these bytes follow each other.
    ///
    /// # Errors
    /// [`Full`].
    ///
    /// # Panics
    /// If they are longer than [`INLINE_BYTES`] together.
    #[inline(always)]
    pub fn submit_lines(
        &mut self,
        header: Header,
        line: [u64; LINE_WORDS],
        behind: &[u8],
    ) -> Result<u64, Full> {
        let len = LINE_BYTES + behind.len();
        assert!(len <= INLINE_BYTES, "{len} bytes do not fit a slot");
        if !self.has_room() {
            return Err(Full { slots: self.geometry.slots });
        }
        let ticket = self.submitted;
        let at = self.request_at(ticket);
        write_slot(&self.up, at, header, line, behind);
        self.submitted = ticket.wrapping_add(1);
        crash::point("client.submit.words");
        // A, pairs with B: the words above happen before the daemon sees this one.
        self.up.store_release(at + slot::SEQ, self.submitted);
        crash::point("client.submit.seq");
        self.store_consumed_if_owed();
        Ok(ticket)
    }

    /// Asks for the lines of the next request, of so many bytes in its slot, for who is about to write it and has
    /// something to do before: they come meanwhile.
    #[inline(always)]
    pub fn prepare_request(&self, len: usize) {
        prefetch_slot(&self.up, self.request_at(self.submitted), len);
    }

    /// Asks for the first lines of the next `count` slots, for who is about to write them all: stores wait in line,
    /// so that without this each line is asked for when the one before has come.
    #[inline]
    pub fn prepare_requests(&self, count: usize) {
        for ahead in 0..count as u64 {
            self.up.prefetch_write(self.request_at(self.submitted.wrapping_add(ahead)));
        }
    }

    /// Says of the last request's first line that the daemon will read it next: for who submits many. (A single one is
    /// read before this could help, and costs more with it: 5 %.)
    #[inline(always)]
    pub fn hand_over(&self) {
        self.up.demote(self.request_at(self.submitted.wrapping_sub(1)));
    }

    /// Must the daemon be woken for what was published? At most once per its odd value.
    #[inline(always)]
    pub fn bell_due(&mut self) -> bool {
        // I, pairs with J: either we see it parked, or it sees what we published.
        self.up.fence(Ordering::SeqCst);
        self.bell_due_unfenced()
    }

    /// The same without the fence, which waits until all that was published can be seen: finds a daemon that has slept
    /// for a while, and may miss one that falls asleep now. [`bell_due`](Self::bell_due) must still be asked, before
    /// anything sleeps (SPEC P2).
    #[inline(always)]
    pub fn bell_due_unfenced(&mut self) -> bool {
        let parked = self.down.load_u32(down::PARKED);
        let due = parked & ASLEEP != 0 && parked != self.rung;
        if due {
            self.rung = parked;
        }
        due
    }

    /// Copies a payload into the request arena: the `block` word that names it, or `None` if no run
    /// of blocks is free. The blocks are the daemon's until the answer has been collected
    /// ([`give_back`](Self::give_back)).
    pub fn place(&mut self, payload: &[u8]) -> Option<u32> {
        let first = self.arena.take(Blocks::needed(payload.len()))?;
        self.up.write_block(self.block_at(first), payload);
        self.first_lines(first, payload.len()).for_each(|line| self.up.demote(line));
        Some(first + 1)
    }

    /// Gives back the blocks of a request of `len` bytes that [`place`](Self::place) put at `block`. Asks for their first
    /// lines: a call of this size is often followed by one more, which finds the lines here (benches/README.md, "Where
    /// the time of a search goes").
    pub fn give_back(&mut self, block: u32, len: usize) {
        self.arena.give_back(block - 1, Blocks::needed(len));
        if self.asked_back != block {
            self.ask_back(block, len);
        }
        self.asked_back = 0;
    }

    /// Asks for these lines before the answer has come: for who waits for it, and has waited for so long that the daemon
    /// has read them.
    pub fn ask_back(&mut self, block: u32, len: usize) {
        self.first_lines(block - 1, len).for_each(|line| self.up.prefetch_write(line));
        self.asked_back = block;
    }

    /// Lines of a payload in the request arena that are worth a hint: those of a few vectors, not of a table.
    fn first_lines(&self, block: u32, len: usize) -> impl Iterator<Item = usize> + use<U, D> {
        const WORTH_IT: usize = 1024;
        let at = self.block_at(block);
        (at..at + len.min(WORTH_IT)).step_by(CACHE_LINE)
    }

    /// Where a block of the request arena lies.
    fn block_at(&self, block: u32) -> usize {
        self.up_map.arena + block as usize * BLOCK_BYTES
    }

    /// Is there an answer? One load: for who looks for long. Its second line is asked for, too.
    #[inline(always)]
    #[must_use]
    pub fn is_answered(&self) -> bool {
        let at = self.answer_at();
        prefetch_second(&self.down, at);
        self.down.load(at + slot::SEQ) == self.collected.wrapping_add(1)
    }

    /// The next answer, if it is there. Its second line is asked for, too.
    ///
    /// # Errors
    /// A [`Fault`] of the daemon: lengths or blocks out of bounds.
    #[inline(always)]
    pub fn peek(&self) -> Result<Option<Header>, Fault> {
        if !self.is_answered() {
            return Ok(None);
        }
        let at = self.answer_at();
        // D, pairs with C.
        self.down.fence(Ordering::Acquire);
        let header = Header::from_words(self.down.load_words(at + slot::TICKET));
        if header.block == 0 && header.len as usize > INLINE_BYTES {
            return Err(Fault::InlineLength { len: header.len, max: INLINE_BYTES as u32 });
        }
        if header.block != 0 {
            self.check_block(header)?;
        }
        Ok(Some(header))
    }

    fn check_block(&self, header: Header) -> Result<(), Fault> {
        let (segment, len) = (header.block >> 24, header.len);
        let block = (header.block & 0x00ff_ffff).wrapping_sub(1);
        // A segment's number becomes an offset of our release words.
        if segment as usize > BULK_SEGMENTS {
            return Err(Fault::Bulk { segment, len, has: 0 });
        }
        let blocks = if segment == 0 { self.geometry.down_blocks } else { 1 };
        let end = block as usize * BLOCK_BYTES + len as usize;
        let overruns = segment == 0 && end > blocks as usize * BLOCK_BYTES;
        if block >= blocks || overruns {
            return Err(Fault::Block { block, len, blocks });
        }
        Ok(())
    }

    /// Copies the payload of the answer that [`peek`](Self::peek) found, inline or in the arena, and
    /// gives an arena block back at once.
    #[inline(always)]
    pub fn read(&self, header: Header, out: &mut [u8]) {
        if header.block == 0 {
            self.down.read(self.answer_at() + slot::PAYLOAD, out);
            return;
        }
        let first = (header.block - 1) as usize;
        self.down.read_block(self.down_map.arena + first * BLOCK_BYTES, out);
        self.release(first);
    }

    /// The payload words in the first line of the answer that [`peek`](Self::peek) found, whatever its
    /// length: for short inline answers, without a loop.
    #[inline(always)]
    pub fn read_line(&self) -> [u64; LINE_WORDS] {
        self.down.load_words(self.answer_at() + slot::PAYLOAD)
    }

    /// Gives lease number `number` back: copies its generation into our word.
    pub fn release(&self, number: usize) {
        let generation = self.down.load(self.down_map.lease + number * 16);
        // M, pairs with N: we have read the block.
        self.up.store_release(self.up_map.release + number * 8, generation);
    }

    /// The lease number of bulk segment `segment` (from 1).
    #[must_use]
    pub fn bulk_lease(&self, segment: u32) -> usize {
        (self.geometry.down_blocks + segment - 1) as usize
    }

    /// Moves on to the next answer. Is a bell due, because this gave credit that the daemon may be
    /// asleep for?
    #[inline(always)]
    pub fn collect(&mut self) -> bool {
        crash::point("client.collect");
        self.collected = self.collected.wrapping_add(1);
        let quarter = u64::from(self.geometry.slots / 4);
        if self.collected.wrapping_sub(self.consumed) >= quarter {
            let waited_for = self.credit_is_waited_for();
            self.store_consumed();
            return waited_for && self.bell_due();
        }
        self.credit_is_waited_for() && {
            self.store_consumed();
            self.bell_due()
        }
    }

    /// May the daemon hold requests that it cannot claim until `consumed` moves?
    #[inline(always)]
    fn credit_is_waited_for(&self) -> bool {
        self.submitted.wrapping_sub(self.consumed) >= u64::from(self.geometry.slots)
    }

    #[inline(always)]
    fn store_consumed_if_owed(&mut self) {
        if self.credit_is_waited_for() && self.collected != self.consumed {
            self.store_consumed();
        }
    }

    #[inline(always)]
    fn store_consumed(&mut self) {
        self.consumed = self.collected;
        // G, pairs with H: we have read the answers below.
        self.up.store_release(up::CONSUMED, self.consumed);
        crash::point("client.consumed");
    }

    #[inline(always)]
    fn request_at(&self, position: u64) -> usize {
        self.up_map.ring.at(position)
    }

    #[inline(always)]
    fn answer_at(&self) -> usize {
        self.down_map.ring.at(self.collected)
    }

    /// Parks the lane under a new odd value. `bell` is called if the daemon must be woken for credit.
    pub fn park(&mut self, by: WakeBy, bell: impl FnOnce()) -> Nap {
        if self.consumed != self.collected {
            self.store_consumed();
        }
        let wake = self.down.load_u32(down::WAKE);
        self.parked = (self.parked & !(ASLEEP | BY_BYTE)).wrapping_add(NEXT_SLEEP) | ASLEEP;
        if by == WakeBy::Byte {
            self.parked |= BY_BYTE;
        }
        self.up.store_u32(up::PARKED, self.parked);
        crash::point("client.parked");
        // L, pairs with K (and I with J, for the credit given above).
        self.up.fence(Ordering::SeqCst);
        if self.bell_due_unfenced() {
            bell();
        }
        if self.is_answered() {
            self.unpark();
            return Nap::Awake;
        }
        Nap::Sleep { wake }
    }

    /// The lane is awake again.
    pub fn unpark(&mut self) {
        if self.parked & ASLEEP != 0 {
            self.parked &= !(ASLEEP | BY_BYTE);
            self.up.store_u32(up::PARKED, self.parked);
        }
    }

    /// Asks for the end of an in-flight call. `false` if it has no entry (yet, or any more): ask again
    /// while it is pending.
    pub fn cancel(&self, ticket: u64) -> bool {
        let mark = ticket.wrapping_add(1);
        let found = (0..self.geometry.slots as usize)
            .find(|index| self.down.load_acquire(self.entry_at(*index) + entry::TICKET) == mark);
        if let Some(index) = found {
            self.up.store_release(self.up_map.cancel + index * 8, mark);
        }
        found.is_some()
    }

    /// How far an in-flight call is, in its engine's units; `None` if it has no entry.
    #[must_use]
    pub fn progress(&self, ticket: u64) -> Option<u64> {
        (0..self.geometry.slots as usize).find_map(|index| {
            let at = self.entry_at(index);
            // AB, pairs with AA.
            (self.down.load_acquire(at + entry::TICKET) == ticket.wrapping_add(1))
                .then(|| self.down.load(at + entry::PROGRESS))
        })
    }

    fn entry_at(&self, index: usize) -> usize {
        self.down_map.entries + index * crate::layout::ENTRY_BYTES
    }

    /// Had the daemon taken this request? After the daemon's death: "not started" or "unknown".
    #[must_use]
    pub fn was_claimed(&self, ticket: u64) -> bool {
        let claimed = self.down.load_acquire(down::CLAIMED);
        // A long call may be overtaken by any number of others: half of all positions is "before".
        claimed.wrapping_sub(ticket).wrapping_sub(1) < 1 << 63
    }

    /// Publishes what the client has measured of its calls in this lane (SPEC M1).
    pub fn publish(&self, measures: &Measures) {
        measures.store(&self.up);
    }

    /// The daemon's beat: it changes with every sweep of a daemon that runs.
    #[must_use]
    pub fn beat(&self) -> u64 {
        self.down.load(down::BEAT)
    }
}
