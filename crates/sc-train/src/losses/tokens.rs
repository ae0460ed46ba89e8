//! Losses of objectives on tokens and genes: token identity, expression, spatial neighbourhood.

use burn::tensor::Tensor;
use burn::tensor::activation::{log_sigmoid, softmax};

/// Mean binary cross entropy of `logits` against `labels` of 0 and 1, both `[cells, genes]` (UCE;
/// reference/saturn-uce-scprint-nicheformer.md B3).
pub fn binary_cross_entropy(logits: Tensor<2>, labels: Tensor<2>) -> Tensor<1> {
    let [cells, genes] = logits.dims();
    let positive = log_sigmoid(logits.clone()) * labels.clone();
    let negative = log_sigmoid(logits.neg()) * (labels.neg() + 1.0);
    super::total(positive + negative).neg() / (cells * genes) as f64
}

/// Target of a predicted composition of the niche.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Composition {
    /// Counts over their sum.
    #[default]
    Strict,
    /// Softmax of the counts themselves, as published.
    Released,
}

/// Mean squared error of `softmax(output)` against the composition of `counts`, both
/// `[cells, types]` (Nicheformer; reference D5).
pub fn composition_mse(output: Tensor<2>, counts: Tensor<2>, by: Composition) -> Tensor<1> {
    let target = match by {
        Composition::Released => softmax(counts, 1),
        Composition::Strict => counts.clone() / counts.sum_dim(1).clamp_min(1.0),
    };
    mean_squared_error(softmax(output, 1), target)
}

/// Mean of the squared differences of two tensors of one shape.
pub fn mean_squared_error(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    let [rows, cols] = a.dims();
    super::total((a - b).square()) / (rows * cols) as f64
}
