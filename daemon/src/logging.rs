//! Where log lines go: the journal with fields, text for people, or JSON.
//!
//! All output is on standard error or in the journal; standard output is data. Names and texts
//! that come from clients pass through [`escape_name`] or [`escape`] before they are logged,
//! stored or shown. Nothing is logged on the hot path, and nothing here limits rates: whoever
//! logs what a client can provoke logs it once per session.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use ringfence_protocol::disarm::is_armed;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry};

use crate::config::{Log, LogFormat, LogLevel};

/// Bytes of an escaped client name, also the room for it on the board.
pub const NAME_BYTES_MAX: usize = 64;
/// Shown where text was cut.
const CUT: char = '…';

/// Where log lines go, once that is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// Lines for people, with colours on a terminal unless `NO_COLOR` is set.
    Text {
        /// Whether to colour.
        ansi: bool,
    },
    /// One JSON object a line.
    Json,
    /// The journal.
    Journald,
}

/// What became of [`init`].
#[derive(Debug)]
#[must_use]
pub struct Logging {
    /// Where lines go.
    pub sink: Sink,
    /// False if this process had a subscriber before: that one stays.
    pub installed: bool,
}

/// Installs the subscriber of this process; harmless if there is one already.
///
/// If the journal is wanted but cannot be reached, lines go to standard error and the first one
/// says so.
pub fn init(log: &Log) -> Logging {
    let wanted = choose(log.format, &Stderr::current());
    let (sink, layer, failed) = match build(wanted) {
        Ok(layer) => (wanted, layer, None),
        Err(error) => {
            let sink = Sink::Text { ansi: false };
            (sink, text_layer(false), Some(error))
        }
    };
    let installed = install(layer, level(log.level)).is_ok();
    if let Some(error) = failed {
        tracing::warn!(%error, "the journal cannot be reached, logging to standard error");
    }
    Logging { sink, installed }
}

/// `text` without anything that could act on a terminal or forge a log line, at most
/// [`NAME_BYTES_MAX`] bytes long. For names that clients give.
pub fn escape_name(text: &str) -> String {
    if !is_armed("name.escaped") {
        return text.to_owned();
    }
    escape(text, NAME_BYTES_MAX)
}

/// `text` with backslashes, control characters and other unprintable ones (bidirectional
/// overrides, line separators) written as Rust escapes, at most `bytes_max` bytes long.
///
/// Never cuts within a character or an escape; what was cut ends in `…` if that fits.
pub fn escape(text: &str, bytes_max: usize) -> String {
    let mut out = String::new();
    // Longest prefix of `out` after which the mark still fits.
    let mut cut_at = 0;
    for c in text.chars() {
        let start = out.len();
        match c {
            '\'' | '"' => out.push(c),
            c => out.extend(c.escape_debug()),
        }
        if out.len() > bytes_max {
            out.truncate(start);
            if CUT.len_utf8() <= bytes_max {
                out.truncate(cut_at);
                out.push(CUT);
            }
            return out;
        }
        if out.len() + CUT.len_utf8() <= bytes_max {
            cut_at = out.len();
        }
    }
    out
}

/// What the decision depends on.
#[derive(Debug, Clone, Copy)]
struct Stderr {
    journal: bool,
    terminal: bool,
    no_color: bool,
}

impl Stderr {
    fn current() -> Self {
        let stream = std::env::var("JOURNAL_STREAM").ok();
        let stderr = std::io::stderr();
        let stat = nix::sys::stat::fstat(stderr.as_fd()).ok();
        Self {
            journal: stream.zip(stat).is_some_and(|(stream, stat)| {
                // A child whose standard error was redirected inherits the variable as well, so
                // systemd.exec(5) asks to compare device and inode.
                stream == format!("{}:{}", stat.st_dev, stat.st_ino)
            }),
            terminal: stderr.is_terminal(),
            no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        }
    }
}

fn choose(format: LogFormat, stderr: &Stderr) -> Sink {
    match format {
        LogFormat::Journald => Sink::Journald,
        LogFormat::Auto if stderr.journal => Sink::Journald,
        LogFormat::Json => Sink::Json,
        LogFormat::Auto | LogFormat::Text => {
            Sink::Text { ansi: stderr.terminal && !stderr.no_color }
        }
    }
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn build(sink: Sink) -> std::io::Result<BoxedLayer> {
    Ok(match sink {
        Sink::Text { ansi } => text_layer(ansi),
        Sink::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .boxed(),
        Sink::Journald => tracing_journald::layer()?
            .with_syslog_identifier("ringfenced".to_owned())
            .with_field_prefix(Some("RINGFENCE".to_owned()))
            .boxed(),
    })
}

fn text_layer(ansi: bool) -> BoxedLayer {
    tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(std::io::stderr).boxed()
}

fn install(layer: BoxedLayer, level: LevelFilter) -> Result<(), TryInitError> {
    tracing_subscriber::registry().with(layer.with_filter(level)).try_init()
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_used_only_where_standard_error_is_it() {
        let journal = Stderr { journal: true, terminal: false, no_color: false };
        let terminal = Stderr { journal: false, terminal: true, no_color: false };
        let pipe = Stderr { journal: false, terminal: false, no_color: false };
        for (format, stderr, sink) in [
            (LogFormat::Auto, journal, Sink::Journald),
            (LogFormat::Auto, terminal, Sink::Text { ansi: true }),
            (LogFormat::Auto, Stderr { no_color: true, ..terminal }, Sink::Text { ansi: false }),
            (LogFormat::Auto, pipe, Sink::Text { ansi: false }),
            (LogFormat::Text, journal, Sink::Text { ansi: false }),
            (LogFormat::Json, journal, Sink::Json),
            (LogFormat::Json, terminal, Sink::Json),
            (LogFormat::Journald, pipe, Sink::Journald),
        ] {
            assert_eq!(choose(format, &stderr), sink, "{format:?} {stderr:?}");
        }
    }

    #[test]
    fn a_second_init_changes_nothing_and_does_not_panic() {
        let log = Log { format: LogFormat::Json, level: LogLevel::Error };
        let _ = init(&log);
        assert!(!init(&log).installed);
    }

    #[test]
    fn names_cannot_forge_lines_or_steer_terminals() {
        for (name, want) in [
            ("trader-1", "trader-1"),
            ("größe 2", "größe 2"),
            ("a\nERROR forged", "a\\nERROR forged"),
            ("\x1b[2J\x07", "\\u{1b}[2J\\u{7}"),
            ("\0\r\t", "\\0\\r\\t"),
            ("back\\slash", "back\\\\slash"),
            ("it's \"x\"", "it's \"x\""),
            ("\u{202e}evil\u{2028}", "\\u{202e}evil\\u{2028}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("", ""),
        ] {
            assert_eq!(escape_name(name), want);
        }
    }

    #[test]
    fn long_names_are_cut_between_characters_and_escapes() {
        let fits = "x".repeat(64);
        assert_eq!(escape_name(&fits), fits);
        assert_eq!(escape_name(&format!("{fits}y")), format!("{}…", "x".repeat(61)));
        let escapes = escape_name(&"\x1b".repeat(30));
        assert_eq!(escapes, format!("{}…", "\\u{1b}".repeat(10)));
        for (text, max) in [("ää", 3), ("abcd", 2), ("\n\n", 3), ("äää", 5), ("x", 0)] {
            assert!(escape(text, max).len() <= max, "{text:?} in {max}");
        }
        assert_eq!((escape("ää", 3).as_str(), escape("abcd", 2).as_str()), ("…", "ab"));
    }
}
