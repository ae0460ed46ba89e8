//! The variational autoencoder: counts follow a (zero-inflated) negative binomial.

use crate::error::Result;
use crate::gene_vectors::GeneVectors;
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::DataSpec;
use crate::losses::Losses;
use crate::predict::Quantity;
use crate::registry::{Architecture, Features, Kind, MinibatchDependence};
use crate::spec::{ModelSpec, Trainable};
use crate::task::{Task, known_batches, whole};
use crate::tasks::annotation::{ANNOTATION, annotated};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::RngExt as _;
use rand_distr::StandardNormal;
use sc_data::CsrMatrix;
use sc_data::rng::stream;
use sc_data::sampling::sampler;
use sc_data::tokens::Tokenizer;
use sc_models::layers::norm::Phase;
use sc_models::layers::zinb::{nb_nll, zinb_nll};
use sc_models::ranges;
use sc_models::vae::{Vae, VaeConfig};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The variational autoencoder in the registry.
pub const VAE: Architecture = Architecture {
    name: "vae",
    kind: Kind::NeuralBaseline,
    paper: "baseline: Lopez et al., Nature Methods 2018",
    tokens: "whole cells, log1p of counts",
    objectives: &["nb", "zinb", ANNOTATION],
    annotation: Some(ANNOTATION),
    annotation_network: None,
    decodes: true,
    weights: "none",
    licence: "ours (scvi-tools: BSD-3-Clause)",
    needs: &[],
    features: Features::Genes,
    minibatch_dependence: MinibatchDependence::None,
    widen: Some(widen),
    import: None,
    attention: None,
    gene_vectors: Some(GeneVectors {
        untrained: &[ANNOTATION],
        ..GeneVectors::rows("px_scale_decoder.weight")
    }),
    perturbs: None,
    task,
};

fn task(spec: &ModelSpec, data: &DataSpec) -> Result<Box<dyn Trainable>> {
    let mut network: VaeConfig = spec.network()?;
    network.genes = data.genes.len();
    network.batches = match data.batches.len() {
        0 | 1 => 0,
        n => n,
    };
    network.zero_inflated = spec.objective()? == "zinb";
    network.check()?;
    spec.settled(&network)?;
    let input: VaeInput = spec.input()?;
    ranges::sizes("vae: input.", &[("embed_minibatch", input.embed_minibatch)])?;
    let task = VaeTask {
        network,
        input,
        seed: data.seed,
    };
    match spec.objective()? {
        ANNOTATION => annotated(task, spec, data),
        _ => Ok(Box::new(task)),
    }
}

fn widen(spec: &ModelSpec, width: usize) -> Result<serde_json::Value> {
    Ok(spec.network_with("hidden", width.into()))
}

/// Settings of the objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VaeInput {
    /// Warm-up steps of the KL weight.
    pub kl_warmup: u64,
    /// Minibatch size for embedding.
    pub embed_minibatch: usize,
}

impl Default for VaeInput {
    fn default() -> Self {
        Self {
            kl_warmup: 400,
            embed_minibatch: 512,
        }
    }
}

/// The variational autoencoder as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct VaeTask {
    /// The network; genes and batches are those of the data.
    pub network: VaeConfig,
    /// Settings of the objective.
    pub input: VaeInput,
    /// Seed of every random stream.
    pub seed: u64,
}

/// Cells to be embedded, on the host.
pub struct VaeCells {
    log_counts: Arc<CsrMatrix>,
    batches: Vec<i64>,
}

/// A minibatch on the host.
pub struct VaeBatch {
    counts: Arc<CsrMatrix>,
    log_counts: Arc<CsrMatrix>,
    totals: Vec<f32>,
    batches: Vec<i64>,
    noise: Vec<f32>,
}

impl Task for VaeTask {
    type Model = Vae;
    type Input = VaeBatch;
    type Cells = VaeCells;

    fn network(&self) -> &VaeConfig {
        &self.network
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        corpus.minibatches(size, self.seed, epoch)
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<VaeBatch> {
        let mut noise = Vec::with_capacity(cells.rows.len() * self.network.latent);
        for &key in &cells.keys {
            let mut rng = stream(self.seed, "latent", key, epoch);
            noise.extend((0..self.network.latent).map(|_| rng.sample::<f32, _>(StandardNormal)));
        }
        let totals = cells.counts.row_sums();
        Ok(VaeBatch {
            log_counts: Arc::new(cells.counts.clone().map_values(f32::ln_1p)),
            totals: totals.into_iter().map(|t| t as f32).collect(),
            batches: cells.batches.iter().map(|&b| i64::from(b)).collect(),
            counts: Arc::new(cells.counts),
            noise,
        })
    }

    fn losses(&self, model: &Vae, input: VaeBatch, step: u64, device: &Device) -> Losses {
        let n = input.batches.len();
        let latent = model.encode(&input.log_counts, Phase::on(device));
        let noise = TensorData::new(input.noise, [n, self.network.latent]);
        let z = latent.sample(Tensor::from_data(noise, device));
        let batches = Tensor::<1, Int>::from_data(TensorData::new(input.batches, [n]), device);
        let known = (self.network.batches > 0).then_some(batches);
        let decoded = model.decode(z, &input.totals, known, Phase::on(device));
        let nll = match decoded.zero_logits {
            Some(zero) => zinb_nll(decoded.mean, decoded.dispersion, zero, &input.counts),
            None => nb_nll(decoded.mean, decoded.dispersion, &input.counts),
        };
        let (nll, kl) = (nll.mean(), latent.divergence().mean());
        let weight = (step as f64 / self.input.kl_warmup.max(1) as f64).min(1.0);
        let zero = Tensor::zeros([1], device);
        Losses::weighted(zero, vec![("nll", nll, 1.0), ("kl", kl, weight)])
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        sampler::sequential(&corpus.rows, |_| 0, self.input.embed_minibatch)
    }

    fn cells(&self, cells: CellBatch) -> Result<VaeCells> {
        Ok(VaeCells {
            log_counts: Arc::new(cells.counts.map_values(f32::ln_1p)),
            batches: known_batches(&cells.batches, self.network.batches),
        })
    }

    fn encode(&self, model: &Vae, cells: VaeCells, device: &Device) -> Tensor<2> {
        model.encode(&cells.log_counts, Phase::on(device)).mean
    }

    fn predicts(&self) -> Vec<Quantity> {
        vec![Quantity::Expression]
    }

    fn predict(
        &self,
        model: &Vae,
        cells: VaeCells,
        quantity: Quantity,
        device: &Device,
    ) -> Option<Tensor<2>> {
        let batches = whole(cells.batches.clone(), device);
        let ones = vec![1.0; cells.batches.len()];
        let known = (self.network.batches > 0).then_some(batches);
        let latent = self.encode(model, cells, device);
        let decoded = || model.decode(latent, &ones, known, Phase::on(device));
        (quantity == Quantity::Expression).then(|| decoded().mean)
    }

    fn dims(&self) -> usize {
        self.network.latent
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::Log1p { target: None }
    }
}
