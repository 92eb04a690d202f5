//! The types that a field can have, with their sizes and alignments.
//!
//! Invariants: a size is a multiple of nothing in particular, a stride (of elements) one of the
//! alignment; sizes of checked types fit into [`limits::MESSAGE_BYTES`](crate::limits::MESSAGE_BYTES).

use std::fmt;

/// Bytes in front of the bytes or elements of what has a length: a u16 and six zeros.
pub(super) const HEAD_BYTES: usize = 8;

/// The type of a field. It displays as it is written in a contract.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the plain ones: their names are their documentation
#[non_exhaustive]
pub enum FieldType {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
    /// 32 bytes, the least significant first.
    U256,
    /// 16 bytes in the order of their text.
    Uuid,
    /// Nanoseconds since 1970 in UTC, an i64.
    Datetime,
    /// An i128 and how many of its decimal digits stand behind the point.
    Decimal,
    /// UTF-8 of up to so many bytes.
    String(u16),
    /// Up to so many bytes.
    Bytes(u16),
    /// JSON text of up to so many bytes.
    Json(u16),
    /// So many elements.
    Array(Box<FieldType>, u32),
    /// Up to so many elements.
    Vec(Box<FieldType>, u16),
    /// A value or none.
    Option(Box<FieldType>),
}

impl FieldType {
    /// Types without parameters, by their names.
    pub(crate) const PLAIN: [(&'static str, FieldType); 15] = [
        ("bool", FieldType::Bool),
        ("u8", FieldType::U8),
        ("u16", FieldType::U16),
        ("u32", FieldType::U32),
        ("u64", FieldType::U64),
        ("i8", FieldType::I8),
        ("i16", FieldType::I16),
        ("i32", FieldType::I32),
        ("i64", FieldType::I64),
        ("f32", FieldType::F32),
        ("f64", FieldType::F64),
        ("U256", FieldType::U256),
        ("UUID", FieldType::Uuid),
        ("datetime", FieldType::Datetime),
        ("Decimal", FieldType::Decimal),
    ];

    /// Bytes that a field of this type takes. Saturates, so that a check can say that it is too large.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            FieldType::Bool | FieldType::U8 | FieldType::I8 => 1,
            FieldType::U16 | FieldType::I16 => 2,
            FieldType::U32 | FieldType::I32 | FieldType::F32 => 4,
            FieldType::U64 | FieldType::I64 | FieldType::F64 | FieldType::Datetime => 8,
            FieldType::Uuid => 16,
            FieldType::Decimal => 24,
            FieldType::U256 => 32,
            FieldType::String(n) | FieldType::Bytes(n) | FieldType::Json(n) => {
                HEAD_BYTES + usize::from(*n)
            }
            FieldType::Array(element, n) => element.stride().saturating_mul(*n as usize),
            FieldType::Vec(element, n) => {
                element.stride().saturating_mul(usize::from(*n)).saturating_add(HEAD_BYTES)
            }
            FieldType::Option(inner) => inner.align().saturating_add(inner.size()),
        }
    }

    /// What its place is a multiple of.
    #[must_use]
    pub fn align(&self) -> usize {
        match self {
            FieldType::Uuid => 1,
            FieldType::Decimal
            | FieldType::U256
            | FieldType::String(_)
            | FieldType::Bytes(_)
            | FieldType::Json(_)
            | FieldType::Vec(..) => 8,
            FieldType::Array(inner, _) | FieldType::Option(inner) => inner.align(),
            number => number.size(),
        }
    }

    /// Bytes from one element to the next.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.size().checked_next_multiple_of(self.align()).unwrap_or(usize::MAX)
    }

    /// How many elements or bytes it takes, if their number is part of the value.
    #[must_use]
    pub fn capacity(&self) -> Option<u16> {
        match self {
            FieldType::String(n)
            | FieldType::Bytes(n)
            | FieldType::Json(n)
            | FieldType::Vec(_, n) => Some(*n),
            FieldType::Option(inner) => inner.capacity(),
            _ => None,
        }
    }

    /// The type of the values: itself, but for an option.
    #[must_use]
    pub fn inner(&self) -> &FieldType {
        match self {
            FieldType::Option(inner) => inner,
            other => other,
        }
    }

    /// The least and the greatest value of an integer type, datetimes included.
    #[must_use]
    pub fn range(&self) -> Option<(i128, i128)> {
        Some(match self {
            FieldType::U8 => (0, u8::MAX.into()),
            FieldType::U16 => (0, u16::MAX.into()),
            FieldType::U32 => (0, u32::MAX.into()),
            FieldType::U64 => (0, u64::MAX.into()),
            FieldType::I8 => (i8::MIN.into(), i8::MAX.into()),
            FieldType::I16 => (i16::MIN.into(), i16::MAX.into()),
            FieldType::I32 => (i32::MIN.into(), i32::MAX.into()),
            FieldType::I64 | FieldType::Datetime => (i64::MIN.into(), i64::MAX.into()),
            _ => return None,
        })
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = Self::PLAIN.iter().find(|(_, plain)| plain == self) {
            return f.write_str(name);
        }
        match self {
            FieldType::String(n) => write!(f, "String({n})"),
            FieldType::Bytes(n) => write!(f, "bytes({n})"),
            FieldType::Json(n) => write!(f, "JSON({n})"),
            FieldType::Array(element, n) => write!(f, "[{element}; {n}]"),
            FieldType::Vec(element, n) => write!(f, "Vec<{element}>({n})"),
            FieldType::Option(inner) => write!(f, "Option<{inner}>"),
            plain => write!(f, "{plain:?}"),
        }
    }
}
