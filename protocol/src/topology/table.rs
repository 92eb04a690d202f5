//! Tables of TOML that know their lines.
//!
//! Invariants: whatever is read is asked for by a key of the table's own list, so that no key can be
//! ignored.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::TopologyError;
use super::error::shown;
use crate::limits::TOPOLOGY_NAME_BYTES;

/// A text that knows where its lines end.
pub(super) struct Source<'t> {
    pub(super) text: &'t str,
    ends: Vec<usize>,
}

/// A table, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Table<'t> {
    pub(super) source: &'t Source<'t>,
    pub(super) place: &'static str,
    pub(super) start: usize,
    pub(super) entries: &'t DeTable<'t>,
}

/// A value, and where it stands.
pub(super) type Entry<'t> = &'t Spanned<DeValue<'t>>;

impl<'t> Source<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { text, ends: ends.map(|(at, _)| at).collect() }
    }

    /// The line of a byte, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.ends.partition_point(|end| *end < at) + 1
    }

    /// What the parser of TOML says, with its place.
    pub(super) fn syntax(&self, error: &toml::de::Error) -> TopologyError {
        let at = error.span().map_or(0, |span| span.start.min(self.text.len()));
        let line = self.line(at);
        let begin = line.checked_sub(2).map_or(0, |before| self.ends[before] + 1);
        // The place may be in the middle of a character: then its column is that of the line.
        let column = self.text.get(begin..at).map_or(0, |before| before.chars().count()) + 1;
        let source_line = self.text[begin..].lines().next().map_or(String::new(), shown);
        TopologyError::Syntax { line, column, message: error.message().to_owned(), source_line }
    }
}

impl<'t> Table<'t> {
    /// A key that is none of `known` is an error.
    pub(super) fn only(&self, known: &[&'static str]) -> Result<(), TopologyError> {
        for key in self.entries.keys() {
            let name = key.get_ref();
            if !known.contains(&name.as_ref()) {
                let hint = near(name, known);
                let hint = match hint {
                    Some(near) => format!(": did you mean `{near}`?"),
                    None => format!("; there are {}", known.join(", ")),
                };
                let (line, place) = (self.source.line(key.span().start), self.place);
                return Err(TopologyError::Key { line, key: shown(name), place, hint });
            }
        }
        Ok(())
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<Entry<'t>> {
        self.entries.get(key)
    }

    /// The text of a key.
    pub(super) fn text(
        &self,
        key: &'static str,
        rule: &'static str,
    ) -> Result<Option<&'t str>, TopologyError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.get_ref().as_str().map(Some).ok_or_else(|| self.wrong(value, key, rule))
    }

    /// The line that a value stands in.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.source.line(self.get(key).map_or(self.start, |value| value.span().start))
    }

    /// The line that the table begins in.
    pub(super) fn line(&self) -> usize {
        self.source.line(self.start)
    }

    /// The value is not what it must be.
    pub(super) fn wrong(
        &self,
        value: Entry<'_>,
        key: &'static str,
        rule: &'static str,
    ) -> TopologyError {
        TopologyError::Value { line: self.source.line(value.span().start), key, rule }
    }

    /// The key is missing.
    pub(super) fn missing(&self, key: &'static str, example: &'static str) -> TopologyError {
        TopologyError::Missing { line: self.line(), place: self.place, key, example }
    }
}

/// The known word that was probably meant. Long words are not compared: that would take long, too.
pub(super) fn near<'w>(
    word: &str,
    known: impl IntoIterator<Item = &'w &'w str>,
) -> Option<&'w str> {
    if word.len() > TOPOLOGY_NAME_BYTES {
        return None;
    }
    let distance = |known: &&'w str| (strsim::damerau_levenshtein(word, known), *known);
    let best = known.into_iter().map(distance).min();
    best.filter(|(distance, _)| *distance <= (word.chars().count() / 3).max(1))
        .map(|(_, word)| word)
}
