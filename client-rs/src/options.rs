//! What a user can choose: about a client ([`Builder`]) and about one call ([`CallOptions`]).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringfence_protocol::limits;
use ringfence_protocol::names::Instance;
pub use ringfence_protocol::wait::Spin;

use crate::client::Client;
use crate::error::Error;
use crate::target::Target;
use crate::way::Way;

/// How long a connect may take, and how long a call waits for a daemon that is restarting.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a call that is not idempotent, and was in flight when the daemon went away, waits for the
/// next daemon before it raises: with the 50 ms in which the loss is noticed, below the 200 ms that are
/// promised.
const RESTART_GRACE: Duration = Duration::from_millis(100);

/// How long a call may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timeout {
    /// As long as its method says: 30 s, if it says nothing.
    #[default]
    Default,
    /// This long.
    After(Duration),
    /// As long as it takes.
    Never,
}

impl From<Duration> for Timeout {
    fn from(after: Duration) -> Self {
        Timeout::After(after)
    }
}

/// What can be chosen about one call.
///
/// ```
/// use ringfence::{CallOptions, Timeout};
/// use std::time::Duration;
///
/// let client = ringfence::doctest_client();
/// let echo = client.method("system", "echo")?;
/// let options = CallOptions { timeout: Duration::from_secs(1).into(), ..CallOptions::default() };
/// assert_eq!(client.call(&echo, b"hi", &options)?, b"hi");
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// How long it may take.
    pub timeout: Timeout,
    /// A number that the daemon's logs show with the call.
    pub trace: u32,
    /// Looks at the answer before the call is put aside; `None` is what the client's [`Spin`] says.
    pub spin_turns: Option<u32>,
    /// Where submitting it would wait, for room, for memory or for a daemon, give
    /// [`Error::WouldBlock`] instead. For callers that hold something others need, or that must look
    /// at signals.
    pub at_once: bool,
}

/// What can be chosen about a client. From [`Client::builder`].
///
/// ```
/// let client = ringfence::Client::builder().target("inproc:")?.name("doctest").connect()?;
/// client.ping()?;
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Builder {
    pub(crate) target: Option<Target>,
    pub(crate) settings: Settings,
    pub(crate) autostart: Option<Option<PathBuf>>,
    pub(crate) daemon: Option<PathBuf>,
    #[cfg(feature = "inproc")]
    pub(crate) registry: Option<ringfence_core::Registry>,
    #[cfg(feature = "inproc")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// What a client keeps of its builder.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) timeout: Duration,
    pub(crate) spin: Spin,
    pub(crate) lanes: usize,
}

impl Settings {
    /// When the next daemon must be there, for a call of this kind that the last one left: its own end
    /// is `until`.
    pub(crate) fn comes_back_by(&self, idempotent: bool, until: Option<Instant>) -> Instant {
        let patience = if idempotent { self.timeout } else { RESTART_GRACE.min(self.timeout) };
        let latest = Instant::now() + patience;
        until.map_or(latest, |until| until.min(latest))
    }
}

impl Default for Builder {
    fn default() -> Self {
        let settings =
            Settings { name: own_name(), timeout: CONNECT_TIMEOUT, spin: Spin::Adaptive, lanes: 1 };
        Self {
            target: None,
            settings,
            autostart: None,
            daemon: None,
            #[cfg(feature = "inproc")]
            registry: None,
            #[cfg(feature = "inproc")]
            state_dir: None,
        }
    }
}

impl Builder {
    /// The daemon of this instance name, this user's own before the system's.
    ///
    /// # Errors
    /// Not `[a-z0-9_-]{1,32}`.
    ///
    /// ```
    /// assert!(ringfence::Client::builder().instance("prod").is_ok());
    /// assert!(ringfence::Client::builder().instance("no spaces").is_err());
    /// ```
    pub fn instance(mut self, name: &str) -> Result<Self, Error> {
        let instance: Instance =
            name.parse().map_err(|wrong| Error::invalid(format!("{wrong}")))?;
        self.target = Some(Target::Instance(instance));
        Ok(self)
    }

    /// The daemon that listens at this path.
    ///
    /// ```
    /// let nobody = ringfence::Client::builder().socket("/nonexistent/control.sock").connect();
    /// assert_eq!(nobody.unwrap_err().code(), ringfence::ErrorCode::DaemonUnavailable);
    /// ```
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.target = Some(Target::Socket(path.into()));
        self
    }

    /// An instance name, a socket path (with a `/` in it), or `inproc:`.
    ///
    /// # Errors
    /// The text is none of these.
    ///
    /// ```
    /// ringfence::Client::builder().target("inproc:")?.connect()?.ping()?;
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn target(mut self, text: &str) -> Result<Self, Error> {
        self.target = Some(Target::parse(text)?);
        Ok(self)
    }

    /// What the client calls itself in the daemon's logs and in `ringfence status`: up to 64 bytes.
    ///
    /// ```
    /// let _builder = ringfence::Client::builder().name("indexer");
    /// ```
    pub fn name(mut self, name: &str) -> Self {
        let mut end = name.len().min(limits::CLIENT_NAME_BYTES);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        self.settings.name = name[..end].to_owned();
        self
    }

    /// How long a connect may take, and how long a call waits for a daemon that is restarting: 2 s
    /// if not said.
    ///
    /// ```
    /// let _builder = ringfence::Client::builder().timeout(std::time::Duration::from_millis(100));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// How this client waits for answers. It does not govern the daemon.
    ///
    /// ```
    /// let _builder = ringfence::Client::builder().spin(ringfence::Spin::Never);
    /// ```
    pub fn spin(mut self, spin: Spin) -> Self {
        self.settings.spin = spin;
        self
    }

    /// How many lanes to open, as threads need them: 1 to 64, 1 if not said.
    ///
    /// ```
    /// let _builder = ringfence::Client::builder().lanes(4);
    /// ```
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.settings.lanes = lanes.clamp(1, limits::LANES_PER_SESSION);
        self
    }

    /// Starts a private daemon if no target is given and no daemon, the system's neither, is there:
    /// this binary, or (`None`) the one that `RINGFENCE_BIN` names, or `ringfenced` beside this
    /// program or in `PATH`. `RINGFENCE_AUTOSTART=0` switches it off.
    ///
    /// ```
    /// let _builder = ringfence::Client::builder().autostart(None);
    /// ```
    pub fn autostart(mut self, binary: Option<PathBuf>) -> Self {
        self.autostart = Some(binary);
        self
    }

    /// A daemon with engines of one's own: starts this binary as the instance that is named, or else
    /// under a name made of the binary's path, unless it runs already. As a private daemon does, it
    /// leaves 2 s after its last client, and `RINGFENCE_AUTOSTART=0` forbids the start.
    ///
    /// ```
    /// let _builder = ringfence::Client::builder().daemon("target/release/examples/greeterd");
    /// ```
    pub fn daemon(mut self, binary: impl Into<PathBuf>) -> Self {
        self.daemon = Some(binary.into());
        self
    }

    /// The built-in engines inside this process, behind the same API: no daemon, no isolation.
    ///
    /// ```
    /// let client = ringfence::Client::builder().inproc().connect()?;
    /// assert_eq!(client.echo(b"here")?, b"here");
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[cfg(feature = "inproc")]
    pub fn inproc(mut self) -> Self {
        self.target = Some(Target::Inproc);
        self
    }

    /// Where the built-in engines inside this process save what they are asked to: an absolute
    /// directory, made when it is needed. If not said, the folder `inproc` in the directory that
    /// `RINGFENCE_STATE_DIR` names; without that, saving is an error.
    ///
    /// ```
    /// let client = ringfence::Client::builder().inproc_state_dir("/var/lib/app").connect()?;
    /// client.ping()?;
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[cfg(feature = "inproc")]
    pub fn inproc_state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.target = Some(Target::Inproc);
        self.state_dir = Some(dir.into());
        self
    }

    /// These engines inside this process, after `system`, which every client has.
    ///
    /// ```
    /// let engines = ringfence_core::Registry::new();
    /// let client = ringfence::Client::builder().inproc_engines(engines).connect()?;
    /// client.ping()?;
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[cfg(feature = "inproc")]
    pub fn inproc_engines(mut self, registry: ringfence_core::Registry) -> Self {
        self.target = Some(Target::Inproc);
        self.registry = Some(registry);
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::PermissionDenied`], or what else the daemon refused.
    ///
    /// ```
    /// let client = ringfence::Client::builder().inproc().connect()?;
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn connect(self) -> Result<Client, Error> {
        Client::open(self, Way::connect)
    }

    /// A client that connects at its first call: for event loops, which may not wait for a handshake.
    ///
    /// # Errors
    /// No sensible target.
    ///
    /// ```
    /// let client = ringfence::Client::builder().socket("/nonexistent/control.sock").connect_later()?;
    /// assert_eq!(client.ping().unwrap_err().code(), ringfence::ErrorCode::DaemonUnavailable);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn connect_later(self) -> Result<Client, Error> {
        Client::open(self, Way::find)
    }
}

/// The program's own name, which is what an operator knows it by.
fn own_name() -> String {
    let program = std::env::args_os().next().map(PathBuf::from);
    let name = program.as_deref().and_then(|path| path.file_name());
    let name = name.map_or_else(|| "unnamed".into(), |name| name.to_string_lossy());
    name.chars().take(limits::CLIENT_NAME_BYTES / 4).collect()
}
