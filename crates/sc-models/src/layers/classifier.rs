//! Class logits from the embeddings of cells.

use super::layernorm::LayerNorm;
use super::linear::Linear;
use burn::module::Module;
use burn::tensor::activation::{leaky_relu, relu};
use burn::tensor::{Device, Tensor};

/// Slope of `torch.nn.LeakyReLU`.
const LEAK: f64 = 0.01;

/// `(Linear, ReLU, LayerNorm)` repeated, then a linear layer to class logits.
#[derive(Module, Debug)]
pub struct Classifier {
    hidden: Vec<Linear>,
    norms: Vec<LayerNorm>,
    out_layer: Linear,
    leaky: bool,
}

/// Non-linearity of a [`Classifier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(0, x)`.
    Relu,
    /// `max(0.01 x, x)`.
    LeakyRelu,
}

impl Classifier {
    /// `layers` layers, the last one included, from `d` inputs to `classes` logits.
    pub fn new(
        d: usize,
        classes: usize,
        layers: usize,
        activation: Activation,
        device: &Device,
    ) -> Self {
        let hidden = layers.saturating_sub(1);
        Self {
            hidden: (0..hidden).map(|_| Linear::new(d, d, device)).collect(),
            norms: (0..hidden).map(|_| LayerNorm::new(d, device)).collect(),
            out_layer: Linear::new(d, classes, device),
            leaky: activation == Activation::LeakyRelu,
        }
    }

    /// Logits `[cells, classes]` of embeddings `[cells, d]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let layers = self.hidden.iter().zip(&self.norms);
        let x = layers.fold(x, |x, (linear, norm)| {
            let x = linear.forward(x);
            norm.forward(match self.leaky {
                true => leaky_relu(x, LEAK),
                false => relu(x),
            })
        });
        self.out_layer.forward(x)
    }
}
