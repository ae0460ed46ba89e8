//! Features of cells, dense or sparse, and the products a linear model needs of them.

use crate::error::EvalError;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use ndarray::ArrayView2;
use rayon::prelude::*;
use sc_data::sparse::CsrMatrix;

/// Cells of one parallel task; partial sums are combined in the order of the tasks.
const CHUNK: usize = 1024;

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

    /// Refuses NaN and infinities.
    pub(crate) fn check_finite(&self) -> Result<(), EvalError> {
        match self {
            Self::Dense(x) => crate::pairs::check_finite("features", *x),
            Self::Sparse(x) => {
                match x
                    .iter_rows()
                    .position(|(_, v)| v.iter().any(|v| !v.is_finite()))
                {
                    Some(row) => Err(EvalError::NotFinite {
                        what: "features",
                        row,
                    }),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Features with every column shifted and scaled, without densifying sparse ones:
/// column `j` reads `(x_j − mean_j)/scale_j`.
pub(crate) struct Design {
    dims: usize,
    pub(crate) mean: Vec<f64>,
    pub(crate) scale: Vec<f64>,
    values: Values,
}

enum Values {
    /// Row-major `[cells, dims]`, already shifted and scaled.
    Dense(Vec<f64>),
    /// Rows for scores, columns for gradients.
    Sparse { rows: CsrMatrix, columns: CsrMatrix },
}

impl Design {
    /// Shifts by column means and scales by standard deviations (1 for constant columns).
    pub(crate) fn standardized(features: Features<'_>) -> Self {
        let (cells, dims) = (features.cells(), features.dims());
        let (mut mean, mut square) = (vec![0f64; dims], vec![0f64; dims]);
        match features {
            Features::Dense(x) => {
                for row in x.outer_iter() {
                    row.iter()
                        .zip(&mut mean)
                        .for_each(|(&v, m)| *m += f64::from(v));
                }
                mean.iter_mut().for_each(|m| *m /= cells as f64);
                for row in x.outer_iter() {
                    for ((&v, m), s) in row.iter().zip(&mean).zip(&mut square) {
                        *s += (f64::from(v) - m).powi(2);
                    }
                }
            }
            Features::Sparse(x) => {
                for (indices, values) in x.iter_rows() {
                    for (&j, &v) in indices.iter().zip(values) {
                        mean[j as usize] += f64::from(v);
                        square[j as usize] += f64::from(v).powi(2);
                    }
                }
                mean.iter_mut().for_each(|m| *m /= cells as f64);
                square
                    .iter_mut()
                    .zip(&mean)
                    .for_each(|(s, m)| *s = (*s - cells as f64 * m * m).max(0.0));
            }
        }
        let scale: Vec<f64> = square
            .iter()
            .zip(&mean)
            .map(|(s, m)| {
                let deviation = (s / cells as f64).sqrt();
                if deviation > 1e-7 * m.abs() {
                    deviation
                } else {
                    1.0
                }
            })
            .collect();
        let values = match features {
            Features::Dense(x) => Values::Dense(
                x.outer_iter()
                    .flat_map(|row| {
                        row.iter()
                            .zip(mean.iter().zip(&scale))
                            .map(|(&v, (m, s))| (f64::from(v) - m) / s)
                            .collect::<Vec<f64>>()
                    })
                    .collect(),
            ),
            Features::Sparse(x) => Values::Sparse {
                rows: x.clone(),
                columns: x.transpose(),
            },
        };
        Self {
            dims,
            mean,
            scale,
            values,
        }
    }

    /// Scores `[cells, classes]` of weights `[classes, dims]` and intercepts, in the shifted and
    /// scaled columns.
    pub(crate) fn scores(&self, weights: &[f64], intercepts: &[f64], out: &mut [f64]) {
        let classes = intercepts.len();
        match &self.values {
            Values::Dense(x) => {
                if self.dims == 0 {
                    out.chunks_exact_mut(classes)
                        .for_each(|z| z.copy_from_slice(intercepts));
                    return;
                }
                let w = MatRef::from_row_major_slice(weights, classes, self.dims);
                x.par_chunks(CHUNK * self.dims)
                    .zip(out.par_chunks_mut(CHUNK * classes))
                    .for_each(|(x, z)| {
                        for row in z.chunks_exact_mut(classes) {
                            row.copy_from_slice(intercepts);
                        }
                        let cells = z.len() / classes;
                        let x = MatRef::from_row_major_slice(x, cells, self.dims);
                        let z = MatMut::from_row_major_slice_mut(z, cells, classes);
                        matmul(z, Accum::Add, x, w.transpose(), 1.0, Par::Seq);
                    });
            }
            Values::Sparse { rows, .. } => {
                // Gene by gene, so that one stored count touches one stretch of memory.
                let mut by_gene = vec![0f64; self.dims * classes];
                let mut base = intercepts.to_vec();
                for k in 0..classes {
                    for j in 0..self.dims {
                        let w = weights[k * self.dims + j] / self.scale[j];
                        by_gene[j * classes + k] = w;
                        base[k] -= w * self.mean[j];
                    }
                }
                out.par_chunks_mut(classes).enumerate().for_each(|(i, z)| {
                    z.copy_from_slice(&base);
                    let (indices, values) = rows.row(i);
                    for (&j, &v) in indices.iter().zip(values) {
                        let w = &by_gene[j as usize * classes..][..classes];
                        z.iter_mut()
                            .zip(w)
                            .for_each(|(z, w)| *z += f64::from(v) * w);
                    }
                });
            }
        }
    }

    /// `residualsᵀ · X`, `[classes, dims]`, for residuals `[cells, classes]`.
    pub(crate) fn gradient(&self, residuals: &[f64], classes: usize, out: &mut [f64]) {
        out.fill(0.0);
        match &self.values {
            Values::Dense(x) => {
                if self.dims == 0 {
                    return;
                }
                let parts: Vec<Vec<f64>> = x
                    .par_chunks(CHUNK * self.dims)
                    .zip(residuals.par_chunks(CHUNK * classes))
                    .map(|(x, r)| {
                        let cells = r.len() / classes;
                        let mut part = vec![0f64; classes * self.dims];
                        let x = MatRef::from_row_major_slice(x, cells, self.dims);
                        let r = MatRef::from_row_major_slice(r, cells, classes);
                        let g = MatMut::from_row_major_slice_mut(&mut part, classes, self.dims);
                        matmul(g, Accum::Replace, r.transpose(), x, 1.0, Par::Seq);
                        part
                    })
                    .collect();
                for part in parts {
                    out.iter_mut().zip(part).for_each(|(o, p)| *o += p);
                }
            }
            Values::Sparse { columns, .. } => {
                let mut total = vec![0f64; classes];
                for r in residuals.chunks_exact(classes) {
                    total.iter_mut().zip(r).for_each(|(t, r)| *t += r);
                }
                let by_gene: Vec<Vec<f64>> = (0..self.dims)
                    .into_par_iter()
                    .map(|j| {
                        let mut g = vec![0f64; classes];
                        let (cells, values) = columns.row(j);
                        for (&i, &v) in cells.iter().zip(values) {
                            let r = &residuals[i as usize * classes..][..classes];
                            g.iter_mut()
                                .zip(r)
                                .for_each(|(g, r)| *g += f64::from(v) * r);
                        }
                        for (g, t) in g.iter_mut().zip(&total) {
                            *g = (*g - self.mean[j] * t) / self.scale[j];
                        }
                        g
                    })
                    .collect();
                for (j, g) in by_gene.into_iter().enumerate() {
                    for (k, v) in g.into_iter().enumerate() {
                        out[k * self.dims + j] = v;
                    }
                }
            }
        }
    }
}
