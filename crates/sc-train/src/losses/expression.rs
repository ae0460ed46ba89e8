//! Losses of predicted expression values (scGPT, scFormer).
//!
//! Source: reference/scformer-scgpt-cellplm.md A3.

use super::total;
use burn::tensor::Tensor;
use sc_models::layers::lookup::unit;

/// `Σ m (ŷ − y)² / Σ m` over the whole minibatch; all arguments `[cells, tokens]`. 0 where nothing
/// is masked.
pub fn masked_mse(predicted: Tensor<2>, target: Tensor<2>, mask: Tensor<2>) -> Tensor<1> {
    let error = (predicted - target) * mask.clone();
    total(error.square()) / masked(mask)
}

/// Number of masked entries, at least 1: cells with very few genes have none, which is not an
/// error.
fn masked(mask: Tensor<2>) -> Tensor<1> {
    total(mask).clamp_min(1.0)
}

/// Negative log-likelihood of "is the gene expressed": `−Σ m log P(1[y>0]) / Σ m`.
///
/// Probabilities are kept one rounding error away from 0 and 1, as `torch.distributions.Bernoulli`
/// does.
pub fn expressed_nll(expressed: Tensor<2>, target: Tensor<2>, mask: Tensor<2>) -> Tensor<1> {
    let eps = f64::from(f32::EPSILON);
    let p = expressed.clamp(eps, 1.0 - eps);
    let y = target.greater_scalar(0.0).float();
    let log_p = y.clone() * p.clone().log() + (y.neg() + 1.0) * (p.neg() + 1.0).log();
    (total(log_p * mask.clone()) / masked(mask)).neg()
}

/// `mean m |ŷ − y| / (y + 1e-6)`; reported by the original, not trained on.
///
/// Zeros in the target make it explode by design of the original.
pub fn masked_relative_error(
    predicted: Tensor<2>,
    target: Tensor<2>,
    mask: Tensor<2>,
) -> Tensor<1> {
    let error = (predicted - target.clone()).abs() / (target + 1e-6);
    total(error * mask.clone()) / masked(mask)
}

/// Elastic cell similarity: `mean over all pairs of 1 − (relu(cos_ij) · [i≠j] − β)²`.
///
/// The diagonal and negative cosines contribute the constant `1 − β²`, as published.
///
/// # Shapes
/// - cell: `[cells, d]`
pub fn elastic_cell_similarity(cell: Tensor<2>, threshold: f64) -> Tensor<1> {
    let [n, _] = cell.dims();
    let unit = unit(cell);
    let cos = unit.clone().matmul(unit.transpose());
    let off_diagonal = Tensor::<2>::eye(n, &cos.device()).neg() + 1.0;
    let positive = burn::tensor::activation::relu(cos * off_diagonal);
    ((positive - threshold).square().neg() + 1.0).mean()
}
