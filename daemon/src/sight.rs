//! What the daemon shows of itself: the board, and the numbers that `system.stats` answers.
//!
//! The board's one writer stands behind a lock that pollers take once a sweep and the control thread
//! at openings and closings; no call takes it but `system.stats` itself.

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use ringfence_core::Registry;
use ringfence_core::system::StatsSource;
use ringfence_protocol::api::system::Stats;
use ringfence_protocol::board::{BoardError, Header};
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::fault::Fault;
use ringfence_protocol::names::SegmentKind;
use ringfence_protocol::region::Region;
use ringfence_protocol::sys::clock;
use ringfence_protocol::sys::segment::Segment;
use ringfence_protocol::sys::window::Access;
use ringfence_protocol::wire::{DaemonMessage, Refusal};

use crate::board::{Board, Gauges, Opened, SessionCounts, SessionSlot};
use crate::handshake;
use crate::lane::Bench;
use crate::overhead::{self, Overhead};
use crate::poller::Observed;
use crate::segments::{MakeError, Segments};
use crate::session::Session;

/// Why there is no board.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SightError {
    /// Its segment.
    #[error("the board's segment: {0}")]
    Segment(#[from] MakeError),
    /// Its layout.
    #[error("the board: {0}")]
    Board(#[from] BoardError),
}

struct Books {
    board: Board<Region>,
    sessions: HashMap<u64, (Arc<Session>, SessionSlot)>,
    gauges: Vec<Observed>,
}

/// The board and the numbers.
pub(crate) struct Sight {
    books: Mutex<Books>,
    segment: Segment,
    region: Region,
    overhead: Mutex<Overhead>,
    started: Instant,
    /// Who may see the board besides its own uid and root.
    group: Option<u32>,
}

impl Sight {
    pub(crate) fn new(
        segments: &Segments,
        registry: &Registry,
        sessions_max: u32,
        pollers: u32,
        header: &Header,
        group: Option<u32>,
        overhead_window: Duration,
    ) -> Result<Self, SightError> {
        let names: Vec<_> = {
            let engines: Vec<_> = registry.schemas().map(|schema| schema.name.clone()).collect();
            registry
                .methods()
                .map(|(engine, method)| {
                    (
                        u32::from(engine) << 16 | u32::from(method.op),
                        format!("{}.{}", engines[engine as usize], method.name),
                    )
                })
                .collect()
        };
        let rows: Vec<_> = names.iter().map(|(number, name)| (*number, name.as_str())).collect();
        let geometry = Board::<Region>::geometry(rows.len(), sessions_max)?;
        let (segment, region) =
            segments.make(SegmentKind::Board, geometry.size_bytes(), Access::ReadWrite)?;
        let board = Board::create(region.clone(), geometry, header, &rows)?;
        let gauges = vec![Observed::default(); pollers as usize];
        let books = Mutex::new(Books { board, sessions: HashMap::new(), gauges });
        let (started, overhead) = (Instant::now(), Mutex::new(Overhead::new(overhead_window)));
        Ok(Self { books, segment, region, overhead, started, group })
    }

    /// The board as readers see it.
    pub(crate) fn board(&self) -> Region {
        self.region.clone()
    }

    /// When the daemon started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Judges the overhead of methods at the end of each window, and warns. Only the control thread
    /// calls it.
    pub(crate) fn judge_overhead(&self, now: Instant) {
        let mut overhead = self.overhead.lock();
        if !overhead.is_due(now) {
            return;
        }
        let mut books = self.books.lock();
        let board = &mut books.board;
        let judged = overhead.judge(board.methods(), now);
        for (index, verdict) in judged.iter().enumerate() {
            board.show_overhead(index, verdict.map_or(0, |verdict| verdict.millionths() + 1));
        }
        let worst = overhead::worst(board.methods(), &judged);
        drop(books);
        if let Some(worst) = worst {
            worst.warn();
        }
    }

    pub(crate) fn refused(&self) {
        self.books.lock().board.session_refused();
    }

    pub(crate) fn opened(&self, session: &Arc<Session>) {
        let mut books = self.books.lock();
        let opened = Opened {
            id: session.id,
            uid: session.uid,
            pid: session.pid as u32,
            name: &session.name,
            now_unix_ns: unix_ns(),
        };
        let slot = books.board.session_opened(&opened);
        books.sessions.insert(session.id, (Arc::clone(session), slot));
    }

    pub(crate) fn closed(&self, session: u64) {
        let mut books = self.books.lock();
        if let Some((_, slot)) = books.sessions.remove(&session) {
            books.board.session_closed(slot);
        }
    }

    pub(crate) fn fault(&self, fault: &Fault) {
        let text = format!("{}: {fault}", fault.code());
        self.books.lock().board.record_error(
            u32::from(ErrorCode::SessionKilled.as_u16()),
            &text,
            unix_ns(),
        );
    }

    /// A poller's sweep: its counters, and what it saw.
    pub(crate) fn sweep(
        &self,
        poller: usize,
        bench: &mut Bench,
        observed: &Observed,
        (waiting, running): (usize, u32),
    ) {
        let mut guard = self.books.lock();
        let books = &mut *guard;
        books.board.publish(&mut bench.counters);
        for text in bench.panics.drain(..) {
            let code = u32::from(ErrorCode::EnginePanicked.as_u16());
            books.board.record_error(code, &text, unix_ns());
        }
        for (id, lanes, calls, leases) in &observed.sessions {
            if let Some((_, slot)) = books.sessions.get(id) {
                let counts =
                    SessionCounts { lanes: *lanes, calls: *calls, faults: 0, leases: *leases };
                books.board.session_counts(slot, &counts);
            }
        }
        books.gauges[poller].clone_from(observed);
        let gauges = Gauges {
            lanes_open: books.gauges.iter().map(|seen| seen.lanes).sum(),
            queue_depth: waiting as u64,
            workers_busy: running.into(),
            leased_bytes: books.gauges.iter().map(|seen| seen.leased_bytes).sum(),
            segment_bytes: books
                .sessions
                .values()
                .map(|(session, _)| session.segment_bytes())
                .sum(),
        };
        books.board.beat(&gauges, clock::monotonic_ns());
    }

    /// Gives the board to a session that may see it.
    pub(crate) fn send_board(&self, session: &Arc<Session>) -> Result<(), Error> {
        let own = nix::unistd::geteuid().as_raw();
        let may = session.uid == own
            || session.uid == 0
            || self.group.is_some_and(|gid| in_group(session, gid));
        if !may && is_armed("board.users") {
            let text = format!(
                "user {} may not read the board: only the daemon's user, root and [board] group",
                session.uid
            );
            let refused = DaemonMessage::Refused(Refusal {
                code: ErrorCode::PermissionDenied.as_u16(),
                reason: text,
                remedy: "name a group of that user as [board] group, or ask for `system.stats`"
                    .into(),
            });
            return session.tell(&refused, &[]);
        }
        match self.segment.reopen_read_only() {
            Ok(fd) => session
                .tell(&DaemonMessage::Board { len: self.segment.len() as u64 }, &[fd.as_fd()]),
            Err(error) => {
                let error = Error::new(ErrorCode::Io, error.to_string());
                session.tell(&handshake::refusal(&error), &[])
            }
        }
    }
}

/// Is the session's user a member of the group?
fn in_group(session: &Session, gid: u32) -> bool {
    let user = nix::unistd::User::from_uid(session.uid.into()).ok().flatten();
    let group = nix::unistd::Group::from_gid(gid.into()).ok().flatten();
    match (user, group) {
        (Some(user), Some(group)) => user.gid == group.gid || group.mem.contains(&user.name),
        _ => false,
    }
}

/// `system.stats` over a [`Sight`], which is made after the engine.
#[derive(Default)]
pub(crate) struct LateSight(pub(crate) Arc<std::sync::OnceLock<Arc<Sight>>>);

impl StatsSource for LateSight {
    fn stats(&self, session: u64) -> Stats<'static> {
        let version = env!("CARGO_PKG_VERSION");
        let mut stats = Stats {
            uptime_ms: 0,
            sessions: 0,
            lanes: 0,
            calls: 0,
            errors: 0,
            faults: 0,
            leased_bytes: 0,
            segment_bytes: 0,
            pid: std::process::id(),
            version,
        };
        let Some(sight) = self.0.get() else { return stats };
        let books = sight.books.lock();
        let totals = books.board.totals();
        stats.uptime_ms = sight.started.elapsed().as_millis() as u64;
        stats.sessions = totals.sessions_open;
        stats.lanes = totals.lanes_open;
        stats.calls = totals.completions;
        stats.errors = totals.errors;
        stats.faults = totals.faults;
        if let Some((session, _)) = books.sessions.get(&session) {
            stats.leased_bytes = session.leased_bytes.load(Ordering::Relaxed);
            stats.segment_bytes = session.segment_bytes();
        }
        stats
    }
}

/// Nanoseconds since 1970.
pub(crate) fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}
