//! Messages whose layout is only known at run time: for tools that go by the catalogue.
//!
//! The rules are those of [`mod@crate::message`], which this module repeats for values instead of
//! types. Invariants: what [`encode`] writes, [`decode`] and the typed decoder read, and the other
//! way round (a test holds all three together); offsets are worked out from the types, so a
//! catalogue that lies about them cannot make anybody read outside. It does *not* convert: an
//! integer field takes an integer, an `f32` field an `f32`.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use crate::message::{FieldType, Scalar, walk_fixed};
use crate::schema::{FieldSchema, Layout};

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Of a `bool`.
    Bool(bool),
    /// Of any integer type.
    Int(i128),
    /// Of an `f32`.
    Single(f32),
    /// Of an `f64`.
    Double(f64),
    /// Of a `str`.
    Text(Cow<'a, str>),
    /// Of a list.
    Many(Elements<'a>),
}

/// The elements of a list, as they lie in a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Elements<'a> {
    scalar: Scalar,
    bytes: Cow<'a, [u8]>,
}

/// Why values are no message of a layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Another number of values than fields.
    #[error("{given} values for {takes} fields")]
    Count {
        /// Values given.
        given: usize,
        /// Fields of the layout.
        takes: usize,
    },
    /// A value of another type.
    #[error("field `{field}` takes {takes}")]
    Type {
        /// The field.
        field: String,
        /// Its type.
        takes: String,
    },
    /// An integer that its type does not have.
    #[error("field `{field}` is {value}; {takes} takes {low} to {high}")]
    Range {
        /// The field.
        field: String,
        /// The integer.
        value: i128,
        /// The type.
        takes: &'static str,
        /// Its least value.
        low: i128,
        /// Its greatest value.
        high: i128,
    },
    /// More elements than a count can say.
    #[error("field `{field}` has {count} elements; a message takes up to {}", u32::MAX)]
    TooMany {
        /// The field.
        field: String,
        /// Its elements.
        count: usize,
    },
}

/// Why bytes are no message of a layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Fewer bytes than the fields need.
    #[error("field `{field}` needs {need} bytes at offset {at}, the message has {len}")]
    Short {
        /// The field that found no room.
        field: String,
        /// Where it would start.
        at: usize,
        /// How many bytes it needs.
        need: usize,
        /// How many bytes the message has.
        len: usize,
    },
    /// More bytes than the fields need.
    #[error("{extra} bytes are left after the last field, at offset {at}")]
    Trailing {
        /// Where the message ends.
        at: usize,
        /// How many bytes follow.
        extra: usize,
    },
    /// A gap that is not zero, or a value that its type does not have.
    #[error("field `{field}` at offset {at} is no {expected}")]
    Value {
        /// The field.
        field: String,
        /// Where it starts.
        at: usize,
        /// What it should be.
        expected: String,
    },
}

/// The name of a type in the catalogue's text: `u32`, `[f32]`, `str`.
#[must_use]
pub fn type_name(ty: FieldType) -> String {
    match ty {
        FieldType::One(scalar) => scalar.name().to_owned(),
        FieldType::Many(scalar) => format!("[{}]", scalar.name()),
        FieldType::Text => "str".to_owned(),
    }
}

/// The values of an integer type; nothing for others.
#[must_use]
pub fn integer_range(scalar: Scalar) -> Option<RangeInclusive<i128>> {
    let bits = scalar.size() as u32 * 8;
    match scalar {
        Scalar::Bool | Scalar::F32 | Scalar::F64 => None,
        Scalar::I8 | Scalar::I16 | Scalar::I32 | Scalar::I64 => {
            Some(-(1 << (bits - 1))..=(1 << (bits - 1)) - 1)
        }
        Scalar::U8 | Scalar::U16 | Scalar::U32 | Scalar::U64 => Some(0..=(1 << bits) - 1),
    }
}

impl<'a> Elements<'a> {
    /// Elements as they lie in a message: little endian, one after the other. `None` if these are
    /// no whole number of elements, or a bool is neither 0 nor 1.
    ///
    /// ```
    /// use ringfence_protocol::dynamic::{Elements, Value};
    /// use ringfence_protocol::message::Scalar;
    ///
    /// let two = Elements::from_bytes(Scalar::U16, vec![1, 0, 0, 1]).unwrap();
    /// assert_eq!(two.iter().collect::<Vec<_>>(), [Value::Int(1), Value::Int(256)]);
    /// assert!(Elements::from_bytes(Scalar::U16, vec![1]).is_none());
    /// ```
    #[must_use]
    pub fn from_bytes(scalar: Scalar, bytes: impl Into<Cow<'a, [u8]>>) -> Option<Self> {
        let bytes = bytes.into();
        let whole = bytes.len().is_multiple_of(scalar.size());
        let valid = scalar != Scalar::Bool || bytes.iter().all(|byte| *byte <= 1);
        (whole && valid).then_some(Self { scalar, bytes })
    }

    /// The elements' type.
    #[must_use]
    pub fn scalar(&self) -> Scalar {
        self.scalar
    }

    /// The elements as they lie in a message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.scalar.size()
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Value<'static>> + '_ {
        self.bytes.chunks_exact(self.scalar.size()).map(|bytes| of_bytes(self.scalar, bytes))
    }
}

/// The bytes of one element, of which the first `scalar.size()` count. For lists:
/// [`Elements::from_bytes`].
///
/// # Errors
/// [`EncodeError::Type`] or [`EncodeError::Range`], naming `field`.
pub fn scalar_bytes(
    field: &str,
    scalar: Scalar,
    value: &Value<'_>,
) -> Result<[u8; 8], EncodeError> {
    let word = match (scalar, value) {
        (Scalar::Bool, Value::Bool(flag)) => u64::from(*flag),
        (Scalar::F32, Value::Single(number)) => u64::from(number.to_bits()),
        (Scalar::F64, Value::Double(number)) => number.to_bits(),
        (_, Value::Int(number)) => integer(field, scalar, *number)?,
        _ => return Err(wrong_type(field, scalar.name())),
    };
    Ok(word.to_le_bytes())
}

fn integer(field: &str, scalar: Scalar, value: i128) -> Result<u64, EncodeError> {
    let range = integer_range(scalar).ok_or_else(|| wrong_type(field, scalar.name()))?;
    if range.contains(&value) {
        return Ok(value as u64);
    }
    let (low, high) = range.into_inner();
    Err(EncodeError::Range { field: field.into(), value, takes: scalar.name(), low, high })
}

fn wrong_type(field: &str, takes: impl Into<String>) -> EncodeError {
    EncodeError::Type { field: field.into(), takes: takes.into() }
}

/// The one encoding of a message with these values, in the order of the fields.
///
/// # Errors
/// [`EncodeError`].
///
/// ```
/// use ringfence_protocol::dynamic::{self, Value};
///
/// let engine = ringfence_protocol::api::system::schema();
/// let layout = &engine.method("stats").unwrap().reply;
/// assert!(dynamic::encode(layout, &[Value::Bool(true)]).is_err());
/// ```
pub fn encode(layout: &Layout, values: &[Value<'_>]) -> Result<Vec<u8>, EncodeError> {
    let (places, fixed) = places(layout);
    if values.len() != places.len() {
        return Err(EncodeError::Count { given: values.len(), takes: places.len() });
    }
    let mut out = vec![0; fixed];
    for (index, (field, value)) in layout.fields.iter().zip(values).enumerate() {
        let bytes = match (field.ty, value) {
            (FieldType::One(scalar), value) => {
                let bytes = scalar_bytes(&field.name, scalar, value)?;
                put(&mut out, places[index], &bytes[..scalar.size()]);
                continue;
            }
            (FieldType::Text, Value::Text(text)) => text.as_bytes(),
            (FieldType::Many(scalar), Value::Many(many)) if many.scalar == scalar => many.bytes(),
            (ty, _) => return Err(wrong_type(&field.name, type_name(ty))),
        };
        let size = field.ty.element();
        if index + 1 < values.len() {
            let count = bytes.len() / size;
            let said = u32::try_from(count)
                .map_err(|_| EncodeError::TooMany { field: field.name.clone(), count })?;
            put(&mut out, places[index], &said.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(size), 0);
        out.extend_from_slice(bytes);
    }
    Ok(out)
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Where each field stands in the fixed part, and how long that is.
fn places(layout: &Layout) -> (Vec<usize>, usize) {
    let mut places = vec![0; layout.fields.len()];
    let fixed = walk_fixed(layout.fields.iter().map(|field| field.ty), |index, offset| {
        places[index] = offset;
    });
    (places, fixed)
}

/// The values in the bytes of a message, in the order of the fields.
///
/// # Errors
/// [`DecodeError`] where the bytes are not exactly one encoding of this layout.
pub fn decode<'a>(layout: &Layout, bytes: &'a [u8]) -> Result<Vec<Value<'a>>, DecodeError> {
    let (places, fixed) = places(layout);
    let mut cursor = Cursor { bytes, at: 0, tail: fixed };
    let last = layout.fields.len().saturating_sub(1);
    let mut values = Vec::with_capacity(layout.fields.len());
    for (index, field) in layout.fields.iter().enumerate() {
        values.push(match field.ty {
            FieldType::One(scalar) => cursor.one(field, scalar, places[index])?,
            _ if index == last => cursor.variable(field, None)?,
            _ => cursor.variable(field, Some(places[index]))?,
        });
    }
    match bytes.len().checked_sub(cursor.tail) {
        Some(0) => Ok(values),
        Some(extra) => Err(DecodeError::Trailing { at: cursor.tail, extra }),
        None => Err(cursor.short("", 0, cursor.tail)),
    }
}

/// How far a message has been read.
struct Cursor<'a> {
    bytes: &'a [u8],
    /// In the fixed part.
    at: usize,
    /// Behind the fixed part.
    tail: usize,
}

impl<'a> Cursor<'a> {
    fn one(
        &mut self,
        field: &FieldSchema,
        scalar: Scalar,
        at: usize,
    ) -> Result<Value<'a>, DecodeError> {
        let bytes = self.fixed(field, at, scalar.size())?;
        if scalar == Scalar::Bool && bytes[0] > 1 {
            return Err(no(field, at, "bool (0 or 1)".into()));
        }
        Ok(of_bytes(scalar, bytes))
    }

    /// A variable field; the last of a message has no count.
    fn variable(
        &mut self,
        field: &FieldSchema,
        count_at: Option<usize>,
    ) -> Result<Value<'a>, DecodeError> {
        let size = field.ty.element();
        let count = match count_at {
            Some(at) => {
                let bytes = self.fixed(field, at, 4)?;
                Some(bytes.iter().rev().fold(0, |word, byte| word << 8 | usize::from(*byte)))
            }
            None => None,
        };
        let at = self.tail.next_multiple_of(size);
        self.gap(field, self.tail, at)?;
        let need = count.map_or(self.bytes.len() - at, |count| count * size);
        let bytes = self.take(field, at, need)?;
        self.tail = at + need;
        let FieldType::Many(scalar) = field.ty else {
            let text = std::str::from_utf8(bytes);
            let text = text.map_err(|_| no(field, at, "UTF-8 text".into()))?;
            return Ok(Value::Text(text.into()));
        };
        let whole = || no(field, at, format!("whole number of {} elements", scalar.name()));
        Elements::from_bytes(scalar, bytes).map(Value::Many).ok_or_else(whole)
    }

    fn fixed(
        &mut self,
        field: &FieldSchema,
        at: usize,
        size: usize,
    ) -> Result<&'a [u8], DecodeError> {
        self.gap(field, self.at, at)?;
        self.at = at + size;
        self.take(field, at, size)
    }

    fn gap(&self, field: &FieldSchema, from: usize, to: usize) -> Result<(), DecodeError> {
        let gap = self.take(field, from, to - from)?;
        match gap.iter().position(|byte| *byte != 0) {
            None => Ok(()),
            Some(index) => Err(no(field, from + index, "padding (0)".into())),
        }
    }

    fn take(&self, field: &FieldSchema, at: usize, need: usize) -> Result<&'a [u8], DecodeError> {
        self.bytes.get(at..at + need).ok_or_else(|| self.short(&field.name, at, need))
    }

    fn short(&self, field: &str, at: usize, need: usize) -> DecodeError {
        DecodeError::Short { field: field.into(), at, need, len: self.bytes.len() }
    }
}

fn no(field: &FieldSchema, at: usize, expected: String) -> DecodeError {
    DecodeError::Value { field: field.name.clone(), at, expected }
}

/// The element that `bytes`, as many as it has, hold.
fn of_bytes(scalar: Scalar, bytes: &[u8]) -> Value<'static> {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let word = u64::from_le_bytes(word);
    match scalar {
        Scalar::Bool => Value::Bool(word != 0),
        Scalar::U8 | Scalar::U16 | Scalar::U32 | Scalar::U64 => Value::Int(word.into()),
        Scalar::I8 => Value::Int((word as i8).into()),
        Scalar::I16 => Value::Int((word as i16).into()),
        Scalar::I32 => Value::Int((word as i32).into()),
        Scalar::I64 => Value::Int((word as i64).into()),
        Scalar::F32 => Value::Single(f32::from_bits(word as u32)),
        Scalar::F64 => Value::Double(f64::from_bits(word)),
    }
}

#[cfg(test)]
mod tests;
