//! Multinomial logistic regression with an L2 penalty, at scikit-learn's optimum.

use crate::baselines::Features;
use crate::baselines::features::Design;
use crate::baselines::lbfgs;
use crate::baselines::reduced::{self, Reduced};
use crate::categories::Groups;
use crate::error::EvalError;
use crate::protocol::Predictions;
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use std::cell::RefCell;

/// How to fit a logistic regression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogisticOptions {
    /// Inverse strength of the penalty, scikit-learn's `C`.
    pub c: f64,
    /// Stop when no entry of the gradient (L1: no violation of the optimality conditions) is
    /// larger than `tolerance · max(1, C · cells)`.
    pub tolerance: f64,
    /// Stop after this many iterations (the model is returned anyway).
    pub max_iterations: usize,
}

impl Default for LogisticOptions {
    /// `C = 1`, tolerance 1e-9, 2,000 iterations.
    fn default() -> Self {
        Self {
            c: 1.0,
            tolerance: 1e-9,
            max_iterations: 2000,
        }
    }
}

/// How scores become probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Softmax over the classes.
    Softmax,
    /// One sigmoid per class, divided by their sum.
    OneVsRest,
}

/// A fitted linear classifier.
#[derive(Clone, Debug)]
pub struct LogisticModel {
    /// Label codes, ascending.
    pub classes: Vec<u32>,
    /// Weights `[classes, dims]`.
    pub coef: Array2<f64>,
    /// Intercepts `[classes]`; centred for [`Link::Softmax`], which is invariant to their mean.
    pub intercept: Vec<f64>,
    /// How scores become probabilities.
    pub link: Link,
    /// Value of the objective: `C · Σ loss + penalty` (summed over classes for one-vs-rest).
    pub objective: f64,
    /// Iterations taken.
    pub iterations: usize,
}

/// Refuses inputs on which no classifier can be fitted.
pub(crate) fn check(features: Features<'_>, labels: &[u32]) -> Result<(), EvalError> {
    EvalError::check("labels", features.cells(), labels.len())?;
    features.check_finite()?;
    if labels.is_empty() {
        return Err(EvalError::invalid(
            "a classifier needs at least one training cell",
        ));
    }
    Ok(())
}

/// Fits `C · Σ −ln softmax(Wx + b)_y + ½‖W‖²`, intercepts unpenalised, by L-BFGS in f64.
///
/// Columns are standardised internally (the penalty is transformed accordingly, so the optimum is
/// that of the raw features), which lets raw counts converge. Two classes are the binary problem
/// `½‖w‖²` of scikit-learn, reported as rows `∓w/2`. One class gives a constant model. With fewer
/// cells than features the same optimum is found in the span of the cells.
///
/// # Errors
/// [`EvalError`] when shapes do not match, a feature is not finite or there is no cell.
pub fn logistic_l2(
    features: Features<'_>,
    labels: &[u32],
    options: &LogisticOptions,
) -> Result<LogisticModel, EvalError> {
    check(features, labels)?;
    if !reduced::pays(features) {
        return Ok(fit_design(
            &Design::standardized(features),
            labels,
            options,
            None,
        ));
    }
    let span = Reduced::new(features)?;
    let design = Design::of(span.coordinates.view());
    let mut model = fit_design(&design, labels, options, None);
    let (coef, shift) = span.weights(features, &model.coef);
    model.coef = coef;
    model
        .intercept
        .iter_mut()
        .zip(shift)
        .for_each(|(b, s)| *b += s);
    centre(&mut model.intercept);
    Ok(model)
}

/// Fits prepared features, starting from the weights of `near` where a model of the same features
/// and classes is given.
pub(crate) fn fit_design(
    design: &Design,
    labels: &[u32],
    options: &LogisticOptions,
    near: Option<&LogisticModel>,
) -> LogisticModel {
    let groups = Groups::new(labels);
    let (classes, cells, dims) = (groups.len(), labels.len(), design.dims());
    let c = options.c;
    let strength = if classes == 2 { 2.0 } else { 1.0 };
    let penalty: Vec<f64> = design.scale.iter().map(|s| strength / (s * s)).collect();
    let split = classes * dims;
    let mut start = vec![0f64; split + classes];
    for (k, members) in groups.members.iter().enumerate() {
        start[split + k] = (members.len() as f64 / cells as f64).ln();
    }
    centre(&mut start[split..]);
    if let Some(near) = near.filter(|m| m.coef.dim() == (classes, dims)) {
        // Back into the shifted and scaled columns.
        for k in 0..classes {
            start[split + k] = near.intercept[k];
            for j in 0..dims {
                let w = near.coef[[k, j]];
                start[k * dims + j] = w * design.scale[j];
                start[split + k] += w * design.mean[j];
            }
        }
    }
    let (mut z, mut grad_w) = (vec![0f64; cells * classes], vec![0f64; split]);
    let tolerance = options.tolerance * (c * cells as f64).max(1.0);
    // Curvature of the loss by class, `Σ p (1 − p)`: it vanishes as classes are told apart, and then
    // only the penalty bends the objective.
    let curvature = RefCell::new(vec![0f64; classes]);
    let found = lbfgs::minimise(
        start,
        tolerance,
        options.max_iterations,
        |x, g| {
            let (weights, intercepts) = x.split_at(split);
            design.scores(weights, intercepts, &mut z);
            // In place: scores become residuals; per-cell losses are collected and summed in order.
            let losses: Vec<f64> = z
                .par_chunks_mut(classes)
                .zip(&groups.of_cell)
                .map(|(z, &y)| {
                    let loss = softmax(z, y as usize);
                    z[y as usize] -= 1.0;
                    loss
                })
                .collect();
            let mut curvature = curvature.borrow_mut();
            curvature.fill(0.0);
            for (z, &y) in z.chunks_exact(classes).zip(&groups.of_cell) {
                for (k, (sum, r)) in curvature.iter_mut().zip(z).enumerate() {
                    let p = if k == y as usize { r + 1.0 } else { *r };
                    *sum += p * (1.0 - p);
                }
            }
            design.gradient(&z, classes, &mut grad_w);
            let mut value = c * losses.iter().sum::<f64>();
            for k in 0..classes {
                for j in 0..dims {
                    let w = weights[k * dims + j];
                    value += 0.5 * penalty[j] * w * w;
                    g[k * dims + j] = c * grad_w[k * dims + j] + penalty[j] * w;
                }
                g[split + k] = c * z.iter().skip(k).step_by(classes).sum::<f64>();
            }
            value
        },
        |diagonal| {
            for (k, bend) in curvature.borrow().iter().enumerate() {
                // Singular directions are kept away from zero.
                let bend = c * bend.max(1e-6 * cells as f64);
                for (d, penalty) in diagonal[k * dims..(k + 1) * dims].iter_mut().zip(&penalty) {
                    *d = 1.0 / (bend + penalty);
                }
                diagonal[split + k] = 1.0 / bend;
            }
        },
    );
    let (weights, intercepts) = found.x.split_at(split);
    let mut intercept = intercepts.to_vec();
    let mut coef = Array2::zeros((classes, dims));
    for k in 0..classes {
        for j in 0..dims {
            let w = weights[k * dims + j] / design.scale[j];
            coef[[k, j]] = w;
            intercept[k] -= w * design.mean[j];
        }
    }
    centre(&mut intercept);
    LogisticModel {
        classes: groups.codes,
        coef,
        intercept,
        link: Link::Softmax,
        objective: found.value,
        iterations: found.iterations,
    }
}

fn centre(values: &mut [f64]) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter_mut().for_each(|v| *v -= mean);
}

/// Turns scores into probabilities; returns `−ln p[y]`.
fn softmax(z: &mut [f64], y: usize) -> f64 {
    let max = z.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(v));
    let score = z[y] - max;
    let mut sum = 0.0;
    for v in z.iter_mut() {
        *v = (*v - max).exp();
        sum += *v;
    }
    z.iter_mut().for_each(|v| *v /= sum);
    sum.ln() - score
}

impl LogisticModel {
    /// Scores `Wx + b`, `[cells, classes]`.
    ///
    /// # Errors
    /// [`EvalError::Shape`] when the number of features differs from the fit.
    pub fn scores(&self, features: Features<'_>) -> Result<Array2<f64>, EvalError> {
        EvalError::check("features", self.coef.ncols(), features.dims())?;
        features.check_finite()?;
        let classes = self.classes.len();
        let mut out = Array2::zeros((features.cells(), classes));
        let by_gene = self.coef.t().as_standard_layout().into_owned();
        for (i, mut z) in out.outer_iter_mut().enumerate() {
            z.iter_mut().zip(&self.intercept).for_each(|(z, b)| *z = *b);
            let mut add = |j: usize, v: f32| {
                if v != 0.0 {
                    z.iter_mut()
                        .zip(by_gene.row(j))
                        .for_each(|(z, w)| *z += f64::from(v) * w);
                }
            };
            match features {
                Features::Dense(x) => x.row(i).iter().enumerate().for_each(|(j, &v)| add(j, v)),
                Features::Sparse(x) => {
                    let (indices, values) = x.row(i);
                    indices
                        .iter()
                        .zip(values)
                        .for_each(|(&j, &v)| add(j as usize, v));
                }
            }
        }
        Ok(out)
    }

    /// The class of every row of `x` `[cells, dims]`; equal scores go to the lowest code.
    pub(crate) fn classify(&self, x: ArrayView2<'_, f64>) -> Vec<u32> {
        let scores = x.dot(&self.coef.t());
        let rows = scores.outer_iter();
        rows.map(|row| {
            let mut best = 0;
            for k in 1..self.classes.len() {
                if row[k] + self.intercept[k] > row[best] + self.intercept[best] {
                    best = k;
                }
            }
            self.classes[best]
        })
        .collect()
    }

    /// Predictions with probabilities for every cell of `features`; equal scores go to the lowest
    /// code.
    ///
    /// # Errors
    /// [`EvalError::Shape`] when the number of features differs from the fit.
    pub fn predict(&self, features: Features<'_>) -> Result<Predictions, EvalError> {
        let mut z = self.scores(features)?;
        let mut predicted = Vec::with_capacity(z.nrows());
        for mut row in z.outer_iter_mut() {
            let mut best = 0;
            for (k, &v) in row.iter().enumerate() {
                if v > row[best] {
                    best = k;
                }
            }
            predicted.push(self.classes[best]);
            match self.link {
                Link::Softmax => {
                    let max = row[best];
                    row.mapv_inplace(|v| (v - max).exp());
                }
                Link::OneVsRest => row.mapv_inplace(|v| 1.0 / (1.0 + (-v).exp())),
            }
            let sum = row.sum();
            if sum > 0.0 {
                row.mapv_inplace(|v| v / sum);
            }
        }
        Ok(Predictions {
            classes: self.classes.clone(),
            predicted,
            probabilities: Some(z),
        })
    }
}
