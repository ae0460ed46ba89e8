//! Principal components of sparse data, without making it dense.
//!
//! Centring is implicit: with `X` sparse and `μ` its column means, `(X − 1μᵀ)v = Xv − 1(μᵀv)`. Up to
//! 4,096 genes the covariance is formed and decomposed; above, Lanczos iterations with full
//! reorthogonalisation run on the implicit operator. Both are exact to rounding and do not depend on
//! the number of threads. Signs are scikit-learn's: the loading of largest magnitude is positive.

use faer::{Mat, Side};
use ndarray::Array2;
use rand::RngExt as _;
use rayon::prelude::*;

use crate::error::{DataError, Result};
use crate::rng;
use crate::sparse::CsrMatrix;

/// Maximum number of genes for which the covariance matrix is formed (128 MiB).
const DENSE_LIMIT: usize = 4096;

/// Rows per task; fixed, so that sums have one order.
const ROWS_PER_TASK: usize = 4096;

/// Principal components of a matrix `[cells, genes]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pca {
    /// Loadings `[components, genes]`, rows of length 1.
    pub components: Array2<f64>,
    /// Mean of every gene.
    pub mean: Vec<f64>,
    /// Variance of each component (ddof 1), descending.
    pub variance: Vec<f64>,
    /// The same as shares of the total variance.
    pub variance_ratio: Vec<f64>,
}

/// Computes `n_components` principal components.
///
/// # Errors
/// [`DataError::Invalid`] when there are fewer cells or genes than `n_components + 1`, values are not
/// finite, or nothing varies.
pub fn pca(matrix: &CsrMatrix, n_components: usize) -> Result<Pca> {
    let (n, m) = (matrix.rows(), matrix.cols());
    let most = n.saturating_sub(1).min(m);
    if n_components == 0 || n_components > most {
        return Err(DataError::invalid(format!(
            "pca: {n_components} components for {n} cells and {m} genes; choose between 1 and {most}"
        )));
    }
    if matrix.values().iter().any(|v| !v.is_finite()) {
        return Err(DataError::invalid(
            "pca: values must be finite; remove NaN and infinities first",
        ));
    }
    let mut mean = vec![0f64; m];
    let mut squares = vec![0f64; m];
    for (indices, values) in matrix.iter_rows() {
        for (&j, &v) in indices.iter().zip(values) {
            mean[j as usize] += f64::from(v);
            squares[j as usize] += f64::from(v) * f64::from(v);
        }
    }
    let rows = n as f64;
    mean.iter_mut().for_each(|x| *x /= rows);
    let total: f64 = squares
        .iter()
        .zip(&mean)
        .map(|(s, x)| (s - rows * x * x).max(0.0))
        .sum::<f64>()
        / (rows - 1.0);
    if total <= 0.0 {
        return Err(DataError::invalid("pca: no gene varies"));
    }
    let (mut components, eigenvalues) = if m <= DENSE_LIMIT {
        by_covariance(matrix, &mean, n_components)?
    } else {
        by_lanczos(matrix, &mean, n_components)?
    };
    for mut row in components.rows_mut() {
        let largest = row
            .iter()
            .copied()
            .fold(0f64, |a, b| if b.abs() > a.abs() { b } else { a });
        if largest < 0.0 {
            row.iter_mut().for_each(|v| *v = -*v);
        }
    }
    let variance: Vec<f64> = eigenvalues
        .iter()
        .map(|e| e.max(0.0) / (rows - 1.0))
        .collect();
    let variance_ratio = variance.iter().map(|v| v / total).collect();
    Ok(Pca {
        components,
        mean,
        variance,
        variance_ratio,
    })
}

impl Pca {
    /// Number of components.
    pub fn len(&self) -> usize {
        self.components.nrows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Scores `[cells, components]` of cells with the same genes.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the number of genes differs.
    pub fn transform(&self, matrix: &CsrMatrix) -> Result<Array2<f32>> {
        let k = self.len();
        if matrix.cols() != self.mean.len() {
            return Err(DataError::invalid(format!(
                "pca: found {} genes, expected {}",
                matrix.cols(),
                self.mean.len()
            )));
        }
        // Gene by gene, so that the loadings of one gene are contiguous.
        let loadings = self.components.t().as_standard_layout().into_owned();
        let offset: Vec<f64> = self
            .components
            .rows()
            .into_iter()
            .map(|row| row.iter().zip(&self.mean).map(|(a, b)| a * b).sum())
            .collect();
        let mut scores = Array2::<f32>::zeros((matrix.rows(), k));
        let rows: Vec<Vec<f32>> = (0..matrix.rows())
            .into_par_iter()
            .map(|i| {
                let mut sum: Vec<f64> = offset.iter().map(|o| -o).collect();
                let (indices, values) = matrix.row(i);
                for (&j, &v) in indices.iter().zip(values) {
                    for (s, l) in sum.iter_mut().zip(loadings.row(j as usize)) {
                        *s += f64::from(v) * l;
                    }
                }
                sum.into_iter().map(|s| s as f32).collect()
            })
            .collect();
        for (mut to, from) in scores.rows_mut().into_iter().zip(rows) {
            to.iter_mut().zip(from).for_each(|(a, b)| *a = b);
        }
        Ok(scores)
    }
}

/// Leading eigenvectors (rows) and eigenvalues of `XᵀX − n μμᵀ`.
fn by_covariance(matrix: &CsrMatrix, mean: &[f64], k: usize) -> Result<(Array2<f64>, Vec<f64>)> {
    let m = matrix.cols();
    let mut gram = vec![0f64; m * m];
    // One block of genes per task: every entry is summed by one thread in the order of the cells.
    let columns = matrix.transpose();
    gram.par_chunks_mut(m).enumerate().for_each(|(j, strip)| {
        let (cells, values) = columns.row(j);
        for (&cell, &v) in cells.iter().zip(values) {
            let v = f64::from(v);
            let (indices, others) = matrix.row(cell as usize);
            // The lower triangle suffices.
            let end = indices.partition_point(|&i| i as usize <= j);
            for (&i, &w) in indices[..end].iter().zip(others) {
                strip[i as usize] += v * f64::from(w);
            }
        }
        for (entry, mu) in strip.iter_mut().zip(mean).take(j + 1) {
            *entry -= matrix.rows() as f64 * mean[j] * mu;
        }
    });
    let gram = Mat::<f64>::from_fn(m, m, |i, j| {
        if i >= j {
            gram[i * m + j]
        } else {
            gram[j * m + i]
        }
    });
    let eigen = gram
        .self_adjoint_eigen(Side::Lower)
        .map_err(|e| DataError::invalid(format!("pca: the decomposition failed ({e:?})")))?;
    // Eigenvalues ascend.
    let (u, s) = (eigen.U(), eigen.S());
    let components = Array2::from_shape_fn((k, m), |(c, j)| u[(j, m - 1 - c)]);
    let values = (0..k).map(|c| s[m - 1 - c]).collect();
    Ok((components, values))
}

/// The same by Lanczos iterations.
fn by_lanczos(matrix: &CsrMatrix, mean: &[f64], k: usize) -> Result<(Array2<f64>, Vec<f64>)> {
    let (n, m) = (matrix.rows(), matrix.cols());
    let columns = matrix.transpose();
    let apply = |v: &[f64]| -> Vec<f64> {
        let shift: f64 = mean.iter().zip(v).map(|(a, b)| a * b).sum();
        let u = sparse_product(matrix, v, |_| shift);
        let sum: f64 = u.iter().sum();
        sparse_product(&columns, &u, |j| mean[j] * sum)
    };
    let limit = m.min(n - 1).min(20 * k + 200);
    let mut basis: Vec<Vec<f64>> = vec![start(m, 0)];
    let (mut diagonal, mut off): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut check = (2 * k + 20).min(limit);
    loop {
        let at = basis.len() - 1;
        let mut w = apply(&basis[at]);
        let alpha = dot(&w, &basis[at]);
        diagonal.push(alpha);
        // Twice, against every vector: otherwise rounding would bring back converged ones.
        for _ in 0..2 {
            orthogonalise(&mut w, &basis);
        }
        let mut beta = dot(&w, &w).sqrt();
        let scale = diagonal.iter().copied().fold(0f64, f64::max);
        let done = basis.len() >= limit;
        if basis.len() >= check || done {
            let (values, vectors) = tridiagonal(&diagonal, &off)?;
            let steps = diagonal.len();
            let settled =
                (0..k).all(|c| (beta * vectors[(steps - 1, steps - 1 - c)]).abs() <= 1e-9 * scale);
            if settled || done {
                return Ok(ritz(&basis, &values, &vectors, k));
            }
            check = (check + check / 4 + 10).min(limit);
        }
        if beta <= 1e-13 * scale {
            // The Krylov space is exhausted (fewer distinct values than steps): continue in a new
            // direction.
            w = start(m, basis.len() as u64);
            orthogonalise(&mut w, &basis);
            orthogonalise(&mut w, &basis);
            let length = dot(&w, &w).sqrt();
            w.iter_mut().for_each(|x| *x /= length);
            beta = 0.0;
        } else {
            w.iter_mut().for_each(|x| *x /= beta);
        }
        off.push(beta);
        basis.push(w);
    }
}

/// A fixed random unit vector.
fn start(m: usize, which: u64) -> Vec<f64> {
    let mut stream = rng::stream(0, "pca", which, 0);
    let mut v: Vec<f64> = (0..m).map(|_| stream.random::<f64>() - 0.5).collect();
    let length = dot(&v, &v).sqrt();
    v.iter_mut().for_each(|x| *x /= length);
    v
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn orthogonalise(w: &mut [f64], basis: &[Vec<f64>]) {
    let overlaps: Vec<f64> = basis.par_iter().map(|q| dot(w, q)).collect();
    w.par_chunks_mut(ROWS_PER_TASK)
        .enumerate()
        .for_each(|(part, w)| {
            let base = part * ROWS_PER_TASK;
            for (q, overlap) in basis.iter().zip(&overlaps) {
                w.iter_mut()
                    .zip(&q[base..])
                    .for_each(|(x, y)| *x -= overlap * y);
            }
        });
}

/// `X v` minus an offset, row by row in parallel.
fn sparse_product(matrix: &CsrMatrix, v: &[f64], offset: impl Fn(usize) -> f64 + Sync) -> Vec<f64> {
    (0..matrix.rows())
        .into_par_iter()
        .map(|i| {
            let (indices, values) = matrix.row(i);
            let sum: f64 = indices
                .iter()
                .zip(values)
                .map(|(&j, &x)| f64::from(x) * v[j as usize])
                .sum();
            sum - offset(i)
        })
        .collect()
}

fn tridiagonal(diagonal: &[f64], off: &[f64]) -> Result<(Vec<f64>, Mat<f64>)> {
    let n = diagonal.len();
    let t = Mat::<f64>::from_fn(n, n, |i, j| {
        if i == j {
            diagonal[i]
        } else if i == j + 1 {
            off[j]
        } else if j == i + 1 {
            off[i]
        } else {
            0.0
        }
    });
    let eigen = t
        .self_adjoint_eigen(Side::Lower)
        .map_err(|e| DataError::invalid(format!("pca: the decomposition failed ({e:?})")))?;
    let values = (0..n).map(|i| eigen.S()[i]).collect();
    Ok((values, eigen.U().to_owned()))
}

fn ritz(
    basis: &[Vec<f64>],
    values: &[f64],
    vectors: &Mat<f64>,
    k: usize,
) -> (Array2<f64>, Vec<f64>) {
    let steps = values.len();
    let m = basis[0].len();
    let mut components = Array2::zeros((k, m));
    for c in 0..k {
        for (step, q) in basis.iter().take(steps).enumerate() {
            let weight = vectors[(step, steps - 1 - c)];
            components
                .row_mut(c)
                .iter_mut()
                .zip(q)
                .for_each(|(x, y)| *x += weight * y);
        }
    }
    (components, (0..k).map(|c| values[steps - 1 - c]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{SimConfig, simulate};

    fn data() -> CsrMatrix {
        let config = SimConfig {
            cells: 120,
            genes: 150,
            depth: 400.0,
            ..SimConfig::default()
        };
        simulate(&config).unwrap().0.map_values(f32::ln_1p)
    }

    #[test]
    fn both_routes_agree_and_scores_have_the_variance() {
        let matrix = data();
        let pca = pca(&matrix, 5).unwrap();
        let (mut other, values) = by_lanczos(&matrix, &pca.mean, 5).unwrap();
        for (c, value) in values.iter().enumerate() {
            assert!((value / 119.0 / pca.variance[c] - 1.0).abs() < 1e-9);
            let cosine: f64 = other.row_mut(c).dot(&pca.components.row(c));
            assert!(cosine.abs() > 1.0 - 1e-8, "component {c}: {cosine}");
        }
        let scores = pca.transform(&matrix).unwrap();
        for c in 0..5 {
            let column = scores.column(c);
            let variance: f64 = column.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / 119.0;
            assert!((variance / pca.variance[c] - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn impossible_requests_are_refused() {
        assert!(pca(&data(), 120).is_err());
        assert!(pca(&CsrMatrix::empty(10, 10), 2).is_err());
    }
}
