//! One session with one run of a daemon: its control socket, its bell, its large segments.
//!
//! Invariants: the control socket is read under its lock only, so answers and unasked messages never
//! get mixed up; a session that has died stays dead ([`Session::death`] is set once) and is replaced
//! by [`crate::remote`]. It does *not* own lanes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::limits::{BLOCK_BYTES, BULK_SEGMENTS};
use ringfence_protocol::region::Region;
use ringfence_protocol::ring::ClientLane;
use ringfence_protocol::schema::EngineSchema;
use ringfence_protocol::sys::bell::Bell;
use ringfence_protocol::sys::mapping::{Mapping, Options};
use ringfence_protocol::sys::socket::Conn;
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage, EngineId, LaneOpened};

use crate::bulk::Pool;
use crate::control::{Control, Due, hung_up, is_answer, no_descriptor, refused, unexpected};
use crate::error::{Error, Outcome};
use crate::target::Candidate;
use crate::topics::Ears;

/// Rings and request memory: never in a forked child, page tables filled beforehand.
const UP: Options = Options { dont_fork: true, populate: true };
/// Replies: inherited, so that a view in a forked child does not fault.
const DOWN: Options = Options { dont_fork: false, populate: true };
/// Large replies: the time to a view must not depend on the size.
const REPLY_BULK: Options = Options { dont_fork: false, populate: false };

/// The board: read seldom, and harmless in a forked child.
const BOARD: Options = Options { dont_fork: false, populate: false };

/// Logs may be large and read in part; a view of one is inherited like reply memory.
const LOG: Options = Options { dont_fork: false, populate: false };

/// Between two looks whether the session is over, of one who waits for an answer.
const ASK_SLICE: Duration = Duration::from_millis(50);

/// Tells sessions of this process apart, whichever client has them. 0 is none.
static SERIALS: AtomicU32 = AtomicU32::new(1);

/// A fresh serial, never 0.
pub(crate) fn next_serial() -> u32 {
    SERIALS.fetch_add(1, Relaxed).max(1)
}

/// The ring side of a lane over mapped segments.
pub(crate) type Ring = ClientLane<Region, Region>;

/// A lane that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) ring: Ring,
    pub(crate) geometry: Geometry,
}

/// Why a session is over.
#[derive(Clone, Debug)]
pub(crate) enum Death {
    /// The daemon is gone.
    Gone,
    /// The daemon ended it.
    Killed { fault: String, text: String },
    /// The daemon broke a rule.
    Broken { what: String },
    /// This client left.
    Closed,
}

impl Death {
    /// What a call gets that was open then.
    pub(crate) fn error(&self, claimed: bool, pid: u32) -> Error {
        let outcome = if claimed { Outcome::Unknown } else { Outcome::NotStarted };
        match self.clone() {
            Death::Gone => Error::Restarted { outcome, pid },
            Death::Killed { fault, text } => Error::SessionKilled { fault, text },
            Death::Broken { what } => Error::Protocol { what },
            Death::Closed => Error::Closed,
        }
    }
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) serial: u32,
    /// Where it was found.
    pub(crate) candidate: Candidate,
    pub(crate) id: u64,
    pub(crate) epoch: u64,
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) private: bool,
    pub(crate) engines: Vec<EngineId>,
    pub(crate) bell: Bell,
    pub(crate) bulk: Pool,
    /// Payloads above this need a bulk segment.
    pub(crate) arena_bytes: usize,
    pub(crate) catalogue: OnceLock<Arc<[EngineSchema]>>,
    timeout: Duration,
    control: Mutex<Control>,
    replies: Mutex<Vec<Option<Region>>>,
    /// Where the daemon puts bytes for an event loop; comes some time after it was asked for.
    waker: OnceLock<Conn>,
    pub(crate) ears: Ears,
    death: OnceLock<Death>,
}

impl Session {
    /// What the daemon's answer to a hello means: the session, and its first lane.
    pub(crate) fn welcomed(
        control: Control,
        candidate: Candidate,
        timeout: Duration,
        message: DaemonMessage,
        mut fds: Vec<OwnedFd>,
    ) -> Result<(Self, Opened), Error> {
        let (session, epoch, version, pid, private, engines, opened) = match message {
            DaemonMessage::Welcome { session, epoch, version, pid, private, engines, lane } => {
                (session, epoch, version, pid, private, engines, lane)
            }
            DaemonMessage::Refused(refusal) => return Err(refused(refusal)),
            DaemonMessage::ShuttingDown => {
                return Err(Error::Unavailable { tried: "the daemon is shutting down".into() });
            }
            other => return Err(unexpected("a hello", &other)),
        };
        if fds.len() != 3 {
            return Err(Error::Protocol {
                what: format!("a welcome with {} descriptors instead of 3", fds.len()),
            });
        }
        let lane_fds = fds.split_off(1);
        let ring = map_lane(opened, &lane_fds)?;
        let bell = fds.pop().map(Bell::from_fd).ok_or_else(no_descriptor)?;
        let (up, down) = (ring.ring.up().clone(), ring.ring.down().clone());
        let session = Session {
            serial: next_serial(),
            candidate,
            id: session,
            epoch,
            version,
            pid,
            private,
            engines,
            bell,
            bulk: Pool::default(),
            arena_bytes: ring.geometry.up_blocks as usize * BLOCK_BYTES,
            catalogue: OnceLock::new(),
            timeout,
            control: Mutex::new(control),
            replies: Mutex::new(vec![None; BULK_SEGMENTS]),
            waker: OnceLock::new(),
            ears: Ears::new(up, down, ring.geometry),
            death: OnceLock::new(),
        };
        Ok((session, ring))
    }

    /// Why the session is over, if it is.
    pub(crate) fn death(&self) -> Option<&Death> {
        self.death.get()
    }

    /// The session is over. Only the first reason counts.
    pub(crate) fn die(&self, death: Death) {
        let _first = self.death.set(death);
        self.bulk.wake();
        self.ears.wake_tasks();
    }

    /// Wakes the daemon's poller.
    #[cold]
    pub(crate) fn ring_bell(&self) {
        if self.bell.ring().is_err() {
            self.die(Death::Broken { what: "the bell in its welcome is no eventfd".into() });
        }
    }

    /// A further lane.
    pub(crate) fn open_lane(&self) -> Result<Opened, Error> {
        match self.ask(&ClientMessage::OpenLane, None)? {
            (DaemonMessage::Lane(opened), fds) => map_lane(opened, &fds),
            (other, _) => Err(unexpected("a request for a lane", &other)),
        }
    }

    /// A bulk segment for requests of up to `len` bytes: its number and its memory. Waited for until
    /// `until`, and no longer than a connect may take.
    pub(crate) fn open_bulk(
        &self,
        len: u64,
        until: Option<Instant>,
    ) -> Result<(u32, Region), Error> {
        let (answer, fds) = self.ask(&ClientMessage::OpenBulk { len }, until)?;
        map_bulk(answer, &fds)
    }

    /// Asks for a bulk segment that comes into the pool when the socket is read. `false`: not now, because
    /// another thread has the socket, or it is full.
    pub(crate) fn ask_for_bulk(&self, len: u64) -> bool {
        let control = self.control.try_lock();
        control.is_some_and(|mut control| control.ask_for_tasks(&ClientMessage::OpenBulk { len }))
    }

    /// The daemon's board, mapped.
    pub(crate) fn open_board(&self) -> Result<Region, Error> {
        match self.ask(&ClientMessage::OpenBoard, None)? {
            (DaemonMessage::Board { len }, fds) => {
                let fd = fds.first().ok_or_else(no_descriptor)?;
                let mapped = Mapping::read_only(fd.as_fd(), len as usize, BOARD);
                Ok(Region::new(Arc::new(mapped.map_err(map_error)?)))
            }
            (other, _) => Err(unexpected("a request for the board", &other)),
        }
    }

    /// Asks for a waker, which comes unasked, so to speak: [`waker`](Self::waker) has it after a later
    /// [`poll`](Self::poll).
    pub(crate) fn ask_for_waker(&self) {
        let Ok(bytes) = wire::encode(&ClientMessage::OpenWaker) else { return };
        if !matches!(self.control.lock().conn.try_send(&bytes, &[]), Ok(true)) {
            self.die(Death::Broken { what: "it does not read its control socket".into() });
        }
    }

    /// Where the daemon puts bytes for an event loop.
    pub(crate) fn waker(&self) -> Option<&Conn> {
        self.waker.get()
    }

    /// Lets `watch` have the control socket's descriptor.
    pub(crate) fn with_control<T>(&self, watch: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        watch(self.control.lock().conn.as_fd())
    }

    /// The memory of reply segment `segment`, which an answer has just named.
    pub(crate) fn reply_segment(&self, segment: u32, len: usize) -> Result<Region, Error> {
        // Its announcement may be unread, also if an older segment had the same number.
        self.poll();
        let place = (segment as usize).checked_sub(1);
        let known = place.and_then(|at| self.replies.lock().get(at).cloned().flatten());
        match known {
            Some(region) if ringfence_protocol::memory::Memory::len(&region) >= len => Ok(region),
            _ => Err(Error::Protocol {
                what: format!("an answer of {len} bytes in segment {segment}, not announced so"),
            }),
        }
    }

    /// Reads what the daemon sent unasked, and notices if it is gone.
    pub(crate) fn poll(&self) {
        self.read_all(self.control.lock());
    }

    /// As [`poll`](Self::poll), unless another thread has the control socket: `false`.
    pub(crate) fn poll_if_free(&self) -> bool {
        let control = self.control.try_lock();
        control.map(|control| self.read_all(control)).is_some()
    }

    fn read_all(&self, mut control: MutexGuard<'_, Control>) {
        while self.death.get().is_none() {
            match control.try_receive() {
                Ok(None) => return,
                Ok(Some((message, fds))) => self.take(&mut control, message, &fds),
                Err(error) => self.die(of_control(&error)),
            }
        }
    }

    /// Says goodbye; nothing depends on its arrival.
    pub(crate) fn leave(&self) {
        self.die(Death::Closed);
        // Whoever holds it says goodbye: see `ask`.
        if let Some(control) = self.control.try_lock() {
            control.say_goodbye();
        }
    }

    /// Asks, and waits for the answer until `until`, no longer than a connect may take. An answer that
    /// comes later is let go, but for a segment, which the pool keeps: the session goes on, and so do the
    /// calls in its lanes.
    fn ask(
        &self,
        question: &ClientMessage,
        until: Option<Instant>,
    ) -> Result<(DaemonMessage, Vec<OwnedFd>), Error> {
        let asked = Instant::now();
        let latest = asked + self.timeout;
        let until = until.map_or(latest, |until| until.min(latest));
        let mut control = self.control.lock();
        let mut heard = control.send(question, self.timeout).map(|()| None);
        while matches!(heard, Ok(None)) {
            let left = until.saturating_duration_since(Instant::now());
            heard = match (self.death(), control.receive(left.min(ASK_SLICE))) {
                (Some(Death::Closed), _) => {
                    control.say_goodbye();
                    return Err(Error::Closed);
                }
                (Some(death), _) => return Err(death.error(false, self.pid)),
                (None, Err(Error::Unavailable { .. })) if left.is_zero() => {
                    let is_bulk = matches!(question, ClientMessage::OpenBulk { .. });
                    control.due.push_back(if is_bulk { Due::Pool } else { Due::Nobody });
                    let (waited, pid) = (asked.elapsed(), self.pid);
                    return Err(Error::Stalled { outcome: Outcome::NotStarted, waited, pid });
                }
                (None, Err(Error::Unavailable { .. })) => Ok(None),
                (None, Ok((message, fds))) if is_answer(&message) && control.due.is_empty() => {
                    Ok(Some((message, fds)))
                }
                (None, Ok((message, fds))) => {
                    self.take(&mut control, message, &fds);
                    Ok(None)
                }
                (None, Err(error)) => Err(error),
            }
        }
        match heard {
            Ok(Some((DaemonMessage::Refused(refusal), _))) => Err(refused(refusal)),
            Ok(answer) => answer.ok_or_else(hung_up),
            Err(error) => {
                self.die(of_control(&error));
                Err(error)
            }
        }
    }

    /// Takes what nobody waits for with the socket in hand.
    fn take(&self, control: &mut Control, message: DaemonMessage, fds: &[OwnedFd]) {
        match control.take_due(&message) {
            None => self.unasked(message, fds),
            Some(Due::Nobody) => {}
            Some(Due::Pool) => self.bulk.keep(map_bulk(message, fds)),
            Some(Due::Tasks) => self.bulk.answered(map_bulk(message, fds)),
        }
    }

    fn unasked(&self, message: DaemonMessage, fds: &[OwnedFd]) {
        match message {
            DaemonMessage::ReplyBulk { segment, len } => {
                if let Err(error) = self.add_reply_segment(segment, len, fds) {
                    self.die(Death::Broken { what: error.to_string() });
                }
            }
            DaemonMessage::Topic { topic, len } => {
                let mapped = fds.first().ok_or_else(no_descriptor).and_then(|fd| {
                    let mapped = Mapping::read_only(fd.as_fd(), len as usize, LOG);
                    mapped.map_err(map_error)
                });
                match mapped {
                    Ok(mapped) => self.ears.add_log(topic, Region::new(Arc::new(mapped))),
                    Err(error) => self.die(Death::Broken { what: error.to_string() }),
                }
            }
            DaemonMessage::CutOff { subscription, sequence } => {
                self.ears.cut_off(subscription, sequence);
            }
            DaemonMessage::Killed { fault, text } => self.die(Death::Killed { fault, text }),
            DaemonMessage::Waker => match fds {
                [fd] => match fd.try_clone() {
                    Ok(fd) => drop(self.waker.set(Conn::from_fd(fd))),
                    Err(error) => self.die(Death::Broken { what: error.to_string() }),
                },
                _ => self.die(Death::Broken { what: no_descriptor().to_string() }),
            },
            // It still answers what it has taken; the hang-up is what ends the session.
            DaemonMessage::ShuttingDown => {}
            other => {
                let error = unexpected("nothing", &other);
                self.die(Death::Broken { what: error.to_string() });
            }
        }
    }

    fn add_reply_segment(&self, segment: u32, len: u64, fds: &[OwnedFd]) -> Result<(), Error> {
        let fd = fds.first().ok_or_else(no_descriptor)?;
        let mapped = Mapping::read_only(fd.as_fd(), len as usize, REPLY_BULK);
        let region = Region::new(Arc::new(mapped.map_err(map_error)?));
        let mut replies = self.replies.lock();
        let place = (segment as usize).checked_sub(1).and_then(|at| replies.get_mut(at));
        let place = place.ok_or_else(|| Error::Protocol {
            what: format!("reply segment {segment}, outside 1 to {BULK_SEGMENTS}"),
        })?;
        *place = Some(region);
        Ok(())
    }
}

fn map_bulk(answer: DaemonMessage, fds: &[OwnedFd]) -> Result<(u32, Region), Error> {
    let (segment, len) = match answer {
        DaemonMessage::Bulk { segment, len } => (segment, len),
        DaemonMessage::Refused(refusal) => return Err(refused(refusal)),
        other => return Err(unexpected("a request for a bulk segment", &other)),
    };
    let fd = fds.first().ok_or_else(no_descriptor)?;
    let options = Options { dont_fork: true, populate: false };
    let mapped = Mapping::read_write(fd.as_fd(), len as usize, options);
    Ok((segment, Region::new(Arc::new(mapped.map_err(map_error)?))))
}

fn map_lane(opened: LaneOpened, fds: &[OwnedFd]) -> Result<Opened, Error> {
    let [up, down] = fds else {
        return Err(Error::Protocol {
            what: format!("a lane with {} descriptors instead of 2", fds.len()),
        });
    };
    let geometry = opened.geometry.validated().map_err(|wrong| Error::Protocol {
        what: format!("a lane of impossible sizes: {wrong}"),
    })?;
    let up = Mapping::read_write(up.as_fd(), geometry.up().len, UP).map_err(map_error)?;
    let down = Mapping::read_only(down.as_fd(), geometry.down().len, DOWN).map_err(map_error)?;
    let (up, down) = (Region::new(Arc::new(up)), Region::new(Arc::new(down)));
    let ring = Ring::new(up, down, geometry, opened.start)?;
    Ok(Opened { ring, geometry })
}

fn of_control(error: &Error) -> Death {
    match error {
        Error::Restarted { .. } | Error::Unavailable { .. } => Death::Gone,
        other => Death::Broken { what: other.to_string() },
    }
}

fn map_error(error: ringfence_protocol::sys::mapping::MapError) -> Error {
    Error::Io { what: format!("cannot map a segment of the daemon: {error}") }
}
