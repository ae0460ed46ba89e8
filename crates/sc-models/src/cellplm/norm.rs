//! The norm of a cell's embedding outside the encoder.

use super::config::NormConfig;
use crate::layers::layernorm::LayerNorm;
use burn::module::Module;
use burn::nn::{GroupNorm, GroupNormConfig};
use burn::tensor::{Device, Tensor};

/// Groups of the group norm, fixed in the original.
const GROUPS: usize = 4;

/// See [`NormConfig`].
#[derive(Module, Debug)]
pub(super) enum CellNorm {
    Group(GroupNorm),
    Layer(LayerNorm),
}

impl CellNorm {
    pub(super) fn new(config: NormConfig, d: usize, device: &Device) -> Self {
        match config {
            NormConfig::Group => Self::Group(GroupNormConfig::new(GROUPS, d).init(device)),
            NormConfig::Layer => Self::Layer(LayerNorm::new(d, device)),
        }
    }

    /// Normalises every row of `[cells, d]`.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Group(norm) => norm.forward(x),
            Self::Layer(norm) => norm.forward(x),
        }
    }
}
