//! The autoencoder.

use super::config::{Conditioning, SaturnConfig};
use super::metric::{Block, SaturnMetric, encoder, moments};
use crate::configured::Configured;
use crate::error::{ModelError, Result};
use crate::init::Init;
use crate::layers::dropout::Dropout;
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use crate::layers::named::Named;
use crate::layers::observe::{Observer, layer_span};
use crate::layers::softmax::scaled_softmax;
use crate::layers::sparse::sparse_linear;
use crate::weights::{Names, replace};
use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use sc_data::CsrMatrix;
use std::sync::Arc;

/// Dimension of the gene embeddings that are compared with protein embeddings, fixed in the
/// original.
const GENE_EMBEDDING: usize = 256;

/// Cells of one species.
#[derive(Clone, Debug)]
pub struct Cells {
    /// Index of the species in the configuration.
    pub species: usize,
    /// Counts of this species' genes, `[cells, genes]`.
    pub counts: Arc<CsrMatrix>,
    /// Sequencing batch of every cell, where the decoder is conditioned on it.
    pub batches: Vec<u32>,
    /// Factors of the macrogenes, `[cells, macrogenes]`, 0 or 1/(1−p); without them dropout draws
    /// its own in training.
    pub keep: Option<Tensor<2>>,
    /// Standard normal, `[cells, embedding]`, to sample a [`super::Latent::Normal`]; without it the
    /// mean is used.
    pub noise: Option<Tensor<2>>,
}

/// Output of the autoencoder.
#[derive(Clone, Debug)]
pub struct Output {
    /// Macrogene values, `[cells, macrogenes]`.
    pub macrogenes: Tensor<2>,
    /// The embedding, `[cells, embedding]`; the sample, where one was drawn.
    pub z: Tensor<2>,
    /// Mean and log-variance of the latent, where it has them, `[cells, embedding]`.
    pub moments: Option<[Tensor<2>; 2]>,
    /// Mean of every count, `[cells, genes of the species]`.
    pub mean: Tensor<2>,
    /// Dispersion of every gene, `[1, genes of the species]`.
    pub dispersion: Tensor<2>,
    /// Logit of zero inflation, `[cells, genes of the species]`.
    pub zero_logits: Tensor<2>,
}

/// SATURN's autoencoder.
#[derive(Module, Debug)]
pub struct Saturn {
    p_weights: Param<Tensor<2>>,
    expr_filler: Param<Tensor<1>>,
    cl_layer_norm: LayerNorm,
    encoder: Vec<Block>,
    fc_var: Option<Linear>,
    fc_mu: Option<Linear>,
    px_decoder: Vec<Block>,
    cl_scale_decoder: Block,
    px_dropout_decoders: Named<Vec<Linear>>,
    px_rs: Named<Param<Tensor<1>>>,
    p_weights_embeddings: Vec<Block>,
    dropout: Dropout,
    #[module(skip)]
    config: SaturnConfig,
}

impl Saturn {
    /// Builds the model on `device`; weights are set by [`crate::init::initialise`], those of
    /// the macrogenes for [`Saturn::with_macrogenes`].
    ///
    /// # Errors
    /// [`ModelError::Config`] for an invalid configuration.
    pub fn new(config: &SaturnConfig, device: &Device) -> Result<Self> {
        config.check()?;
        let (m, h, p) = (config.macrogenes, config.hidden, config.dropout);
        let [fc_mu, fc_var] = moments(config, device);
        let decoder_input = config.embedding + config.species.len() + config.batches;
        let filler = Param::from_tensor(Tensor::zeros([config.genes()], device));
        Ok(Self {
            p_weights: Initializer::Zeros.init([m, config.genes()], device),
            expr_filler: filler.set_require_grad(false),
            cl_layer_norm: LayerNorm::new(m, device),
            encoder: encoder(config, device),
            fc_var,
            fc_mu,
            px_decoder: vec![Block::new(decoder_input, h, p, device)],
            cl_scale_decoder: Block::new(h, m, config.scale_dropout, device),
            px_dropout_decoders: Named::new(config.species.iter().map(|s| {
                let head = Linear::new(h, s.genes, device);
                (s.name.clone(), vec![head])
            })),
            px_rs: Named::new(config.species.iter().map(|s| {
                let start = Param::from_tensor(Tensor::zeros([s.genes], device));
                (s.name.clone(), start)
            })),
            p_weights_embeddings: vec![Block::new(m, GENE_EMBEDDING, p, device)],
            dropout: Dropout::new(p),
            config: config.clone(),
        })
    }

    /// The same model with these logarithms of macrogene weights, `[macrogenes, genes]`, row-major.
    ///
    /// # Errors
    /// [`ModelError::Weights`] when their number does not match the model.
    pub fn with_macrogenes(mut self, weights: Vec<f32>) -> Result<Self> {
        let shape = self.p_weights.lazy_shape().to_vec();
        if weights.len() != shape.iter().product::<usize>() {
            return Err(ModelError::Weights(format!(
                "{} macrogene weights, but {shape:?} of macrogenes and genes are needed",
                weights.len()
            )));
        }
        let device = self.p_weights.lazy_device();
        let new = Tensor::<2>::from_data(TensorData::new(weights, shape), &device);
        self.p_weights = self.p_weights.map(|old| replace(&old, new));
        Ok(self)
    }

    /// Weights of genes in macrogenes: `exp` of the parameters, `[genes, macrogenes]`.
    ///
    /// Computed once per step and shared by the species of the minibatch.
    pub fn gene_weights(&self) -> Tensor<2> {
        self.p_weights.val().transpose().exp()
    }

    /// Embeddings of genes, to compare with those of their proteins, `[genes, 256]`.
    pub fn gene_embeddings(&self, gene_weights: Tensor<2>) -> Tensor<2> {
        let blocks = self.p_weights_embeddings.iter();
        blocks.fold(gene_weights, |x, b| b.forward(x))
    }

    /// A metric-learning network initialised from this encoder.
    pub(super) fn metric(&self) -> SaturnMetric {
        SaturnMetric {
            cl_layer_norm: self.cl_layer_norm.clone(),
            encoder: self.encoder.clone(),
            fc_var: self.fc_var.clone(),
            fc_mu: self.fc_mu.clone(),
        }
    }

    /// Macrogene values `[cells, macrogenes]`:
    /// `Dropout(ReLU(LN(log(1+x) · exp(W)ᵀ)))` over the genes of the species.
    pub fn macrogenes(&self, gene_weights: &Tensor<2>, cells: &Cells) -> Tensor<2> {
        let genes = self.genes_of(gene_weights, cells.species);
        let logged = Arc::new((*cells.counts).clone().map_values(f32::ln_1p));
        let x = relu(self.cl_layer_norm.forward(sparse_linear(&logged, genes)));
        match &cells.keep {
            Some(keep) => x * keep.clone(),
            None => self.dropout.forward(x),
        }
    }

    /// Macrogene values `[cells, macrogenes]` to the embedding `[cells, embedding]`.
    pub fn encode(&self, macrogenes: Tensor<2>) -> Tensor<2> {
        self.metric().forward(macrogenes)
    }

    /// Cells to their embedding, `[cells, embedding]`: the mean where the latent has one.
    pub fn embed(&self, gene_weights: &Tensor<2>, cells: &Cells) -> Tensor<2> {
        self.encode(self.macrogenes(gene_weights, cells))
    }

    /// Full forward pass. `gene_weights` are those of [`Saturn::gene_weights`].
    ///
    /// # Errors
    /// [`ModelError::Config`] when the cells' species is not one of the model's.
    pub fn forward(&self, gene_weights: &Tensor<2>, cells: &Cells) -> Result<Output> {
        self.forward_observed(gene_weights, cells, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(
        &self,
        gene_weights: &Tensor<2>,
        cells: &Cells,
        seen: &mut impl Observer,
    ) -> Result<Output> {
        let (Some(zeros), Some(dispersion)) = (
            self.px_dropout_decoders.at(cells.species),
            self.px_rs.at(cells.species),
        ) else {
            return Err(ModelError::Config(format!(
                "cells of species {}, but the model has {} species",
                cells.species,
                self.config.species.len()
            )));
        };
        let macrogenes = self.macrogenes(gene_weights, cells);
        seen.see("x", &macrogenes);
        let mut h = macrogenes.clone();
        for (i, block) in self.encoder.iter().enumerate() {
            let _span = layer_span(i);
            h = block.forward(h);
            seen.see(&format!("encoder{i}"), &h);
        }
        let (z, moments) = self.latent(h, cells.noise.as_ref(), seen);
        seen.see("z", &z);
        let covariates = self.covariates(cells, &z.device());
        let input = Tensor::cat(vec![z.clone(), covariates], 1);
        let hidden = self.px_decoder.iter().fold(input, |x, b| b.forward(x));
        seen.see("decoder_hidden", &hidden);
        let scale = self.cl_scale_decoder.forward(hidden.clone());
        seen.see("cl_scale", &scale);
        let genes = self.genes_of(gene_weights, cells.species).transpose();
        let totals: Vec<f32> = cells.counts.row_sums().iter().map(|&s| s as f32).collect();
        let mean = scaled_softmax(scale.matmul(genes), &totals);
        let dispersion = dispersion.val().exp().unsqueeze_dim::<2>(0);
        let zero_logits = zeros.iter().fold(hidden, |x, l| l.forward(x));
        seen.see("mu", &mean);
        seen.see("theta", &dispersion);
        seen.see("zi_logits", &zero_logits);
        Ok(Output {
            macrogenes,
            z,
            moments,
            mean,
            dispersion,
            zero_logits,
        })
    }

    fn latent(
        &self,
        h: Tensor<2>,
        noise: Option<&Tensor<2>>,
        seen: &mut impl Observer,
    ) -> (Tensor<2>, Option<[Tensor<2>; 2]>) {
        let (Some(mu), Some(log_var)) = (&self.fc_mu, &self.fc_var) else {
            return (h, None);
        };
        let (mu, log_var) = (mu.forward(h.clone()), log_var.forward(h));
        seen.see("fc_mu", &mu);
        seen.see("fc_var", &log_var);
        let z = match noise {
            Some(noise) => noise.clone() * (log_var.clone() * 0.5).exp() + mu.clone(),
            None => mu.clone(),
        };
        (z, Some([mu, log_var]))
    }

    /// Weights of the genes of one species, `[genes of the species, macrogenes]`.
    fn genes_of(&self, gene_weights: &Tensor<2>, species: usize) -> Tensor<2> {
        let length = self.config.species[species].genes;
        let first = self.config.first_gene(species);
        gene_weights.clone().narrow(0, first, length)
    }

    /// One-hot species and batch of every cell, `[cells, species + batches]`.
    fn covariates(&self, cells: &Cells, device: &Device) -> Tensor<2> {
        let (species, batches) = (self.config.species.len(), self.config.batches);
        let (n, width) = (cells.counts.rows(), species + batches);
        let mut covariates = vec![0f32; n * width];
        for (i, row) in covariates.chunks_exact_mut(width).enumerate() {
            let (own, batch) = match self.config.conditioning {
                Conditioning::Constant => (0, 0),
                Conditioning::Own => {
                    let batch = cells.batches.get(i).map_or(0, |&b| b as usize);
                    (cells.species, batch)
                }
            };
            row[own.min(species - 1)] = 1.0;
            if batches > 0 {
                row[species + batch.min(batches - 1)] = 1.0;
            }
        }
        Tensor::from_data(TensorData::new(covariates, [n, width]), device)
    }
}

/// Initial weights where they differ from PyTorch's defaults.
pub const INIT: fn(&str) -> Option<Init> =
    |path| path.starts_with("px_rs.").then_some(Init::Normal(1.0));

/// Published names.
pub const NAMES: Names = Names {
    rename,
    alias: |name| name.to_string(),
    unused: &[],
};

/// A block is a sequence in the original, so its layers are numbered.
fn rename(path: &str) -> String {
    let mut parts: Vec<&str> = path.split('.').collect();
    let layer = parts.len().saturating_sub(2);
    match parts.get(layer) {
        Some(&"linear") => parts[layer] = "0",
        Some(&"norm") => parts[layer] = "1",
        _ => {}
    }
    parts.join(".")
}

impl Configured for Saturn {
    type Config = SaturnConfig;
    const INIT: fn(&str) -> Option<Init> = INIT;
    const NAMES: Names = NAMES;

    fn empty(config: &SaturnConfig, device: &Device) -> Result<Self> {
        Self::new(config, device)
    }
}
