//! Fixed-layout messages: what a request or a reply looks like in bytes.
//!
//! A message is a list of fields. Scalars stand at their natural alignment, little endian, in
//! order of declaration; a *variable* field (`&str`, `&[T]`) stands there as its u32 element count
//! and its elements follow the fixed part, in order, each aligned to its element. If the last field
//! of a message is variable its count is left out: it takes the rest. Every gap is zero, and a
//! decoder refuses anything else, so a message has exactly one encoding.
//!
//! [`message!`](crate::message!) declares the struct, its layout and both directions at once. The
//! same layout is in the catalogue, from which Python packs and unpacks.
//!
//! It does *not* know methods, slots or memory that a peer can write: decoding works on a private
//! copy (SPEC R3).

use zerocopy::FromBytes;

/// The type of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, bincode::Encode, bincode::Decode)]
#[allow(missing_docs)] // the names are their documentation
pub enum Scalar {
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
}

impl Scalar {
    /// All of them.
    pub const ALL: [Self; 11] = {
        use Scalar::{Bool, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
        [Bool, U8, U16, U32, U64, I8, I16, I32, I64, F32, F64]
    };

    /// Bytes of one element; also its alignment.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Scalar::Bool | Scalar::U8 | Scalar::I8 => 1,
            Scalar::U16 | Scalar::I16 => 2,
            Scalar::U32 | Scalar::I32 | Scalar::F32 => 4,
            Scalar::U64 | Scalar::I64 | Scalar::F64 => 8,
        }
    }

    /// The name in the canonical text: Rust's own.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Scalar::Bool => "bool",
            Scalar::U8 => "u8",
            Scalar::U16 => "u16",
            Scalar::U32 => "u32",
            Scalar::U64 => "u64",
            Scalar::I8 => "i8",
            Scalar::I16 => "i16",
            Scalar::I32 => "i32",
            Scalar::I64 => "i64",
            Scalar::F32 => "f32",
            Scalar::F64 => "f64",
        }
    }
}

/// The type of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, bincode::Encode, bincode::Decode)]
pub enum FieldType {
    /// One element in place.
    One(Scalar),
    /// A variable number of elements.
    Many(Scalar),
    /// A variable number of bytes, UTF-8.
    Text,
}

impl FieldType {
    /// Is the number of elements part of the value?
    #[must_use]
    pub const fn is_variable(self) -> bool {
        !matches!(self, FieldType::One(_))
    }

    /// Alignment and size of one element.
    #[must_use]
    pub const fn element(self) -> usize {
        match self {
            FieldType::One(scalar) | FieldType::Many(scalar) => scalar.size(),
            FieldType::Text => 1,
        }
    }
}

/// A field as it is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in Rust and Python.
    pub name: &'static str,
    /// Its type.
    pub ty: FieldType,
    /// What it means, from its doc comment.
    pub doc: &'static str,
}

/// Bytes of the fixed part of a message with these field types, and the offset of each field in it
/// through `visit(index, offset)`: the value of a scalar, the count of a variable field.
pub(crate) fn walk_fixed(
    types: impl ExactSizeIterator<Item = FieldType>,
    mut visit: impl FnMut(usize, usize),
) -> usize {
    let count = types.len();
    let mut at = 0;
    for (index, ty) in types.enumerate() {
        if ty.is_variable() && index + 1 == count {
            visit(index, at);
            continue;
        }
        let size = if ty.is_variable() { 4 } else { ty.element() };
        at = align(at, size);
        visit(index, at);
        at += size;
    }
    at
}

const fn align(at: usize, to: usize) -> usize {
    at.next_multiple_of(to)
}

/// `walk_fixed` for the compiler: the fixed part of a declared message.
#[doc(hidden)]
#[must_use]
pub const fn fixed_len(fields: &[Field]) -> usize {
    let mut at = 0;
    let mut index = 0;
    while index < fields.len() {
        let ty = fields[index].ty;
        if !(ty.is_variable() && index + 1 == fields.len()) {
            let size = if ty.is_variable() { 4 } else { ty.element() };
            at = align(at, size) + size;
        }
        index += 1;
    }
    at
}

/// Why bytes are not the message that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Fewer bytes than the fields need.
    #[error("field `{field}` needs {need} bytes at offset {at}, the payload has {len}")]
    Short {
        /// The field that found no room.
        field: &'static str,
        /// Where it would start.
        at: usize,
        /// How many bytes it needs.
        need: usize,
        /// How many bytes the payload has.
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
    /// A gap that is not zero.
    #[error("byte {at} before field `{field}` is padding and must be 0")]
    Padding {
        /// The field after the gap.
        field: &'static str,
        /// The byte.
        at: usize,
    },
    /// A value that its type does not have.
    #[error("field `{field}` at offset {at} is no {expected}")]
    Value {
        /// The field.
        field: &'static str,
        /// Where it starts.
        at: usize,
        /// The type that it should be.
        expected: &'static str,
    },
}

/// A type that can be a request or a reply. Declared by [`message!`](crate::message!).
pub trait Message<'a>: Sized {
    /// The fields in order.
    const FIELDS: &'static [Field];
    /// Bytes before the first variable field's elements.
    const FIXED: usize = fixed_len(Self::FIELDS);

    /// Appends the message's one encoding to `out`, whose length must be a multiple of 8.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads a message from a private copy that starts at a multiple of 8.
    ///
    /// # Errors
    /// [`Malformed`] where the bytes are not exactly one encoding of this message.
    fn decode(bytes: &'a [u8]) -> Result<Self, Malformed>;
}

/// A value that can be a field. Sealed by usefulness: the catalogue knows these types only.
pub trait Value<'a>: Sized {
    /// Its type in the catalogue.
    const TYPE: FieldType;
    #[doc(hidden)]
    fn put(&self, encoder: &mut Encoder<'_>);
    #[doc(hidden)]
    fn take(decoder: &mut Decoder<'a>, field: &'static str) -> Result<Self, Malformed>;
}

/// Writes one message field by field.
#[derive(Debug)]
pub struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    base: usize,
    at: usize,
    fields_left: usize,
}

impl<'o> Encoder<'o> {
    /// Starts a message of `fields` fields and `fixed` bytes of fixed part at the end of `out`.
    #[inline]
    pub fn new(out: &'o mut Vec<u8>, fields: usize, fixed: usize) -> Self {
        debug_assert!(out.len().is_multiple_of(8));
        let base = out.len();
        out.resize(base + fixed, 0);
        Self { out, base, at: 0, fields_left: fields }
    }

    /// Writes the next field.
    #[inline]
    pub fn field<'a, T: Value<'a>>(&mut self, value: &T) {
        self.fields_left -= 1;
        value.put(self);
    }

    #[inline]
    fn scalar<const N: usize>(&mut self, bytes: [u8; N]) {
        let at = align(self.at, N);
        let start = self.base + at;
        self.out[start..start + N].copy_from_slice(&bytes);
        self.at = at + N;
    }

    #[inline]
    fn variable(&mut self, count: usize, element: usize, bytes: &[u8]) {
        if self.fields_left > 0 {
            // A count above u32 cannot be sent anyway: limits::PAYLOAD_BYTES is far below.
            self.scalar(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        }
        let end = self.out.len() - self.base;
        self.out.resize(self.base + align(end, element), 0);
        self.out.extend_from_slice(bytes);
    }
}

/// Reads one message field by field.
#[derive(Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    /// Cursor in the fixed part.
    at: usize,
    /// Cursor behind the fixed part.
    tail: usize,
    fields_left: usize,
}

impl<'a> Decoder<'a> {
    /// Starts at a message of `fields` fields and `fixed` bytes of fixed part.
    #[inline]
    #[must_use]
    pub fn new(bytes: &'a [u8], fields: usize, fixed: usize) -> Self {
        Self { bytes, at: 0, tail: fixed, fields_left: fields }
    }

    /// Reads the next field.
    ///
    /// # Errors
    /// [`Malformed`], naming `name`.
    #[inline]
    pub fn field<T: Value<'a>>(&mut self, name: &'static str) -> Result<T, Malformed> {
        self.fields_left -= 1;
        T::take(self, name)
    }

    /// All bytes must have been read.
    ///
    /// # Errors
    /// [`Malformed::Trailing`].
    #[inline]
    pub fn finish(self) -> Result<(), Malformed> {
        match self.bytes.len().checked_sub(self.tail) {
            Some(0) => Ok(()),
            Some(extra) => Err(Malformed::Trailing { at: self.tail, extra }),
            None => {
                Err(Malformed::Short { field: "", at: 0, need: self.tail, len: self.bytes.len() })
            }
        }
    }

    #[inline]
    fn padded(&self, from: usize, to: usize, field: &'static str) -> Result<usize, Malformed> {
        match self.bytes.get(from..to) {
            None => {
                Err(Malformed::Short { field, at: from, need: to - from, len: self.bytes.len() })
            }
            Some(gap) => match gap.iter().position(|byte| *byte != 0) {
                None => Ok(to),
                Some(index) => Err(Malformed::Padding { field, at: from + index }),
            },
        }
    }

    #[inline]
    fn scalar<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let at = self.padded(self.at, align(self.at, N), field)?;
        let Some(bytes) = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()) else {
            return Err(Malformed::Short { field, at, need: N, len: self.bytes.len() });
        };
        self.at = at + N;
        Ok(*bytes)
    }

    /// The bytes of a variable field and where they start.
    #[inline]
    fn variable(
        &mut self,
        element: usize,
        field: &'static str,
    ) -> Result<(usize, &'a [u8]), Malformed> {
        let counted = if self.fields_left > 0 {
            Some(u32::from_le_bytes(self.scalar(field)?) as usize * element)
        } else {
            None
        };
        let len = self.bytes.len();
        let at = self.padded(self.tail, align(self.tail, element), field)?;
        let need = counted.unwrap_or(len - at);
        match self.bytes.get(at..at + need) {
            None => Err(Malformed::Short { field, at, need, len }),
            Some(bytes) => {
                self.tail = at + need;
                Ok((at, bytes))
            }
        }
    }
}

macro_rules! scalars {
    ($($ty:ty => $scalar:ident),+) => {$(
        impl<'a> Value<'a> for $ty {
            const TYPE: FieldType = FieldType::One(Scalar::$scalar);
            #[inline]
            fn put(&self, encoder: &mut Encoder<'_>) {
                encoder.scalar(self.to_le_bytes());
            }
            #[inline]
            fn take(decoder: &mut Decoder<'a>, field: &'static str) -> Result<Self, Malformed> {
                Ok(<$ty>::from_le_bytes(decoder.scalar(field)?))
            }
        }

        impl<'a> Value<'a> for &'a [$ty] {
            const TYPE: FieldType = FieldType::Many(Scalar::$scalar);
            #[inline]
            fn put(&self, encoder: &mut Encoder<'_>) {
                encoder.variable(self.len(), size_of::<$ty>(), zerocopy::IntoBytes::as_bytes(*self));
            }
            #[inline]
            fn take(decoder: &mut Decoder<'a>, field: &'static str) -> Result<Self, Malformed> {
                let (at, bytes) = decoder.variable(size_of::<$ty>(), field)?;
                // Fails where the rest is no whole number of elements (or the copy is misaligned).
                <[$ty]>::ref_from_bytes(bytes).map_err(|_| Malformed::Value {
                    field, at, expected: concat!("whole number of ", stringify!($ty), " elements"),
                })
            }
        }
    )+};
}

scalars!(u8 => U8, u16 => U16, u32 => U32, u64 => U64, i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    f32 => F32, f64 => F64);

impl<'a> Value<'a> for bool {
    const TYPE: FieldType = FieldType::One(Scalar::Bool);
    #[inline]
    fn put(&self, encoder: &mut Encoder<'_>) {
        encoder.scalar([u8::from(*self)]);
    }
    #[inline]
    fn take(decoder: &mut Decoder<'a>, field: &'static str) -> Result<Self, Malformed> {
        let [byte] = decoder.scalar(field)?;
        match byte {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Value { field, at: decoder.at - 1, expected: "bool (0 or 1)" }),
        }
    }
}

impl<'a> Value<'a> for &'a str {
    const TYPE: FieldType = FieldType::Text;
    #[inline]
    fn put(&self, encoder: &mut Encoder<'_>) {
        encoder.variable(self.len(), 1, self.as_bytes());
    }
    #[inline]
    fn take(decoder: &mut Decoder<'a>, field: &'static str) -> Result<Self, Malformed> {
        let (at, bytes) = decoder.variable(1, field)?;
        std::str::from_utf8(bytes).map_err(|_| Malformed::Value {
            field,
            at,
            expected: "UTF-8 text",
        })
    }
}

/// Declares a [`Message`]: the struct, its layout, and both directions.
///
/// ```
/// use ringfence_protocol::message::Message;
///
/// ringfence_protocol::message! {
///     /// How to greet.
///     pub struct Hello<'a> {
///         /// How often.
///         times: u32,
///         /// Whom.
///         name: &'a str,
///     }
/// }
///
/// let mut bytes = Vec::new();
/// Hello { times: 3, name: "Ada" }.encode(&mut bytes);
/// assert_eq!(bytes, [3, 0, 0, 0, b'A', b'd', b'a']);
/// assert_eq!(Hello::decode(&bytes).unwrap().name, "Ada");
/// ```
#[macro_export]
macro_rules! message {
    ($(#[$meta:meta])* $vis:vis struct $name:ident<$lt:lifetime> { $($body:tt)* }) => {
        $crate::message!(@declare [$(#[$meta])* $vis struct $name<$lt>] [$name<$lt>] $lt { $($body)* });
    };
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($body:tt)* }) => {
        $crate::message!(@declare [$(#[$meta])* $vis struct $name] [$name] 'm { $($body)* });
    };
    (@declare [$($head:tt)+] [$($self:tt)+] $lt:lifetime
        { $($(#[doc = $doc:literal])* $field:ident : $ty:ty),* $(,)? }) => {
        #[derive(Clone, Copy, Debug, PartialEq)]
        $($head)+ {
            $($(#[doc = $doc])* pub $field: $ty),*
        }

        impl<$lt> $crate::message::Message<$lt> for $($self)+ {
            const FIELDS: &'static [$crate::message::Field] = &[$($crate::message::Field {
                name: stringify!($field),
                ty: <$ty as $crate::message::Value<$lt>>::TYPE,
                doc: concat!($($doc),*),
            }),*];

            #[inline]
            #[allow(unused_mut, unused_variables)] // a message without fields
            fn encode(&self, out: &mut Vec<u8>) {
                let fields = <Self as $crate::message::Message<$lt>>::FIELDS.len();
                let mut encoder = $crate::message::Encoder::new(
                    out, fields, <Self as $crate::message::Message<$lt>>::FIXED);
                $(encoder.field(&self.$field);)*
            }

            #[inline]
            #[allow(unused_mut)]
            fn decode(bytes: &$lt [u8]) -> Result<Self, $crate::message::Malformed> {
                let fields = <Self as $crate::message::Message<$lt>>::FIELDS.len();
                let mut decoder = $crate::message::Decoder::new(
                    bytes, fields, <Self as $crate::message::Message<$lt>>::FIXED);
                $(let $field = decoder.field(stringify!($field))?;)*
                decoder.finish()?;
                Ok(Self { $($field),* })
            }
        }
    };
}

#[cfg(test)]
mod tests;
