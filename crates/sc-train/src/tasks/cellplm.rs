//! CellPLM: sentences of cells of one batch, denoising with a negative binomial.

mod import;

use crate::error::{Result, TrainError};
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::DataSpec;
use crate::losses::Losses;
use crate::losses::cellplm::{Masked, denoise};
use crate::registry::{Architecture, Features, Kind, MinibatchDependence};
use crate::spec::{ModelSpec, Trainable};
use crate::task::Task;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use sc_data::CsrMatrix;
use sc_data::rng::stream;
use sc_data::sampling::sampler;
use sc_data::tokens::Tokenizer;
use sc_models::cellplm::{
    CellPlm, CellPlmConfig, Covariates, HeadConfig, LatentConfig, LatentNoise,
    Objective as Decoded, Sentence,
};
use sc_models::layers::norm::Phase;
use sc_models::ranges;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Composition of sentences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SentenceConfig {
    /// Maximum number of cells per sentence for embedding; training uses `train.minibatch`.
    pub cells: usize,
    /// Share of the cells of a sentence that are masked.
    pub mask_cells: f64,
    /// Share of a masked cell's genes, zeros included, that are masked.
    pub mask_genes: f64,
    /// Warm-up steps of the KL weight of a plain VAE.
    pub kl_warmup: u64,
}

impl SentenceConfig {
    fn check(&self) -> Result<()> {
        const OF: &str = "cellplm: input.";
        ranges::sizes(OF, &[("cells", self.cells)])?;
        let (cells, genes) = (
            ("mask_cells", self.mask_cells),
            ("mask_genes", self.mask_genes),
        );
        ranges::positive(OF, &[cells, genes])?;
        ranges::shares(OF, &[cells])?;
        // With every gene masked there is no input.
        Ok(ranges::below_one(OF, &[genes])?)
    }
}

impl Default for SentenceConfig {
    fn default() -> Self {
        Self {
            cells: 2000,
            mask_cells: 0.75,
            mask_genes: 0.25,
            kl_warmup: 10_000,
        }
    }
}

/// CellPLM in the registry.
pub const CELLPLM: Architecture = Architecture {
    name: "cellplm",
    kind: Kind::FoundationModel,
    paper: "Wen et al., ICLR 2024",
    tokens: "cells; a sentence is a sample",
    objectives: &["denoise"],
    weights: "CellPLM .best.ckpt with its config.json",
    licence: "BSD-2-Clause",
    needs: &[],
    features: Features::Genes,
    minibatch_dependence: MinibatchDependence::Always {
        why: "its tokens are cells, and those of a sentence attend to each other",
    },
    widen: None,
    import: Some(import::import),
    attention: None,
    task,
};

fn task(spec: &ModelSpec, data: &DataSpec) -> Result<Box<dyn Trainable>> {
    let mut network: CellPlmConfig = spec.network()?;
    network.genes = data.genes.len();
    if let HeadConfig::Decode { batches, .. } = &mut network.head {
        *batches = match data.batches.len() {
            0 | 1 => 0,
            n => n,
        };
    }
    network.check()?;
    spec.settled(&network)?;
    check_head(&network.head)?;
    let input: SentenceConfig = spec.input()?;
    input.check()?;
    Ok(Box::new(CellPlmTask {
        network,
        input,
        seed: data.seed,
    }))
}

/// Refuses heads without an objective.
fn check_head(head: &HeadConfig) -> Result<()> {
    let refuse = |what: &str| {
        Err(TrainError::Config(format!(
            "cellplm: network.head.{what} has no objective; objective = 'denoise' needs kind = \
             'decode' with objective = 'denoise'"
        )))
    };
    match head {
        HeadConfig::Mlp { .. } => refuse("kind = 'mlp'"),
        HeadConfig::Decode {
            objective: Decoded::Impute,
            ..
        } => refuse("objective = 'impute'"),
        HeadConfig::Decode { .. } | HeadConfig::Embed => Ok(()),
    }
}

/// CellPLM as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct CellPlmTask {
    /// The network; `genes` and the decoder's batches are those of the data.
    pub network: CellPlmConfig,
    /// Composition of sentences.
    pub input: SentenceConfig,
    /// Seed of every random stream.
    pub seed: u64,
}

/// A sentence on the host.
pub struct SentenceInput {
    counts: Arc<CsrMatrix>,
    log_counts: Arc<CsrMatrix>,
    masked: Masked,
    batches: Vec<u32>,
    normal: Vec<f32>,
    uniform: Vec<f32>,
}

impl CellPlmTask {
    fn clusters(&self) -> usize {
        match self.network.latent {
            LatentConfig::Gmvae { clusters, .. } => clusters,
            _ => 0,
        }
    }

    fn mask(&self, cell: u64, epoch: u64) -> Vec<u32> {
        let mut rng = stream(self.seed, "mask", cell, epoch);
        if rng.random::<f64>() >= self.input.mask_cells {
            return Vec::new();
        }
        // One 32-bit draw per gene: a float would take twice the generator's output.
        let threshold = (self.input.mask_genes * f64::from(u32::MAX)) as u32;
        (0..self.network.genes as u32)
            .filter(|_| rng.next_u32() < threshold)
            .collect()
    }
}

/// `log1p` of the counts without the masked entries.
fn hide(counts: &CsrMatrix, masked: &Masked) -> CsrMatrix {
    let mut out = CsrMatrix::empty(0, counts.cols());
    let (mut genes, mut values) = (Vec::new(), Vec::new());
    for (cell, masked) in masked.iter().enumerate() {
        genes.clear();
        values.clear();
        let (indices, counts) = counts.row(cell);
        for (&g, &v) in indices.iter().zip(counts) {
            if masked.binary_search(&g).is_err() {
                genes.push(g);
                values.push(v.ln_1p());
            }
        }
        out.push_row(&genes, &values);
    }
    out
}

impl Task for CellPlmTask {
    type Model = CellPlm;
    type Input = SentenceInput;

    fn network(&self) -> &CellPlmConfig {
        &self.network
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        let untrained = match self.network.head {
            HeadConfig::Embed => Some("kind = 'embed' has nothing to train; use kind = 'decode'"),
            HeadConfig::Decode { datasets: 1.., .. } => Some(
                "datasets is a covariate without a column in the data; remove it, or set it to 0",
            ),
            _ => None,
        };
        if let Some(why) = untrained {
            return Err(TrainError::Config(format!("cellplm: network.head.{why}")));
        }
        corpus.grouped_small_together(size, self.seed, epoch)
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<SentenceInput> {
        let keys = || cells.keys.iter().copied();
        let masked: Masked = keys().map(|c| Arc::new(self.mask(c, epoch))).collect();
        let mut normal = Vec::with_capacity(cells.rows.len() * self.network.latent_dim);
        let mut uniform = Vec::with_capacity(cells.rows.len() * self.clusters());
        for cell in keys() {
            let mut rng = stream(self.seed, "latent", cell, epoch);
            normal
                .extend((0..self.network.latent_dim).map(|_| rng.sample::<f32, _>(StandardNormal)));
            uniform.extend((0..self.clusters()).map(|_| rng.random::<f32>()));
        }
        Ok(SentenceInput {
            log_counts: Arc::new(hide(&cells.counts, &masked)),
            counts: Arc::new(cells.counts),
            masked,
            batches: cells.batches,
            normal,
            uniform,
        })
    }

    fn losses(&self, model: &CellPlm, input: SentenceInput, step: u64, device: &Device) -> Losses {
        let n = input.batches.len();
        let matrix =
            |v: Vec<f32>, d: usize| Tensor::<2>::from_data(TensorData::new(v, [n, d]), device);
        let clusters = self.clusters();
        let batch = match self.network.head {
            HeadConfig::Decode { batches: 1.., .. } => {
                let codes: Vec<i64> = input.batches.iter().map(|&b| i64::from(b)).collect();
                Some(Tensor::<1, Int>::from_data(
                    TensorData::new(codes, [n]),
                    device,
                ))
            }
            _ => None,
        };
        let sentence = Sentence {
            log_counts: input.log_counts,
            genes: None,
            covariates: Covariates {
                batch,
                dataset: None,
            },
            noise: Some(LatentNoise {
                normal: matrix(input.normal, self.network.latent_dim),
                uniform: (clusters > 0).then(|| matrix(input.uniform, clusters)),
            }),
            kl_weight: (step as f64 / self.input.kl_warmup.max(1) as f64).min(1.0),
        };
        let output = model.forward(&sentence, Phase::Train);
        let mut terms = Vec::new();
        let mut total = Tensor::<1>::zeros([1], device);
        if let Some(decoded) = &output.counts {
            let loss = denoise(decoded, &input.counts, &input.masked);
            terms.push(("all_genes", loss.all_genes.clone()));
            terms.push(("masked_entries", loss.masked_entries.clone()));
            total = total + loss.all_genes + loss.masked_entries;
        }
        if let Some(latent) = output.latent.loss {
            terms.extend(output.latent.terms);
            total = total + latent;
        }
        Losses { total, terms }
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        // By their keys, so that the sentence of a cell does not depend on its row.
        let (groups, _) = corpus.groups(self.input.cells);
        let group = |r: usize| groups[&corpus.batches[r]];
        sampler::sequential(&corpus.ordered(), group, self.input.cells)
    }

    fn embed(&self, model: &CellPlm, cells: CellBatch, _: &Device) -> Result<Tensor<2>> {
        let sentence = Sentence {
            log_counts: Arc::new(cells.counts.map_values(f32::ln_1p)),
            genes: None,
            covariates: Covariates::default(),
            noise: None,
            kl_weight: 1.0,
        };
        Ok(model.encode(&sentence, Phase::Eval).z)
    }

    fn dims(&self) -> usize {
        self.network.latent_dim
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::Sentences {
            cells: self.input.cells,
        }
    }
}
