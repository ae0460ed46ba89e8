//! Value binning, as scGPT and scFormer tokenise expression.
//!
//! A cell's non-zero values are cut at `n_bins − 1` of their own quantiles. Ties make several edges
//! equal; a value on such a run may go to any of the bins it separates. scGPT draws one of
//! them ([`bin_row`]), scFormer takes the highest ([`bin_row_highest`]). Zeros stay bin 0.

use rand::RngExt as _;

use crate::error::{DataError, Result};
use crate::rng;

/// Maximum number of bins: scGPT uses 51, and bins must fit the embedding tables of published
/// weights.
pub const MAX_BINS: usize = 65_535;

/// Quantile edges of a row, and the bins each of its values may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Admissible {
    /// `n_bins − 1` edges, ascending, ties kept; empty when the row has no non-zero value.
    pub edges: Vec<f64>,
    /// Number of edges below each value: bins from `below + 1` are admissible.
    below: Vec<u32>,
    /// Number of edges up to each value: the highest admissible bin.
    up_to: Vec<u32>,
}

impl Admissible {
    /// The lowest bin of every value (0 for zeros).
    pub fn lo(&self) -> Vec<u32> {
        // Without an edge on the value there is one bin; with some, the lowest is one above.
        self.below
            .iter()
            .zip(&self.up_to)
            .map(|(&r, &l)| if l == r { l } else { r + 1 })
            .collect()
    }

    /// The highest bin of every value (0 for zeros).
    pub fn hi(&self) -> &[u32] {
        &self.up_to
    }
}

/// Edges and admissible bins of the values of one cell; zeros are allowed.
///
/// The edges are numpy's: linear interpolation between order statistics of float32 values, the
/// difference of neighbours rounded to float32 before it is scaled in float64.
///
/// # Errors
/// [`DataError::Invalid`] when `n_bins` is below 2 or above [`MAX_BINS`], or a value is negative or
/// not finite.
pub fn admissible(values: &[f32], n_bins: usize) -> Result<Admissible> {
    if !(2..=MAX_BINS).contains(&n_bins) {
        return Err(DataError::invalid(format!(
            "bins = {n_bins}; must lie between 2 and {MAX_BINS}"
        )));
    }
    if let Some(k) = values.iter().position(|v| !(v.is_finite() && *v >= 0.0)) {
        return Err(DataError::invalid(format!(
            "value {} at position {k} cannot be binned; expression must be finite and not negative",
            values[k]
        )));
    }
    let mut sorted: Vec<f32> = values.iter().copied().filter(|v| *v > 0.0).collect();
    if sorted.is_empty() {
        let zeros = vec![0; values.len()];
        return Ok(Admissible {
            edges: Vec::new(),
            below: zeros.clone(),
            up_to: zeros,
        });
    }
    sorted.sort_unstable_by(f32::total_cmp);
    let edges = quantiles(&sorted, n_bins - 1);
    let count = |v: f32, up_to: fn(&f64, f64) -> bool| {
        if v == 0.0 {
            0
        } else {
            edges.partition_point(|e| up_to(e, f64::from(v))) as u32
        }
    };
    let below = values.iter().map(|&v| count(v, |e, v| *e < v)).collect();
    let up_to = values.iter().map(|&v| count(v, |e, v| *e <= v)).collect();
    Ok(Admissible {
        edges,
        below,
        up_to,
    })
}

/// `count` equally spaced quantiles of ascending values, from the smallest to the largest.
fn quantiles(sorted: &[f32], count: usize) -> Vec<f64> {
    let last = sorted.len() - 1;
    // numpy.linspace multiplies by the step and sets the last level exactly.
    let step = if count > 1 {
        1.0 / (count - 1) as f64
    } else {
        0.0
    };
    (0..count)
        .map(|k| {
            let level = if k > 0 && k + 1 == count {
                1.0
            } else {
                k as f64 * step
            };
            let position = level * last as f64;
            let floor = position.floor();
            let t = position - floor;
            let at = floor as usize;
            let (a, b) = (sorted[at.min(last)], sorted[(at + 1).min(last)]);
            let d = f64::from(b - a);
            if t >= 0.5 {
                f64::from(b) - d * (1.0 - t)
            } else {
                f64::from(a) + d * t
            }
        })
        .collect()
}

/// scGPT's bins of one cell; `draw` gives a number in `[0, 1)` for every non-zero value, in order.
///
/// # Errors
/// As [`admissible`].
pub fn bin_row(values: &[f32], n_bins: usize, draw: &mut dyn FnMut() -> f64) -> Result<Vec<u32>> {
    let sets = admissible(values, n_bins)?;
    Ok(values
        .iter()
        .enumerate()
        .map(|(k, &v)| {
            if v == 0.0 {
                return 0;
            }
            let (l, r) = (f64::from(sets.up_to[k]), f64::from(sets.below[k]));
            // The reference draws between its two counts, left side first, and rounds up.
            let bin = (draw() * (r - l) + l).ceil();
            bin as u32
        })
        .collect())
}

/// scGPT's bins of one cell, drawn from the stream of `(seed, "bins", cell, epoch)`.
///
/// # Errors
/// As [`admissible`].
pub fn bin_cell(
    values: &[f32],
    n_bins: usize,
    seed: u64,
    cell: u64,
    epoch: u64,
) -> Result<Vec<u32>> {
    let mut stream = rng::stream(seed, "bins", cell, epoch);
    bin_row(values, n_bins, &mut || stream.random::<f64>())
}

/// scFormer's bins of one cell: the highest admissible one, without a draw.
///
/// # Errors
/// As [`admissible`], and [`DataError::Invalid`] for a cell without counts, which scFormer refuses.
pub fn bin_row_highest(values: &[f32], n_bins: usize) -> Result<Vec<u32>> {
    let sets = admissible(values, n_bins)?;
    if sets.edges.is_empty() {
        return Err(DataError::invalid(
            "a cell without counts has no bins; filter empty cells first",
        ));
    }
    Ok(sets.up_to)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_cell_is_all_zero() {
        assert_eq!(bin_cell(&[0.0, 0.0], 51, 1, 2, 3).unwrap(), [0, 0]);
        assert!(bin_row_highest(&[0.0], 51).is_err());
        assert!(admissible(&[1.0, -1.0], 51).is_err());
    }

    proptest! {
        #[test]
        fn bins_are_admissible_and_depend_on_the_cell_only(
            values in prop::collection::vec(0u8..6, 1..60),
            n_bins in 2usize..60,
            cell in any::<u64>(),
        ) {
            let values: Vec<f32> = values.into_iter().map(f32::from).collect();
            let bins = bin_cell(&values, n_bins, 7, cell, 0).unwrap();
            let sets = admissible(&values, n_bins).unwrap();
            for (k, bin) in bins.iter().enumerate() {
                let lo = if values[k] == 0.0 { 0 } else { sets.lo()[k].min(sets.below[k]) };
                prop_assert!((lo..=sets.hi()[k]).contains(bin));
            }
            // Zeros between the values consume no draw: tokens do not depend on which genes are
            // kept.
            let kept: Vec<f32> = values.iter().copied().filter(|v| *v > 0.0).collect();
            let expected: Vec<u32> =
                bins.iter().zip(&values).filter(|(_, v)| **v > 0.0).map(|(b, _)| *b).collect();
            prop_assert_eq!(bin_cell(&kept, n_bins, 7, cell, 0).unwrap(), expected);
        }
    }
}
