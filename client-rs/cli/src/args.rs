//! The command line: flags, `--help`, and the connection that they ask for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use ringfence::{CallOptions, Client, ErrorCode, Timeout};
use ringfence_protocol::limits::SWEEP_MS;

use crate::exit::{self, Exit, Failure};

/// Asks Ringfence daemons: are they well, what do they do, what do they answer?
///
/// Data goes to standard output, messages go to standard error. With --json
/// standard output is one line of JSON, and so is the message of a failure.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version, verbatim_doc_comment, after_help = exit::help())]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// The daemon: an instance name, or a socket path (with a `/` in it).
    ///
    /// Else RINGFENCE_TARGET, this user's `default`, the system's `default`.
    #[arg(long, short, global = true, value_name = "TARGET")]
    pub(crate) target: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How long to connect and how long each call may take, such as 0.5.
    ///
    /// Else 2 seconds to connect, and for a call what its method says.
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds,
          allow_negative_numbers = true)]
    pub(crate) timeout: Option<Duration>,
}

/// The commands. Their documentation, which `--help` shows, stands at what they take.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Status(Status),
    Top(Top),
    Ping(Ping),
    Call(Call),
    Bench(Bench),
    Doctor(Doctor),
    Schema(Schema),
    Stubs(Stubs),
    Codegen(Codegen),
    Topology(TopologyFile),
    Torture(Torture),
    Completions(Completions),
    Man(Pages),
}

/// What a daemon is doing: sessions, calls, times and errors.
///
/// The numbers come from the daemon's board, shared memory that it costs nothing
/// to read. Where this user may not read it there are the totals only, from
/// `system.stats`. This command is a session, too.
///
/// P50 and P99 are upper bounds of sampled service times, from the claim of a
/// request to its answer: at most twice the true value.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Status {
    /// Also methods that have not been called. JSON has them always.
    #[arg(long, short)]
    pub(crate) all: bool,
}

/// Watch a daemon: rates and times by method, and its sessions.
///
/// Drawn in place until Ctrl-C; one sample where standard output is no terminal.
/// With --json a line for each sample.
///
/// The numbers come from the daemon's board, shared memory that it writes whether
/// anybody looks or not: watching never disturbs it. The board is for the daemon's
/// own user, root, and its board group; others see the totals by `status`.
///
/// P50 and P99 are those of the interval: upper bounds of sampled service times,
/// at most twice the true value; `-` where there was no sample.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Top {
    /// One sample, taken over the interval.
    #[arg(long, short = '1')]
    pub(crate) once: bool,
    /// Time between samples, 0.1 to 3600.
    #[arg(long, short, value_name = "SECONDS", default_value = "1", value_parser = interval,
          allow_negative_numbers = true)]
    pub(crate) interval: Duration,
}

/// Does a daemon answer, and how fast? For probes.
///
/// Times are round trips of `system.ping`; connecting is not part of them.
/// Exit codes for probes: 0 it answers, 69 nobody does, 75 not in time.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Ping {
    /// How many times, one after the other.
    #[arg(long, short, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) count: u32,
    /// Print nothing on standard output: the exit code says it.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Call a method by its name, with arguments by theirs.
#[derive(Debug, clap::Args)]
#[command(after_help = CALL_HELP)]
pub(crate) struct Call {
    /// The method, such as system.echo.
    #[arg(value_name = "ENGINE.METHOD")]
    pub(crate) method: String,
    /// Each of its fields.
    #[arg(value_name = "NAME=VALUE")]
    pub(crate) arguments: Vec<String>,
    /// Print only the bytes of this field of the reply, a str or a list.
    #[arg(long, value_name = "FIELD", conflicts_with = "json")]
    pub(crate) raw: Option<String>,
}

/// What a call costs on this machine, beside what its cores allow.
///
/// Measured in turns: the limit, which is one cache line from core to core and one
/// back; `system.echo` with 24 bytes within one process, by the `ringfenced` that
/// a client would start; the same through the daemon; and the method, if one is
/// named, with its arguments as `ringfence call` takes them. Its times are compared
/// with the daemon's own, from the claim of a request to its answer, on its board:
/// what is left is the tax of the boundary. The last table is the ledger of its
/// calls, or of the echoes': the time between the places that a call passes.
///
/// A sample reaches from the end of one call to the end of the next. A ratio is
/// worth more than a time: the cores of shared machines move together and apart.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Bench {
    /// A method, such as vectors.search. It is called again and again.
    #[arg(value_name = "ENGINE.METHOD")]
    pub(crate) method: Option<String>,
    /// Each of its fields.
    #[arg(value_name = "NAME=VALUE")]
    pub(crate) arguments: Vec<String>,
    /// How long to measure, 0.1 to 3600.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = interval,
          allow_negative_numbers = true)]
    pub(crate) seconds: Duration,
    /// Also a method that the catalogue does not call idempotent.
    #[arg(long)]
    pub(crate) force: bool,
}

/// What keeps Ringfence from working well here, and how to mend it.
///
/// Looks at the room in shared memory and at names that killed daemons left there,
/// at limits of open files and locked memory, at cores for what spins, at folder
/// and control socket, versions, logind's RemoveIPC, and the systemd unit.
/// Each finding that is not well comes with its fix.
///
/// Code 0 if nothing fails (warnings may be shown), 78 if something does.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Doctor {
    /// Remove names of this user's killed daemons from /dev/shm.
    ///
    /// While the lock of their instance is held, as at a daemon's start.
    #[arg(long)]
    pub(crate) fix: bool,
}

/// What a daemon's engines offer, method by method, field by field.
///
/// A field stands `at` so many bytes from the start of its message: of a scalar
/// the value, of a str or a list its u32 count. The last field, if it is one of
/// these, has no count and takes the rest of the message.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Schema {
    /// Only this engine.
    #[arg(value_name = "ENGINE")]
    pub(crate) engine: Option<String>,
}

/// Types of an engine for type checkers, as a Python stub.
///
/// One class with a method for each of the engine's, as client.engine("NAME")
/// offers them, and a NamedTuple for each reply. The head of what is printed says
/// how to use it:
///
///   ringfence stubs greeter > greeter_engine.pyi
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Stubs {
    /// The engine, such as vectors.
    #[arg(value_name = "ENGINE")]
    pub(crate) engine: String,
    /// The language of the stub.
    #[arg(long, value_name = "LANG", value_enum, default_value_t = Language::Python)]
    pub(crate) lang: Language,
}

/// What a stub can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    Python,
}

/// Classes for the typed messages of a contract, in Python or Rust.
///
/// A contract is a YAML file that says which messages there are, with their numbers
/// and fields; docs/messages.md has all that can stand in it. What is made is the
/// same text each time, so that it can be kept beside other sources:
///
///   ringfence codegen contracts.yaml --lang python --out messages.py
///   ringfence codegen contracts.yaml --lang rust --out src/messages.rs
///
/// and compared with the contract wherever the project is tested:
///
///   ringfence codegen contracts.yaml --lang rust --out src/messages.rs --check
///
/// Programs agree on every byte if their SCHEMA_DIGEST is the same. With --since
/// it says what a change means for programs that have an older contract: `full`,
/// `backward` (new ones take what old ones send), `forward` (the other way round)
/// or `incompatible`, which is code 76. No daemon is asked.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Codegen {
    /// The contract, such as contracts.yaml.
    #[arg(value_name = "CONTRACT", value_hint = clap::ValueHint::FilePath)]
    pub(crate) contracts: PathBuf,
    /// The language of the classes.
    #[arg(long, value_name = "LANG", value_enum, required_unless_present = "since")]
    pub(crate) lang: Option<CodegenLanguage>,
    /// Write them there, if that changes anything; else to standard output.
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// Write nothing: code 76 and the first other line if FILE is stale.
    #[arg(long, requires = "out")]
    pub(crate) check: bool,
    /// Write no classes: say what has changed since an older contract.
    #[arg(long, value_name = "OLD", value_hint = clap::ValueHint::FilePath,
          conflicts_with_all = ["lang", "out", "check"])]
    pub(crate) since: Option<PathBuf>,
}

/// What classes can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CodegenLanguage {
    Python,
    Rust,
}

/// Is a topology right, and which way do messages go?
///
/// A topology is a TOML file that says which service lives on which node, and how
/// a node is reached; docs/topology.md has all that can stand in it. Its nodes are
/// shown with their services. Code 65 and the line if it is wrong. No daemon is
/// asked:
///
///   ringfence topology topology.toml --from strategy
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct TopologyFile {
    /// The topology, such as topology.toml.
    #[arg(value_name = "TOPOLOGY", value_hint = clap::ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Also the way from this service to each other.
    #[arg(long, value_name = "SERVICE")]
    pub(crate) from: Option<String>,
}

/// Attack a private daemon here, and see each attack held off.
///
/// The daemon is started for it and taken down at the end, also by Ctrl-C; no
/// other one is touched. Clients forge every word, truncate their memory, flood,
/// stall, hold on to what they got and die at every step, one after the other,
/// while an honest neighbour calls: its answers must stay right. Its times stand
/// beside those that it has beside honest clients as busy as the attackers.
///
/// Code 0 if every defence held, 70 if one failed: then it says which and what was
/// seen. 75 after Ctrl-C. docs/torture.md explains the table.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Torture {
    /// Only this attack; may be given again.
    #[arg(long, value_name = "ATTACK")]
    pub(crate) only: Vec<String>,
    /// Show the attacks, and make none.
    #[arg(long)]
    pub(crate) list: bool,
    /// How long each attack is repeated, 0.1 to 3600.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval,
          allow_negative_numbers = true)]
    pub(crate) seconds_per_attack: Duration,
    /// How long what must come of an attack may take, 0.1 to 3600.
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = interval,
          allow_negative_numbers = true)]
    pub(crate) patience: Duration,
    /// What random attacks begin with. The report names it, to run them again.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// The daemon's binary.
    ///
    /// Else RINGFENCE_BIN, `ringfenced` beside this program, or that in PATH.
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    pub(crate) daemon: Option<PathBuf>,
    /// Be the client of an attack, in a process of its own, and do this.
    #[arg(long, value_name = "STEP", hide = true, requires = "at")]
    pub(crate) peer: Option<String>,
    /// Of the daemon that is attacked.
    #[arg(long, value_name = "SOCKET", hide = true)]
    pub(crate) at: Option<PathBuf>,
}

/// Completions of this command line for a shell.
///
/// To be kept where the shell looks for them, for bash:
///
///   cd ~/.local/share/bash-completion/completions
///   ringfence completions bash > ringfence
///
/// for zsh as _ringfence in a folder of fpath, for fish as
/// ~/.config/fish/completions/ringfence.fish.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: Shell,
}

/// Whom completions are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Manual pages of this command line.
///
/// Without a DIR the first page goes to standard output.
///
///   ringfence man | man -l -
///   ringfence man ~/.local/share/man/man1
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Pages {
    /// Write a page for each command there, and list the files.
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

const CALL_HELP: &str = "\
Values are read by the type that the daemon's catalogue names:
  number, bool  k=10  scale=0.5  exact=true
  str           name=docs, name=@file, name=@- (the input), name=@@x is \"@x\"
  list          ids='[1,2,3]', ids=1,2,3, ids=@file (raw, little endian)
  [u8]          as str, or as a list in brackets

The reply is printed field by field; with --json as one object, where lists (of
bytes too) are lists, and numbers that JSON lacks (NaN) are null.

`ringfence call ENGINE` and `ringfence call ENGINE.METHOD` say what there is.

Examples:
  ringfence call system.echo data=hello
  ringfence call system.stats --json
  ringfence call system.echo data=@in.bin --raw data > out.bin";

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "a number of seconds, such as 0.5".to_owned())?;
    let time = Duration::try_from_secs_f64(number).map_err(|error| error.to_string())?;
    if time.is_zero() { Err("more than 0 seconds".into()) } else { Ok(time) }
}

/// The daemon writes its board every 0.1 seconds.
fn interval(text: &str) -> Result<Duration, String> {
    let within = Duration::from_millis(SWEEP_MS)..=Duration::from_secs(3_600);
    seconds(text).ok().filter(|time| within.contains(time)).ok_or("0.1 to 3600 seconds".to_owned())
}

impl Global {
    /// The daemon that is meant.
    pub(crate) fn connect(&self) -> Result<Client, Failure> {
        let environment = || std::env::var("RINGFENCE_TARGET").ok();
        if self.target.clone().or_else(environment).as_deref() == Some("inproc:") {
            let text = "target `inproc:` would be this command itself: name a daemon by its instance or \
                        the path of its socket";
            return Err(Failure::usage(text));
        }
        let mut builder = Client::builder();
        if let Some(target) = &self.target {
            builder = builder.target(target).map_err(as_usage)?;
        }
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        builder.connect().map_err(as_usage)
    }

    /// What holds for each call.
    pub(crate) fn options(&self) -> CallOptions {
        let timeout = self.timeout.map_or(Timeout::Default, Timeout::After);
        CallOptions { timeout, ..CallOptions::default() }
    }
}

/// Nothing has been called yet: what is invalid is the target that was typed, or RINGFENCE_TARGET.
fn as_usage(error: ringfence::Error) -> Failure {
    let typed = error.code() == ErrorCode::InvalidArgument;
    let failure = Failure::from(error);
    if typed { failure.with(Exit::Usage) } else { failure }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_its_help_fits_a_terminal() {
        let mut command = Args::command();
        command.clone().debug_assert();
        command.build();
        let mut helps = vec![command.render_long_help().to_string()];
        helps.extend(command.get_subcommands_mut().map(|c| c.render_long_help().to_string()));
        for help in helps {
            let long = help.lines().find(|line| line.chars().count() > 80);
            assert_eq!(long, None);
        }
    }

    #[test]
    fn a_timeout_is_a_positive_number_of_seconds() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["0", "-1", "nan", "inf", "1s", "1e300"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
