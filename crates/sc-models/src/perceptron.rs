//! Perceptrons on whole cells: the supervised classifier, the autoencoder, and Islander (Wang et al.,
//! Nature Biotechnology 2025), which is both at once and shows how integration metrics can be
//! gamed.
//!
//! Source: reference/schyena-scclip-evaluation.md B(a).

use crate::configured::Configured;
use crate::error::{ModelError, Result};
use crate::init::Init;
use crate::layers::linear::Linear;
use crate::layers::norm::Phase;
use crate::layers::observe::Observer;
use crate::layers::sequential::{Layer, Sequential, torch_names};
use crate::ranges;
use crate::weights::Names;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use sc_data::CsrMatrix;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Hyperparameters of a [`Perceptron`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerceptronConfig {
    /// Genes.
    pub genes: usize,
    /// Widths of the encoder's hidden layers; the decoder has them in reverse.
    pub hidden: Vec<usize>,
    /// Dimension of the cell embedding.
    pub latent: usize,
    /// Whether it has a decoder.
    pub decoder: bool,
    /// Number of classes; 0 for no classifier.
    pub classes: usize,
    /// Dropout after the encoder's hidden layers; 0 for no such layer.
    pub dropout: f64,
    /// Epsilon of the batch norms.
    pub epsilon: f64,
    /// Weight of the new value in running statistics.
    pub momentum: f64,
}

impl Default for PerceptronConfig {
    fn default() -> Self {
        Self {
            genes: 0,
            hidden: vec![128],
            latent: 16,
            decoder: false,
            classes: 0,
            dropout: 0.1,
            epsilon: 1e-5,
            momentum: 0.1,
        }
    }
}

impl PerceptronConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        const OF: &str = "perceptron: network.";
        ranges::sizes(OF, &[("genes", self.genes)])?;
        ranges::widths(OF, &[("latent", self.latent)])?;
        let hidden: Vec<(&str, usize)> = self.hidden.iter().map(|&h| ("hidden", h)).collect();
        ranges::widths(OF, &hidden)?;
        ranges::below_one(OF, &[("dropout", self.dropout)])?;
        ranges::positive(OF, &[("epsilon", self.epsilon)])?;
        ranges::shares(OF, &[("momentum", self.momentum)])?;
        if self.classes == 1 {
            return Err(ModelError::Config(
                "perceptron: classes = 1; a classifier needs at least two".into(),
            ));
        }
        Ok(())
    }

    fn stack(&self, widths: &[usize], dropout: bool) -> Vec<Layer> {
        let mut layers = Vec::new();
        for (i, &[from, to]) in widths.array_windows().enumerate() {
            layers.push(Layer::Linear { from, to });
            if i + 2 < widths.len() {
                layers.push(Layer::BatchNorm {
                    channels: to,
                    epsilon: self.epsilon,
                    momentum: self.momentum,
                });
                layers.push(Layer::Relu);
                if dropout && self.dropout > 0.0 {
                    layers.push(Layer::Dropout(self.dropout));
                }
            }
        }
        layers
    }
}

/// Encoder, with optional decoder and classifier.
#[derive(Module, Debug)]
pub struct Perceptron {
    encoder: Sequential,
    decoder: Option<Sequential>,
    projector: Option<Linear>,
}

impl Perceptron {
    /// Builds the model on `device`; weights are set by [`crate::init::initialise`].
    ///
    /// # Errors
    /// [`ModelError::Config`] for an invalid configuration.
    pub fn new(config: &PerceptronConfig, device: &Device) -> Result<Self> {
        config.check()?;
        let mut widths = vec![config.genes];
        widths.extend(&config.hidden);
        widths.push(config.latent);
        let encoder = config.stack(&widths, true);
        widths.reverse();
        let mut decoder = config.stack(&widths, false);
        // Expression is not negative.
        decoder.push(Layer::Relu);
        let classes = config.classes;
        Ok(Self {
            encoder: Sequential::new(&encoder, device),
            decoder: config.decoder.then(|| Sequential::new(&decoder, device)),
            projector: (classes > 0).then(|| Linear::new(config.latent, classes, device)),
        })
    }

    /// The embedding of every cell, `[cells, latent]`.
    pub fn encode(&self, cells: &Arc<CsrMatrix>, phase: Phase) -> Tensor<2> {
        self.encode_observed(cells, phase, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn encode_observed(
        &self,
        cells: &Arc<CsrMatrix>,
        phase: Phase,
        seen: &mut impl Observer,
    ) -> Tensor<2> {
        self.encoder
            .forward_sparse_observed(cells, phase, "encoder", seen)
    }

    /// Expression, `[cells, genes]`, if there is a decoder.
    pub fn decode(&self, latent: Tensor<2>, phase: Phase) -> Option<Tensor<2>> {
        self.decode_observed(latent, phase, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn decode_observed(
        &self,
        latent: Tensor<2>,
        phase: Phase,
        seen: &mut impl Observer,
    ) -> Option<Tensor<2>> {
        let decoder = self.decoder.as_ref()?;
        Some(decoder.forward_observed(latent, phase, "decoder", seen))
    }

    /// Class logits, `[cells, classes]`, if there is a classifier.
    pub fn classify(&self, latent: Tensor<2>) -> Option<Tensor<2>> {
        self.projector.as_ref().map(|p| p.forward(latent))
    }
}

/// Initial weights follow PyTorch's defaults.
pub const INIT: fn(&str) -> Option<Init> = |_| None;

/// Islander's names.
pub const NAMES: Names = Names {
    rename: torch_names,
    alias: str::to_string,
    unused: &[],
};

impl Configured for Perceptron {
    type Config = PerceptronConfig;
    const INIT: fn(&str) -> Option<Init> = INIT;
    const NAMES: Names = NAMES;

    fn empty(config: &PerceptronConfig, device: &Device) -> Result<Self> {
        Self::new(config, device)
    }
}
