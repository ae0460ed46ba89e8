//! Leading eigenpairs of symmetric operators: Lanczos, or dense when most pairs are needed.

use crate::controls::normal;
use crate::error::Undefined;
use faer::{Mat, Side};

/// Operators up to this size are solved densely.
const DENSE: usize = 64;
/// Residual `‖T v − λ v‖` relative to the largest eigenvalue below which a pair has converged.
const TOLERANCE: f64 = 1e-9;

/// Eigenpairs, largest magnitude first.
pub(crate) struct Pairs {
    pub(crate) values: Vec<f64>,
    /// One vector of length `n` and norm 1 per value.
    pub(crate) vectors: Vec<Vec<f64>>,
}

/// The `count` eigenpairs of largest magnitude of the symmetric operator `apply(v, out)` on
/// vectors of length `n`.
///
/// Lanczos with full reorthogonalisation from a seeded start (Parlett 1998, chapter 13); when the
/// Krylov space is exhausted it goes on with a fresh vector, so repeated eigenvalues are found.
///
/// # Errors
/// [`Undefined::NotConverged`].
pub(crate) fn leading(
    n: usize,
    count: usize,
    seed: u64,
    apply: impl Fn(&[f64], &mut [f64]),
) -> Result<Pairs, Undefined> {
    let count = count.min(n);
    if n <= DENSE || 2 * count + 20 >= n {
        return dense(n, count, apply);
    }
    let mut rng = sc_data::rng::stream(seed, "lanczos", 0, 0);
    let mut basis: Vec<Vec<f64>> = Vec::new();
    let (mut alpha, mut beta): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut next = fresh(n, &basis, &mut rng);
    let mut check = (2 * count + 20).min(n);
    let mut w = vec![0f64; n];
    loop {
        apply(&next, &mut w);
        let a = dot(&next, &w);
        alpha.push(a);
        basis.push(next);
        // What is left without rounding goes first, so that a second pass is rarely needed.
        let known = [a, beta.last().copied().unwrap_or(0.0)];
        for (q, c) in basis.iter().rev().zip(known) {
            axpy(-c, q, &mut w);
        }
        let before = norm(&w);
        orthogonalise(&mut w, &basis);
        let mut b = norm(&w);
        if b < 0.7 * before {
            orthogonalise(&mut w, &basis);
            b = norm(&w);
        }
        let m = basis.len();
        let scale = alpha.iter().chain(&beta).fold(0f64, |s, v| s.max(v.abs()));
        let exhausted = b <= 1e-13 * scale.max(f64::MIN_POSITIVE);
        if m >= check || m == n {
            let found = ritz(&alpha, &beta, count)?;
            let residual = |s: &Vec<f64>| if exhausted { 0.0 } else { b * s[m - 1].abs() };
            if m == n
                || found
                    .vectors
                    .iter()
                    .all(|s| residual(s) <= TOLERANCE * scale)
            {
                return Ok(expand(found, &basis, n));
            }
            check = (check + check / 3).min(n);
        }
        next = if exhausted {
            b = 0.0;
            fresh(n, &basis, &mut rng)
        } else {
            w.iter().map(|v| v / b).collect()
        };
        beta.push(b);
    }
}

fn dense(n: usize, count: usize, apply: impl Fn(&[f64], &mut [f64])) -> Result<Pairs, Undefined> {
    let mut matrix = Mat::<f64>::zeros(n, n);
    let (mut unit, mut out) = (vec![0f64; n], vec![0f64; n]);
    for j in 0..n {
        unit[j] = 1.0;
        apply(&unit, &mut out);
        unit[j] = 0.0;
        for (i, &v) in out.iter().enumerate() {
            matrix[(i, j)] = v;
        }
    }
    decompose(&matrix, count)
}

fn ritz(alpha: &[f64], beta: &[f64], count: usize) -> Result<Pairs, Undefined> {
    let m = alpha.len();
    let matrix = Mat::from_fn(m, m, |i, j| match i.abs_diff(j) {
        0 => alpha[i],
        1 => beta[i.min(j)],
        _ => 0.0,
    });
    decompose(&matrix, count)
}

fn decompose(matrix: &Mat<f64>, count: usize) -> Result<Pairs, Undefined> {
    let n = matrix.nrows();
    let evd = matrix
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| Undefined::NotConverged("the eigenvalue problem"))?;
    let (values, vectors) = (evd.S().column_vector(), evd.U());
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| values[b].abs().total_cmp(&values[a].abs()).then(b.cmp(&a)));
    order.truncate(count);
    Ok(Pairs {
        values: order.iter().map(|&i| values[i]).collect(),
        vectors: order
            .iter()
            .map(|&i| (0..n).map(|r| vectors[(r, i)]).collect())
            .collect(),
    })
}

/// Ritz vectors in the coordinates of the operator.
fn expand(found: Pairs, basis: &[Vec<f64>], n: usize) -> Pairs {
    let of = |s: &Vec<f64>| {
        let mut v = vec![0f64; n];
        pulp::Arch::new().dispatch(Combine {
            v: &mut v,
            basis,
            weights: s,
        });
        let length = norm(&v);
        v.iter_mut().for_each(|x| *x /= length);
        v
    };
    Pairs {
        values: found.values,
        vectors: found.vectors.iter().map(of).collect(),
    }
}

/// Adds `weights · basis` to `v`.
struct Combine<'a> {
    v: &'a mut [f64],
    basis: &'a [Vec<f64>],
    weights: &'a [f64],
}

impl pulp::WithSimd for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let (fours, rest) = self.basis.as_chunks::<4>();
        let (weights, last) = self.weights.as_chunks::<4>();
        for (four, along) in fours.iter().zip(weights) {
            subtract(four.each_ref().map(|q| &q[..]), along.map(|a| -a), self.v);
        }
        for (q, &c) in rest.iter().zip(last) {
            axpy(c, q, self.v);
        }
    }
}

/// A random vector of norm 1 orthogonal to `basis`.
fn fresh(n: usize, basis: &[Vec<f64>], rng: &mut impl rand::Rng) -> Vec<f64> {
    let mut v: Vec<f64> = (0..n).map(|_| normal(rng)).collect();
    orthogonalise(&mut v, basis);
    orthogonalise(&mut v, basis);
    let length = norm(&v).max(f64::MIN_POSITIVE);
    v.iter_mut().for_each(|x| *x /= length);
    v
}

/// Removes the components along `basis` from `v`, four at a time.
fn orthogonalise(v: &mut [f64], basis: &[Vec<f64>]) {
    pulp::Arch::new().dispatch(Orthogonalise { v, basis });
}

struct Orthogonalise<'a> {
    v: &'a mut [f64],
    basis: &'a [Vec<f64>],
}

// Not a closure: closures are not inlined into the code compiled for the widest vectors.
impl pulp::WithSimd for Orthogonalise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        // Four inner products at once read `v` once, and wait for one another less.
        let (fours, rest) = self.basis.as_chunks::<4>();
        for four in fours {
            let four = four.each_ref().map(|q| &q[..]);
            let along = dots(four, self.v);
            subtract(four, along, self.v);
        }
        for q in rest {
            let c = dot(q, self.v);
            axpy(-c, q, self.v);
        }
    }
}

/// Inner products of four vectors with `v`, each as [`dot`] has them.
#[inline(always)]
fn dots(four: [&[f64]; 4], v: &[f64]) -> [f64; 4] {
    let (chunks, rest) = v.as_chunks::<8>();
    let parts = four.map(|q| q[..v.len()].as_chunks::<8>());
    let mut acc = [[0f64; 8]; 4];
    for (i, v) in chunks.iter().enumerate() {
        for (acc, part) in acc.iter_mut().zip(&parts) {
            for l in 0..8 {
                acc[l] += part.0[i][l] * v[l];
            }
        }
    }
    let tail = parts.map(|p| p.1.iter().zip(rest).map(|(q, v)| q * v).sum::<f64>());
    std::array::from_fn(|k| acc[k].iter().sum::<f64>() + tail[k])
}

/// Subtracts `along · four` from `v`.
#[inline(always)]
fn subtract(four: [&[f64]; 4], along: [f64; 4], v: &mut [f64]) {
    let [a, b, c, d] = four.map(|q| &q[..v.len()]);
    for (i, v) in v.iter_mut().enumerate() {
        *v -= along[0] * a[i] + along[1] * b[i] + along[2] * c[i] + along[3] * d[i];
    }
}

#[inline(always)]
fn axpy(c: f64, x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += c * x);
}

/// Inner product with eight running sums, always combined in the same order.
#[inline(always)]
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut acc = [0f64; 8];
    let ((x, xr), (y, yr)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (x, y) in x.iter().zip(y) {
        for l in 0..8 {
            acc[l] += x[l] * y[l];
        }
    }
    acc.iter().sum::<f64>() + xr.iter().zip(yr).map(|(x, y)| x * y).sum::<f64>()
}

fn norm(v: &[f64]) -> f64 {
    dot(v, v).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanczos_agrees_with_the_known_spectrum_of_a_path() {
        // Second-difference matrix: eigenvalues 2 − 2 cos(π j/(n + 1)).
        let n = 900;
        let found = leading(n, 12, 0, |v, out| {
            for i in 0..n {
                let left = if i > 0 { v[i - 1] } else { 0.0 };
                let right = v.get(i + 1).copied().unwrap_or(0.0);
                out[i] = 2.0 * v[i] - left - right;
            }
        })
        .unwrap();
        for (j, value) in found.values.iter().enumerate() {
            let k = (n - j) as f64;
            let want = 2.0 - 2.0 * (std::f64::consts::PI * k / (n as f64 + 1.0)).cos();
            assert!((value - want).abs() < 1e-9, "{value} {want}");
        }
    }

    #[test]
    fn repeated_eigenvalues_are_found() {
        let n = 600;
        let found = leading(n, 5, 1, |v, out| {
            for i in 0..n {
                out[i] = if i < 3 { v[i] } else { 0.1 * v[i] };
            }
        })
        .unwrap();
        assert!(
            found.values[..3].iter().all(|v| (v - 1.0).abs() < 1e-9),
            "{:?}",
            found.values
        );
        assert!((found.values[3] - 0.1).abs() < 1e-9);
    }
}
