//! The command line: flags, `--help`, and the connection that they ask for.

use std::time::Duration;

use clap::{Args as _, Parser, Subcommand};
use ringfence::{CallOptions, Client, ErrorCode, Timeout};

use crate::exit::{self, Exit, Failure};

/// Asks Ringfence daemons: are they well, what do they do, what do they answer?
///
/// Data goes to standard output, messages go to standard error. With --json standard output is one
/// line of JSON, and so is the message of a failure.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version, after_help = exit::help(), max_term_width = 100)]
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
    /// Without it RINGFENCE_TARGET, then this user's own daemon `default`, then the system's.
    #[arg(long, short, global = true, value_name = "TARGET")]
    pub(crate) target: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How long to connect and how long each call may take, such as 0.5.
    ///
    /// Without it 2 seconds to connect, and for a call what its method says.
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What a daemon is doing: sessions, calls and service times by method, distinct errors.
    Status(Status),
    /// Does a daemon answer, and how fast? For probes.
    Ping(Ping),
    /// Call a method by its name, with arguments by theirs.
    Call(Call),
}

/// What `status` takes.
///
/// The numbers come from the daemon's board, shared memory that it costs nothing to read; they are
/// up to 100 ms old. Where this user may not read it there are the totals only (`system.stats`).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "p50 and p99 are upper bounds of sampled service times, from the claim of a \
    request to its answer: at most\ntwice the true value. This command is a session too."
)]
pub(crate) struct Status {
    /// Also methods that have not been called. JSON has them always.
    #[arg(long, short)]
    pub(crate) all: bool,
}

/// What `ping` takes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Times are round trips of `system.ping`; connecting is not part of them.\n\n\
    Exit codes for probes: 0 it answers, 69 nobody does, 75 not within --timeout."
)]
pub(crate) struct Ping {
    /// How many times, one after the other.
    #[arg(long, short, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) count: u32,
    /// Print nothing on standard output: the exit code says it.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// What `call` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Values are read by the type that the daemon's catalogue names:\n  \
      number, bool   k=10  scale=0.5  exact=true\n  \
      str            name=docs, name=@file (its text), name=@- (standard input), name=@@x (\"@x\")\n  \
      list           ids='[1,2,3]' or ids=1,2,3, or ids=@file: raw elements, little endian\n  \
      [u8]           as str, or a list in brackets\n\n\
    The reply is printed field by field; with --json as one object, lists (of bytes too) as lists,\n\
    numbers that JSON lacks (NaN) as null. What there is: `ringfence call ENGINE`.\n\n\
    Examples:\n  \
      ringfence call system.echo data=hello\n  \
      ringfence call system.stats --json\n  \
      ringfence call system.echo data=@in.bin --raw data > out.bin")]
pub(crate) struct Call {
    /// The method, such as system.echo.
    #[arg(value_name = "ENGINE.METHOD")]
    pub(crate) method: String,
    /// Each of its fields.
    #[arg(value_name = "NAME=VALUE")]
    pub(crate) arguments: Vec<String>,
    /// Print nothing but the bytes of this field of the reply, a str or a list.
    #[arg(long, value_name = "FIELD", conflicts_with = "json")]
    pub(crate) raw: Option<String>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "a number of seconds, such as 0.5".to_owned())?;
    let time = Duration::try_from_secs_f64(number).map_err(|error| error.to_string())?;
    if time.is_zero() { Err("more than 0 seconds".into()) } else { Ok(time) }
}

impl Global {
    /// The daemon that is meant.
    pub(crate) fn connect(&self) -> Result<Client, Failure> {
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

/// The help of the whole command line, for the test that it can be built.
#[cfg(test)]
fn command() -> clap::Command {
    use clap::CommandFactory as _;
    Args::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
        assert!(Global::group_id().is_some());
    }

    #[test]
    fn a_timeout_is_a_positive_number_of_seconds() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["0", "-1", "nan", "inf", "1s", "1e300"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
