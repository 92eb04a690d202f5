//! The types of values that Rust's own do not have.
//!
//! They hold what lies in a message and compare it. They do *not* calculate: for that there are crates.

use std::fmt;

/// An unsigned whole number of 256 bits: 32 bytes, the least significant first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct U256(pub [u8; 32]);

impl From<u128> for U256 {
    fn from(value: u128) -> Self {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&value.to_le_bytes());
        Self(bytes)
    }
}

/// A UUID: 16 bytes in the order in which they are written (RFC 9562).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// A point in time: nanoseconds since 1970 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Datetime(pub i64);

/// A decimal number: `digits` divided by ten to the power of `scale`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// All digits, with the sign.
    pub digits: i128,
    /// How many of them stand behind the point, up to [`Decimal::SCALE`].
    pub scale: u8,
}

impl Decimal {
    /// The most digits behind the point: as many as an i128 can have.
    pub const SCALE: u8 = 38;
}

/// JSON as text. Whoever reads it parses it: that it is well-formed is not checked here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Json(pub String);

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}
