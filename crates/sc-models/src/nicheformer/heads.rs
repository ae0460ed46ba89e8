//! Heads on the pooled output: cell type composition, density or class of the niche.

use super::config::{Combine, Context, HeadConfig, NicheformerConfig};
use super::model::{Nicheformer, Tokens};
use crate::configured::Configured;
use crate::error::{ModelError, Result};
use crate::init::Init;
use crate::layers::linear::Linear;
use crate::layers::observe::Observer;
use crate::weights::Names;
use burn::module::Module;
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Tensor};

/// A Nicheformer with a linear head (`FineTuningModel`).
#[derive(Module, Debug)]
pub struct NicheHead {
    /// The transformer.
    pub backbone: Nicheformer,
    pooler_head: Option<Linear>,
    linear_head: Linear,
    #[module(skip)]
    layers: Vec<usize>,
    #[module(skip)]
    combine: Combine,
    #[module(skip)]
    context: Context,
}

/// Output of a head.
#[derive(Clone, Debug)]
pub struct Predicted {
    /// Output of the head, `[minibatch, outputs]`.
    pub output: Tensor<2>,
    /// Pooled without the context positions, before the extractor, `[minibatch, d]`.
    pub representation: Tensor<2>,
}

impl NicheHead {
    /// A head of `width` on `backbone`, which has `layers` blocks.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a block that does not exist.
    pub fn new(
        backbone: Nicheformer,
        (width, layers): (usize, usize),
        config: &HeadConfig,
        device: &Device,
    ) -> Result<Self> {
        if let Some(k) = config.layers.iter().find(|&&k| k >= layers) {
            return Err(ModelError::Config(format!(
                "nicheformer: head.layers contains block {k}, but there are {layers}, counted from 0"
            )));
        }
        let chosen = match config.layers.len() {
            0 => vec![layers - 1],
            _ => config.layers.clone(),
        };
        let inputs = match config.combine {
            Combine::Concat => width * chosen.len(),
            _ => width,
        };
        let dense = || Linear::new(inputs, inputs, device);
        let head = Linear::new(inputs, config.outputs, device).without_bias();
        Ok(Self {
            backbone,
            pooler_head: config.extractor.then(dense),
            linear_head: head,
            layers: chosen,
            combine: config.combine,
            context: config.context,
        })
    }

    /// Predicts from tokens.
    pub fn forward(&self, tokens: &Tokens) -> Predicted {
        self.forward_observed(tokens, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(&self, tokens: &Tokens, seen: &mut impl Observer) -> Predicted {
        let outputs = self.backbone.encode_observed(tokens, seen);
        let chosen: Vec<Tensor<3>> = self.layers.iter().map(|&k| outputs[k].clone()).collect();
        let count = chosen.len() as f64;
        let combined = match self.combine {
            Combine::Concat => Tensor::cat(chosen, 2),
            Combine::Sum => sum(chosen),
            Combine::Mean => sum(chosen) / count,
        };
        let representation = self
            .backbone
            .pool(combined.clone(), tokens, Context::Without);
        let pooled = match self.context {
            Context::Without => representation.clone(),
            Context::With => self.backbone.pool(combined, tokens, Context::With),
        };
        let pooled = match &self.pooler_head {
            Some(dense) => tanh(dense.forward(pooled)),
            None => pooled,
        };
        Predicted {
            output: self.linear_head.forward(pooled),
            representation,
        }
    }
}

/// Hyperparameters of a [`NicheHead`] and its backbone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NicheConfig {
    /// The transformer.
    pub backbone: NicheformerConfig,
    /// The head.
    pub head: HeadConfig,
}

impl Configured for NicheHead {
    type Config = NicheConfig;
    const INIT: fn(&str) -> Option<Init> = super::model::INIT;
    // Heads keep the prefix of the backbone, which published files may or may not have.
    const NAMES: Names = Names {
        alias: str::to_string,
        ..super::model::NAMES
    };

    fn empty(config: &NicheConfig, device: &Device) -> Result<Self> {
        let backbone = Nicheformer::new(&config.backbone, device)?;
        let sizes = (config.backbone.width, config.backbone.layers);
        Self::new(backbone, sizes, &config.head, device)
    }
}

/// The sum of at least one tensor.
fn sum(mut tensors: Vec<Tensor<3>>) -> Tensor<3> {
    let first = tensors.swap_remove(0);
    tensors.into_iter().fold(first, |s, t| s + t)
}
