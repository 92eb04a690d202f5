//! A daemon of threads inside the test process, that plays well or badly as it is told.
//!
//! It serves with the daemon's own side of a lane (`ServerLane`), so what it does *not* do on purpose
//! is right. Its folder and its segments are gone when it is dropped.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::region::Region;
use ringfence_protocol::schema::EngineSchema;
use ringfence_protocol::sys::socket::Listener;

use crate::mock_session::receive;

/// What to do with one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answer this.
    Reply(Vec<u8>),
    /// Answer this, not before so much time has passed.
    After(Duration, Vec<u8>),
    /// Answer this as soon as the test lets go ([`Shared::lets_go`]).
    Held(Vec<u8>),
    /// Answer this when `n` such requests are there, the last one first.
    Reversed(usize, Vec<u8>),
    /// Answer this out of a segment of its own.
    Bulk(Vec<u8>),
    /// Answer an error.
    Fail(u16, &'static str),
    /// Take it and never answer.
    Never,
    /// Take it and die.
    Die,
    /// Answer another ticket.
    WrongTicket,
    /// Answer with a length that fits no slot.
    Overlong,
    /// End the session for a broken rule.
    Kill,
}

/// How to receive a client.
#[derive(Clone, Debug, Default)]
pub(crate) enum Manner {
    /// As it should be.
    #[default]
    Well,
    /// Refuse.
    Refuse(u16, &'static str),
    /// Speak another layout.
    OtherLayout,
    /// Hang up.
    Slam,
    /// Say nothing.
    Mute,
    /// Send an `up` that is shorter than announced.
    ShortLane,
    /// Announce impossible sizes.
    Impossible,
    /// Forget the descriptors.
    NoDescriptors,
    /// Welcome, then never look at the ring.
    Deaf,
}

type Answerer = dyn Fn(u32, &[u8]) -> Act + Send + Sync;

/// What a mock is made of.
pub(crate) struct Plan {
    pub(crate) manner: Manner,
    pub(crate) geometry: Geometry,
    pub(crate) engines: Vec<(EngineSchema, Option<EngineSchema>)>,
    pub(crate) answer: Box<Answerer>,
    /// Lanes that it grants.
    pub(crate) lanes: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            manner: Manner::Well,
            geometry: Geometry { slots: 16, up_blocks: 16, down_blocks: 16 },
            engines: vec![(ringfence_protocol::api::system::schema(), None)],
            answer: Box::new(|_, payload| Act::Reply(payload.to_vec())),
            lanes: 1,
        }
    }
}

/// What the test can see and say while the mock runs.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) stop: AtomicBool,
    /// Sessions begun.
    pub(crate) sessions: AtomicUsize,
    /// Times that a client was woken.
    pub(crate) wakes: AtomicUsize,
    /// Bytes that woke its event loop.
    pub(crate) bytes: AtomicUsize,
    /// Times that the mock parked its lane.
    pub(crate) parks: AtomicUsize,
    /// Bulk segments that were opened for requests.
    pub(crate) bulks: AtomicUsize,
    /// Bytes that clients hold, as of the last look.
    pub(crate) leased: AtomicUsize,
    /// It refuses requests for bulk segments.
    pub(crate) stingy: AtomicBool,
    /// It does not answer requests for bulk segments until it is mute no more...
    pub(crate) mute: AtomicBool,
    /// ... of which there were so many.
    pub(crate) unheard: AtomicUsize,
    /// It answers what it holds.
    pub(crate) lets_go: AtomicBool,
    /// Cancelled tickets.
    pub(crate) cancelled: AtomicUsize,
    pub(crate) epoch: AtomicU32,
    /// What clients write, of every lane that was opened.
    pub(crate) ups: Mutex<Vec<Region>>,
}

/// A running mock.
pub(crate) struct Mock {
    dir: PathBuf,
    pub(crate) shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A folder of this test alone.
pub(crate) fn folder() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, SeqCst);
    let dir = std::env::temp_dir().join(format!("rf-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

impl Mock {
    pub(crate) fn echoing() -> Self {
        Self::start(Plan::default())
    }

    pub(crate) fn answering(answer: impl Fn(u32, &[u8]) -> Act + Send + Sync + 'static) -> Self {
        Self::start(Plan { answer: Box::new(answer), ..Plan::default() })
    }

    pub(crate) fn mannered(manner: Manner) -> Self {
        Self::start(Plan { manner, ..Plan::default() })
    }

    pub(crate) fn start(plan: Plan) -> Self {
        Self::start_in(folder(), plan)
    }

    /// In the folder of one that is gone: a restart.
    pub(crate) fn start_in(dir: PathBuf, plan: Plan) -> Self {
        std::fs::create_dir_all(&dir).unwrap();
        let listener = Listener::bind(&dir.join("control.sock"), 0o600).unwrap();
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = shared.clone();
            std::thread::spawn(move || accept(&listener, &Arc::new(plan), &shared))
        };
        Self { dir, shared, thread: Some(thread) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    pub(crate) fn client(&self) -> ringfence::Client {
        ringfence::Client::builder().socket(self.path()).name("test").connect().unwrap()
    }

    /// Dies: nothing is answered any more, all connections are closed. Its folder, for the next one.
    pub(crate) fn die(mut self) -> PathBuf {
        self.stop();
        std::mem::take(&mut self.dir)
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            if !std::thread::panicking() {
                outcome.unwrap();
            }
        }
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.stop();
        if self.dir != Path::new("") {
            let _gone = std::fs::remove_dir_all(&self.dir);
        }
    }
}

fn accept(listener: &Listener, plan: &Arc<Plan>, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while !shared.stop.load(SeqCst) {
        match listener.accept_nonblocking().unwrap() {
            Some(conn) => {
                let (plan, shared) = (plan.clone(), shared.clone());
                threads.push(std::thread::spawn(move || receive(conn, &plan, &shared)));
            }
            None => std::thread::sleep(Duration::from_micros(200)),
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Waits for a condition, never for a time.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
