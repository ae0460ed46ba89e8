//! Features of cells, dense or sparse.

use ndarray::ArrayView2;
use sc_data::sparse::CsrMatrix;

/// Features `[cells, dims]` of a classifier; sparse ones are never densified.
#[derive(Clone, Copy, Debug)]
pub enum Features<'a> {
    /// An embedding.
    Dense(ArrayView2<'a, f32>),
    /// Counts or log-normalised values of all genes.
    Sparse(&'a CsrMatrix),
}

impl Features<'_> {
    /// Number of cells.
    pub fn cells(&self) -> usize {
        match self {
            Self::Dense(x) => x.nrows(),
            Self::Sparse(x) => x.rows(),
        }
    }

    /// Number of features.
    pub fn dims(&self) -> usize {
        match self {
            Self::Dense(x) => x.ncols(),
            Self::Sparse(x) => x.cols(),
        }
    }
}
