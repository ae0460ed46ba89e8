//! Settings of a training run.

use crate::error::{Result, TrainError};
use sc_models::precision::Precision;
use sc_models::ranges;
use serde::{Deserialize, Serialize};

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
