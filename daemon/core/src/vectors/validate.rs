//! Everything that is checked before anything changes.

use std::collections::HashMap;

use ringfence_protocol::api::vectors::{Create, Metric};
use ringfence_protocol::disarm::is_armed;

use super::limits;
use super::measure::length;
use super::refusal::{Refusal, Which};

/// What a collection is made with; stays what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) dim: usize,
    pub(super) metric: Metric,
    pub(super) connectivity: usize,
    pub(super) ef_add: usize,
    pub(super) ef_search: usize,
}

impl Shape {
    /// The shape that `create` asks for, defaults filled in.
    pub(super) fn of(create: &Create<'_>) -> Result<Self, Refusal> {
        if !(1..=limits::DIM).contains(&create.dim) {
            return Err(Refusal::Dim { dim: create.dim });
        }
        let metric =
            Metric::from_u8(create.metric).ok_or(Refusal::Metric { number: create.metric })?;
        let (least, most) = limits::CONNECTIVITY.into_inner();
        let connectivity = or_default(
            "connectivity",
            create.connectivity,
            (least, most),
            limits::DEFAULT_CONNECTIVITY,
        )?;
        let ef_add =
            or_default("ef_add", create.ef_add, (1, limits::EF_ADD), limits::DEFAULT_EF_ADD)?;
        let ef_search =
            or_default("ef_search", create.ef_search, (1, limits::EF), limits::DEFAULT_EF_SEARCH)?;
        Ok(Self {
            dim: create.dim as usize,
            metric,
            connectivity,
            // A list is chosen from at least as many candidates as it has places.
            ef_add: ef_add.max(connectivity + 1),
            ef_search,
        })
    }

    /// Dimensions and options, as they are asked for.
    pub(super) fn numbers(&self) -> [u32; 4] {
        [self.dim, self.connectivity, self.ef_add, self.ef_search].map(|number| number as u32)
    }

    /// Dimensions and metric, for an error.
    pub(super) fn describe(&self) -> String {
        format!("dim {} and metric {}", self.dim, self.metric.name())
    }

    /// May `create` find this collection there, when it asks for `other`?
    pub(super) fn check_same(&self, other: &Shape, create: &Create<'_>) -> Result<(), Refusal> {
        let (name, there) = (create.name.to_owned(), self.describe());
        if !create.exist_ok {
            return Err(Refusal::Exists { name, there });
        }
        if (self.dim, self.metric) != (other.dim, other.metric) {
            return Err(Refusal::ExistsOtherwise { name, there, asked: other.describe() });
        }
        Ok(())
    }

    /// Is `values` a vector that this collection can compare?
    pub(super) fn check_vector(&self, values: &[f32], which: Which) -> Result<(), Refusal> {
        if values.len() != self.dim {
            return Err(Refusal::Dimensions { which, got: values.len(), expected: self.dim });
        }
        // One pass without a branch in it: NaN fails the comparison like everything too large.
        let fits = values.iter().fold(true, |fine, v| fine & (v.abs() <= limits::MAGNITUDE));
        if !fits && is_armed("vectors.values") {
            return Err(self.unfit(values, which));
        }
        if self.metric == Metric::Cosine {
            let length = length(values);
            if length < limits::SHORTEST && is_armed("vectors.length") {
                return Err(Refusal::Short { which, length });
            }
        }
        Ok(())
    }

    #[cold]
    fn unfit(&self, values: &[f32], which: Which) -> Refusal {
        let column =
            values.iter().position(|v| v.is_nan() || v.abs() > limits::MAGNITUDE).unwrap_or(0);
        let value = values[column];
        if value.is_finite() {
            Refusal::TooFar { which, column, value }
        } else {
            Refusal::NotFinite { which, column, value }
        }
    }

    /// Are these rows that this collection can hold, an id each?
    pub(super) fn check_rows(&self, ids: &[u64], rows: &[f32]) -> Result<(), Refusal> {
        let dim = self.dim;
        if ids.len().checked_mul(dim) != Some(rows.len()) {
            // The usual mistake: as many rows as ids, of another dimension.
            return Err(match rows.len().checked_rem(ids.len()) {
                Some(0) => Refusal::Dimensions {
                    which: Which::Row(0),
                    got: rows.len() / ids.len(),
                    expected: dim,
                },
                _ => Refusal::Length { ids: ids.len(), numbers: rows.len(), dim },
            });
        }
        for (at, row) in rows.chunks_exact(dim).enumerate() {
            self.check_vector(row, Which::Row(at))?;
        }
        let mut first_of = HashMap::with_capacity(ids.len());
        for (row, id) in ids.iter().enumerate() {
            if *id == u64::MAX && is_armed("vectors.ids") {
                return Err(Refusal::ReservedId { row });
            }
            if let Some(first) = first_of.insert(*id, row) {
                return Err(Refusal::Twice { id: *id, first, second: row });
            }
        }
        Ok(())
    }

    /// Are these whole vectors?
    pub(super) fn check_queries(&self, queries: &[f32]) -> Result<(), Refusal> {
        if !queries.len().is_multiple_of(self.dim) {
            return Err(Refusal::Queries { numbers: queries.len(), dim: self.dim });
        }
        for (at, query) in queries.chunks_exact(self.dim).enumerate() {
            self.check_vector(query, Which::QueryOf(at))?;
        }
        Ok(())
    }

    /// How many candidates a search keeps.
    pub(super) fn beam_width(&self, k: u32, ef: u32) -> Result<usize, Refusal> {
        if !(1..=limits::K).contains(&k) && is_armed("vectors.k") {
            return Err(Refusal::K { k });
        }
        let ef = or_default("ef", ef, (1, limits::EF), self.ef_search as u32)?;
        Ok(ef.max(k as usize))
    }
}

fn or_default(
    option: &'static str,
    value: u32,
    (least, most): (u32, u32),
    default: u32,
) -> Result<usize, Refusal> {
    match value {
        0 => Ok(default as usize),
        _ if (least..=most).contains(&value) || !is_armed("vectors.options") => Ok(value as usize),
        _ => Err(Refusal::Option { option, value, least, most }),
    }
}

/// May a collection be named so?
pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    if !(1..=limits::NAME_BYTES).contains(&name.len()) || name.chars().any(char::is_control) {
        let shown: String = name.chars().take(limits::NAME_BYTES).collect();
        return Err(Refusal::Name { name: shown, bytes: name.len() });
    }
    Ok(())
}
