//! YAML as a tree that remembers its lines.
//!
//! Invariants: one document; no key stands twice in a mapping; no aliases and no tags, so that a
//! file is never larger than it looks; no deeper than [`DEPTH`]. Scalars stay text: what they mean
//! is their reader's to say, by [`Node::plain`] too, as `"1"` is no number.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use crate::catalogue::hint;

/// Mappings and sequences within one another.
const DEPTH: usize = 32;

/// What is wrong, with its line.
pub(super) type Wrong = String;

/// A value with the line that it begins in.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Scalar { text: String, plain: bool },
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: Node,
}

/// An error at a line.
pub(super) fn at<T>(line: usize, text: impl std::fmt::Display) -> Result<T, Wrong> {
    Err(format!("line {line}: {text}"))
}

/// The tree of a text.
pub(super) fn parse(text: &str) -> Result<Node, Wrong> {
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (Event::StreamEnd, line) => return at(line, "the file is empty"),
            (event, line) => {
                let root = reader.node(event, line, 0)?;
                reader.end()?;
                return Ok(root);
            }
        }
    }
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, usize), Wrong> {
        match self.parser.next_event() {
            Some(Ok((event, Span { start, .. }))) => Ok((event, start.line())),
            Some(Err(error)) => at(error.marker().line(), error.info()),
            None => Ok((Event::StreamEnd, 0)),
        }
    }

    fn end(&mut self) -> Result<(), Wrong> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::DocumentStart(_), line) => return at(line, "a second document begins"),
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'t>, line: usize, depth: usize) -> Result<Node, Wrong> {
        if depth > DEPTH {
            return at(line, format!("nested more than {DEPTH} deep"));
        }
        let value = match event {
            Event::Scalar(text, style, _, None) => {
                Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(_, None) => self.sequence(depth)?,
            Event::MappingStart(_, None) => self.mapping(depth)?,
            Event::Alias(_) => return at(line, "aliases (*) are not taken: write the value again"),
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) => {
                return at(line, "tags (!) are not taken");
            }
            _ => return at(line, "a value is missing"),
        };
        Ok(Node { line, value })
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, Wrong> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Sequence(nodes)),
                (event, line) => nodes.push(self.node(event, line, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Wrong> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = std::collections::BTreeMap::new();
        loop {
            let (key, line) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Mapping(entries)),
                (Event::Scalar(key, _, _, None), line) => (key.into_owned(), line),
                (_, line) => return at(line, "a key is a word"),
            };
            if let Some(first) = seen.insert(key.clone(), line) {
                return at(line, format!("key `{key}` is repeated; it stands at line {first}"));
            }
            let (event, value_line) = self.next()?;
            let value = self.node(event, value_line, depth + 1)?;
            entries.push(Entry { key, line, value });
        }
    }
}

impl Node {
    /// Its entries; `what` says what should stand here. An empty value is a mapping without any.
    pub(super) fn mapping(&self, what: &str) -> Result<&[Entry], Wrong> {
        match &self.value {
            Value::Mapping(entries) => Ok(entries),
            Value::Scalar { text, plain: true } if is_null(text) => Ok(&[]),
            _ => at(self.line, format!("{what} must be a mapping (name: value)")),
        }
    }

    /// Its elements.
    pub(super) fn sequence(&self, what: &str) -> Result<&[Node], Wrong> {
        match &self.value {
            Value::Sequence(nodes) => Ok(nodes),
            Value::Scalar { text, plain: true } if is_null(text) => Ok(&[]),
            _ => at(self.line, format!("{what} must be a list (- value)")),
        }
    }

    /// Its text, whatever it may mean.
    pub(super) fn text(&self, what: &str) -> Result<&str, Wrong> {
        match &self.value {
            Value::Scalar { text, .. } => Ok(text),
            _ => at(self.line, format!("{what} must be a text")),
        }
    }

    /// Its text if it is not quoted.
    pub(super) fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }

    /// A `true` or `false`.
    pub(super) fn flag(&self, what: &str) -> Result<bool, Wrong> {
        match self.plain() {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => at(self.line, format!("{what} must be true or false")),
        }
    }

    /// A whole number, decimal or as 0x.., that `T` has.
    pub(super) fn number<T>(&self, what: &str, most: T) -> Result<T, Wrong>
    where
        T: TryFrom<i128> + std::fmt::Display,
    {
        let number = self.plain().and_then(integer).and_then(|number| T::try_from(number).ok());
        match number {
            Some(number) => Ok(number),
            None => at(self.line, format!("{what} must be a whole number up to {most}")),
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null")
}

/// A whole number as YAML 1.2 writes it; `_` between digits is taken as Rust and Python do.
pub(super) fn integer(text: &str) -> Option<i128> {
    let digits = text.replace('_', "");
    match digits.strip_prefix("0x") {
        Some(hex) if !hex.starts_with(['+', '-']) => i128::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None => digits.parse().ok(),
    }
}

/// The first key that is none of `known` is an error.
pub(super) fn only(entries: &[Entry], names: &[&str], place: &str) -> Result<(), Wrong> {
    entries.iter().try_for_each(|entry| known(entry.line, &entry.key, names, place))
}

/// A key that is none of `names` is an error.
pub(super) fn known(line: usize, key: &str, names: &[&str], place: &str) -> Result<(), Wrong> {
    if names.contains(&key) {
        return Ok(());
    }
    let near = hint(key, names.iter().copied());
    let hint = if near.is_empty() { format!("; there are {}", names.join(", ")) } else { near };
    at(line, format!("unknown key `{key}` in {place}{hint}"))
}

/// The value of a key.
pub(super) fn get<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Node> {
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}
