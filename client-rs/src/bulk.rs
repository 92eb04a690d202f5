//! Request payloads that do not fit the arena: segments of their own, pooled within the session.
//!
//! Invariant: a segment is busy from the moment it is taken until its owner has *seen* the answer of
//! the call that names it, also if nobody waits for that answer any more: until then the daemon may
//! read it. It does *not* shrink: the daemon takes segments back with the session.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::time::Instant;

use parking_lot::Mutex;
use ringfence_protocol::error::{Error as RemoteError, ErrorCode};
use ringfence_protocol::limits::{BULK_SEGMENTS, PAYLOAD_BYTES};
use ringfence_protocol::memory::Memory;
use ringfence_protocol::region::Region;

use crate::error::Error;
use crate::session::Session;

/// The smallest segment worth its descriptor.
const SMALLEST: usize = 256 * 1024;

/// Why there is no segment for a large payload.
pub(crate) const ALL_BUSY: &str =
    "all bulk segments hold requests that are not answered yet: take answers first";

/// One bulk segment for requests.
#[derive(Debug)]
pub(crate) struct Bulk {
    number: u32,
    region: Region,
    busy: AtomicBool,
}

impl Bulk {
    /// The `block` word that names it.
    pub(crate) fn block(&self) -> u32 {
        self.number << 24 | 1
    }

    /// The answer has been seen: the segment may be used again.
    pub(crate) fn give_back(&self) {
        self.busy.store(false, Release);
    }
}

/// The bulk segments of a session.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    segments: Mutex<Vec<Arc<Bulk>>>,
}

impl Pool {
    /// Takes the smallest free segment that holds `len` bytes.
    fn take(&self, len: usize) -> Option<Arc<Bulk>> {
        let segments = self.segments.lock();
        let mut fitting: Vec<&Arc<Bulk>> =
            segments.iter().filter(|s| s.region.len() >= len && !s.busy.load(Relaxed)).collect();
        fitting.sort_by_key(|segment| segment.region.len());
        let taken = fitting
            .into_iter()
            .find(|segment| segment.busy.compare_exchange(false, true, AcqRel, Acquire).is_ok());
        taken.cloned()
    }

    fn is_full(&self) -> bool {
        self.segments.lock().len() >= BULK_SEGMENTS
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
    if payload.len() > PAYLOAD_BYTES {
        let text = format!(
            "a payload of {} bytes is over the limit of {PAYLOAD_BYTES}: split it",
            payload.len()
        );
        return Err(Error::Remote(RemoteError::new(ErrorCode::TooLarge, text)));
    }
    let segment = match session.bulk.take(payload.len()) {
        Some(segment) => segment,
        None if session.bulk.is_full() => return Ok(None),
        None if at_once => return Err(Error::WouldBlock),
        None => open(session, payload.len(), until)?,
    };
    segment.region.write_block(0, payload);
    Ok(Some(segment))
}

/// Makes sure that [`place`] finds a segment for `len` bytes, by a short talk with the daemon if it has to.
/// `false`: it would not, because all are busy, or the arena is what such a payload needs.
pub(crate) fn prepare(session: &Session, len: usize) -> Result<bool, Error> {
    if len <= session.arena_bytes || session.bulk.is_full() {
        return Ok(false);
    }
    open(session, len, None)?.give_back();
    Ok(true)
}

fn open(session: &Session, len: usize, until: Option<Instant>) -> Result<Arc<Bulk>, Error> {
    let (number, region) = session.open_bulk(rounded(len) as u64, until)?;
    if region.len() < len || number == 0 || number as usize > BULK_SEGMENTS {
        return Err(Error::Protocol {
            what: format!("bulk segment {number} of {} bytes, {len} were asked for", region.len()),
        });
    }
    let segment = Arc::new(Bulk { number, region, busy: AtomicBool::new(true) });
    session.bulk.segments.lock().push(segment.clone());
    Ok(segment)
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
