//! Standard output, and how numbers look there.
//!
//! Invariant: a reader that left (`| head`) is no failure. Colours are left out by [`anstream`]
//! where they are not wanted: no terminal, NO_COLOR.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::exit::{Exit, Failure};

/// Prints text for people, with its colours if they are wanted.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    write_to(&mut anstream::stdout().lock(), text.as_bytes()).map(|_| ())
}

/// Prints one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    next_json(value).map(|_| ())
}

/// The same, for one of many: is there still somebody to read them?
pub(crate) fn next_json(value: &impl Serialize) -> Result<bool, Failure> {
    let line = serde_json::to_vec(value);
    let mut line = line.map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    line.push(b'\n');
    next_raw(&line)
}

/// Prints bytes as they are.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    next_raw(bytes).map(|_| ())
}

/// The same, for some of many: is there still somebody to read them?
pub(crate) fn next_raw(bytes: &[u8]) -> Result<bool, Failure> {
    write_to(&mut io::stdout().lock(), bytes)
}

/// Text for people without its colours, if these are not wanted on standard output.
pub(crate) fn wanted(text: &str) -> String {
    match anstream::AutoStream::choice(&io::stdout()) {
        anstream::ColorChoice::Never => plain(text),
        _ => text.to_owned(),
    }
}

/// Text without colours.
pub(crate) fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn write_to(out: &mut impl Write, bytes: &[u8]) -> Result<bool, Failure> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            Err(Failure::new(Exit::Output, format!("cannot write to standard output: {error}")))
        }
    }
}

/// A heading.
pub(crate) fn bold(text: &str) -> String {
    format!("\x1b[1m{text}\x1b[0m")
}

/// So many in a hundred of the samples, which are sorted, are at most this long; nothing if there are none.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    sorted.get(sorted.len().checked_sub(1)? * percent / 100).copied()
}

/// A short time: three digits and a unit.
pub(crate) fn nanos(ns: u64) -> String {
    let value = ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} us", digits(value / 1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", digits(value / 1e6)),
        _ => format!("{} s", digits(value / 1e9)),
    }
}

/// The same, if it is known.
pub(crate) fn time(ns: Option<u64>) -> String {
    ns.map_or("-".into(), nanos)
}

fn digits(value: f64) -> String {
    match value {
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A long time: its two greatest units.
pub(crate) fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Bytes in binary units.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let at = (bytes | 1).ilog2() as usize / 10;
    match at {
        0 => format!("{bytes} B"),
        _ => format!("{:.1} {}", bytes as f64 / (1_u64 << (10 * at)) as f64, units[at]),
    }
}

/// Text from elsewhere: what would steer a terminal is escaped, lines and tabs stay.
pub(crate) fn printable(text: &str) -> String {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Letters of an error that help whoever has to find what is wrong in a file.
const SHOWN: usize = 500;

/// An error that repeats what a file says: printable, and cut where that is very long.
pub(crate) fn shown(text: &str) -> String {
    let mut out = printable(text);
    if let Some((at, _)) = out.char_indices().nth(SHOWN) {
        out.truncate(at);
        out.push_str("...");
    }
    out
}

/// Text in lines of at most `width` characters, broken between words where that is possible.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let pieces: Vec<char> = word.chars().collect();
        for (index, piece) in pieces.chunks(width).enumerate() {
            let last = lines.last_mut().map(|line| (line.chars().count(), line));
            match last {
                Some((0, line)) => line.extend(piece),
                Some((used, line)) if index == 0 && used + 1 + piece.len() <= width => {
                    line.push(' ');
                    line.extend(piece);
                }
                _ => lines.push(piece.iter().collect()),
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let shown = [0, 999, 1_023, 16_383, 999_000, 2_097_151, 4_000_000_000].map(nanos);
        let wanted = ["0 ns", "999 ns", "1.02 us", "16.4 us", "999 us", "2.10 ms", "4.00 s"];
        assert_eq!(shown, wanted);
        assert_eq!([0, 1023, 1536, u64::MAX].map(bytes), ["0 B", "1023 B", "1.5 KiB", "16.0 EiB"]);
        let ages = [3, 59, 61, 3_700, 90_000].map(|s| age(Duration::from_secs(s)));
        assert_eq!(ages, ["3.0s", "59s", "1m 01s", "1h 01m", "1d 01h"]);
    }

    #[test]
    fn nothing_from_elsewhere_steers_the_terminal() {
        assert_eq!(printable("a\x1b[2J\tb\n\r\u{9b}"), "a\\u{1b}[2J\tb\n\\r\\u{9b}");
    }

    #[test]
    fn lines_break_between_words_and_only_then_inside() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefgh i", 3), ["abc", "def", "gh", "i"]);
        assert_eq!(wrapped("", 3), [""]);
    }
}
