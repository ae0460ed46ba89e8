//! Linear models with more features than cells, in as many coordinates as there are cells.
//!
//! A penalised linear model has its weights in the span of the training cells, so `Z Zᵀ = A Aᵀ`
//! makes the problem in the rows of `A` `[cells, rank]` the same as in those of `Z`
//! `[cells, dims]`: same optimum, less time.

use crate::baselines::Features;
use crate::error::EvalError;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par, Side};
use ndarray::{Array2, Axis};
use rayon::prelude::*;

/// Largest number of cells for which an eigendecomposition of their Gram matrix is cheaper than
/// the problem itself.
const MOST_CELLS: usize = 1500;
/// Cells per parallel product.
const ROWS: usize = 64;
/// Eigenvalues below this share of the largest are rounding.
const NEGLIGIBLE: f64 = 1e-12;

/// Cells in coordinates of their own span.
pub(crate) struct Reduced {
    /// `A` `[cells, rank]`.
    pub(crate) coordinates: Array2<f64>,
    /// `Λ^{-1/2} Uᵀ` `[rank, cells]`.
    back: Array2<f64>,
    /// Mean of every feature.
    mean: Vec<f64>,
}

/// Whether the reduced problem is faster.
pub(crate) fn pays(features: Features<'_>) -> bool {
    features.cells() <= MOST_CELLS && features.cells() < features.dims()
}

impl Reduced {
    pub(crate) fn new(features: Features<'_>) -> Result<Self, EvalError> {
        let n = features.cells();
        let mean = means(features);
        let products = centred_products(features);
        let view = MatRef::from_row_major_slice(&products, n, n);
        let found = view
            .self_adjoint_eigen(Side::Lower)
            .map_err(|_| EvalError::invalid("the products of cells have no eigenvalues"))?;
        let (values, vectors) = (found.S().column_vector(), found.U());
        let largest = (0..n).map(|k| values[k]).fold(0f64, f64::max);
        let kept: Vec<usize> = (0..n)
            .filter(|&k| values[k] > NEGLIGIBLE * largest)
            .collect();
        let coordinates = Array2::from_shape_fn((n, kept.len()), |(i, k)| {
            vectors[(i, kept[k])] * values[kept[k]].sqrt()
        });
        let back = Array2::from_shape_fn((kept.len(), n), |(k, i)| {
            vectors[(i, kept[k])] / values[kept[k]].sqrt()
        });
        Ok(Self {
            coordinates,
            back,
            mean,
        })
    }

    /// Weights `[classes, dims]` of the features, and what to add to the intercepts, for weights
    /// `[classes, rank]` of the coordinates.
    pub(crate) fn weights(
        &self,
        features: Features<'_>,
        reduced: &Array2<f64>,
    ) -> (Array2<f64>, Vec<f64>) {
        let of_cells = reduced.dot(&self.back);
        let mut out = Array2::zeros((reduced.nrows(), features.dims()));
        match features {
            Features::Dense(x) => out.assign(&of_cells.dot(&x.mapv(f64::from))),
            Features::Sparse(x) => {
                for (cell, (genes, values)) in x.iter_rows().enumerate() {
                    for (&g, &v) in genes.iter().zip(values) {
                        for (k, weight) in of_cells.column(cell).iter().enumerate() {
                            out[[k, g as usize]] += weight * f64::from(v);
                        }
                    }
                }
            }
        }
        let sums = of_cells.sum_axis(Axis(1));
        for (mut row, sum) in out.outer_iter_mut().zip(&sums) {
            row.iter_mut()
                .zip(&self.mean)
                .for_each(|(w, m)| *w -= sum * m);
        }
        let shift = out
            .outer_iter()
            .map(|row| -row.iter().zip(&self.mean).map(|(w, m)| w * m).sum::<f64>())
            .collect();
        (out, shift)
    }
}

fn means(features: Features<'_>) -> Vec<f64> {
    let mut sums = vec![0f64; features.dims()];
    match features {
        Features::Dense(x) => {
            for row in x.outer_iter() {
                sums.iter_mut()
                    .zip(row)
                    .for_each(|(s, &v)| *s += f64::from(v));
            }
        }
        Features::Sparse(x) => {
            for (genes, values) in x.iter_rows() {
                for (&g, &v) in genes.iter().zip(values) {
                    sums[g as usize] += f64::from(v);
                }
            }
        }
    }
    let n = features.cells().max(1) as f64;
    sums.iter().map(|s| s / n).collect()
}

/// `H X Xᵀ H` with the centring matrix `H`, row-major `[cells, cells]`.
fn centred_products(features: Features<'_>) -> Vec<f64> {
    let n = features.cells();
    let mut out = vec![0f64; n * n];
    match features {
        Features::Dense(x) => {
            // Centred before the products, which would cancel far from the origin.
            let mut x = x.mapv(f64::from).as_standard_layout().into_owned();
            for mut column in x.columns_mut() {
                let mean = column.sum() / n as f64;
                column -= mean;
            }
            let flat = x.as_slice().expect("invariant: standard layout");
            let dims = x.ncols();
            let all = MatRef::from_row_major_slice(flat, n, dims);
            let parts = flat.par_chunks(ROWS * dims.max(1));
            parts.zip(out.par_chunks_mut(ROWS * n)).for_each(|(x, to)| {
                let rows = to.len() / n;
                let x = MatRef::from_row_major_slice(x, rows, dims);
                let to = MatMut::from_row_major_slice_mut(to, rows, n);
                matmul(to, Accum::Replace, x, all.transpose(), 1.0, Par::Seq);
            });
            return out;
        }
        Features::Sparse(x) => {
            let dims = x.cols();
            out.par_chunks_mut(n.max(1)).enumerate().for_each_init(
                || vec![0f64; dims],
                |dense, (i, row)| {
                    let (genes, values) = x.row(i);
                    for (&g, &v) in genes.iter().zip(values) {
                        dense[g as usize] = f64::from(v);
                    }
                    for (out, (other, theirs)) in row.iter_mut().zip(x.iter_rows()) {
                        let products = other.iter().zip(theirs);
                        *out = products
                            .map(|(&g, &v)| dense[g as usize] * f64::from(v))
                            .sum();
                    }
                    genes.iter().for_each(|&g| dense[g as usize] = 0.0);
                },
            );
        }
    }
    let sums: Vec<f64> = out
        .chunks(n.max(1))
        .map(|r| r.iter().sum::<f64>() / n as f64)
        .collect();
    let all = sums.iter().sum::<f64>() / n as f64;
    for (i, row) in out.chunks_mut(n.max(1)).enumerate() {
        for (v, s) in row.iter_mut().zip(&sums) {
            *v += all - s - sums[i];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baselines::features::Design;
    use crate::baselines::logistic::{LogisticOptions, fit_design, logistic_l2};
    use crate::controls::random_embedding;
    use sc_data::sparse::CsrMatrix;

    #[test]
    fn the_optimum_is_that_of_the_whole_problem() {
        let x = random_embedding(40, 90, 3).mapv(|v| if v > 0.4 { v + 5.0 } else { 0.0 });
        let sparse = CsrMatrix::from_dense(90, x.as_slice().unwrap());
        let options = LogisticOptions {
            c: 0.3,
            ..LogisticOptions::default()
        };
        for classes in [2, 3] {
            let labels: Vec<u32> = (0..40).map(|i| (i * 5 + i / 7) % classes).collect();
            for features in [Features::Dense(x.view()), Features::Sparse(&sparse)] {
                assert!(pays(features));
                let quick = logistic_l2(features, &labels, &options).unwrap();
                let whole = fit_design(&Design::standardized(features), &labels, &options, None);
                let gap = |a: f64, b: f64| (a - b).abs();
                for (a, b) in quick.coef.iter().zip(&whole.coef) {
                    assert!(gap(*a, *b) < 1e-6, "{a} {b}");
                }
                for (a, b) in quick.intercept.iter().zip(&whole.intercept) {
                    assert!(gap(*a, *b) < 1e-5, "{a} {b}");
                }
                assert!(gap(quick.objective, whole.objective) < 1e-8 * whole.objective);
            }
        }
    }
}
