//! Predictions from tokens and cells.

use super::config::MvcStyle;
pub(super) use crate::layers::classifier::{Activation, Classifier};
pub(super) use crate::layers::gradient::reverse_gradient;
use crate::layers::linear::Linear;
use burn::module::Module;
use burn::tensor::activation::{leaky_relu, sigmoid};
use burn::tensor::{Device, Tensor};

/// Slope of `torch.nn.LeakyReLU`.
const LEAK: f64 = 0.01;

/// Predicted values, and optionally the probability that the gene is expressed.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Predicted value, `[minibatch, length]`.
    pub value: Tensor<2>,
    /// P(value > 0), `[minibatch, length]`. (The original calls it `zero_probs`.)
    pub expressed: Option<Tensor<2>>,
}

/// Values from token outputs.
#[derive(Module, Debug)]
pub(super) struct ExpressionDecoder {
    fc: Vec<Linear>,
    zero_logit: Option<Vec<Linear>>,
}

impl ExpressionDecoder {
    pub(super) fn new(input: usize, d: usize, zero: bool, device: &Device) -> Self {
        let stack = || {
            [(input, d), (d, d), (d, 1)]
                .map(|(i, o)| Linear::new(i, o, device))
                .into_iter()
                .collect::<Vec<_>>()
        };
        Self {
            fc: stack(),
            zero_logit: zero.then(stack),
        }
    }

    pub(super) fn forward(&self, x: Tensor<3>) -> Prediction {
        let run = |stack: &[Linear]| {
            let y = stack.iter().enumerate().fold(x.clone(), |y, (i, linear)| {
                let y = linear.forward(y);
                if i + 1 < stack.len() {
                    leaky_relu(y, LEAK)
                } else {
                    y
                }
            });
            y.squeeze_dim::<2>(2)
        };
        Prediction {
            value: run(&self.fc),
            expressed: self.zero_logit.as_deref().map(|stack| sigmoid(run(stack))),
        }
    }
}

/// Values from the cell embedding and a query for every gene.
#[derive(Module, Debug)]
pub(super) struct CellDecoder {
    gene2query: Linear,
    w: Linear,
    w_zero_logit: Option<Linear>,
    detach: bool,
}

impl CellDecoder {
    pub(super) fn new(
        style: MvcStyle,
        genes: usize,
        cell: usize,
        zero: bool,
        device: &Device,
    ) -> Self {
        let linear = |to| Linear::new(genes, to, device);
        Self {
            gene2query: linear(genes),
            w: linear(cell).without_bias(),
            w_zero_logit: zero.then(|| linear(cell)),
            detach: style == MvcStyle::InnerProductDetach,
        }
    }

    /// `cell` `[minibatch, cell]`, `genes` `[minibatch, length, genes]`.
    pub(super) fn forward(&self, cell: Tensor<2>, genes: Tensor<3>) -> Prediction {
        let genes = if self.detach { genes.detach() } else { genes };
        let query = sigmoid(self.gene2query.forward(genes));
        let cell = cell.unsqueeze_dim::<3>(2);
        let inner = |w: &Linear| {
            w.forward(query.clone())
                .matmul(cell.clone())
                .squeeze_dim::<2>(2)
        };
        Prediction {
            value: inner(&self.w),
            expressed: self.w_zero_logit.as_ref().map(|w| sigmoid(inner(w))),
        }
    }
}
