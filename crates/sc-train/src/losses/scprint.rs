//! scPRINT's objectives: counts, classes over a hierarchy, and decorrelation of cell tokens.
//!
//! Source: reference/saturn-uce-scprint-nicheformer.md C3.

use super::{cross_entropy, total};
use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Int, Tensor, TensorData};
use sc_data::CsrMatrix;
use sc_models::layers::lookup::unit;
use sc_models::layers::sparse::dense;
use sc_models::layers::zinb::zinb_nll;
use sc_models::scprint::Prediction;
use std::sync::Arc;

/// Mean over cells and genes of the loss of `counts` `[cells, genes]`, a scalar: the zero-inflated
/// negative binomial, or where only a mean is predicted the squared error of `log₂(1+x)` scaled to
/// 10,000 per cell.
pub fn expression(prediction: &Prediction, counts: &Arc<CsrMatrix>) -> Tensor<1> {
    let [cells, genes] = prediction.mean.dims();
    let Some([dispersion, zero]) = prediction.spread.clone() else {
        let scaled = |x: Tensor<2>| {
            let x = (x + 1.0).log() / std::f64::consts::LN_2;
            x.clone() / x.sum_dim(1) * 10_000.0
        };
        let target = dense(counts, &prediction.mean.device());
        let error = scaled(prediction.mean.clone()) - scaled(target);
        return total(error.square()) / (cells * genes) as f64;
    };
    let nll = zinb_nll(prediction.mean.clone(), dispersion, zero, counts);
    nll.sum() / (cells * genes) as f64
}

/// Labels of a class: leaves `0 … leaves − 1`, then labels that contain several leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchy {
    /// Number of leaves.
    pub leaves: usize,
    /// Leaves below label `leaves + i`.
    pub inner: Vec<Vec<usize>>,
}

/// Mean binary cross entropy over leaves, where the target of an inner label is any one of its
/// leaves; `None` is an unknown label without a target.
///
/// For an inner label, its own leaves are ignored, the others count as absent, and one
/// more logit, `ln Σ exp` of its own leaves, counts as present. The mean is over all entries,
/// ignored ones included, and over the additional column if any cell needs it, as published.
///
/// # Shapes
/// - `logits`: `[cells, leaves]`
/// - `labels`: one per cell; a label missing in the hierarchy counts as unknown
pub fn classification(
    logits: Tensor<2>,
    labels: &[Option<usize>],
    hierarchy: &Hierarchy,
) -> Tensor<1> {
    let [cells, leaves] = logits.dims();
    let device = logits.device();
    let matrix = |v: Vec<f32>, width: usize| {
        Tensor::<2>::from_data(TensorData::new(v, [cells, width]), &device)
    };
    let mut target = vec![0f32; cells * leaves];
    let mut weight = vec![0f32; cells * leaves];
    // Added to logits before the sum of exponentials: 0 for a label's own leaves.
    let mut out = vec![0f32; cells * leaves];
    let mut above = vec![0f32; cells];
    for (i, label) in labels.iter().enumerate().take(cells) {
        let row = i * leaves..(i + 1) * leaves;
        match label {
            Some(leaf) if *leaf < leaves => {
                weight[row.clone()].fill(1.0);
                target[row.start + leaf] = 1.0;
            }
            Some(label) => {
                let Some(own) = hierarchy.inner.get(label - leaves) else {
                    continue;
                };
                weight[row.clone()].fill(1.0);
                out[row.clone()].fill(f32::MIN);
                above[i] = 1.0;
                for &leaf in own.iter().filter(|l| **l < leaves) {
                    weight[row.start + leaf] = 0.0;
                    out[row.start + leaf] = 0.0;
                }
            }
            None => {}
        }
    }
    let any = above.contains(&1.0);
    let target = matrix(target, leaves);
    let terms = log_sigmoid(logits.clone()) * target.clone()
        + log_sigmoid(logits.clone().neg()) * (target.neg() + 1.0);
    let mut sum = total(terms * matrix(weight, leaves));
    let mut columns = leaves;
    if any {
        // As a maximum over what counts, the rest being far below any logit.
        let masked = (logits + matrix(out, leaves)).clamp_min(f64::from(f32::MIN));
        let largest = masked.clone().max_dim(1).detach();
        let one = (masked - largest.clone()).exp().sum_dim(1).log() + largest;
        sum = sum + total(log_sigmoid(one) * matrix(above, 1));
        columns += 1;
    }
    sum.neg() / (cells * columns) as f64
}

/// Similarity of cell tokens: the mean over pairs of tokens, with 0 on the diagonal,
/// of the mean over cells of `|cos|`.
///
/// # Shapes
/// - `cells`: `[minibatch, tokens, d]`
pub fn token_similarity(cells: Tensor<3>) -> Tensor<1> {
    let [_, n, _] = cells.dims();
    let unit = unit(cells);
    let cos = unit.clone().matmul(unit.swap_dims(1, 2)).abs();
    let mean = cos.mean_dim(0).reshape([n, n]);
    let off_diagonal = Tensor::<2>::eye(n, &mean.device()).neg() + 1.0;
    total(mean * off_diagonal) / (n * n) as f64
}

/// Contrast between two passes of the same cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contrast {
    /// Cosines between cells.
    #[default]
    Strict,
    /// Cosines along the minibatch instead of the features, as published: the first argument only
    /// contributes signs.
    Published,
}

/// Cross entropy of matching the cells of `b` to those of `a`, both `[cells, d]`.
///
/// [`Contrast::Published`] needs at least as many features as cells.
pub fn contrast(a: Tensor<2>, b: Tensor<2>, temperature: f64, by: Contrast) -> Tensor<1> {
    let [cells, _] = a.dims();
    let cosines = match by {
        Contrast::Strict => unit(a).matmul(unit(b).transpose()),
        Contrast::Published => {
            let along = (cells as f64).sqrt();
            let norm_a = a.clone().abs() * along;
            let norm_b = b.clone().square().sum_dim(0).sqrt();
            a / norm_a.clamp_min(1e-8) * (b.sum_dim(0) / norm_b.clamp_min(1e-8))
        }
    };
    let own = TensorData::new((0..cells as i64).collect::<Vec<_>>(), [cells]);
    let own = Tensor::<1, Int>::from_data(own, &cosines.device());
    cross_entropy(cosines / temperature, own)
}

/// Counts after the noise of the denoising task: `max(x − n, 0)` for genes that are kept, 0 for
/// others.
///
/// `removed` are Poisson draws with mean `x · share / 2`, genes are kept where `uniform ≥ share /
/// 2`, and `share` is [`noise_share`].
pub fn downsample(counts: &[f32], removed: &[f32], uniform: &[f32], share: f64) -> Vec<f32> {
    let draws = removed.iter().zip(uniform);
    counts
        .iter()
        .zip(draws)
        .map(|(&x, (&n, &u))| match f64::from(u) >= share / 2.0 {
            true => (x - n).max(0.0),
            false => 0.0,
        })
        .collect()
}

/// Share of the counts removed by noise, a little more than the setting since both halves overlap.
pub fn noise_share(noise: f64) -> f64 {
    noise * 1.1
}

#[cfg(all(test, feature = "flex"))]
mod tests;
