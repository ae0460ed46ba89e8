//! From the latent to counts, or to a label.

use super::config::{HeadConfig, NormConfig};
use super::norm::CellNorm;
use crate::layers::dropout::Dropout;
use crate::layers::linear::Linear;
use crate::layers::observe::Observer;
use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::activation::{prelu, relu};
use burn::tensor::{Device, Int, Tensor};

/// Width of the last hidden layer of the decoder, fixed in the original.
const OUTPUT_HIDDEN: usize = 128;

/// Covariates of the cells of a sentence, `[cells]` each.
#[derive(Clone, Debug, Default)]
pub struct Covariates {
    /// Sequencing batch.
    pub batch: Option<Tensor<1, Int>>,
    /// Dataset.
    pub dataset: Option<Tensor<1, Int>>,
}

/// A negative binomial for every cell and gene.
#[derive(Clone, Debug)]
pub struct NegativeBinomial {
    /// Mean, `[cells, genes]`.
    pub mean: Tensor<2>,
    /// Dispersion θ (variance = mean + mean²/θ), one per gene: `[1, genes]`.
    pub dispersion: Tensor<2>,
}

/// One learned scalar slope, `torch.nn.PReLU(1)`.
#[derive(Module, Debug)]
pub(super) struct Slope {
    alpha: Param<Tensor<1>>,
}

impl Slope {
    fn new(device: &Device) -> Self {
        Self {
            alpha: Param::from_tensor(Tensor::full([1], 0.25, device)),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        prelu(x, self.alpha.val())
    }
}

/// `GroupNorm(Dropout(PReLU(Linear(x))))`.
#[derive(Module, Debug)]
pub(super) struct DecoderLayer {
    linear: Linear,
    slope: Slope,
    norm: CellNorm,
}

/// `GroupNorm(PReLU(Embedding(level)))`.
#[derive(Module, Debug)]
pub(super) struct CovariateLayer {
    embedding: Embedding,
    slope: Slope,
    norm: CellNorm,
}

/// The covariates, added after one decoder layer.
#[derive(Module, Debug)]
pub(super) struct CovariateLayers {
    batch: Option<CovariateLayer>,
    dataset: Option<CovariateLayer>,
}

/// Last layer: mean and dispersion of every gene.
#[derive(Module, Debug)]
pub(super) struct NbLayer {
    dec_1: Linear,
    dec_mean: Linear,
    dec_disp: Param<Tensor<1>>,
}

/// Head on the latent.
#[derive(Module, Debug)]
pub enum Decoder {
    /// Negative binomial over genes.
    Nb(NbDecoder),
    /// Class logits, or another plain output.
    Mlp(MlpHead),
}

/// The negative-binomial decoder.
#[derive(Module, Debug)]
pub struct NbDecoder {
    layers: Vec<DecoderLayer>,
    covariate_layers: Vec<CovariateLayers>,
    out_layer: NbLayer,
    dropout: Dropout,
}

/// Dropout and linear layers, ReLU between them.
#[derive(Module, Debug)]
pub struct MlpHead {
    mlp: Vec<Linear>,
    dropout: Dropout,
}

impl CovariateLayer {
    fn new(levels: usize, d: usize, norm: NormConfig, device: &Device) -> Option<Self> {
        (levels > 0).then(|| Self {
            embedding: EmbeddingConfig::new(levels, d).init(device),
            slope: Slope::new(device),
            norm: CellNorm::new(norm, d, device),
        })
    }

    /// The covariate's contribution, `[cells, d]`, or `[1, d]` when the levels are unknown.
    ///
    /// Unknown levels contribute the sum of all embeddings, without gradient, as in the original
    /// (whose comment says average; the norm that follows makes the two nearly equal).
    fn forward(&self, levels: Option<&Tensor<1, Int>>) -> Tensor<2> {
        let table = self.embedding.weight.val();
        let x = match levels {
            Some(levels) => table.select(0, levels.clone()),
            None => table.detach().sum_dim(0),
        };
        self.norm.forward(self.slope.forward(x))
    }
}

impl Decoder {
    /// A decoder from a latent of `d` dimensions; `None` for [`HeadConfig::Embed`].
    pub fn new(
        config: &HeadConfig,
        d: usize,
        genes: usize,
        norm: NormConfig,
        dropout: f64,
        device: &Device,
    ) -> Option<Self> {
        match *config {
            HeadConfig::Embed => None,
            HeadConfig::Decode {
                hidden,
                layers,
                batches,
                datasets,
                ..
            } => {
                let widths = (0..layers.saturating_sub(1)).map(|i| if i == 0 { d } else { hidden });
                let body = widths.map(|input| DecoderLayer {
                    linear: Linear::new(input, hidden, device),
                    slope: Slope::new(device),
                    norm: CellNorm::new(norm, hidden, device),
                });
                let layers: Vec<_> = body.collect();
                let covariates = |_: &DecoderLayer| CovariateLayers {
                    batch: CovariateLayer::new(batches, hidden, norm, device),
                    dataset: CovariateLayer::new(datasets, hidden, norm, device),
                };
                let input = if layers.is_empty() { d } else { hidden };
                Some(Self::Nb(NbDecoder {
                    covariate_layers: layers.iter().map(covariates).collect(),
                    layers,
                    out_layer: NbLayer {
                        dec_1: Linear::new(input, OUTPUT_HIDDEN, device),
                        dec_mean: Linear::new(OUTPUT_HIDDEN, genes, device),
                        dec_disp: Param::from_tensor(Tensor::zeros([genes], device)),
                    },
                    dropout: Dropout::new(dropout),
                }))
            }
            HeadConfig::Mlp {
                outputs,
                hidden,
                layers,
            } => {
                let n = layers.max(1);
                let width = |i: usize| if i == 0 { d } else { hidden };
                let output = |i: usize| if i + 1 == n { outputs } else { hidden };
                let mlp = (0..n).map(|i| Linear::new(width(i), output(i), device));
                Some(Self::Mlp(MlpHead {
                    mlp: mlp.collect(),
                    dropout: Dropout::new(dropout),
                }))
            }
        }
    }
}

impl NbDecoder {
    /// Decodes `z` `[cells, latent_dim]`.
    pub fn forward(&self, z: Tensor<2>, covariates: &Covariates) -> NegativeBinomial {
        self.forward_observed(z, covariates, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(
        &self,
        z: Tensor<2>,
        covariates: &Covariates,
        seen: &mut impl Observer,
    ) -> NegativeBinomial {
        let mut x = z;
        for (i, (layer, covariate)) in self.layers.iter().zip(&self.covariate_layers).enumerate() {
            x = self
                .dropout
                .forward(layer.slope.forward(layer.linear.forward(x)));
            x = layer.norm.forward(x);
            seen.see(&format!("dec.layer.{i}"), &x);
            let added = [
                (&covariate.batch, &covariates.batch),
                (&covariate.dataset, &covariates.dataset),
            ];
            for (layer, levels) in added {
                if let Some(layer) = layer {
                    x = x + layer.forward(levels.as_ref());
                }
            }
        }
        seen.see("dec.hidden", &x);
        let out = &self.out_layer;
        let h = relu(out.dec_1.forward(x));
        let mean = out.dec_mean.forward(h).exp().clamp(1e-5, 1e6);
        let dispersion = out.dec_disp.val().exp().clamp(1e-4, 1e4).unsqueeze::<2>();
        seen.see("dec.mean", &mean);
        seen.see("dec.disp", &dispersion.clone().expand(mean.dims()));
        NegativeBinomial { mean, dispersion }
    }
}

impl MlpHead {
    /// Maps `z` `[cells, latent_dim]` to `[cells, outputs]`.
    pub fn forward(&self, z: Tensor<2>) -> Tensor<2> {
        let last = self.mlp.len().saturating_sub(1);
        self.mlp.iter().enumerate().fold(z, |x, (i, linear)| {
            let x = linear.forward(self.dropout.forward(x));
            if i < last { relu(x) } else { x }
        })
    }
}
