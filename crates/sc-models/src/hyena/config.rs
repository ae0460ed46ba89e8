//! Hyperparameters of Hyena operators and of scHyena.

use crate::error::{ModelError, Result};
use crate::ranges;
use serde::{Deserialize, Serialize};

/// Hyperparameters of a [`HyenaOperator`](super::HyenaOperator).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OperatorConfig {
    /// Dimension of a token.
    pub width: usize,
    /// Maximum sequence length; the filter's positions are spread over it.
    pub length: usize,
    /// Gates and long convolutions: one convolution fewer than this.
    pub order: usize,
    /// Direction of the convolution.
    pub direction: Direction,
    /// Length of the explicit filter.
    pub short_filter: usize,
    /// Zero padding before it; `None` for that of the direction.
    pub short_padding: Option<usize>,
    /// Equal parts of the sequence that are convolved separately, as in safari (causal only).
    pub blocks: usize,
    /// A learned factor after every convolution, as safari's `post_order_ffn` with one head.
    pub factors: bool,
    /// Activation before the output projection.
    pub activation: Activation,
    /// Dropout between gate and convolution.
    pub dropout: f64,
    /// Parameters of the long filter.
    pub filter: FilterConfig,
}

/// The implicit filter: a perceptron of the position, times a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FilterConfig {
    /// Hidden dimension of the perceptron.
    pub width: usize,
    /// Features of a position: its time, and sines and cosines; odd, at least 3.
    pub features: usize,
    /// Initial frequency of the sine activation.
    pub frequency: f64,
    /// Layers between the first and the last.
    pub inner_layers: usize,
    /// Added to the window.
    pub shift: f64,
    /// Whether the filter is divided by the sum of its absolute values over the channels at every
    /// position.
    pub normalized: bool,
    /// Whether positions are trained.
    pub positions: Training,
    /// Whether the window's decays are trained.
    pub decays: Training,
    /// Whether the convolution's input is added, times a weight for every channel.
    pub skip: bool,
    /// Final value of the window.
    pub target: f64,
    /// Share of the length at which the fastest channel reaches it.
    pub fast_decay: f64,
    /// The same for the slowest channel.
    pub slow_decay: f64,
}

/// Direction of the convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Causal (safari, HyenaDNA).
    Causal,
    /// Bidirectional: one filter for the past, one for the future, one window of `|lag|`.
    #[default]
    Both,
    /// As in CellPainTR: one filter over lags of both signs, its window growing into the past, the
    /// short filter causal. Only for its checkpoints.
    CellPainTr,
}

/// Whether a parameter is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Training {
    /// It is.
    Learned,
    /// It keeps its initial value.
    Fixed,
}

/// Activation before the output projection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// None.
    #[default]
    Identity,
    /// Hyperbolic tangent.
    Tanh,
    /// `max(0, x)`.
    Relu,
    /// `x Φ(x)`.
    Gelu,
    /// `x σ(x)`.
    Silu,
    /// `σ(x)`.
    Sigmoid,
}

impl Default for OperatorConfig {
    fn default() -> Self {
        Self {
            width: 256,
            length: 0,
            order: 2,
            direction: Direction::Both,
            short_filter: 3,
            short_padding: None,
            blocks: 1,
            factors: false,
            activation: Activation::Identity,
            dropout: 0.0,
            filter: FilterConfig::default(),
        }
    }
}

impl Default for FilterConfig {
    fn default() -> Self {
        Self {
            width: 64,
            features: 5,
            frequency: 10.0,
            inner_layers: 2,
            shift: 0.0,
            normalized: false,
            positions: Training::Learned,
            decays: Training::Fixed,
            skip: true,
            target: 1e-2,
            fast_decay: 0.3,
            slow_decay: 1.5,
        }
    }
}

impl OperatorConfig {
    /// Zero padding before the short filter.
    pub fn padding(&self) -> usize {
        self.short_padding.unwrap_or(match self.direction {
            Direction::Both => (self.short_filter.saturating_sub(1)) / 2,
            Direction::Causal | Direction::CellPainTr => self.short_filter.saturating_sub(1),
        })
    }

    /// Rows of the filter for sequences of `length`.
    pub fn rows(&self, length: usize) -> usize {
        match self.direction {
            Direction::CellPainTr => (2 * length).saturating_sub(1),
            Direction::Causal | Direction::Both => length,
        }
    }

    /// Channels of the long filters.
    pub(super) fn channels(&self) -> usize {
        self.width * (self.order - 1)
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        const OF: &str = "hyena: ";
        let fail = |what: String| Err(ModelError::Config(format!("{OF}{what}")));
        ranges::sizes(
            OF,
            &[("length", self.length), ("short_filter", self.short_filter)],
        )?;
        ranges::widths(
            OF,
            &[
                ("width", self.width),
                ("filter.width", self.filter.width),
                ("filter.features", self.filter.features),
            ],
        )?;
        ranges::layers(OF, &[("order", self.order)])?;
        self.filter.check(OF)?;
        if self.order < 2 {
            return fail(format!("order = {}; must be at least 2", self.order));
        }
        let features = self.filter.features;
        if features < 3 || features.is_multiple_of(2) {
            return fail(format!(
                "features = {features}; must be odd and at least 3 (time, sines and cosines)"
            ));
        }
        if self.padding() >= self.short_filter {
            return fail(format!(
                "short_padding = {} must be below short_filter = {}",
                self.padding(),
                self.short_filter
            ));
        }
        if self.blocks == 0 || !self.length.is_multiple_of(self.blocks) {
            return fail(format!(
                "length = {} is not divisible by blocks = {}",
                self.length, self.blocks
            ));
        }
        if self.blocks > 1 && self.direction != Direction::Causal {
            return fail("blocks need the causal operator".into());
        }
        ranges::below_one(OF, &[("dropout", self.dropout)])
    }
}

impl FilterConfig {
    fn check(&self, of: &str) -> Result<()> {
        match self.inner_layers {
            0 => {}
            n => ranges::layers(of, &[("filter.inner_layers", n)])?,
        }
        ranges::finite(
            of,
            &[
                ("filter.frequency", self.frequency),
                ("filter.shift", self.shift),
            ],
        )?;
        // Decays are logarithms of the target over shares of the length.
        ranges::positive(
            of,
            &[
                ("filter.target", self.target),
                ("filter.fast_decay", self.fast_decay),
                ("filter.slow_decay", self.slow_decay),
            ],
        )
    }
}

/// Hyperparameters of an [`ScHyena`](super::ScHyena).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScHyenaConfig {
    /// Genes per cell; every one is a token.
    pub genes: usize,
    /// Number of gene embeddings, including the cell token; `None` for those of a cell.
    pub vocabulary: Option<usize>,
    /// Sequence length over which the filters' positions are spread; `None` for that of a cell.
    pub length: Option<usize>,
    /// Dimension of a token.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Hidden dimension of the feed-forward layer.
    pub feed_forward: usize,
    /// Order of the operator.
    pub order: usize,
    /// Direction of the convolution.
    pub direction: Direction,
    /// Length of the explicit filter.
    pub short_filter: usize,
    /// Zero padding before it; `None` for that of the direction.
    pub short_padding: Option<usize>,
    /// Parameters of the long filters.
    pub filter: FilterConfig,
    /// Dropout of the embedded tokens.
    pub embedding_dropout: f64,
    /// Dropout of residual branches.
    pub dropout: f64,
    /// Epsilon of the norms of the blocks.
    pub epsilon: f64,
}

impl Default for ScHyenaConfig {
    fn default() -> Self {
        Self {
            genes: 0,
            vocabulary: None,
            length: None,
            width: 256,
            layers: 4,
            feed_forward: 1024,
            order: 2,
            direction: Direction::Both,
            short_filter: 3,
            short_padding: None,
            filter: FilterConfig::default(),
            embedding_dropout: 0.1,
            dropout: 0.0,
            epsilon: 1e-5,
        }
    }
}

impl ScHyenaConfig {
    /// Tokens of a cell: its genes and the cell token.
    pub fn tokens(&self) -> usize {
        self.genes + 1
    }

    /// The operator of every block.
    pub fn operator(&self) -> OperatorConfig {
        OperatorConfig {
            width: self.width,
            length: self.length.unwrap_or(self.tokens()),
            order: self.order,
            direction: self.direction,
            short_filter: self.short_filter,
            short_padding: self.short_padding,
            filter: self.filter.clone(),
            ..OperatorConfig::default()
        }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        const OF: &str = "schyena: network.";
        let fail = |what: String| Err(ModelError::Config(format!("{OF}{what}")));
        ranges::sizes(
            OF,
            &[
                ("genes", self.genes),
                ("vocabulary", self.vocabulary.unwrap_or(1)),
                ("length", self.length.unwrap_or(1)),
            ],
        )?;
        ranges::widths(OF, &[("feed_forward", self.feed_forward)])?;
        ranges::layers(OF, &[("layers", self.layers)])?;
        for (name, n) in [("vocabulary", self.vocabulary), ("length", self.length)] {
            if let Some(n) = n.filter(|&n| n < self.tokens()) {
                return fail(format!(
                    "{name} = {n} is less than the {} tokens of a cell",
                    self.tokens()
                ));
            }
        }
        ranges::below_one(
            OF,
            &[
                ("embedding_dropout", self.embedding_dropout),
                ("dropout", self.dropout),
            ],
        )?;
        ranges::positive(OF, &[("epsilon", self.epsilon)])?;
        self.operator().check()
    }
}
