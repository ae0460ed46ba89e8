//! scGPT for perturbations (`TransformerGenerator`): input are values of a control cell and flags
//! of the perturbed genes, output are values of the perturbed cell.
//!
//! Source: reference/scformer-scgpt-cellplm.md A2.3.

use super::config::ScGptConfig;
use super::embedding::{NormedEmbedding, ValueEncoder};
use super::heads::ExpressionDecoder;
use super::model::{NAMES, Tokens, encoder_config};
use crate::configured::Configured;
use crate::error::Result;
use crate::init::Init;
use crate::layers::attention::Padding;
use crate::layers::encoder::Encoder;
use crate::layers::lookup::lookup;
use crate::layers::observe::Observer;
use crate::weights::{Names, replace};
use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::{Device, Int, Tensor};

/// Flags of a gene: not perturbed, perturbed, padding.
const FLAGS: usize = 3;

/// scGPT with perturbation flags and an affine decoder.
#[derive(Module, Debug)]
pub struct Perturb {
    encoder: NormedEmbedding,
    value_encoder: Option<ValueEncoder>,
    pert_encoder: Embedding,
    transformer_encoder: Encoder,
    decoder: AffineDecoder,
    pert_pad: usize,
}

/// `coefficient(h) · value + bias(h)`.
#[derive(Module, Debug)]
struct AffineDecoder {
    coeff_decoder: ExpressionDecoder,
    bias_decoder: ExpressionDecoder,
}

/// Flag of an unperturbed gene, whose vector is not trained.
pub const NOT_PERTURBED: usize = 0;

impl Perturb {
    /// Builds the model on `device`; only sizes and the value encoder of the configuration are
    /// used. The flag `pert_pad` has a vector that is not trained.
    ///
    /// # Errors
    /// [`crate::ModelError::Config`] for an invalid configuration.
    pub fn new(config: &ScGptConfig, pert_pad: usize, device: &Device) -> Result<Self> {
        config.check()?;
        let d = config.width;
        let decoder = || ExpressionDecoder::new(d, d, false, device);
        Ok(Self {
            encoder: NormedEmbedding::new(config.tokens, d, device),
            value_encoder: ValueEncoder::new(config, device),
            pert_encoder: EmbeddingConfig::new(FLAGS, d).init(device),
            transformer_encoder: Encoder::new(&encoder_config(config), device),
            decoder: AffineDecoder {
                coeff_decoder: decoder(),
                bias_decoder: decoder(),
            },
            pert_pad,
        })
    }

    /// With 0 for the vector of the untrained flag, the initial value in PyTorch.
    pub fn without_padding_vector(mut self) -> Self {
        let pad = self.pert_pad;
        self.pert_encoder.weight = self.pert_encoder.weight.map(|w| {
            let [_, d] = w.dims();
            let zero = Tensor::zeros([1, d], &w.device());
            let without = w.clone().detach().slice_assign([pad..pad + 1, 0..d], zero);
            replace(&w, without)
        });
        self
    }

    /// Predicted values, `[minibatch, length]`; `flags` `[minibatch, length]` say which genes are
    /// perturbed.
    pub fn forward(&self, tokens: &Tokens, flags: Tensor<2, Int>) -> Tensor<2> {
        self.forward_observed(tokens, flags, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(
        &self,
        tokens: &Tokens,
        flags: Tensor<2, Int>,
        seen: &mut impl Observer,
    ) -> Tensor<2> {
        let x = self.encode_observed(tokens, flags, seen);
        let part = |decoder: &ExpressionDecoder| decoder.forward(x.clone()).value;
        let coefficient = part(&self.decoder.coeff_decoder);
        let bias = part(&self.decoder.bias_decoder);
        seen.see("decoder.coeff", &coefficient);
        seen.see("decoder.bias", &bias);
        coefficient * tokens.values.clone() + bias
    }

    /// Output of the transformer, `[minibatch, length, d]`.
    pub fn encode(&self, tokens: &Tokens, flags: Tensor<2, Int>) -> Tensor<3> {
        self.encode_observed(tokens, flags, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn encode_observed(
        &self,
        tokens: &Tokens,
        flags: Tensor<2, Int>,
        seen: &mut impl Observer,
    ) -> Tensor<3> {
        let genes = self
            .encoder
            .forward(tokens.genes.clone(), tokens.frozen.as_ref());
        seen.see("emb.gene", &genes);
        let untrained = flags.clone().equal_elem(self.pert_pad as i64);
        let flags = lookup(&self.pert_encoder, flags, Some(&untrained));
        seen.see("emb.pert", &flags);
        let values = tokens.values.clone();
        let x = match &self.value_encoder {
            Some(encoder) => {
                let values = encoder.forward(values);
                seen.see("emb.value", &values);
                genes + values
            }
            None => genes * values.unsqueeze_dim::<3>(2),
        };
        let x = x + flags;
        seen.see("emb.total", &x);
        let padding = tokens.padding.clone().map(Padding::hidden);
        self.transformer_encoder
            .forward_observed(x, padding.as_ref(), seen)
    }
}

/// Published names; the classifier is stored but unused.
pub const PERTURB_NAMES: Names = Names {
    rename,
    unused: &["cls_decoder.", "flag_encoder.", "mvc_decoder."],
    ..NAMES
};

fn rename(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match parts.as_slice() {
        ["decoder", which, "fc", i, leaf] => {
            let i: usize = i.parse().unwrap_or(0);
            format!("decoder.{which}.fc.{}.{leaf}", 2 * i)
        }
        _ => (NAMES.rename)(path),
    }
}

impl Configured for Perturb {
    type Config = ScGptConfig;
    const INIT: fn(&str) -> Option<Init> = super::model::INIT;
    const NAMES: Names = PERTURB_NAMES;

    fn empty(config: &ScGptConfig, device: &Device) -> Result<Self> {
        Self::new(config, NOT_PERTURBED, device)
    }
}
