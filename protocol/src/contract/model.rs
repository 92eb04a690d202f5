//! What a contract consists of, and where the fields of a message lie.
//!
//! Invariant: [`MessageType::layout`] alone decides about places. What a contract may not say is in
//! [`check`](super::check).

use std::ops::RangeInclusive;

use crate::contract::FieldType;

/// Messages that several programs agree on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contract {
    /// Which family of messages this is.
    pub id: u32,
    /// Counts changes.
    pub version: u16,
    /// The oldest version whose programs may take part.
    pub min_compatible: u16,
    /// What type numbers are for.
    pub ranges: TagRanges,
    /// The messages, in the order of their type numbers once they are checked.
    pub messages: Vec<MessageType>,
}

/// What type numbers are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRanges {
    /// Not for applications.
    pub core: RangeInclusive<u16>,
    /// For applications.
    pub app: RangeInclusive<u16>,
    /// For trials; a warning.
    pub experimental: RangeInclusive<u16>,
}

impl Default for TagRanges {
    fn default() -> Self {
        Self { core: 1..=999, app: 1_000..=49_999, experimental: 50_000..=65_535 }
    }
}

/// A message of a contract.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessageType {
    /// Its name, `[A-Z][A-Za-z0-9]*`.
    pub name: String,
    /// Its number on the bus.
    pub type_id: u16,
    /// Its fields, in the order in which they lie.
    pub fields: Vec<Field>,
    /// What it is for; no part of the digest.
    pub doc: String,
}

/// A field of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name, `[a-z][a-z0-9_]*`.
    pub name: String,
    /// Its type.
    pub ty: FieldType,
    /// What its values keep, besides.
    pub rules: Vec<Rule>,
    /// What it means; no part of the digest.
    pub doc: String,
}

/// A number in a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// For a field of whole numbers.
    Int(i128),
    /// For an f32 or f64.
    Float(f64),
}

/// What the value of a field must keep. Lengths are bytes or elements. A value that is not there
/// breaks no rule.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// At least so long.
    MinLength(u16),
    /// At most so long.
    MaxLength(u16),
    /// Not of length 0.
    NotEmpty,
    /// Not less. NaN is.
    Min(Number),
    /// Not more. NaN is.
    Max(Number),
}

impl Rule {
    /// Its name in a contract.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Rule::MinLength(_) => "min_length",
            Rule::MaxLength(_) => "max_length",
            Rule::NotEmpty => "not_empty",
            Rule::Min(_) => "min",
            Rule::Max(_) => "max",
        }
    }
}

/// Where the fields of a message lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLayout {
    /// Bytes from the start of the message to each field.
    pub offsets: Vec<usize>,
    /// Bytes of the message, a multiple of its alignment.
    pub size: usize,
    /// The largest alignment of a field.
    pub align: usize,
}

impl MessageType {
    /// Where the fields lie: each at the next multiple of its alignment.
    #[must_use]
    pub fn layout(&self) -> MessageLayout {
        let (mut at, mut align) = (0_usize, 1);
        let offsets = self.fields.iter().map(|field| {
            align = align.max(field.ty.align());
            let offset = up(at, field.ty.align());
            at = offset.saturating_add(field.ty.size());
            offset
        });
        let offsets = offsets.collect();
        MessageLayout { offsets, size: up(at, align), align }
    }
}

fn up(at: usize, align: usize) -> usize {
    at.checked_next_multiple_of(align).unwrap_or(usize::MAX)
}

impl Contract {
    /// The message of this name.
    #[must_use]
    pub fn message(&self, name: &str) -> Option<&MessageType> {
        self.messages.iter().find(|message| message.name == name)
    }
}
