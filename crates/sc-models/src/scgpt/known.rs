//! Covariates of the decoders: the sequencing batch, and with several modalities the
//! modality of each token.
//!
//! Source: reference/scformer-scgpt-cellplm.md A2.2; the published `MultiOmicTransformerModel`.

use super::model::{Output, ScGpt, Tokens};
use burn::tensor::Tensor;

/// Inputs of the decoders.
pub(super) struct Seen {
    /// Outputs of the tokens, `[minibatch, length, d or 2d]`.
    pub(super) tokens: Tensor<3>,
    /// The cell embedding, `[minibatch, d or 2d]`.
    pub(super) cell: Tensor<2>,
    /// The genes queried from the cell embedding, `[minibatch, length, d]`; with several
    /// modalities `2d`.
    pub(super) genes: Tensor<3>,
}

impl ScGpt {
    /// Concatenates the outputs with the covariates: batch and modality are summed first.
    pub(super) fn with_known(&self, encoded: &Output, tokens: &Tokens) -> Seen {
        let [b, l, d] = encoded.tokens.dims();
        let batch = match (&self.batch_encoder, &tokens.batches) {
            (Some(encoder), Some(batches)) => Some(encoder.forward_flat(batches.clone())),
            _ => None,
        };
        let modality = match (&self.mod_encoder, &tokens.modalities) {
            (Some(encoder), Some(of)) => Some(encoder.forward(of.clone(), tokens.frozen.as_ref())),
            _ => None,
        };
        let spread = (batch.clone()).map(|x| x.unsqueeze_dim::<3>(1).expand([b, l, d]));
        // The cell's modality is that of <cls>, or pooled like its outputs.
        let pooled = modality.as_ref().map(|x| self.pool(x, tokens));
        let cell = sum(batch, pooled);
        let several = modality.is_some();
        let token = sum(spread, modality);
        let beside = |x: Tensor<3>, known: &Option<Tensor<3>>| match known {
            Some(known) => Tensor::cat(vec![x, known.clone()], 2),
            None => x,
        };
        Seen {
            tokens: beside(encoded.tokens.clone(), &token),
            cell: match cell {
                Some(known) => Tensor::cat(vec![encoded.cell.clone(), known], 1),
                None => encoded.cell.clone(),
            },
            // With one modality the queries are the genes alone, whatever the batch.
            genes: match several {
                true => beside(encoded.genes.clone(), &token),
                false => encoded.genes.clone(),
            },
        }
    }
}

/// The sum of the given covariates.
fn sum<const D: usize>(a: Option<Tensor<D>>, b: Option<Tensor<D>>) -> Option<Tensor<D>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}
