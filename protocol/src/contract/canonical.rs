//! The canonical text of a contract, its digest, and where two of them differ.
//!
//! Invariants: two contracts have one text exactly if their messages agree on every byte and every
//! rule; documentation, domains and the order of messages are no part of it. `ringfence.messages`
//! writes the same text in Python, and tests compare them.
//!
//! ```text
//! ringfence contract 1
//! schema 4d594345 version 1 min_compatible 1
//! message 1001 TextMessage size 312
//!  sender String(32) at 0
//!  content String(256) at 40 not_empty
//!  timestamp u64 at 304
//! ```
//!
//! Every line ends with a newline. A rule is its name, and `=` and its number: whole ones in decimal,
//! those of floats as 16 hexadecimal digits of their f64, so that no formatting is part of a digest.

use std::fmt::{self, Write as _};

use sha2::{Digest as _, Sha256};

use crate::contract::{Contract, Field, Number, Rule};
use crate::schema::Digest;

/// What makes generated code anew.
pub const REGENERATE: &str = "ringfence codegen contracts.yaml --lang LANG --out FILE";

const HEAD: &str = "ringfence contract 1\n";

impl Contract {
    /// The text that the digest is taken of; of a checked contract.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut out = String::from(HEAD);
        let (version, least) = (self.version, self.min_compatible);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "schema {:08x} version {version} min_compatible {least}", self.id);
        for message in &self.messages {
            let layout = message.layout();
            let (number, name) = (message.type_id, &message.name);
            let _ = writeln!(out, "message {number} {name} size {}", layout.size);
            for (field, at) in message.fields.iter().zip(layout.offsets) {
                let _ = writeln!(out, " {}", field.canonical(at));
            }
        }
        out
    }

    /// SHA-256 of [`canonical`](Self::canonical): `SCHEMA_DIGEST` of generated code.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Sha256::digest(self.canonical()).into()
    }
}

impl Field {
    fn canonical(&self, at: usize) -> String {
        let mut out = format!("{} {} at {at}", self.name, self.ty);
        for rule in &self.rules {
            let _ = write!(out, " {}", rule.name());
            let _ = match rule {
                Rule::MinLength(n) | Rule::MaxLength(n) => write!(out, "={n}"),
                Rule::Min(Number::Int(n)) | Rule::Max(Number::Int(n)) => write!(out, "={n}"),
                Rule::Min(Number::Float(n)) | Rule::Max(Number::Float(n)) => {
                    // The two zeros are one bound.
                    write!(out, "={:016x}", (n + 0.0).to_bits())
                }
                Rule::NotEmpty => Ok(()),
            };
        }
        out
    }
}

/// Where two contracts differ first. It displays as a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `Message.field`, `Message` or `schema`.
    pub path: String,
    /// What stands here; nothing if it is there only.
    pub here: Option<String>,
    /// What stands there; nothing if it is here only.
    pub there: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match (&self.here, &self.there) {
            (Some(here), Some(there)) => write!(f, "{path}: `{here}` here, `{there}` there")?,
            (Some(here), None) => write!(f, "{path}: `{here}` here only")?,
            (_, there) => write!(f, "{path}: `{}` there only", there.as_deref().unwrap_or(""))?,
        }
        write!(f, "; make both from one contracts.yaml: {REGENERATE}")
    }
}

/// The first difference of two canonical texts, by message number and then field by field.
///
/// ```
/// # use ringfence_protocol::contract::difference;
/// let here = "ringfence contract 1\nschema 00000001 version 1 min_compatible 1\n\
///             message 1002 Counter size 4\n value i32 at 0\n";
/// let there = here.replace("size 4", "size 8").replace("i32", "i64");
/// let found = difference(here, &there).unwrap();
/// assert!(found.to_string().starts_with("Counter.value: `i32 at 0` here, `i64 at 0` there;"));
/// assert_eq!(difference(here, here), None);
/// ```
#[must_use]
pub fn difference(here: &str, there: &str) -> Option<Difference> {
    let (here_all, there_all) = (split(here), split(there));
    // Fields say more than the size that follows from them, and messages more than the version.
    let mut there_messages = there_all.messages.iter().peekable();
    for message in &here_all.messages {
        match there_messages.peek() {
            Some(other) if other.type_id < message.type_id => {
                return Some(of(other.name, None, Some(other.line)));
            }
            Some(other) if other.type_id == message.type_id => {
                if let Some(found) = message_difference(message, other) {
                    return Some(found);
                }
                there_messages.next();
            }
            _ => return Some(of(message.name, Some(message.line), None)),
        }
    }
    if let Some(other) = there_messages.next() {
        return Some(of(other.name, None, Some(other.line)));
    }
    let (one, other) = (here_all.head, there_all.head);
    (one != other).then(|| of("schema", Some(one), Some(other)))
}

fn of(path: &str, here: Option<&str>, there: Option<&str>) -> Difference {
    Difference { path: path.into(), here: here.map(Into::into), there: there.map(Into::into) }
}

fn message_difference(here: &Part<'_>, there: &Part<'_>) -> Option<Difference> {
    if here.name != there.name {
        return Some(of(here.name, Some(here.line), Some(there.line)));
    }
    let most = here.fields.len().max(there.fields.len());
    for index in 0..most {
        let (one, other) = (here.fields.get(index), there.fields.get(index));
        if one == other {
            continue;
        }
        let (name, one_rest) = one.or(other).copied().unwrap_or_default();
        let path = format!("{}.{name}", here.name);
        let other_text = other.map(|(other_name, rest)| match *other_name == name {
            true => (*rest).to_owned(),
            false => format!("{other_name} {rest}"),
        });
        return Some(of(&path, one.map(|_| one_rest), other_text.as_deref()));
    }
    (here.line != there.line).then(|| of(here.name, Some(here.line), Some(there.line)))
}

struct Parts<'t> {
    head: &'t str,
    messages: Vec<Part<'t>>,
}

struct Part<'t> {
    type_id: u16,
    name: &'t str,
    line: &'t str,
    fields: Vec<(&'t str, &'t str)>,
}

fn split(text: &str) -> Parts<'_> {
    let mut parts = Parts { head: "", messages: Vec::new() };
    for line in text.lines().skip(1) {
        if let Some(field) = line.strip_prefix(' ') {
            let field = field.split_once(' ').unwrap_or((field, ""));
            if let Some(message) = parts.messages.last_mut() {
                message.fields.push(field);
            }
        } else if let Some(message) = line.strip_prefix("message ") {
            let (number, rest) = message.split_once(' ').unwrap_or((message, ""));
            let name = rest.split(' ').next().unwrap_or_default();
            let type_id = number.parse().unwrap_or_default();
            parts.messages.push(Part { type_id, name, line, fields: Vec::new() });
        } else {
            parts.head = line;
        }
    }
    parts
}
