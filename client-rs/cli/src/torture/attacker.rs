//! The attacker's session: SPEC.md by hand over the protocol crate's parts, with every part in reach so that it can
//! misbehave.
//!
//! Invariant: nothing here waits longer than [`patience`]. It does *not* use the client library, which would not let
//! it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence::ErrorCode;
use ringfence_protocol::api::system;
use ringfence_protocol::error::Error;
use ringfence_protocol::layout::{Header, down, slot};
use ringfence_protocol::limits;
use ringfence_protocol::memory::Memory as _;
use ringfence_protocol::message::Message;
use ringfence_protocol::region::Region;
use ringfence_protocol::ring::ClientLane;
use ringfence_protocol::sys::bell::Bell;
use ringfence_protocol::sys::mapping::{Mapping, Options};
use ringfence_protocol::sys::socket::{Conn, SocketError};
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage, EngineId, LaneOpened};

use super::attack::{Outcome, Wrong, broken, patience};

/// A session.
pub(super) struct Attacker {
    pub(super) conn: Conn,
    pub(super) bell: Bell,
    pub(super) lane: ClientLane<Region, Region>,
    pub(super) opened: LaneOpened,
    pub(super) up: Region,
    pub(super) down: Region,
    pub(super) up_fd: OwnedFd,
    pub(super) down_fd: OwnedFd,
    pub(super) engines: Vec<EngineId>,
}

/// An answer: which request's, and what it says.
pub(super) type Answer = (u64, Result<Vec<u8>, Error>);

impl Attacker {
    pub(super) fn connect(socket: &Path) -> Result<Self, Wrong> {
        let conn = Conn::connect(socket, patience())?;
        tell(&conn, &hello("torture"))?;
        Self::welcomed(conn)
    }

    /// The rest of the handshake.
    pub(super) fn welcomed(conn: Conn) -> Result<Self, Wrong> {
        let (message, mut fds) = match hear(&conn)? {
            Some(heard) => heard,
            None => return broken("hung up in place of a welcome"),
        };
        let DaemonMessage::Welcome { engines, lane: opened, .. } = message else {
            return broken(format!("in place of a welcome: {message:?}"));
        };
        let (Some(down_fd), Some(up_fd), Some(bell)) = (fds.pop(), fds.pop(), fds.pop()) else {
            return broken("a welcome without its three descriptors");
        };
        let bell = Bell::from_fd(bell);
        let (lane, up, down) = map(&opened, &up_fd, &down_fd)?;
        Ok(Self { conn, bell, lane, opened, up, down, up_fd, down_fd, engines })
    }

    /// The number of a method of an engine.
    pub(super) fn method(&self, engine: &str, op: u16) -> Result<u32, Wrong> {
        match self.engines.iter().find(|id| id.name == engine) {
            Some(id) => Ok(u32::from(id.number) << 16 | u32::from(op)),
            None => Err(Wrong::Skipped(format!("this daemon has no engine `{engine}`"))),
        }
    }

    pub(super) fn echo_method(&self) -> u32 {
        u32::from(system::ENGINE) << 16 | u32::from(system::ECHO)
    }

    pub(super) fn slots(&self) -> u64 {
        self.opened.geometry.slots.into()
    }

    /// Where the slot of a request is in `up`.
    pub(super) fn slot_at(&self, ticket: u64) -> usize {
        let geometry = self.opened.geometry;
        geometry.up().ring.at(ticket)
    }

    /// The four header words that stand in the slot of a request.
    pub(super) fn slot_words(&self, ticket: u64) -> [u64; 4] {
        self.up.load_words(self.slot_at(ticket) + slot::TICKET)
    }

    /// Requests that the daemon has taken since the lane was opened.
    pub(super) fn claimed(&self) -> u64 {
        self.down.load_acquire(down::CLAIMED).wrapping_sub(self.opened.start)
    }

    /// Publishes exactly these header words, and rings if that is due.
    pub(super) fn publish(&mut self, header: Header, inline: &[u8]) -> Result<u64, Wrong> {
        let ticket = self.lane.submit(header, inline)?;
        if self.lane.bell_due() {
            self.bell.ring()?;
        }
        Ok(ticket)
    }

    /// Publishes an inline request.
    pub(super) fn submit(&mut self, method: u32, payload: &[u8]) -> Result<u64, Wrong> {
        let len = payload.len() as u32;
        self.publish(Header { method, len, ..Header::default() }, payload)
    }

    /// The next answer, if it is there; a reply's memory is given back.
    pub(super) fn try_take(&mut self) -> Result<Option<Answer>, Wrong> {
        let Some(header) = self.lane.peek()? else { return Ok(None) };
        if header.block >> 24 != 0 {
            return broken("a bulk reply that was not asked for");
        }
        let mut payload = vec![0; header.len as usize];
        self.lane.read(header, &mut payload);
        self.collect()?;
        let result = match header.status {
            0 => Ok(payload),
            status => Err(Error::from_reply(status, &payload)),
        };
        Ok(Some((header.ticket, result)))
    }

    /// Goes on to the next answer.
    pub(super) fn collect(&mut self) -> Result<(), Wrong> {
        if self.lane.collect() {
            self.bell.ring()?;
        }
        Ok(())
    }

    /// The next answer.
    pub(super) fn take(&mut self) -> Result<Answer, Wrong> {
        let mut wait = Wait::new();
        loop {
            if let Some(answer) = self.try_take()? {
                return Ok(answer);
            }
            if wait.is_over() {
                return broken(format!("no answer within {:?}", patience()));
            }
            if wait.looks.is_multiple_of(1024) && self.conn.hung_up() {
                return Err(Wrong::Ended(self.end()?));
            }
        }
    }

    /// One call with one answer.
    pub(super) fn call(
        &mut self,
        method: u32,
        payload: &[u8],
    ) -> Result<Result<Vec<u8>, Error>, Wrong> {
        let ticket = self.submit(method, payload)?;
        let (answered, result) = self.take()?;
        if answered == ticket { Ok(result) } else { broken("an answer to another request") }
    }

    /// A typed call.
    pub(super) fn ask<'m>(
        &mut self,
        (engine, op): (&str, u16),
        request: &impl Message<'m>,
    ) -> Result<Result<Vec<u8>, Error>, Wrong> {
        let method = self.method(engine, op)?;
        self.call(method, &encode(request))
    }

    /// An echo, whose answer must be right.
    pub(super) fn echo(&mut self, payload: &[u8]) -> Result<(), Wrong> {
        match self.call(self.echo_method(), payload)? {
            Ok(answer) if answer == payload => Ok(()),
            Ok(_) => broken("a wrong answer"),
            Err(error) => broken(format!("an echo failed: {error}")),
        }
    }

    /// What the daemon says last before it hangs up.
    pub(super) fn end(&self) -> Result<Outcome, Wrong> {
        end_of(&self.conn)
    }

    /// Opens a bulk segment of so many bytes: its number and its memory.
    pub(super) fn open_bulk(&self, len: usize) -> Result<(u32, Region, OwnedFd), Wrong> {
        tell(&self.conn, &ClientMessage::OpenBulk { len: len as u64 })?;
        match hear(&self.conn)? {
            Some((DaemonMessage::Bulk { segment, len }, mut fds)) if fds.len() == 1 => {
                let fd = fds.remove(0);
                let options = Options { dont_fork: true, populate: false };
                let mapped = Mapping::read_write(fd.as_fd(), len as usize, options)?;
                Ok((segment, Region::new(Arc::new(mapped)), fd))
            }
            other => broken(format!("in place of a bulk segment: {:?}", other.map(|o| o.0))),
        }
    }
}

/// Looks for an answer as the library does: spins, yields, then sleeps for moments.
struct Wait {
    looks: u32,
    end: Instant,
}

impl Wait {
    fn new() -> Self {
        Self { looks: 0, end: Instant::now() + patience() }
    }

    fn is_over(&mut self) -> bool {
        self.looks += 1;
        match self.looks {
            0..100 => std::hint::spin_loop(),
            100..2000 => std::thread::yield_now(),
            _ => std::thread::sleep(Duration::from_micros(100)),
        }
        self.looks.is_multiple_of(64) && Instant::now() >= self.end
    }
}

fn map(
    opened: &LaneOpened,
    up_fd: &OwnedFd,
    down_fd: &OwnedFd,
) -> Result<(ClientLane<Region, Region>, Region, Region), Wrong> {
    let geometry = opened.geometry.validated()?;
    let rings = Options { dont_fork: true, populate: true };
    let up = Mapping::read_write(up_fd.as_fd(), geometry.up().len, rings)?;
    let down = Mapping::read_only(down_fd.as_fd(), geometry.down().len, Options::default())?;
    let (up, down) = (Region::new(Arc::new(up)), Region::new(Arc::new(down)));
    Ok((ClientLane::new(up.clone(), down.clone(), geometry, opened.start)?, up, down))
}

pub(super) fn hello(name: &str) -> ClientMessage {
    ClientMessage::Hello { name: name.into(), engines: Vec::new() }
}

pub(super) fn encode<'m>(message: &impl Message<'m>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

pub(super) fn tell(conn: &Conn, message: &ClientMessage) -> Result<(), Wrong> {
    Ok(conn.send(&wire::encode(message)?, &[], patience())?)
}

/// The next message; `None` is a hang-up.
pub(super) fn hear(conn: &Conn) -> Result<Option<(DaemonMessage, Vec<OwnedFd>)>, Wrong> {
    let mut buffer = vec![0; limits::CONTROL_BYTES];
    let Some(received) = conn.recv(&mut buffer, limits::CONTROL_FDS, patience())? else {
        return Ok(None);
    };
    Ok(Some((wire::decode(&buffer[..received.len])?, received.fds)))
}

/// How a connection ends: by a fault, by a refusal, or without a word.
pub(super) fn end_of(conn: &Conn) -> Result<Outcome, Wrong> {
    let mut last = Outcome::Dropped;
    let mut buffer = vec![0; limits::CONTROL_BYTES];
    let end = Instant::now() + patience();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let received = match conn.recv(&mut buffer, limits::CONTROL_FDS, left) {
            Ok(Some(received)) => received,
            Ok(None) => return Ok(last),
            Err(SocketError::TimedOut(_)) => {
                return broken(format!("the session goes on after {:?}", patience()));
            }
            Err(error) => return Err(error.into()),
        };
        last = match wire::decode(&buffer[..received.len])? {
            DaemonMessage::Killed { fault, .. } => Outcome::Fault(fault),
            DaemonMessage::Refused(refusal) => {
                let code = ErrorCode::from_u16(refusal.code).unwrap_or(ErrorCode::Internal);
                Outcome::Refused(code)
            }
            _ => Outcome::Dropped,
        };
    }
}
