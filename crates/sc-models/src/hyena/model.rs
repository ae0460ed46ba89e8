//! scHyena: every gene of the transcriptome a token, mixed by Hyena operators.

use super::config::ScHyenaConfig;
use super::operator::HyenaOperator;
use crate::configured::Configured;
use crate::error::Result;
use crate::init::Init;
use crate::layers::dropout::Dropout;
use crate::layers::gelu::{gelu, gelu_tanh};
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use crate::layers::observe::{Observer, layer_span};
use crate::weights::Names;
use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::{Device, Int, Tensor};

/// Whole profiles of a minibatch of cells.
#[derive(Clone, Debug)]
pub struct Profiles {
    /// Gene at every position, `[minibatch or 1, genes + 1]`; the first is 0, the cell token.
    pub genes: Tensor<2, Int>,
    /// Expression at every position, `[minibatch, genes]`.
    pub values: Tensor<2>,
    /// 1 at masked values, `[minibatch, genes]`; `None` when none is masked.
    pub mask: Option<Tensor<2>>,
}

/// Outputs of the backbone.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Normalised tokens, `[minibatch, genes + 1, width]`.
    pub tokens: Tensor<3>,
    /// The cell's token, `[minibatch, width]`.
    pub cell: Tensor<2>,
}

/// The model and its head.
#[derive(Module, Debug)]
pub struct ScHyena {
    backbone: Backbone,
    regressor: Regressor,
}

#[derive(Module, Debug)]
struct Backbone {
    embeddings: ProfileEmbedding,
    layers: Vec<Block>,
    ln_f: LayerNorm,
    dropout: Dropout,
}

/// `token = E[gene] + (masked ? mask token : w x + b)`; the cell's is `E[0] + cls`.
#[derive(Module, Debug)]
struct ProfileEmbedding {
    cls_token: Param<Tensor<3>>,
    mask_token: Param<Tensor<3>>,
    feature_embeddings: Linear,
    gene_embeddings: Embedding,
    dropout: Dropout,
}

/// `x += mixer(LN(x))`, then `x += FFN(LN(x))`.
#[derive(Module, Debug)]
struct Block {
    mixer: HyenaOperator,
    mlp: FeedForward,
    norm1: LayerNorm,
    norm2: LayerNorm,
    dropout: Dropout,
}

#[derive(Module, Debug)]
struct FeedForward {
    fc1: Linear,
    fc2: Linear,
}

/// `Linear, GELU, LayerNorm, Linear` from a token to a value.
#[derive(Module, Debug)]
struct Regressor {
    hidden: Linear,
    norm: LayerNorm,
    output: Linear,
}

impl ScHyena {
    /// Builds the model on `device`; weights are set by [`crate::init::initialise`].
    ///
    /// # Errors
    /// [`crate::ModelError::Config`] for an invalid configuration.
    pub fn new(config: &ScHyenaConfig, device: &Device) -> Result<Self> {
        config.check()?;
        let d = config.width;
        let norm = |epsilon| LayerNorm::new(d, device).with_epsilon(epsilon);
        let block = |_| {
            Ok(Block {
                mixer: HyenaOperator::new(&config.operator(), device)?,
                mlp: FeedForward {
                    fc1: Linear::new(d, config.feed_forward, device),
                    fc2: Linear::new(config.feed_forward, d, device),
                },
                norm1: norm(config.epsilon),
                norm2: norm(config.epsilon),
                dropout: Dropout::new(config.dropout),
            })
        };
        let token = || Param::from_tensor(Tensor::zeros([1, 1, d], device));
        Ok(Self {
            backbone: Backbone {
                embeddings: ProfileEmbedding {
                    cls_token: token(),
                    mask_token: token(),
                    feature_embeddings: Linear::new(1, d, device),
                    gene_embeddings: EmbeddingConfig::new(
                        config.vocabulary.unwrap_or(config.tokens()),
                        d,
                    )
                    .init(device),
                    dropout: Dropout::new(config.embedding_dropout),
                },
                layers: (0..config.layers).map(block).collect::<Result<_>>()?,
                ln_f: norm(config.epsilon),
                dropout: Dropout::new(config.dropout),
            },
            regressor: Regressor {
                hidden: Linear::new(d, d, device),
                norm: norm(1e-5),
                output: Linear::new(d, 1, device),
            },
        })
    }

    /// Profiles to tokens and cell embeddings.
    pub fn encode(&self, profiles: &Profiles) -> Encoded {
        self.encode_observed(profiles, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn encode_observed(&self, profiles: &Profiles, seen: &mut impl Observer) -> Encoded {
        let mut x = self.backbone.embeddings.forward(profiles);
        seen.see("embedding", &x);
        for (i, layer) in self.backbone.layers.iter().enumerate() {
            let _span = layer_span(i);
            x = layer.forward(x);
            seen.see(&format!("block.{i}"), &x);
        }
        let tokens = self.backbone.ln_f.forward(self.backbone.dropout.forward(x));
        seen.see("final", &tokens);
        let cell = tokens.clone().narrow(1, 0, 1).squeeze_dim::<2>(1);
        seen.see("cls_embedding", &cell);
        Encoded { tokens, cell }
    }

    /// The expression at every position, `[minibatch, genes]`, from the backbone's tokens.
    pub fn predict(&self, encoded: &Encoded) -> Tensor<2> {
        let [_, l, _] = encoded.tokens.dims();
        let genes = encoded.tokens.clone().narrow(1, 1, l - 1);
        let h = gelu(self.regressor.hidden.forward(genes));
        let h = self.regressor.norm.forward(h);
        self.regressor.output.forward(h).squeeze_dim::<2>(2)
    }
}

impl ProfileEmbedding {
    fn forward(&self, profiles: &Profiles) -> Tensor<3> {
        let values = profiles.values.clone().unsqueeze_dim::<3>(2);
        let [b, g, _] = values.dims();
        let genes = self.gene_embeddings.forward(profiles.genes.clone());
        let [rows, _, d] = genes.dims();
        let genes = if rows == b {
            genes
        } else {
            genes.expand([b, g + 1, d])
        };
        let values_in = self.feature_embeddings.forward(values);
        let values_in = match &profiles.mask {
            Some(mask) => {
                let hidden = mask.clone().unsqueeze_dim::<3>(2);
                let kept = hidden.clone().neg() + 1.0;
                values_in * kept + hidden * self.mask_token.val()
            }
            None => values_in,
        };
        let cls = self.cls_token.val().expand([b, 1, d]);
        self.dropout
            .forward(Tensor::cat(vec![cls, values_in], 1) + genes)
    }
}

impl Block {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let mixed = self.mixer.forward(self.norm1.forward(x.clone()));
        let x = x + self.dropout.forward(mixed);
        let h = self.mlp.fc1.forward(self.norm2.forward(x.clone()));
        let h = self.mlp.fc2.forward(gelu_tanh(h));
        x + self.dropout.forward(h)
    }
}

/// Initial weights, as in CellPainTR: linear layers and embeddings normal with standard deviation
/// 0.02, their biases 0; the direct path of the convolutions standard normal.
pub const INIT: fn(&str) -> Option<Init> = |path| {
    let leaf = path.rsplit('.').next().unwrap_or_default();
    if path.ends_with("filter_fn.bias") {
        Some(Init::Normal(1.0))
    } else if path.contains("short_filter.") {
        // PyTorch's default for three taps.
        Some(Init::Uniform(1.0 / 3f64.sqrt()))
    } else if path.contains("norm") || path.contains("ln_f") || path.contains("regressor") {
        None
    } else if leaf == "bias" {
        Some(Init::Constant(0.0))
    } else if leaf == "weight" || leaf == "mask_token" || leaf == "cls_token" {
        Some(Init::Normal(0.02))
    } else {
        None
    }
};

/// Published names. The sines share one frequency, which PyTorch lists once for every layer.
pub const NAMES: Names = Names {
    rename,
    alias,
    unused: &[],
};

fn rename(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match parts.as_slice() {
        ["regressor", part, leaf] => {
            let place = match *part {
                "hidden" => 0,
                "norm" => 2,
                _ => 3,
            };
            format!("regressor.{place}.{leaf}")
        }
        // Linear layers alternate with sines.
        [before @ .., "implicit_filter", i, leaf] => {
            let before = before.join(".");
            let place = 2 * i.parse().unwrap_or(0usize);
            format!("{before}.implicit_filter.{place}.{leaf}")
                .trim_start_matches('.')
                .to_string()
        }
        [before @ .., "filter_fn", "freq"] => {
            format!("{}.filter_fn.implicit_filter.1.freq", before.join("."))
                .trim_start_matches('.')
                .to_string()
        }
        _ => path.to_string(),
    }
}

/// Every sine's frequency is the first one's; distributed checkpoints prefix all names with
/// `module.`.
fn alias(name: &str) -> String {
    let name = name.trim_start_matches("module.");
    match name.split_once(".implicit_filter.") {
        Some((before, rest)) if rest.ends_with(".freq") => {
            format!("{before}.implicit_filter.1.freq")
        }
        _ => name.to_string(),
    }
}

impl Configured for ScHyena {
    type Config = ScHyenaConfig;
    const INIT: fn(&str) -> Option<Init> = INIT;
    const NAMES: Names = NAMES;

    fn empty(config: &ScHyenaConfig, device: &Device) -> Result<Self> {
        Self::new(config, device)
    }
}
