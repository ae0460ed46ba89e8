//! One-vs-rest logistic regression with an L1 penalty, at liblinear's optimum.
//!
//! The objective of every class is `Σ|w| + |b| + C Σ ln(1 + exp(−y z))`: liblinear treats the
//! intercept as one more weight. Solved as Yuan, Ho and Lin 2012 (newGLMNET): coordinate descent on
//! successive quadratic models with a line search, on columns, dense or sparse.

use crate::baselines::Features;
use crate::baselines::logistic::{Link, LogisticModel, LogisticOptions, check};
use crate::categories::Groups;
use crate::error::EvalError;
use ndarray::Array2;
use rayon::prelude::*;
use sc_data::sparse::CsrMatrix;

/// Sweeps over the coordinates of one quadratic model.
const SWEEPS: usize = 1000;

/// Feature columns; the last one is the intercept's column of ones.
enum Columns {
    /// Column-major values.
    Dense(Vec<f32>, usize),
    Sparse(CsrMatrix),
}

impl Columns {
    fn new(features: Features<'_>) -> Self {
        match features {
            Features::Dense(x) => Self::Dense(
                x.columns().into_iter().flat_map(|c| c.to_vec()).collect(),
                x.nrows(),
            ),
            Features::Sparse(x) => Self::Sparse(x.transpose()),
        }
    }

    /// Calls `f(cell, value)` for every entry of column `j` of `dims` (column `dims` is all ones).
    #[inline]
    fn each(&self, j: usize, dims: usize, cells: usize, mut f: impl FnMut(usize, f64)) {
        if j == dims {
            (0..cells).for_each(|i| f(i, 1.0));
            return;
        }
        match self {
            Self::Dense(x, n) => {
                x[j * n..(j + 1) * n]
                    .iter()
                    .enumerate()
                    .for_each(|(i, &v)| f(i, f64::from(v)));
            }
            Self::Sparse(x) => {
                let (rows, values) = x.row(j);
                rows.iter()
                    .zip(values)
                    .for_each(|(&i, &v)| f(i as usize, f64::from(v)));
            }
        }
    }
}

/// Fits one L1 problem per class (`C = 0.1` reproduces the baseline of Boiarsky et al. 2024).
///
/// Probabilities are sigmoids divided by their sum. `tolerance` bounds the largest violation of
/// the optimality conditions. One class gives a constant model.
///
/// # Errors
/// [`EvalError`] when shapes do not match, a feature is not finite or there is no cell.
pub fn logistic_l1(
    features: Features<'_>,
    labels: &[u32],
    options: &LogisticOptions,
) -> Result<LogisticModel, EvalError> {
    check(features, labels)?;
    let groups = Groups::new(labels);
    let dims = features.dims();
    let columns = Columns::new(features);
    let fits: Vec<Fit> = (0..groups.len())
        .into_par_iter()
        .map(|k| {
            let y: Vec<bool> = groups.of_cell.iter().map(|&g| g as usize == k).collect();
            fit(&columns, dims, &y, options)
        })
        .collect();
    let mut coef = Array2::zeros((groups.len(), dims));
    let mut intercept = Vec::with_capacity(groups.len());
    for (mut row, fit) in coef.outer_iter_mut().zip(&fits) {
        row.iter_mut().zip(&fit.weights).for_each(|(r, w)| *r = *w);
        intercept.push(fit.weights[dims]);
    }
    Ok(LogisticModel {
        classes: groups.codes,
        coef,
        intercept,
        link: Link::OneVsRest,
        objective: fits.iter().map(|f| f.objective).sum(),
        iterations: fits.iter().map(|f| f.iterations).max().unwrap_or(0),
    })
}

struct Fit {
    weights: Vec<f64>,
    objective: f64,
    iterations: usize,
}

/// `ln(1 + exp(−m))` without overflow.
fn loss(margin: f64) -> f64 {
    (-margin.abs()).exp().ln_1p() + (-margin).max(0.0)
}

fn fit(columns: &Columns, dims: usize, y: &[bool], options: &LogisticOptions) -> Fit {
    let cells = y.len();
    let c = options.c;
    let tolerance = options.tolerance * (c * cells as f64).max(1.0);
    let sign = |i: usize| if y[i] { 1.0 } else { -1.0 };
    let total = |z: &[f64]| {
        z.iter()
            .enumerate()
            .map(|(i, z)| loss(sign(i) * z))
            .sum::<f64>()
    };
    let (mut w, mut z) = (vec![0f64; dims + 1], vec![0f64; cells]);
    let mut value = c * total(&z);
    let (mut g, mut h) = (vec![0f64; cells], vec![0f64; cells]);
    let (mut slope, mut curve) = (vec![0f64; dims + 1], vec![0f64; dims + 1]);
    let mut iterations = 0;
    while iterations < options.max_iterations {
        for i in 0..cells {
            let p = 1.0 / (1.0 + (-z[i]).exp());
            g[i] = c * (p - f64::from(u8::from(y[i])));
            h[i] = c * p * (1.0 - p);
        }
        let mut worst = 0f64;
        for j in 0..=dims {
            let (mut s, mut q) = (0.0, 0.0);
            columns.each(j, dims, cells, |i, x| {
                s += x * g[i];
                q += x * x * h[i];
            });
            slope[j] = s;
            curve[j] = q + 1e-12;
            worst = worst.max(violation(s, w[j]));
        }
        if worst <= tolerance {
            break;
        }
        iterations += 1;
        let (step, moved) = quadratic(
            columns,
            (dims, cells),
            (&w, &slope, &curve, &h),
            worst,
            tolerance,
        );
        // Armijo condition on the true objective.
        let norm = |w: &[f64]| w.iter().map(|v| v.abs()).sum::<f64>();
        let descent: f64 = step.iter().zip(&slope).map(|(d, s)| d * s).sum::<f64>()
            + w.iter()
                .zip(&step)
                .map(|(w, d)| (w + d).abs() - w.abs())
                .sum::<f64>();
        let before = norm(&w) + value;
        let mut length = 1.0;
        let mut done = true;
        for _ in 0..30 {
            let next: Vec<f64> = w.iter().zip(&step).map(|(w, d)| w + length * d).collect();
            let scores: Vec<f64> = z.iter().zip(&moved).map(|(z, m)| z + length * m).collect();
            let v = c * total(&scores);
            if norm(&next) + v <= before + 0.01 * length * descent {
                (w, z, value) = (next, scores, v);
                done = false;
                break;
            }
            length *= 0.5;
        }
        if done {
            break;
        }
    }
    let objective = w.iter().map(|v| v.abs()).sum::<f64>() + value;
    Fit {
        weights: w,
        objective,
        iterations,
    }
}

/// Distance of a coordinate from optimality: the smallest subgradient of `|w| + slope · w`.
fn violation(slope: f64, w: f64) -> f64 {
    if w > 0.0 {
        (slope + 1.0).abs()
    } else if w < 0.0 {
        (slope - 1.0).abs()
    } else {
        (slope.abs() - 1.0).max(0.0)
    }
}

/// Coordinate descent on the quadratic model; returns the step and its effect on the scores.
fn quadratic(
    columns: &Columns,
    (dims, cells): (usize, usize),
    (w, slope, curve, h): (&[f64], &[f64], &[f64], &[f64]),
    worst: f64,
    tolerance: f64,
) -> (Vec<f64>, Vec<f64>) {
    let (mut step, mut moved) = (vec![0f64; dims + 1], vec![0f64; cells]);
    // Far from the optimum a rough step is enough.
    let goal = (0.05 * worst).max(0.3 * tolerance);
    let mut active: Vec<usize> = (0..=dims).collect();
    let mut full = true;
    for _ in 0..SWEEPS {
        let mut left = 0f64;
        let mut keep = Vec::new();
        for &j in &active {
            let mut s = slope[j] + 1e-12 * step[j];
            columns.each(j, dims, cells, |i, x| s += x * h[i] * moved[i]);
            let at = w[j] + step[j];
            let v = violation(s, at);
            left = left.max(v);
            if at != 0.0 || v > 0.0 {
                keep.push(j);
            }
            if v == 0.0 {
                continue;
            }
            let change = if s + 1.0 <= curve[j] * at {
                -(s + 1.0) / curve[j]
            } else if s - 1.0 >= curve[j] * at {
                -(s - 1.0) / curve[j]
            } else {
                -at
            };
            if change != 0.0 {
                step[j] += change;
                columns.each(j, dims, cells, |i, x| moved[i] += change * x);
            }
        }
        if left <= goal {
            if full {
                break;
            }
            // The active coordinates have converged; check all of them again.
            active = (0..=dims).collect();
            full = true;
        } else {
            active = keep;
            full = false;
        }
    }
    (step, moved)
}
