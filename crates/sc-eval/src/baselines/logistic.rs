//! Multinomial logistic regression with an L2 penalty, at scikit-learn's optimum.

use crate::baselines::Features;
use crate::error::EvalError;
use crate::protocol::Predictions;
use ndarray::Array2;

/// How to fit a logistic regression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogisticOptions {
    /// Inverse strength of the penalty, scikit-learn's `C`.
    pub c: f64,
    /// Stop when no entry of the gradient is larger than `tolerance · max(1, cells)`.
    pub tolerance: f64,
    /// Give up after that many iterations (the model is returned all the same).
    pub max_iterations: usize,
}

impl Default for LogisticOptions {
    fn default() -> Self {
        Self {
            c: 1.0,
            tolerance: 1e-8,
            max_iterations: 1000,
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
    /// Intercepts `[classes]`.
    pub intercept: Vec<f64>,
    /// How scores become probabilities.
    pub link: Link,
    /// Value of the objective reached.
    pub objective: f64,
    /// Iterations taken.
    pub iterations: usize,
}

/// Fits by L-BFGS in f64.
///
/// # Errors
/// [`EvalError`] when shapes do not fit, a feature is not finite or there is no cell.
pub fn logistic_l2(
    features: Features<'_>,
    labels: &[u32],
    options: &LogisticOptions,
) -> Result<LogisticModel, EvalError> {
    let _ = options;
    EvalError::check("labels", features.cells(), labels.len())?;
    Err(EvalError::invalid("logistic regression is not built yet"))
}

impl LogisticModel {
    /// Predictions with probabilities for every cell of `features`.
    ///
    /// # Errors
    /// [`EvalError::Shape`] when the number of features differs from the fit.
    pub fn predict(&self, features: Features<'_>) -> Result<Predictions, EvalError> {
        EvalError::check("features", self.coef.ncols(), features.dims())?;
        Err(EvalError::invalid("logistic regression is not built yet"))
    }
}
