//! One session of the mock: what it says, and how it serves its lanes.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use ringfence_protocol::layout::{Header, down};
use ringfence_protocol::memory::Memory;
use ringfence_protocol::names::{Instance, SegmentKind, SegmentName};
use ringfence_protocol::region::Region;
use ringfence_protocol::ring::{self, Entry, Peek, Place, Request, ServerLane, WakeBy};
use ringfence_protocol::sys::bell::Bell;
use ringfence_protocol::sys::futex;
use ringfence_protocol::sys::mapping::{Mapping, Options};
use ringfence_protocol::sys::segment::Segment;
use ringfence_protocol::sys::socket::{Conn, TryReceived};
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage, EngineId, LaneOpened, Refusal};

use crate::mock::{Act, Manner, Plan, Shared};

struct Lane {
    ring: ServerLane<Region, Region>,
    /// Keeps the names until the session ends.
    _segments: (Segment, Segment),
}

struct Session<'p> {
    conn: Conn,
    plan: &'p Plan,
    shared: &'p Shared,
    instance: Instance,
    lanes: Vec<Lane>,
    bulks: Vec<(Segment, Region)>,
    replies: Vec<(Segment, Region)>,
    later: Vec<(Instant, usize, Entry, Request, Vec<u8>)>,
    held: Vec<(usize, Entry, Request, Vec<u8>)>,
    reversed: Vec<(usize, Entry, Request, Vec<u8>)>,
    never: Vec<(usize, Entry, Request)>,
    over: bool,
    /// Requests for segments that were heard when it was mute.
    unheard: Vec<usize>,
    /// Our end of the client's waker.
    waker: Option<Conn>,
}

pub(crate) fn receive(conn: Conn, plan: &Plan, shared: &Shared) {
    let mut buffer = vec![0; 65536];
    let Ok(Some(hello)) = conn.recv(&mut buffer, 0, Duration::from_secs(5)) else { return };
    let hello = wire::decode::<ClientMessage>(&buffer[..hello.len]).unwrap();
    assert!(matches!(hello, ClientMessage::Hello { .. }), "{hello:?}");
    let instance =
        format!("m{:030x}", ringfence_protocol::sys::random::random_u128().unwrap() >> 8);
    let mut session = Session {
        conn,
        plan,
        shared,
        instance: instance.parse().unwrap(),
        lanes: Vec::new(),
        bulks: Vec::new(),
        replies: Vec::new(),
        later: Vec::new(),
        held: Vec::new(),
        reversed: Vec::new(),
        never: Vec::new(),
        over: false,
        unheard: Vec::new(),
        waker: None,
    };
    shared.sessions.fetch_add(1, SeqCst);
    if session.greet() {
        session.serve(&mut buffer);
    }
}

impl Session<'_> {
    fn say(&self, message: &DaemonMessage, fds: &[&OwnedFd]) {
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        let bytes = wire::encode(message).unwrap();
        let _the_client_may_be_gone = self.conn.send(&bytes, &fds, Duration::from_secs(5));
    }

    fn segment(&self, kind: SegmentKind, len: usize) -> Segment {
        let uid = nix::unistd::geteuid().as_raw();
        Segment::create(&SegmentName::random(uid, &self.instance, kind).unwrap(), len).unwrap()
    }

    /// Answers the hello. Is there a session?
    fn greet(&mut self) -> bool {
        match &self.plan.manner {
            Manner::Refuse(code, reason) => {
                let (reason, remedy) = ((*reason).into(), "ask somebody".into());
                self.say(&DaemonMessage::Refused(Refusal { code: *code, reason, remedy }), &[]);
                return false;
            }
            Manner::OtherLayout => {
                let mut bytes = wire::encode(&ClientMessage::Goodbye).unwrap();
                bytes[8] = 77;
                self.conn.send(&bytes, &[], Duration::from_secs(5)).unwrap();
                return false;
            }
            Manner::Slam => return false,
            Manner::Mute => {
                while !self.shared.stop.load(SeqCst) && !self.conn.hung_up() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                return false;
            }
            _ => {}
        }
        let bell = Bell::new().unwrap();
        let bell = bell.as_fd().try_clone_to_owned().unwrap();
        let (mut opened, up, down) = self.open_lane();
        if matches!(self.plan.manner, Manner::Impossible) {
            opened.geometry.slots = 7;
        }
        if matches!(self.plan.manner, Manner::ShortLane) {
            opened.geometry.up_blocks += 1;
        }
        let engines = self.plan.engines.iter().enumerate().map(|(number, (engine, differs))| {
            let digest = differs.as_ref().unwrap_or(engine).digest();
            let differs = differs.clone();
            EngineId { name: engine.name.clone(), number: number as u16, digest, differs }
        });
        let welcome = DaemonMessage::Welcome {
            session: 1,
            epoch: u64::from(self.shared.epoch.fetch_add(1, SeqCst)),
            version: "mock".into(),
            pid: 4242,
            private: false,
            engines: engines.collect(),
            lane: opened,
        };
        let fds = [&bell, &up, &down];
        let none = matches!(self.plan.manner, Manner::NoDescriptors);
        self.say(&welcome, if none { &[] } else { &fds });
        true
    }

    fn open_lane(&mut self) -> (LaneOpened, OwnedFd, OwnedFd) {
        let geometry = self.plan.geometry;
        // Near the end of the numbers, so that every test crosses it.
        let start = (1 << 63) - 3;
        let up = self.segment(SegmentKind::Up, geometry.up().len);
        let down = self.segment(SegmentKind::Down, geometry.down().len);
        let map = |segment: &Segment, len| {
            let mapping = Mapping::read_write(segment.fd(), len, Options::default()).unwrap();
            Region::new(Arc::new(mapping))
        };
        let (up_region, down_region) =
            (map(&up, geometry.up().len), map(&down, geometry.down().len));
        ring::initialise(&up_region, &down_region, geometry, start);
        self.shared.ups.lock().unwrap().push(up_region.clone());
        let ring = ServerLane::new(up_region, down_region, geometry, start, 1);
        let up_fd = up.fd().try_clone_to_owned().unwrap();
        let down_fd = down.reopen_read_only().unwrap();
        let lane = self.lanes.len() as u32;
        self.lanes.push(Lane { ring, _segments: (up, down) });
        (LaneOpened { lane, geometry, start }, up_fd, down_fd)
    }

    fn serve(&mut self, buffer: &mut [u8]) {
        let (mut idle, mut beat) = (0_u32, Instant::now());
        while !self.shared.stop.load(SeqCst) && !self.over {
            let mut found = false;
            if !matches!(self.plan.manner, Manner::Deaf) {
                for lane in 0..self.lanes.len() {
                    found |= self.turn(lane);
                }
                found |= self.answer_late();
                if beat.elapsed() >= Duration::from_millis(20) {
                    beat = Instant::now();
                    self.sweep();
                }
            }
            idle = if found { 0 } else { idle + 1 };
            if idle.is_multiple_of(16) {
                self.control(buffer);
                std::thread::yield_now();
            }
            if idle > 2000 {
                self.nap();
                idle = 0;
            }
        }
    }

    /// Parks all lanes for a moment. (It sleeps blindly: a bell costs it up to a millisecond.)
    fn nap(&mut self) {
        let all_parked = self.lanes.iter_mut().all(|lane| lane.ring.park().unwrap());
        if all_parked {
            self.shared.parks.fetch_add(1, SeqCst);
            std::thread::sleep(Duration::from_millis(1));
        }
        self.lanes.iter_mut().for_each(|lane| lane.ring.unpark());
    }

    fn sweep(&mut self) {
        for lane in &mut self.lanes {
            lane.ring.beat();
            lane.ring.ring_again();
            self.shared.leased.store(lane.ring.leased().0 as usize, SeqCst);
        }
        let lanes = &self.lanes;
        let before = self.never.len();
        self.never.retain(|(lane, entry, request)| {
            let ring = &lanes[*lane].ring;
            ring.up().load(ring.cancel_at(*entry)) != request.ticket.wrapping_add(1)
        });
        self.shared.cancelled.fetch_add(before - self.never.len(), SeqCst);
        (0..self.lanes.len()).for_each(|lane| self.wake(lane));
    }

    fn wake(&mut self, lane: usize) {
        let ring = &mut self.lanes[lane].ring;
        let Some(by) = ring.wake_due() else { return };
        self.shared.wakes.fetch_add(1, SeqCst);
        futex::wake(ring.down().futex(down::WAKE), u32::MAX);
        if by == WakeBy::Byte
            && let Some(waker) = &self.waker
        {
            self.shared.bytes.fetch_add(1, SeqCst);
            let _full_is_as_good = waker.try_send(&[1], &[]);
        }
    }

    fn control(&mut self, buffer: &mut [u8]) {
        if !self.shared.mute.load(SeqCst) {
            for len in std::mem::take(&mut self.unheard) {
                self.open_bulk(len);
            }
        }
        match self.conn.try_recv(buffer, 0) {
            Ok(TryReceived::Nothing) => {}
            Ok(TryReceived::HungUp) | Err(_) => self.over = true,
            Ok(TryReceived::Message(got)) => {
                match wire::decode::<ClientMessage>(&buffer[..got.len]).unwrap() {
                    ClientMessage::OpenBulk { len } if self.shared.mute.load(SeqCst) => {
                        self.shared.unheard.fetch_add(1, SeqCst);
                        self.unheard.push(len as usize);
                    }
                    ClientMessage::OpenBulk { .. } if self.shared.stingy.load(SeqCst) => {
                        let (code, remedy) = (6004, String::new());
                        let reason = "no more segments".to_owned();
                        self.say(&DaemonMessage::Refused(Refusal { code, reason, remedy }), &[]);
                    }
                    ClientMessage::OpenBulk { len } => self.open_bulk(len as usize),
                    ClientMessage::OpenLane if self.lanes.len() < self.plan.lanes => {
                        let (opened, up, down) = self.open_lane();
                        self.say(&DaemonMessage::Lane(opened), &[&up, &down]);
                    }
                    ClientMessage::OpenLane => {
                        let (code, remedy) = (6004, String::new());
                        let reason = "no more lanes".to_owned();
                        self.say(&DaemonMessage::Refused(Refusal { code, reason, remedy }), &[]);
                    }
                    ClientMessage::OpenWaker => {
                        let (ours, theirs) = Conn::pair().unwrap();
                        self.waker = Some(ours);
                        self.say(&DaemonMessage::Waker, &[&theirs.into_fd()]);
                    }
                    ClientMessage::Goodbye => self.over = true,
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn open_bulk(&mut self, len: usize) {
        let segment = self.segment(SegmentKind::Bulk, len);
        let mapping = Mapping::read_only(segment.fd(), len, Options::default()).unwrap();
        let fd = segment.fd().try_clone_to_owned().unwrap();
        self.bulks.push((segment, Region::new(Arc::new(mapping))));
        self.shared.bulks.fetch_add(1, SeqCst);
        let number = self.bulks.len() as u32;
        self.say(&DaemonMessage::Bulk { segment: number, len: len as u64 }, &[&fd]);
    }

    fn turn(&mut self, lane: usize) -> bool {
        let Peek::Request(request) = self.lanes[lane].ring.peek().unwrap() else { return false };
        let mut payload = vec![0; request.header.len as usize];
        match request.place {
            Place::Bulk { segment, at } => {
                self.bulks[segment as usize - 1].1.read_block(at, &mut payload);
            }
            _ => self.lanes[lane].ring.read(&request, &mut payload),
        }
        match (self.plan.answer)(request.header.method, &payload) {
            Act::Reply(reply) => self.light(lane, &request, |s| s.place(lane, &request, &reply)),
            Act::Fail(code, text) => self.light(lane, &request, |_| {
                let header = Header { status: code, ..answer_to(&request, text.len()) };
                (header, text.as_bytes().to_vec())
            }),
            Act::Bulk(reply) => {
                self.light(lane, &request, |s| s.place_bulk(lane, &request, &reply))
            }
            Act::WrongTicket => self.light(lane, &request, |_| {
                let ticket = request.ticket.wrapping_add(5);
                (Header { ticket, ..answer_to(&request, 0) }, Vec::new())
            }),
            Act::Overlong => {
                self.light(lane, &request, |_| (answer_to(&request, 5000), Vec::new()))
            }
            act => self.heavy(lane, request, act),
        }
        true
    }

    fn light(
        &mut self,
        lane: usize,
        request: &Request,
        answer: impl FnOnce(&mut Self) -> (Header, Vec<u8>),
    ) {
        debug_assert!(request.ticket > 0);
        self.lanes[lane].ring.claim();
        let (header, inline) = answer(self);
        let ring = &mut self.lanes[lane].ring;
        ring.answer(header, &inline);
        ring.release();
        self.wake(lane);
    }

    fn heavy(&mut self, lane: usize, request: Request, act: Act) {
        let entry = self.lanes[lane].ring.admit(&request, &[]);
        match act {
            Act::After(delay, reply) => {
                self.later.push((Instant::now() + delay, lane, entry, request, reply));
            }
            Act::Held(reply) => self.held.push((lane, entry, request, reply)),
            Act::Reversed(count, reply) => {
                self.reversed.push((lane, entry, request, reply));
                if self.reversed.len() == count {
                    while let Some((lane, entry, request, reply)) = self.reversed.pop() {
                        self.finish(lane, entry, &request, &reply);
                    }
                }
            }
            Act::Kill => {
                let text = "payload of 9999 bytes".to_owned();
                self.say(&DaemonMessage::Killed { fault: "inline-length".into(), text }, &[]);
                self.over = true;
            }
            Act::Die => self.over = true,
            _ => self.never.push((lane, entry, request)),
        }
    }

    fn answer_late(&mut self) -> bool {
        if self.shared.lets_go.load(SeqCst)
            && let Some((lane, entry, request, reply)) = self.held.pop()
        {
            self.finish(lane, entry, &request, &reply);
            return true;
        }
        let now = Instant::now();
        let due = self.later.iter().position(|late| late.0 <= now);
        let Some(due) = due else { return false };
        let (_, lane, entry, request, reply) = self.later.swap_remove(due);
        self.finish(lane, entry, &request, &reply);
        true
    }

    fn finish(&mut self, lane: usize, entry: Entry, request: &Request, reply: &[u8]) {
        let (header, inline) = self.place(lane, request, reply);
        self.lanes[lane].ring.finish(entry, header, &inline);
        self.wake(lane);
    }

    /// Inline, in the arena, or in a segment.
    fn place(&mut self, lane: usize, request: &Request, reply: &[u8]) -> (Header, Vec<u8>) {
        let header = answer_to(request, reply.len());
        if reply.len() <= ringfence_protocol::limits::INLINE_BYTES {
            return (header, reply.to_vec());
        }
        match self.lanes[lane].ring.place(reply, request.ticket) {
            Some(block) => (Header { block, ..header }, Vec::new()),
            None => self.place_bulk(lane, request, reply),
        }
    }

    fn place_bulk(&mut self, lane: usize, request: &Request, reply: &[u8]) -> (Header, Vec<u8>) {
        let free = |s: &mut Self, at: usize| {
            s.replies[at].1.len() >= reply.len() && !s.lanes[lane].ring.bulk_is_held(at as u32 + 1)
        };
        let at = (0..self.replies.len()).find(|at| free(self, *at));
        let at = at.unwrap_or_else(|| {
            let len = reply.len().next_multiple_of(4096);
            let segment = self.segment(SegmentKind::Bulk, len);
            let mapping = Mapping::read_write(segment.fd(), len, Options::default()).unwrap();
            let fd = segment.reopen_read_only().unwrap();
            self.replies.push((segment, Region::new(Arc::new(mapping))));
            let number = self.replies.len() as u32;
            self.say(&DaemonMessage::ReplyBulk { segment: number, len: len as u64 }, &[&fd]);
            self.replies.len() - 1
        });
        self.replies[at].1.write_block(0, reply);
        let segment = at as u32 + 1;
        let ring = &mut self.lanes[lane].ring;
        let block = ring.lease_bulk(segment, reply.len() as u64, request.ticket);
        (Header { block, ..answer_to(request, reply.len()) }, Vec::new())
    }
}

fn answer_to(request: &Request, len: usize) -> Header {
    Header {
        ticket: request.ticket,
        method: request.header.method,
        len: len as u32,
        trace: request.header.trace,
        ..Header::default()
    }
}
