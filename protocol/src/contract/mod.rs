//! Contracts: typed messages of a fixed layout, that programs in several languages share.
//!
//! A [`Contract`] says which messages there are; [`Contract::check`] that it is one. Each message is
//! a fixed number of bytes, little endian, every field at its natural alignment; whatever is no value
//! is zero, and readers refuse anything else, so that a value has exactly one encoding. The layout is
//! worked out in one place ([`FieldType::size`] and [`MessageType::layout`]); generated code asserts
//! what it found there. [`codec`] and [`record`] are the little that generated Rust needs.
//!
//! It does *not* read `contracts.yaml` or write source code: that is `ringfence codegen`. The messages
//! of engines, which are of variable length, are in [`crate::message`](mod@crate::message).

mod canonical;
mod check;
pub mod codec;
mod compat;
mod field_type;
mod model;
mod parse;
pub mod record;
mod topic;
mod values;

#[cfg(test)]
mod tests;

pub use canonical::{Difference, REGENERATE, difference};
pub use check::ContractError;
pub use compat::{Change, Compatibility, Issue, Report};
pub use field_type::FieldType;
pub use model::{Contract, Field, MessageLayout, MessageType, Number, Rule, TagRanges};
pub use parse::TypeError;
pub use record::{Invalid, TypedMessage};
pub use topic::topic;
pub use values::{Datetime, Decimal, Json, U256, Uuid};
