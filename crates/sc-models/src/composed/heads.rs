//! Predictions from tokens and cells, one head per objective.

use super::config::{ComposedConfig, HeadConfig};
use crate::layers::gelu::gelu;
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};

/// Parameters of the negative binomial of counts.
#[derive(Clone, Debug)]
pub struct CountDistribution {
    /// Mean, `[minibatch, genes]`.
    pub mean: Tensor<2>,
    /// Inverse dispersion, `[1, genes]`.
    pub dispersion: Tensor<2>,
}

/// The head of an objective.
#[derive(Module, Debug)]
pub(super) enum Head {
    Values(Perceptron),
    /// Query vector of a gene: the value is its product with the cell embedding.
    ValuesFromCell(Perceptron),
    Genes(Perceptron),
    Expressed(Perceptron),
    Counts(Counts),
    Classes(Perceptron),
}

/// `W₂ LN(gelu(W₁ x))`.
#[derive(Module, Debug)]
pub(super) struct Perceptron {
    hidden: Linear,
    norm: LayerNorm,
    output: Linear,
}

/// Shares of all genes and their dispersions, as scVI's decoder.
#[derive(Module, Debug)]
pub(super) struct Counts {
    shares: Perceptron,
    log_dispersion: Param<Tensor<1>>,
}

impl Head {
    pub(super) fn new(config: &ComposedConfig, device: &Device) -> Option<Self> {
        let d = config.width;
        let to = |from, output| Perceptron::new(from, d, output, device);
        Some(match config.head {
            HeadConfig::None => return None,
            HeadConfig::Values => Self::Values(to(d, 1)),
            HeadConfig::ValuesFromCell => Self::ValuesFromCell(to(d, d)),
            HeadConfig::Genes => Self::Genes(to(d, config.genes)),
            HeadConfig::Expressed => Self::Expressed(to(2 * d, 1)),
            HeadConfig::Counts => Self::Counts(Counts {
                shares: to(d, config.genes),
                log_dispersion: Param::from_tensor(Tensor::zeros([config.genes], device)),
            }),
            HeadConfig::Classes { labels } => Self::Classes(to(d, labels)),
        })
    }
}

impl Perceptron {
    fn new(from: usize, hidden: usize, to: usize, device: &Device) -> Self {
        Self {
            hidden: Linear::new(from, hidden, device),
            norm: LayerNorm::new(hidden, device),
            output: Linear::new(hidden, to, device),
        }
    }

    pub(super) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let x = self.norm.forward(gelu(self.hidden.forward(x)));
        self.output.forward(x)
    }
}

impl Counts {
    /// The distribution for cells `[minibatch, d]` with these totals `[minibatch]`.
    pub(super) fn forward(&self, cell: Tensor<2>, totals: Tensor<1>) -> CountDistribution {
        let shares = softmax(self.shares.forward(cell), 1);
        CountDistribution {
            mean: shares * totals.unsqueeze_dim::<2>(1),
            dispersion: self.log_dispersion.val().exp().unsqueeze::<2>(),
        }
    }
}
