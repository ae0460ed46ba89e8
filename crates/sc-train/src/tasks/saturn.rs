//! SATURN: macrogenes of several species, then triplets across them.

mod species;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub use species::{GenesOf, SpeciesGenes};

use crate::error::{Result, TrainError};
use crate::gene_vectors::{GeneAxis, GeneVectors};
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::{DataSpec, MISSING, Role};
use crate::inputs::proteins::Proteins;
use crate::losses::Losses;
use crate::losses::saturn::mining::{Batch, Neighbours};
use crate::losses::saturn::{
    cell_nll, divergence, divergence_weight, gene_ranking, label_weights, lasso,
    protein_similarity, species_loss, triplet_loss,
};
use crate::registry::{Architecture, Features, Kind, MinibatchDependence};
use crate::spec::{ModelSpec, Trainable};
use crate::task::{Pass, Task};
use crate::tasks::annotation::{ANNOTATION, annotated};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::RngExt as _;
use rand_distr::StandardNormal;
use sc_data::rng::stream;
use sc_data::sampling::sampler;
use sc_data::tokens::Tokenizer;
use sc_data::tokens::macrogenes::Score;
use sc_models::configured::Configured as _;
use sc_models::layers::lookup::unit;
use sc_models::ranges;
use sc_models::saturn::{Cells, Latent, MacrogeneDropout, Saturn, SaturnConfig, Species};
use sc_models::weights;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// SATURN in the registry.
pub const SATURN: Architecture = Architecture {
    name: "saturn",
    kind: Kind::FoundationModel,
    paper: "Rosen et al., Nature Methods 2024",
    tokens: "whole cells, summed to macrogenes of similar proteins",
    objectives: &["reconstruct", "cross-species", ANNOTATION],
    annotation: Some(ANNOTATION),
    annotation_network: None,
    decodes: false,
    weights: "none published",
    licence: "MIT",
    needs: &[],
    features: Features::Genes,
    minibatch_dependence: MinibatchDependence::None,
    widen: None,
    import: None,
    attention: None,
    gene_vectors: Some(GeneVectors {
        genes: GeneAxis::Columns,
        ..GeneVectors::rows("p_weights")
    }),
    perturbs: None,
    task,
};

fn task(spec: &ModelSpec, data: &DataSpec) -> Result<Box<dyn Trainable>> {
    let mut network: SaturnConfig = spec.network()?;
    let input: SaturnInput = spec.input()?;
    input.check()?;
    let genes = SpeciesGenes::new(data, &input)?;
    network.species = genes
        .names
        .iter()
        .zip(&genes.columns)
        .map(|(name, columns)| Species {
            name: name.clone(),
            genes: columns.iter().flatten().count(),
        })
        .collect();
    if network.batches > 0 {
        network.batches = data.batches.len().max(1);
    }
    network.check()?;
    spec.settled(&network)?;
    if network.macrogenes > network.genes() {
        return Err(TrainError::Config(format!(
            "saturn: network.macrogenes = {}, but there are {} genes with a protein embedding; use \
             fewer macrogenes",
            network.macrogenes,
            network.genes()
        )));
    }
    if input.balance == Balance::Labels {
        data.count(Role::Label, "saturn with input.balance = 'labels'")?;
    }
    let objective = match spec.objective()? {
        "reconstruct" | ANNOTATION => Objective::Reconstruct,
        _ => {
            data.count(Role::Label, "saturn with objective = 'cross-species'")?;
            data.count(Role::Species, "saturn with objective = 'cross-species'")?;
            if network.species.len() < 2 {
                return Err(TrainError::Config(format!(
                    "saturn: objective = 'cross-species' needs cells of two species, but all are of \
                     {}; use objective = 'reconstruct'",
                    network.species[0].name
                )));
            }
            let steps = (spec.train.steps as f64 * input.reconstruct_share).round();
            Objective::CrossSpecies {
                reconstruct: steps as u64,
            }
        }
    };
    let task = SaturnTask {
        network,
        input,
        genes: Arc::new(genes),
        objective,
        seed: data.seed,
        start: OnceLock::new(),
    };
    match spec.objective()? {
        ANNOTATION => annotated(task, spec, data),
        _ => Ok(Box::new(task)),
    }
}

/// Training schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Objective {
    /// Reconstruction only.
    Reconstruct,
    /// Reconstruction for this number of steps, then triplets across species.
    CrossSpecies { reconstruct: u64 },
}

/// Whether rare labels have more weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// All cells have the same weight.
    #[default]
    None,
    /// By the share of the label in the minibatch.
    Labels,
}

/// Whether the triplet loss updates the macrogenes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Macrogenes {
    /// It does not: only the encoder is trained.
    #[default]
    Frozen,
    /// It does.
    Trained,
}

/// Macrogenes, and the objectives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaturnInput {
    /// Genes of each species.
    pub genes: GenesOf,
    /// Source of the gene vectors.
    pub proteins: Proteins,
    /// The same for species with a separate file, by name.
    pub species_proteins: BTreeMap<String, Proteins>,
    /// Weight of a gene from the rank of a macrogene.
    pub score: Score,
    /// Weight of the sum of the gene weights.
    pub l1: f64,
    /// Weight of the loss on gene similarities compared with those of their proteins.
    pub protein_similarity: f64,
    /// Period in steps of the KL weight; only for
    /// `latent = "normal"`.
    pub divergence_period: u64,
    /// Whether rare labels have more weight in the reconstruction.
    pub balance: Balance,
    /// Share of the steps for reconstruction, before triplets are trained.
    pub reconstruct_share: f64,
    /// Margin of the triplet loss.
    pub margin: f64,
    /// Matching of cells across species.
    pub neighbours: Neighbours,
    /// Whether the triplet loss updates the macrogenes.
    pub macrogenes: Macrogenes,
    /// Minibatch size for embedding.
    pub embed_minibatch: usize,
}

impl SaturnInput {
    fn check(&self) -> Result<()> {
        const OF: &str = "saturn: input.";
        ranges::sizes(OF, &[("embed_minibatch", self.embed_minibatch)])?;
        ranges::shares(OF, &[("reconstruct_share", self.reconstruct_share)])?;
        ranges::not_negative(
            OF,
            &[
                ("l1", self.l1),
                ("protein_similarity", self.protein_similarity),
                ("margin", self.margin),
            ],
        )?;
        if self.divergence_period == 0 {
            return Err(TrainError::Config(format!(
                "{OF}divergence_period = 0; must be at least 1 step"
            )));
        }
        let mut all = std::iter::once(&self.proteins).chain(self.species_proteins.values());
        Ok(all.try_for_each(|p| p.check(OF))?)
    }
}

impl Default for SaturnInput {
    fn default() -> Self {
        Self {
            genes: GenesOf::default(),
            proteins: Proteins::default(),
            species_proteins: BTreeMap::new(),
            score: Score::Default,
            l1: 0.0,
            protein_similarity: 0.2,
            divergence_period: 1000,
            balance: Balance::None,
            reconstruct_share: 0.8,
            margin: 0.2,
            neighbours: Neighbours::Mutual,
            macrogenes: Macrogenes::Frozen,
            embed_minibatch: 512,
        }
    }
}

/// SATURN as a task.
#[derive(Clone, Debug)]
pub struct SaturnTask {
    /// The network; its species are those of the data.
    pub network: SaturnConfig,
    /// Macrogenes, and the objectives.
    pub input: SaturnInput,
    genes: Arc<SpeciesGenes>,
    objective: Objective,
    /// Seed of every random stream.
    pub seed: u64,
    /// Initial macrogene weights; k-means over all genes is done once.
    start: OnceLock<Arc<Vec<f32>>>,
}

/// Cells of one species in a minibatch.
struct Part {
    cells: Cells,
    /// Their positions in the minibatch.
    places: Vec<usize>,
    labels: Vec<u32>,
    noise: Vec<f32>,
    keep: Vec<f32>,
}

/// A minibatch on the host, species by species; those without cells are left out.
pub struct SaturnBatch {
    parts: Vec<Part>,
}

impl SaturnTask {
    fn divide(&self, cells: CellBatch, pass: Pass) -> Result<SaturnBatch> {
        let codes = cells.codes(Role::Species);
        let labels = cells.codes(Role::Label);
        let mut places: Vec<Vec<usize>> = vec![Vec::new(); self.network.species.len()];
        for (i, &code) in codes.iter().enumerate() {
            places[self.genes.species(code, cells.rows[i])?].push(i);
        }
        let filled = places.into_iter().enumerate();
        let filled = filled.filter(|(_, places)| !places.is_empty());
        let parts = filled.map(|(species, places)| {
            let columns = &self.genes.columns[species];
            let genes = self.network.species[species].genes;
            let counts = cells.counts.select_rows(&places).remap_cols(columns, genes);
            let keys: Vec<u64> = places.iter().map(|&i| cells.keys[i]).collect();
            Part {
                labels: places.iter().map(|&i| labels[i]).collect(),
                noise: self.noise(&keys, pass),
                keep: self.keep(&keys, pass),
                cells: Cells {
                    species,
                    counts: Arc::new(counts),
                    batches: places.iter().map(|&i| cells.batches[i]).collect(),
                    keep: None,
                    noise: None,
                },
                places,
            }
        });
        Ok(SaturnBatch {
            parts: parts.collect(),
        })
    }

    /// Noise of the latent, empty where there is none.
    fn noise(&self, keys: &[u64], pass: Pass) -> Vec<f32> {
        let Pass::Training(epoch) = pass else {
            return Vec::new();
        };
        if self.network.latent == Latent::Point {
            return Vec::new();
        }
        let draw = |&key: &u64| {
            let mut rng = stream(self.seed, "latent", key, epoch);
            (0..self.network.embedding)
                .map(|_| rng.sample::<f32, _>(StandardNormal))
                .collect::<Vec<_>>()
        };
        keys.iter().flat_map(draw).collect()
    }

    /// Factors of macrogenes for embedding as published, empty otherwise: in training the network's
    /// own dropout draws.
    fn keep(&self, keys: &[u64], pass: Pass) -> Vec<f32> {
        let always = self.network.macrogene_dropout == MacrogeneDropout::Always;
        if pass != Pass::Embedding || !always {
            return Vec::new();
        }
        let p = self.network.dropout;
        let draw = |&key: &u64| {
            let mut rng = stream(self.seed, "macrogene dropout", key, 0);
            let factor = |u: f64| if u < p { 0.0 } else { (1.0 / (1.0 - p)) as f32 };
            (0..self.network.macrogenes)
                .map(|_| factor(rng.random::<f64>()))
                .collect::<Vec<_>>()
        };
        keys.iter().flat_map(draw).collect()
    }

    fn on_device(&self, part: &Part, device: &Device) -> Cells {
        let n = part.places.len();
        let matrix = |v: &Vec<f32>, width: usize| {
            (!v.is_empty()).then(|| {
                let data = TensorData::new(v.clone(), [n, width]);
                Tensor::<2>::from_data(data, device)
            })
        };
        Cells {
            noise: matrix(&part.noise, self.network.embedding),
            keep: matrix(&part.keep, self.network.macrogenes),
            ..part.cells.clone()
        }
    }

    fn reconstruct(
        &self,
        model: &Saturn,
        batch: &SaturnBatch,
        step: u64,
        device: &Device,
    ) -> Losses {
        let gene_weights = model.gene_weights();
        let zero = || Tensor::<1>::zeros([1], device);
        let (mut counts, mut spread) = (zero(), zero());
        let all: Vec<u32> = batch.parts.iter().flat_map(|p| p.labels.clone()).collect();
        let kl_weight = divergence_weight(step - 1, self.input.divergence_period);
        for part in &batch.parts {
            let cells = self.on_device(part, device);
            // The species of a part is one of the network's.
            let Ok(output) = model.forward(&gene_weights, &cells) else {
                continue;
            };
            let weights = match self.input.balance {
                Balance::None => None,
                Balance::Labels => Some(label_weights(&all, &part.labels)),
            };
            let loss = species_loss(cell_nll(&output, &cells.counts), weights, None);
            counts = counts + loss.total;
            if let Some(d) = divergence(&output) {
                spread = spread + d / part.places.len() as f64;
            }
        }
        let mut terms = vec![("nll", counts, 1.0)];
        if self.network.latent == Latent::Normal {
            terms.push(("kl", spread, kl_weight));
        }
        if self.input.l1 > 0.0 {
            terms.push(("l1", lasso(gene_weights.clone()), self.input.l1));
        }
        if self.input.protein_similarity > 0.0 {
            let genes = self.network.genes();
            let mut rng = stream(self.seed, "gene pairs", 0, step);
            let others: Vec<usize> = (0..genes).map(|_| rng.random_range(0..genes)).collect();
            let similar = protein_similarity(self.genes.proteins(), self.genes.dim, &others);
            let rank = gene_ranking(model.gene_embeddings(gene_weights), similar, &others);
            terms.push(("proteins", rank, self.input.protein_similarity));
        }
        Losses::weighted(zero(), terms)
    }

    fn triplets(&self, model: &Saturn, batch: &SaturnBatch, step: u64, device: &Device) -> Losses {
        let gene_weights = model.gene_weights();
        let (mut vectors, mut labels, mut species) = (Vec::new(), Vec::new(), Vec::new());
        for part in &batch.parts {
            let known = part.labels.iter().enumerate();
            let known: Vec<i64> = known
                .filter(|(_, l)| **l != MISSING)
                .map(|(i, _)| i as i64)
                .collect();
            if known.is_empty() {
                continue;
            }
            let own = part.cells.species as u32;
            // A label belongs to one species: the same name in two species is two labels.
            let count = self.network.species.len() as u32;
            labels.extend(known.iter().map(|&i| part.labels[i as usize] * count + own));
            species.extend(known.iter().map(|_| own));
            let macrogenes = model.macrogenes(&gene_weights, &self.on_device(part, device));
            let macrogenes = match self.input.macrogenes {
                Macrogenes::Frozen => macrogenes.detach(),
                Macrogenes::Trained => macrogenes,
            };
            let n = known.len();
            let known = Tensor::<1, Int>::from_data(TensorData::new(known, [n]), device);
            vectors.push(unit(model.encode(macrogenes.select(0, known))));
        }
        let zero = Tensor::<1>::zeros([1], device);
        if vectors.is_empty() {
            return Losses::weighted(gene_weights.sum() * 0.0, vec![("triplets", zero, 1.0)]);
        }
        let vectors = Tensor::cat(vectors, 0);
        let host = weights::host(vectors.clone());
        let mined = Batch {
            embeddings: &host,
            dims: self.network.embedding,
            labels: &labels,
            species: &species,
        };
        let pools = mined.pools(&mined.nearest_across(), self.input.neighbours);
        let drawn = mined.draw(&pools, self.seed, step);
        let kept = mined.semihard(&drawn, self.input.margin);
        let loss = triplet_loss(vectors, &kept, self.input.margin);
        Losses::weighted(zero, vec![("triplets", loss, 1.0)])
    }
}

impl Task for SaturnTask {
    type Model = Saturn;
    type Input = SaturnBatch;
    type Cells = SaturnBatch;

    fn network(&self) -> &SaturnConfig {
        &self.network
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn build(&self, device: &Device) -> Result<Saturn> {
        let start = match self.start.get() {
            Some(start) => start.clone(),
            None => {
                let start = self
                    .genes
                    .weights(&self.network, self.input.score, self.seed)?;
                self.start.get_or_init(|| Arc::new(start)).clone()
            }
        };
        let model = Self::Model::initial(&self.network, self.seed, device)?;
        Ok(model.with_macrogenes(start.to_vec())?)
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        corpus.minibatches(size, self.seed, epoch)
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<SaturnBatch> {
        self.divide(cells, Pass::Training(epoch))
    }

    fn losses(&self, model: &Saturn, input: SaturnBatch, step: u64, device: &Device) -> Losses {
        match self.objective {
            Objective::CrossSpecies { reconstruct } if step > reconstruct => {
                self.triplets(model, &input, step, device)
            }
            _ => self.reconstruct(model, &input, step, device),
        }
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        sampler::sequential(&corpus.rows, |_| 0, self.input.embed_minibatch)
    }

    fn cells(&self, cells: CellBatch) -> Result<SaturnBatch> {
        self.divide(cells, Pass::Embedding)
    }

    fn encode(&self, model: &Saturn, batch: SaturnBatch, device: &Device) -> Tensor<2> {
        let gene_weights = model.gene_weights();
        let (mut vectors, mut order) = (Vec::new(), Vec::new());
        for part in &batch.parts {
            vectors.push(model.embed(&gene_weights, &self.on_device(part, device)));
            order.extend(part.places.iter().copied());
        }
        let n = order.len();
        let mut back = vec![0i64; n];
        for (at, place) in order.into_iter().enumerate() {
            back[place] = at as i64;
        }
        if vectors.is_empty() {
            return Tensor::zeros([0, self.network.embedding], device);
        }
        let back = Tensor::<1, Int>::from_data(TensorData::new(back, [n]), device);
        Tensor::cat(vectors, 0).select(0, back)
    }

    fn reads(&self) -> Vec<Role> {
        let weighed = self.input.balance == Balance::Labels;
        match self.objective {
            Objective::Reconstruct if !weighed => vec![Role::Species],
            Objective::Reconstruct | Objective::CrossSpecies { .. } => {
                vec![Role::Species, Role::Label]
            }
        }
    }

    fn dims(&self) -> usize {
        self.network.embedding
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::Macrogenes {
            macrogenes: self.network.macrogenes,
            score: self.input.score,
            table: None,
        }
    }
}
