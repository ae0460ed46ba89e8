//! A variational autoencoder like scVI (Lopez et al., Nature Methods 2018): the baseline that
//! foundation models have to beat.
//!
//! `log1p` of raw counts in, a Gaussian latent, and the parameters of a negative binomial out, with
//! or without zero inflation; only the decoder is conditioned on the sequencing batch, so the
//! latent need not encode it. The library size is not modelled but observed.

use crate::configured::Configured;
use crate::error::Result;
use crate::init::Init;
use crate::layers::linear::Linear;
use crate::layers::norm::Phase;
use crate::layers::sequential::{Layer, Sequential, torch_names};
use crate::layers::softmax::scaled_softmax;
use crate::ranges;
use crate::weights::Names;
use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::{Device, Int, Tensor};
use sc_data::CsrMatrix;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Epsilon of the latent's variance, as in scvi-tools.
const VARIANCE_FLOOR: f64 = 1e-4;

/// Hyperparameters of a [`Vae`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VaeConfig {
    /// Genes.
    pub genes: usize,
    /// Width of the hidden layers.
    pub hidden: usize,
    /// Hidden layers of the encoder, and of the decoder.
    pub layers: usize,
    /// Dimension of the latent.
    pub latent: usize,
    /// Dropout in the encoder.
    pub dropout: f64,
    /// Sequencing batches the decoder is conditioned on; 0 for none.
    pub batches: usize,
    /// Whether the likelihood is zero-inflated.
    pub zero_inflated: bool,
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            genes: 0,
            hidden: 128,
            layers: 1,
            latent: 10,
            dropout: 0.1,
            batches: 0,
            zero_inflated: false,
        }
    }
}

impl VaeConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`crate::ModelError::Config`] names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        const OF: &str = "vae: network.";
        ranges::sizes(OF, &[("genes", self.genes)])?;
        ranges::widths(OF, &[("hidden", self.hidden), ("latent", self.latent)])?;
        ranges::layers(OF, &[("layers", self.layers)])?;
        ranges::below_one(OF, &[("dropout", self.dropout)])
    }
}

/// The latent of a minibatch.
#[derive(Clone, Debug)]
pub struct Latent {
    /// Mean, `[cells, latent]`.
    pub mean: Tensor<2>,
    /// Variance, `[cells, latent]`.
    pub variance: Tensor<2>,
}

impl Latent {
    /// A sample, from standard normal `noise` of the same shape.
    pub fn sample(&self, noise: Tensor<2>) -> Tensor<2> {
        self.mean.clone() + self.variance.clone().sqrt() * noise
    }

    /// KL divergence from the standard normal, `[cells]`.
    pub fn divergence(&self) -> Tensor<1> {
        let each =
            self.variance.clone() + self.mean.clone().square() - self.variance.clone().log() - 1.0;
        each.sum_dim(1).squeeze_dim::<1>(1) * 0.5
    }
}

/// Parameters of the counts' distribution.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Mean, `[cells, genes]`.
    pub mean: Tensor<2>,
    /// Inverse dispersion, `[1, genes]`.
    pub dispersion: Tensor<2>,
    /// Logit of zero inflation, `[cells, genes]`.
    pub zero_logits: Option<Tensor<2>>,
}

/// See the module.
#[derive(Module, Debug)]
pub struct Vae {
    encoder: Sequential,
    mean_encoder: Linear,
    var_encoder: Linear,
    decoder_input: Linear,
    batch: Option<Embedding>,
    decoder: Sequential,
    px_scale_decoder: Linear,
    px_dropout_decoder: Option<Linear>,
    px_r: Param<Tensor<1>>,
}

impl Vae {
    /// Builds the model on `device`; weights are set by [`crate::init::initialise`].
    ///
    /// # Errors
    /// [`crate::ModelError::Config`] for an invalid configuration.
    pub fn new(config: &VaeConfig, device: &Device) -> Result<Self> {
        config.check()?;
        let (hidden, genes) = (config.hidden, config.genes);
        let norm = Layer::BatchNorm {
            channels: hidden,
            epsilon: 1e-3,
            momentum: 0.01,
        };
        let linear = |from| Layer::Linear { from, to: hidden };
        let mut encoder = Vec::new();
        let mut decoder = vec![norm, Layer::Relu];
        for i in 0..config.layers {
            let from = if i == 0 { genes } else { hidden };
            encoder.extend([linear(from), norm, Layer::Relu]);
            if config.dropout > 0.0 {
                encoder.push(Layer::Dropout(config.dropout));
            }
            if i > 0 {
                decoder.extend([linear(hidden), norm, Layer::Relu]);
            }
        }
        let layer = |from, to| Linear::new(from, to, device);
        Ok(Self {
            encoder: Sequential::new(&encoder, device),
            mean_encoder: layer(hidden, config.latent),
            var_encoder: layer(hidden, config.latent),
            decoder_input: layer(config.latent, hidden),
            batch: (config.batches > 0)
                .then(|| EmbeddingConfig::new(config.batches, hidden).init(device)),
            decoder: Sequential::new(&decoder, device),
            px_scale_decoder: layer(hidden, genes),
            px_dropout_decoder: config.zero_inflated.then(|| layer(hidden, genes)),
            px_r: Param::from_tensor(Tensor::zeros([genes], device)),
        })
    }

    /// The latent of cells, from `log1p` of their counts `[cells, genes]`.
    pub fn encode(&self, log_counts: &Arc<CsrMatrix>, phase: Phase) -> Latent {
        let x = self.encoder.forward_sparse(log_counts, phase, "encoder");
        Latent {
            mean: self.mean_encoder.forward(x.clone()),
            variance: self.var_encoder.forward(x).exp() + VARIANCE_FLOOR,
        }
    }

    /// The distribution of counts.
    ///
    /// A one-hot batch concatenated to the latent is a row added to the first layer's output.
    ///
    /// # Shapes
    /// - latent: `[cells, latent]`
    /// - totals: counts of every cell, `[cells]`
    /// - batches: `[cells]`
    pub fn decode(
        &self,
        latent: Tensor<2>,
        totals: &[f32],
        batches: Option<Tensor<1, Int>>,
        phase: Phase,
    ) -> Decoded {
        let mut x = self.decoder_input.forward(latent);
        if let (Some(table), Some(batches)) = (&self.batch, batches) {
            x = x + table.weight.val().select(0, batches);
        }
        let x = self.decoder.forward(x, phase, "decoder");
        Decoded {
            mean: scaled_softmax(self.px_scale_decoder.forward(x.clone()), totals),
            dispersion: self.px_r.val().exp().unsqueeze::<2>(),
            zero_logits: self.px_dropout_decoder.as_ref().map(|d| d.forward(x)),
        }
    }
}

/// Dispersions begin at e to a standard normal, the batches small; the rest follows PyTorch.
pub const INIT: fn(&str) -> Option<Init> = |path| match path {
    "px_r" => Some(Init::Normal(1.0)),
    "batch.weight" => Some(Init::Uniform(0.1)),
    _ => None,
};

/// Names as in this implementation: scvi-tools' weights are not supported.
pub const NAMES: Names = Names {
    rename: torch_names,
    alias: str::to_string,
    unused: &[],
};

impl Configured for Vae {
    type Config = VaeConfig;
    const INIT: fn(&str) -> Option<Init> = INIT;
    const NAMES: Names = NAMES;

    fn empty(config: &VaeConfig, device: &Device) -> Result<Self> {
        Self::new(config, device)
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::init::initialise;
    use crate::layers::zinb::{nb_nll, zinb_nll};
    use crate::testing::{slopes_agree, spread};

    #[test]
    fn gradients_agree_with_differences() {
        let device = Device::flex().autodiff();
        let (cells, genes) = (6, 5);
        let value = |i: usize| ((i * 7919 + i * i) % 7).saturating_sub(2) as f32;
        let dense: Vec<f32> = (0..cells * genes).map(value).collect();
        let counts = CsrMatrix::from_dense(genes, &dense);
        let log_counts = Arc::new(counts.clone().map_values(f32::ln_1p));
        let totals: Vec<f32> = counts.row_sums().iter().map(|&t| t as f32).collect();
        let batches = Tensor::<1, Int>::from_data([0, 1, 1, 0, 0, 1], &device);
        let noise = spread([cells, 3], &device);
        let counts = Arc::new(counts);
        for zero_inflated in [false, true] {
            let config = VaeConfig {
                genes,
                hidden: 8,
                layers: 2,
                latent: 3,
                dropout: 0.0,
                batches: 2,
                zero_inflated,
            };
            let model = initialise(Vae::new(&config, &device).unwrap(), 1, INIT);
            let loss = |m: &Vae| {
                let latent = m.encode(&log_counts, Phase::Train);
                let z = latent.sample(noise.clone());
                let d = m.decode(z, &totals, Some(batches.clone()), Phase::Train);
                let nll = match d.zero_logits {
                    Some(zero) => zinb_nll(d.mean, d.dispersion, zero, &counts),
                    None => nb_nll(d.mean, d.dispersion, &counts),
                };
                nll.mean() + latent.divergence().mean()
            };
            slopes_agree(&model, &NAMES, &[], loss, 1e-3, 2e-2);
        }
    }
}
