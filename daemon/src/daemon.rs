//! A daemon, put together: the builder that anybody ships their own engines with.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     ringfenced::Daemon::builder().builtin_engines().main()
//! }
//! ```

mod engines;
mod parts;

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode as ProcessExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags};
use ringfence_core::{Engine, RegistryError};
use ringfence_protocol::board::Header;
use ringfence_protocol::names::{Instance, NameError};
use ringfence_protocol::sys::lock::{InstanceLock, LockError};
use ringfence_protocol::sys::socket::SocketError;
use ringfence_protocol::sys::window::WindowError;

use crate::bus::{self, Ears};
use crate::cli::{self, ExitCode, Mode};
use crate::config::Config;
use crate::metrics::Exporter;
use crate::notify::{self, ActivationError};
use crate::reports::Reports;
use crate::scarce::Spare;
use crate::segments::Segments;
use crate::server::Server;
use crate::sight::{LateSight, Sight, SightError, unix_ns};
use crate::workers::Workers;
use crate::{logging, sigbus};
use parts::{block_signals, export, group, listen, make_runtime_dir, start_pollers, sweep};

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
    /// A folder in which others could put a socket of theirs.
    #[error(
        "{dir} belongs to uid {owner} and has mode {mode:04o}: it must be this user's or root's, and \
         nobody else's to write; have it removed, or choose another runtime_dir",
        dir = dir.display()
    )]
    Squatted {
        /// The folder.
        dir: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its permissions.
        mode: u32,
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
    pub fn build(self, mut config: Config) -> Result<Daemon, StartError> {
        self.check_engines(&config)?;
        let instance: Instance = config.instance.parse()?;
        let uid = nix::unistd::geteuid().as_raw();
        let signals = block_signals()?;
        let lock = InstanceLock::acquire(uid, &instance)?;
        sweep(&lock)?;
        let activated = notify::activated_listener()?;
        match activated {
            Some(_) => config.admit_by_socket(),
            // Before there is a board, whose name its threads would keep where this fails.
            None => make_runtime_dir(&config)?,
        }
        let late = LateSight::default();
        let sight_cell = Arc::clone(&late.0);
        let segments = Segments::new(uid, instance)?;
        let epoch = unix_ns();
        let ears = Ears::new(uid, &config.bus);
        let bus = Arc::new(bus::engine(&config, epoch, segments.clone(), Arc::clone(&ears)));
        let registry = Arc::new(self.registry(&config, late, Arc::clone(&bus))?);
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
            start_pollers(&config, &registry, (&workers, &bus), &sight, &reports)?;
        threads.extend(poller_threads);
        let exporter = export(&config, &sight, board_group)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(std::io::Error::from)
            .map_err(io("a descriptor"))?;
        let spare = Spare::new();
        // After whatever else is opened: who finds it listening finds it whole.
        let listener = Some(listen(&config, activated)?);
        if let Err(error) = notify::ready(&format!("serving instance {}", config.instance)) {
            tracing::warn!(%error, "the service manager could not be told");
        }
        tracing::info!(instance = %config.instance, socket = %config.socket_path().display(), "serving");
        let server = Server {
            config,
            registry,
            segments,
            ears,
            inboxes,
            reports,
            sight,
            listener,
            signals,
            epoll,
            spare,
            epoch,
        };
        Ok(Daemon { server, lock, threads, workers, exporter })
    }
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
    // A closed pipe is nobody's error.
    let _ = writeln!(std::io::stdout(), "{:#}", crate::config::json_schema());
    ExitCode::Ok.into()
}
