//! Topics in segments: how logs reach the sessions that read them, and how those are woken.
//!
//! The sequencer is the core's ([`ringfence_core::bus`]). Here are its logs (`topic` segments, which
//! only the daemon writes), the sessions that may read them, and the words by which a session's
//! subscriptions sleep (SPEC P8). Invariants: a session is known here from before its first call
//! until its poller has let go of it; nothing here waits for a client.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::{Mutex, RwLock};
use ringfence_core::bus::{Carrier, Elsewhere, Limits, Right, Topic};
use ringfence_core::serving::Rules;
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::layout::down;
use ringfence_protocol::log::{BlockUse, Cursors, Holds};
use ringfence_protocol::names::SegmentKind;
use ringfence_protocol::region::Region;
use ringfence_protocol::ring::{Teller, WakeBy};
use ringfence_protocol::sys::futex;
use ringfence_protocol::sys::segment::Segment;
use ringfence_protocol::sys::window::Access;
use ringfence_protocol::wire::DaemonMessage;

use crate::config::{self, Config};
use crate::segments::Segments;
use crate::session::Session;

/// The engine, as this daemon has it.
pub(crate) type Engine = ringfence_core::bus::Engine<Post>;

/// The engine of a daemon that runs for the first time in this epoch.
pub(crate) fn engine(config: &Config, epoch: u64, segments: Segments, ears: Arc<Ears>) -> Engine {
    let limits = Limits {
        topics: config.bus.topics_max as usize,
        subscriptions: config.bus.subscriptions_per_topic as usize,
        bytes: config.bus.bytes_max,
    };
    let (logs, made) = (Mutex::default(), Mutex::default());
    let bytes_per_uid = config.bus.bytes_per_uid;
    Engine::new(epoch, limits, Post { segments, logs, made, bytes_per_uid, ears })
}

/// A session, as far as its subscriptions need it.
struct Ear {
    /// Weak: a subscription that ended and holds blocks keeps the words of its session, and no more.
    session: Weak<Session>,
    /// Its process; kept, for what a dead one holds counts no more.
    pidfd: Arc<OwnedFd>,
    uid: u32,
    /// Its first lane.
    up: Region,
    down: Region,
    geometry: Geometry,
    teller: Teller,
}

impl Ear {
    /// The fence between what was published and this look is the caller's (SPEC P2).
    fn wake(&self) {
        let Some(by) = self.teller.wake_due(&self.up, &self.down) else { return };
        futex::wake(self.down.futex(down::NEWS), u32::MAX);
        if by == WakeBy::Byte
            && let Some(session) = self.session.upgrade()
        {
            session.wake_by_byte();
        }
    }

    fn session(&self) -> Result<Arc<Session>, Error> {
        self.session.upgrade().ok_or_else(gone)
    }
}

/// One subscription of a session.
struct Reader {
    ear: Arc<Ear>,
    subscription: u32,
}

impl Elsewhere for Reader {
    fn cursor(&self) -> u64 {
        Cursors::new(&self.ear.up, self.ear.geometry).get(self.subscription)
    }

    fn holds(&self, block: BlockUse) -> bool {
        // Numbers are below 64: whoever subscribes is told so otherwise.
        let hold = block.held_by(self.subscription as u8);
        Holds::new(&self.ear.up, self.ear.geometry).has(hold)
    }

    fn holds_any(&self) -> bool {
        let Ear { pidfd, up, geometry, .. } = &*self.ear;
        Holds::new(up, *geometry).has_any(self.subscription as u8) && lives(pidfd.as_fd())
    }

    fn wake(&self) {
        self.ear.wake();
    }

    fn cut_off(&self, at: u64) {
        let told = DaemonMessage::CutOff { subscription: self.subscription, sequence: at };
        if let Ok(session) = self.ear.session()
            && session.tell(&told, &[]).is_err()
            && is_armed("topic.untold")
        {
            // Who cannot be told must not go on as if nothing had happened.
            session.hang_up();
        }
        self.ear.wake();
    }
}

/// Which sessions may read logs, and the logs.
pub(crate) struct Post {
    segments: Segments,
    /// Own each log's name, and reopen it for who reads.
    logs: Mutex<HashMap<String, Segment>>,
    /// Bytes of the logs that users have made who may not do everything.
    made: Mutex<HashMap<u32, u64>>,
    bytes_per_uid: u64,
    ears: Arc<Ears>,
}

impl Post {
    /// Counts a log that the session's user makes, or says why not. Logs are never given back.
    fn count(&self, session: u64, len: u64) -> Result<(), Error> {
        let uid = self.ears.find(session)?.uid;
        if self.ears.may_all(uid) {
            return Ok(());
        }
        let mut made = self.made.lock();
        let (held, most) = (made.entry(uid).or_insert(0), self.bytes_per_uid);
        if len > most.saturating_sub(*held) && is_armed("quota.topic-bytes") {
            let text = format!(
                "a log of {len} bytes more than the {held} that user {uid} has made is over [bus] bytes_per_uid = {most}: \
                 use fewer or smaller slots, or raise the limit"
            );
            return Err(Error::new(ErrorCode::Quota, text));
        }
        *held += len;
        Ok(())
    }

    fn uncount(&self, session: u64, len: u64) {
        if let Ok(ear) = self.ears.find(session)
            && let Some(held) = self.made.lock().get_mut(&ear.uid)
        {
            *held -= len;
        }
    }
}

/// The sessions of a daemon, as its bus knows them.
pub(crate) struct Ears {
    publish: Rules,
    subscribe: Rules,
    by_session: RwLock<HashMap<u64, Arc<Ear>>>,
    /// Has a session of a user ever been here who may not do everything?
    strangers: AtomicBool,
}

impl Ears {
    /// For a daemon that runs as this user.
    pub(crate) fn new(owner: u32, config: &config::Bus) -> Arc<Self> {
        let rules = |granted: &[config::ServingGrant]| Rules {
            owner,
            grants: config::grants(granted),
            ..Rules::default()
        };
        Arc::new(Self {
            publish: rules(&config.publish),
            subscribe: rules(&config.subscribe),
            by_session: RwLock::default(),
            strangers: AtomicBool::new(false),
        })
    }

    /// A session has its first lane.
    pub(crate) fn enter(
        &self,
        (session, pidfd): (&Arc<Session>, &Arc<OwnedFd>),
        geometry: Geometry,
        (up, down): (Region, Region),
    ) {
        let ear = Ear {
            session: Arc::downgrade(session),
            pidfd: Arc::clone(pidfd),
            uid: session.uid,
            up,
            down,
            geometry,
            teller: Teller::default(),
        };
        if !self.may_all(session.uid) {
            self.strangers.store(true, Ordering::Relaxed);
        }
        self.by_session.write().insert(session.id, Arc::new(ear));
    }

    /// The daemon's own user, and root.
    fn may_all(&self, uid: u32) -> bool {
        uid == self.publish.owner || uid == 0
    }

    /// It is over.
    pub(crate) fn leave(&self, session: u64) {
        self.by_session.write().remove(&session);
    }

    fn find(&self, session: u64) -> Result<Arc<Ear>, Error> {
        self.by_session.read().get(&session).cloned().ok_or_else(gone)
    }
}

/// Asked of the kernel by descriptor: a number would be another process's by and by.
fn lives(pidfd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    // What cannot be asked may live.
    !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(ended) if ended > 0 && is_armed("hold.pidfd"))
}

fn gone() -> Error {
    Error::new(ErrorCode::SessionKilled, "the session is over")
}

impl Carrier for Post {
    type Memory = Region;

    fn memory(&self, session: u64, topic: &str, len: usize) -> Result<Region, Error> {
        self.count(session, len as u64)?;
        let made = self.segments.make(SegmentKind::Topic, len, Access::ReadWrite);
        let (segment, region) = made.map_err(|error| {
            self.uncount(session, len as u64);
            let text = format!("{error}: use fewer or smaller slots, or make /dev/shm larger");
            Error::new(ErrorCode::OutOfMemory, text)
        })?;
        self.logs.lock().insert(topic.to_owned(), segment);
        Ok(region)
    }

    #[inline]
    fn check(&self, session: u64, topic: &str, right: Right) -> Result<(), Error> {
        if !self.ears.strangers.load(Ordering::Relaxed) {
            return Ok(());
        }
        let uid = self.ears.find(session)?.uid;
        let (rules, setting) = match right {
            Right::Make | Right::Publish => (&self.ears.publish, "publish"),
            Right::Subscribe => (&self.ears.subscribe, "subscribe"),
        };
        if rules.allow(Some(uid), topic) || !is_armed("topic.users") {
            return Ok(());
        }
        let text = format!("user {uid} may not {right} topic `{topic}`: [bus] {setting} grants it");
        Err(Error::new(ErrorCode::PermissionDenied, text))
    }

    fn hand_over(&self, session: u64, topic: &Topic<Region>) -> Result<(), Error> {
        let io = |error: String| Error::new(ErrorCode::Io, error);
        let logs = self.logs.lock();
        let segment = logs.get(topic.name()).ok_or_else(|| io("the log has no name".to_owned()))?;
        let fd = segment.reopen_read_only().map_err(|error| io(error.to_string()))?;
        let len = topic.geometry().bytes() as u64;
        let told = DaemonMessage::Topic { topic: topic.number(), len };
        self.ears.find(session)?.session()?.tell(&told, &[fd.as_fd()])
    }

    fn reach(&self, session: u64, subscription: u32) -> Result<Box<dyn Elsewhere>, Error> {
        Ok(Box::new(Reader { ear: self.ears.find(session)?, subscription }))
    }

    fn session_ended(&self, session: u64) {
        self.ears.leave(session);
    }
}
