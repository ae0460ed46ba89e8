//! Pre-norm blocks with a joint projection, as in the flash-attention library.

use crate::layers::attention::SelfAttention;
use crate::layers::dropout::Dropout;
use crate::layers::gelu::gelu;
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use crate::layers::observe::{Observer, layer_span};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// Epsilon of the norms.
const EPSILON: f64 = 1e-6;
/// Hidden dimension of the feed-forward layer, relative to the token's.
const RATIO: usize = 4;

/// Blocks, then a norm.
#[derive(Module, Debug)]
pub(super) struct Transformer {
    blocks: Vec<Block>,
    norm: LayerNorm,
    dropout: Dropout,
}

/// `x ← x + A(LN(x))`, then `x ← x + W₂ gelu(W₁ LN(x))`.
#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    norm2: LayerNorm,
    mixer: SelfAttention,
    mlp: FeedForward,
}

#[derive(Module, Debug)]
struct FeedForward {
    fc1: Linear,
    fc2: Linear,
}

impl Transformer {
    pub(super) fn new(
        d: usize,
        layers: usize,
        heads: usize,
        dropout: f64,
        device: &Device,
    ) -> Self {
        let norm = || LayerNorm::new(d, device).with_epsilon(EPSILON);
        let block = |_| Block {
            norm1: norm(),
            norm2: norm(),
            mixer: SelfAttention::new(d, heads, dropout, device),
            mlp: FeedForward {
                fc1: Linear::new(d, RATIO * d, device),
                fc2: Linear::new(RATIO * d, d, device),
            },
        };
        Self {
            blocks: (0..layers).map(block).collect(),
            norm: norm(),
            dropout: Dropout::new(dropout),
        }
    }

    /// From and to `[minibatch, tokens, d]`.
    ///
    /// Reports the output of block `i` as `block.i`, and its queries and keys
    /// `[minibatch, tokens, 2 d]` as `qk.i`.
    pub(super) fn forward_observed(&self, x: Tensor<3>, seen: &mut impl Observer) -> Tensor<3> {
        let [b, l, d] = x.dims();
        let mut x = self.dropout.forward(x);
        for (i, block) in self.blocks.iter().enumerate() {
            let _span = layer_span(i);
            let projected = block.mixer.project(block.norm1.forward(x.clone()));
            let queries_keys = projected.clone().slice([0..b, 0..l, 0..2 * d]);
            seen.see(&format!("qk.{i}"), &queries_keys);
            let attended = block.mixer.output(block.mixer.context(projected, None));
            x = x + self.dropout.forward(attended);
            let hidden = gelu(block.mlp.fc1.forward(block.norm2.forward(x.clone())));
            x = x + self.dropout.forward(block.mlp.fc2.forward(hidden));
            seen.see(&format!("block.{i}"), &x);
        }
        self.norm.forward(x)
    }
}
