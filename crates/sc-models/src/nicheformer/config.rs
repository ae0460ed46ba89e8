//! Hyperparameters of a Nicheformer.

use crate::error::{ModelError, Result};
use crate::ranges;
use serde::{Deserialize, Serialize};

/// Context tokens before the genes: organism, assay, modality.
pub(super) const CONTEXT_TOKENS: usize = 3;

/// Hyperparameters of a [`Nicheformer`](super::Nicheformer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NicheformerConfig {
    /// Classes of the masked-token head: special tokens and genes.
    pub tokens: usize,
    /// Rows of the token table; the published one has five more than classes.
    pub table: usize,
    /// Positions; every sequence is padded to at most this.
    pub context_length: usize,
    /// Dimension of a token.
    pub width: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads; divides `width`.
    pub heads: usize,
    /// Hidden dimension of the feed-forward layer.
    pub feed_forward: usize,
    /// Dropout of all layers.
    pub dropout: f64,
    /// Pooling of the tokens into a cell embedding.
    pub pooling: Pooling,
}

impl Default for NicheformerConfig {
    fn default() -> Self {
        Self {
            tokens: 20_340,
            table: 20_345,
            context_length: 1500,
            width: 512,
            layers: 12,
            heads: 16,
            feed_forward: 1024,
            dropout: 0.0,
            pooling: Pooling::Masked,
        }
    }
}

/// Positions of the mean over tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Genes only.
    #[default]
    Masked,
    /// All positions after the context, padding included, as published: the embedding depends on
    /// the number of genes of a cell.
    Released,
}

/// Whether the three context positions are part of the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Context {
    /// They do not.
    #[default]
    Without,
    /// They do.
    With,
}

/// How outputs of several blocks are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Concatenated.
    Concat,
}

/// A linear head on the pooled output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadConfig {
    /// Number of outputs.
    pub outputs: usize,
    /// Blocks whose outputs are used; empty for the last.
    pub layers: Vec<usize>,
    /// How they are combined.
    pub combine: Combine,
    /// Whether the mean over positions includes the context.
    pub context: Context,
    /// Whether a dense layer with tanh comes before the head.
    pub extractor: bool,
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self {
            outputs: 1,
            layers: Vec::new(),
            combine: Combine::Mean,
            context: Context::Without,
            extractor: false,
        }
    }
}

impl NicheformerConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        const OF: &str = "nicheformer: network.";
        let fail = |what: String| Err(ModelError::Config(format!("{OF}{what}")));
        ranges::sizes(
            OF,
            &[
                ("tokens", self.tokens),
                ("table", self.table),
                ("context_length", self.context_length),
            ],
        )?;
        ranges::widths(
            OF,
            &[("width", self.width), ("feed_forward", self.feed_forward)],
        )?;
        ranges::layers(OF, &[("layers", self.layers)])?;
        ranges::divides(OF, ("width", self.width), self.heads)?;
        ranges::below_one(OF, &[("dropout", self.dropout)])?;
        if self.context_length <= CONTEXT_TOKENS {
            return fail(format!(
                "context_length = {} leaves no positions for genes after {CONTEXT_TOKENS} context tokens",
                self.context_length
            ));
        }
        if self.table < self.tokens {
            return fail(format!(
                "table = {} has fewer rows than tokens = {}",
                self.table, self.tokens
            ));
        }
        Ok(())
    }
}
