//! The transformer: post-norm blocks with ReLU.

use crate::layers::attention::SelfAttention;
use crate::layers::dropout::Dropout;
use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Bool, Device, Tensor};

/// `x = LN₁(x + A(x))`, then `x = LN₂(x + W₂ ReLU(W₁ x))`, as `torch.nn.TransformerEncoderLayer`.
#[derive(Module, Debug)]
pub(super) struct EncoderLayer {
    self_attn: SelfAttention,
    linear1: Linear,
    linear2: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
    dropout: Dropout,
}

impl EncoderLayer {
    pub(super) fn new(
        d: usize,
        heads: usize,
        hidden: usize,
        dropout: f64,
        device: &Device,
    ) -> Self {
        Self {
            self_attn: SelfAttention::new(d, heads, dropout, device),
            linear1: LinearConfig::new(d, hidden).init(device),
            linear2: LinearConfig::new(hidden, d).init(device),
            norm1: LayerNormConfig::new(d).init(device),
            norm2: LayerNormConfig::new(d).init(device),
            dropout: Dropout::new(dropout),
        }
    }

    /// Runs the block on `[minibatch, length, d]`; `padding` keys are left out.
    pub(super) fn forward(&self, x: Tensor<3>, padding: Option<&Tensor<2, Bool>>) -> Tensor<3> {
        let a = self
            .dropout
            .forward(self.self_attn.forward(x.clone(), padding));
        let x = self.norm1.forward(x + a);
        let f = self.dropout.forward(relu(self.linear1.forward(x.clone())));
        let f = self.dropout.forward(self.linear2.forward(f));
        self.norm2.forward(x + f)
    }
}
