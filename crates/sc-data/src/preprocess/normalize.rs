//! Library-size normalisation, with scanpy's arithmetic.

use serde::{Deserialize, Serialize};

use crate::counts::RawCounts;
use crate::error::{DataError, Result};
use crate::preprocess::quantile::median;
use crate::sparse::CsrMatrix;

/// Library-size normalisation, as `scanpy.pp.normalize_total`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NormalizeConfig {
    /// Counts every cell is scaled to; `None` takes the median of the data.
    pub target: Option<f64>,
    /// Exclude genes from a cell's total that hold more than this share of it in any cell.
    pub exclude_above: Option<f64>,
}

impl Default for NormalizeConfig {
    fn default() -> Self {
        Self {
            target: Some(1e4),
            exclude_above: None,
        }
    }
}

/// The divisors of a normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeFactors {
    /// Divisor of every cell, `[cells]`: its total over `target`; 0 for an empty cell.
    pub factors: Vec<f64>,
    /// The target used.
    pub target: f64,
    /// Whether each gene counted towards the totals, `[genes]`; `None` when all did.
    pub kept_genes: Option<Vec<bool>>,
}

/// The divisors of every cell.
///
/// # Errors
/// [`DataError::Invalid`] when the target or share is not positive, or the data has no counts to take
/// a median of.
pub fn size_factors(counts: &RawCounts, config: &NormalizeConfig) -> Result<SizeFactors> {
    let matrix = counts.matrix();
    let mut totals = library_sizes(matrix);
    let mut kept_genes = None;
    if let Some(share) = config.exclude_above {
        if !(share > 0.0 && share <= 1.0) {
            return Err(DataError::invalid(format!(
                "exclude_above = {share}, but it must be in (0, 1]"
            )));
        }
        let mut kept = vec![true; matrix.cols()];
        for (row, &total) in totals.iter().enumerate() {
            let (indices, values) = matrix.row(row);
            for (&gene, &value) in indices.iter().zip(values) {
                if f64::from(value) > share * f64::from(total) {
                    kept[gene as usize] = false;
                }
            }
        }
        for (row, total) in totals.iter_mut().enumerate() {
            let (indices, values) = matrix.row(row);
            let sum: f64 = indices
                .iter()
                .zip(values)
                .filter(|(g, _)| kept[**g as usize])
                .map(|(_, &v)| f64::from(v))
                .sum();
            *total = sum as f32;
        }
        kept_genes = Some(kept);
    }
    let target = match config.target {
        Some(target) => target,
        // Over all cells, including empty ones, as in scanpy for sparse counts.
        None => median(totals.iter().map(|&t| f64::from(t)).collect())
            .map_or(f64::NAN, |m| f64::from(m as f32)),
    };
    if !(target > 0.0 && target.is_finite()) {
        return Err(DataError::invalid(format!(
            "normalisation target = {target}, but it must be above 0; are all cells empty?"
        )));
    }
    let factors = totals.iter().map(|&t| f64::from(t) / target).collect();
    Ok(SizeFactors {
        factors,
        target,
        kept_genes,
    })
}

/// Counts divided by [`size_factors`], before any logarithm.
///
/// # Errors
/// As [`size_factors`].
pub fn normalize_total(counts: &RawCounts, config: &NormalizeConfig) -> Result<CsrMatrix> {
    let factors = size_factors(counts, config)?;
    let mut matrix = counts.matrix().clone();
    divide(&mut matrix, &factors.factors);
    Ok(matrix)
}

/// Sum of every cell, `[cells]`; scanpy keeps totals in float32, summed in float64.
pub(crate) fn library_sizes(matrix: &CsrMatrix) -> Vec<f32> {
    let totals = matrix.row_sums().into_iter();
    totals.map(|t| t as f32).collect()
}

/// Divides every cell by its factor; a cell of factor 0 stays as it is.
pub(crate) fn divide(matrix: &mut CsrMatrix, factors: &[f64]) {
    for (row, &factor) in factors.iter().enumerate() {
        if factor > 0.0 {
            let factor = factor as f32;
            let values = matrix.row_values_mut(row).iter_mut();
            values.for_each(|v| *v /= factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusion_and_median_follow_scanpy_example() {
        // The example in the documentation of scanpy.pp.normalize_total.
        let dense = [3., 3., 3., 6., 6., 1., 1., 1., 2., 2., 1., 22., 1., 2., 2.];
        let counts = RawCounts::new(CsrMatrix::from_dense(5, &dense)).unwrap();
        let config = NormalizeConfig {
            target: Some(1.0),
            exclude_above: Some(0.2),
        };
        let got = normalize_total(&counts, &config).unwrap().to_dense();
        assert_eq!(&got[10..], &[0.5, 11.0, 0.5, 1.0, 1.0]);
        let factors = size_factors(
            &counts,
            &NormalizeConfig {
                target: None,
                exclude_above: None,
            },
        );
        assert_eq!(factors.unwrap().target, 21.0);
    }
}
