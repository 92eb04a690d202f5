//! How values of each type lie in a message: one type without values for each [`FieldType`].
//!
//! Invariants: `put` fills what it is given, `SIZE` bytes that are zero before; `get` takes exactly
//! what `put` wrote for some value, and refuses all else. Sizes are worked out by the compiler, and
//! generated code asserts that they are those of the contract.
//!
//! [`FieldType`]: super::FieldType

use std::marker::PhantomData;

use crate::contract::field_type::HEAD_BYTES;
use crate::contract::values::{Datetime, Decimal, Json, U256, Uuid};

/// Why a value cannot be written, or bytes are no value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// More bytes or elements than there is room for.
    Capacity {
        /// How many.
        len: usize,
        /// The room.
        most: usize,
    },
    /// A byte that is no value's must be zero.
    Padding {
        /// Which, from the start of the field.
        at: usize,
        /// What it is.
        byte: u8,
    },
    /// No UTF-8.
    Utf8 {
        /// The first byte that is none, from the start of the text.
        at: usize,
    },
    /// A value that the type does not have.
    Value {
        /// What was read.
        value: u32,
        /// What it should be.
        expected: &'static str,
    },
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// Nothing.
    None,
    /// Bytes or elements.
    Length(usize),
    /// A whole number.
    Int(i128),
    /// A float.
    Float(f64),
}

/// How values of a type lie in a message.
pub trait Codec {
    /// What they are in Rust.
    type Value;
    /// Bytes that each takes.
    const SIZE: usize;
    /// What its place is a multiple of.
    const ALIGN: usize;
    /// Bytes from one element to the next.
    const STRIDE: usize = Self::SIZE.next_multiple_of(Self::ALIGN);

    /// Writes a value into `SIZE` bytes that are zero.
    ///
    /// # Errors
    /// [`Reason`]: it does not fit.
    fn put(value: &Self::Value, out: &mut [u8]) -> Result<(), Reason>;

    /// Reads a value from `SIZE` bytes.
    ///
    /// # Errors
    /// [`Reason`]: no value lies like this.
    fn get(data: &[u8]) -> Result<Self::Value, Reason>;

    /// What rules look at.
    fn measure(_value: &Self::Value) -> Measure {
        Measure::None
    }
}

/// All of `data` must be zero; `at` is its place, for the error.
pub(crate) fn zeros(data: &[u8], at: usize) -> Result<(), Reason> {
    match data.iter().position(|byte| *byte != 0) {
        Some(index) => Err(Reason::Padding { at: at + index, byte: data[index] }),
        None => Ok(()),
    }
}

fn within(reason: Reason, start: usize) -> Reason {
    match reason {
        Reason::Padding { at, byte } => Reason::Padding { at: at + start, byte },
        other => other,
    }
}

/// Of what Rust has itself: numbers and `bool`.
#[derive(Debug)]
pub struct Plain<T>(PhantomData<T>);

macro_rules! numbers {
    ($($ty:ident $measure:ident),* $(,)?) => {$(
        impl Codec for Plain<$ty> {
            type Value = $ty;
            const SIZE: usize = size_of::<$ty>();
            const ALIGN: usize = size_of::<$ty>();

            fn put(value: &$ty, out: &mut [u8]) -> Result<(), Reason> {
                out.copy_from_slice(&value.to_le_bytes());
                Ok(())
            }

            fn get(data: &[u8]) -> Result<$ty, Reason> {
                let mut bytes = [0; size_of::<$ty>()];
                bytes.copy_from_slice(data);
                Ok($ty::from_le_bytes(bytes))
            }

            fn measure(value: &$ty) -> Measure {
                Measure::$measure((*value).into())
            }
        }
    )*};
}

numbers!(
    u8 Int, u16 Int, u32 Int, u64 Int, i8 Int, i16 Int, i32 Int, i64 Int, f32 Float, f64 Float,
);

impl Codec for Plain<bool> {
    type Value = bool;
    const SIZE: usize = 1;
    const ALIGN: usize = 1;

    fn put(value: &bool, out: &mut [u8]) -> Result<(), Reason> {
        out[0] = (*value).into();
        Ok(())
    }

    fn get(data: &[u8]) -> Result<bool, Reason> {
        match data[0] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Reason::Value { value: other.into(), expected: "bool (0 or 1)" }),
        }
    }
}

impl Codec for Plain<U256> {
    type Value = U256;
    const SIZE: usize = 32;
    const ALIGN: usize = 8;

    fn put(value: &U256, out: &mut [u8]) -> Result<(), Reason> {
        ByteArray::<32>::put(&value.0, out)
    }

    fn get(data: &[u8]) -> Result<U256, Reason> {
        ByteArray::<32>::get(data).map(U256)
    }
}

impl Codec for Plain<Uuid> {
    type Value = Uuid;
    const SIZE: usize = 16;
    const ALIGN: usize = 1;

    fn put(value: &Uuid, out: &mut [u8]) -> Result<(), Reason> {
        ByteArray::<16>::put(&value.0, out)
    }

    fn get(data: &[u8]) -> Result<Uuid, Reason> {
        ByteArray::<16>::get(data).map(Uuid)
    }
}

impl Codec for Plain<Datetime> {
    type Value = Datetime;
    const SIZE: usize = 8;
    const ALIGN: usize = 8;

    fn put(value: &Datetime, out: &mut [u8]) -> Result<(), Reason> {
        Plain::<i64>::put(&value.0, out)
    }

    fn get(data: &[u8]) -> Result<Datetime, Reason> {
        Plain::<i64>::get(data).map(Datetime)
    }

    fn measure(value: &Datetime) -> Measure {
        Measure::Int(value.0.into())
    }
}

impl Codec for Plain<Decimal> {
    type Value = Decimal;
    const SIZE: usize = 24;
    const ALIGN: usize = 8;

    fn put(value: &Decimal, out: &mut [u8]) -> Result<(), Reason> {
        check_scale(value.scale)?;
        out[..16].copy_from_slice(&value.digits.to_le_bytes());
        out[16] = value.scale;
        Ok(())
    }

    fn get(data: &[u8]) -> Result<Decimal, Reason> {
        check_scale(data[16])?;
        zeros(&data[17..24], 17)?;
        let mut digits = [0; 16];
        digits.copy_from_slice(&data[..16]);
        Ok(Decimal { digits: i128::from_le_bytes(digits), scale: data[16] })
    }
}

fn check_scale(scale: u8) -> Result<(), Reason> {
    if scale <= Decimal::SCALE {
        return Ok(());
    }
    Err(Reason::Value { value: scale.into(), expected: "scale of a Decimal (0 to 38)" })
}

/// Writes a length; gives what is behind its head.
fn put_head(len: usize, most: usize, out: &mut [u8]) -> Result<&mut [u8], Reason> {
    let word = u16::try_from(len).ok().filter(|_| len <= most);
    let word = word.ok_or(Reason::Capacity { len, most })?;
    out[..2].copy_from_slice(&word.to_le_bytes());
    Ok(&mut out[HEAD_BYTES..])
}

/// A length, and what is behind its head.
fn get_head(data: &[u8], most: usize) -> Result<(usize, &[u8]), Reason> {
    let len = usize::from(u16::from_le_bytes([data[0], data[1]]));
    if len > most {
        return Err(Reason::Capacity { len, most });
    }
    zeros(&data[2..HEAD_BYTES], 2)?;
    Ok((len, &data[HEAD_BYTES..]))
}

/// `Vec<u8>(N)` and `bytes(N)`.
#[derive(Debug)]
pub struct Bytes<const N: usize>;

impl<const N: usize> Bytes<N> {
    fn put_slice(value: &[u8], out: &mut [u8]) -> Result<(), Reason> {
        put_head(value.len(), N, out)?[..value.len()].copy_from_slice(value);
        Ok(())
    }

    fn get_slice(data: &[u8]) -> Result<&[u8], Reason> {
        let (len, rest) = get_head(data, N)?;
        zeros(&rest[len..], HEAD_BYTES + len)?;
        Ok(&rest[..len])
    }
}

impl<const N: usize> Codec for Bytes<N> {
    type Value = Vec<u8>;
    const SIZE: usize = HEAD_BYTES + N;
    const ALIGN: usize = 8;

    fn put(value: &Vec<u8>, out: &mut [u8]) -> Result<(), Reason> {
        Self::put_slice(value, out)
    }

    fn get(data: &[u8]) -> Result<Vec<u8>, Reason> {
        Self::get_slice(data).map(<[u8]>::to_vec)
    }

    fn measure(value: &Vec<u8>) -> Measure {
        Measure::Length(value.len())
    }
}

/// `String(N)`.
#[derive(Debug)]
pub struct Str<const N: usize>;

impl<const N: usize> Codec for Str<N> {
    type Value = String;
    const SIZE: usize = HEAD_BYTES + N;
    const ALIGN: usize = 8;

    fn put(value: &String, out: &mut [u8]) -> Result<(), Reason> {
        Bytes::<N>::put_slice(value.as_bytes(), out)
    }

    fn get(data: &[u8]) -> Result<String, Reason> {
        let bytes = Bytes::<N>::get_slice(data)?;
        let text = str::from_utf8(bytes);
        text.map(str::to_owned).map_err(|error| Reason::Utf8 { at: error.valid_up_to() })
    }

    fn measure(value: &String) -> Measure {
        Measure::Length(value.len())
    }
}

/// `JSON(N)`.
#[derive(Debug)]
pub struct JsonText<const N: usize>;

impl<const N: usize> Codec for JsonText<N> {
    type Value = Json;
    const SIZE: usize = HEAD_BYTES + N;
    const ALIGN: usize = 8;

    fn put(value: &Json, out: &mut [u8]) -> Result<(), Reason> {
        Str::<N>::put(&value.0, out)
    }

    fn get(data: &[u8]) -> Result<Json, Reason> {
        Str::<N>::get(data).map(Json)
    }

    fn measure(value: &Json) -> Measure {
        Measure::Length(value.0.len())
    }
}

/// `[u8; N]`.
#[derive(Debug)]
pub struct ByteArray<const N: usize>;

impl<const N: usize> Codec for ByteArray<N> {
    type Value = [u8; N];
    const SIZE: usize = N;
    const ALIGN: usize = 1;

    fn put(value: &[u8; N], out: &mut [u8]) -> Result<(), Reason> {
        out.copy_from_slice(value);
        Ok(())
    }

    fn get(data: &[u8]) -> Result<[u8; N], Reason> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(data);
        Ok(bytes)
    }
}

/// `[T; N]`.
#[derive(Debug)]
pub struct Array<C, const N: usize>(PhantomData<C>);

impl<C: Codec, const N: usize> Codec for Array<C, N> {
    type Value = [C::Value; N];
    const SIZE: usize = C::STRIDE * N;
    const ALIGN: usize = C::ALIGN;

    fn put(value: &[C::Value; N], out: &mut [u8]) -> Result<(), Reason> {
        put_elements::<C>(value, out)
    }

    fn get(data: &[u8]) -> Result<[C::Value; N], Reason> {
        let values = get_elements::<C>(data, N, 0)?;
        // `get_elements` gives as many as it is asked for.
        values.try_into().map_err(|other: Vec<_>| Reason::Capacity { len: other.len(), most: N })
    }
}

/// `Vec<T>(N)`.
#[derive(Debug)]
pub struct List<C, const N: usize>(PhantomData<C>);

impl<C: Codec, const N: usize> Codec for List<C, N> {
    type Value = Vec<C::Value>;
    const SIZE: usize = HEAD_BYTES + C::STRIDE * N;
    const ALIGN: usize = 8;

    fn put(value: &Vec<C::Value>, out: &mut [u8]) -> Result<(), Reason> {
        put_elements::<C>(value, put_head(value.len(), N, out)?)
    }

    fn get(data: &[u8]) -> Result<Vec<C::Value>, Reason> {
        let (len, rest) = get_head(data, N)?;
        let values = get_elements::<C>(rest, len, HEAD_BYTES)?;
        let used = C::STRIDE * len;
        zeros(&rest[used..], HEAD_BYTES + used)?;
        Ok(values)
    }

    fn measure(value: &Vec<C::Value>) -> Measure {
        Measure::Length(value.len())
    }
}

fn put_elements<C: Codec>(values: &[C::Value], out: &mut [u8]) -> Result<(), Reason> {
    for (value, place) in values.iter().zip(out.chunks_exact_mut(C::STRIDE)) {
        C::put(value, &mut place[..C::SIZE])?;
    }
    Ok(())
}

fn get_elements<C: Codec>(data: &[u8], len: usize, at: usize) -> Result<Vec<C::Value>, Reason> {
    let places = data.chunks_exact(C::STRIDE).take(len).enumerate();
    let values = places.map(|(index, place)| {
        let start = at + index * C::STRIDE;
        let value = C::get(&place[..C::SIZE]).map_err(|reason| within(reason, start))?;
        zeros(&place[C::SIZE..], start + C::SIZE)?;
        Ok(value)
    });
    values.collect()
}

/// `Option<T>`: a byte that says whether there is a value, and its place.
#[derive(Debug)]
pub struct Opt<C>(PhantomData<C>);

impl<C: Codec> Codec for Opt<C> {
    type Value = Option<C::Value>;
    const SIZE: usize = C::ALIGN + C::SIZE;
    const ALIGN: usize = C::ALIGN;

    fn put(value: &Option<C::Value>, out: &mut [u8]) -> Result<(), Reason> {
        let Some(value) = value else { return Ok(()) };
        out[0] = 1;
        C::put(value, &mut out[C::ALIGN..])
    }

    fn get(data: &[u8]) -> Result<Option<C::Value>, Reason> {
        match data[0] {
            0 => zeros(&data[1..], 1).map(|()| None),
            1 => {
                zeros(&data[1..C::ALIGN], 1)?;
                let value = C::get(&data[C::ALIGN..]);
                value.map(Some).map_err(|reason| within(reason, C::ALIGN))
            }
            other => Err(Reason::Value { value: other.into(), expected: "Option (0 or 1)" }),
        }
    }

    fn measure(value: &Option<C::Value>) -> Measure {
        value.as_ref().map_or(Measure::None, C::measure)
    }
}

#[cfg(test)]
mod tests;
