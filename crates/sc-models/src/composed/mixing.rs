//! Blocks that differ only in how tokens interact.

use super::config::{ComposedConfig, EncoderConfig};
use crate::error::Result;
use crate::hyena::HyenaOperator;
use crate::layers::attention::{Padding, SelfAttention};
use crate::layers::dropout::Dropout;
use crate::layers::flow::FlowAttention;
use crate::layers::gelu::gelu;
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};

/// `x += mix(LN(x))`, then `x += W₂ gelu(W₁ LN(x))`.
#[derive(Module, Debug)]
pub(super) struct Block {
    norm1: LayerNorm,
    mix: Option<Mixing>,
    norm2: LayerNorm,
    linear1: Linear,
    linear2: Linear,
    dropout: Dropout,
}

/// How tokens interact.
#[derive(Module, Debug)]
enum Mixing {
    Attention(SelfAttention),
    Flow(FlowAttention),
    Hyena(HyenaOperator),
    Mean(MeanField),
}

/// `W₂ · mean over tokens of W₁ x`, the same for all tokens.
#[derive(Module, Debug)]
struct MeanField {
    value: Linear,
    output: Linear,
}

impl Block {
    pub(super) fn new(config: &ComposedConfig, device: &Device) -> Result<Self> {
        let d = config.width;
        let norm = || LayerNorm::new(d, device);
        let linear = |from, to| Linear::new(from, to, device);
        let drop = config.dropout;
        let mix = match &config.encoder {
            EncoderConfig::Attention { heads } => Some(Mixing::Attention(SelfAttention::new(
                d, *heads, drop, device,
            ))),
            EncoderConfig::Flow { heads } => {
                Some(Mixing::Flow(FlowAttention::new(d, *heads, drop, device)))
            }
            EncoderConfig::Hyena { order, filter } => Some(Mixing::Hyena(HyenaOperator::new(
                &config.operator(*order, filter),
                device,
            )?)),
            EncoderConfig::Mean => Some(Mixing::Mean(MeanField {
                value: linear(d, d),
                output: linear(d, d),
            })),
            EncoderConfig::None => None,
        };
        Ok(Self {
            norm1: norm(),
            mix,
            norm2: norm(),
            linear1: linear(d, config.feed_forward),
            linear2: linear(config.feed_forward, d),
            dropout: Dropout::new(drop),
        })
    }

    /// Runs the block on `[minibatch, length, d]`; padding has no effect on other tokens.
    pub(super) fn forward(&self, x: Tensor<3>, padding: Option<&Tensor<2, Bool>>) -> Tensor<3> {
        let x = match &self.mix {
            Some(mix) => {
                let mixed = mix.forward(self.norm1.forward(x.clone()), padding);
                x + self.dropout.forward(mixed)
            }
            None => x,
        };
        let y = self.linear1.forward(self.norm2.forward(x.clone()));
        x + self.dropout.forward(self.linear2.forward(gelu(y)))
    }
}

impl Mixing {
    fn forward(&self, x: Tensor<3>, padding: Option<&Tensor<2, Bool>>) -> Tensor<3> {
        match self {
            Self::Attention(layer) => {
                layer.forward(x, padding.cloned().map(Padding::hidden).as_ref())
            }
            Self::Flow(layer) => layer.attend(x, padding),
            // The operator has no mask: padding is the same zeros in every cell.
            Self::Hyena(layer) => layer.forward(shown(x, padding)),
            Self::Mean(layer) => layer.forward(x, padding),
        }
    }
}

impl MeanField {
    fn forward(&self, x: Tensor<3>, padding: Option<&Tensor<2, Bool>>) -> Tensor<3> {
        let dims = x.dims();
        let mean = mean(self.value.forward(x), padding);
        self.output.forward(mean).unsqueeze_dim::<3>(1).expand(dims)
    }
}

/// Tokens with zeros at padding.
fn shown(x: Tensor<3>, padding: Option<&Tensor<2, Bool>>) -> Tensor<3> {
    match padding {
        Some(padding) => {
            let mask = padding.clone().unsqueeze_dim::<3>(2).expand(x.dims());
            x.mask_fill(mask, 0.0)
        }
        None => x,
    }
}

/// The mean over tokens without padding, `[minibatch, d]`.
pub(super) fn mean(x: Tensor<3>, padding: Option<&Tensor<2, Bool>>) -> Tensor<2> {
    let [_, l, _] = x.dims();
    let sum = shown(x, padding).sum_dim(1).squeeze_dim::<2>(1);
    match padding {
        Some(padding) => sum / padding.clone().bool_not().float().sum_dim(1).clamp_min(1.0),
        None => sum / l as f64,
    }
}
