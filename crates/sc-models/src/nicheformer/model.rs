//! The transformer and its masked-token head.

use super::config::{CONTEXT_TOKENS, Context, NicheformerConfig, Pooling};
use crate::configured::Configured;
use crate::error::Result;
use crate::init::Init;
use crate::layers::attention::Padding;
use crate::layers::dropout::Dropout;
use crate::layers::encoder::{Encoder, EncoderConfig, FeedForward, torch_names};
use crate::layers::linear::Linear;
use crate::layers::lookup::lookup;
use crate::layers::observe::Observer;
use crate::weights::Names;
use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::{Bool, Device, Int, Tensor};

/// Id of padding, whose row of the table is not trained.
pub const PAD: i64 = 1;

/// Tokens of a minibatch of cells.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Token ids, `[minibatch, length]`, context first; at most `context_length` long.
    pub ids: Tensor<2, Int>,
    /// True at padding, `[minibatch, length]`; `None` without padding.
    pub padding: Option<Tensor<2, Bool>>,
}

impl Tokens {
    /// Tokens with padding at [`PAD`].
    pub fn new(ids: Tensor<2, Int>) -> Self {
        let padding = Some(ids.clone().equal_elem(PAD));
        Self { ids, padding }
    }
}

/// Nicheformer: transformer and masked-token head.
#[derive(Module, Debug)]
pub struct Nicheformer {
    embeddings: Embedding,
    positional_embedding: Embedding,
    encoder: Encoder,
    classifier_head: Linear,
    dropout: Dropout,
    #[module(skip)]
    pooling: Pooling,
}

impl Nicheformer {
    /// Builds the model on `device`; weights are set by [`crate::init::initialise`].
    ///
    /// # Errors
    /// [`crate::ModelError::Config`] for an invalid configuration.
    pub fn new(config: &NicheformerConfig, device: &Device) -> Result<Self> {
        config.check()?;
        let encoder = EncoderConfig {
            width: config.width,
            layers: config.layers,
            heads: config.heads,
            feed_forward: config.feed_forward,
            dropout: config.dropout,
            epsilon: 1e-12,
            activation: FeedForward::Relu,
        };
        Ok(Self {
            embeddings: EmbeddingConfig::new(config.table, config.width).init(device),
            positional_embedding: EmbeddingConfig::new(config.context_length, config.width)
                .init(device),
            encoder: Encoder::new(&encoder, device),
            classifier_head: Linear::new(config.width, config.tokens, device),
            dropout: Dropout::new(config.dropout),
            pooling: config.pooling,
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
        let rows = lookup(&self.embeddings, tokens.ids.clone(), padding);
        let positions = self.positional_embedding.weight.val();
        let positions = positions.narrow(0, 0, length).unsqueeze_dim::<3>(0);
        let x = self.dropout.forward(rows + positions);
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
        self.encode_observed(tokens, seen)
            .swap_remove(self.encoder.layers().len() - 1)
    }

    /// Token logits, `[positions, tokens]`, of the outputs `[positions, d]`.
    pub fn logits(&self, outputs: Tensor<2>) -> Tensor<2> {
        self.classifier_head.forward(outputs)
    }

    /// The embedding of every cell, `[minibatch, d]`, from a block's output `[minibatch, length,
    /// d]`.
    pub fn pool(&self, x: Tensor<3>, tokens: &Tokens, context: Context) -> Tensor<2> {
        let [b, length, d] = x.dims();
        let skip = match context {
            Context::Without => CONTEXT_TOKENS.min(length - 1),
            Context::With => 0,
        };
        let x = x.narrow(1, skip, length - skip);
        match (&tokens.padding, self.pooling) {
            (Some(padding), Pooling::Masked) => {
                let kept = padding.clone().bool_not().float();
                let kept = kept.narrow(1, skip, length - skip);
                let count = kept.clone().sum_dim(1).clamp_min(1.0);
                let sum = (x * kept.unsqueeze_dim::<3>(2)).sum_dim(1).reshape([b, d]);
                sum / count
            }
            _ => x.mean_dim(1).reshape([b, d]),
        }
    }

    /// The same weights with another pooling.
    pub fn with_pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = pooling;
        self
    }
}

/// Linear layers are Xavier-normal in the original; a normal of PyTorch's scale serves as well and
/// needs no shape.
pub const INIT: fn(&str) -> Option<Init> = |path| match path {
    "embeddings.weight" | "positional_embedding.weight" => Some(Init::Normal(0.02)),
    _ => None,
};

/// Published names. The template of the blocks and two heads are stored but never used.
pub const NAMES: Names = Names {
    rename: torch_names,
    alias,
    unused: &["encoder_layer.", "cls_head.", "pooler_head."],
};

/// Files on Hugging Face prefix everything but the head with `nicheformer.`.
fn alias(name: &str) -> String {
    let name = name.strip_prefix("nicheformer.").unwrap_or(name);
    name.strip_prefix("backbone.").unwrap_or(name).to_string()
}

impl Configured for Nicheformer {
    type Config = NicheformerConfig;
    const INIT: fn(&str) -> Option<Init> = INIT;
    const NAMES: Names = NAMES;

    fn empty(config: &NicheformerConfig, device: &Device) -> Result<Self> {
        Self::new(config, device)
    }
}
