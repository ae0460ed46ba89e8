//! Masked values, from tokens and from the cell embedding, and additional losses on cells.
//!
//! Source: reference/scformer-scgpt-cellplm.md A3.

use super::ScGptTask;
use super::tokens::TokenInput;
use crate::losses::contrastive::contrast;
use crate::losses::expression::{elastic_cell_similarity, expressed_nll, masked_mse};
use crate::losses::{Losses, cross_entropy};
use crate::task::whole;
use burn::tensor::{Device, Tensor, TensorData};
use sc_models::layers::lookup::unit;
use sc_models::layers::norm::Phase;
use sc_models::scgpt::{Prediction, ScGpt};

/// Weight of the losses on similarities of cells, as published.
const SIMILARITY: f64 = 10.0;

/// Weight of the adversary on batches, as published; its gradient is reversed in the network.
const ADVERSARY: f64 = 1.0;

impl ScGptTask {
    /// One term for every head of the network and every loss in the settings.
    pub(super) fn value_losses(&self, model: &ScGpt, input: TokenInput, device: &Device) -> Losses {
        let tokens = input.on_device(device);
        let shape = input.tokens.genes.shape();
        let matrix = |v: Vec<f32>| Tensor::<2>::from_data(TensorData::new(v, shape), device);
        let (target, mask) = (matrix(input.targets), matrix(input.masked));
        let outputs = model.forward(&tokens, Phase::on(device));
        let cell = outputs.encoded.cell;
        let mut terms: Vec<(&'static str, Tensor<1>, f64)> = Vec::new();
        let mut predicted = |names: [&'static str; 2], p: &Prediction| {
            let mse = masked_mse(p.value.clone(), target.clone(), mask.clone());
            terms.push((names[0], mse, 1.0));
            if let Some(e) = &p.expressed {
                let nll = expressed_nll(e.clone(), target.clone(), mask.clone());
                terms.push((names[1], nll, 1.0));
            }
        };
        predicted(["gep", "zero_log_prob"], &outputs.expression);
        if let Some(from_cell) = &outputs.from_cell {
            predicted(["gepc", "gepc_zero_log_prob"], from_cell);
        }
        if let Some(threshold) = self.input.ecs_threshold {
            let ecs = elastic_cell_similarity(cell.clone(), threshold);
            terms.push(("ecs", ecs, SIMILARITY));
        }
        if let Some(temperature) = self.input.contrast_temperature {
            // Dropout is drawn again, so the second pass differs for the same cells.
            let again = model.encode(&tokens, Phase::on(device)).cell;
            let cosine = unit(cell).matmul(unit(again).transpose());
            terms.push(("cce", contrast(cosine / temperature).rows, SIMILARITY));
        }
        if let Some(batches) = outputs.batches {
            let dab = cross_entropy(batches, whole(input.batches, device));
            terms.push(("dab", dab, ADVERSARY));
        }
        Losses::weighted(Tensor::zeros([1], device), terms)
    }
}
