//! A daemon, put together: the builder that anybody ships their own engines with.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     ringfenced::Daemon::builder().builtin_engines().main()
//! }
//! ```

use std::fmt;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::process::ExitCode as ProcessExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use ringfence_core::system::{Facts, System};
use ringfence_core::{Allowance, Engine, Registry, RegistryError};
use ringfence_protocol::board::Header;
use ringfence_protocol::names::{Instance, NameError};
use ringfence_protocol::sys::lock::{self, InstanceLock, LockError};
use ringfence_protocol::sys::socket::{Listener, SocketError};
use ringfence_protocol::sys::window::WindowError;
use ringfence_protocol::wire;

use crate::cli::{self, ExitCode, Mode};
use crate::config::{Config, nearest};
use crate::inbox::Inbox;
use crate::lane::Bench;
use crate::metrics::{Exporter, Source};
use crate::notify::{self, ActivationError, Watchdog};
use crate::poller::{Poller, Setup};
use crate::reports::Reports;
use crate::segments::Segments;
use crate::server::Server;
use crate::sight::{LateSight, Sight, SightError, unix_ns};
use crate::workers::Workers;
use crate::{logging, sigbus};

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The instance has no valid name.
    #[error("the instance: {0}")]
    Instance(#[from] NameError),
    /// Another daemon runs, or the name is squatted.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The control socket.
    #[error("the control socket: {0}")]
    Socket(#[from] SocketError),
    /// Socket activation.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// Engines that do not fit together.
    #[error("the engines: {0}")]
    Engines(#[from] RegistryError),
    /// A name in `[engines] enable` that this binary does not have.
    #[error("[engines] enable names `{name}`, but this daemon has only: {known}{hint}")]
    UnknownEngine {
        /// The name.
        name: String,
        /// What may be meant.
        hint: String,
        /// Engines that there are.
        known: String,
    },
    /// A group that does not exist.
    #[error("no group is named `{name}`: create it, or change {setting}")]
    Group {
        /// The name.
        name: String,
        /// Where it stands.
        setting: &'static str,
    },
    /// Address space.
    #[error("the address space for segments: {0}")]
    Window(#[from] WindowError),
    /// The board.
    #[error("{0}")]
    Board(String),
    /// Where metrics were to be served.
    #[error("[metrics] listen = {address}: {source}")]
    Metrics {
        /// The address.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The operating system.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What it said.
        source: std::io::Error,
    },
}

impl From<SightError> for StartError {
    fn from(error: SightError) -> Self {
        Self::Board(error.to_string())
    }
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> StartError {
    move |source| StartError::Io { what, source }
}

/// Puts a daemon together.
#[derive(Default)]
pub struct Builder {
    builtin: bool,
    engines: Vec<Box<dyn Engine>>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("builtin", &self.builtin)
            .field("engines", &self.engines.len())
            .finish()
    }
}

/// A daemon that is about to run.
pub struct Daemon {
    server: Server,
    lock: InstanceLock,
    threads: Vec<JoinHandle<()>>,
    workers: Arc<Workers>,
    exporter: Option<Exporter>,
}

impl fmt::Debug for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Daemon").field("instance", self.lock.instance()).finish_non_exhaustive()
    }
}

impl Daemon {
    /// Starts to put one together. `system` is always among its engines.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Serves until SIGTERM, SIGINT or, if so configured, until the last client has left.
    ///
    /// # Errors
    /// [`StartError::Io`] if the control thread cannot be set up.
    pub fn run(self) -> Result<(), StartError> {
        let Self { server, lock, threads, workers, exporter } = self;
        let result = server.run().map_err(io("the control thread"));
        workers.stop();
        drop(exporter);
        for thread in threads {
            // A panic was logged by its hook; the others are still waited for.
            let _ = thread.join();
        }
        // Nobody holds a name any more. The lock's own name goes while it is held: whoever waits for
        // it looks again whether what it got is still the named one.
        if let Err(error) = lock.release_and_unlink() {
            tracing::warn!(%error, "the instance lock's name stays");
        }
        result
    }
}

impl Builder {
    /// Adds the engines that come with Ringfence; `[engines] enable` chooses among them.
    #[must_use]
    pub fn builtin_engines(mut self) -> Self {
        self.builtin = true;
        self
    }

    /// Adds an engine of one's own; it is always enabled.
    #[must_use]
    pub fn engine(mut self, engine: impl Engine) -> Self {
        self.engines.push(Box::new(engine));
        self
    }

    /// The whole of a `main`: reads the command line, the environment and the configuration, sets up
    /// logging, serves, and answers with the documented exit code.
    #[must_use]
    pub fn main(self) -> ProcessExitCode {
        // First of all: a later thread must not block SIGBUS.
        let guarded = sigbus::install();
        let (config, mode) = match cli::parse(std::env::args_os(), std::env::vars_os()) {
            Ok(parsed) => parsed,
            Err(error) => return error.report().into(),
        };
        if mode == Mode::ConfigSchema {
            return config_schema();
        }
        if let Mode::MeasureEcho(milliseconds) = mode {
            return crate::measure::run(Duration::from_millis(milliseconds)).into();
        }
        if mode == Mode::CheckConfig {
            return match self.check_engines(&config) {
                Ok(()) => check_config(&config),
                Err(error) => {
                    // Nobody is left to tell when the stream is closed.
                    let _ = writeln!(std::io::stderr(), "ringfenced: {error}");
                    ExitCode::Config.into()
                }
            };
        }
        let _sink = logging::init(&config.log);
        if let Err(error) = guarded {
            tracing::error!(%error, "no guard against truncated segments");
            return ExitCode::Failure.into();
        }
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        match self.build(config).and_then(Daemon::run) {
            Ok(()) => ExitCode::Ok.into(),
            Err(error) => {
                tracing::error!("{error}");
                match error {
                    StartError::Lock(LockError::Held { .. }) => ExitCode::InstanceHeld.into(),
                    StartError::UnknownEngine { .. } | StartError::Group { .. } => {
                        ExitCode::Config.into()
                    }
                    _ => ExitCode::Failure.into(),
                }
            }
        }
    }

    /// Takes the instance, sweeps what a killed daemon left, and starts the threads. Clients may
    /// connect when this returns.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn build(self, config: Config) -> Result<Daemon, StartError> {
        self.check_engines(&config)?;
        let instance: Instance = config.instance.parse()?;
        let uid = nix::unistd::geteuid().as_raw();
        let signals = block_signals()?;
        let lock = InstanceLock::acquire(uid, &instance)?;
        sweep(&lock)?;
        let activated = notify::activated_listener()?;
        if activated.is_none() {
            // Before there is a board, whose name its threads would keep where this fails.
            make_runtime_dir(&config)?;
        }
        let late = LateSight::default();
        let sight_cell = Arc::clone(&late.0);
        let registry = Arc::new(self.registry(&config, late)?);
        let segments = Segments::new(uid, instance)?;
        let epoch = unix_ns();
        let board_group =
            config.board.group.as_deref().map(|name| group(name, "[board] group")).transpose()?;
        let header = Header::new(epoch, std::process::id(), epoch, &config.instance);
        let pollers = config.polling.pollers;
        let sight = Arc::new(Sight::new(
            &segments,
            &registry,
            config.sessions.max,
            pollers,
            &header,
            board_group,
            Duration::from_millis(config.metrics.overhead_window_ms),
        )?);
        // Set once, here.
        let _ = sight_cell.set(Arc::clone(&sight));
        let workers = Workers::new(
            config.workers.running_per_session,
            config.workers.queue,
            Arc::clone(&registry),
        );
        let reports = Reports::new().map_err(io("a descriptor"))?;
        let mut threads = workers.start(config.workers.threads).map_err(io("a worker thread"))?;
        let (inboxes, poller_threads) =
            start_pollers(&config, &registry, &workers, &sight, &reports)?;
        threads.extend(poller_threads);
        let exporter = export(&config, &sight, board_group)?;
        let listener = Some(listen(&config, activated)?);
        if let Err(error) = notify::ready(&format!("serving instance {}", config.instance)) {
            tracing::warn!(%error, "the service manager could not be told");
        }
        tracing::info!(instance = %config.instance, socket = %config.socket_path().display(), "serving");
        let server = Server {
            config,
            registry,
            segments,
            inboxes,
            reports,
            sight,
            listener,
            signals,
            epoch,
        };
        Ok(Daemon { server, lock, threads, workers, exporter })
    }

    /// Does `[engines] enable` name engines that there are? Those of one's own may be named.
    fn check_engines(&self, config: &Config) -> Result<(), StartError> {
        if !self.builtin {
            return Ok(());
        }
        let own = self.engines.iter().map(|engine| engine.schema().name);
        let builtin = ringfence_core::BUILTIN.iter().map(|name| (*name).to_owned());
        let known: Vec<String> =
            std::iter::once("system".to_owned()).chain(builtin).chain(own).collect();
        match config.engines.enable.iter().find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => Err(unknown_engine(name, &known)),
        }
    }

    fn registry(self, config: &Config, late: LateSight) -> Result<Registry, StartError> {
        let facts = Arc::new(Facts::default());
        let mut registry = Registry::new();
        registry.add(Box::new(System::new(Arc::clone(&facts), Box::new(late))))?;
        if self.builtin {
            let mut builtin = ringfence_core::builtin(Allowance {
                state: config.instance_state_dir(),
                memory_bytes: config.engines.memory_bytes,
            });
            for name in &config.engines.enable {
                let at = builtin.iter().position(|engine| engine.schema().name == *name);
                if let Some(at) = at {
                    registry.add(builtin.remove(at))?;
                }
            }
        }
        for engine in self.engines {
            registry.add(engine)?;
        }
        let schemas: Vec<_> = registry.schemas().cloned().collect();
        let catalogue = wire::encode_catalogue(&schemas)
            .map_err(|error| StartError::Board(error.to_string()))?;
        facts.set_catalogue(catalogue);
        Ok(registry)
    }
}

/// Names that only another build has.
const ELSEWHERE: &[&str] = &["vectors"];

#[cold]
fn unknown_engine(name: &str, known: &[String]) -> StartError {
    let near = nearest(name, known.iter().map(String::as_str));
    let hint = match near {
        _ if ELSEWHERE.contains(&name) => {
            format!("; it was built without the cargo feature `{name}`")
        }
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    };
    StartError::UnknownEngine { name: name.to_owned(), known: known.join(", "), hint }
}

type Pollers = (Vec<Arc<Inbox>>, Vec<JoinHandle<()>>);

fn start_pollers(
    config: &Config,
    registry: &Arc<Registry>,
    workers: &Arc<Workers>,
    sight: &Arc<Sight>,
    reports: &Arc<Reports>,
) -> Result<Pollers, StartError> {
    let (mut inboxes, mut threads) = (Vec::new(), Vec::new());
    for number in 0..config.polling.pollers {
        let inbox = Inbox::new().map_err(io("a descriptor"))?;
        inboxes.push(Arc::clone(&inbox));
        let budget = config.workers.inline_budget_us as u32;
        let bench = Bench::new(Arc::clone(registry), Arc::clone(workers), inbox, budget);
        // The first poller's loop feeds the watchdog, and nothing else does.
        let mut watchdog = if number == 0 {
            Some(Watchdog::from_env().map_err(io("the watchdog"))?)
        } else {
            None
        };
        let (sight, workers) = (Arc::clone(sight), Arc::clone(workers));
        let setup = Setup {
            bench,
            polling: config.polling.clone(),
            cpu: config.polling.cpus.as_ref().and_then(|cpus| cpus.get(number as usize).copied()),
            reports: Arc::clone(reports),
            on_sweep: Box::new(move |bench, observed| {
                sight.sweep(number as usize, bench, observed, workers.load());
                if let Some(watchdog) = &mut watchdog {
                    watchdog.feed(Instant::now());
                }
            }),
        };
        threads.push(Poller::start(setup, number).map_err(io("a poller thread"))?);
    }
    Ok((inboxes, threads))
}

/// Serves metrics, if somebody wants them. Who may read the board may read them.
fn export(
    config: &Config,
    sight: &Sight,
    group: Option<u32>,
) -> Result<Option<Exporter>, StartError> {
    let Some(address) = &config.metrics.listen else { return Ok(None) };
    let source = Source {
        board: sight.board(),
        instance: config.instance.clone(),
        workers: config.workers.threads,
        started: sight.started(),
    };
    let exporter = Exporter::start(address, group, source);
    let refused = |source| StartError::Metrics { address: address.to_string(), source };
    exporter.map(Some).map_err(refused)
}

fn sweep(lock: &InstanceLock) -> Result<(), StartError> {
    let report = lock::sweep(lock).map_err(io("sweeping /dev/shm"))?;
    if !report.removed.is_empty() {
        tracing::info!(segments = report.removed.len(), "swept what a killed daemon left");
    }
    for refused in &report.refused {
        tracing::warn!(?refused, "a name looks like ours and is not: left alone");
    }
    Ok(())
}

/// SIGTERM and SIGINT come through a descriptor; blocked before any thread is started, so in all.
/// SIGXFSZ comes nowhere: a file that becomes too large is an error of the write.
fn block_signals() -> Result<SignalFd, StartError> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    let errno = |errno: nix::errno::Errno| StartError::Io { what: "signals", source: errno.into() };
    let mut blocked = set;
    blocked.add(Signal::SIGXFSZ);
    blocked.thread_block().map_err(errno)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(errno)
}

fn group(name: &str, setting: &'static str) -> Result<u32, StartError> {
    match nix::unistd::Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        _ => Err(StartError::Group { name: name.into(), setting }),
    }
}

/// The socket that systemd passed, or one of our own.
fn make_runtime_dir(config: &Config) -> Result<(), StartError> {
    let shared = config.socket_mode.bits() & 0o066 != 0;
    let mode = if shared { 0o755 } else { 0o700 };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(config.instance_dir())
        .map_err(io("the runtime directory"))
}

fn listen(config: &Config, activated: Option<OwnedFd>) -> Result<Listener, StartError> {
    if let Some(fd) = activated {
        return Ok(Listener::from_fd(fd)?);
    }
    let listener = Listener::bind(&config.socket_path(), config.socket_mode.bits())?;
    if let Some(name) = &config.socket_group {
        let gid = group(name, "socket_group")?;
        std::os::unix::fs::chown(config.socket_path(), None, Some(gid))
            .map_err(io("the control socket's group"))?;
        let mode = std::fs::Permissions::from_mode(config.socket_mode.bits());
        std::fs::set_permissions(config.socket_path(), mode)
            .map_err(io("the control socket's mode"))?;
    }
    Ok(listener)
}

fn check_config(config: &Config) -> ProcessExitCode {
    for warning in config.warnings() {
        let _ = writeln!(std::io::stderr(), "ringfenced: {warning}");
    }
    // A closed pipe is nobody's error.
    let _ = write!(std::io::stdout(), "{}", config.to_toml());
    ExitCode::Ok.into()
}

fn config_schema() -> ProcessExitCode {
    use std::io::Write as _;
    // A closed pipe is nobody's error.
    let _ = writeln!(std::io::stdout(), "{:#}", crate::config::json_schema());
    ExitCode::Ok.into()
}

#[cfg(test)]
mod tests {
    use ringfence_core::Call;
    use ringfence_protocol::error::Error;
    use ringfence_protocol::schema::EngineSchema;

    use super::*;

    struct Own;
    impl Engine for Own {
        fn schema(&self) -> EngineSchema {
            EngineSchema::new("own", "", Vec::new())
        }
        fn call(&self, _: u16, _: &mut Call<'_>) -> Result<(), Error> {
            Ok(())
        }
    }

    fn engines(builder: Builder, enable: &[&str]) -> Result<Vec<String>, String> {
        let mut config = Config::default();
        config.engines.enable = enable.iter().map(|name| (*name).to_owned()).collect();
        let registry = builder
            .check_engines(&config)
            .and_then(|()| builder.registry(&config, LateSight::default()))
            .map_err(|error| error.to_string())?;
        Ok(registry.schemas().map(|schema| schema.name.clone()).collect())
    }

    #[test]
    fn what_is_enabled_is_there_and_ones_own_engine_always() {
        let own = || Daemon::builder().builtin_engines().engine(Own);
        assert_eq!(engines(own(), &["system"]).unwrap(), ["system", "own"]);
        assert_eq!(engines(own(), &["system", "own"]).unwrap(), ["system", "own"]);
        let said = engines(own(), &["system", "onw"]).unwrap_err();
        assert!(said.ends_with("own; did you mean `own`?"), "{said}");
        let far = engines(own(), &["system", "spreadsheet"]).unwrap_err();
        assert!(far.ends_with("own"), "{far}");
        // Without built-in engines there is nothing to choose from.
        assert_eq!(engines(Daemon::builder(), &["system", "x"]).unwrap(), ["system"]);
    }

    #[cfg(feature = "vectors")]
    #[test]
    fn vectors_can_be_off() {
        let builtin = || Daemon::builder().builtin_engines();
        assert_eq!(engines(builtin(), &["system", "vectors"]).unwrap(), ["system", "vectors"]);
        assert_eq!(engines(builtin(), &["system"]).unwrap(), ["system"]);
    }

    #[cfg(not(feature = "vectors"))]
    #[test]
    fn a_lean_daemon_says_why_vectors_are_not_there() {
        let builtin = || Daemon::builder().builtin_engines();
        assert_eq!(Config::default().engines.enable, ["system"]);
        let said = engines(builtin(), &["system", "vectors"]).unwrap_err();
        assert!(said.contains("without the cargo feature `vectors`"), "{said}");
    }
}
