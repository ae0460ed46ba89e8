//! Tokens to vectors: gene, value if any, and position if informative.

use super::config::ComposedConfig;
use crate::layers::gelu::gelu;
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::{Bool, Device, Int, Tensor};

/// Tokens of a minibatch of cells; the first of each is the cell token.
#[derive(Clone, Debug)]
pub struct Sequences {
    /// Row of the token table, `[minibatch, length]`.
    pub ids: Tensor<2, Int>,
    /// Value of every token, `[minibatch, length]`, for tokens that have one.
    pub values: Option<Tensor<2>>,
    /// 1 at masked values, `[minibatch, length]`; `None` when none is masked.
    pub hidden: Option<Tensor<2>>,
    /// True at padding, `[minibatch, length]`; `None` without.
    pub padding: Option<Tensor<2, Bool>>,
}

/// `x = LN(E[gene]) + LN(W₂ gelu(W₁ value)) + P[position]`; a masked value is a learned vector.
#[derive(Module, Debug)]
pub(super) struct TokenEmbedding {
    genes: Embedding,
    gene_norm: LayerNorm,
    values: Option<Values>,
    positions: Option<Embedding>,
}

#[derive(Module, Debug)]
struct Values {
    first: Linear,
    second: Linear,
    norm: LayerNorm,
    hidden: Param<Tensor<1>>,
}

impl TokenEmbedding {
    pub(super) fn new(config: &ComposedConfig, device: &Device) -> Self {
        let d = config.width;
        let norm = || LayerNorm::new(d, device);
        Self {
            genes: EmbeddingConfig::new(config.tokens, d).init(device),
            gene_norm: norm(),
            values: config.values.then(|| Values {
                first: Linear::new(1, d, device),
                second: Linear::new(d, d, device),
                norm: norm(),
                hidden: Param::from_tensor(Tensor::zeros([d], device)),
            }),
            positions: config
                .positions
                .then(|| EmbeddingConfig::new(config.length, d).init(device)),
        }
    }

    /// Gene embeddings, `[minibatch, n, d]`.
    pub(super) fn genes(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.gene_norm.forward(self.genes.forward(ids))
    }

    /// Token embeddings, `[minibatch, length, d]`.
    pub(super) fn forward(&self, tokens: &Sequences) -> Tensor<3> {
        let mut x = self.genes(tokens.ids.clone());
        let [b, l, d] = x.dims();
        if let (Some(encoder), Some(values)) = (&self.values, &tokens.values) {
            x = x + encoder.forward(values.clone(), tokens.hidden.as_ref());
        }
        if let Some(table) = &self.positions {
            let places = table.weight.val().narrow(0, 0, l);
            x = x + places.unsqueeze_dim::<3>(0).expand([b, l, d]);
        }
        x
    }
}

impl Values {
    fn forward(&self, values: Tensor<2>, hidden: Option<&Tensor<2>>) -> Tensor<3> {
        let x = self.first.forward(values.unsqueeze_dim::<3>(2));
        let x = self.norm.forward(self.second.forward(gelu(x)));
        let Some(hidden) = hidden else {
            return x;
        };
        let [b, l, d] = x.dims();
        let hidden = hidden.clone().unsqueeze_dim::<3>(2);
        let instead = self.hidden.val().reshape([1, 1, d]).expand([b, l, d]);
        x * (hidden.clone().neg() + 1.0) + instead * hidden
    }
}
