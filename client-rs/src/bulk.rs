//! Request payloads that do not fit the arena: segments of their own, pooled within the session.
//!
//! Invariant: a segment is held from the moment it is taken until its owner has *seen* the answer
//! of the call that names it, also if nobody waits for that answer any more: until then the daemon
//! may read it. A loan ([`crate::loan`]) holds it too. It does *not* shrink: the daemon takes
//! segments back with the session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ringfence_protocol::error::{Error as RemoteError, ErrorCode};
use ringfence_protocol::limits::{BULK_SEGMENTS, PAYLOAD_BYTES};
use ringfence_protocol::memory::Memory;
use ringfence_protocol::region::Region;

use crate::copies::count_copied;
use crate::error::{Error, Outcome};
use crate::session::Session;
use crate::wait::STALLED_AFTER;

/// The smallest segment worth its descriptor.
const SMALLEST: usize = 256 * 1024;

/// Why there is no segment for a large payload.
pub(crate) const ALL_BUSY: &str =
    "all bulk segments hold requests that are not answered yet: take answers first";

/// One bulk segment for requests.
#[derive(Debug)]
pub(crate) struct Bulk {
    number: u32,
    pub(crate) region: Region,
    /// Calls that name it, and a loan.
    holders: AtomicU32,
    /// Where the bytes of its loan begin.
    lent_at: AtomicUsize,
}

impl Bulk {
    /// The `block` word that names a payload in it.
    pub(crate) fn block(&self, at: usize) -> u32 {
        self.number << 24 | (at as u32 + 1)
    }

    /// One holder needs it no longer: an answer has been seen, or a loan is over.
    pub(crate) fn give_back(&self) {
        self.holders.fetch_sub(1, Release);
    }

    /// It is lent from here on.
    pub(crate) fn lend_at(&self, at: usize) {
        self.lent_at.store(at, Relaxed);
    }

    /// Where the bytes of its loan begin.
    pub(crate) fn lent_at(&self) -> usize {
        self.lent_at.load(Relaxed)
    }

    /// One holder more, beside one that there is.
    pub(crate) fn hold(&self) {
        // Relaxed, as for an Arc: the memory is the other holder's already.
        self.holders.fetch_add(1, Relaxed);
    }

    /// A call more names it, if nobody but the loan does.
    pub(crate) fn hold_again(&self) -> bool {
        self.holders.compare_exchange(1, 2, AcqRel, Acquire).is_ok()
    }
}

/// A payload in a segment of a session.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) serial: u32,
    pub(crate) segment: Arc<Bulk>,
    pub(crate) at: usize,
    pub(crate) len: usize,
}

/// The bulk segments of a session.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    segments: Mutex<Vec<Arc<Bulk>>>,
    asked: Mutex<Asked>,
}

/// A segment that tasks have asked for, and the tasks.
#[derive(Debug, Default)]
struct Asked {
    /// Since when, and for how many bytes.
    question: Option<(Instant, usize)>,
    tasks: BTreeMap<u64, Waker>,
    places: u64,
    /// When the daemon last said no, to how many bytes, and why.
    refused: Option<(Instant, usize, Error)>,
}

/// How it stands with a segment for a task's payload.
pub(crate) enum Prepared {
    /// Another one would not help: all may be busy, one is free and something else is full, or the arena
    /// is what such a payload needs.
    Needless,
    /// It has been asked for; this is the task's place among those that wait for it.
    Asked(u64),
    /// It could not be asked for yet, but the task waits for it.
    NotNow(u64),
}

impl Pool {
    /// Takes the smallest free segment that holds `len` bytes.
    fn take(&self, len: usize) -> Option<Arc<Bulk>> {
        let segments = self.segments.lock();
        let mut fitting: Vec<&Arc<Bulk>> = segments
            .iter()
            .filter(|s| s.region.len() >= len && s.holders.load(Relaxed) == 0)
            .collect();
        fitting.sort_by_key(|segment| segment.region.len());
        let taken = fitting
            .into_iter()
            .find(|segment| segment.holders.compare_exchange(0, 1, AcqRel, Acquire).is_ok());
        taken.cloned()
    }

    /// The segment whose loan begins at this address.
    pub(crate) fn find(&self, address: usize) -> Option<Arc<Bulk>> {
        let segments = self.segments.lock();
        let begins = |segment: &&Arc<Bulk>| {
            let at = segment.lent_at.load(Relaxed);
            segment.holders.load(Relaxed) > 0
                && at > 0
                && segment.region.address(at, 0).addr() == address
        };
        segments.iter().find(begins).cloned()
    }

    fn is_full(&self) -> bool {
        self.segments.lock().len() >= BULK_SEGMENTS
    }

    pub(crate) fn has_free(&self, len: usize) -> bool {
        let fits = |s: &Arc<Bulk>| s.region.len() >= len && s.holders.load(Relaxed) == 0;
        self.segments.lock().iter().any(fits)
    }

    /// A segment whose asker has gone, if there is one.
    pub(crate) fn keep(&self, opened: Result<(u32, Region), Error>) {
        let _nobody_asks = opened.and_then(|opened| self.adopt(opened, 0)).map(|s| s.give_back());
    }

    /// What the daemon answers to the question of tasks.
    pub(crate) fn answered(&self, opened: Result<(u32, Region), Error>) {
        let mut asked = self.asked.lock();
        let len = asked.question.take().map_or(0, |(_, len)| len);
        match opened.and_then(|opened| self.adopt(opened, len)) {
            Ok(segment) => segment.give_back(),
            Err(error) => asked.refused = Some((Instant::now(), len, error)),
        }
        drop(asked);
        self.wake();
    }

    /// Wakes the tasks that wait for a segment: it is there, or will not come.
    pub(crate) fn wake(&self) {
        let tasks = std::mem::take(&mut self.asked.lock().tasks);
        tasks.into_values().for_each(Waker::wake);
    }

    /// The task at `place` waits no longer.
    pub(crate) fn leave(&self, place: u64) {
        self.asked.lock().tasks.remove(&place);
    }

    /// For how long the daemon has left the question of tasks unanswered.
    pub(crate) fn unanswered(&self) -> Duration {
        self.asked.lock().question.map_or(Duration::ZERO, |(since, _)| since.elapsed())
    }

    fn adopt(&self, opened: (u32, Region), len: usize) -> Result<Arc<Bulk>, Error> {
        let (number, region) = opened;
        if region.len() < len || number == 0 || number as usize > BULK_SEGMENTS {
            return Err(Error::Protocol {
                what: format!(
                    "bulk segment {number} of {} bytes, {len} were asked for",
                    region.len()
                ),
            });
        }
        let (holders, lent_at) = (AtomicU32::new(1), AtomicUsize::new(0));
        let segment = Arc::new(Bulk { number, region, holders, lent_at });
        self.segments.lock().push(segment.clone());
        Ok(segment)
    }
}

/// Copies `payload` into a free segment of the session; asks for one if none is free, and waits for it
/// until `until`, unless `at_once` forbids to wait. `None`: all are busy, and there may be no more.
pub(crate) fn place(
    session: &Session,
    payload: &[u8],
    at_once: bool,
    until: Option<Instant>,
) -> Result<Option<Arc<Bulk>>, Error> {
    let segment = take(session, payload.len(), at_once, until)?;
    if let Some(segment) = &segment {
        segment.region.write_block(0, payload);
        count_copied(payload.len());
    }
    Ok(segment)
}

/// Takes a free segment of the session for `len` bytes, as [`place`] does.
pub(crate) fn take(
    session: &Session,
    len: usize,
    at_once: bool,
    until: Option<Instant>,
) -> Result<Option<Arc<Bulk>>, Error> {
    if len > PAYLOAD_BYTES {
        let text =
            format!("a payload of {len} bytes is over the limit of {PAYLOAD_BYTES}: split it");
        return Err(Error::Remote(RemoteError::new(ErrorCode::TooLarge, text)));
    }
    match session.bulk.take(len) {
        Some(segment) => Ok(Some(segment)),
        None if session.bulk.is_full() => Ok(None),
        None if at_once => Err(Error::WouldBlock),
        None => open(session, len, until).map(Some),
    }
}

/// Makes sure that [`place`] finds a segment for `len` bytes, for a task that has wanted it since `since`
/// and is woken when there is news of it.
///
/// # Errors
/// What the daemon said to that question, or to a smaller one, in this time.
pub(crate) fn prepare(
    session: &Session,
    len: usize,
    since: Instant,
    task: &Waker,
) -> Result<Prepared, Error> {
    if len <= session.arena_bytes {
        return Ok(Prepared::Needless);
    }
    ask(session, len, since, task)
}

/// The same for who needs a segment also for what an arena would hold.
pub(crate) fn ask(
    session: &Session,
    len: usize,
    since: Instant,
    task: &Waker,
) -> Result<Prepared, Error> {
    if session.bulk.has_free(len) {
        return Ok(Prepared::Needless);
    }
    let mut asked = session.bulk.asked.lock();
    if let Some((_, _, error)) =
        asked.refused.as_ref().filter(|(at, least, _)| *at >= since && *least <= len)
    {
        return Err(error.clone());
    }
    if asked.question.is_none() {
        if session.bulk.is_full() {
            return Ok(Prepared::Needless);
        }
        if session.ask_for_bulk(rounded(len) as u64) {
            asked.question = Some((Instant::now(), len));
        }
    }
    asked.places += 1;
    let place = asked.places;
    asked.tasks.insert(place, task.clone());
    let is_asked = asked.question.is_some();
    Ok(if is_asked { Prepared::Asked(place) } else { Prepared::NotNow(place) })
}

/// That the daemon has not answered tasks for so long that something is wrong.
pub(crate) fn stalled(session: &Session) -> Option<Error> {
    let (waited, outcome) = (session.bulk.unanswered(), Outcome::NotStarted);
    (waited >= STALLED_AFTER).then_some(Error::Stalled { outcome, waited, pid: session.pid })
}

fn open(session: &Session, len: usize, until: Option<Instant>) -> Result<Arc<Bulk>, Error> {
    let opened = session.open_bulk(rounded(len) as u64, until).map_err(too_soon_to_tell)?;
    session.bulk.adopt(opened, len)
}

/// A daemon that has not answered for a moment is not called stopped: the call's time was short.
fn too_soon_to_tell(error: Error) -> Error {
    match error {
        Error::Stalled { outcome, waited, .. } if waited < STALLED_AFTER => {
            Error::Timeout { outcome, after: waited }
        }
        other => other,
    }
}

/// Up to the next eighth of a power of two: segments stay usable for similar payloads, and at most
/// a quarter of the payload is wasted.
fn rounded(len: usize) -> usize {
    let step = (len.next_power_of_two() / 8).max(4096);
    len.next_multiple_of(step).clamp(SMALLEST, PAYLOAD_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_by_a_quarter_at_most() {
        assert_eq!(rounded(1), SMALLEST);
        assert_eq!(rounded(1 << 20), 1 << 20);
        assert_eq!(rounded((1 << 20) + 1), (1 << 20) + (1 << 18));
        assert_eq!(rounded(PAYLOAD_BYTES), PAYLOAD_BYTES);
        for len in [SMALLEST, 300_000, 70_000_000] {
            assert!(rounded(len) >= len && rounded(len) <= len + len / 4);
        }
    }
}
