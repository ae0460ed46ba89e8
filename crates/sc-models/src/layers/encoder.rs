//! `torch.nn.TransformerEncoder` with post-norm blocks, as used by scGPT, UCE and Nicheformer.

use crate::layers::attention::{Padding, SelfAttention};
use crate::layers::dropout::Dropout;
use crate::layers::gelu::gelu;
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use crate::layers::observe::{Observer, layer_span};
use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

/// Non-linearity of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedForward {
    /// `max(x, 0)`.
    Relu,
    /// Exact GELU.
    Gelu,
}

/// Hyperparameters of an encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncoderConfig {
    /// Dimension of a token.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads; divides `width`.
    pub heads: usize,
    /// Hidden dimension of the feed-forward layer.
    pub feed_forward: usize,
    /// Dropout of all layers.
    pub dropout: f64,
    /// Epsilon of the norms.
    pub epsilon: f64,
    /// Non-linearity of the feed-forward layer.
    pub activation: FeedForward,
}

/// Blocks one after another, without a final norm.
#[derive(Module, Debug)]
pub struct Encoder {
    layers: Vec<EncoderLayer>,
}

impl Encoder {
    /// An encoder on `device`.
    pub fn new(config: &EncoderConfig, device: &Device) -> Self {
        Self {
            layers: (0..config.layers)
                .map(|_| EncoderLayer::new(config, device))
                .collect(),
        }
    }

    /// Runs the blocks on `[minibatch, length, d]`; reports every block's output as `layer.i`.
    pub fn forward(&self, x: Tensor<3>, padding: Option<&Padding>) -> Tensor<3> {
        self.forward_observed(x, padding, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(
        &self,
        mut x: Tensor<3>,
        padding: Option<&Padding>,
        seen: &mut impl Observer,
    ) -> Tensor<3> {
        for i in 0..self.layers.len() {
            x = self.layer(i, x, padding, seen);
        }
        x
    }

    /// The same with the output of every block, first to last.
    pub fn outputs(&self, x: Tensor<3>, padding: Option<&Padding>) -> Vec<Tensor<3>> {
        self.outputs_observed(x, padding, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn outputs_observed(
        &self,
        mut x: Tensor<3>,
        padding: Option<&Padding>,
        seen: &mut impl Observer,
    ) -> Vec<Tensor<3>> {
        let mut next = |i: usize| {
            x = self.layer(i, x.clone(), padding, seen);
            x.clone()
        };
        (0..self.layers.len()).map(&mut next).collect()
    }

    fn layer(
        &self,
        i: usize,
        x: Tensor<3>,
        padding: Option<&Padding>,
        seen: &mut impl Observer,
    ) -> Tensor<3> {
        let _span = layer_span(i);
        let x = self.layers[i].forward(x, padding);
        seen.see(&format!("layer.{i}"), &x);
        x
    }

    /// The blocks.
    pub fn layers(&self) -> &[EncoderLayer] {
        &self.layers
    }
}

/// `x = LN₁(x + A(x))`, then `x = LN₂(x + W₂ f(W₁ x))`, as `torch.nn.TransformerEncoderLayer`.
#[derive(Module, Debug)]
pub struct EncoderLayer {
    self_attn: SelfAttention,
    linear1: Linear,
    linear2: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
    dropout: Dropout,
    #[module(skip)]
    activation: FeedForward,
}

impl EncoderLayer {
    /// A block on `device`.
    pub fn new(config: &EncoderConfig, device: &Device) -> Self {
        let (d, hidden) = (config.width, config.feed_forward);
        let norm = || LayerNorm::new(d, device).with_epsilon(config.epsilon);
        Self {
            self_attn: SelfAttention::new(d, config.heads, config.dropout, device),
            linear1: Linear::new(d, hidden, device),
            linear2: Linear::new(hidden, d, device),
            norm1: norm(),
            norm2: norm(),
            dropout: Dropout::new(config.dropout),
            activation: config.activation,
        }
    }

    /// Runs the block on `[minibatch, length, d]`.
    pub fn forward(&self, x: Tensor<3>, padding: Option<&Padding>) -> Tensor<3> {
        let attended = self.self_attn.forward(x.clone(), padding);
        self.after_attention(x, attended)
    }

    /// The joint projection of this block's attention.
    pub fn attention(&self) -> &SelfAttention {
        &self.self_attn
    }

    /// The rest of the block, for `attended` `[minibatch, length, d]` computed elsewhere.
    pub fn after_attention(&self, x: Tensor<3>, attended: Tensor<3>) -> Tensor<3> {
        let x = self.norm1.of_sum(x, attended, &self.dropout);
        let f = self.linear1.forward(x.clone());
        let f = match self.activation {
            FeedForward::Relu => relu(f),
            FeedForward::Gelu => gelu(f),
        };
        let f = self.linear2.forward(self.dropout.forward(f));
        self.norm2.of_sum(x, f, &self.dropout)
    }
}

/// Published names of the joint projection, which is not a layer in PyTorch.
pub fn torch_names(path: &str) -> String {
    path.replace("in_proj.weight", "in_proj_weight")
        .replace("in_proj.bias", "in_proj_bias")
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::init::initialise;
    use crate::testing::{PLAIN, bent, slopes_agree, spread};
    use burn::tensor::Bool;

    #[test]
    fn gradients_agree_with_differences() {
        let device = Device::flex().autodiff();
        let x = spread([2, 4, 8], &device);
        let mask = [[false; 4], [false, false, true, true]];
        let padding = Padding::hidden(Tensor::<2, Bool>::from_data(mask, &device));
        for activation in [FeedForward::Relu, FeedForward::Gelu] {
            let config = EncoderConfig {
                width: 8,
                layers: 2,
                heads: 2,
                feed_forward: 12,
                dropout: 0.0,
                epsilon: 1e-5,
                activation,
            };
            let encoder = initialise(Encoder::new(&config, &device), 1, |_| None);
            let loss = |m: &Encoder| bent(m.forward(x.clone(), Some(&padding)));
            slopes_agree(&encoder, &PLAIN, &[], loss, 1e-3, 2e-2);
        }
    }
}
