//! Every setting in one table: its name, its environment variable, its bounds.
//!
//! Files, environment and flags are all checked against this table and nothing else, so that the
//! same mistake gives the same message wherever it is made. The types of [`super::Config`] repeat
//! the names; a test compares the two. It does not read files and knows no precedence.

use ringfence_protocol::limits;
use toml::Value;

use super::error::shown;
use super::{MetricsAddress, SocketMode, serving};

/// Largest length of lists (users, CPUs, engines, grants).
const LIST_MAX: usize = 1024;

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// `section.key`, or `key` at the top level.
    pub path: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// What is accepted.
    pub kind: Kind,
    /// One line with the unit, for `--help`.
    pub about: &'static str,
}

/// What a setting accepts.
#[derive(Debug)]
pub enum Kind {
    /// A whole number within bounds, both included.
    Int {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
        /// A further demand.
        step: Step,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `true` or `false`.
    Bool,
    /// A string that passes a check; the error is what was expected.
    Text(fn(&str) -> Result<(), String>),
    /// Whole numbers within bounds; separated by commas outside files.
    Ints {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
    },
    /// Distinct names; separated by commas outside files.
    Names,
    /// Names that users may serve; outside files `names=uid+uid`, separated by commas.
    Grants,
}

/// A demand on a number besides its bounds.
#[derive(Debug)]
pub enum Step {
    /// None.
    Any,
    /// Only powers of two.
    PowerOfTwo,
    /// Only multiples of this.
    MultipleOf(i64),
}

const fn int(
    path: &'static str,
    env: &'static str,
    (min, max): (i64, i64),
    about: &'static str,
) -> Setting {
    Setting { path, env, kind: Kind::Int { min, max, step: Step::Any }, about }
}

const fn of(path: &'static str, env: &'static str, kind: Kind, about: &'static str) -> Setting {
    Setting { path, env, kind, about }
}

const BLOCK: i64 = limits::BLOCK_BYTES as i64;
const TIB: i64 = 1 << 40;
const DAY_MS: i64 = 86_400_000;

/// All settings, in the order of `--check-config`: the top level first, then section by section.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    of("instance", "RINGFENCE_INSTANCE", Kind::Text(check_instance),
        "name of this daemon, [a-z0-9_-]{1,32}"),
    of("runtime_dir", "RINGFENCE_RUNTIME_DIR", Kind::Text(check_dir),
        "directory of the sockets, absolute"),
    int("exit_when_idle_ms", "RINGFENCE_EXIT_WHEN_IDLE_MS", (0, DAY_MS),
        "leave this long after the last client"),
    of("socket_mode", "RINGFENCE_SOCKET_MODE", Kind::Text(check_mode),
        "octal mode of the control socket"),
    of("socket_group", "RINGFENCE_SOCKET_GROUP", Kind::Text(check_group),
        "group of the control socket"),
    of("allowed_uids", "RINGFENCE_ALLOWED_UIDS", Kind::Ints { min: 0, max: u32::MAX as i64 - 1 },
        "users that may connect"),
    of("allow_any_uid", "RINGFENCE_ALLOW_ANY_UID", Kind::Bool, "let every user connect"),
    of("lanes.slots", "RINGFENCE_LANES_SLOTS",
        Kind::Int { min: 8, max: 4096, step: Step::PowerOfTwo },
        "slots of a ring"),
    of("lanes.arena_bytes", "RINGFENCE_LANES_ARENA_BYTES",
        Kind::Int { min: BLOCK, max: BLOCK * *limits::BLOCKS.end() as i64, step: Step::MultipleOf(BLOCK) },
        "bytes of an arena"),
    int("lanes.max_per_session", "RINGFENCE_LANES_MAX_PER_SESSION", (1, 64),
        "lanes of one session"),
    int("sessions.max", "RINGFENCE_SESSIONS_MAX", (1, 16_384), "sessions of the daemon"),
    int("sessions.max_per_uid", "RINGFENCE_SESSIONS_MAX_PER_UID", (1, 16_384),
        "sessions of one user"),
    int("sessions.bytes_per_uid", "RINGFENCE_SESSIONS_BYTES_PER_UID", (1 << 20, TIB),
        "bytes of segments of one user"),
    int("sessions.lanes_per_uid", "RINGFENCE_SESSIONS_LANES_PER_UID", (1, 16_384),
        "lanes of one user"),
    int("sessions.in_flight_per_uid", "RINGFENCE_SESSIONS_IN_FLIGHT_PER_UID", (1, 1 << 20),
        "heavy and waiting calls of one user"),
    int("sessions.bulk_bytes_max", "RINGFENCE_SESSIONS_BULK_BYTES_MAX",
        (4096, limits::PAYLOAD_BYTES as i64),
        "bytes of one bulk segment"),
    int("sessions.handshake_timeout_ms", "RINGFENCE_SESSIONS_HANDSHAKE_TIMEOUT_MS", (10, 60_000),
        "milliseconds for the hello"),
    of("polling.spin", "RINGFENCE_SPIN", Kind::OneOf(&["adaptive", "always", "never"]),
        "when pollers spin"),
    int("polling.spin_us", "RINGFENCE_SPIN_US", (0, 1_000_000), "microseconds of spinning"),
    int("polling.yield_us", "RINGFENCE_YIELD_US", (0, 1_000_000),
        "microseconds of yielding before parking"),
    int("polling.pollers", "RINGFENCE_POLLERS", (1, 16), "polling threads"),
    int("polling.hot_lanes_per_session", "RINGFENCE_HOT_LANES_PER_SESSION", (1, 64),
        "polled lanes of one session"),
    int("polling.hot_lanes_per_uid", "RINGFENCE_HOT_LANES_PER_UID", (1, 4096),
        "polled lanes of one user"),
    of("polling.cpus", "RINGFENCE_CPUS", Kind::Ints { min: 0, max: 1023 },
        "CPUs that pollers are pinned to"),
    int("workers.threads", "RINGFENCE_WORKERS", (1, 256), "worker threads"),
    int("workers.inline_budget_us", "RINGFENCE_INLINE_BUDGET_US", (0, 10_000),
        "microseconds that run on the poller"),
    int("workers.running_per_session", "RINGFENCE_RUNNING_PER_SESSION", (1, 256),
        "running jobs of one session"),
    int("workers.queue", "RINGFENCE_WORKER_QUEUE", (1, 1 << 20), "jobs that may wait"),
    of("engines.enable", "RINGFENCE_ENGINES", Kind::Names,
        "engines that are on, `system` among them"),
    int("engines.memory_bytes", "RINGFENCE_ENGINES_MEMORY_BYTES", (1 << 20, 16 * TIB),
        "bytes that the data of each engine may take"),
    int("bus.topics_max", "RINGFENCE_BUS_TOPICS_MAX", (1, 65_536), "topics of the daemon"),
    int("bus.bytes_max", "RINGFENCE_BUS_BYTES_MAX", (4096, TIB),
        "bytes of the logs of all topics"),
    int("bus.bytes_per_uid", "RINGFENCE_BUS_BYTES_PER_UID", (4096, TIB),
        "bytes of the logs of topics that one other user makes"),
    int("bus.subscriptions_per_topic", "RINGFENCE_BUS_SUBSCRIPTIONS_PER_TOPIC", (1, 65_536),
        "subscriptions of one topic"),
    of("bus.publish", "RINGFENCE_BUS_PUBLISH", Kind::Grants,
        "topics that other users may make and publish to"),
    of("bus.subscribe", "RINGFENCE_BUS_SUBSCRIBE", Kind::Grants,
        "topics that other users may subscribe to"),
    of("serving.grants", "RINGFENCE_SERVING_GRANTS", Kind::Grants,
        "names that users besides the daemon's own may serve"),
    of("state.dir", "RINGFENCE_STATE_DIR", Kind::Text(check_dir),
        "directory of what engines save, absolute"),
    of("board.group", "RINGFENCE_BOARD_GROUP", Kind::Text(check_group),
        "group that may read the board"),
    of("metrics.listen", "RINGFENCE_METRICS_LISTEN", Kind::Text(check_metrics),
        "Unix socket or loopback port that serves Prometheus metrics"),
    int("metrics.overhead_window_ms", "RINGFENCE_OVERHEAD_WINDOW_MS", (1000, DAY_MS),
        "milliseconds over which overhead is judged"),
    of("log.format", "RINGFENCE_LOG_FORMAT", Kind::OneOf(&["auto", "text", "json", "journald"]),
        "shape of log lines"),
    of("log.level", "RINGFENCE_LOG_LEVEL",
        Kind::OneOf(&["error", "warn", "info", "debug", "trace"]),
        "least severe level"),
];

/// Variables of the same prefix that belong to the client library, and the one that names a file.
pub const FOREIGN_ENV: &[&str] =
    &["RINGFENCE_CONFIG", "RINGFENCE_TARGET", "RINGFENCE_AUTOSTART", "RINGFENCE_BIN"];

impl Setting {
    /// The section, empty at the top level.
    pub fn section(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(section, _)| section)
    }

    /// The key within its section.
    pub fn key(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(_, key)| key)
    }

    /// Finds a setting by `section.key`.
    pub fn find(path: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.path == path)
    }

    /// Section names, each once, without the top level.
    pub fn sections() -> Vec<&'static str> {
        let mut names: Vec<_> = SETTINGS.iter().map(Setting::section).collect();
        names.dedup();
        names.retain(|name| !name.is_empty());
        names
    }

    /// Reads a value as it is written in the environment or after a flag.
    pub(super) fn parse(&self, text: &str) -> Value {
        let list = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let whole = |part: &str| part.parse::<i64>().map(Value::Integer);
        let string = || Value::String(text.to_owned());
        match self.kind {
            Kind::Int { .. } => whole(text.trim()).unwrap_or_else(|_| string()),
            Kind::Bool => match text {
                "1" | "true" => Value::Boolean(true),
                "0" | "false" => Value::Boolean(false),
                _ => string(),
            },
            Kind::OneOf(_) | Kind::Text(_) => string(),
            Kind::Names => Value::Array(list().map(Value::from).collect()),
            Kind::Grants => serving::parse(text).unwrap_or_else(string),
            Kind::Ints { .. } => {
                list().map(whole).collect::<Result<_, _>>().map_or_else(|_| string(), Value::Array)
            }
        }
    }

    /// Checks type and bounds; the error says what would be accepted.
    pub(super) fn check(&self, value: &Value) -> Result<(), String> {
        match (&self.kind, value) {
            (Kind::Int { min, max, step }, Value::Integer(n))
                if (min..=max).contains(&n) && step.allows(*n) =>
            {
                Ok(())
            }
            (Kind::Bool, Value::Boolean(_)) => Ok(()),
            (Kind::Text(check), Value::String(text)) => check(text),
            (Kind::OneOf(words), Value::String(text)) => one_of(words, text),
            (Kind::Ints { min, max }, Value::Array(items))
                if items.len() <= LIST_MAX
                    && items.iter().all(|item| {
                        item.as_integer().is_some_and(|n| (min..=max).contains(&&n))
                    }) =>
            {
                Ok(())
            }
            (Kind::Names, Value::Array(items)) => check_names(items),
            (Kind::Grants, Value::Array(items)) => serving::check(items, LIST_MAX),
            _ => Err(self.rule()),
        }
    }

    /// What is accepted, with the numbers.
    pub fn rule(&self) -> String {
        match &self.kind {
            Kind::Int { min, max, step: Step::Any } => {
                format!("a whole number from {min} to {max}")
            }
            Kind::Int { min, max, step: Step::PowerOfTwo } => {
                format!("a power of two from {min} to {max}")
            }
            Kind::Int { min, max, step: Step::MultipleOf(of) } => {
                format!("a multiple of {of} from {min} to {max}")
            }
            Kind::OneOf(words) => format!("one of {}", words.join(", ")),
            Kind::Bool => "true or false".to_owned(),
            Kind::Text(check) => check("\n").err().unwrap_or_else(|| "a string".to_owned()),
            Kind::Ints { min, max } => {
                format!("at most {LIST_MAX} whole numbers from {min} to {max}")
            }
            Kind::Names => NAMES_RULE.to_owned(),
            Kind::Grants => serving::RULE.to_owned(),
        }
    }
}

impl Step {
    fn allows(&self, n: i64) -> bool {
        match self {
            Self::Any => true,
            Self::PowerOfTwo => n > 0 && n & (n - 1) == 0,
            Self::MultipleOf(of) => n % of == 0,
        }
    }
}

/// The nearest of `known`, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |name: &str| strsim::damerau_levenshtein(word, name);
    let best = known.into_iter().min_by_key(|name| near(name))?;
    // A third of the letters, as clap's users know it; two for very short names.
    (near(best) <= (word.chars().count() / 3).max(2)).then_some(best)
}

fn one_of(words: &[&'static str], text: &str) -> Result<(), String> {
    if words.contains(&text) {
        return Ok(());
    }
    let hint = nearest(text, words.iter().copied());
    let hint = hint.map_or(String::new(), |word| format!("; did you mean `{word}`?"));
    Err(format!("one of {}{hint}", words.join(", ")))
}

const NAMES_RULE: &str = "a list of distinct engine names, each [a-z0-9_]{1,32}";

fn check_names(items: &[Value]) -> Result<(), String> {
    let names: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
    let names = names.filter(|names| names.len() <= LIST_MAX).ok_or(NAMES_RULE)?;
    for (at, name) in names.iter().enumerate() {
        let letters = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !letters || !(1..=32).contains(&name.len()) || names[..at].contains(name) {
            return Err(format!("{NAMES_RULE}; look at `{}`", shown(name)));
        }
    }
    Ok(())
}

fn check_instance(text: &str) -> Result<(), String> {
    let letters = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    if letters && (1..=32).contains(&text.len()) {
        return Ok(());
    }
    Err("1 to 32 letters, digits, `_` or `-`, lower case".to_owned())
}

fn check_dir(text: &str) -> Result<(), String> {
    if text.starts_with('/') && !text.contains('\0') {
        return Ok(());
    }
    Err("an absolute path".to_owned())
}

fn check_mode(text: &str) -> Result<(), String> {
    SocketMode::try_from(text.to_owned()).map(|_| ())
}

fn check_metrics(text: &str) -> Result<(), String> {
    MetricsAddress::try_from(text.to_owned()).map(|_| ())
}

fn check_group(text: &str) -> Result<(), String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'$');
    if (1..=32).contains(&text.len()) && text.bytes().all(fine) {
        return Ok(());
    }
    Err("the name of a group, 1 to 32 letters, digits, `_`, `-`, `.` or `$`".to_owned())
}
