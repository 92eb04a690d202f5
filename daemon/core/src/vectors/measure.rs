//! Distances between two vectors: in float32 to rank rows, in float64 to answer.
//!
//! Plain loops over sixteen sums side by side, which the compiler turns into vector instructions.

use std::iter::Sum;
use std::ops::Add;

use ringfence_protocol::api::vectors::Metric;

/// Sums side by side: as many as the widest registers hold.
const LANES: usize = 16;

/// The Euclidean length of a vector.
pub(super) fn length(values: &[f32]) -> f64 {
    sum(values, values, |a, b| f64::from(a) * f64::from(b)).sqrt()
}

/// A number that is smaller the nearer `row` is to `query`. Not a distance: what is the same for
/// all rows is left out.
pub(super) fn rank(metric: Metric, query: &[f32], row: &[f32]) -> f32 {
    match metric {
        Metric::L2 => sum(query, row, |a, b| (a - b) * (a - b)),
        Metric::Dot => -sum(query, row, |a, b| a * b),
        Metric::Cosine => -sum(query, row, |a, b| a * b) / sum(row, row, |a, b| a * b).sqrt(),
    }
}

/// The distance between a query, of length `length`, and a row.
pub(super) fn distance(metric: Metric, query: &[f32], length_of_query: f64, row: &[f32]) -> f32 {
    let product = || sum(query, row, |a, b| f64::from(a) * f64::from(b));
    let distance = match metric {
        Metric::L2 => sum(query, row, |a, b| (f64::from(a) - f64::from(b)).powi(2)),
        Metric::Dot => 1.0 - product(),
        // Rounding may put the cosine of a vector with itself above 1.
        Metric::Cosine => (1.0 - product() / (length_of_query * length(row))).max(0.0),
    };
    distance as f32
}

#[inline(always)]
fn sum<T: Copy + Default + Add<Output = T> + Sum>(
    a: &[f32],
    b: &[f32],
    step: impl Fn(f32, f32) -> T,
) -> T {
    let ((whole_a, rest_a), (whole_b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let rest: T = rest_a.iter().zip(rest_b).map(|(a, b)| step(*a, *b)).sum();
    let mut sums = [T::default(); LANES];
    for (a, b) in whole_a.iter().zip(whole_b) {
        sums = std::array::from_fn(|at| sums[at] + step(a[at], b[at]));
    }
    sums.into_iter().sum::<T>() + rest
}
