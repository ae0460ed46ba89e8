//! Hyperparameters of a UCE.

use crate::error::{ModelError, Result};
use crate::ranges;
use serde::{Deserialize, Serialize};

/// Hyperparameters of a [`Uce`](super::Uce).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UceConfig {
    /// Rows of the token table: special tokens, genes, chromosomes.
    pub tokens: usize,
    /// Dimension of a protein embedding.
    pub token_dim: usize,
    /// Maximum sentence length.
    pub max_length: usize,
    /// Dimension of a token inside the transformer.
    pub width: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads; divides `width`.
    pub heads: usize,
    /// Hidden dimension of the feed-forward layer.
    pub feed_forward: usize,
    /// Dropout of all layers.
    pub dropout: f64,
    /// Dimension of the cell embedding.
    pub output: usize,
    /// Width of the decoder's first layer.
    pub decoder_hidden: usize,
    /// Widths of the hidden layers that predict whether a gene is expressed.
    pub binary_hidden: [usize; 3],
    /// Treatment of padding in attention.
    pub padding: PaddingMode,
}

/// Treatment of padding in attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PaddingMode {
    /// Masked: it is not attended to.
    #[default]
    Strict,
    /// As published: 1 is added to its scores, so it is attended to more than the genes, and a cell's
    /// embedding depends on the longest sentence of its minibatch. The published weights were
    /// trained with it.
    Compat,
}

impl Default for UceConfig {
    fn default() -> Self {
        Self {
            tokens: 0,
            token_dim: 5120,
            max_length: 1536,
            width: 1280,
            layers: 4,
            heads: 20,
            feed_forward: 5120,
            dropout: 0.05,
            output: 1280,
            decoder_hidden: 1024,
            binary_hidden: [2048, 512, 128],
            padding: PaddingMode::Strict,
        }
    }
}

impl UceConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        const OF: &str = "uce: network.";
        let [a, b, c] = self.binary_hidden;
        ranges::sizes(
            OF,
            &[("tokens", self.tokens), ("max_length", self.max_length)],
        )?;
        ranges::widths(
            OF,
            &[
                ("token_dim", self.token_dim),
                ("width", self.width),
                ("feed_forward", self.feed_forward),
                ("output", self.output),
                ("decoder_hidden", self.decoder_hidden),
                ("binary_hidden", a),
                ("binary_hidden", b),
                ("binary_hidden", c),
            ],
        )?;
        ranges::layers(OF, &[("layers", self.layers)])?;
        ranges::divides(OF, ("width", self.width), self.heads)?;
        ranges::below_one(OF, &[("dropout", self.dropout)])?;
        match self.width.is_multiple_of(2) {
            true => Ok(()),
            false => Err(ModelError::Config(format!(
                "{OF}width = {}; must be even for sinusoidal positions",
                self.width
            ))),
        }
    }
}
