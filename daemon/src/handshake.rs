//! From a hello to a welcome: the control protocol's answers, decided without waiting.
//!
//! Identity is what the kernel says of the peer (uid, gid, pidfd); the hello only carries a name for
//! people and the digests of the client's engines. A refusal says what was wrong and what to do.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use ringfence_core::Registry;
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::limits;
use ringfence_protocol::names::SegmentKind;
use ringfence_protocol::region::Region;
use ringfence_protocol::ring::{self, ServerLane};
use ringfence_protocol::schema::Digest;
use ringfence_protocol::sys::random::random_u128;
use ringfence_protocol::sys::window::Access;
use ringfence_protocol::wire::{DaemonMessage, EngineId, LaneOpened, Refusal};

use crate::scarce;
use crate::session::{self, Session};

/// A lane with what its client gets of it.
pub(crate) struct NewLane {
    pub(crate) ring: Box<ServerLane<Region, Region>>,
    pub(crate) opened: LaneOpened,
    pub(crate) up: OwnedFd,
    pub(crate) down: OwnedFd,
}

/// Makes a lane, within the quotas of the session's user.
pub(crate) fn open_lane(
    session: &Session,
    number: u32,
    geometry: Geometry,
    epoch: u64,
) -> Result<NewLane, Error> {
    session.take_lane()?;
    make_lane(session, number, geometry, epoch).inspect_err(|_| session.give_lane())
}

/// Makes its two segments.
fn make_lane(
    session: &Session,
    number: u32,
    geometry: Geometry,
    epoch: u64,
) -> Result<NewLane, Error> {
    let io = scarce::io;
    // Below 2^63 (SPEC S1), and different each time, so that nobody relies on a start at 0.
    let start = random_u128().map_err(io)? as u64 >> 1;
    let (up, up_fd) =
        session.make(SegmentKind::Up, geometry.up().len, Access::ReadOnly, |segment| {
            // Written once more by us, before anybody else has it: through the descriptor, because our
            // window of `up` is read-only.
            prepare_up(segment.fd(), geometry, start).map_err(io)?;
            segment.fd().try_clone_to_owned().map_err(io)
        })?;
    let (down, down_fd) =
        session.make(SegmentKind::Down, geometry.down().len, Access::ReadWrite, |segment| {
            if !is_armed("segment.read-only") {
                return segment.fd().try_clone_to_owned().map_err(io);
            }
            segment.reopen_read_only().map_err(|error| session::refused(error.into()))
        })?;
    ring::initialise_down(&down, geometry, start);
    let ring = Box::new(ServerLane::new(up, down, geometry, start, epoch));
    let opened = LaneOpened { lane: number, geometry, start };
    Ok(NewLane { ring, opened, up: up_fd, down: down_fd })
}

fn prepare_up(fd: BorrowedFd<'_>, geometry: Geometry, start: u64) -> std::io::Result<()> {
    let image = ring::initial_up(geometry, start);
    let mut at = 0;
    while at < image.len() {
        at += nix::sys::uio::pwrite(fd, &image[at..], at as i64)?;
    }
    Ok(())
}

/// The engines as a client with these digests needs to hear of them.
pub(crate) fn engine_ids(registry: &Registry, theirs: &[(String, Digest)]) -> Vec<EngineId> {
    registry
        .schemas()
        .enumerate()
        .map(|(number, schema)| {
            let digest = schema.digest();
            let other =
                theirs.iter().any(|(name, theirs)| *name == schema.name && *theirs != digest);
            let differs = (other && is_armed("guest.digest")).then(|| schema.clone());
            EngineId { name: schema.name.clone(), number: number as u16, digest, differs }
        })
        .collect()
}

/// A refusal for this error.
pub(crate) fn refusal(error: &Error) -> DaemonMessage {
    DaemonMessage::Refused(Refusal {
        code: error.code.as_u16(),
        reason: error.message.clone(),
        remedy: remedy(error.code).into(),
    })
}

fn remedy(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::PermissionDenied => {
            "ask the administrator to add the user to `allowed_uids`, or run a daemon of your own"
        }
        ErrorCode::Quota => "close sessions that are not needed, or raise the limit that is named",
        ErrorCode::OutOfMemory => "make /dev/shm larger, or lower [lanes] slots and arena_bytes",
        ErrorCode::SchemaMismatch => "install matching versions of client and daemon",
        _ => "see the daemon's log",
    }
}

/// Answers `OpenWaker`.
pub(crate) fn answer_open_waker(session: &Arc<Session>) -> Result<(), Error> {
    match session.open_waker() {
        Ok(theirs) => session.tell(&DaemonMessage::Waker, &[theirs.as_fd()]),
        Err(error) => session.tell(&refusal(&error), &[]),
    }
}

/// Answers `OpenBulk`.
pub(crate) fn answer_open_bulk(session: &Arc<Session>, len: u64) -> Result<(), Error> {
    match session.open_request_bulk(len.min(limits::PAYLOAD_BYTES as u64 + 1)) {
        Ok((segment, len, fd)) => {
            session.tell(&DaemonMessage::Bulk { segment, len }, &[fd.as_fd()])
        }
        Err(error) => session.tell(&refusal(&error), &[]),
    }
}
