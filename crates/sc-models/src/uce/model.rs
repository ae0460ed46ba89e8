//! The released model.

use super::blocks::{Decoder, Positions, Projection};
use super::config::{PaddingMode, UceConfig};
use crate::configured::Configured;
use crate::error::Result;
use crate::init::Init;
use crate::layers::attention::Padding;
use crate::layers::dropout::Dropout;
use crate::layers::encoder::{Encoder, EncoderConfig, FeedForward, torch_names};
use crate::layers::lookup::unit;
use crate::layers::observe::Observer;
use crate::weights::Names;
use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::{Bool, Device, Int, Tensor};

/// Sentences of a minibatch of cells.
#[derive(Clone, Debug)]
pub struct Sentences {
    /// Rows of the token table, `[minibatch, length]`; the first is `CLS`.
    pub ids: Tensor<2, Int>,
    /// True at padding, `[minibatch, length]`; `None` without padding.
    pub padding: Option<Tensor<2, Bool>>,
}

/// UCE.
#[derive(Module, Debug)]
pub struct Uce {
    pe_embedding: Embedding,
    pos_encoder: Positions,
    encoder: Projection,
    transformer_encoder: Encoder,
    decoder: Decoder,
    binary_decoder: Decoder,
    gene_embedding_layer: Projection,
    dropout: Dropout,
    #[module(skip)]
    padding: PaddingMode,
    scale: f64,
}

impl Uce {
    /// Builds the model on `device`; weights are set by [`crate::init::initialise`]. The token
    /// table and the positions are not trained.
    ///
    /// # Errors
    /// [`crate::ModelError::Config`] for an invalid configuration.
    pub fn new(config: &UceConfig, device: &Device) -> Result<Self> {
        config.check()?;
        let (d, out) = (config.width, config.output);
        let encoder = EncoderConfig {
            width: d,
            layers: config.layers,
            heads: config.heads,
            feed_forward: config.feed_forward,
            dropout: config.dropout,
            epsilon: 1e-5,
            activation: FeedForward::Relu,
        };
        let [b1, b2, b3] = config.binary_hidden;
        let table = EmbeddingConfig::new(config.tokens, config.token_dim);
        Ok(Self {
            pe_embedding: table.init(device).no_grad(),
            pos_encoder: Positions::new(config.max_length, d, device),
            encoder: Projection::new(config.token_dim, d, device),
            transformer_encoder: Encoder::new(&encoder, device),
            decoder: Decoder::new(
                &[d, config.decoder_hidden, out, out, out],
                config.dropout,
                device,
            ),
            binary_decoder: Decoder::new(&[out + d, b1, b2, b3, 1], config.dropout, device),
            gene_embedding_layer: Projection::new(config.token_dim, d, device),
            dropout: Dropout::new(config.dropout),
            padding: config.padding,
            scale: (d as f64).sqrt(),
        })
    }

    /// The same weights with another treatment of padding.
    pub fn with_padding(mut self, padding: PaddingMode) -> Self {
        self.padding = padding;
        self
    }

    /// The same weights with another token table, `[tokens, token_dim]`, which is not trained.
    pub fn with_table(mut self, table: Tensor<2>) -> Self {
        let id = self.pe_embedding.weight.id;
        self.pe_embedding.weight = Param::initialized(id, table).set_require_grad(false);
        self
    }

    /// Output of the transformer, `[minibatch, length, d]`.
    pub fn encode(&self, sentences: &Sentences) -> Tensor<3> {
        self.encode_observed(sentences, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn encode_observed(&self, sentences: &Sentences, seen: &mut impl Observer) -> Tensor<3> {
        let [_, length] = sentences.ids.dims();
        let proteins = unit(self.pe_embedding.forward(sentences.ids.clone()));
        let x = self.encoder.gelu_norm(proteins) * self.scale;
        let positions = self.pos_encoder.first(length).swap_dims(0, 1);
        let x = self.dropout.forward(x + positions);
        seen.see("transformer_input", &x);
        let padding = sentences.padding.clone().map(|mask| match self.padding {
            PaddingMode::Strict => Padding::hidden(mask),
            PaddingMode::Compat => Padding { mask, bias: 1.0 },
        });
        self.transformer_encoder
            .forward_observed(x, padding.as_ref(), seen)
    }

    /// The decoder on outputs of the transformer, `[.., d]` to `[.., output]`.
    pub fn decode<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.decoder.forward(x)
    }

    /// The embedding of every cell, of length 1, `[minibatch, output]`.
    pub fn embed(&self, sentences: &Sentences) -> Tensor<2> {
        self.embed_observed(sentences, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn embed_observed(&self, sentences: &Sentences, seen: &mut impl Observer) -> Tensor<2> {
        let cls = self.encode_observed(sentences, seen).narrow(1, 0, 1);
        unit(self.decode(cls.squeeze_dim::<2>(1)))
    }

    /// Genes as input of the binary decoder, `[minibatch, genes, d]`, from rows of the token table.
    pub fn genes(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.gene_embedding_layer
            .gelu_norm(self.pe_embedding.forward(ids))
    }

    /// Logits of "the gene is expressed in the cell", `[minibatch, genes]`.
    ///
    /// # Shapes
    /// - cells: `[minibatch, output]`
    /// - genes: `[minibatch, genes, d]`
    pub fn expressed(&self, cells: Tensor<2>, genes: Tensor<3>) -> Tensor<2> {
        let [b, g, _] = genes.dims();
        let [_, out] = cells.dims();
        let cells = cells.unsqueeze_dim::<3>(1).expand([b, g, out]);
        self.binary_decoder
            .forward(Tensor::cat(vec![cells, genes], 2))
            .squeeze_dim::<2>(2)
    }
}

/// Initial weights follow PyTorch's defaults.
pub const INIT: fn(&str) -> Option<Init> = |_| None;

/// Published names.
pub const NAMES: Names = Names {
    rename,
    alias: |name| name.trim_start_matches("module.").to_string(),
    unused: &[],
};

/// Modules of sequences are numbered in the original, activations included.
fn rename(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match parts.as_slice() {
        [layer @ ("encoder" | "gene_embedding_layer"), "proj", leaf] => format!("{layer}.0.{leaf}"),
        [layer @ ("encoder" | "gene_embedding_layer"), "norm", leaf] => format!("{layer}.2.{leaf}"),
        [decoder, "blocks", i, "proj", leaf] => format!("{decoder}.{i}.0.{leaf}"),
        [decoder, "blocks", i, "norm", leaf] => format!("{decoder}.{i}.1.{leaf}"),
        [decoder, "last", leaf] => format!("{decoder}.3.{leaf}"),
        _ => torch_names(path),
    }
}

impl Configured for Uce {
    type Config = UceConfig;
    const INIT: fn(&str) -> Option<Init> = INIT;
    const NAMES: Names = NAMES;

    fn empty(config: &UceConfig, device: &Device) -> Result<Self> {
        Self::new(config, device)
    }
}
