//! Linear layers with a norm and a non-linearity between them.

use crate::layers::dropout::Dropout;
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use burn::module::Module;
use burn::tensor::activation::{leaky_relu, relu};
use burn::tensor::{Device, Tensor};

/// Slope of `torch.nn.LeakyReLU`.
const LEAK: f64 = 0.01;

/// Non-linearity of a [`Stack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    Relu,
    LeakyRelu,
}

/// `Dropout(f(LN(Linear(x))))` repeated, the last linear layer with or without the rest.
#[derive(Module, Debug)]
pub(super) struct Stack {
    linears: Vec<Linear>,
    norms: Vec<LayerNorm>,
    dropout: Dropout,
    /// Norms that are followed by dropout.
    dropped: usize,
    #[module(skip)]
    activation: Activation,
}

impl Stack {
    /// Layers of `widths` from one to the next, the first `norms` of them with norm, activation
    /// and dropout.
    pub(super) fn new(
        widths: &[usize],
        norms: usize,
        activation: Activation,
        device: &Device,
    ) -> Self {
        let pairs = widths.windows(2);
        Self {
            linears: pairs.map(|w| Linear::new(w[0], w[1], device)).collect(),
            norms: widths
                .iter()
                .skip(1)
                .take(norms)
                .map(|&w| LayerNorm::new(w, device))
                .collect(),
            dropout: Dropout::new(0.0),
            dropped: 0,
            activation,
        }
    }

    /// The same with dropout after the first `dropped` norms.
    pub(super) fn with_dropout(mut self, dropout: f64, dropped: usize) -> Self {
        self.dropout = Dropout::new(dropout);
        self.dropped = dropped;
        self
    }

    /// Maps the last axis.
    pub(super) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mut x = x;
        for (i, linear) in self.linears.iter().enumerate() {
            x = linear.forward(x);
            let Some(norm) = self.norms.get(i) else {
                continue;
            };
            x = norm.forward(x);
            x = match self.activation {
                Activation::Relu => relu(x),
                Activation::LeakyRelu => leaky_relu(x, LEAK),
            };
            if i < self.dropped {
                x = self.dropout.forward(x);
            }
        }
        x
    }
}
