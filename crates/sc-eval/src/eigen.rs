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
/// Krylov space is exhausted it goes on with a fresh vector, so repeated eigenvalues are found. A large
/// operator is filtered by a Chebyshev polynomial (Zhou and Saad 2007), and the pairs are refined with
/// the operator itself.
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
    let mut plain = Krylov::new(n, seed);
    plain.extend(2 * count + 20, &apply);
    let mut bound = smallest(&plain.ritz(count)?);
    // A bound near 0 tells nothing apart.
    let few = count < MANY || n < LARGE || n < 10 * count;
    if few || bound < 1e-3 * plain.scale() {
        loop {
            let found = plain.ritz(count)?;
            let enough = TOLERANCE * plain.scale();
            if plain.steps() == n || plain.residuals(&found).all(|r| r <= enough) {
                return Ok(plain.expand(found));
            }
            plain.extend((plain.steps() + plain.steps() / 3 + 1).min(n), &apply);
        }
    }
    // Eigenvalues of a large graph lie close together, and as many steps as it takes to tell them apart
    // make a basis that is too large. A polynomial that is large beyond a bound and small within it drives
    // them apart: first a guess of the bound, then a better one, then the pairs.
    drop(plain);
    let mut guess = Krylov::new(n, seed);
    guess.extend(count + count / 2, filter(n, GUESS_DEGREE, bound, &apply));
    bound = smallest(&refined(&guess, count, &apply)?).max(bound);
    drop(guess);
    let mut sharp = Krylov::new(n, seed);
    // Fewer are rarely enough, and a look at the pairs costs as much as fifty steps.
    let mut check = 5 * count / 2 + 10;
    loop {
        sharp.extend(check.min(n), filter(n, DEGREE, bound * BELOW, &apply));
        let found = refined(&sharp, count, &apply)?;
        if sharp.steps() == n || converged(&found, &apply) {
            return Ok(found);
        }
        check += check / 4 + 10;
    }
}

/// Operators from this size on are filtered, where so many pairs are wanted: a few are soon found.
const LARGE: usize = 2000;
/// See [`LARGE`].
const MANY: usize = 20;
/// Degree of the polynomial for the guess of a bound, and for the pairs; even, so that both ends of the
/// spectrum are alike.
const GUESS_DEGREE: usize = 4;
/// See [`GUESS_DEGREE`].
const DEGREE: usize = 6;
/// The bound stays a little below the smallest magnitude that is wanted.
const BELOW: f64 = 0.995;

/// The smallest magnitude among pairs.
fn smallest(pairs: &Pairs) -> f64 {
    pairs
        .values
        .iter()
        .fold(f64::INFINITY, |m, v| m.min(v.abs()))
}

/// The Chebyshev polynomial of this degree in the operator over `bound`.
fn filter<'a>(
    n: usize,
    degree: usize,
    bound: f64,
    apply: &'a impl Fn(&[f64], &mut [f64]),
) -> impl Fn(&[f64], &mut [f64]) + 'a {
    move |v, out| {
        let (mut before, mut now) = (v.to_vec(), vec![0f64; n]);
        apply(v, &mut now);
        now.iter_mut().for_each(|x| *x /= bound);
        for _ in 1..degree {
            // T₍ₖ₊₁₎ = 2 x Tₖ − T₍ₖ₋₁₎
            apply(&now, out);
            let next = out.iter().zip(&before).map(|(x, b)| 2.0 * x / bound - b);
            before = std::mem::replace(&mut now, next.collect());
        }
        out.copy_from_slice(&now);
    }
}

/// The leading pairs of the operator itself in the space of the leading vectors of a polynomial in it.
fn refined(
    space: &Krylov,
    count: usize,
    apply: &impl Fn(&[f64], &mut [f64]),
) -> Result<Pairs, Undefined> {
    let some = (count + count / 10 + 2).min(space.steps());
    let vectors = space.expand(space.ritz(some)?).vectors;
    let n = space.n;
    let mut image = vec![0f64; n];
    let mut small = Mat::<f64>::zeros(some, some);
    for (j, v) in vectors.iter().enumerate() {
        apply(v, &mut image);
        for (i, u) in vectors.iter().enumerate() {
            small[(i, j)] = dot(u, &image);
        }
    }
    let symmetric = Mat::from_fn(some, some, |i, j| 0.5 * (small[(i, j)] + small[(j, i)]));
    let found = decompose(&symmetric, count)?;
    Ok(expand(found, &vectors, n))
}

/// Whether every pair is one of the operator.
fn converged(pairs: &Pairs, apply: &impl Fn(&[f64], &mut [f64])) -> bool {
    let scale = pairs.values.iter().fold(0f64, |m, v| m.max(v.abs()));
    let mut all = pairs.values.iter().zip(&pairs.vectors);
    all.all(|(value, v)| {
        let mut image = vec![0f64; v.len()];
        apply(v, &mut image);
        axpy(-value, v, &mut image);
        norm(&image) <= TOLERANCE * scale
    })
}

/// A growing orthonormal basis in which an operator is tridiagonal.
struct Krylov {
    n: usize,
    basis: Vec<Vec<f64>>,
    alpha: Vec<f64>,
    beta: Vec<f64>,
    next: Vec<f64>,
    seed: u64,
}

impl Krylov {
    fn new(n: usize, seed: u64) -> Self {
        Self {
            n,
            basis: Vec::new(),
            alpha: Vec::new(),
            beta: Vec::new(),
            next: fresh(n, &[], &mut sc_data::rng::stream(seed, "lanczos", 0, 0)),
            seed,
        }
    }

    fn steps(&self) -> usize {
        self.basis.len()
    }

    /// Largest entry, which is near the largest eigenvalue.
    fn scale(&self) -> f64 {
        let all = self.alpha.iter().chain(&self.beta);
        all.fold(0f64, |s, v| s.max(v.abs()))
    }

    /// Goes on to this number of steps.
    fn extend(&mut self, steps: usize, apply: impl Fn(&[f64], &mut [f64])) {
        let mut w = vec![0f64; self.n];
        while self.steps() < steps {
            apply(&self.next, &mut w);
            let a = dot(&self.next, &w);
            self.alpha.push(a);
            let next = std::mem::take(&mut self.next);
            self.basis.push(next);
            // What is left without rounding goes first, so that a second pass is rarely needed.
            let known = [a, self.beta.last().copied().unwrap_or(0.0)];
            for (q, c) in self.basis.iter().rev().zip(known) {
                axpy(-c, q, &mut w);
            }
            let before = norm(&w);
            orthogonalise(&mut w, &self.basis);
            let mut b = norm(&w);
            if b < 0.7 * before {
                orthogonalise(&mut w, &self.basis);
                b = norm(&w);
            }
            self.next = if b <= 1e-13 * self.scale().max(f64::MIN_POSITIVE) {
                b = 0.0;
                let at = self.steps() as u64;
                let mut rng = sc_data::rng::stream(self.seed, "lanczos", at, 0);
                fresh(self.n, &self.basis, &mut rng)
            } else {
                w.iter().map(|v| v / b).collect()
            };
            self.beta.push(b);
        }
    }

    /// The leading pairs in this basis.
    fn ritz(&self, count: usize) -> Result<Pairs, Undefined> {
        ritz(&self.alpha, &self.beta[..self.steps() - 1], count)
    }

    /// Residuals of such pairs.
    fn residuals(&self, found: &Pairs) -> impl Iterator<Item = f64> {
        let last = self.beta.last().copied().unwrap_or(0.0);
        let end = self.steps() - 1;
        found.vectors.iter().map(move |s| last * s[end].abs())
    }

    /// The same in the coordinates of the operator.
    fn expand(&self, found: Pairs) -> Pairs {
        expand(found, &self.basis, self.n)
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
    fn a_filtered_operator_has_the_same_pairs() {
        // A grid of 60 × 50 nodes, weighted so that no eigenvalue is repeated: close ones at both ends.
        let (rows, cols) = (60, 50);
        let n = rows * cols;
        assert!(n >= LARGE);
        let apply = |v: &[f64], out: &mut [f64]| {
            for i in 0..n {
                let (r, c) = (i / cols, i % cols);
                let at = |ok: bool, j: usize| if ok { v[j] } else { 0.0 };
                let across = at(c > 0, i.wrapping_sub(1)) + at(c + 1 < cols, i + 1);
                let down = at(r > 0, i.wrapping_sub(cols)) + at(r + 1 < rows, i + cols);
                out[i] = 0.25 * across + 0.2371 * down + 0.02 * v[i];
            }
        };
        let count = 40;
        let found = leading(n, count, 0, apply).unwrap();
        let cosine =
            |k: usize, m: usize| (std::f64::consts::PI * k as f64 / (m as f64 + 1.0)).cos();
        let mut known: Vec<f64> = (1..=rows)
            .flat_map(|r| (1..=cols).map(move |c| (r, c)))
            .map(|(r, c)| 0.5 * cosine(c, cols) + 0.4742 * cosine(r, rows) + 0.02)
            .collect();
        known.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
        for (k, (value, want)) in found.values.iter().zip(known).enumerate() {
            assert!((value - want).abs() < 1e-10, "{k}: {value} {want}");
        }
        for (value, v) in found.values.iter().zip(&found.vectors) {
            let mut image = vec![0.0; n];
            apply(v, &mut image);
            axpy(-value, v, &mut image);
            assert!(norm(&image) < 1e-8 && (norm(v) - 1.0).abs() < 1e-12);
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
