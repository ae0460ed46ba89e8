//! The network of metric learning, and the block used by all SATURN networks.

use super::config::{Latent, SaturnConfig};
use super::model::Saturn;
use crate::layers::dropout::Dropout;
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

/// `Dropout(ReLU(LN(Linear(x))))`.
#[derive(Module, Debug)]
pub(super) struct Block {
    linear: Linear,
    norm: LayerNorm,
    dropout: Dropout,
}

impl Block {
    pub(super) fn new(input: usize, output: usize, dropout: f64, device: &Device) -> Self {
        Self {
            linear: Linear::new(input, output, device),
            norm: LayerNorm::new(output, device),
            dropout: Dropout::new(dropout),
        }
    }

    /// `[rows, input]` to `[rows, output]`.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.norm.forward(self.linear.forward(x));
        self.dropout.forward(relu(x))
    }
}

/// The blocks of an encoder of macrogenes.
pub(super) fn encoder(config: &SaturnConfig, device: &Device) -> Vec<Block> {
    let mut blocks = vec![Block::new(
        config.macrogenes,
        config.hidden,
        config.dropout,
        device,
    )];
    if config.latent == Latent::Point {
        let (hidden, d) = (config.hidden, config.embedding);
        blocks.push(Block::new(hidden, d, config.dropout, device));
    }
    blocks
}

/// The layers to mean and log-variance, where the latent has them.
pub(super) fn moments(config: &SaturnConfig, device: &Device) -> [Option<Linear>; 2] {
    let linear = || {
        (config.latent == Latent::Normal)
            .then(|| Linear::new(config.hidden, config.embedding, device))
    };
    [linear(), linear()]
}

/// The encoder alone, trained on triplets.
///
/// It takes macrogene values, computed once by the autoencoder; its norm is part of the published
/// weights, but unused.
#[derive(Module, Debug)]
pub struct SaturnMetric {
    pub(super) cl_layer_norm: LayerNorm,
    pub(super) encoder: Vec<Block>,
    pub(super) fc_var: Option<Linear>,
    pub(super) fc_mu: Option<Linear>,
}

impl SaturnMetric {
    /// A network on `device` with its own weights.
    pub fn new(config: &SaturnConfig, device: &Device) -> Self {
        let [fc_mu, fc_var] = moments(config, device);
        Self {
            cl_layer_norm: LayerNorm::new(config.macrogenes, device),
            encoder: encoder(config, device),
            fc_var,
            fc_mu,
        }
    }

    /// A network initialised from the encoder of `model`.
    pub fn of(model: &Saturn) -> Self {
        model.metric()
    }

    /// Macrogenes `[cells, macrogenes]` to the embedding `[cells, embedding]`.
    pub fn forward(&self, macrogenes: Tensor<2>) -> Tensor<2> {
        let h = self.encoder.iter().fold(macrogenes, |x, b| b.forward(x));
        match &self.fc_mu {
            Some(mu) => mu.forward(h),
            None => h,
        }
    }
}
