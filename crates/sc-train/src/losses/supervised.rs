//! Losses of supervised models.

use super::cross_entropy;
use burn::tensor::{Int, Tensor, TensorData};

/// Mixup partners, and the share of the cell itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixup {
    /// Share of the cell itself.
    pub share: f64,
    /// The partner, by its position in the minibatch.
    pub partner: Vec<i64>,
}

/// Cross entropy of cells and of cells mixed in the latent space, scalars.
#[derive(Clone, Debug)]
pub struct MixupTerms {
    /// Of the unmixed cells.
    pub plain: Tensor<1>,
    /// Of the mixed cells: `share · own + (1 − share) · partner`.
    pub mixed: Tensor<1>,
    /// Of the mixed cells against their own labels.
    pub own: Tensor<1>,
    /// Of the mixed cells against their partners' labels.
    pub partner: Tensor<1>,
    /// Mixed vectors, `[cells, latent]`.
    pub embedding: Tensor<2>,
    /// Their logits, `[cells, classes]`.
    pub logits: Tensor<2>,
}

/// Manifold mixup as in Islander (reference/schyena-scclip-evaluation.md B(a)).
///
/// # Shapes
/// - latent: `[cells, latent]`
/// - labels: `[cells]`
pub fn mixup(
    latent: Tensor<2>,
    labels: Tensor<1, Int>,
    with: &Mixup,
    classify: impl Fn(Tensor<2>) -> Tensor<2>,
) -> MixupTerms {
    let n = with.partner.len();
    let order = TensorData::new(with.partner.clone(), [n]);
    let order = Tensor::<1, Int>::from_data(order, &latent.device());
    let others = latent.clone().select(0, order.clone());
    let embedding = latent.clone() * with.share + others * (1.0 - with.share);
    let logits = classify(embedding.clone());
    let plain = cross_entropy(classify(latent), labels.clone());
    let own = cross_entropy(logits.clone(), labels.clone());
    let partner = cross_entropy(logits.clone(), labels.select(0, order));
    MixupTerms {
        plain,
        mixed: own.clone() * with.share + partner.clone() * (1.0 - with.share),
        own,
        partner,
        embedding,
        logits,
    }
}
