//! Hyperparameters of a composed model.

use crate::error::{ModelError, Result};
use crate::hyena::{FilterConfig, OperatorConfig};
use crate::ranges;
use serde::{Deserialize, Serialize};

/// Hyperparameters of a [`Composed`](super::Composed).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ComposedConfig {
    /// How tokens interact.
    pub encoder: EncoderConfig,
    /// Definition of the cell embedding.
    pub cell: CellVector,
    /// Dimension of a token.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Hidden dimension of the feed-forward layers.
    pub feed_forward: usize,
    /// Dropout of residual branches.
    pub dropout: f64,
    /// Rows of the token table: genes, then special tokens. Set from the data.
    pub tokens: usize,
    /// Genes of the vocabulary. Set from the data.
    pub genes: usize,
    /// Maximum sequence length, including the cell token. Set by the tokeniser.
    pub length: usize,
    /// Whether tokens have values. Set by the tokeniser.
    pub values: bool,
    /// Whether the position in the sequence is informative. Set by the tokeniser.
    pub positions: bool,
    /// The head. Set by the objective.
    pub head: HeadConfig,
}

/// How tokens interact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum EncoderConfig {
    /// Self-attention over all tokens (Vaswani et al. 2017).
    Attention {
        /// Attention heads; divides `width`.
        #[serde(default = "heads")]
        heads: usize,
    },
    /// Flow attention, linear in the number of tokens (Wu et al. 2022; CellPLM's).
    Flow {
        /// Attention heads; divides `width`.
        #[serde(default = "heads")]
        heads: usize,
    },
    /// Gates and long convolutions (Poli et al. 2023; scHyena's), bidirectional. It depends on
    /// order.
    Hyena {
        /// Gates and long convolutions: one convolution fewer than this.
        #[serde(default = "order")]
        order: usize,
        /// Parameters of the long filters.
        #[serde(default)]
        filter: FilterConfig,
    },
    /// The mean over all tokens, passed to each (deep sets, Zaheer et al. 2017).
    Mean,
    /// Not at all: the control for all others.
    None,
}

fn heads() -> usize {
    4
}
fn order() -> usize {
    2
}

impl EncoderConfig {
    /// The name in configurations.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Attention { .. } => "attention",
            Self::Flow { .. } => "flow",
            Self::Hyena { .. } => "hyena",
            Self::Mean => "mean",
            Self::None => "none",
        }
    }

    /// Whether all sequences must be padded to the maximum length: a filter's positions are
    /// spread over the sequence, so its length is part of the input.
    pub fn reads_length(&self) -> bool {
        matches!(self, Self::Hyena { .. })
    }
}

/// Definition of the cell embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellVector {
    /// The mean over all tokens without padding.
    #[default]
    Mean,
    /// The cell token.
    Cls,
}

/// Prediction from tokens or cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HeadConfig {
    /// None: cells are compared with cells.
    #[default]
    None,
    /// Values of tokens.
    Values,
    /// Values of genes, from the cell embedding.
    ValuesFromCell,
    /// The gene of a token.
    Genes,
    /// Whether a gene is expressed, from the cell embedding.
    Expressed,
    /// Counts of all genes, from the cell embedding.
    Counts,
    /// The label of the cell.
    Classes {
        /// Number of labels.
        labels: usize,
    },
}

impl Default for ComposedConfig {
    fn default() -> Self {
        Self {
            encoder: EncoderConfig::Attention { heads: heads() },
            cell: CellVector::default(),
            width: 128,
            layers: 4,
            feed_forward: 256,
            dropout: 0.1,
            tokens: 0,
            genes: 0,
            length: 0,
            values: false,
            positions: false,
            head: HeadConfig::None,
        }
    }
}

impl ComposedConfig {
    /// The Hyena operator of a block.
    pub(super) fn operator(&self, order: usize, filter: &FilterConfig) -> OperatorConfig {
        OperatorConfig {
            width: self.width,
            length: self.length,
            order,
            filter: filter.clone(),
            ..OperatorConfig::default()
        }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        const OF: &str = "composed: network.";
        ranges::sizes(OF, &[("genes", self.genes), ("length", self.length)])?;
        ranges::widths(
            OF,
            &[("width", self.width), ("feed_forward", self.feed_forward)],
        )?;
        ranges::layers(OF, &[("layers", self.layers)])?;
        ranges::below_one(OF, &[("dropout", self.dropout)])?;
        match &self.encoder {
            EncoderConfig::Attention { heads } | EncoderConfig::Flow { heads } => {
                ranges::divides(OF, ("width", self.width), *heads)?;
            }
            EncoderConfig::Hyena { order, filter } => self.operator(*order, filter).check()?,
            EncoderConfig::Mean => {}
            EncoderConfig::None if self.cell == CellVector::Cls => {
                return Err(ModelError::Config(
                    "composed: encoder = 'none' and cell = 'cls': the cell token would depend on no \
                     gene; use network.cell = 'mean'"
                        .into(),
                ));
            }
            EncoderConfig::None => {}
        }
        Ok(())
    }
}
