//! The whole model.

use super::config::{CellEmbedding, ScGptConfig};
use super::embedding::{NormedEmbedding, SumNorm, ValueEncoder};
use super::heads::{
    Activation, CellDecoder, Classifier, ExpressionDecoder, Prediction, reverse_gradient,
};
use crate::configured::Configured;
use crate::error::Result;
use crate::init::Init;
use crate::layers::attention::Padding;
use crate::layers::encoder::{Encoder, EncoderConfig, EncoderLayer, FeedForward, torch_names};
use crate::layers::norm::Phase;
use crate::layers::observe::Observer;
use crate::weights::Names;
use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::{Bool, Device, Int, Tensor};

/// Rows after the modalities: padding, `<cls>`, `<eoc>`.
pub const SPECIAL_MODALITIES: usize = 3;

/// Tokens of a minibatch of cells.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Gene of every token, `[minibatch, length]`; the first is `<cls>`.
    pub genes: Tensor<2, Int>,
    /// Value of every token, `[minibatch, length]`: bin, −1 masked, −2 padding.
    pub values: Tensor<2>,
    /// True at padding, `[minibatch, length]`; `None` without padding.
    pub padding: Option<Tensor<2, Bool>>,
    /// True where the gene is the padding token, whose embedding is not trained; `None` if nowhere.
    pub frozen: Option<Tensor<2, Bool>>,
    /// Sequencing batch of every cell, `[minibatch]`, for models that use it.
    pub batches: Option<Tensor<1, Int>>,
    /// Modality of every token, `[minibatch, length]`, for models of several; padding and `<cls>`
    /// have the ids after the modalities.
    pub modalities: Option<Tensor<2, Int>>,
    /// The domain of the minibatch, for domain-specific norms.
    pub domain: usize,
}

/// Encoder output and cell embedding.
#[derive(Clone, Debug)]
pub struct Output {
    /// Output of the last block, `[minibatch, length, d]`.
    pub tokens: Tensor<3>,
    /// The cell embedding, `[minibatch, d]`.
    pub cell: Tensor<2>,
    /// Normed gene embeddings of the input, `[minibatch, length, d]`.
    pub(super) genes: Tensor<3>,
}

/// Everything the heads predict.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// Encoder output.
    pub encoded: Output,
    /// Values from tokens (gene expression prediction, GEP).
    pub expression: Prediction,
    /// Values from the cell embedding (GEPC, also called MVC).
    pub from_cell: Option<Prediction>,
    /// Class logits, `[minibatch, classes]`.
    pub classes: Option<Tensor<2>>,
    /// The adversary's batch logits, `[minibatch, batches]`.
    pub batches: Option<Tensor<2>>,
}

/// scGPT, or scFormer by configuration.
#[derive(Module, Debug)]
pub struct ScGpt {
    encoder: NormedEmbedding,
    value_encoder: Option<ValueEncoder>,
    flag_encoder: Option<Embedding>,
    pub(super) batch_encoder: Option<NormedEmbedding>,
    pub(super) mod_encoder: Option<NormedEmbedding>,
    norm: Option<SumNorm>,
    transformer_encoder: Encoder,
    decoder: ExpressionDecoder,
    cls_decoder: Option<Classifier>,
    mvc_decoder: Option<CellDecoder>,
    grad_reverse_discriminator: Option<Classifier>,
    weighted_pool: bool,
    average_pool: bool,
}

impl ScGpt {
    /// Builds the model on `device`; weights are set by [`crate::init::initialise`].
    ///
    /// # Errors
    /// [`crate::ModelError::Config`] for an invalid configuration.
    pub fn new(config: &ScGptConfig, device: &Device) -> Result<Self> {
        config.check()?;
        let d = config.width;
        let some = |n: usize| (n > 0).then_some(n);
        let zero = config.explicit_zero_probability;
        // Batch and modality covariates widen the input of the decoders.
        let double = |known: bool| if known { 2 * d } else { d };
        let queries = double(config.modalities > 0);
        let input = double(config.batch_labels > 0 || config.modalities > 0);
        Ok(Self {
            encoder: NormedEmbedding::new(config.tokens, d, device),
            value_encoder: ValueEncoder::new(config, device),
            flag_encoder: config
                .generative
                .then(|| EmbeddingConfig::new(2, d).init(device)),
            batch_encoder: some(config.batch_labels).map(|n| NormedEmbedding::new(n, d, device)),
            mod_encoder: some(config.modalities)
                .map(|n| NormedEmbedding::new(n + SPECIAL_MODALITIES, d, device)),
            norm: SumNorm::new(config, device),
            transformer_encoder: Encoder::new(&encoder_config(config), device),
            decoder: ExpressionDecoder::new(input, d, zero, device),
            cls_decoder: some(config.classes)
                .map(|n| Classifier::new(d, n, config.class_layers, Activation::Relu, device)),
            mvc_decoder: config
                .mvc
                .map(|style| CellDecoder::new(style, queries, input, zero, device)),
            grad_reverse_discriminator: some(config.adversary_batches)
                .map(|n| Classifier::new(d, n, 3, Activation::LeakyRelu, device)),
            weighted_pool: config.cell_embedding == CellEmbedding::WeightedPool,
            average_pool: config.cell_embedding == CellEmbedding::AvgPool,
        })
    }

    /// Tokens to encoder output and cell embedding.
    pub fn encode(&self, tokens: &Tokens, phase: Phase) -> Output {
        self.encode_observed(tokens, phase, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn encode_observed(
        &self,
        tokens: &Tokens,
        phase: Phase,
        seen: &mut impl Observer,
    ) -> Output {
        let (genes, x) = self.embed_tokens(tokens, seen);
        let x = match &self.norm {
            Some(norm) => norm.forward(x, tokens.domain, phase),
            None => x,
        };
        seen.see("emb.total", &x);
        let padding = tokens.padding.clone().map(Padding::hidden);
        let x = self
            .transformer_encoder
            .forward_observed(x, padding.as_ref(), seen);
        let cell = self.pool(&x, tokens);
        seen.see("cell_emb", &cell);
        Output {
            tokens: x,
            cell,
            genes,
        }
    }

    /// Normed gene embeddings, and their sum with the values, `[minibatch, length, d]` each.
    pub(super) fn embed_tokens(
        &self,
        tokens: &Tokens,
        seen: &mut impl Observer,
    ) -> (Tensor<3>, Tensor<3>) {
        let genes = self.embed_genes(tokens.genes.clone(), tokens.frozen.as_ref());
        seen.see("emb.gene", &genes);
        let values = tokens.values.clone();
        let sum = match &self.value_encoder {
            Some(encoder) => {
                let values = encoder.forward(values);
                seen.see("emb.value", &values);
                genes.clone() + values
            }
            None => {
                seen.see("emb.value", &values);
                genes.clone() * values.unsqueeze_dim::<3>(2)
            }
        };
        (genes, sum)
    }

    pub(super) fn embed_genes(
        &self,
        genes: Tensor<2, Int>,
        frozen: Option<&Tensor<2, Bool>>,
    ) -> Tensor<3> {
        self.encoder.forward(genes, frozen)
    }

    /// The flag vector of target genes, `[1, 1, d]`, in generative models.
    pub(super) fn flag(&self) -> Option<Tensor<3>> {
        let flags = self.flag_encoder.as_ref()?.weight.val();
        Some(flags.narrow(0, 1, 1).unsqueeze_dim::<3>(0))
    }

    pub(super) fn layers(&self) -> &[EncoderLayer] {
        self.transformer_encoder.layers()
    }

    pub(super) fn values(&self, x: Tensor<3>) -> Prediction {
        self.decoder.forward(x)
    }

    pub(super) fn values_from_cell(&self, cell: Tensor<2>, genes: Tensor<3>) -> Option<Prediction> {
        self.mvc_decoder.as_ref().map(|d| d.forward(cell, genes))
    }

    pub(super) fn pool(&self, x: &Tensor<3>, tokens: &Tokens) -> Tensor<2> {
        if self.average_pool {
            return x.clone().mean_dim(1).squeeze_dim::<2>(1);
        }
        if self.weighted_pool {
            let weighted = x.clone() * tokens.values.clone().unsqueeze_dim::<3>(2);
            let sum = weighted.sum_dim(1).squeeze_dim::<2>(1);
            let norm = sum.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
            return sum / norm;
        }
        x.clone().narrow(1, 0, 1).squeeze_dim::<2>(1)
    }

    /// Class logits of cells `[minibatch, d]`, `[minibatch, classes]`, where there is a classifier.
    pub fn classify(&self, cell: Tensor<2>) -> Option<Tensor<2>> {
        self.cls_decoder.as_ref().map(|d| d.forward(cell))
    }

    /// The adversary's batch logits of cells `[minibatch, d]`, `[minibatch, batches]`, where there is
    /// one; its gradient is reversed on the way to the cell embedding.
    pub fn guess_batches(&self, cell: Tensor<2>) -> Option<Tensor<2>> {
        let adversary = self.grad_reverse_discriminator.as_ref()?;
        Some(adversary.forward(reverse_gradient(cell)))
    }

    /// Tokens to all predictions of the configured heads.
    pub fn forward(&self, tokens: &Tokens, phase: Phase) -> Outputs {
        self.forward_observed(tokens, phase, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(
        &self,
        tokens: &Tokens,
        phase: Phase,
        seen: &mut impl Observer,
    ) -> Outputs {
        let encoded = self.encode_observed(tokens, phase, seen);
        let seen = self.with_known(&encoded, tokens);
        let expression = self.decoder.forward(seen.tokens);
        let from_cell = (self.mvc_decoder.as_ref()).map(|d| d.forward(seen.cell, seen.genes));
        let classes = self.classify(encoded.cell.clone());
        let batches = self.guess_batches(encoded.cell.clone());
        Outputs {
            encoded,
            expression,
            from_cell,
            classes,
            batches,
        }
    }
}

pub(super) fn encoder_config(config: &ScGptConfig) -> EncoderConfig {
    EncoderConfig {
        width: config.width,
        layers: config.layers,
        heads: config.heads,
        feed_forward: config.feed_forward,
        dropout: config.dropout,
        epsilon: 1e-5,
        activation: FeedForward::Relu,
    }
}

/// Initial weights where they differ from PyTorch's defaults.
pub const INIT: fn(&str) -> Option<Init> =
    |path| (path == "encoder.embedding.weight").then_some(Init::Uniform(0.1));

/// Published names. The generative flag of pretraining checkpoints has no use outside the
/// two-stream pass.
pub const NAMES: Names = Names {
    rename,
    alias,
    unused: &["flag_encoder."],
};

fn rename(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match parts.as_slice() {
        // Linear layers alternate with activations.
        ["decoder", stack, i, leaf] => format!("decoder.{stack}.{}.{leaf}", 2 * number(i)),
        // (Linear, ReLU, LayerNorm) repeated.
        [head, "hidden", i, leaf] => format!("{head}._decoder.{}.{leaf}", 3 * number(i)),
        [head, "norms", i, leaf] => format!("{head}._decoder.{}.{leaf}", 3 * number(i) + 2),
        ["mvc_decoder", "w", leaf] => format!("mvc_decoder.W.{leaf}"),
        ["mvc_decoder", "w_zero_logit", leaf] => format!("mvc_decoder.W_zero_logit.{leaf}"),
        ["norm", .., i, leaf] if i.parse::<usize>().is_ok() => format!("dsbn.bns.{i}.{leaf}"),
        ["norm", .., leaf] => format!("bn.{leaf}"),
        ["value_encoder", "Category", "embedding", rest @ ..]
        | ["value_encoder", "Continuous", rest @ ..] => {
            format!("value_encoder.{}", rest.join("."))
        }
        _ => torch_names(path),
    }
}

/// Checkpoints made with flash attention name the joint projection `Wqkv`, those of its second
/// version below `_impl`, and distributed ones prefix everything with `module.`.
fn alias(name: &str) -> String {
    name.trim_start_matches("module.")
        .replace("self_attn._impl.", "self_attn.")
        .replace("self_attn.Wqkv.", "self_attn.in_proj_")
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or(0)
}

impl Configured for ScGpt {
    type Config = ScGptConfig;
    const INIT: fn(&str) -> Option<Init> = INIT;
    const NAMES: Names = NAMES;

    fn empty(config: &ScGptConfig, device: &Device) -> Result<Self> {
        Self::new(config, device)
    }
}
