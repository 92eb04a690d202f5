//! One client's session: what the control thread, its poller and the workers share of it.
//!
//! The control thread reads its socket; others only send on it without waiting. Lanes are not here:
//! they belong to the poller. `closed` ends everything; it is set by whoever of the control thread and the
//! poller is first to know.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::fault::Fault;
use ringfence_protocol::limits;
use ringfence_protocol::memory::Memory as _;
use ringfence_protocol::names::SegmentKind;
use ringfence_protocol::region::Region;
use ringfence_protocol::sys::segment::Segment;
use ringfence_protocol::sys::socket::Conn;
use ringfence_protocol::sys::window::Access;
use ringfence_protocol::wire::{self, DaemonMessage};

use crate::policy::Usage;
use crate::scarce;
use crate::segments::{MakeError, Segments};

/// Smallest bulk segment: below it an arena serves.
const BULK_BYTES_MIN: usize = 128 * 1024;

/// A bulk segment for replies.
#[derive(Debug)]
struct ReplySegment {
    region: Region,
    /// The client holds it, or it is being filled.
    held: bool,
}

/// A segment under its name.
#[derive(Debug)]
struct Named {
    segment: Segment,
    /// Its file system counts pages, and so tells of holes.
    counted: bool,
}

impl Named {
    fn of(segment: Segment) -> Self {
        let counted =
            stat(&segment).is_some_and(|(_, allocated)| allocated >= segment.len() as u64);
        Self { segment, counted }
    }

    /// Is it not as it was made, and its client's to write?
    fn altered(&self) -> Option<Fault> {
        let segment = match self.segment.name().kind {
            SegmentKind::Up => "up",
            SegmentKind::Bulk => "bulk",
            _ => return None,
        };
        let (has, allocated) = stat(&self.segment)?;
        let len = self.segment.len() as u64;
        match has.cmp(&len) {
            std::cmp::Ordering::Less => {
                is_armed("segment.dead").then_some(Fault::Truncated { segment })
            }
            std::cmp::Ordering::Equal if allocated >= len || !self.counted => None,
            _ if !is_armed("segment.altered") => None,
            _ => Some(Fault::Altered { segment, len, has, allocated }),
        }
    }
}

/// Bytes of a segment's file, and those that take memory.
fn stat(segment: &Segment) -> Option<(u64, u64)> {
    /// Unit of `st_blocks`, whatever the file system.
    const STAT_BLOCK: u64 = 512;
    let stat = nix::sys::stat::fstat(segment.fd()).ok()?;
    Some((stat.st_size as u64, stat.st_blocks as u64 * STAT_BLOCK))
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) uid: u32,
    pub(crate) pid: i32,
    /// As the client calls itself, escaped.
    pub(crate) name: String,
    pub(crate) conn: Conn,
    closed: AtomicBool,
    usage: Arc<Usage>,
    segments: Segments,
    bulk_bytes_max: u64,
    /// The names of all its segments: unlinked when the session closes.
    names: Mutex<Vec<Named>>,
    /// Bytes of all its segments.
    bytes: AtomicU64,
    lanes: AtomicU64,
    request_bulk: RwLock<Vec<Region>>,
    reply_bulk: Mutex<Vec<ReplySegment>>,
    /// Our end of the pair whose other end the client's event loop watches.
    waker: OnceLock<Conn>,
    /// Reply memory that the client holds, as of the last sweep.
    pub(crate) leased_bytes: AtomicU64,
}

/// What a session is made of.
pub(crate) struct NewSession {
    pub(crate) id: u64,
    pub(crate) uid: u32,
    pub(crate) pid: i32,
    pub(crate) name: String,
    pub(crate) conn: Conn,
    pub(crate) usage: Arc<Usage>,
    pub(crate) segments: Segments,
    pub(crate) bulk_bytes_max: u64,
}

impl Session {
    pub(crate) fn new(new: NewSession) -> Self {
        Self {
            id: new.id,
            uid: new.uid,
            pid: new.pid,
            name: new.name,
            conn: new.conn,
            closed: AtomicBool::new(false),
            usage: new.usage,
            segments: new.segments,
            bulk_bytes_max: new.bulk_bytes_max,
            names: Mutex::new(Vec::new()),
            bytes: AtomicU64::new(0),
            lanes: AtomicU64::new(0),
            request_bulk: RwLock::new(Vec::new()),
            reply_bulk: Mutex::new(Vec::new()),
            waker: OnceLock::new(),
            leased_bytes: AtomicU64::new(0),
        }
    }

    /// Is the session over? Then nobody wants its answers.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Bytes of all its segments.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What the client has made of the segments that it may write, if they are not as they were made.
    pub(crate) fn altered(&self) -> Option<Fault> {
        let names = self.names.lock();
        names.iter().find_map(Named::altered)
    }

    /// Nobody wants its answers any more.
    pub(crate) fn end(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Ends the session: names go now, mappings when the poller and every job have let go.
    pub(crate) fn close(&self) {
        self.end();
        let names = std::mem::take(&mut *self.names.lock());
        if !is_armed("reap.names") {
            names.into_iter().for_each(std::mem::forget);
        }
        self.usage.give_bytes(self.bytes.swap(0, Ordering::Relaxed));
        self.usage.give_lanes(self.lanes.swap(0, Ordering::Relaxed));
    }

    /// Counts a lane for its user, for as long as the session is open.
    pub(crate) fn take_lane(&self) -> Result<(), Error> {
        self.usage.take_lane()?;
        self.lanes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// A lane that was counted did not come to be.
    pub(crate) fn give_lane(&self) {
        self.lanes.fetch_sub(1, Ordering::Relaxed);
        self.usage.give_lanes(1);
    }

    /// What its user holds.
    pub(crate) fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Lets the client see that it is over, even while a job still holds the session.
    pub(crate) fn hang_up(&self) {
        use std::os::fd::AsRawFd as _;
        // ENOTCONN if it is gone already.
        let _ = nix::sys::socket::shutdown(
            self.conn.as_fd().as_raw_fd(),
            nix::sys::socket::Shutdown::Both,
        );
    }

    /// Makes a segment of this session, within its user's quota, and lets `use_fd` see the guard.
    pub(crate) fn make<T>(
        &self,
        kind: SegmentKind,
        len: usize,
        access: Access,
        use_fd: impl FnOnce(&Segment) -> Result<T, Error>,
    ) -> Result<(Region, T), Error> {
        self.usage.take_bytes(len as u64)?;
        let made =
            self.segments.make(kind, len, access).map_err(refused).and_then(|(segment, region)| {
                let used = use_fd(&segment)?;
                let mut names = self.names.lock();
                // Whoever closes the session clears the names under this lock.
                if !self.is_closed() {
                    names.push(Named::of(segment));
                }
                Ok((region, used))
            });
        match made {
            Ok(made) => {
                self.bytes.fetch_add(len as u64, Ordering::Relaxed);
                Ok(made)
            }
            Err(error) => {
                self.usage.give_bytes(len as u64);
                Err(error)
            }
        }
    }

    /// Opens a bulk segment for requests of up to `len` bytes: its number, bytes and descriptor.
    pub(crate) fn open_request_bulk(
        &self,
        len: u64,
    ) -> Result<(u32, u64, std::os::fd::OwnedFd), Error> {
        let bytes = self.bulk_size(len)?;
        let mut table = self.request_bulk.write();
        if table.len() == limits::BULK_SEGMENTS && is_armed("quota.bulk") {
            let text = format!(
                "{} bulk segments are open, the most of one session: use them again",
                table.len()
            );
            return Err(Error::new(ErrorCode::Quota, text));
        }
        let (region, fd) = self.make(SegmentKind::Bulk, bytes, Access::ReadOnly, |segment| {
            segment.fd().as_fd().try_clone_to_owned().map_err(scarce::io)
        })?;
        table.push(region);
        Ok((table.len() as u32, bytes as u64, fd))
    }

    /// The bulk segment of requests with this number, if the session has it.
    pub(crate) fn request_bulk(&self, segment: u32) -> Option<Region> {
        self.request_bulk.read().get((segment as usize).checked_sub(1)?).cloned()
    }

    /// Puts a reply into a bulk segment that the client does not hold: its number. A segment that the
    /// client has not seen yet is sent to it first. Never waits.
    pub(crate) fn put_reply_bulk(&self, reply: &[u8]) -> Result<u32, Error> {
        let mut pool = self.reply_bulk.lock();
        let fits = |segment: &ReplySegment| !segment.held && segment.region.len() >= reply.len();
        let index = match pool.iter().position(fits) {
            Some(index) => index,
            None => {
                let region = self.open_reply_bulk(reply.len(), pool.len())?;
                pool.push(ReplySegment { region, held: false });
                pool.len() - 1
            }
        };
        pool[index].held = true;
        pool[index].region.write_block(0, reply);
        Ok(index as u32 + 1)
    }

    fn open_reply_bulk(&self, len: usize, open: usize) -> Result<Region, Error> {
        if open == limits::BULK_SEGMENTS && is_armed("quota.reply-bulk") {
            let text = format!(
                "the client holds {open} reply segments, the most of one session: release replies first"
            );
            return Err(Error::new(ErrorCode::ReplyArenaFull, text));
        }
        let bytes = self.bulk_size(len as u64)?;
        let number = open as u32 + 1;
        let (region, ()) = self.make(SegmentKind::Bulk, bytes, Access::ReadWrite, |segment| {
            let fd = segment.reopen_read_only().map_err(|error| refused(error.into()))?;
            self.tell(
                &DaemonMessage::ReplyBulk { segment: number, len: bytes as u64 },
                &[fd.as_fd()],
            )
        })?;
        Ok(region)
    }

    /// The client has given this reply segment back.
    pub(crate) fn reply_bulk_is_free(&self, segment: u32) {
        if let Some(entry) = self.reply_bulk.lock().get_mut(segment as usize - 1) {
            entry.held = false;
        }
    }

    fn bulk_size(&self, len: u64) -> Result<usize, Error> {
        let max = self.bulk_bytes_max.min(limits::PAYLOAD_BYTES as u64);
        if len > max && is_armed("quota.bulk-bytes") {
            let text = format!(
                "{len} bytes are over [sessions] bulk_bytes_max = {max}: send less at once"
            );
            return Err(Error::new(ErrorCode::TooLarge, text));
        }
        Ok((len as usize).max(BULK_BYTES_MIN).next_power_of_two())
    }

    /// Makes the pair of sockets that wakes the client's event loop: the client's end.
    pub(crate) fn open_waker(&self) -> Result<Conn, Error> {
        let (ours, theirs) = Conn::pair().map_err(|error| {
            let io = || Error::new(ErrorCode::Io, error.to_string());
            scarce::limit(&error).unwrap_or_else(io)
        })?;
        if self.waker.set(ours).is_err() && is_armed("quota.waker") {
            return Err(Error::new(ErrorCode::Quota, "the session has its waker already"));
        }
        Ok(theirs)
    }

    /// Puts a byte into the waker. Never waits: if there is no room, bytes are there that wake as well.
    pub(crate) fn wake_by_byte(&self) {
        if let Some(waker) = self.waker.get() {
            let _no_room_or_nobody_there = waker.try_send(&[1], &[]);
        }
    }

    /// Sends a message without waiting; an answer that finds no room is an error, and ends the session.
    pub(crate) fn tell(
        &self,
        message: &DaemonMessage,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        let bytes = wire::encode(message)
            .map_err(|error| Error::new(ErrorCode::Internal, error.to_string()))?;
        match self.conn.try_send(&bytes, fds) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::new(
                ErrorCode::Backpressure,
                "the client does not read its control socket",
            )),
            Err(error) => Err(Error::new(ErrorCode::Io, error.to_string())),
        }
    }
}

/// Why a segment could not be made, as a client gets it.
pub(crate) fn refused(error: MakeError) -> Error {
    if let Some(scarce) = scarce::limit(&error) {
        return scarce;
    }
    let code = match error {
        MakeError::Segment(_) => ErrorCode::OutOfMemory,
        _ => ErrorCode::Io,
    };
    Error::new(code, error.to_string())
}
