//! Under construction.

pub mod names;
pub mod sys;
