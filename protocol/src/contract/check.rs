//! What a contract may not say.
//!
//! Invariants: a checked contract has its messages in the order of their numbers, the rules of each
//! field in a fixed order and none of them twice or empty of meaning; every message fits into
//! [`limits::MESSAGE_BYTES`]; every name can be written in Rust and in Python.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::contract::{Contract, Field, FieldType, MessageType, Number, Rule};
use crate::limits::{self, MESSAGE_BYTES, MESSAGE_FIELDS, MESSAGE_NAME_BYTES, MESSAGES};

/// Why a contract is none. `path` says where, such as `TextMessage.sender`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ContractError {
    /// A name that cannot be one.
    #[error("{path}: `{name}` is no name for it: {why}")]
    Name {
        /// Where.
        path: String,
        /// The name.
        name: String,
        /// What a name must be.
        why: &'static str,
    },
    /// Two with the same name or number.
    #[error("{path}: {what} is taken by `{other}`")]
    Taken {
        /// Where.
        path: String,
        /// The name or the number.
        what: String,
        /// Who has it.
        other: String,
    },
    /// Too many of something, or too large.
    #[error("{path}: {value} {what}, the most is {most}")]
    TooMany {
        /// Where.
        path: String,
        /// How many.
        value: usize,
        /// Of what.
        what: &'static str,
        /// The most that there may be.
        most: usize,
    },
    /// A number outside of the ranges for applications.
    #[error("{path}: type number {type_id} {why}")]
    TypeId {
        /// Where.
        path: String,
        /// The number.
        type_id: u16,
        /// What it is for.
        why: String,
    },
    /// Ranges of numbers that overlap or are empty.
    #[error("tag_ranges: {0}")]
    Ranges(String),
    /// A rule that its field cannot keep, or has already.
    #[error("{path}: rule `{rule}` {why}")]
    Rule {
        /// Where.
        path: String,
        /// The rule.
        rule: &'static str,
        /// Why not.
        why: String,
    },
    /// The version is older than what it wants.
    #[error("schema: min_compatible {min_compatible} is over version {version}")]
    Version {
        /// The version.
        version: u16,
        /// The oldest that may take part.
        min_compatible: u16,
    },
}

/// Fields that generated classes could not have.
const TAKEN_FIELDS: [&str; 8] =
    ["self", "super", "crate", "to_bytes", "from_bytes", "write_to", "cls", "data"];

/// Messages that would hide what generated code or its readers need.
const TAKEN_MESSAGES: [&str; 14] = [
    "Self",
    "None",
    "True",
    "False",
    "Some",
    "Ok",
    "Err",
    "Option",
    "Result",
    "String",
    "Vec",
    "Box",
    "TypedMessage",
    "Invalid",
];

impl Contract {
    /// Brings the contract into its order and says whether it is one: warnings if it is.
    ///
    /// # Errors
    /// [`ContractError`], the first that is found.
    pub fn check(&mut self) -> Result<Vec<String>, ContractError> {
        if self.min_compatible > self.version {
            let (version, min_compatible) = (self.version, self.min_compatible);
            return Err(ContractError::Version { version, min_compatible });
        }
        self.check_ranges()?;
        at_most("messages", self.messages.len(), "messages", MESSAGES)?;
        self.messages.sort_by_key(|message| message.type_id);
        let mut names = BTreeMap::new();
        let mut warnings = Vec::new();
        for index in 0..self.messages.len() {
            let message = &self.messages[index];
            if let Some(other) = names.insert(message.name.clone(), message.type_id) {
                let (path, what) = (message.name.clone(), format!("the name `{}`", message.name));
                return Err(ContractError::Taken { path, what, other: other.to_string() });
            }
            if let Some(before) = index.checked_sub(1).map(|before| &self.messages[before])
                && before.type_id == message.type_id
            {
                let what = format!("type number {}", message.type_id);
                let (path, other) = (message.name.clone(), before.name.clone());
                return Err(ContractError::Taken { path, what, other });
            }
            warnings.extend(self.check_type_id(message)?);
            self.messages[index].check()?;
        }
        Ok(warnings)
    }

    fn check_ranges(&self) -> Result<(), ContractError> {
        let ranges = &self.ranges;
        let mut all =
            [("core", &ranges.core), ("app", &ranges.app), ("experimental", &ranges.experimental)];
        if let Some((name, range)) = all.iter().find(|(_, range)| range.is_empty()) {
            let text = format!("{name} is empty: {} to {}", range.start(), range.end());
            return Err(ContractError::Ranges(text));
        }
        all.sort_by_key(|(_, range)| *range.start());
        for pair in all.windows(2) {
            let ((low, first), (high, second)) = (pair[0], pair[1]);
            if first.end() >= second.start() {
                let both = format!("{low} and {high} both have {}", second.start());
                return Err(ContractError::Ranges(both));
            }
        }
        Ok(())
    }

    fn check_type_id(&self, message: &MessageType) -> Result<Option<String>, ContractError> {
        let (ranges, type_id) = (&self.ranges, message.type_id);
        let text = |range: &RangeInclusive<u16>| format!("{} to {}", range.start(), range.end());
        let refused =
            |why: String| Err(ContractError::TypeId { path: message.name.clone(), type_id, why });
        let (app, core) = (text(&ranges.app), text(&ranges.core));
        if ranges.experimental.contains(&type_id) {
            let name = &message.name;
            let range = text(&ranges.experimental);
            return Ok(Some(format!(
                "{name}: type number {type_id} is experimental ({range}); give it one of {app} before \
                 others depend on it"
            )));
        }
        match ranges.app.contains(&type_id) {
            true => Ok(None),
            false if ranges.core.contains(&type_id) => {
                refused(format!("is in the core range ({core}); take one of {app}"))
            }
            false => refused(format!("is in no range; take one of {app}")),
        }
    }
}

fn at_most(path: &str, value: usize, what: &'static str, most: usize) -> Result<(), ContractError> {
    if value <= most {
        return Ok(());
    }
    Err(ContractError::TooMany { path: path.into(), value, what, most })
}

impl MessageType {
    fn check(&mut self) -> Result<(), ContractError> {
        let path = self.name.clone();
        let upper = |c: char| c.is_ascii_uppercase();
        check_name(&path, &path, upper, |c| c.is_ascii_alphanumeric(), "write it LikeThis")?;
        if TAKEN_MESSAGES.contains(&&*path) {
            let why = "generated code needs that name";
            return Err(ContractError::Name { path: path.clone(), name: path, why });
        }
        at_most(&path, self.fields.len(), "fields", MESSAGE_FIELDS)?;
        for index in 0..self.fields.len() {
            let (before, rest) = self.fields.split_at_mut(index);
            let field = &mut rest[0];
            let at = format!("{path}.{}", field.name);
            if before.iter().any(|other| other.name == field.name) {
                let what = "the name".into();
                return Err(ContractError::Taken { path: at, what, other: field.name.clone() });
            }
            field.check(&at)?;
        }
        at_most(&path, self.layout().size, "bytes", MESSAGE_BYTES)
    }
}

fn check_name(
    path: &str,
    name: &str,
    first: impl Fn(char) -> bool,
    others: impl Fn(char) -> bool,
    why: &'static str,
) -> Result<(), ContractError> {
    at_most(path, name.len(), "bytes of a name", MESSAGE_NAME_BYTES)?;
    if name.starts_with(first) && name.chars().all(others) {
        return Ok(());
    }
    Err(ContractError::Name { path: path.into(), name: name.into(), why })
}

impl Field {
    fn check(&mut self, path: &str) -> Result<(), ContractError> {
        let other = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        check_name(path, &self.name, |c| c.is_ascii_lowercase(), other, "write it like_this")?;
        // Python's `class_` is the `class` of a contract.
        if self.name.ends_with('_') {
            let (path, name) = (path.into(), self.name.clone());
            return Err(ContractError::Name { path, name, why: "its last letter must not be `_`" });
        }
        if TAKEN_FIELDS.contains(&&*self.name) {
            let (path, name) = (path.into(), self.name.clone());
            return Err(ContractError::Name { path, name, why: "generated code needs that name" });
        }
        at_most(path, self.ty.size(), "bytes", limits::MESSAGE_BYTES)?;
        self.rules.sort_by_key(Rule::order);
        for pair in self.rules.windows(2) {
            if pair[0].name() == pair[1].name() {
                return Err(refused(path, &pair[0], "stands there twice".into()));
            }
        }
        for rule in &self.rules {
            rule.check(path, &self.ty)?;
        }
        check_pairs(path, &self.rules)?;
        // What every value keeps by its type says nothing.
        let capacity = self.ty.capacity();
        self.rules.retain(|rule| match rule {
            Rule::MaxLength(most) => Some(*most) != capacity,
            Rule::MinLength(least) => *least > 0,
            _ => true,
        });
        Ok(())
    }
}

fn refused(path: &str, rule: &Rule, why: String) -> ContractError {
    ContractError::Rule { path: path.into(), rule: rule.name(), why }
}

/// Two rules that no value keeps both of.
fn check_pairs(path: &str, rules: &[Rule]) -> Result<(), ContractError> {
    let (mut least, mut low) = (None, None);
    for rule in rules {
        match (rule, least, low) {
            (Rule::MinLength(n), ..) => least = Some(*n),
            (Rule::MaxLength(most), Some(least), _) if least > *most => {
                let why = format!("{most} is under min_length {least}");
                return Err(refused(path, rule, why));
            }
            (Rule::Min(number), ..) => low = Some(*number),
            (Rule::Max(most), _, Some(low)) if low.over(most) => {
                return Err(refused(path, rule, format!("{most} is under min {low}")));
            }
            _ => {}
        }
    }
    Ok(())
}

impl Rule {
    const fn order(&self) -> u8 {
        match self {
            Rule::MinLength(_) => 0,
            Rule::MaxLength(_) => 1,
            Rule::NotEmpty => 2,
            Rule::Min(_) => 3,
            Rule::Max(_) => 4,
        }
    }

    /// Can a field of this type keep it?
    fn check(&self, path: &str, ty: &FieldType) -> Result<(), ContractError> {
        let wrong = |why: String| Err(refused(path, self, why));
        match (self, ty.capacity()) {
            (Rule::MinLength(n) | Rule::MaxLength(n), Some(most)) if *n > most => {
                wrong(format!("{n} is over the capacity of `{ty}`"))
            }
            (Rule::MinLength(_) | Rule::MaxLength(_) | Rule::NotEmpty, Some(_)) => Ok(()),
            (Rule::MinLength(_) | Rule::MaxLength(_) | Rule::NotEmpty, None) => {
                wrong(format!("is for String, bytes, JSON and Vec, not for `{ty}`"))
            }
            (Rule::Min(number) | Rule::Max(number), _) => match (number, ty.inner()) {
                (Number::Float(value), FieldType::F32 | FieldType::F64) if value.is_finite() => {
                    Ok(())
                }
                (Number::Float(value), FieldType::F32 | FieldType::F64) => {
                    wrong(format!("takes a finite number, not {value}"))
                }
                (Number::Int(value), inner) => match inner.range() {
                    Some((low, high)) if (low..=high).contains(value) => Ok(()),
                    Some((low, high)) => {
                        wrong(format!("is {value}; `{inner}` takes {low} to {high}"))
                    }
                    None => wrong(format!("is for numbers, not for `{ty}`")),
                },
                _ => wrong(format!("takes a number that `{ty}` has")),
            },
        }
    }
}
