//! Values declared log-normalised by the user.

use crate::counts::LogNormalized;
use crate::error::Result;
use crate::io::store::CountsReader;
use crate::sampling::loader::Counts;
use crate::sparse::CsrMatrix;

/// Log-normalised values, inverted to pseudo-counts with `exp(x) − 1`.
///
/// Models take counts and apply their own logarithm; inverting the user's first prevents
/// log-normalised input from being logged twice.
pub(super) struct AssumedNormalized(pub(super) CountsReader);

impl Counts for AssumedNormalized {
    fn cells(&self) -> usize {
        self.0.cells()
    }

    fn genes(&self) -> usize {
        self.0.genes()
    }

    fn window(&self) -> usize {
        self.0.window()
    }

    fn read(&self, rows: &[usize]) -> Result<CsrMatrix> {
        let values = self
            .0
            .read_normalized(rows)
            .map(LogNormalized::into_matrix)?;
        Ok(values.map_values(f32::exp_m1))
    }
}
