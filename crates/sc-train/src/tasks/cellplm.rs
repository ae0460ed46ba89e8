//! CellPLM: sentences of cells of one batch, denoising with a negative binomial.

mod import;

use crate::error::{Result, TrainError};
use crate::gene_vectors::GeneVectors;
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::{DataSpec, Role};
use crate::losses::cellplm::{Masked, denoise};
use crate::losses::{Labelled, Losses, of_labels};
use crate::predict::Quantity;
use crate::registry::{Architecture, Features, Kind, MinibatchDependence};
use crate::spec::{ModelSpec, Trainable};
use crate::task::{Task, known_batches, whole};
use crate::tasks::annotation::{ANNOTATION, classes};
use burn::tensor::{Device, Tensor, TensorData};
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
    objectives: &["denoise", ANNOTATION],
    annotation: Some(ANNOTATION),
    annotation_network: Some(annotation_network),
    decodes: true,
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
    gene_vectors: Some(GeneVectors::rows("embedder.feat_enc.emb")),
    perturbs: None,
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
    // As given, for the message on settings that are not used.
    let given = network.clone();
    let goal = match spec.objective()? {
        ANNOTATION => {
            network.head = classifier(&network.head, classes(spec, data)?);
            Goal::Labels
        }
        _ => {
            check_head(&network.head)?;
            Goal::Counts
        }
    };
    network.check()?;
    spec.settled(&match (&given.head, &network.head) {
        (HeadConfig::Mlp { .. }, _) => network.clone(),
        _ => given,
    })?;
    let input: SentenceConfig = spec.input()?;
    input.check()?;
    Ok(Box::new(CellPlmTask {
        network,
        input,
        goal,
        seed: data.seed,
    }))
}

/// The published recipe discards the latent, whose noise hides the labels, for a linear map; the decoder
/// gives way to a classifier.
fn annotation_network(spec: &ModelSpec) -> serde_json::Value {
    let mut network = spec.network_with("latent", serde_json::json!({ "kind": "ae" }));
    let given: Result<CellPlmConfig> = spec.network();
    // An invalid one is refused when it is built.
    let head = given.map(|given| serde_json::json!(classifier(&given.head, 1)));
    if let (Ok(head), Some(settings)) = (head, network.as_object_mut()) {
        settings.insert("head".into(), head);
    }
    network
}

/// A classifier of the shape of `head`: its own, or that of the decoder it replaces.
fn classifier(head: &HeadConfig, outputs: usize) -> HeadConfig {
    let (hidden, layers) = match *head {
        HeadConfig::Mlp { hidden, layers, .. } | HeadConfig::Decode { hidden, layers, .. } => {
            (hidden, layers)
        }
        HeadConfig::Embed => (512, 2),
    };
    HeadConfig::Mlp {
        outputs,
        hidden,
        layers,
    }
}

/// Refuses heads without an objective.
fn check_head(head: &HeadConfig) -> Result<()> {
    let refuse = |what: &str| {
        Err(TrainError::Config(format!(
            "cellplm: network.head.{what}; objective = 'denoise' needs kind = 'decode' with objective = \
             'denoise'"
        )))
    };
    match head {
        HeadConfig::Mlp { .. } => refuse("kind = 'mlp' is for objective = 'annotation'"),
        HeadConfig::Decode {
            objective: Decoded::Impute,
            ..
        } => refuse("objective = 'impute' has no objective"),
        HeadConfig::Decode { .. } | HeadConfig::Embed => Ok(()),
    }
}

/// What a CellPLM is trained to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The counts of its cells, some of them masked.
    Counts,
    /// Their labels.
    Labels,
}

/// CellPLM as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct CellPlmTask {
    /// The network; `genes` and the decoder's batches are those of the data.
    pub network: CellPlmConfig,
    /// Composition of sentences.
    pub input: SentenceConfig,
    /// The objective.
    pub goal: Goal,
    /// Seed of every random stream.
    pub seed: u64,
}

/// A sentence on the host.
pub struct SentenceInput {
    counts: Arc<CsrMatrix>,
    log_counts: Arc<CsrMatrix>,
    masked: Masked,
    batches: Vec<u32>,
    labels: Labelled,
    normal: Vec<f32>,
    uniform: Vec<f32>,
}

/// A sentence to be embedded, on the host.
pub struct SentenceCells {
    log_counts: Arc<CsrMatrix>,
    batches: Vec<i64>,
}

impl CellPlmTask {
    /// Batches of the decoder.
    fn batches(&self) -> usize {
        match self.network.head {
            HeadConfig::Decode { batches, .. } => batches,
            _ => 0,
        }
    }

    /// A sentence without noise.
    fn sentence(&self, cells: SentenceCells, device: &Device) -> Sentence {
        Sentence {
            log_counts: cells.log_counts,
            genes: None,
            covariates: Covariates {
                batch: (self.batches() > 0).then(|| whole(cells.batches, device)),
                dataset: None,
            },
            noise: None,
            kl_weight: 1.0,
        }
    }

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
    type Cells = SentenceCells;

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
            labels: Labelled::of(&cells),
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
        let codes = || input.batches.iter().map(|&b| i64::from(b)).collect();
        let batch = (self.batches() > 0).then(|| whole(codes(), device));
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
        let output = model.forward(&sentence, Phase::on(device));
        let mut terms = Vec::new();
        let mut total = Tensor::<1>::zeros([1], device);
        if let Some(logits) = output.logits {
            let loss = of_labels(logits, input.labels, device);
            terms.extend(loss.terms);
            total = total + loss.total;
        }
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

    fn cells(&self, cells: CellBatch) -> Result<SentenceCells> {
        Ok(SentenceCells {
            log_counts: Arc::new(cells.counts.map_values(f32::ln_1p)),
            batches: known_batches(&cells.batches, self.batches()),
        })
    }

    fn encode(&self, model: &CellPlm, cells: SentenceCells, device: &Device) -> Tensor<2> {
        let sentence = self.sentence(cells, device);
        model.encode(&sentence, Phase::on(device)).z
    }

    fn predicts(&self) -> Vec<Quantity> {
        match self.goal {
            Goal::Counts => vec![Quantity::Expression],
            Goal::Labels => vec![Quantity::Labels],
        }
    }

    fn predict(
        &self,
        model: &CellPlm,
        cells: SentenceCells,
        quantity: Quantity,
        device: &Device,
    ) -> Option<Tensor<2>> {
        let output = model.forward(&self.sentence(cells, device), Phase::on(device));
        match quantity {
            Quantity::Labels => output.logits,
            Quantity::Expression => output.counts.map(|counts| counts.mean),
        }
    }

    fn reads(&self) -> Vec<Role> {
        match self.goal {
            Goal::Counts => Vec::new(),
            Goal::Labels => vec![Role::Label],
        }
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
