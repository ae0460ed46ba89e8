//! One modality's tower: features cut into patches, a pre-norm transformer, the first token.

use super::config::TowerConfig;
use crate::layers::attention::attend;
use crate::layers::dropout::Dropout;
use crate::layers::gelu::gelu;
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use crate::layers::observe::{Observer, layer_span};
use crate::layers::sparse::sparse_linear;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use sc_data::CsrMatrix;
use std::sync::Arc;

/// Modality of a tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modality {
    /// Open chromatin.
    Atac,
    /// Expression.
    Rna,
}

impl Modality {
    /// Its name in weights and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Atac => "atac",
            Self::Rna => "rna",
        }
    }
}

/// A vision transformer over patches of features.
#[derive(Module, Debug)]
pub struct Tower {
    embeddings: Embeddings,
    encoder: Encoder,
    layernorm: LayerNorm,
    pooler: Dense,
}

#[derive(Module, Debug)]
struct Embeddings {
    cls_token: Param<Tensor<3>>,
    position_embeddings: Param<Tensor<3>>,
    patch_embeddings: PatchEmbeddings,
    dropout: Dropout,
}

/// One linear layer shared by all patches.
#[derive(Module, Debug)]
struct PatchEmbeddings {
    projection: Linear,
}

#[derive(Module, Debug)]
struct Encoder {
    layer: Vec<Layer>,
}

/// `x += A(LN(x))`, then `x += W₂ GELU(W₁ LN(x))`.
#[derive(Module, Debug)]
struct Layer {
    attention: Attention,
    intermediate: Dense,
    output: Dense,
    layernorm_before: LayerNorm,
    layernorm_after: LayerNorm,
    dropout: Dropout,
}

#[derive(Module, Debug)]
struct Attention {
    attention: Projections,
    output: Dense,
}

#[derive(Module, Debug)]
struct Projections {
    query: Linear,
    key: Linear,
    value: Linear,
    heads: usize,
    dropout: Dropout,
}

/// A linear layer nested one level deeper, as in the published names.
#[derive(Module, Debug)]
struct Dense {
    dense: Linear,
}

impl Dense {
    fn new(from: usize, to: usize, device: &Device) -> Self {
        Self {
            dense: Linear::new(from, to, device),
        }
    }
}

impl Tower {
    pub(super) fn new(config: &TowerConfig, device: &Device) -> Self {
        let d = config.width;
        let norm = || LayerNorm::new(d, device).with_epsilon(config.epsilon);
        let projection = || {
            let linear = Linear::new(d, d, device);
            match config.qkv_bias {
                true => linear,
                false => linear.without_bias(),
            }
        };
        let layer = |_| Layer {
            attention: Attention {
                attention: Projections {
                    query: projection(),
                    key: projection(),
                    value: projection(),
                    heads: config.heads,
                    dropout: Dropout::new(config.attention_dropout),
                },
                output: Dense::new(d, d, device),
            },
            intermediate: Dense::new(d, config.feed_forward, device),
            output: Dense::new(config.feed_forward, d, device),
            layernorm_before: norm(),
            layernorm_after: norm(),
            dropout: Dropout::new(config.dropout),
        };
        let zeros = |n| Param::from_tensor(Tensor::zeros([1, n, d], device));
        Self {
            embeddings: Embeddings {
                cls_token: zeros(1),
                position_embeddings: zeros(config.patches + 1),
                patch_embeddings: PatchEmbeddings {
                    projection: Linear::new(config.patch(), d, device),
                },
                dropout: Dropout::new(config.dropout),
            },
            encoder: Encoder {
                layer: (0..config.layers).map(layer).collect(),
            },
            layernorm: norm(),
            pooler: Dense::new(d, d, device),
        }
    }

    /// `tanh(W x + b)` of the first token, `[cells, width]`.
    ///
    /// # Shapes
    /// - cells: `[cells, features]`
    pub fn forward(&self, cells: &CsrMatrix, modality: Modality) -> Tensor<2> {
        self.forward_observed(cells, modality, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(
        &self,
        cells: &CsrMatrix,
        modality: Modality,
        seen: &mut impl Observer,
    ) -> Tensor<2> {
        let name = modality.name();
        let patches = self.embeddings.patches(cells);
        seen.see(&format!("{name}.patch_embeddings"), &patches);
        let mut x = self.embeddings.forward(patches);
        seen.see(&format!("{name}.embeddings"), &x);
        for (i, layer) in self.encoder.layer.iter().enumerate() {
            let _span = layer_span(i);
            x = layer.forward(x);
            seen.see(&format!("{name}.layer.{i}"), &x);
        }
        let x = self.layernorm.forward(x);
        seen.see(&format!("{name}.layernorm"), &x);
        let first = x.narrow(1, 0, 1).squeeze_dim::<2>(1);
        let pooled = self.pooler.dense.forward(first).tanh();
        seen.see(&format!("{name}.pooled"), &pooled);
        pooled
    }
}

impl Embeddings {
    /// The projected patches, `[cells, patches, width]`; only non-zero features are used.
    fn patches(&self, cells: &CsrMatrix) -> Tensor<3> {
        let [_, tokens, _] = self.position_embeddings.val().dims();
        let weight = self.patch_embeddings.projection.weight.val();
        let [width, d] = weight.dims();
        let rows = Arc::new(cut(cells, tokens - 1, width));
        let x = sparse_linear(&rows, weight);
        let x = match &self.patch_embeddings.projection.bias {
            Some(bias) => x + bias.val().unsqueeze::<2>(),
            None => x,
        };
        x.reshape([cells.rows(), tokens - 1, d])
    }

    fn forward(&self, patches: Tensor<3>) -> Tensor<3> {
        let [cells, _, d] = patches.dims();
        let cls = self.cls_token.val().expand([cells, 1, d]);
        let x = Tensor::cat(vec![cls, patches], 1) + self.position_embeddings.val();
        self.dropout.forward(x)
    }
}

/// Every patch of every cell as a row, `[cells · patches, width]`.
fn cut(cells: &CsrMatrix, patches: usize, width: usize) -> CsrMatrix {
    let mut rows = CsrMatrix::empty(0, width);
    for (features, values) in cells.iter_rows() {
        let mut at = 0;
        for patch in 0..patches {
            let end = at + features[at..].partition_point(|&f| (f as usize) < (patch + 1) * width);
            let places: Vec<u32> = features[at..end]
                .iter()
                .map(|&f| f - (patch * width) as u32)
                .collect();
            rows.push_row(&places, &values[at..end]);
            at = end;
        }
    }
    rows
}

impl Layer {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let h = self.layernorm_before.forward(x.clone());
        let p = &self.attention.attention;
        let joint = Tensor::cat(
            vec![
                p.query.forward(h.clone()),
                p.key.forward(h.clone()),
                p.value.forward(h),
            ],
            2,
        );
        let context = attend(joint, p.heads, &p.dropout, None);
        let attended = self.attention.output.dense.forward(context);
        let x = x + self.dropout.forward(attended);
        let h = self.layernorm_after.forward(x.clone());
        let h = self
            .output
            .dense
            .forward(gelu(self.intermediate.dense.forward(h)));
        x + self.dropout.forward(h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_cut_in_the_order_of_the_features() {
        let cells =
            CsrMatrix::from_dense(7, &[1., 0., 2., 3., 0., 0., 4., 0., 0., 0., 0., 5., 0., 0.]);
        let rows = cut(&cells, 3, 3);
        assert_eq!((rows.rows(), rows.cols()), (6, 3));
        let expected = [
            [1., 0., 2.],
            [3., 0., 0.],
            [4., 0., 0.], // First cell, its last patch half padding.
            [0., 0., 0.],
            [0., 5., 0.],
            [0., 0., 0.],
        ];
        assert_eq!(rows.to_dense(), expected.concat());
    }
}
