//! Reads a type as it is written: `u64`, `String(32)`, `Vec<[u8; 20]>(10)`, `Option<f64>`.
//!
//! Invariants: what it gives is a type that [`FieldType`]'s `Display` writes the same way again, no
//! deeper than [`TYPE_DEPTH`], without empty arrays and without options of options.

use crate::contract::FieldType;
use crate::limits::TYPE_DEPTH;

/// Why a text is no type of a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypeError {
    /// A name that is no type's.
    #[error(
        "`{0}` is no type; there are bool, u8, u16, u32, u64, i8, i16, i32, i64, f32, f64, U256, UUID, \
         datetime, Decimal, String(n), bytes(n), JSON(n), [T; N], Vec<T>(n) and Option<T>"
    )]
    Unknown(String),
    /// Something else was due.
    #[error("type `{text}`: {expected} is missing at character {at}")]
    Syntax {
        /// The whole text.
        text: String,
        /// What was due.
        expected: &'static str,
        /// Where, from 1.
        at: usize,
    },
    /// A type with a length, and nobody said which.
    #[error("type `{text}` has no capacity: write {text}(n), or a rule max_length")]
    NoCapacity {
        /// The type.
        text: String,
    },
    /// A number that is none, zero, or too large.
    #[error("type `{text}`: `{number}` is no number from 1 to {most}")]
    Number {
        /// The whole text.
        text: String,
        /// What stands there.
        number: String,
        /// The greatest number that is taken.
        most: u64,
    },
    /// Nested too deeply.
    #[error("type `{text}` is nested more than {TYPE_DEPTH} deep")]
    Deep {
        /// The whole text.
        text: String,
    },
    /// An option of an option.
    #[error("type `{text}`: an option of an option is one option; remove `Option` or `optional`")]
    TwoOptions {
        /// The whole text.
        text: String,
    },
}

impl FieldType {
    /// The type that a text names. `capacity` is that of an outermost type which names none.
    ///
    /// ```
    /// # use ringfence_protocol::contract::FieldType;
    /// let items = FieldType::parse("Vec<[u8; 20]>(10)", None)?;
    /// assert_eq!((items.size(), items.align()), (208, 8));
    /// assert_eq!(FieldType::parse("String", Some(32))?.to_string(), "String(32)");
    /// # Ok::<(), ringfence_protocol::contract::TypeError>(())
    /// ```
    ///
    /// # Errors
    /// [`TypeError`], which says where.
    pub fn parse(text: &str, capacity: Option<u16>) -> Result<Self, TypeError> {
        let mut reader = Reader { text, at: 0 };
        let found = reader.field_type(capacity, 1)?;
        reader.spaces();
        match reader.rest() {
            "" => Ok(found),
            _ => Err(reader.missing("the end")),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn missing(&self, expected: &'static str) -> TypeError {
        let at = self.text[..self.at].chars().count() + 1;
        TypeError::Syntax { text: self.text.into(), expected, at }
    }

    fn takes(&mut self, mark: char) -> bool {
        self.spaces();
        let found = self.rest().starts_with(mark);
        self.at += if found { mark.len_utf8() } else { 0 };
        found
    }

    fn needs(&mut self, mark: char, expected: &'static str) -> Result<(), TypeError> {
        if self.takes(mark) { Ok(()) } else { Err(self.missing(expected)) }
    }

    fn word(&mut self) -> &'t str {
        self.spaces();
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn number(&mut self, most: u32) -> Result<u32, TypeError> {
        let word = self.word();
        let number = word.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| TypeError::Number {
            text: self.text.into(),
            number: word.into(),
            most: most.into(),
        })
    }

    fn field_type(&mut self, capacity: Option<u16>, depth: usize) -> Result<FieldType, TypeError> {
        if depth > TYPE_DEPTH {
            return Err(TypeError::Deep { text: self.text.into() });
        }
        if self.takes('[') {
            let element = self.field_type(None, depth + 1)?;
            self.needs(';', "`;`")?;
            let count = self.number(u32::MAX)?;
            self.needs(']', "`]`")?;
            return Ok(FieldType::Array(Box::new(element), count));
        }
        let start = self.at;
        match self.word() {
            "" => Err(self.missing("a type")),
            "String" => self.capacity(start, capacity).map(FieldType::String),
            "bytes" => self.capacity(start, capacity).map(FieldType::Bytes),
            "JSON" => self.capacity(start, capacity).map(FieldType::Json),
            "Vec" => {
                let element = Box::new(self.element(None, depth)?);
                self.capacity(start, capacity).map(|n| FieldType::Vec(element, n))
            }
            "Option" => {
                let inner = self.element(capacity, depth)?;
                if matches!(inner, FieldType::Option(_)) {
                    return Err(TypeError::TwoOptions { text: self.text.into() });
                }
                Ok(FieldType::Option(Box::new(inner)))
            }
            word => {
                let known = FieldType::PLAIN.into_iter().find(|(name, _)| *name == word);
                known.map(|(_, plain)| plain).ok_or_else(|| TypeError::Unknown(word.into()))
            }
        }
    }

    fn element(&mut self, capacity: Option<u16>, depth: usize) -> Result<FieldType, TypeError> {
        self.needs('<', "`<`")?;
        let element = self.field_type(capacity, depth + 1)?;
        self.needs('>', "`>`")?;
        Ok(element)
    }

    /// What stands in parentheses, or else what was given.
    fn capacity(&mut self, start: usize, given: Option<u16>) -> Result<u16, TypeError> {
        let text = self.text[start..self.at].trim();
        if !self.takes('(') {
            return given.ok_or_else(|| TypeError::NoCapacity { text: text.into() });
        }
        let number = self.number(u16::MAX.into())?;
        self.needs(')', "`)`")?;
        // Checked: no more than u16::MAX.
        Ok(number as u16)
    }
}
