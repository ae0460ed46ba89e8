//! Predictions from tokens and cells.

use super::config::{Likelihood, ScPrintConfig};
use super::stack::{Activation, Stack};
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use burn::module::Module;
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Device, Tensor};

/// Largest logarithm of a dispersion.
const MAX_LOG_DISPERSION: f64 = 15.0;

/// Predicted distribution of counts, `[minibatch, genes]` each.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The mean. It is a share of the cell's total, so it depends on the genes of the context.
    pub mean: Tensor<2>,
    /// Dispersion and logit of zero inflation; absent for [`Likelihood::Mean`].
    pub spread: Option<[Tensor<2>; 2]>,
}

impl Prediction {
    /// From three numbers per gene; `total` `[minibatch]` is the sum of the means.
    fn new(parts: [Tensor<2>; 3], total: &Tensor<1>) -> Self {
        let [share, dispersion, zero] = parts;
        Self {
            mean: mean(share, total),
            spread: Some([dispersion.clamp_max(MAX_LOG_DISPERSION).exp(), zero]),
        }
    }
}

fn mean(share: Tensor<2>, total: &Tensor<1>) -> Tensor<2> {
    softmax(share, 1) * total.clone().unsqueeze_dim::<2>(1)
}

/// Counts from gene tokens.
#[derive(Module, Debug)]
pub(super) struct ExpressionDecoder {
    fc: Stack,
    pred_var_zero: Linear,
}

impl ExpressionDecoder {
    pub(super) fn new(config: &ScPrintConfig, device: &Device) -> Self {
        let d = config.width;
        let outputs = match config.likelihood {
            Likelihood::Zinb => 3,
            Likelihood::Mean => 1,
        };
        let fc = Stack::new(&[d, d, d], 2, Activation::LeakyRelu, device);
        Self {
            fc: fc.with_dropout(config.dropout, 1),
            pred_var_zero: Linear::new(d, outputs, device),
        }
    }

    /// `[minibatch, genes, d]` and the cells' totals.
    pub(super) fn forward(&self, genes: Tensor<3>, total: &Tensor<1>) -> Prediction {
        let x = self.pred_var_zero.forward(self.fc.forward(genes));
        let [b, l, outputs] = x.dims();
        let part = |i: usize| x.clone().slice([0..b, 0..l, i..i + 1]).reshape([b, l]);
        if outputs == 1 {
            return Prediction {
                mean: mean(part(0), total),
                spread: None,
            };
        }
        Prediction::new([part(0), part(1), part(2)], total)
    }
}

/// Counts from the cell embedding and a query for every gene.
#[derive(Module, Debug)]
pub(super) struct CellDecoder {
    gene2query: Linear,
    norm: LayerNorm,
    pred_var_zero: Linear,
}

impl CellDecoder {
    pub(super) fn new(d: usize, device: &Device) -> Self {
        Self {
            gene2query: Linear::new(d, d, device),
            norm: LayerNorm::new(d, device),
            pred_var_zero: Linear::new(d, 3 * d, device).without_bias(),
        }
    }

    /// `cell` `[minibatch, d]`, `genes` `[minibatch, genes, d]`: gene embeddings without values.
    pub(super) fn forward(
        &self,
        cell: Tensor<2>,
        genes: Tensor<3>,
        total: &Tensor<1>,
    ) -> Prediction {
        let query = sigmoid(self.norm.forward(self.gene2query.forward(genes)));
        let x = self.pred_var_zero.forward(query);
        let [b, l, three_d] = x.dims();
        let d = three_d / 3;
        let cell = cell.unsqueeze_dim::<3>(2);
        let part = |i: usize| {
            let part = x.clone().slice([0..b, 0..l, i * d..(i + 1) * d]);
            part.matmul(cell.clone()).squeeze_dim::<2>(2)
        };
        Prediction::new([part(0), part(1), part(2)], total)
    }
}

/// Leaf logits from a cell token.
#[derive(Module, Debug)]
pub(super) struct ClassDecoder {
    decoder: Stack,
    out_layer: Linear,
}

impl ClassDecoder {
    pub(super) fn new(config: &ScPrintConfig, leaves: usize, device: &Device) -> Self {
        let mut widths = vec![config.width];
        widths.extend(&config.class_layers);
        let hidden = config.class_layers.len();
        let last = widths[hidden];
        let decoder = Stack::new(&widths, hidden, Activation::Relu, device);
        Self {
            decoder: decoder.with_dropout(config.dropout, hidden),
            out_layer: Linear::new(last, leaves, device),
        }
    }

    /// `[minibatch, d]` to `[minibatch, leaves]`.
    pub(super) fn forward(&self, cell: Tensor<2>) -> Tensor<2> {
        self.out_layer.forward(self.decoder.forward(cell))
    }
}

/// Batch logits; an adversary, so without dropout.
#[derive(Module, Debug)]
pub(super) struct Discriminator {
    decoder: Stack,
    out_layer: Linear,
}

impl Discriminator {
    pub(super) fn new(d: usize, batches: usize, device: &Device) -> Self {
        Self {
            decoder: Stack::new(&[d, d, d], 2, Activation::LeakyRelu, device),
            out_layer: Linear::new(d, batches, device),
        }
    }

    /// `[minibatch, d]` to `[minibatch, batches]`.
    pub(super) fn forward(&self, cell: Tensor<2>) -> Tensor<2> {
        self.out_layer.forward(self.decoder.forward(cell))
    }
}
