//! STATE0, the only public training code of a UCE: smaller, with another decoder and data set
//! embeddings; kept unchanged to check the objective against.

use super::blocks::{Positions, Projection};
use crate::layers::attention::Padding;
use crate::layers::encoder::{Encoder, EncoderConfig, FeedForward, torch_names};
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use crate::layers::lookup::unit;
use crate::layers::observe::Observer;
use crate::uce::Sentences;
use crate::weights::Names;
use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::activation::silu;
use burn::tensor::{Device, Int, Tensor};

/// Dimension of a data set embedding.
const DATASET_DIM: usize = 16;

/// Hyperparameters of a [`State0`].
#[derive(Clone, Debug, PartialEq)]
pub struct State0Config {
    /// Rows of the token table.
    pub tokens: usize,
    /// Dimension of a protein embedding.
    pub token_dim: usize,
    /// Positions of the table.
    pub max_length: usize,
    /// Dimension of a token inside the transformer.
    pub width: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden dimension of the feed-forward layer.
    pub feed_forward: usize,
    /// Dimension of the cell embedding.
    pub output: usize,
    /// Data sets.
    pub datasets: usize,
}

/// `LN(x + W₂ SiLU(W₁ x))`, twice as wide inside.
#[derive(Module, Debug)]
struct SkipBlock {
    dense: Linear,
    intermediate_dense: Linear,
    layer_norm: LayerNorm,
}

impl SkipBlock {
    fn new(d: usize, device: &Device) -> Self {
        Self {
            dense: Linear::new(2 * d, d, device),
            intermediate_dense: Linear::new(d, 2 * d, device),
            layer_norm: LayerNorm::new(d, device),
        }
    }

    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let inside = silu(self.intermediate_dense.forward(x.clone()));
        self.layer_norm.forward(x + self.dense.forward(inside))
    }
}

/// The model of STATE0's first commit.
#[derive(Module, Debug)]
pub struct State0 {
    pe_embedding: Embedding,
    pos_encoder: Positions,
    encoder: Projection,
    transformer_encoder: Encoder,
    decoder_skip: SkipBlock,
    decoder_last: Linear,
    binary_skips: Vec<SkipBlock>,
    binary_last: Linear,
    dataset_num_embedding: Embedding,
    scale: f64,
}

impl State0 {
    /// Builds the model on `device`.
    pub fn new(config: &State0Config, device: &Device) -> Self {
        let (d, out) = (config.width, config.output);
        let encoder = EncoderConfig {
            width: d,
            layers: config.layers,
            heads: config.heads,
            feed_forward: config.feed_forward,
            dropout: 0.0,
            epsilon: 1e-5,
            activation: FeedForward::Gelu,
        };
        let inputs = d + out + DATASET_DIM;
        let table = EmbeddingConfig::new(config.tokens, config.token_dim);
        Self {
            pe_embedding: table.init(device).no_grad(),
            pos_encoder: Positions::new(config.max_length, d, device),
            encoder: Projection::new(config.token_dim, d, device),
            transformer_encoder: Encoder::new(&encoder, device),
            decoder_skip: SkipBlock::new(d, device),
            decoder_last: Linear::new(d, out, device),
            binary_skips: (0..2).map(|_| SkipBlock::new(inputs, device)).collect(),
            binary_last: Linear::new(inputs, 1, device),
            dataset_num_embedding: EmbeddingConfig::new(config.datasets, DATASET_DIM).init(device),
            scale: (d as f64).sqrt(),
        }
    }

    fn project<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        silu(self.encoder.norm.forward(self.encoder.proj.forward(x)))
    }

    /// Output of the decoder at every position, `[minibatch, length, output]`.
    ///
    /// As published, the position added to every token of cell `b` is that of `b`, not of the token.
    pub fn outputs(&self, sentences: &Sentences) -> Tensor<3> {
        self.outputs_observed(sentences, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn outputs_observed(&self, sentences: &Sentences, seen: &mut impl Observer) -> Tensor<3> {
        let [cells, _] = sentences.ids.dims();
        let proteins = unit(self.pe_embedding.forward(sentences.ids.clone()));
        let x = self.project(proteins) * self.scale + self.pos_encoder.first(cells);
        seen.see("transformer_input", &x);
        let padding = sentences.padding.clone().map(Padding::hidden);
        let x = self
            .transformer_encoder
            .forward_observed(x, padding.as_ref(), seen);
        self.decoder_last.forward(self.decoder_skip.forward(x))
    }

    /// The embedding of every cell, of length 1, `[minibatch, output]`.
    pub fn cell(&self, outputs: Tensor<3>) -> Tensor<2> {
        unit(outputs.narrow(1, 0, 1).squeeze_dim::<2>(1))
    }

    /// Logits of "the gene is expressed in the cell", `[minibatch, genes]`.
    pub fn expressed(
        &self,
        cells: Tensor<2>,
        genes: Tensor<2, Int>,
        datasets: Tensor<1, Int>,
    ) -> Tensor<2> {
        let [b, g] = genes.dims();
        let genes = self.project(self.pe_embedding.forward(genes));
        let rows = self
            .dataset_num_embedding
            .forward(datasets.reshape([b, 1]))
            .reshape([b, DATASET_DIM]);
        let spread = |x: Tensor<2>| {
            let [_, d] = x.dims();
            x.unsqueeze_dim::<3>(1).expand([b, g, d])
        };
        let x = Tensor::cat(vec![genes, spread(cells), spread(at_most_one(rows))], 2);
        let x = self.binary_skips.iter().fold(x, |x, skip| skip.forward(x));
        self.binary_last.forward(x).squeeze_dim::<2>(2)
    }
}

/// PyTorch's `max_norm = 1`: longer rows are shortened in the table itself before the look-up, so the
/// gradient is that of the shortened row.
fn at_most_one(rows: Tensor<2>) -> Tensor<2> {
    let still = rows.clone().detach();
    let norm = still.clone().square().sum_dim(1).sqrt();
    let long = norm.clone().greater_elem(1.0).float();
    let factor = (norm + 1e-7).recip();
    let scale = factor * long.clone() + (long.neg() + 1.0);
    rows + (still.clone() * scale - still)
}

/// Published names; genes go through the same projection as tokens, stored twice.
pub const STATE0_NAMES: Names = Names {
    rename,
    alias: str::to_string,
    unused: &["gene_embedding_layer."],
};

fn rename(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match parts.as_slice() {
        ["encoder", "proj", leaf] => format!("encoder.0.{leaf}"),
        ["encoder", "norm", leaf] => format!("encoder.1.{leaf}"),
        ["decoder_skip", rest @ ..] => format!("decoder.0.{}", rest.join(".")),
        ["decoder_last", leaf] => format!("decoder.1.{leaf}"),
        ["binary_skips", rest @ ..] => format!("binary_decoder.{}", rest.join(".")),
        ["binary_last", leaf] => format!("binary_decoder.2.{leaf}"),
        _ => torch_names(path),
    }
}
