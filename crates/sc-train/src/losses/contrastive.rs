//! The symmetric contrastive loss of paired embeddings (scCLIP).
//!
//! Source: reference/schyena-scclip-evaluation.md A1.3.

use super::cross_entropy;
use burn::tensor::{Int, Tensor};

/// Both halves and their mean, scalars.
#[derive(Clone, Debug)]
pub struct Contrast {
    /// Every row against all columns.
    pub rows: Tensor<1>,
    /// Every column against all rows.
    pub columns: Tensor<1>,
    /// Their mean, which is minimised.
    pub total: Tensor<1>,
}

/// Cross entropy of identifying the partner, `[i, i]`, among the cells of the minibatch.
///
/// # Shapes
/// - similarity: `[cells, cells]`, scaled
pub fn contrast(similarity: Tensor<2>) -> Contrast {
    let [cells, _] = similarity.dims();
    let own = Tensor::<1, Int>::arange(0..cells as i64, &similarity.device());
    let rows = cross_entropy(similarity.clone(), own.clone());
    let columns = cross_entropy(similarity.transpose(), own);
    Contrast {
        total: (rows.clone() + columns.clone()) / 2.0,
        rows,
        columns,
    }
}
