//! Sizes and choices of a composed model.

use crate::error::{ModelError, Result};
use crate::hyena::{FilterConfig, OperatorConfig};
use crate::ranges;
use serde::{Deserialize, Serialize};

/// Sizes and choices of a [`Composed`](super::Composed).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ComposedConfig {
    /// How tokens see each other.
    pub encoder: EncoderConfig,
    /// Which vector is the cell.
    pub cell: CellVector,
    /// Width of a token.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Width of the feed-forward layers.
    pub feed_forward: usize,
    /// Dropout of what blocks add.
    pub dropout: f64,
    /// Rows of the token table: genes, then special tokens. Set by the data.
    pub tokens: usize,
    /// Genes of the vocabulary. Set by the data.
    pub genes: usize,
    /// Tokens of the longest sequence, the cell's own included. Set by the tokens.
    pub length: usize,
    /// Whether tokens have values beside their gene. Set by the tokens.
    pub values: bool,
    /// Whether the place in the sequence says something. Set by the tokens.
    pub positions: bool,
    /// What is read off. Set by the objective.
    pub head: HeadConfig,
}

/// How tokens see each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum EncoderConfig {
    /// Self-attention: every token weighs every other (Vaswani et al. 2017).
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
    /// Gates and long convolutions (Poli et al. 2023; scHyena's), looking both ways. It reads order.
    Hyena {
        /// Gates and long convolutions: one convolution fewer than this.
        #[serde(default = "order")]
        order: usize,
        /// How the long filters are made.
        #[serde(default)]
        filter: FilterConfig,
    },
    /// The mean over all tokens, given to each (deep sets, Zaheer et al. 2017).
    Mean,
    /// They do not: the control for all others.
    None,
}

fn heads() -> usize {
    4
}
fn order() -> usize {
    2
}

impl EncoderConfig {
    /// The word in configurations.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Attention { .. } => "attention",
            Self::Flow { .. } => "flow",
            Self::Hyena { .. } => "hyena",
            Self::Mean => "mean",
            Self::None => "none",
        }
    }

    /// Whether sequences must all be padded to the longest there can be: a filter's positions are
    /// spread over the sequence, so that its length is part of the input.
    pub fn reads_length(&self) -> bool {
        matches!(self, Self::Hyena { .. })
    }
}

/// Which vector is the cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellVector {
    /// The mean over all tokens that are no padding.
    #[default]
    Mean,
    /// The cell's own token.
    Cls,
}

/// What is read off tokens or cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HeadConfig {
    /// Nothing: the cell is compared with cells.
    #[default]
    None,
    /// Values of tokens.
    Values,
    /// Values of genes, from the cell.
    ValuesFromCell,
    /// Which gene a token is.
    Genes,
    /// Whether a gene is expressed, from the cell.
    Expressed,
    /// Counts of all genes, from the cell.
    Counts,
    /// The label of the cell.
    Classes {
        /// Labels there are.
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

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the setting, its value and what would be right.
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
                    "composed: encoder = 'none' and cell = 'cls': the cell's own token would see no \
                     gene; take network.cell = 'mean'"
                        .into(),
                ));
            }
            EncoderConfig::None => {}
        }
        Ok(())
    }
}
