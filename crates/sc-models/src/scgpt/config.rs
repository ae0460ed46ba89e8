//! Hyperparameters of an scGPT or scFormer.

use crate::error::{ModelError, Result};
use crate::ranges;
use serde::{Deserialize, Serialize};

/// Hyperparameters of an [`ScGpt`](super::ScGpt).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScGptConfig {
    /// Tokens of the vocabulary, special tokens included.
    #[serde(default)]
    pub tokens: usize,
    /// Id of the padding token.
    #[serde(default)]
    pub pad: usize,
    /// Dimension of a token.
    #[serde(default = "width")]
    pub width: usize,
    /// Transformer layers.
    #[serde(default = "layers")]
    pub layers: usize,
    /// Attention heads; divides `width`.
    #[serde(default = "heads")]
    pub heads: usize,
    /// Hidden dimension of the feed-forward layer.
    #[serde(default = "width")]
    pub feed_forward: usize,
    /// Dropout of all layers.
    #[serde(default = "dropout")]
    pub dropout: f64,
    /// How values are encoded.
    #[serde(default)]
    pub value_encoder: ValueEncoderConfig,
    /// Normalisation of the summed embeddings.
    #[serde(default)]
    pub input_norm: InputNorm,
    /// Definition of the cell embedding.
    #[serde(default)]
    pub cell_embedding: CellEmbedding,
    /// Whether heads also predict the probability of expression.
    #[serde(default)]
    pub explicit_zero_probability: bool,
    /// The decoder from the cell embedding, if any.
    #[serde(default = "mvc")]
    pub mvc: Option<MvcStyle>,
    /// Classes of the classifier; 0 for none.
    #[serde(default)]
    pub classes: usize,
    /// Layers of the classifier, including the output layer.
    #[serde(default = "class_layers")]
    pub class_layers: usize,
    /// Sequencing batches the decoders are conditioned on; 0 for none.
    #[serde(default)]
    pub batch_labels: usize,
    /// Modalities the decoders are conditioned on; 0 for none.
    #[serde(default)]
    pub modalities: usize,
    /// Whether it has the flag of target genes (generative pretraining).
    #[serde(default)]
    pub generative: bool,
    /// Sequencing batches an adversary predicts; 0 for none.
    #[serde(default)]
    pub adversary_batches: usize,
}

fn width() -> usize {
    512
}
fn layers() -> usize {
    12
}
fn heads() -> usize {
    8
}
fn dropout() -> f64 {
    0.2
}
#[allow(clippy::unnecessary_wraps)] // serde requires the field's own type.
fn mvc() -> Option<MvcStyle> {
    Some(MvcStyle::InnerProduct)
}
fn class_layers() -> usize {
    3
}

/// How values are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ValueEncoderConfig {
    /// A perceptron of the value, added to the gene.
    #[default]
    Continuous,
    /// An embedding of the bin, added to the gene.
    Category {
        /// Rows of the embedding: bins plus padding and mask.
        bins: usize,
        /// The value of padding, whose row is not trained.
        #[serde(default)]
        pad: i64,
    },
    /// The gene's embedding times the value.
    Scaling,
}

/// Normalisation of the summed embeddings, before the transformer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum InputNorm {
    /// None (scGPT).
    #[default]
    None,
    /// One batch norm with learned scale (scFormer; scGPT until mid-2023 with epsilon 6.1e-5).
    BatchNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// One batch norm per sequencing batch; a minibatch holds one batch.
    DomainSpecific {
        /// Sequencing batches.
        #[serde(default)]
        domains: usize,
        /// Added to the variance.
        epsilon: f64,
        /// Whether scale and shift of each are learned.
        #[serde(default)]
        scale: Scale,
    },
}

/// Whether a norm has a learned scale and shift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// It has not, as published.
    #[default]
    Fixed,
    /// They are learned (scFormer's `do_affine`).
    Learned,
}

/// Definition of the cell embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellEmbedding {
    /// Output at the `<cls>` token.
    #[default]
    Cls,
    /// Mean over all positions, padding included, as published.
    AvgPool,
    /// Mean weighted by the values.
    WeightedPool,
}

/// Decoder from the cell embedding (MVC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MvcStyle {
    /// `(W σ(L e_gene)) · h_cell`.
    InnerProduct,
    /// The same without gradient into the gene embedding.
    InnerProductDetach,
}

impl ScGptConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        const OF: &str = "scgpt: network.";
        if self.tokens <= self.pad {
            return Err(ModelError::Config(format!(
                "{OF}pad = {}; must be below tokens = {}",
                self.pad, self.tokens
            )));
        }
        ranges::sizes(OF, &[("tokens", self.tokens)])?;
        ranges::widths(
            OF,
            &[("width", self.width), ("feed_forward", self.feed_forward)],
        )?;
        ranges::layers(
            OF,
            &[("layers", self.layers), ("class_layers", self.class_layers)],
        )?;
        ranges::divides(OF, ("width", self.width), self.heads)?;
        ranges::below_one(OF, &[("dropout", self.dropout)])?;
        ranges::counts(
            OF,
            &[
                ("classes", self.classes),
                ("batch_labels", self.batch_labels),
                ("modalities", self.modalities),
                ("adversary_batches", self.adversary_batches),
            ],
        )?;
        if let ValueEncoderConfig::Category { bins, .. } = self.value_encoder {
            ranges::sizes(OF, &[("value_encoder.bins", bins)])?;
        }
        match self.input_norm {
            InputNorm::None => Ok(()),
            InputNorm::BatchNorm { epsilon } | InputNorm::DomainSpecific { epsilon, .. } => {
                ranges::positive(OF, &[("input_norm.epsilon", epsilon)])
            }
        }
    }
}
