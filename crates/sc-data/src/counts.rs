//! Types that record which transformations were applied to the values.

use crate::error::{DataError, Result};
use crate::preprocess::normalize::{divide, library_sizes};
use crate::sparse::CsrMatrix;

/// Raw counts `[cells, genes]`: every value is a finite, non-negative integer.
#[derive(Clone, Debug, PartialEq)]
pub struct RawCounts(CsrMatrix);

impl RawCounts {
    /// Checks that `matrix` holds counts.
    ///
    /// # Errors
    /// [`DataError::Invalid`] names the first cell, gene and value that is not a count.
    pub fn new(matrix: CsrMatrix) -> Result<Self> {
        for row in 0..matrix.rows() {
            let (indices, values) = matrix.row(row);
            if let Some(k) = values.iter().position(|v| !is_count(*v)) {
                return Err(DataError::invalid(format!(
                    "cell {row}, gene {}: {} is not a raw count (a non-negative integer)",
                    indices[k], values[k]
                )));
            }
        }
        Ok(Self(matrix))
    }

    /// Wraps values that were checked when they were read.
    pub(crate) fn checked_before(matrix: CsrMatrix) -> Self {
        Self(matrix)
    }

    /// The matrix of counts.
    pub fn matrix(&self) -> &CsrMatrix {
        &self.0
    }

    /// The matrix, by value.
    pub fn into_matrix(self) -> CsrMatrix {
        self.0
    }

    /// The counts of the cells at `rows`, in that order.
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        Self(self.0.select_rows(rows))
    }

    /// The counts of the genes at `cols`, in that order.
    pub fn select_cols(&self, cols: &[usize]) -> Self {
        Self(self.0.select_cols(cols))
    }
}

/// Whether `value` can be a raw count.
pub fn is_count(value: f32) -> bool {
    value.is_finite() && value >= 0.0 && value.fract() == 0.0
}

/// `ln(1 + target · x / Σ x)` of every cell; a cell without counts is unchanged.
pub fn log_normalize(mut matrix: CsrMatrix, target: f64) -> CsrMatrix {
    let sizes = library_sizes(&matrix).into_iter();
    let factors: Vec<f64> = sizes.map(|t| f64::from(t) / target).collect();
    divide(&mut matrix, &factors);
    for row in (0..matrix.rows()).filter(|&r| factors[r] > 0.0) {
        let values = matrix.row_values_mut(row).iter_mut();
        values.for_each(|v| *v = v.ln_1p());
    }
    matrix
}

/// Values after `normalize_total` and `log1p`: `ln(1 + target · x / library size)`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogNormalized(CsrMatrix);

impl LogNormalized {
    /// Scales every cell to `target` counts (usually 1e4) and takes `ln(1 + x)`.
    ///
    /// A cell without counts stays empty. The arithmetic is scanpy's: `normalize_total(target_sum)`
    /// then `log1p`.
    pub fn from_counts(counts: &RawCounts, target: f64) -> Self {
        Self(log_normalize(counts.matrix().clone(), target))
    }

    /// Wraps values that the user declares as log-normalised.
    ///
    /// # Errors
    /// [`DataError::Invalid`] names the first invalid value: NaN, infinite or negative.
    pub fn assume(matrix: CsrMatrix) -> Result<Self> {
        for row in 0..matrix.rows() {
            let (indices, values) = matrix.row(row);
            if let Some(k) = values.iter().position(|v| !(v.is_finite() && *v >= 0.0)) {
                return Err(DataError::invalid(format!(
                    "cell {row}, gene {}: {} cannot be a log-normalised value",
                    indices[k], values[k]
                )));
            }
        }
        Ok(Self(matrix))
    }

    /// The matrix of log-normalised values.
    pub fn matrix(&self) -> &CsrMatrix {
        &self.0
    }

    /// The matrix, by value.
    pub fn into_matrix(self) -> CsrMatrix {
        self.0
    }

    /// The values of the cells at `rows`, in that order.
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        Self(self.0.select_rows(rows))
    }

    /// The values of the genes at `cols`, in that order.
    pub fn select_cols(&self, cols: &[usize]) -> Self {
        Self(self.0.select_cols(cols))
    }
}
