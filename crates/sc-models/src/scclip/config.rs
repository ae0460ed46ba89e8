//! Hyperparameters of an scCLIP.

use crate::error::{ModelError, Result};
use crate::ranges;
use serde::{Deserialize, Serialize};

/// Hyperparameters of an [`ScClip`](super::ScClip).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScClipConfig {
    /// The tower of open chromatin (ATAC).
    pub atac: TowerConfig,
    /// The tower of expression (RNA).
    pub rna: TowerConfig,
    /// Dimension of the shared space.
    pub projection: usize,
    /// How similarities are scaled.
    pub temperature: Temperature,
    /// Whether embeddings are normalised to length 1.
    pub normalize: bool,
}

/// Sizes of one tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TowerConfig {
    /// Genes or peaks.
    pub features: usize,
    /// Number of patches, in the order of the features.
    pub patches: usize,
    /// Dimension of a token.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads; divides `width`.
    pub heads: usize,
    /// Hidden dimension of the feed-forward layer.
    pub feed_forward: usize,
    /// Dropout of tokens and residual branches.
    pub dropout: f64,
    /// Dropout of attention weights.
    pub attention_dropout: f64,
    /// Epsilon of the norms.
    pub epsilon: f64,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
}

/// The scale of similarities before the softmax: `exp` of this.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Temperature {
    /// As published: a constant.
    Fixed {
        /// Logarithm of the scale.
        log_scale: f64,
    },
    /// Trained.
    Learned {
        /// Its initial value; CLIP's is `ln(1/0.07)`.
        log_scale: f64,
        /// Upper bound of the scale; the original has none.
        #[serde(default)]
        largest: Option<f64>,
    },
}

impl Temperature {
    /// The initial logarithm of the scale.
    pub fn log_scale(self) -> f64 {
        match self {
            Self::Fixed { log_scale } | Self::Learned { log_scale, .. } => log_scale,
        }
    }
}

impl Default for ScClipConfig {
    fn default() -> Self {
        Self {
            atac: TowerConfig::default(),
            rna: TowerConfig::default(),
            projection: 128,
            temperature: Temperature::Fixed { log_scale: 1.0 },
            normalize: true,
        }
    }
}

impl Default for TowerConfig {
    fn default() -> Self {
        Self {
            features: 0,
            patches: 128,
            width: 256,
            layers: 6,
            heads: 8,
            feed_forward: 512,
            dropout: 0.1,
            attention_dropout: 0.1,
            epsilon: 1e-12,
            qkv_bias: true,
        }
    }
}

impl TowerConfig {
    /// Features per patch; the last ones may be padding.
    pub fn patch(&self) -> usize {
        self.features.div_ceil(self.patches.max(1))
    }

    fn check(&self, name: &str) -> Result<()> {
        let of = format!("scclip: network.{name}.");
        ranges::sizes(
            &of,
            &[("features", self.features), ("patches", self.patches)],
        )?;
        ranges::widths(
            &of,
            &[("width", self.width), ("feed_forward", self.feed_forward)],
        )?;
        ranges::layers(&of, &[("layers", self.layers)])?;
        ranges::divides(&of, ("width", self.width), self.heads)?;
        ranges::below_one(
            &of,
            &[
                ("dropout", self.dropout),
                ("attention_dropout", self.attention_dropout),
            ],
        )?;
        ranges::positive(&of, &[("epsilon", self.epsilon)])
    }
}

impl ScClipConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        const OF: &str = "scclip: network.";
        self.atac.check("atac")?;
        self.rna.check("rna")?;
        ranges::widths(OF, &[("projection", self.projection)])?;
        if let Temperature::Learned {
            largest: Some(largest),
            ..
        } = self.temperature
        {
            ranges::positive(OF, &[("temperature.largest", largest)])?;
        }
        // Similarities are at most 1, so this is as far as single precision goes.
        match self.temperature.log_scale() {
            scale if scale.abs() <= 80.0 => Ok(()),
            scale => Err(ModelError::Config(format!(
                "{OF}temperature.log_scale = {scale}; must lie between -80 and 80"
            ))),
        }
    }
}
