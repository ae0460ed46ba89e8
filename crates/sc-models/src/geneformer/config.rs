//! Hyperparameters of a Geneformer.

use crate::error::{ModelError, Result};
use crate::layers::encoder::FeedForward;
use crate::ranges;
use serde::{Deserialize, Serialize};

/// Hyperparameters of a [`Geneformer`](super::Geneformer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneformerConfig {
    /// Special tokens and genes.
    pub tokens: usize,
    /// Maximum number of tokens per cell.
    pub context_length: usize,
    /// Dimension of a token.
    pub width: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads; divides `width`.
    pub heads: usize,
    /// Hidden dimension of the feed-forward layer.
    pub feed_forward: usize,
    /// Non-linearity of the feed-forward layer and of the head.
    pub activation: Activation,
    /// Dropout of all layers.
    pub dropout: f64,
    /// The block whose output gives the cell embedding, counted from the last, which is 0.
    pub pooled_from_last: usize,
}

impl Default for GeneformerConfig {
    fn default() -> Self {
        Self {
            tokens: 25_426,
            context_length: 2048,
            width: 256,
            layers: 6,
            heads: 4,
            feed_forward: 512,
            activation: Activation::Relu,
            dropout: 0.02,
            pooled_from_last: 1,
        }
    }
}

/// Non-linearity, by the names of Hugging Face.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// Exact GELU.
    Gelu,
}

impl From<Activation> for FeedForward {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::Relu => Self::Relu,
            Activation::Gelu => Self::Gelu,
        }
    }
}

impl GeneformerConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        const OF: &str = "geneformer: network.";
        let sizes = [
            ("tokens", self.tokens),
            ("context_length", self.context_length),
        ];
        ranges::sizes(OF, &sizes)?;
        let widths = [("width", self.width), ("feed_forward", self.feed_forward)];
        ranges::widths(OF, &widths)?;
        ranges::layers(OF, &[("layers", self.layers)])?;
        ranges::divides(OF, ("width", self.width), self.heads)?;
        ranges::below_one(OF, &[("dropout", self.dropout)])?;
        if self.pooled_from_last >= self.layers {
            return Err(ModelError::Config(format!(
                "{OF}pooled_from_last = {}; must be below layers = {}",
                self.pooled_from_last, self.layers
            )));
        }
        Ok(())
    }
}
