//! The whole model.

use super::config::CellPlmConfig;
use super::decoder::{Covariates, Decoder, NegativeBinomial};
use super::embedder::Embedder;
use super::latent::{Latent, LatentNoise, LatentOutput};
use crate::configured::Configured;
use crate::error::Result;
use crate::init::Init;
use crate::layers::flow::FlowformerLayer;
use crate::layers::layernorm::LayerNorm;
use crate::layers::norm::Phase;
use crate::layers::observe::{Observer, layer_span};
use crate::weights::Names;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use sc_data::CsrMatrix;
use std::sync::Arc;

/// CellPLM: embedder, encoder, latent and head.
#[derive(Module, Debug)]
pub struct CellPlm {
    embedder: Embedder,
    encoder: Encoder,
    pre_latent_norm: PreLatentNorm,
    latent: Latent,
    decoder: Option<Decoder>,
}

#[derive(Module, Debug)]
struct Encoder {
    layers: Vec<FlowformerLayer>,
}

#[derive(Module, Debug)]
struct PreLatentNorm {
    norm: LayerNorm,
}

/// Output for a sentence.
#[derive(Clone, Debug)]
pub struct Output {
    /// Latent, its loss and the loss's parts.
    pub latent: LatentOutput,
    /// Decoded counts, for negative-binomial decoders.
    pub counts: Option<NegativeBinomial>,
    /// Output of a perceptron head, `[cells, outputs]`.
    pub logits: Option<Tensor<2>>,
}

/// One sentence of cells.
#[derive(Clone, Debug)]
pub struct Sentence {
    /// `log1p` of the (masked) counts, `[cells, columns]`.
    pub log_counts: Arc<CsrMatrix>,
    /// Vocabulary row of every column; `None` when columns are the vocabulary.
    pub genes: Option<Vec<u32>>,
    /// Covariates for the decoder.
    pub covariates: Covariates,
    /// Noise of the latent; with `None` its mean is used.
    pub noise: Option<LatentNoise>,
    /// Factor of the KL of a plain VAE (the original warms it up from 0 to 1).
    pub kl_weight: f64,
}

impl CellPlm {
    /// Builds the model on `device`; weights are set by [`crate::init::initialise`].
    ///
    /// # Errors
    /// [`crate::ModelError::Config`] for an invalid configuration.
    pub fn new(config: &CellPlmConfig, device: &Device) -> Result<Self> {
        config.check()?;
        let CellPlmConfig {
            genes,
            hidden,
            heads,
            dropout,
            latent_dim,
            ..
        } = *config;
        let layer = |_| FlowformerLayer::new(hidden, heads, dropout, device);
        Ok(Self {
            embedder: Embedder::new(genes, hidden, config.norm, dropout, device),
            encoder: Encoder {
                layers: (0..config.layers).map(layer).collect(),
            },
            pre_latent_norm: PreLatentNorm {
                norm: LayerNorm::new(hidden, device),
            },
            latent: Latent::new(&config.latent, hidden, latent_dim, device),
            decoder: Decoder::new(
                &config.head,
                latent_dim,
                genes,
                config.norm,
                dropout,
                device,
            ),
        })
    }

    /// Runs one sentence; cells attend to each other.
    ///
    /// # Shapes
    /// - latent: `[cells, latent_dim]`
    /// - counts: `[cells, genes]` over the whole vocabulary
    pub fn forward(&self, sentence: &Sentence, phase: Phase) -> Output {
        self.forward_observed(sentence, phase, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(
        &self,
        sentence: &Sentence,
        phase: Phase,
        seen: &mut impl Observer,
    ) -> Output {
        let latent = self.encode_observed(sentence, phase, seen);
        let (mut counts, mut logits) = (None, None);
        match &self.decoder {
            Some(Decoder::Nb(d)) => {
                counts = Some(d.forward_observed(latent.z.clone(), &sentence.covariates, seen));
            }
            Some(Decoder::Mlp(d)) => logits = Some(d.forward(latent.z.clone())),
            None => {}
        }
        Output {
            latent,
            counts,
            logits,
        }
    }

    /// The latent only, as needed for embeddings.
    pub fn encode(&self, sentence: &Sentence, phase: Phase) -> LatentOutput {
        self.encode_observed(sentence, phase, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn encode_observed(
        &self,
        sentence: &Sentence,
        phase: Phase,
        seen: &mut impl Observer,
    ) -> LatentOutput {
        let mut x =
            self.embedder
                .forward_observed(&sentence.log_counts, sentence.genes.as_deref(), seen);
        for (i, layer) in self.encoder.layers.iter().enumerate() {
            let _span = layer_span(i);
            x = layer.forward(x);
            seen.see(&format!("enc.layer.{i}"), &x);
        }
        let x = self.pre_latent_norm.norm.forward(x);
        seen.see("pre_latent_norm", &x);
        self.latent
            .forward_observed(x, sentence.noise.as_ref(), sentence.kl_weight, phase, seen)
    }
}

/// Initial weights where they differ from PyTorch's defaults.
pub const INIT: fn(&str) -> Option<Init> =
    |path| (path == "embedder.feat_enc.emb").then_some(Init::Normal(0.005));

/// Published names; the unused ones are dead parameters and the positional table that the released
/// code multiplies by zero.
pub const NAMES: Names = Names {
    rename,
    alias: str::to_string,
    unused: &["embedder.norm0.", "embedder.pe_enc."],
};

fn rename(path: &str) -> String {
    // The kind of norm is not part of its name.
    let path = path.replace(".Group.", ".").replace(".Layer.", ".");
    let path = FlowformerLayer::rename(&path);
    if let Some(rest) = path.strip_prefix("latent.") {
        return format!("latent.layers.1.{}", latent_name(rest));
    }
    if let Some(rest) = path.strip_prefix("decoder.") {
        return decoder_name(rest);
    }
    path.replace("embedder.linear.", "embedder.extra_linear.0.")
        .replace("embedder.norm.", "embedder.extra_linear.3.")
}

fn latent_name(rest: &str) -> String {
    let (part, leaf) = rest.rsplit_once('.').unwrap_or((rest, ""));
    let part = match part.rsplit('.').next().unwrap_or(part) {
        "lat_2lat" => "lat_2lat.0",
        "logits" => "inference.inference_qyx.0.logits",
        "posterior" => "inference.inference_qzyx.0",
        "mu" => "inference.inference_qzyx.2.mu",
        "var" => "inference.inference_qzyx.2.var",
        "y_mu" => "inference.y_mu",
        "y_var" => "inference.y_var",
        other => other,
    };
    format!("{part}.{leaf}")
}

fn decoder_name(rest: &str) -> String {
    let rest = rest.trim_start_matches("Nb.").trim_start_matches("Mlp.");
    let parts: Vec<&str> = rest.split('.').collect();
    match parts.as_slice() {
        ["mlp", i, leaf] => {
            // Dropout, linear, activation: three entries per layer, the linear one in the middle.
            let i: usize = i.parse().unwrap_or(0);
            format!("head.mlp.{}.{leaf}", 1 + 3 * i)
        }
        ["layers", i, part, leaf] => {
            let index = match *part {
                "linear" => 0,
                "slope" => 1,
                _ => 3,
            };
            format!("decoder.layers.{i}.{index}.{leaf}")
        }
        ["covariate_layers", i, which, part, leaf] => {
            let index = match *part {
                "embedding" => 0,
                "slope" => 1,
                _ => 2,
            };
            format!("decoder.covariate_layers.{i}.{which}.{index}.{leaf}")
        }
        ["out_layer", "dec_mean", leaf] => format!("decoder.out_layer.dec_mean.0.{leaf}"),
        _ => format!("decoder.{rest}"),
    }
}

impl Configured for CellPlm {
    type Config = CellPlmConfig;
    const INIT: fn(&str) -> Option<Init> = INIT;
    const NAMES: Names = NAMES;

    fn empty(config: &CellPlmConfig, device: &Device) -> Result<Self> {
        Self::new(config, device)
    }
}
