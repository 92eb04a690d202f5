//! The command line of `ringfenced`: flags, `--help`, exit codes.
//!
//! [`parse`] turns arguments and environment into a checked [`Config`] and what to do with it.
//! It prints nothing and never leaves the process, so tests call it like any function. Flags go
//! through the same table of settings as files do; a flag without a setting is only what steers
//! this run (`--config`, `--check-config`).

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};

use crate::config::settings::SETTINGS;
use crate::config::{Config, ConfigError, FlagValue, Host, Origin, Sources};

/// What the process leaves with. Documented in `--help` and stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// All went well, also after SIGTERM.
    Ok = 0,
    /// It failed while running or starting; the log says why.
    Failure = 1,
    /// The command line is wrong (EX_USAGE of sysexits.h).
    Usage = 64,
    /// Another daemon holds this instance (EX_TEMPFAIL): connect to that one.
    InstanceHeld = 75,
    /// The configuration is wrong (EX_CONFIG). Starting again does not help.
    Config = 78,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// What a run of the daemon is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Serve until stopped.
    Serve,
    /// Print [`Config::to_toml`] on standard output and leave with [`ExitCode::Ok`].
    CheckConfig,
    /// Print [`crate::config::json_schema`] on standard output and leave with [`ExitCode::Ok`].
    ConfigSchema,
    /// Print what an echo in this process takes, for so many milliseconds, and leave.
    MeasureEcho(u64),
}

/// Why [`parse`] gave no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// Wrong flags; or `--help` and `--version`, which clap reports the same way.
    #[error("{0}")]
    Usage(clap::Error),
    /// A refused configuration.
    #[error("{0}")]
    Config(#[from] ConfigError),
}

impl CliError {
    /// The code to leave with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(error) => match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::Ok,
                _ => ExitCode::Usage,
            },
            Self::Config(_) => ExitCode::Config,
        }
    }

    /// Prints help to standard output and errors to standard error; returns the exit code.
    pub fn report(&self) -> ExitCode {
        // Nobody is left to tell when both streams are closed.
        let _ = match self {
            Self::Usage(error) => error.print(),
            Self::Config(error) => writeln!(std::io::stderr(), "ringfenced: {error}"),
        };
        self.exit_code()
    }
}

/// The Ringfence sidecar: computes for the processes of this machine, over shared memory.
///
/// Started without arguments it serves the instance `default` of the calling user until it gets
/// SIGTERM or SIGINT. Clients find it by its instance: `ringfence status` shows what runs.
#[derive(Debug, Parser)]
#[command(name = "ringfenced", version, verbatim_doc_comment, after_long_help = after_help())]
struct Flags {
    /// Name of this daemon among those of the same user: [a-z0-9_-], at most 32.
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Read this file, and neither /etc/ringfence/ringfence.toml nor its conf.d.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the control sockets, absolute.
    ///
    /// Default: /run/ringfence for root and system users, else $XDG_RUNTIME_DIR/ringfence, else
    /// /tmp/ringfence-<uid>.
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<String>,
    /// Directory of what engines save, absolute; each instance has a folder of its own there.
    ///
    /// Default: none for root and system users, else $XDG_STATE_HOME/ringfence or
    /// ~/.local/state/ringfence.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,
    /// Print the effective configuration with the origin of each value, and leave.
    ///
    /// Code 0 if it is fine, 78 and the reason if it is not. Creates nothing, so it can run
    /// beside a serving daemon.
    #[arg(long)]
    check_config: bool,
    /// Print the JSON Schema of the configuration, for editors and checkers, and leave.
    #[arg(long, conflicts_with = "check_config")]
    config_schema: bool,
    /// Print the nanoseconds of echoes in this process as JSON, and leave: for `ringfence bench`.
    #[arg(long, value_name = "MS", hide = true, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    measure_echo: Option<u64>,
    /// When pollers spin: adaptive parks after a while, always never parks, never parks at once.
    #[arg(long, value_name = "WHEN", value_parser = ["adaptive", "always", "never"])]
    spin: Option<String>,
    /// Microseconds of spinning after the last work, before yielding and then parking.
    #[arg(long, value_name = "US")]
    spin_us: Option<u64>,
    /// Polling threads, 1 to 16. One serves hundreds of sessions.
    #[arg(long, value_name = "N")]
    pollers: Option<u64>,
    /// Worker threads for heavy methods [default: cores - 1].
    #[arg(long, value_name = "N")]
    workers: Option<u64>,
    /// Requests expected to take at most this long run on the poller, others on a worker.
    #[arg(long, value_name = "US")]
    inline_budget_us: Option<u64>,
    /// Shape of log lines; auto is journald where standard error is the journal, else text.
    #[arg(long, value_name = "SHAPE", value_parser = ["auto", "text", "json", "journald"])]
    log_format: Option<String>,
    /// Least severe level that is logged.
    #[arg(
        long,
        value_name = "LEVEL",
        value_parser = ["error", "warn", "info", "debug", "trace"]
    )]
    log_level: Option<String>,
    /// Serve Prometheus metrics here: an absolute path, 127.0.0.1:PORT or [::1]:PORT.
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<String>,
    /// Leave this many milliseconds after the last client has left.
    #[arg(long, value_name = "MS")]
    exit_when_idle_ms: Option<u64>,
    /// Serve exactly these engines, separated by commas; `system` must be among them.
    #[arg(long, value_name = "A,B")]
    engines: Option<String>,
    /// Serve this engine too; may be repeated.
    #[arg(long, value_name = "NAME")]
    enable_engine: Vec<String>,
}

impl Flags {
    fn values(&self) -> Vec<FlagValue> {
        let number = |n: Option<u64>| n.map(|n| n.to_string());
        let all = [
            ("--instance", "instance", self.instance.clone()),
            ("--runtime-dir", "runtime_dir", self.runtime_dir.clone()),
            ("--state-dir", "state.dir", self.state_dir.clone()),
            ("--exit-when-idle-ms", "exit_when_idle_ms", number(self.exit_when_idle_ms)),
            ("--spin", "polling.spin", self.spin.clone()),
            ("--spin-us", "polling.spin_us", number(self.spin_us)),
            ("--pollers", "polling.pollers", number(self.pollers)),
            ("--workers", "workers.threads", number(self.workers)),
            ("--inline-budget-us", "workers.inline_budget_us", number(self.inline_budget_us)),
            ("--engines", "engines.enable", self.engines.clone()),
            ("--metrics-listen", "metrics.listen", self.metrics_listen.clone()),
            ("--log-format", "log.format", self.log_format.clone()),
            ("--log-level", "log.level", self.log_level.clone()),
        ];
        let given = all.into_iter();
        given.filter_map(|(flag, path, text)| Some(FlagValue { flag, path, text: text? })).collect()
    }
}

/// The description that `--help`, shell completions and the manual page are made of
/// (`daemon/examples/pages.rs`).
#[must_use]
pub fn command() -> clap::Command {
    Flags::command()
}

/// Configuration and mode from arguments (the program's name first) and environment.
///
/// # Errors
/// Wrong flags, or the first thing that is wrong in the configuration.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Config, Mode), CliError> {
    parse_on(Host::current(), args, env)
}

/// [`parse`] as if on `host`.
///
/// # Errors
/// As [`parse`].
pub fn parse_on(
    mut host: Host,
    args: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Config, Mode), CliError> {
    let flags = Flags::try_parse_from(args).map_err(CliError::Usage)?;
    if flags.config_schema {
        return Ok((Config::for_host(&host), Mode::ConfigSchema));
    }
    if let Some(milliseconds) = flags.measure_echo {
        return Ok((Config::for_host(&host), Mode::MeasureEcho(milliseconds)));
    }
    let mut file = None;
    let mut ours = Vec::new();
    let absolute = |dir: PathBuf| Some(dir).filter(|dir| dir.is_absolute());
    let (mut home, mut state_home) = (None, None);
    for (name, value) in env.into_iter().filter(|(_, value)| !value.is_empty()) {
        match name.to_str() {
            Some("XDG_RUNTIME_DIR") => {
                host.xdg_runtime_dir = absolute(value.into());
            }
            Some("XDG_STATE_HOME") => state_home = absolute(value.into()),
            Some("HOME") => home = absolute(PathBuf::from(value).join(".local/state")),
            Some("RINGFENCE_CONFIG") => file = Some(PathBuf::from(value)),
            Some(name) if name.starts_with("RINGFENCE_") => ours.push(env_entry(name, value)?),
            _ => {}
        }
    }
    ours.sort();
    host.state_home = state_home.or(home);
    let sources = Sources {
        host,
        file: flags.config.clone().or(file),
        env: ours,
        flags: flags.values(),
        extra_engines: flags.enable_engine.clone(),
    };
    let mode = if flags.check_config { Mode::CheckConfig } else { Mode::Serve };
    Ok((Config::load(&sources)?, mode))
}

/// An environment entry of ours: its value has to be text.
fn env_entry(name: &str, value: OsString) -> Result<(String, String), ConfigError> {
    match value.into_string() {
        Ok(text) => Ok((name.to_owned(), text)),
        Err(value) => Err(ConfigError::Invalid {
            origin: Origin::Env(name.to_owned()),
            path: name.to_owned(),
            value: format!("{value:?}"),
            rule: "text in UTF-8".to_owned(),
        }),
    }
}

fn after_help() -> String {
    let mut text = String::from(
        "Configuration, low to high: defaults, files, environment, flags. Files are TOML with \
         the names below.\nRoot and system users read /etc/ringfence/ringfence.toml and then \
         /etc/ringfence/conf.d/*.toml;\nother users read only what --config or RINGFENCE_CONFIG \
         names. An empty variable counts as unset.\nLists in variables are separated by commas.\
         \n\nSettings:\n",
    );
    let width = SETTINGS.iter().map(|setting| setting.env.len()).max().unwrap_or(0);
    for setting in SETTINGS {
        let place = match setting.section() {
            "" => setting.key().to_owned(),
            section => format!("[{section}] {}", setting.key()),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:width$}  {place}: {}", setting.env, setting.about);
        let _ = writeln!(text, "  {:width$}    {}", "", setting.rule());
    }
    text.push_str(
        "\nExit codes:\n  0   fine, also after SIGTERM\n  1   failed while starting or running; \
         the log says why\n  64  the command line is wrong\n  75  another daemon holds this \
         instance: connect to that one\n  78  the configuration is wrong; starting again does \
         not help\n\nExamples:\n  ringfenced --instance trading --workers 4\n  ringfenced --config \
         ./dev.toml --check-config\n  RINGFENCE_LOG_FORMAT=json ringfenced --exit-when-idle-ms \
         2000",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        let etc = PathBuf::from("/nonexistent");
        Host { uid: 4242, cores: 4, xdg_runtime_dir: None, state_home: None, etc }
    }

    fn run(args: &[&str], env: &[(&str, &str)]) -> Result<(Config, Mode), CliError> {
        let args = std::iter::once("ringfenced").chain(args.iter().copied()).map(OsString::from);
        let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        parse_on(host(), args, env)
    }

    #[test]
    fn every_flag_reaches_its_setting() {
        let args = [
            "--instance=i1",
            "--runtime-dir=/r",
            "--state-dir=/s",
            "--check-config",
            "--spin=never",
            "--spin-us=7",
            "--pollers=2",
            "--workers=3",
            "--inline-budget-us=9",
            "--log-format=json",
            "--log-level=debug",
            "--metrics-listen=127.0.0.1:9464",
            "--exit-when-idle-ms=2000",
            "--engines=system,graph",
            "--enable-engine=bus",
            "--enable-engine=graph",
        ];
        let (config, mode) = run(&args, &[]).unwrap();
        assert_eq!(mode, Mode::CheckConfig);
        let text = config.to_toml();
        for line in [
            "instance = \"i1\"  # flag --instance",
            "runtime_dir = \"/r\"  # flag --runtime-dir",
            "dir = \"/s\"  # flag --state-dir",
            "exit_when_idle_ms = 2000  # flag --exit-when-idle-ms",
            "spin = \"never\"  # flag --spin",
            "spin_us = 7  # flag --spin-us",
            "pollers = 2  # flag --pollers",
            "threads = 3  # flag --workers",
            "inline_budget_us = 9  # flag --inline-budget-us",
            "enable = [\"system\", \"graph\", \"bus\"]  # flag --enable-engine",
            "format = \"json\"  # flag --log-format",
            "level = \"debug\"  # flag --log-level",
            "listen = \"127.0.0.1:9464\"  # flag --metrics-listen",
        ] {
            assert!(text.lines().any(|have| have == line), "no line {line:?} in\n{text}");
        }
    }

    #[test]
    fn a_flag_beats_the_environment_and_no_flags_serve() {
        let env = [("RINGFENCE_SPIN_US", "11"), ("RINGFENCE_WORKERS", "2"), ("HOME", "/h")];
        let (config, mode) = run(&["--spin-us", "12"], &env).unwrap();
        assert_eq!((config.polling.spin_us, config.workers.threads), (12, 2));
        assert_eq!(mode, Mode::Serve);
        assert_eq!(config.warnings(), &[] as &[String]);
    }

    #[test]
    fn the_users_runtime_directory_is_used_if_it_is_absolute() {
        let dir = |value| run(&[], &[("XDG_RUNTIME_DIR", value)]).unwrap().0.runtime_dir;
        assert_eq!(dir("/run/user/4242"), PathBuf::from("/run/user/4242/ringfence"));
        assert_eq!(dir("relative"), PathBuf::from("/tmp/ringfence-4242"));
    }

    #[test]
    fn a_private_daemon_saves_in_its_users_home_and_the_machines_nowhere() {
        let dir = |uid, env: &[(&str, &str)]| {
            let env = env.iter().map(|(name, value)| (name.into(), value.into()));
            let config = parse_on(Host { uid, ..host() }, ["ringfenced".into()], env).unwrap().0;
            config.instance_state_dir()
        };
        let home = [("HOME", "/h")];
        let both = [("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        let said = [("RINGFENCE_STATE_DIR", "/s"), ("HOME", "/h")];
        for (uid, env, want) in [
            (4242, &home[..], Some("/h/.local/state/ringfence/default")),
            (4242, &both, Some("/x/ringfence/default")),
            (4242, &said, Some("/s/default")),
            (4242, &[("HOME", "relative")], None),
            (0, &both, None),
            (999, &both, None),
            (0, &said, Some("/s/default")),
        ] {
            assert_eq!(dir(uid, env), want.map(PathBuf::from), "uid {uid}, {env:?}");
        }
    }

    #[test]
    fn exit_codes_tell_usage_from_configuration() {
        let code = |args: &[&str]| run(args, &[]).unwrap_err().exit_code();
        assert_eq!(code(&["--help"]), ExitCode::Ok);
        assert_eq!(code(&["--version"]), ExitCode::Ok);
        assert_eq!(code(&["--spn", "never"]), ExitCode::Usage);
        assert_eq!(code(&["--spin", "sometimes"]), ExitCode::Usage);
        assert_eq!(code(&["--pollers", "many"]), ExitCode::Usage);
        assert_eq!(code(&["--pollers", "17"]), ExitCode::Config);
        assert_eq!(code(&["--config", "/nonexistent/x.toml", "--check-config"]), ExitCode::Config);
        assert_eq!(code(&["--instance", "No Spaces"]), ExitCode::Config);
    }

    #[test]
    fn the_help_names_every_variable_and_exit_code() {
        let help = run(&["--help"], &[]).unwrap_err().to_string();
        for setting in SETTINGS {
            assert!(help.contains(setting.env), "{} is missing", setting.env);
        }
        for code in ["  0 ", "  1 ", "  64", "  75", "  78"] {
            assert!(help.contains(code), "exit code {code} is missing");
        }
        assert_eq!(help.lines().find(|line| line.len() > 120), None);
    }

    #[test]
    fn a_variable_that_is_not_text_is_an_error() {
        use std::os::unix::ffi::OsStringExt;
        let bytes = OsString::from_vec(vec![0xff, 0xfe]);
        let entry = (OsString::from("RINGFENCE_SPIN"), bytes);
        let error = parse_on(host(), [OsString::from("ringfenced")], [entry]).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Config);
        assert!(error.to_string().contains("RINGFENCE_SPIN"), "{error}");
    }
}
