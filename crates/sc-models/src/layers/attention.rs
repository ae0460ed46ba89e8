//! Multi-head self-attention over the tokens of a cell: the one interface for faster kernels.

#[cfg(any(test, feature = "gpu"))]
mod blockwise;
#[cfg(feature = "flex")]
mod fused;

use super::dropout::{Dropout, Mask};
use crate::layers::linear::Linear;
use crate::operations;
use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Tensor};

/// Which keys are padding, and how they are treated.
#[derive(Clone, Debug)]
pub struct Padding {
    /// True at padding, `[minibatch, length]`.
    pub mask: Tensor<2, Bool>,
    /// Added to the scores of padding keys.
    pub bias: f32,
}

impl Padding {
    /// Padding that is not attended to.
    pub fn hidden(mask: Tensor<2, Bool>) -> Self {
        let bias = f32::NEG_INFINITY;
        Self { mask, bias }
    }
}

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
            in_proj: Linear::new(d, 3 * d, device),
            out_proj: Linear::new(d, d, device),
            dropout: Dropout::new(dropout),
            heads,
        }
    }

    /// Attends within every sequence.
    ///
    /// On the `flex` device the full attention matrix is never stored, forward or backward.
    ///
    /// # Shapes
    /// - input, output: `[minibatch, length, d]`
    pub fn forward(&self, input: Tensor<3>, padding: Option<&Padding>) -> Tensor<3> {
        let context = self.context(self.project(input), padding);
        self.output(context)
    }

    /// Queries, keys and values, concatenated: `[minibatch, length, 3 d]`.
    pub fn project(&self, input: Tensor<3>) -> Tensor<3> {
        self.in_proj.forward(input)
    }

    /// The output projection, from and to `[minibatch, length, d]`.
    pub fn output(&self, context: Tensor<3>) -> Tensor<3> {
        self.out_proj.forward(context)
    }

    /// Number of heads.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// The dropout of this layer's attention weights.
    pub fn drop<const D: usize>(&self, weights: Tensor<D>) -> Tensor<D> {
        self.dropout.forward(weights)
    }

    /// `softmax(Q Kᵀ / √d_head) V` from the joint projection `[minibatch, length, 3 d]`.
    pub fn context(&self, projected: Tensor<3>, padding: Option<&Padding>) -> Tensor<3> {
        attend(projected, self.heads, &self.dropout, padding)
    }
}

/// `softmax(Q Kᵀ / √d_head) V` from concatenated queries, keys and values,
/// `[minibatch, length, 3 d]`, to `[minibatch, length, d]`.
pub fn attend(
    projected: Tensor<3>,
    heads: usize,
    dropout: &Dropout,
    padding: Option<&Padding>,
) -> Tensor<3> {
    let mask = dropout.mask(&projected.device());
    let [b, l, three_d] = projected.dims();
    operations::count_product(2 * b * l, l, three_d / 3);
    #[cfg(feature = "flex")]
    if crate::device::is_host(&projected.device()) {
        use super::host;
        let op = fused::Attention {
            shape: fused::Shape {
                sequences: b,
                length: l,
                heads,
                d: three_d / 3,
            },
            padding: padding.map(|p| (fused::host_mask(&p.mask), p.bias)),
            dropout: mask,
        };
        let input = host::Input::new(projected.clone());
        if let Some(context) = host::apply(op, [input], [b, l, three_d / 3]) {
            return context;
        }
    }
    #[cfg(feature = "gpu")]
    if !crate::device::is_host(&projected.device()) {
        let padding = padding.map(|p| (p.mask.clone().without_autodiff(), p.bias));
        let op = blockwise::Blockwise::new(heads, padding, mask);
        if let Some(context) = blockwise::on_gpu(op, projected.clone()) {
            return context;
        }
    }
    composed(projected, heads, mask, padding)
}

/// The same with burn operations, for other devices.
fn composed(
    projected: Tensor<3>,
    h: usize,
    dropout: Option<Mask>,
    padding: Option<&Padding>,
) -> Tensor<3> {
    let [b, l, three_d] = projected.dims();
    let d = three_d / 3;
    let projected = projected.reshape([b, l, 3, h, d / h]);
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
        let mask = padding
            .mask
            .clone()
            .reshape([b, 1, 1, l])
            .expand([b, h, l, l]);
        let zero = scores.zeros_like();
        scores = scores + zero.mask_fill(mask, padding.bias);
    }
    let mut weights = softmax(scores, 3);
    if let Some(mask) = dropout {
        let factors = mask.factors_of_parts(b * h, 0..l * l, &weights.device());
        weights = weights * factors.reshape([b, h, l, l]);
    }
    weights.matmul(v).swap_dims(1, 2).reshape([b, l, d])
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::init::{Init, initialise};
    use crate::weights::host;
    use burn::tensor::TensorData;

    #[test]
    fn the_kernel_agrees_with_the_composed_form() {
        let device = Device::flex().autodiff();
        let layer = initialise(SelfAttention::new(24, 3, 0.0, &device), 1, |_| {
            Some(Init::Normal(0.4))
        });
        // Longer than a block of queries, and not a multiple of it.
        let (b, l) = (2, 150);
        let data: Vec<f32> = (0..b * l * 72)
            .map(|i| ((i * 7919) % 997) as f32 / 500.0 - 1.0)
            .collect();
        let x = Tensor::<3>::from_data(TensorData::new(data, [b, l, 72]), &device).require_grad();
        let mut mask = vec![false; b * l];
        mask[l + 140..].fill(true);
        let padding = Tensor::<2, Bool>::from_data(TensorData::new(mask, [b, l]), &device);
        let [hidden, liked] = [f32::NEG_INFINITY, 1.0].map(|bias| Padding {
            mask: padding.clone(),
            bias,
        });
        for padding in [None, Some(&hidden), Some(&liked)] {
            let ours = layer.context(x.clone(), padding);
            let reference = composed(x.clone(), layer.heads, None, padding);
            let close = |a: Vec<f32>, b: Vec<f32>, tolerance: f32| {
                let largest = b.iter().fold(0f32, |m, v| m.max(v.abs()));
                for (a, b) in a.iter().zip(&b) {
                    assert!((a - b).abs() <= tolerance * largest, "{a} {b}");
                }
            };
            close(host(ours.clone()), host(reference.clone()), 2e-6);
            let grad = |y: Tensor<3>| host(x.grad(&(y.clone() * y).sum().backward()).unwrap());
            close(grad(ours), grad(reference), 5e-6);
        }
    }
}
