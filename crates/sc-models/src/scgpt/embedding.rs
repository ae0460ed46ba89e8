//! From gene ids and values to token vectors.

use super::config::{InputNorm, ScGptConfig, Scale, ValueEncoderConfig};
use crate::layers::dropout::Dropout;
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use crate::layers::lookup::lookup;
use crate::layers::norm::{Affine, BatchNorm, Phase};
use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Bool, Device, Int, Tensor};

/// Values above this are clamped, as in the original.
const MAX_VALUE: f64 = 512.0;

/// `LN(E[id])`.
#[derive(Module, Debug)]
pub(super) struct NormedEmbedding {
    embedding: Embedding,
    enc_norm: LayerNorm,
}

impl NormedEmbedding {
    pub(super) fn new(rows: usize, d: usize, device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(rows, d).init(device),
            enc_norm: LayerNorm::new(d, device),
        }
    }

    /// Looks up `ids` `[minibatch, length]`; for rows where `frozen` is true the table gets no
    /// gradient (PyTorch's `padding_idx`).
    pub(super) fn forward(
        &self,
        ids: Tensor<2, Int>,
        frozen: Option<&Tensor<2, Bool>>,
    ) -> Tensor<3> {
        let rows = lookup(&self.embedding, ids, frozen);
        self.enc_norm.forward(rows)
    }

    /// Looks up `ids` `[minibatch]`.
    pub(super) fn forward_flat(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        let [n] = ids.dims();
        let rows = self.forward(ids.reshape([n, 1]), None);
        let [_, _, d] = rows.dims();
        rows.reshape([n, d])
    }
}

/// How values are encoded; see [`ValueEncoderConfig`].
#[derive(Module, Debug)]
pub(super) enum ValueEncoder {
    Continuous(ContinuousValues),
    Category(CategoryValues),
}

/// `LN(L₂ ReLU(L₁ min(x, 512)))` with dropout.
#[derive(Module, Debug)]
pub(super) struct ContinuousValues {
    linear1: Linear,
    linear2: Linear,
    norm: LayerNorm,
    dropout: Dropout,
}

/// `LN(E[bin])`.
#[derive(Module, Debug)]
pub(super) struct CategoryValues {
    embedding: NormedEmbedding,
    pad: i64,
}

impl ValueEncoder {
    /// `None` where the value scales the gene's embedding and has no encoder.
    pub(super) fn new(config: &ScGptConfig, device: &Device) -> Option<Self> {
        let d = config.width;
        match config.value_encoder {
            ValueEncoderConfig::Continuous => Some(Self::Continuous(ContinuousValues {
                linear1: Linear::new(1, d, device),
                linear2: Linear::new(d, d, device),
                norm: LayerNorm::new(d, device),
                dropout: Dropout::new(config.dropout),
            })),
            ValueEncoderConfig::Category { bins, pad } => {
                let embedding = NormedEmbedding::new(bins, d, device);
                Some(Self::Category(CategoryValues { embedding, pad }))
            }
            ValueEncoderConfig::Scaling => None,
        }
    }

    /// Encodes `values` `[minibatch, length]` as `[minibatch, length, d]`.
    pub(super) fn forward(&self, values: Tensor<2>) -> Tensor<3> {
        match self {
            Self::Continuous(c) => {
                let x = values.unsqueeze_dim::<3>(2).clamp_max(MAX_VALUE);
                let x = relu(c.linear1.forward(x));
                c.dropout.forward(c.norm.forward(c.linear2.forward(x)))
            }
            Self::Category(c) => {
                let ids = values.int();
                let frozen = ids.clone().equal_elem(c.pad);
                c.embedding.forward(ids, Some(&frozen))
            }
        }
    }
}

/// The norm on the summed embeddings; see [`InputNorm`].
#[derive(Module, Debug)]
pub(super) enum SumNorm {
    One(BatchNorm),
    Domains(Vec<BatchNorm>),
}

impl SumNorm {
    pub(super) fn new(config: &ScGptConfig, device: &Device) -> Option<Self> {
        let norm = |epsilon, affine| BatchNorm::new(config.width, epsilon, 0.1, affine, device);
        match config.input_norm {
            InputNorm::None => None,
            InputNorm::BatchNorm { epsilon } => Some(Self::One(norm(epsilon, Affine::Learned))),
            InputNorm::DomainSpecific {
                domains,
                epsilon,
                scale,
            } => {
                let affine = || match scale {
                    Scale::Fixed => Affine::None,
                    Scale::Learned => Affine::Learned,
                };
                let norms = (0..domains).map(|_| norm(epsilon, affine()));
                Some(Self::Domains(norms.collect()))
            }
        }
    }

    /// Normalises; `domain` selects among domain-specific norms and is clamped to their number.
    pub(super) fn forward(&self, x: Tensor<3>, domain: usize, phase: Phase) -> Tensor<3> {
        match self {
            Self::One(norm) => norm.forward(x, phase),
            Self::Domains(norms) => match norms.get(domain).or(norms.last()) {
                Some(norm) => norm.forward(x, phase),
                None => x,
            },
        }
    }
}
