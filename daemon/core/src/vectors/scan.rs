//! Exact search: every row is looked at.
//!
//! Distances are computed in float32 for all rows and again in float64 for the nearest; [`SPARE`]
//! more than asked for are kept, so that a row whose float32 distance was rounded the wrong way is
//! not lost at the edge.

use std::collections::BinaryHeap;

use ringfence_protocol::api::vectors::Metric;
use ringfence_protocol::error::Error;

use super::measure::rank;
use super::table::{HIDDEN, Table};
use crate::engine::Call;

/// Candidates kept beyond the number asked for.
const SPARE: usize = 8;

/// Rows between two looks at the deadline: about 0.1 ms at 108 dimensions.
const STRETCH: u32 = 4096;

/// The `k` + [`SPARE`] shown rows nearest to `query`, in no order.
pub(super) fn scan(
    table: &Table,
    metric: Metric,
    query: &[f32],
    k: usize,
    call: &Call<'_>,
) -> Result<Vec<u32>, Error> {
    let keep = (k + SPARE).min(table.shown());
    let mut nearest: BinaryHeap<(i32, u32)> = BinaryHeap::with_capacity(keep + 1);
    for row in 0..table.len() as u32 {
        if row.is_multiple_of(STRETCH) {
            call.check()?;
        }
        let far = (order(rank(metric, query, table.row(row))), row);
        let full = nearest.len() == keep;
        if full && nearest.peek().is_none_or(|farthest| far > *farthest) {
            continue;
        }
        if table.id(row) == HIDDEN {
            continue;
        }
        nearest.push(far);
        if full {
            nearest.pop();
        }
    }
    Ok(nearest.into_iter().map(|(_, row)| row).collect())
}

/// A number in the order of `f32::total_cmp`, by the same trick.
fn order(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}
