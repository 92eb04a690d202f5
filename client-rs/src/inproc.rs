//! The engines inside this process, behind the same API: what the isolated way is measured against.
//!
//! A call runs on its caller's thread, into a reply buffer of that thread. Deadlines hold as far as
//! an engine looks at them, by the same coarse clock as in the daemon. A call that its engine answers
//! later is waited for there, too. It does *not* isolate: an engine that crashes takes this process
//! along.

mod waiting;

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use ringfence_core::bus::{Bus, Limits};
use ringfence_core::engine::{Call, Engine, Stop, Surroundings};
use ringfence_core::system::{Facts as SystemFacts, StatsSource, System};
use ringfence_core::{Allowance, Deferred, Registry, RegistryError};
use ringfence_protocol::api::system::Stats;
use ringfence_protocol::error::Error as RemoteError;
use ringfence_protocol::limits::INLINE_BYTES;
use ringfence_protocol::schema::EngineSchema;
use ringfence_protocol::sys::clock;
use ringfence_protocol::wire;
use zerocopy::IntoBytes;

use crate::call::Started;
use crate::catalogue::{find, unknown_engine};
use crate::error::Error;
use crate::info::Info;
use crate::method::{Facts, Method};
use crate::options::CallOptions;
use crate::pending::Pending;
use crate::reply::{Reply, Sink};
use crate::session::next_serial;
use waiting::Slot;
pub(crate) use waiting::Waiting;

/// Replies of up to this many bytes leave the thread's buffer where it is.
const KEPT_BYTES: usize = 64 * 1024;

thread_local! {
    static REPLY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The engines of this process.
pub(crate) struct Inproc {
    system: Registry,
    /// Engines after `system`: engine number n of the client is number n - 1 there.
    others: Registry,
    catalogue: Arc<[EngineSchema]>,
    serial: u32,
    counts: Arc<Counts>,
    /// Calls that are answered later; some are over.
    waiting: Mutex<Vec<Weak<Slot>>>,
    closed: AtomicBool,
    bus: Bus,
}

impl fmt::Debug for Inproc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inproc").field("engines", &self.others).finish_non_exhaustive()
    }
}

struct Counts {
    since: Instant,
    errors: AtomicU64,
}

/// What `stats` is answered from.
struct Source(Arc<Counts>);

impl StatsSource for Source {
    fn stats(&self, _session: u64) -> Stats<'static> {
        Stats {
            uptime_ms: self.0.since.elapsed().as_millis() as u64,
            sessions: 1,
            lanes: 0,
            // Counting on the hot path would cost as much as the call.
            calls: 0,
            errors: self.0.errors.load(Relaxed),
            faults: 0,
            leased_bytes: 0,
            segment_bytes: 0,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// What is saved when `RINGFENCE_STATE_DIR` names a directory that daemons use too: a folder beside
/// theirs, so that nobody replaces what another saved. An instance may bear this name; then they
/// share it.
const STATE_FOLDER: &str = "inproc";

/// Where engines save, if the builder does not say.
fn state_dir() -> Option<PathBuf> {
    let dir = std::env::var_os("RINGFENCE_STATE_DIR").filter(|dir| !dir.is_empty())?;
    Some(PathBuf::from(dir).join(STATE_FOLDER))
}

/// What the data of each engine may take, if `RINGFENCE_ENGINES_MEMORY_BYTES` does not say.
fn memory_bytes() -> Result<u64, Error> {
    const NAME: &str = "RINGFENCE_ENGINES_MEMORY_BYTES";
    match std::env::var_os(NAME).filter(|value| !value.is_empty()) {
        None => Ok(Allowance::default().memory_bytes),
        Some(value) => value
            .to_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Error::invalid(format!("{NAME} = {value:?} is not a number of bytes"))),
    }
}

/// The built-in engines after `system`.
fn builtin(state: Option<PathBuf>) -> Result<Registry, Error> {
    let mut registry = Registry::new();
    let allowance = Allowance { state, memory_bytes: memory_bytes()?, ..Allowance::default() };
    for engine in ringfence_core::builtin(allowance) {
        registry.add(engine).map_err(wrong)?;
    }
    Ok(registry)
}

fn wrong(error: RegistryError) -> Error {
    Error::invalid(error.to_string())
}

impl Inproc {
    pub(crate) fn new(others: Option<Registry>, state: Option<PathBuf>) -> Result<Self, Error> {
        let state = state.or_else(state_dir);
        if let Some(relative) = state.as_ref().filter(|dir| !dir.is_absolute()) {
            let text = format!("the state directory {} must be absolute", relative.display());
            return Err(Error::invalid(text));
        }
        let others = others.map_or_else(|| builtin(state), Ok)?;
        let facts = Arc::new(SystemFacts::default());
        let counts = Arc::new(Counts { since: Instant::now(), errors: AtomicU64::new(0) });
        let engine = System::new(facts.clone(), Box::new(Source(counts.clone())));
        let catalogue: Arc<[EngineSchema]> =
            std::iter::once(engine.schema()).chain(others.schemas().cloned()).collect();
        let mut system = Registry::new();
        system.add(Box::new(engine)).map_err(wrong)?;
        let encoded = wire::encode_catalogue(&catalogue);
        facts.set_catalogue(encoded.map_err(|error| Error::invalid(error.to_string()))?);
        others.assembled(&catalogue);
        let serial = next_serial();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let bus = Bus::new(since.as_nanos() as u64, Limits::default());
        let (waiting, closed) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { system, others, catalogue, serial, counts, waiting, closed, bus })
    }

    /// The topics of this client.
    pub(crate) fn bus(&self) -> Result<&Bus, Error> {
        if self.closed.load(Relaxed) { Err(Error::Closed) } else { Ok(&self.bus) }
    }

    pub(crate) fn catalogue(&self) -> Arc<[EngineSchema]> {
        self.catalogue.clone()
    }

    pub(crate) fn resolve(&self, method: &Method) -> Result<(), Error> {
        let at = self.catalogue.iter().position(|engine| engine.name == method.engine());
        let Some(at) = at else {
            let known = self.catalogue.iter().map(|engine| engine.name.as_str());
            return Err(unknown_engine(method.engine(), known));
        };
        let schema = find(&self.catalogue[at], method.name())?;
        method.resolve(self.serial, Facts::of(at as u16, schema));
        Ok(())
    }

    /// Makes a call. It is open only if its engine answers later.
    #[inline]
    pub(crate) fn start<S: Sink>(
        &self,
        method: &Method,
        payload: &[u8],
        options: &CallOptions,
        sink: S,
    ) -> Result<Started<S::Out>, Error> {
        if self.closed.load(Relaxed) {
            return Err(Error::Closed);
        }
        let number = match method.number(self.serial) {
            Some(number) => number,
            None => {
                self.resolve(method)?;
                method.number(self.serial).unwrap_or(0)
            }
        };
        let (registry, number) = match number.checked_sub(1 << 16) {
            None => (&self.system, number),
            Some(number) => (&self.others, number),
        };
        let found = registry.method(number).ok_or_else(|| registry.unknown(number))?;
        let bounds = Bounds { deadline: method.deadline(options.timeout), slot: OnceCell::new() };
        // Taken, so that an engine that calls back into a client gets a buffer of its own; a thread
        // that is ending has none.
        let mut reply = REPLY.try_with(Cell::take).unwrap_or_default();
        reply.clear();
        let mut run = |request: &[u8]| found.call(&mut Call::new(request, &mut reply, &bounds));
        let done = if payload.as_ptr().addr().is_multiple_of(8) {
            run(payload)
        } else {
            with_aligned(payload, run)
        };
        if let Some(slot) = bounds.slot.into_inner() {
            let timeout = method.timeout(options.timeout);
            return self.waits(slot, done.map_err(|error| *error), timeout).map(Started::Open);
        }
        if let Err(error) = done {
            return Err(self.failed(*error, method.timeout(options.timeout)));
        }
        let out = taken(&mut reply, sink);
        let _unless_the_thread_ends = REPLY.try_with(|cell| cell.set(reply));
        Ok(Started::Done(out))
    }

    /// A call that its engine answers later, unless it failed and nobody has answered.
    #[cold]
    fn waits(
        &self,
        slot: Arc<Slot>,
        done: Result<(), RemoteError>,
        timeout: Option<Duration>,
    ) -> Result<Pending, Error> {
        if let Err(error) = done
            && slot.take().is_some()
        {
            return Err(self.failed(error, timeout));
        }
        let mut waiting = self.waiting.lock();
        waiting.retain(|slot| slot.strong_count() > 0);
        waiting.push(Arc::downgrade(&slot));
        drop(waiting);
        if self.closed.load(Relaxed) {
            self.close();
        }
        Ok(Pending::waiting(Waiting::new(slot, Instant::now(), timeout)))
    }

    #[cold]
    fn failed(&self, error: RemoteError, timeout: Option<Duration>) -> Error {
        self.counts.errors.fetch_add(1, Relaxed);
        Error::of_engine(error).within(timeout)
    }

    pub(crate) fn info(&self) -> Info {
        Info {
            daemon_pid: std::process::id(),
            daemon_version: env!("CARGO_PKG_VERSION").into(),
            connected: !self.closed.load(Relaxed),
            inproc: true,
            ..Info::default()
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
        self.bus.close();
        // Whoever puts a call there looks whether we are closed afterwards.
        for slot in self.waiting.lock().drain(..) {
            if let Some(slot) = slot.upgrade() {
                slot.end(|_| Error::Closed);
            }
        }
    }
}

/// What surrounds a call in process.
struct Bounds {
    deadline: u32,
    /// Where the answer arrives, if it comes later.
    slot: OnceCell<Arc<Slot>>,
}

impl Surroundings for Bounds {
    fn stop(&self) -> Option<Stop> {
        clock::expired(clock::coarse_ticks(), self.deadline).then_some(Stop::Expired)
    }
    fn progress(&self, _done: u64) {}
    fn session(&self) -> u64 {
        0
    }
    fn defer(&self) -> Option<Deferred> {
        let slot = Slot::new(self.deadline);
        self.slot.set(slot.clone()).ok().map(|()| slot.deferred())
    }
}

/// Runs with a copy that starts at a multiple of 8, as engines may expect.
fn with_aligned<T>(payload: &[u8], run: impl FnOnce(&[u8]) -> T) -> T {
    let len = payload.len();
    if len <= INLINE_BYTES {
        let mut words = [0_u64; INLINE_BYTES / 8];
        words.as_mut_bytes()[..len].copy_from_slice(payload);
        return run(&words.as_bytes()[..len]);
    }
    let mut words = vec![0_u64; len.div_ceil(8)];
    words.as_mut_bytes()[..len].copy_from_slice(payload);
    run(&words.as_bytes()[..len])
}

#[inline]
fn taken<S: Sink>(reply: &mut Vec<u8>, sink: S) -> S::Out {
    match reply.len() {
        0..=KEPT_BYTES => sink.bytes(reply),
        _ => sink.reply(Reply::from_bytes(std::mem::take(reply))),
    }
}
