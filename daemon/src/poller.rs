//! The hot loop: a thread that serves its sessions' lanes.
//!
//! It polls hot lanes only. A lane that was quiet for its budget is parked and costs nothing; a bell
//! makes it hot again. With no hot lane left the thread sleeps in epoll. A sweep every 100 ms turns a
//! lost bell into latency, never into a hang, and is the only time that shared counters are written.
//!
//! It never blocks on a client, never allocates without limit for one, and makes no decision about
//! who may connect: that is the server's.

mod bells;
mod sweep;

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use ringfence_core::Registry;
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::fault::Fault;
use ringfence_protocol::limits::SWEEP_MS;
use ringfence_protocol::region::Region;
use ringfence_protocol::ring::ServerLane;
use ringfence_protocol::sys::bell::Bell;
use ringfence_protocol::sys::clock;
use ringfence_protocol::wait::{Patience, Spin, Step};

use self::bells::InVain;
use crate::config::Polling;
use crate::inbox::{Inbox, Message};
use crate::inflight::LaneKey;
use crate::lane::{Bench, Lane, Scratch};
use crate::reports::{Report, Reports};
use crate::session::Session;
use crate::workers::stack_bytes;

/// Looks at lanes between two looks at the exact clock and at the bells: a quarter of a millisecond.
const LOOK_AROUND_EVERY: u32 = 32_768;

/// What a turn takes besides the looks at a lone lane, in looks.
const LOOKS_A_TURN: u32 = 8;

/// Looks at a lane that is alone, before all else that a turn looks at: half a microsecond.
const LONE_LOOKS: u32 = 64;

/// Requests after which those are told who sleep until there is a message, if there is no quiet moment before.
const TELL_AFTER: u32 = 16;

/// Turns in a row of a lane that may not be hot and always has more.
const TURNS_WHEN_PARKED: u32 = 4;

const INBOX: u64 = 0;

/// A session of this poller.
struct Member {
    session: Arc<Session>,
    bell: Arc<Bell>,
    lanes: Vec<usize>,
    in_vain: InVain,
    /// Its bell is out of the epoll set until the next sweep.
    masked: bool,
}

/// What a sweep ends with: counters are published, the watchdog is fed.
pub(crate) type OnSweep = Box<dyn FnMut(&mut Bench, &Observed) + Send>;

/// What a poller needs to start.
pub(crate) struct Setup {
    pub(crate) bench: Bench,
    pub(crate) polling: Polling,
    pub(crate) cpu: Option<u32>,
    pub(crate) reports: Arc<Reports>,
    /// Called once a sweep by the polling loop, and by nothing else: counters and watchdog.
    pub(crate) on_sweep: OnSweep,
}

/// What a sweep saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) lanes: u64,
    pub(crate) leased_bytes: u64,
    /// Session, lanes, calls since it opened, leases.
    pub(crate) sessions: Vec<(u64, u64, u64, u64)>,
}

/// A polling thread.
pub(crate) struct Poller {
    /// The same as the bench's; apart, so that a method can be called while the bench changes.
    registry: Arc<Registry>,
    bench: Bench,
    scratch: Scratch,
    polling: Polling,
    inbox: Arc<Inbox>,
    epoll: Epoll,
    reports: Arc<Reports>,
    on_sweep: OnSweep,
    members: HashMap<u64, Member>,
    lanes: Vec<Option<Lane>>,
    hot: Vec<usize>,
    generations: u64,
    patience: Patience,
    next_sweep: Instant,
    /// So far, for what not every sweep does.
    sweeps: u64,
    /// Of topics with news, while they are told.
    topics: Vec<u32>,
    running: bool,
}

/// Dropped by a panic it ends the process: a daemon that has lost a poller looks alive, and its sessions wait for
/// nobody. Of one that is gone clients are told, and whoever manages it starts the next.
struct EndsWithIt;

impl Drop for EndsWithIt {
    fn drop(&mut self) {
        if std::thread::panicking() && is_armed("poller.panic") {
            tracing::error!("a poller panicked, so the daemon ends: please report what it said");
            std::process::abort();
        }
    }
}

impl Poller {
    /// Starts the thread.
    pub(crate) fn start(setup: Setup, number: u32) -> std::io::Result<std::thread::JoinHandle<()>> {
        let inbox = Arc::clone(&setup.bench.inbox);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(
            inbox.bell.as_fd(),
            EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, INBOX),
        )?;
        let spin = match setup.polling.spin {
            crate::config::Spin::Adaptive => Spin::Adaptive,
            crate::config::Spin::Always => Spin::Always,
            crate::config::Spin::Never => Spin::Never,
        };
        let patience = Patience::yielding_for(spin, Duration::from_micros(setup.polling.yield_us))
            .spinning_for(Duration::from_micros(setup.polling.spin_us));
        let poller = Self {
            registry: Arc::clone(&setup.bench.registry),
            bench: setup.bench,
            scratch: Scratch::new(),
            polling: setup.polling,
            inbox,
            epoll,
            reports: setup.reports,
            on_sweep: setup.on_sweep,
            members: HashMap::new(),
            lanes: Vec::new(),
            hot: Vec::new(),
            generations: 0,
            patience,
            next_sweep: Instant::now(),
            sweeps: 0,
            topics: Vec::new(),
            running: true,
        };
        let cpu = setup.cpu;
        let thread = std::thread::Builder::new().name(format!("poller-{number}"));
        thread.stack_size(stack_bytes()).spawn(move || {
            if let Some(cpu) = cpu {
                pin(cpu);
            }
            let _or_nobody_is_served = EndsWithIt;
            poller.run();
        })
    }

    fn run(mut self) {
        let mut looks: u32 = 0;
        let mut untold: u32 = 0;
        // Has it slept, and served nobody since? Is it time to look around, however few the looks?
        let (mut woken, mut due) = (false, false);
        while self.running {
            looks += LOOKS_A_TURN + self.look_at_lone_lane();
            let requests = self.turn_of_all();
            let served = requests > 0;
            if served {
                self.patience.reset();
                if std::mem::take(&mut woken) {
                    // Whoever rang may wait on this core.
                    self.patience.yield_once();
                }
            }
            if !self.inbox.is_empty() {
                self.read_inbox();
            }
            // Off the way of a request that comes now: whoever sleeps takes far longer to wake.
            untold += requests;
            if !served || untold >= TELL_AFTER {
                untold = 0;
                self.tell_news();
            }
            // After the turn: a sweep walks over all sessions, and whoever has just rung waits.
            if looks >= LOOK_AROUND_EVERY || std::mem::take(&mut due) {
                looks = 0;
                self.look_around(Instant::now());
            }
            if std::mem::take(&mut self.bench.handed_over) {
                // A worker needs a core, perhaps this one.
                self.patience.stop_spinning();
            } else if !served && (self.hot.is_empty() || self.is_to_sleep()) {
                self.sleep();
                self.patience.reset();
                woken = true;
                due = self.hot.is_empty() || Instant::now() >= self.next_sweep;
            }
        }
    }

    /// One load where there is nothing.
    #[inline]
    fn tell_news(&mut self) {
        if self.bench.bus.bus().has_news() {
            self.bench.bus.bus().tell_elsewhere(&mut self.topics);
        }
    }

    /// After a turn in vain: is it time to sleep?
    #[inline]
    fn is_to_sleep(&mut self) -> bool {
        match self.patience.step() {
            Step::Look | Step::Yielded => false,
            Step::Park => true,
            // If a worker runs on this core, every look of ours is time that a client waits for.
            Step::Crowded => self.lanes.iter().flatten().any(Lane::is_worked_for),
        }
    }

    /// One turn for each hot lane. How many requests.
    #[inline]
    fn turn_of_all(&mut self) -> u32 {
        let mut served = 0;
        let mut at = 0;
        while at < self.hot.len() {
            let index = self.hot[at];
            at += 1;
            let Some(lane) = self.lanes[index].as_mut() else { continue };
            if self.bench.draining {
                continue;
            }
            match lane.turn(&self.registry, &mut self.scratch, &mut self.bench) {
                Ok(requests) => served += requests,
                Err(fault) => {
                    self.fault(index, fault);
                    at -= 1; // its place in `hot` was taken by another
                }
            }
        }
        served
    }

    /// Reads the clock; with one hot lane, looks at it some more times, each right after the clock. How
    /// many.
    ///
    /// The clock is read before the look and not after it: off the way of a request, and no older than
    /// the look that finds one.
    #[inline(always)]
    fn look_at_lone_lane(&mut self) -> u32 {
        self.bench.now = clock::coarse_ticks();
        let &[only] = self.hot.as_slice() else { return 0 };
        let Some(lane) = self.lanes[only].as_ref() else { return 0 };
        for look in 0..LONE_LOOKS {
            if lane.ring.is_ready() {
                return look;
            }
            // No pause: the clock is one, a fifth as long (measured: 5 % at p50).
            self.bench.now = clock::coarse_ticks();
        }
        LONE_LOOKS
    }

    #[cold]
    fn fault(&mut self, index: usize, fault: Fault) {
        let Some(lane) = self.lanes[index].as_ref() else { return };
        let session = lane.session.id;
        self.bench.counters.fault();
        self.remove(session);
        self.reports.push(Report::Fault { session, fault });
    }

    fn read_inbox(&mut self) {
        while let Some(message) = self.inbox.pop() {
            match message {
                Message::Open { session, bell } => self.open(session, bell),
                Message::Lane { session, lane } => self.add_lane(session, *lane),
                Message::Close { session } => self.remove(session),
                Message::Finished(finished) => {
                    let index = finished.lane.index;
                    let lane = self.lanes.get_mut(index).and_then(Option::as_mut);
                    // A lane that is gone, or another one in its place: nobody wants the answer.
                    let is_its =
                        |lane: &&mut Lane| lane.key == finished.lane || !is_armed("answer.lane");
                    if let Some(lane) = lane.filter(is_its)
                        && let Err(fault) = lane.finished(finished, &mut self.bench)
                    {
                        self.fault(index, fault);
                    }
                }
                Message::Waits => {}
                Message::Drain => self.drain(),
                Message::Stop => self.running = false,
            }
        }
        if self.bench.draining && self.lanes.iter().flatten().all(|lane| lane.running() == 0) {
            self.reports.push(Report::Drained);
        }
    }

    /// Nothing is claimed any more, and what waits is told so.
    fn drain(&mut self) {
        self.bench.draining = true;
        for lane in self.lanes.iter_mut().flatten() {
            lane.end_stopped(&mut self.bench);
        }
    }

    fn open(&mut self, session: Arc<Session>, bell: Arc<Bell>) {
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, session.id);
        if let Err(errno) = self.epoll.add(bell.as_fd(), event) {
            // Served by the sweep alone: slow, but not lost.
            tracing::warn!(session = session.id, %errno, "a session's bell cannot be watched");
        }
        let id = session.id;
        self.members.insert(
            id,
            Member { session, bell, lanes: Vec::new(), in_vain: InVain::default(), masked: false },
        );
    }

    fn add_lane(&mut self, session: u64, ring: ServerLane<Region, Region>) {
        let Some(member) = self.members.get_mut(&session) else { return };
        let index = self.lanes.iter().position(Option::is_none).unwrap_or_else(|| {
            self.lanes.push(None);
            self.lanes.len() - 1
        });
        self.generations += 1;
        let key = LaneKey { index, generation: self.generations };
        self.lanes[index] = Some(Lane::new(Arc::clone(&member.session), ring, key));
        member.lanes.push(index);
        self.heat(index);
    }

    fn remove(&mut self, session: u64) {
        let Some(member) = self.members.remove(&session) else { return };
        // ENOENT if it was masked: gone either way.
        let _ = self.epoll.delete(member.bell.as_fd());
        self.hot.retain(|index| !member.lanes.contains(index));
        for index in member.lanes {
            if let Some(mut lane) = self.lanes[index].take() {
                lane.read_measures(&mut self.bench);
            }
        }
        // First: what a worker still begins for it is told so, and leaves nothing with the engines.
        member.session.end();
        if is_armed("reap.engines") {
            self.registry.session_ended(session);
            self.bench.bus.session_ended(session);
        }
    }

    /// Makes a lane hot, if its session and user may have one more.
    fn heat(&mut self, index: usize) {
        let Some(lane) = self.lanes[index].as_ref() else { return };
        if lane.hot {
            return;
        }
        let (session, uid) = (lane.session.id, lane.session.uid);
        let hot = || self.hot.iter().filter_map(|index| self.lanes[*index].as_ref());
        let of_session = hot().filter(|lane| lane.session.id == session).count();
        let of_uid = hot().filter(|lane| lane.session.uid == uid).count();
        let may = of_session < self.polling.hot_lanes_per_session as usize
            && of_uid < self.polling.hot_lanes_per_uid as usize;
        if (may || !is_armed("turn.hot")) && self.polling.spin != crate::config::Spin::Never {
            if let Some(lane) = self.lanes[index].as_mut() {
                lane.ring.unpark();
                lane.hot = true;
                lane.served_at = Instant::now();
            }
            self.hot.push(index);
        } else {
            self.serve_parked(index);
        }
    }

    /// Serves a lane that may not be hot until it is empty, a bounded number of turns, and parks it.
    fn serve_parked(&mut self, index: usize) {
        let turns = if is_armed("turn.parked") { TURNS_WHEN_PARKED } else { u32::MAX };
        for _ in 0..turns {
            self.bench.now = clock::coarse_ticks();
            let Some(lane) = self.lanes[index].as_mut() else { return };
            let parked =
                lane.turn(&self.registry, &mut self.scratch, &mut self.bench).and_then(|_| {
                    lane.ring.unpark();
                    lane.ring.park()
                });
            match parked {
                Ok(true) => return,
                Ok(false) => {}
                Err(fault) => return self.fault(index, fault),
            }
        }
        // Still busy: its turn comes again through our own bell, after the others.
        let session = self.lanes[index].as_ref().map(|lane| lane.session.id);
        if let Some(member) = session.and_then(|id| self.members.get(&id)) {
            let _ = member.bell.ring();
        }
    }

    /// Bells, quiet lanes and, when it is time, the sweep.
    fn look_around(&mut self, now: Instant) {
        self.poll_bells(EpollTimeout::ZERO);
        let budget = Duration::from_micros(self.polling.spin_us + self.polling.yield_us);
        if self.polling.spin == crate::config::Spin::Adaptive {
            self.park_lanes(|lane| now.saturating_duration_since(lane.served_at) >= budget, now);
        }
        self.bench.bus.bus().serve_queues();
        if now >= self.next_sweep {
            self.next_sweep = now + Duration::from_millis(SWEEP_MS);
            self.sweep();
        }
    }

    /// Parks the hot lanes that `quiet` says nothing happens in.
    fn park_lanes(&mut self, quiet: impl Fn(&Lane) -> bool, now: Instant) {
        let mut faults = Vec::new();
        let (lanes, hot) = (&mut self.lanes, &mut self.hot);
        hot.retain(|index| {
            let Some(lane) = lanes[*index].as_mut() else { return false };
            if lane.calls_since_look() {
                lane.served_at = now;
                return true;
            }
            if !quiet(lane) {
                return true;
            }
            match lane.ring.park() {
                Ok(parked) => {
                    lane.hot = !parked;
                    !parked
                }
                Err(fault) => {
                    faults.push((*index, fault));
                    true
                }
            }
        });
        for (index, fault) in faults {
            self.fault(index, fault);
        }
    }

    /// Sleeps in epoll until a bell, a message, the next sweep or the end of a publish's patience.
    fn sleep(&mut self) {
        let now = Instant::now();
        self.park_lanes(|_| true, now);
        // Once more after parking (P3): a cursor that was stored before rang no bell.
        let due = self.bench.bus.bus().serve_queues();
        self.tell_news();
        if self.hot.is_empty() && self.inbox.park() {
            let until = due.map_or(self.next_sweep, |due| due.min(self.next_sweep));
            self.poll_bells(timeout(until.saturating_duration_since(now)));
            self.inbox.unpark();
        }
    }
}

/// Rounded up: whoever wakes too early finds nothing.
fn timeout(left: Duration) -> EpollTimeout {
    let millis = left.as_nanos().div_ceil(1_000_000).min(u128::from(SWEEP_MS) + 1);
    EpollTimeout::from(millis as u16)
}

/// Pins the calling thread; a CPU that is not ours is a warning, not an end.
fn pin(cpu: u32) {
    let mut set = nix::sched::CpuSet::new();
    let pinned = set
        .set(cpu as usize)
        .and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set));
    if let Err(errno) = pinned {
        tracing::warn!(cpu, %errno, "a poller cannot be pinned: is the CPU in the unit's CPUAffinity?");
    }
}
