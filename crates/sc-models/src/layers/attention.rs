//! Multi-head self-attention over the tokens of a cell: the one seam for faster kernels.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Tensor};

/// Self-attention with a joint query-key-value projection, as `torch.nn.MultiheadAttention`.
#[derive(Module, Debug)]
pub struct SelfAttention {
    in_proj: Linear,
    out_proj: Linear,
    dropout: Dropout,
    heads: usize,
}

impl SelfAttention {
    /// A layer of `heads` heads over `d` channels.
    pub fn new(d: usize, heads: usize, dropout: f64, device: &Device) -> Self {
        Self {
            in_proj: LinearConfig::new(d, 3 * d).init(device),
            out_proj: LinearConfig::new(d, d).init(device),
            dropout: DropoutConfig::new(dropout).init(),
            heads,
        }
    }

    /// Attends within every sequence; keys where `padding` is true are left out.
    ///
    /// # Shapes
    /// - input, output: `[minibatch, length, d]`
    /// - padding: `[minibatch, length]`, true at padding
    pub fn forward(&self, input: Tensor<3>, padding: Option<&Tensor<2, Bool>>) -> Tensor<3> {
        let [b, l, d] = input.dims();
        let h = self.heads;
        let projected = self.in_proj.forward(input).reshape([b, l, 3, h, d / h]);
        let part = |i: usize| {
            projected
                .clone()
                .narrow(2, i, 1)
                .reshape([b, l, h, d / h])
                .swap_dims(1, 2)
        };
        let (q, k, v) = (part(0), part(1), part(2));
        let scale = 1.0 / ((d / h) as f64).sqrt();
        let mut scores = (q * scale).matmul(k.swap_dims(2, 3));
        if let Some(padding) = padding {
            let mask = padding.clone().reshape([b, 1, 1, l]).expand([b, h, l, l]);
            scores = scores.mask_fill(mask, f32::NEG_INFINITY);
        }
        let weights = self.dropout.forward(softmax(scores, 3));
        let context = weights.matmul(v).swap_dims(1, 2).reshape([b, l, d]);
        self.out_proj.forward(context)
    }
}
