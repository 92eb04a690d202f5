//! A foreign client: SPEC.md by hand, over the protocol crate's parts, with every part in reach so that
//! it can misbehave.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_protocol::crash;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::layout::Header;
use ringfence_protocol::limits;
use ringfence_protocol::message::Message;
use ringfence_protocol::region::Region;
use ringfence_protocol::ring::ClientLane;
use ringfence_protocol::sys::bell::Bell;
use ringfence_protocol::sys::mapping::{Mapping, Options};
use ringfence_protocol::sys::socket::{Conn, SocketError};
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage, EngineId, LaneOpened, Refusal};

use super::daemon::{Daemon, PATIENCE};

/// A session.
pub(crate) struct Raw {
    pub(crate) conn: Conn,
    pub(crate) bell: Bell,
    pub(crate) lane: ClientLane<Region, Region>,
    pub(crate) opened: LaneOpened,
    pub(crate) up: Region,
    pub(crate) down: Region,
    pub(crate) up_fd: OwnedFd,
    pub(crate) down_fd: OwnedFd,
    pub(crate) engines: Vec<EngineId>,
}

impl Raw {
    pub(crate) fn connect(daemon: &Daemon) -> Self {
        Self::connect_to(&daemon.socket())
    }

    pub(crate) fn connect_to(socket: &std::path::Path) -> Self {
        Self::try_connect(socket, "raw").unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    /// Under this name, or the refusal.
    pub(crate) fn try_connect(socket: &std::path::Path, name: &str) -> Result<Self, Refusal> {
        let conn = Conn::connect(socket, PATIENCE).unwrap();
        crash::point("client.connected");
        let hello = ClientMessage::Hello { name: name.into(), engines: Vec::new() };
        match conn.send(&wire::encode(&hello).unwrap(), &[], PATIENCE) {
            // Who is refused unheard finds the reason where an answer would be.
            Ok(()) | Err(SocketError::HungUp) => {}
            Err(error) => panic!("{error:?}"),
        }
        crash::point("client.hello");
        let (message, mut fds) = hear(&conn).expect("an answer, not a hang-up");
        crash::point("client.welcome");
        let (engines, opened) = match message {
            DaemonMessage::Welcome { engines, lane, .. } => (engines, lane),
            DaemonMessage::Refused(refusal) => return Err(refusal),
            other => panic!("{other:?}"),
        };
        let (down_fd, up_fd) = (fds.pop().unwrap(), fds.pop().unwrap());
        let bell = Bell::from_fd(fds.pop().unwrap());
        let (lane, up, down) = map(&opened, &up_fd, &down_fd);
        crash::point("client.mapped");
        Ok(Self { conn, bell, lane, opened, up, down, up_fd, down_fd, engines })
    }

    /// The number of a method of an engine.
    pub(crate) fn method(&self, engine: &str, op: u16) -> u32 {
        let found = self.engines.iter().find(|id| id.name == engine).unwrap();
        u32::from(found.number) << 16 | u32::from(op)
    }

    /// Publishes an inline request and rings if that is due.
    pub(crate) fn submit(&mut self, method: u32, payload: &[u8]) -> u64 {
        self.submit_with(Header { method, ..Header::default() }, payload)
    }

    pub(crate) fn submit_with(&mut self, header: Header, payload: &[u8]) -> u64 {
        let header = Header { len: payload.len() as u32, ..header };
        let ticket = self.lane.submit(header, payload).unwrap();
        if self.lane.bell_due() {
            self.bell.ring().unwrap();
        }
        ticket
    }

    /// Opens a bulk segment with these bytes in it: its number.
    pub(crate) fn open_bulk(&self, bytes: &[u8]) -> u32 {
        use ringfence_protocol::memory::Memory as _;
        let (segment, region) = self.map_bulk(bytes.len() as u64);
        region.write_block(0, bytes);
        segment
    }

    /// Opens a bulk segment of so many bytes at least.
    pub(crate) fn open_bulk_region(&self, len: u64) -> Region {
        self.map_bulk(len).1
    }

    fn map_bulk(&self, len: u64) -> (u32, Region) {
        use std::os::fd::AsFd as _;
        tell(&self.conn, &ClientMessage::OpenBulk { len });
        let (message, fds) = hear(&self.conn).unwrap();
        let DaemonMessage::Bulk { segment, len } = message else { panic!("{message:?}") };
        let options = Options { dont_fork: true, populate: false };
        let mapped = Mapping::read_write(fds[0].as_fd(), len as usize, options).unwrap();
        (segment, Region::new(Arc::new(mapped)))
    }

    /// The next answer: its ticket and what it says.
    pub(crate) fn take(&mut self) -> (u64, Result<Vec<u8>, Error>) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = self.try_take() {
                return answer;
            }
            assert!(Instant::now() < end, "no answer");
            std::thread::yield_now();
        }
    }

    pub(crate) fn try_take(&mut self) -> Option<(u64, Result<Vec<u8>, Error>)> {
        let header = self.lane.peek().unwrap()?;
        let mut payload = vec![0; header.len as usize];
        assert!(header.block >> 24 == 0, "bulk replies are not for this client");
        self.lane.read(header, &mut payload);
        if self.lane.collect() {
            self.bell.ring().unwrap();
        }
        let result = if header.status == 0 {
            Ok(payload)
        } else {
            Err(Error::from_reply(header.status, &payload))
        };
        Some((header.ticket, result))
    }

    /// One call with one answer.
    pub(crate) fn call(&mut self, method: u32, payload: &[u8]) -> Result<Vec<u8>, Error> {
        let ticket = self.submit(method, payload);
        let (answered, result) = self.take();
        assert_eq!(answered, ticket);
        result
    }

    /// A typed call of the engine `trial`.
    pub(crate) fn trial<'a>(
        &mut self,
        op: u16,
        request: &impl Message<'a>,
    ) -> Result<Vec<u8>, Error> {
        let method = self.method("trial", op);
        self.call(method, &encode(request))
    }

    /// Echoes; panics if the answer is not what was sent.
    pub(crate) fn echo(&mut self, payload: &[u8]) {
        let method = self.method("system", ringfence_protocol::api::system::ECHO);
        assert_eq!(self.call(method, payload).unwrap(), payload);
    }

    /// What the daemon says last before it hangs up.
    pub(crate) fn last_words(&self) -> Option<DaemonMessage> {
        let mut last = None;
        while let Some((message, _)) = hear(&self.conn) {
            last = Some(message);
        }
        last
    }

    /// The code of the fault that ended the session.
    pub(crate) fn fault(&self) -> String {
        match self.last_words() {
            Some(DaemonMessage::Killed { fault, .. }) => fault,
            other => panic!("expected a fault, heard {other:?}"),
        }
    }
}

pub(crate) fn map(
    opened: &LaneOpened,
    up_fd: &OwnedFd,
    down_fd: &OwnedFd,
) -> (ClientLane<Region, Region>, Region, Region) {
    use std::os::fd::AsFd as _;
    let geometry = opened.geometry.validated().unwrap();
    let rings = Options { dont_fork: true, populate: true };
    let up = Mapping::read_write(up_fd.as_fd(), geometry.up().len, rings).unwrap();
    let down =
        Mapping::read_only(down_fd.as_fd(), geometry.down().len, Options::default()).unwrap();
    let (up, down) = (Region::new(Arc::new(up)), Region::new(Arc::new(down)));
    (ClientLane::new(up.clone(), down.clone(), geometry, opened.start).unwrap(), up, down)
}

pub(crate) fn encode<'a>(message: &impl Message<'a>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

pub(crate) fn tell(conn: &Conn, message: &ClientMessage) {
    conn.send(&wire::encode(message).unwrap(), &[], PATIENCE).unwrap();
}

/// The next message; `None` is a hang-up.
pub(crate) fn hear(conn: &Conn) -> Option<(DaemonMessage, Vec<OwnedFd>)> {
    let mut buffer = vec![0; limits::CONTROL_BYTES];
    let received = conn.recv(&mut buffer, limits::CONTROL_FDS, PATIENCE).unwrap()?;
    Some((wire::decode(&buffer[..received.len]).unwrap(), received.fds))
}

/// The error code of a failed call.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorCode {
    result.unwrap_err().code
}

/// Is the error's text about this?
pub(crate) fn says<T: std::fmt::Debug>(result: Result<T, Error>, what: &str) {
    let text = result.unwrap_err().message;
    assert!(text.contains(what), "{text:?} does not say {what:?}");
}

/// Long enough for anything that must not happen to have happened.
pub(crate) const A_WHILE: Duration = Duration::from_millis(150);
