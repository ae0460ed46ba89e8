//! BERT over ranked genes, and its masked-gene head.

use super::config::GeneformerConfig;
use crate::configured::Configured;
use crate::error::Result;
use crate::init::Init;
use crate::layers::attention::Padding;
use crate::layers::dropout::Dropout;
use crate::layers::encoder::{Encoder, EncoderConfig, FeedForward, torch_names};
use crate::layers::gelu::gelu;
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use crate::layers::lookup::lookup;
use crate::layers::observe::Observer;
use crate::weights::Names;
use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Bool, Device, Int, Tensor};

/// Epsilon of the norms.
const EPSILON: f64 = 1e-12;

/// Tokens of a minibatch of cells.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Token ids, `[minibatch, length]`, at most `context_length` long.
    pub ids: Tensor<2, Int>,
    /// True at padding, `[minibatch, length]`; `None` without padding.
    pub padding: Option<Tensor<2, Bool>>,
}

/// Geneformer: embeddings, transformer and masked-gene head.
#[derive(Module, Debug)]
pub struct Geneformer {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    embedding_norm: LayerNorm,
    encoder: Encoder,
    transform: Linear,
    transform_norm: LayerNorm,
    bias: Param<Tensor<1>>,
    dropout: Dropout,
    #[module(skip)]
    activation: FeedForward,
    #[module(skip)]
    pooled_from_last: usize,
}

impl Geneformer {
    /// Builds the model on `device`; weights are set by [`crate::init::initialise`].
    ///
    /// # Errors
    /// [`crate::ModelError::Config`] for an invalid configuration.
    pub fn new(config: &GeneformerConfig, device: &Device) -> Result<Self> {
        config.check()?;
        let d = config.width;
        let encoder = EncoderConfig {
            width: d,
            layers: config.layers,
            heads: config.heads,
            feed_forward: config.feed_forward,
            dropout: config.dropout,
            epsilon: EPSILON,
            activation: config.activation.into(),
        };
        let table = |rows: usize| EmbeddingConfig::new(rows, d).init(device);
        let norm = || LayerNorm::new(d, device).with_epsilon(EPSILON);
        Ok(Self {
            word_embeddings: table(config.tokens),
            position_embeddings: table(config.context_length),
            token_type_embeddings: table(2),
            embedding_norm: norm(),
            encoder: Encoder::new(&encoder, device),
            transform: Linear::new(d, d, device),
            transform_norm: norm(),
            bias: Param::from_tensor(Tensor::zeros([config.tokens], device)),
            dropout: Dropout::new(config.dropout),
            activation: config.activation.into(),
            pooled_from_last: config.pooled_from_last,
        })
    }

    /// Output of every block, first to last, `[minibatch, length, d]` each.
    pub fn encode(&self, tokens: &Tokens) -> Vec<Tensor<3>> {
        self.encode_observed(tokens, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn encode_observed(&self, tokens: &Tokens, seen: &mut impl Observer) -> Vec<Tensor<3>> {
        let [_, length] = tokens.ids.dims();
        let padding = tokens.padding.as_ref();
        let words = lookup(&self.word_embeddings, tokens.ids.clone(), padding);
        let rows = |of: &Embedding, n: usize| {
            let table = of.weight.val();
            table.narrow(0, 0, n).unsqueeze_dim::<3>(0)
        };
        // Every token is of the first type.
        let sum =
            words + rows(&self.token_type_embeddings, 1) + rows(&self.position_embeddings, length);
        let x = self.dropout.forward(self.embedding_norm.forward(sum));
        seen.see("embedding_output", &x);
        let padding = padding.cloned().map(Padding::hidden);
        self.encoder.outputs_observed(x, padding.as_ref(), seen)
    }

    /// Output of the last block, `[minibatch, length, d]`.
    pub fn last(&self, tokens: &Tokens) -> Tensor<3> {
        self.last_observed(tokens, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn last_observed(&self, tokens: &Tokens, seen: &mut impl Observer) -> Tensor<3> {
        let mut outputs = self.encode_observed(tokens, seen);
        outputs.pop().expect("invariant: there is a block")
    }

    /// Gene logits, `[positions, tokens]`, of the outputs `[positions, d]`:
    /// `LN(f(x W + b)) Eᵀ + c` with the word table `E`.
    pub fn logits(&self, outputs: Tensor<2>) -> Tensor<2> {
        let x = self.transform.forward(outputs);
        let x = match self.activation {
            FeedForward::Relu => relu(x),
            FeedForward::Gelu => gelu(x),
        };
        let x = self.transform_norm.forward(x);
        let table = self.word_embeddings.weight.val();
        x.matmul(table.transpose()) + self.bias.val().unsqueeze_dim::<2>(0)
    }

    /// The embedding of every cell, `[minibatch, d]`: the mean over its tokens of a block's output.
    pub fn embed(&self, tokens: &Tokens) -> Tensor<2> {
        self.embed_observed(tokens, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn embed_observed(&self, tokens: &Tokens, seen: &mut impl Observer) -> Tensor<2> {
        let mut outputs = self.encode_observed(tokens, seen);
        let x = outputs.swap_remove(outputs.len() - 1 - self.pooled_from_last);
        let [b, _, d] = x.dims();
        match &tokens.padding {
            None => x.mean_dim(1).reshape([b, d]),
            Some(padding) => {
                let kept = padding.clone().bool_not().float();
                let count = kept.clone().sum_dim(1).clamp_min(1.0);
                let sum = (x * kept.unsqueeze_dim::<3>(2)).sum_dim(1).reshape([b, d]);
                sum / count
            }
        }
    }
}

/// Normals of 0.02 for tables and linear layers, as in BERT.
pub const INIT: fn(&str) -> Option<Init> = |path| {
    let is_weight = path.ends_with(".weight") && !path.contains("norm");
    is_weight.then_some(Init::Normal(0.02))
};

/// Stored names are those of the modules; importing renames Hugging Face's.
pub const NAMES: Names = Names {
    rename: torch_names,
    alias: str::to_string,
    unused: &[],
};

impl Configured for Geneformer {
    type Config = GeneformerConfig;
    const INIT: fn(&str) -> Option<Init> = INIT;
    const NAMES: Names = NAMES;

    fn empty(config: &GeneformerConfig, device: &Device) -> Result<Self> {
        Self::new(config, device)
    }
}
