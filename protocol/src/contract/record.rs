//! What generated code is written with: a message as a whole, field after field.
//!
//! Invariants: a [`Writer`] makes zero what no field writes; a [`Reader`] sees that it was. Both check
//! the rules of each field, so that a message that was read keeps them, whoever wrote it.

use std::fmt;

use crate::contract::codec::{Codec, Measure, Reason, zeros};
use crate::contract::{Number, Rule};

/// A message of a contract, as `ringfence codegen` makes them.
pub trait TypedMessage: Sized {
    /// Its name in the contract.
    const NAME: &'static str;
    /// Its number on the bus.
    const TYPE_ID: u16;
    /// Bytes that every message of the type has.
    const SIZE: usize;

    /// Writes the message into exactly [`SIZE`](Self::SIZE) bytes, whatever they were.
    ///
    /// # Errors
    /// [`Invalid`]: a value does not fit or breaks a rule, or `out` has another length.
    fn write_to(&self, out: &mut [u8]) -> Result<(), Invalid>;

    /// Reads a message.
    ///
    /// # Errors
    /// [`Invalid`]: the bytes are no such message.
    fn from_bytes(data: &[u8]) -> Result<Self, Invalid>;

    /// The message as bytes.
    ///
    /// # Errors
    /// [`Invalid`]: a value does not fit or breaks a rule.
    fn to_bytes(&self) -> Result<Vec<u8>, Invalid> {
        let mut out = vec![0; Self::SIZE];
        self.write_to(&mut out)?;
        Ok(out)
    }
}

/// Why a message cannot be written or read. The texts are those of `ringfence.messages`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// A wrong number of bytes.
    #[error("{message}: {len} bytes, a {message} has {need}")]
    Length {
        /// The message.
        message: &'static str,
        /// The bytes given.
        len: usize,
        /// What it takes.
        need: usize,
    },
    /// A byte between values that is not zero.
    #[error("{message}: byte {at} is padding and must be 0, not {byte}")]
    Padding {
        /// The message.
        message: &'static str,
        /// The byte, from the start of the message.
        at: usize,
        /// What it is.
        byte: u8,
    },
    /// A text that is no UTF-8.
    #[error("{message}.{field}: byte {at} of the text is no UTF-8")]
    Utf8 {
        /// The message.
        message: &'static str,
        /// The field.
        field: &'static str,
        /// The byte, from the start of the text.
        at: usize,
    },
    /// A value that the type does not have.
    #[error("{message}.{field}: {value} is no {expected}")]
    Value {
        /// The message.
        message: &'static str,
        /// The field.
        field: &'static str,
        /// The value.
        value: u32,
        /// What it should be.
        expected: &'static str,
    },
    /// A rule is broken; that of the capacity is `max_length`, too.
    #[error("{message}.{field}: {value} breaks the rule {rule}")]
    Broken {
        /// The message.
        message: &'static str,
        /// The field.
        field: &'static str,
        /// The rule.
        rule: Rule,
        /// The value, or its length.
        value: String,
    },
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Rule::MinLength(n) | Rule::MaxLength(n) => write!(f, "{name}={n}"),
            Rule::Min(n) | Rule::Max(n) => write!(f, "{name}={n}"),
            Rule::NotEmpty => f.write_str(name),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Int(value) => write!(f, "{value}"),
            // As Python writes them, for numbers of everyday.
            Number::Float(value) if value.is_nan() => f.write_str("nan"),
            Number::Float(value) => write!(f, "{value:?}"),
        }
    }
}

impl Number {
    /// Is it greater? Whole numbers and floats are never compared with each other.
    pub(crate) fn over(&self, other: &Number) -> bool {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a > b,
            (Number::Float(a), Number::Float(b)) => a > b,
            _ => false,
        }
    }
}

impl Rule {
    fn keeps(&self, measure: Measure) -> bool {
        match (self, measure) {
            (Rule::MinLength(least), Measure::Length(len)) => len >= usize::from(*least),
            (Rule::MaxLength(most), Measure::Length(len)) => len <= usize::from(*most),
            (Rule::NotEmpty, Measure::Length(len)) => len > 0,
            (Rule::Min(Number::Int(least)), Measure::Int(value)) => value >= *least,
            (Rule::Max(Number::Int(most)), Measure::Int(value)) => value <= *most,
            (Rule::Min(Number::Float(least)), Measure::Float(value)) => value >= *least,
            (Rule::Max(Number::Float(most)), Measure::Float(value)) => value <= *most,
            _ => true,
        }
    }
}

fn check(
    message: &'static str,
    field: &'static str,
    rules: &[Rule],
    measure: Measure,
) -> Result<(), Invalid> {
    let Some(rule) = rules.iter().find(|rule| !rule.keeps(measure)) else { return Ok(()) };
    let value = match measure {
        Measure::Length(len) => format!("length {len}"),
        Measure::Int(value) => value.to_string(),
        Measure::Float(value) => Number::Float(value).to_string(),
        Measure::None => String::new(),
    };
    Err(Invalid::Broken { message, field, rule: *rule, value })
}

fn named(message: &'static str, field: &'static str, at: usize, reason: Reason) -> Invalid {
    match reason {
        Reason::Padding { at: within, byte } => Invalid::Padding { message, at: at + within, byte },
        Reason::Utf8 { at } => Invalid::Utf8 { message, field, at },
        Reason::Value { value, expected } => Invalid::Value { message, field, value, expected },
        Reason::Capacity { len, most } => {
            // Capacities are u16.
            let rule = Rule::MaxLength(u16::try_from(most).unwrap_or(u16::MAX));
            Invalid::Broken { message, field, rule, value: format!("length {len}") }
        }
    }
}

/// Stops the compiler where a field does not stand after `end` as the contract has it.
///
/// ```
/// # use ringfence_protocol::contract::{codec, record};
/// const _: () = record::stands::<codec::Plain<u64>>(1, 8, 8);
/// ```
/// ```compile_fail
/// # use ringfence_protocol::contract::{codec, record};
/// const _: () = record::stands::<codec::Plain<u64>>(1, 4, 8);
/// ```
pub const fn stands<C: Codec>(end: usize, at: usize, bytes: usize) {
    assert!(C::SIZE == bytes, "a field has another size: make this file anew");
    assert!(
        at == end.next_multiple_of(C::ALIGN),
        "a field has another offset: make this file anew"
    );
}

/// Stops the compiler where a message does not end as the contract has it.
pub const fn ends(end: usize, align: usize, size: usize) {
    assert!(size == end.next_multiple_of(align), "a message has another size: make this file anew");
}

fn check_len(message: &'static str, len: usize, need: usize) -> Result<(), Invalid> {
    if len == need { Ok(()) } else { Err(Invalid::Length { message, len, need }) }
}

/// Writes the fields of a message.
#[derive(Debug)]
pub struct Writer<'o> {
    message: &'static str,
    out: &'o mut [u8],
}

impl<'o> Writer<'o> {
    /// Into these bytes, which are cleared.
    ///
    /// # Errors
    /// [`Invalid::Length`].
    pub fn new<M: TypedMessage>(out: &'o mut [u8]) -> Result<Self, Invalid> {
        check_len(M::NAME, out.len(), M::SIZE)?;
        out.fill(0);
        Ok(Self { message: M::NAME, out })
    }

    /// The field that starts at `at`.
    ///
    /// # Errors
    /// [`Invalid`], by which what was written so far is worth nothing.
    pub fn put<C: Codec>(
        &mut self,
        field: &'static str,
        at: usize,
        value: &C::Value,
        rules: &[Rule],
    ) -> Result<(), Invalid> {
        check(self.message, field, rules, C::measure(value))?;
        let place = &mut self.out[at..at + C::SIZE];
        C::put(value, place).map_err(|reason| named(self.message, field, at, reason))
    }

    /// All fields are written.
    pub fn end(self) {}
}

/// Reads the fields of a message, in their order.
#[derive(Debug)]
pub struct Reader<'d> {
    message: &'static str,
    data: &'d [u8],
    at: usize,
}

impl<'d> Reader<'d> {
    /// From these bytes.
    ///
    /// # Errors
    /// [`Invalid::Length`].
    pub fn new<M: TypedMessage>(data: &'d [u8]) -> Result<Self, Invalid> {
        check_len(M::NAME, data.len(), M::SIZE)?;
        Ok(Self { message: M::NAME, data, at: 0 })
    }

    /// The field that starts at `at`, no earlier than the last one ended.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn get<C: Codec>(
        &mut self,
        field: &'static str,
        at: usize,
        rules: &[Rule],
    ) -> Result<C::Value, Invalid> {
        self.skip(field, at)?;
        self.at = at + C::SIZE;
        let value = C::get(&self.data[at..self.at]);
        let value = value.map_err(|reason| named(self.message, field, at, reason))?;
        check(self.message, field, rules, C::measure(&value))?;
        Ok(value)
    }

    /// All fields are read.
    ///
    /// # Errors
    /// [`Invalid::Padding`].
    pub fn end(mut self) -> Result<(), Invalid> {
        self.skip("", self.data.len())
    }

    fn skip(&mut self, field: &'static str, to: usize) -> Result<(), Invalid> {
        let gap = zeros(&self.data[self.at..to], 0);
        gap.map_err(|reason| named(self.message, field, self.at, reason))
    }
}
