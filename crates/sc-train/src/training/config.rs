//! Settings of a training run.

use crate::error::{Result, TrainError};
use sc_models::precision::Precision;
use sc_models::ranges;
use sc_models::weights::layer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The most steps: the optimiser counts them in 32 bits.
const MOST_STEPS: u64 = 1_000_000_000;

/// Settings of a training run; the same for every architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: u64,
    /// Cells per minibatch.
    pub minibatch: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// Final learning rate of the cosine schedule, as a share of the peak.
    pub final_fraction: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// First moment decay of AdamW.
    pub beta1: f64,
    /// Second moment decay of AdamW.
    pub beta2: f64,
    /// Maximum norm of the gradient of all parameters together; 0 for no clipping.
    pub clip: f64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Order of the cells.
    pub sampling: Sampling,
    /// Precision of the products.
    pub precision: Precision,
    /// Weights that are left as they are, where training starts from those of another model.
    #[serde(skip_serializing_if = "Freeze::is_none")]
    pub freeze: Freeze,
    /// Choice of the best step, where there are validation cells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationConfig>,
}

/// How the step whose weights are kept is chosen on validation cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationConfig {
    /// Steps between two losses on the validation cells.
    pub every: u64,
    /// Losses in a row without a new minimum after which training stops; 0 for never.
    pub patience: u64,
}

impl Default for ValidationConfig {
    fn default() -> Self {
        Self {
            every: 50,
            patience: 10,
        }
    }
}

/// Weights that training leaves as they are, of those that were taken from another model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Freeze {
    /// None.
    #[default]
    None,
    /// All: only what is new is trained.
    Encoder,
    /// All that are in no layer, such as the vectors of genes.
    Embedding,
    /// The same, and this number of layers after them.
    Layers(usize),
}

impl Freeze {
    /// Whether everything is trained.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// The names to leave as they are, of `taken`.
    ///
    /// # Errors
    /// [`TrainError::Config`] for layers of a network without any, or for more than there are.
    pub fn of(self, taken: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        let first = match self {
            Self::None => return Ok(BTreeSet::new()),
            Self::Encoder => return Ok(taken.clone()),
            Self::Embedding => 0,
            Self::Layers(n) => n,
        };
        let layers = taken.iter().filter_map(|name| layer(name)).max();
        let layers = layers.map_or(0, |last| last + 1);
        if first > layers || layers == 0 {
            return Err(TrainError::Config(format!(
                "train.freeze = '{self}', but the model has {layers} layers with a number; use 'encoder' or \
                 'none'"
            )));
        }
        let frozen = |name: &&String| layer(name).is_none_or(|k| k < first);
        Ok(taken.iter().filter(frozen).cloned().collect())
    }
}

impl std::fmt::Display for Freeze {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => write!(f, "none"),
            Self::Encoder => write!(f, "encoder"),
            Self::Embedding => write!(f, "embedding"),
            Self::Layers(n) => write!(f, "layers:{n}"),
        }
    }
}

impl From<Freeze> for String {
    fn from(freeze: Freeze) -> Self {
        freeze.to_string()
    }
}

impl std::str::FromStr for Freeze {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "encoder" => Ok(Self::Encoder),
            None if text == "embedding" => Ok(Self::Embedding),
            Some(("layers", n)) if n.parse::<usize>().is_ok_and(|n| n > 0) => {
                Ok(Self::Layers(n.parse().unwrap_or(1)))
            }
            _ => Err(format!(
                "'{text}' cannot be frozen; use none, embedding, encoder or layers:N"
            )),
        }
    }
}

impl TryFrom<String> for Freeze {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

/// Order of the cells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Sampling {
    /// Every cell once per epoch, in random order.
    #[default]
    Shuffled,
    /// The same with adjacent rows of the file kept together, for one pass over a compressed file
    /// that is too large to pack.
    Blocks {
        /// Adjacent cells that stay together.
        block: usize,
        /// Number of cells, from random blocks, that are shuffled together.
        window: usize,
    },
    /// Drawn with replacement, cells of rare classes more often (scPRINT, reference C1).
    Balanced {
        /// Column of obs with the classes.
        column: String,
        /// A class of `c` cells has weight `scaler · c / (c + scaler)`.
        scaler: f64,
    },
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            minibatch: 64,
            learning_rate: 1e-3,
            warmup: 50,
            final_fraction: 0.05,
            weight_decay: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            clip: 1.0,
            checkpoint_every: 100,
            sampling: Sampling::Shuffled,
            precision: Precision::F32,
            freeze: Freeze::None,
            validation: None,
        }
    }
}

impl TrainConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`TrainError::Config`] names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        const OF: &str = "train.";
        let fail = |what: String| Err(TrainError::Config(format!("{OF}{what}")));
        for (name, steps, least) in [
            ("steps", self.steps, 0),
            ("warmup", self.warmup, 0),
            ("checkpoint_every", self.checkpoint_every, 1),
            ("validation.every", self.validation().every, 1),
            ("validation.patience", self.validation().patience, 0),
        ] {
            if !(least..=MOST_STEPS).contains(&steps) {
                return fail(format!(
                    "{name} = {steps}; must lie between {least} and {MOST_STEPS}"
                ));
            }
        }
        ranges::sizes(OF, &[("minibatch", self.minibatch)])?;
        let rate = ("learning_rate", self.learning_rate);
        ranges::positive(OF, &[rate])?;
        ranges::finite(OF, &[rate])?;
        ranges::shares(OF, &[("final_fraction", self.final_fraction)])?;
        ranges::not_negative(
            OF,
            &[("weight_decay", self.weight_decay), ("clip", self.clip)],
        )?;
        match &self.sampling {
            Sampling::Blocks { block, window } if *block == 0 || window < block => {
                return fail(format!(
                    "sampling: a window of {window} cells in blocks of {block}; the window must hold at \
                     least one block of at least one cell"
                ));
            }
            Sampling::Balanced { scaler, .. } if !(*scaler > 0.0 && scaler.is_finite()) => {
                return fail(format!("sampling.scaler = {scaler}; must be above 0"));
            }
            _ => {}
        }
        let betas = [("beta1", self.beta1), ("beta2", self.beta2)];
        Ok(ranges::below_one(OF, &betas)?)
    }

    /// How the best step is chosen.
    pub fn validation(&self) -> ValidationConfig {
        self.validation.unwrap_or_default()
    }

    /// The learning rate of `step`, from 1: linear warm-up, then a cosine.
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        if step <= self.warmup {
            return self.learning_rate * step as f64 / self.warmup as f64;
        }
        let span = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let at = ((step - self.warmup) as f64 / span).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * at).cos());
        self.learning_rate * (self.final_fraction + (1.0 - self.final_fraction) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_frozen_is_named() {
        let taken: BTreeSet<String> = ["genes.weight", "layers.0.w", "layers.1.w", "norm.weight"]
            .map(String::from)
            .into();
        let frozen = |text: &str| {
            let names = text.parse::<Freeze>().unwrap().of(&taken)?;
            Ok::<_, TrainError>(names.into_iter().collect::<Vec<_>>())
        };
        assert_eq!(frozen("none").unwrap(), Vec::<String>::new());
        assert_eq!(
            frozen("embedding").unwrap(),
            ["genes.weight", "norm.weight"]
        );
        assert_eq!(
            frozen("layers:1").unwrap(),
            ["genes.weight", "layers.0.w", "norm.weight"]
        );
        assert_eq!(frozen("encoder").unwrap().len(), 4);
        assert!(frozen("layers:3").is_err());
        for wrong in ["layers:0", "layers:", "layer:1", "all"] {
            assert!(wrong.parse::<Freeze>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn warms_up_and_comes_down() {
        let c = TrainConfig {
            steps: 110,
            warmup: 10,
            learning_rate: 2.0,
            ..Default::default()
        };
        assert!((c.learning_rate_at(5) - 1.0).abs() < 1e-12);
        assert!((c.learning_rate_at(10) - 2.0).abs() < 1e-12);
        assert!((c.learning_rate_at(110) - 0.1).abs() < 1e-12);
    }
}
