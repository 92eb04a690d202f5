//! What the daemon is told: one typed value, checked before anything is created.
//!
//! Layers, low to high: defaults of this host, configuration files, the environment
//! (`RINGFENCE_*`), flags. Each layer must be valid by itself, so that a broken file is noticed
//! even where a flag would hide it. Every setting stands once in [`settings::SETTINGS`] with its
//! bounds and its environment variable; a test holds that table and these structs together.
//!
//! Invariants: a [`Config`] that [`Config::load`] returned is within every documented bound, and
//! its socket path fits into a socket address.
//!
//! Not here: whether a group or an engine exists (the server and the registry know), and anything
//! that changes while the daemon runs. Configuration is read once.

mod address;
mod error;
#[cfg(test)]
mod fuzz;
mod load;
mod schema;
mod serving;
pub mod settings;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::limits;
use serde::{Deserialize, Serialize};

pub use address::MetricsAddress;
pub use error::{ConfigError, Origin};
pub use schema::json_schema;
pub(crate) use serving::grants;
pub use serving::{Serving, ServingGrant};
pub(crate) use settings::nearest;
pub use sources::{FlagValue, Host, Sources};

/// All settings of one daemon.
///
/// The names are those of the configuration file; a field that is a struct is a section there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which daemon this is among those of the same user: `[a-z0-9_-]{1,32}`.
    pub instance: String,
    /// Absolute directory that holds `<instance>/control.sock`.
    ///
    /// Default: `/run/ringfence` for root and system users, else `$XDG_RUNTIME_DIR/ringfence`,
    /// else `/tmp/ringfence-<uid>`.
    pub runtime_dir: PathBuf,
    /// Leave this many milliseconds after the last client has left. Unset: stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_when_idle_ms: Option<u64>,
    /// Mode of the control socket, an octal string in the file.
    pub socket_mode: SocketMode,
    /// Group that owns the control socket. Unset: the daemon's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_group: Option<String>,
    /// Users that may open a session. Default: the daemon's own and root; with a socket that systemd
    /// passed, whoever may open that.
    pub allowed_uids: Vec<u32>,
    /// Let every user open a session, whatever `allowed_uids` says; but 65534, which the kernel says of
    /// users that it cannot name here, must be listed there.
    pub allow_any_uid: bool,
    /// Shape of a lane.
    pub lanes: Lanes,
    /// Limits of sessions and of users.
    pub sessions: Sessions,
    /// How the pollers wait.
    pub polling: Polling,
    /// The pool for heavy methods.
    pub workers: Workers,
    /// Which engines are served.
    pub engines: Engines,
    /// What topics may take.
    pub bus: Bus,
    /// Who may serve names.
    pub serving: Serving,
    /// Where engines save what clients ask them to.
    pub state: State,
    /// Who may read the board.
    pub board: BoardAccess,
    /// What is measured, and who gets it.
    pub metrics: Metrics,
    /// What is logged and how.
    pub log: Log,
    #[serde(skip)]
    origins: BTreeMap<&'static str, Origin>,
    #[serde(skip)]
    warnings: Vec<String>,
}

/// `[lanes]`: the shape of every lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lanes {
    /// Slots of each ring, a power of two from 8 to 4096.
    pub slots: u32,
    /// Bytes of each of the two arenas, a multiple of 4096.
    pub arena_bytes: u64,
    /// Lanes that one session may open, 1 to 64.
    pub max_per_session: u32,
}

/// `[sessions]`: limits that protect users from one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// Sessions of the whole daemon; also the session rows of the board.
    pub max: u32,
    /// Sessions of one user.
    pub max_per_uid: u32,
    /// Bytes of segments that one user may hold.
    pub bytes_per_uid: u64,
    /// Lanes of all sessions of one user.
    pub lanes_per_uid: u32,
    /// Calls of one user that wait for a worker, are run by one, or are answered later.
    pub in_flight_per_uid: u32,
    /// Bytes of the largest single bulk segment.
    pub bulk_bytes_max: u64,
    /// Milliseconds from accept to a complete hello.
    pub handshake_timeout_ms: u64,
}

/// When a poller or its lanes stay hot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spin {
    /// Spin while there is work, then yield, then park. The default.
    Adaptive,
    /// Never park: lowest latency, one core per poller.
    Always,
    /// Park at once: least power, each call pays a wake-up.
    Never,
}

/// `[polling]`: how the pollers wait and what they keep hot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Polling {
    /// The waiting policy.
    pub spin: Spin,
    /// Microseconds of pure spinning after the last work.
    pub spin_us: u64,
    /// Microseconds of yielding between spinning and parking.
    pub yield_us: u64,
    /// Polling threads, 1 to 16. All lanes of a session belong to one of them.
    pub pollers: u32,
    /// Lanes of one session that are polled; its others are served by bell.
    pub hot_lanes_per_session: u32,
    /// Lanes of one user that are polled; the others are served by bell.
    pub hot_lanes_per_uid: u32,
    /// CPUs to pin pollers to, in order; at least one for each poller. Unset: no pinning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Vec<u32>>,
}

/// `[workers]`: the pool that runs heavy methods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workers {
    /// Threads. Default: cores - 1, at least 1.
    pub threads: u32,
    /// Requests that are expected to take at most this many microseconds run on the poller.
    pub inline_budget_us: u64,
    /// Jobs of one session that run at once. Default: half of `threads`, rounded up, so that no
    /// session holds all workers where there is more than one.
    pub running_per_session: u32,
    /// Jobs that may wait for a worker.
    pub queue: u32,
}

/// The engines that come with the daemon, besides `system`.
pub(crate) const BUILTIN: &[&str] = &[
    #[cfg(feature = "vectors")]
    "vectors",
    "bus",
    "serving",
];

/// `[engines]`: what is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engines {
    /// Names of the engines that are on. `system` is always among them. Default: all that this
    /// daemon was built with.
    pub enable: Vec<String>,
    /// Bytes that the data of each engine may take.
    pub memory_bytes: u64,
}

/// `[bus]`: what topics may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bus {
    /// Topics of the daemon, 1 to 65536.
    pub topics_max: u32,
    /// Bytes of the logs of all topics. They are never given back.
    pub bytes_max: u64,
    /// Of them, those of topics that one user has made, besides the daemon's own and root.
    pub bytes_per_uid: u64,
    /// Subscriptions of one topic.
    pub subscriptions_per_topic: u32,
    /// Into which topics users besides the daemon's own and root may publish; they may make them, too.
    pub publish: Vec<ServingGrant>,
    /// To which topics they may subscribe.
    pub subscribe: Vec<ServingGrant>,
}

/// `[state]`: what outlives the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// Absolute directory; each instance has a folder of its own name in it, made when it is
    /// needed. Unset: saving is an error.
    ///
    /// Default: none for root and system users; else `$XDG_STATE_HOME/ringfence`, else
    /// `$HOME/.local/state/ringfence`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
}

/// `[board]`: who may map the board, read-only, besides the daemon's user and root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoardAccess {
    /// A group whose members may read the board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// `[metrics]`: where they are served, and how overhead is judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// A Unix socket or a loopback port. Unset: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<MetricsAddress>,
    /// Milliseconds over which the overhead of a method is judged; one warning each at most.
    pub overhead_window_ms: u64,
}

/// What the kernel says of users that have no number in the daemon's user namespace: all of them.
const NOBODY: u32 = 65_534;

/// Where log lines go and in which shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// journald where standard error is the journal, else text. The default.
    Auto,
    /// Lines for people, on standard error.
    Text,
    /// One JSON object a line, on standard error.
    Json,
    /// The journal, with fields.
    Journald,
}

/// The least severe level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Work was lost.
    Error,
    /// Somebody should look.
    Warn,
    /// Start, stop, sessions. The default.
    Info,
    /// Decisions.
    Debug,
    /// Everything; for developers.
    Trace,
}

/// `[log]`: format and level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The shape of log lines.
    pub format: LogFormat,
    /// The least severe level that is logged.
    pub level: LogLevel,
}

/// Permission bits of the control socket: the owner reads and writes, nobody executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SocketMode(u32);

impl SocketMode {
    /// The bits, as chmod takes them.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl TryFrom<String> for SocketMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        match u32::from_str_radix(&text, 8) {
            Ok(bits) if digits && bits & !0o666 == 0 && bits & 0o600 == 0o600 => Ok(Self(bits)),
            _ => Err("octal from \"0600\" to \"0666\" with the owner's bits set, such as \"0660\""
                .to_owned()),
        }
    }
}

impl From<SocketMode> for String {
    fn from(mode: SocketMode) -> Self {
        format!("{:04o}", mode.0)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::for_host(&Host::current())
    }
}

impl Config {
    /// The lowest layer: what holds on `host` when nobody says anything.
    pub fn for_host(host: &Host) -> Self {
        Self {
            instance: "default".to_owned(),
            runtime_dir: host.runtime_dir(),
            exit_when_idle_ms: None,
            socket_mode: SocketMode(0o600),
            socket_group: None,
            allowed_uids: if host.uid == 0 { vec![0] } else { vec![0, host.uid] },
            allow_any_uid: false,
            lanes: Lanes::default(),
            sessions: Sessions::default(),
            polling: Polling::default(),
            workers: Workers::for_cores(host.cores),
            engines: Engines::default(),
            bus: Bus::default(),
            serving: Serving::default(),
            state: State { dir: host.state_dir() },
            board: BoardAccess::default(),
            metrics: Metrics::default(),
            log: Log::default(),
            origins: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    /// The directory of this instance below the runtime directory.
    pub fn instance_dir(&self) -> PathBuf {
        self.runtime_dir.join(&self.instance)
    }

    /// The control socket: `<runtime_dir>/<instance>/control.sock`.
    pub fn socket_path(&self) -> PathBuf {
        self.instance_dir().join("control.sock")
    }

    /// The directory of what this instance saves, below the state directory.
    pub fn instance_state_dir(&self) -> Option<PathBuf> {
        self.state.dir.as_ref().map(|dir| dir.join(&self.instance))
    }

    /// Whether a user may open a session. `allow_any_uid` is for users that can be told apart.
    pub fn allows_uid(&self, uid: u32) -> bool {
        self.allowed_uids.contains(&uid)
            || self.allow_any_uid && (uid != NOBODY || !is_armed("door.nobody"))
    }

    /// Lets in whoever may open a socket that a service manager made: its mode is the permission.
    /// Does nothing where somebody has said who may connect.
    pub(crate) fn admit_by_socket(&mut self) {
        let unsaid = |path| matches!(self.origin(path), Origin::Default);
        self.allow_any_uid |= unsaid("allowed_uids") && unsaid("allow_any_uid");
    }

    /// Where the value of `path` ("section.key", or "key" at the top level) comes from.
    pub fn origin(&self, path: &str) -> &Origin {
        self.origins.get(path).unwrap_or(&Origin::Default)
    }

    /// What is odd but not wrong; to be logged once logging is up.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Default for Lanes {
    fn default() -> Self {
        Self { slots: limits::DEFAULT_SLOTS, arena_bytes: 65_536, max_per_session: 64 }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            max: 1024,
            max_per_uid: 256,
            bytes_per_uid: 1 << 30,
            lanes_per_uid: 2048,
            in_flight_per_uid: 4096,
            bulk_bytes_max: 1 << 30,
            handshake_timeout_ms: 2000,
        }
    }
}

impl Default for Polling {
    fn default() -> Self {
        Self {
            spin: Spin::Adaptive,
            spin_us: 50,
            yield_us: 1000,
            pollers: 1,
            hot_lanes_per_session: 8,
            hot_lanes_per_uid: 64,
            cpus: None,
        }
    }
}

impl Workers {
    fn for_cores(cores: u32) -> Self {
        // One core is the poller's. 256 is the bound of the setting, for very large machines.
        let threads = cores.saturating_sub(1).clamp(1, 256);
        Self {
            threads,
            inline_budget_us: 50,
            running_per_session: threads.div_ceil(2),
            queue: 1024,
        }
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self::for_cores(Host::current().cores)
    }
}

impl Default for Engines {
    fn default() -> Self {
        let names = std::iter::once(&"system").chain(BUILTIN);
        let memory_bytes = ringfence_core::Allowance::default().memory_bytes;
        Self { enable: names.map(|name| (*name).to_owned()).collect(), memory_bytes }
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            topics_max: 1024,
            bytes_max: 1 << 30,
            bytes_per_uid: 1 << 28,
            subscriptions_per_topic: 1024,
            publish: Vec::new(),
            subscribe: Vec::new(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: None, overhead_window_ms: 60_000 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: LogLevel::Info }
    }
}
