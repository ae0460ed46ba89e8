//! Features of cells, dense or sparse, and the products that linear models need.

use crate::error::EvalError;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use ndarray::ArrayView2;
use rayon::prelude::*;
use sc_data::sparse::CsrMatrix;

/// Cells per parallel task; partial sums are combined in the order of the tasks.
const CHUNK: usize = 256;

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

/// Standard deviation of every column; 0 where it is within rounding error.
pub(crate) fn column_spread(features: Features<'_>) -> Vec<f64> {
    moments(features).1
}

fn unless_constant(spread: f64) -> f64 {
    if spread > 0.0 { spread } else { 1.0 }
}

/// Mean and standard deviation of every column.
fn moments(features: Features<'_>) -> (Vec<f64>, Vec<f64>) {
    let x = match features {
        Features::Dense(x) => return dense_moments(x),
        Features::Sparse(x) => x,
    };
    let cells = x.rows().max(1) as f64;
    let (mut mean, mut square) = (vec![0f64; x.cols()], vec![0f64; x.cols()]);
    for (indices, values) in x.iter_rows() {
        for (&j, &v) in indices.iter().zip(values) {
            mean[j as usize] += f64::from(v);
            square[j as usize] += f64::from(v).powi(2);
        }
    }
    mean.iter_mut().for_each(|m| *m /= cells);
    let squares = square.iter().zip(&mean);
    let squares = squares.map(|(s, m)| (s - cells * m * m).max(0.0)).collect();
    let spread = spread(squares, &mean, cells);
    (mean, spread)
}

fn dense_moments<T: Copy + Into<f64>>(x: ArrayView2<'_, T>) -> (Vec<f64>, Vec<f64>) {
    let cells = x.nrows().max(1) as f64;
    let (mut mean, mut square) = (vec![0f64; x.ncols()], vec![0f64; x.ncols()]);
    for row in x.outer_iter() {
        row.iter().zip(&mut mean).for_each(|(&v, m)| *m += v.into());
    }
    mean.iter_mut().for_each(|m| *m /= cells);
    for row in x.outer_iter() {
        for ((&v, m), s) in row.iter().zip(&mean).zip(&mut square) {
            *s += (v.into() - m).powi(2);
        }
    }
    let spread = spread(square, &mean, cells);
    (mean, spread)
}

/// Standard deviations from sums of squares; 0 where within rounding error of the mean.
fn spread(squares: Vec<f64>, mean: &[f64], cells: f64) -> Vec<f64> {
    let columns = squares.into_iter().zip(mean);
    columns
        .map(|(s, m)| {
            let deviation = (s / cells).sqrt();
            if deviation > 1e-7 * m.abs() {
                deviation
            } else {
                0.0
            }
        })
        .collect()
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

/// Values of one register.
const LANES: usize = 8;

/// Adds to every row of `out`, `[rows, width]`, the sum of its non-zeros times their rows of
/// `table`, which are `padded` wide.
struct AddRows<'a> {
    rows: &'a CsrMatrix,
    /// The row that `out` begins with.
    first: usize,
    table: &'a [f64],
    padded: usize,
    width: usize,
    out: &'a mut [f64],
}

// Not a closure: closures are not inlined into the code compiled for the widest vectors.
impl pulp::WithSimd for AddRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        for (i, out) in self.out.chunks_exact_mut(self.width).enumerate() {
            let (indices, values) = self.rows.row(self.first + i);
            for (block, out) in out.chunks_mut(LANES).enumerate() {
                let table = &self.table[block * LANES..];
                let mut sum = [0f64; LANES];
                sum[..out.len()].copy_from_slice(out);
                for (&j, &v) in indices.iter().zip(values) {
                    let w = &table[j as usize * self.padded..][..LANES];
                    for l in 0..LANES {
                        sum[l] += f64::from(v) * w[l];
                    }
                }
                out.copy_from_slice(&sum[..out.len()]);
            }
        }
    }
}

impl Design {
    /// Shifts by column means and scales by standard deviations (1 for constant columns).
    pub(crate) fn standardized(features: Features<'_>) -> Self {
        match features {
            Features::Dense(x) => Self::of(x),
            Features::Sparse(x) => {
                let (mean, spread) = moments(features);
                Self {
                    dims: features.dims(),
                    mean,
                    scale: spread.into_iter().map(unless_constant).collect(),
                    values: Values::Sparse {
                        rows: x.clone(),
                        columns: x.transpose(),
                    },
                }
            }
        }
    }

    /// The same of a dense matrix `[cells, dims]`.
    pub(crate) fn of<T: Copy + Into<f64>>(x: ArrayView2<'_, T>) -> Self {
        let (mean, spread) = dense_moments(x);
        let scale: Vec<f64> = spread.into_iter().map(unless_constant).collect();
        let mut values = Vec::with_capacity(x.len());
        for row in x.outer_iter() {
            let columns = row.iter().zip(mean.iter().zip(&scale));
            values.extend(columns.map(|(&v, (m, s))| (v.into() - m) / s));
        }
        Self {
            dims: x.ncols(),
            mean,
            scale,
            values: Values::Dense(values),
        }
    }

    /// Number of features.
    pub(crate) fn dims(&self) -> usize {
        self.dims
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
                // Gene by gene, so that each stored count touches one contiguous block of memory.
                let padded = classes.next_multiple_of(LANES);
                let mut by_gene = vec![0f64; self.dims * padded];
                let mut base = intercepts.to_vec();
                for k in 0..classes {
                    for j in 0..self.dims {
                        let w = weights[k * self.dims + j] / self.scale[j];
                        by_gene[j * padded + k] = w;
                        base[k] -= w * self.mean[j];
                    }
                }
                let tasks = out.par_chunks_mut(CHUNK * classes).enumerate();
                tasks.for_each(|(task, out)| {
                    for z in out.chunks_exact_mut(classes) {
                        z.copy_from_slice(&base);
                    }
                    pulp::Arch::new().dispatch(AddRows {
                        rows,
                        first: task * CHUNK,
                        table: &by_gene,
                        padded,
                        width: classes,
                        out,
                    });
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
                let padded = classes.next_multiple_of(LANES);
                let mut table = vec![0f64; residuals.len() / classes * padded];
                let rows = residuals.chunks_exact(classes);
                for (to, from) in table.chunks_exact_mut(padded).zip(rows) {
                    to[..classes].copy_from_slice(from);
                }
                let mut by_gene = vec![0f64; self.dims * classes];
                let tasks = by_gene.par_chunks_mut(CHUNK * classes).enumerate();
                tasks.for_each(|(task, out)| {
                    pulp::Arch::new().dispatch(AddRows {
                        rows: columns,
                        first: task * CHUNK,
                        table: &table,
                        padded,
                        width: classes,
                        out,
                    });
                });
                for (j, g) in by_gene.chunks_exact(classes).enumerate() {
                    for (k, (g, t)) in g.iter().zip(&total).enumerate() {
                        out[k * self.dims + j] = (g - self.mean[j] * t) / self.scale[j];
                    }
                }
            }
        }
    }
}
