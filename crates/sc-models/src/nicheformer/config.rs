//! Sizes and choices of a Nicheformer.

use crate::error::{ModelError, Result};
use crate::ranges;
use serde::{Deserialize, Serialize};

/// Tokens that stand before the genes: organism, assay, modality.
pub(super) const CONTEXT_TOKENS: usize = 3;

/// Sizes and choices of a [`Nicheformer`](super::Nicheformer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NicheformerConfig {
    /// Classes of the masked-token head: special tokens and genes.
    pub tokens: usize,
    /// Rows of the token table; the published one has five more than there are classes.
    pub table: usize,
    /// Positions; every sequence is padded to at most this.
    pub context_length: usize,
    /// Width of a token.
    pub width: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads; divides `width`.
    pub heads: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Dropout everywhere.
    pub dropout: f64,
    /// How a cell's vector is made of its tokens.
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

/// Which positions the mean over tokens takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Genes only.
    #[default]
    Masked,
    /// All positions after the context, padding included, as published: the vector depends on the
    /// number of genes a cell has.
    Released,
}

/// Whether the three context positions belong to the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Context {
    /// They do not.
    #[default]
    Without,
    /// They do.
    With,
}

/// How outputs of several blocks become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Side by side.
    Concat,
}

/// A linear head on the pooled output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadConfig {
    /// Numbers predicted.
    pub outputs: usize,
    /// Blocks whose outputs are used; empty for the last.
    pub layers: Vec<usize>,
    /// How they become one.
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
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the setting, its value and what would be right.
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
                "context_length = {} leaves no room for genes after {CONTEXT_TOKENS} context tokens",
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
