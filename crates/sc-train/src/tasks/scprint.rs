//! scPRINT: sampled genes, denoising, classes, and generation from the cell tokens.

mod draws;
mod import;
mod labels;
mod networks;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub use labels::{ClassTokens, Labels};

use crate::error::{Result, TrainError};
use crate::gene_vectors::GeneVectors;
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::{DataSpec, Role};
use crate::inputs::proteins::{ProteinTable, Proteins};
use crate::losses::Losses;
use crate::losses::expression::elastic_cell_similarity;
use crate::losses::scprint::{
    Contrast, classification, contrast, downsample, expression, noise_share, token_similarity,
};
use crate::predict::Quantity;
use crate::registry::{Architecture, Features, Kind, MinibatchDependence};
use crate::spec::{ModelSpec, Trainable};
use crate::task::{Pass, Task};
use burn::tensor::{Device, Int, Tensor, TensorData};
use sc_data::CsrMatrix;
use sc_data::genes::vocab::chromosome_rows;
use sc_data::sampling::sampler;
use sc_data::tokens::Tokenizer;
use sc_data::tokens::sampled::{Normalization, positions, sample};
use sc_models::configured::Configured as _;
use sc_models::ranges;
use sc_models::scprint::{
    Normalisation, Output, Positions, ScPrint, ScPrintConfig, Tokens, genome_positions,
    pool_embeddings,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// scPRINT in the registry.
pub const SCPRINT: Architecture = Architecture {
    name: "scprint",
    kind: Kind::FoundationModel,
    paper: "Kalfon et al., Nature Communications 2025",
    tokens: "sampled genes with their counts, and a token for every class",
    objectives: &["denoise", "denoise-classes"],
    annotation: Some("denoise-classes"),
    annotation_network: None,
    decodes: false,
    weights: "scPRINT v1 .ckpt",
    licence: "GPL-3.0 (its package says MIT)",
    needs: &[],
    features: Features::Genes,
    minibatch_dependence: MinibatchDependence::None,
    widen: None,
    import: Some(import::import),
    attention: Some(networks::attention),
    gene_vectors: Some(GeneVectors::rows("gene_encoder.embedding.weight")),
    perturbs: None,
    task,
};

fn task(spec: &ModelSpec, data: &DataSpec) -> Result<Box<dyn Trainable>> {
    Ok(Box::new(ScPrintTask::new(spec, data)?))
}

/// The parts of a task.
fn assemble(spec: &ModelSpec, data: &DataSpec) -> Result<ScPrintTask> {
    let mut network: ScPrintConfig = spec.network()?;
    let mut input: ScPrintInput = spec.input()?;
    input.check()?;
    let proteins = input.proteins.of(&data.genes)?;
    let mut vocabulary = vec![None; data.genes.len()];
    let known = (0..data.genes.len()).filter(|&g| proteins.known[g]);
    let known: Vec<usize> = known.collect();
    for (i, &gene) in known.iter().enumerate() {
        vocabulary[gene] = Some(i as u32);
    }
    network.genes = known.len();
    let labels = match spec.objective()? {
        "denoise" => ClassTokens::default(),
        _ => ClassTokens::new(data, &input.classes, input.ontology.as_deref())?,
    };
    // Published classes are kept as they are; others are those of the data.
    let observed = labels.classes();
    if network.classes.is_empty() {
        network.classes = observed;
    } else if !observed.is_empty() && observed != network.classes {
        return Err(TrainError::Config(
            "scprint: network.classes are not those of the data; remove them to train classes, or \
             use objective = 'denoise'"
                .into(),
        ));
    }
    network.check()?;
    spec.settled(&network)?;
    if network.classes.is_empty() {
        spec.unread_input(&["classes", "ontology", "class_weight", "similarity_weight"])?;
    }
    input.length = input.length.min(network.genes);
    let places = match (network.positions, &input.chromosomes) {
        (Positions::None, _) => Vec::new(),
        (Positions::Genome, Some(path)) => located(path, &input.species, &data.genes, &known)?,
        // Without a table all genes are in one row, each at its own position.
        (Positions::Genome, None) => (0..known.len()).collect(),
    };
    Ok(ScPrintTask {
        network,
        input,
        vocabulary: Arc::new(vocabulary),
        known: Arc::new(known),
        places: Arc::new(places),
        proteins: Arc::new(proteins),
        labels: Arc::new(labels),
        seed: data.seed,
    })
}

/// Genomic positions of the genes that are `known`.
fn located(path: &Path, species: &str, genes: &[String], known: &[usize]) -> Result<Vec<usize>> {
    let rows = chromosome_rows(path)?;
    let of = rows.into_iter().filter(|r| r.species == species);
    let table: HashMap<String, (String, u64)> = of
        .map(|r| (r.symbol.to_uppercase(), (r.chromosome, r.start)))
        .collect();
    let place = |&g: &usize| {
        let found = table.get(&genes[g].to_uppercase());
        found.cloned().ok_or_else(|| {
            TrainError::file(
                path,
                format!(
                    "gene {} of species '{species}' has no position here; use genes with a position, or \
                     network.positions = \"none\"",
                    genes[g]
                ),
            )
        })
    };
    let found: Vec<(String, u64)> = known.iter().map(place).collect::<Result<_>>()?;
    Ok(positions(&found).into_iter().map(|p| p as usize).collect())
}

/// Whether cells are also generated from their tokens alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generation {
    /// They are.
    #[default]
    Bottleneck,
    /// They are not.
    None,
}

/// The tokeniser, and the weights of the objectives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScPrintInput {
    /// Genes per cell.
    pub length: usize,
    /// Source of the gene vectors.
    pub proteins: Proteins,
    /// `species_chrom.csv`, or none for all genes in one row.
    pub chromosomes: Option<PathBuf>,
    /// The species in that table.
    pub species: String,
    /// Columns with a class token, by role.
    pub classes: Vec<Role>,
    /// An ontology of labels in the OBO format.
    pub ontology: Option<PathBuf>,
    /// Share of the counts removed by noise; one pass for each.
    pub noise: Vec<f64>,
    /// Whether cells are also generated from their tokens alone.
    pub generation: Generation,
    /// Weight of the classes.
    pub class_weight: f64,
    /// Weight of the similarity of cell tokens; only with classes.
    pub similarity_weight: f64,
    /// Weight of counts predicted from the cell; only with `cell_decoder`.
    pub cell_decoder_weight: f64,
    /// Threshold and weight of the elastic cell similarity, if it is used.
    pub elastic: Option<Elastic>,
    /// Temperature and weight of the contrast between passes, if it is used.
    pub contrast: Option<Contrasted>,
    /// Minibatch size for embedding.
    pub embed_minibatch: usize,
}

/// Settings of the elastic cell similarity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elastic {
    /// Cosine threshold of the loss.
    pub threshold: f64,
    /// Weight.
    pub weight: f64,
}

/// Settings of the contrast between passes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contrasted {
    /// Temperature of the cosines.
    pub temperature: f64,
    /// Weight.
    pub weight: f64,
    /// Type of cosines.
    #[serde(default)]
    pub by: Contrast,
}

impl Default for ScPrintInput {
    fn default() -> Self {
        Self {
            length: 2200,
            proteins: Proteins::default(),
            chromosomes: None,
            species: "human".into(),
            classes: vec![Role::Label],
            ontology: None,
            noise: vec![0.6],
            generation: Generation::Bottleneck,
            class_weight: 1.5,
            similarity_weight: 0.2,
            cell_decoder_weight: 1.0,
            elastic: None,
            contrast: None,
            embed_minibatch: 32,
        }
    }
}

impl ScPrintInput {
    fn check(&self) -> Result<()> {
        const OF: &str = "scprint: input.";
        let refuse = |what: String| Err(TrainError::Config(format!("{OF}{what}")));
        ranges::sizes(
            OF,
            &[
                ("length", self.length),
                ("embed_minibatch", self.embed_minibatch),
            ],
        )?;
        ranges::not_negative(
            OF,
            &[
                ("class_weight", self.class_weight),
                ("similarity_weight", self.similarity_weight),
                ("cell_decoder_weight", self.cell_decoder_weight),
            ],
        )?;
        if let Some(Elastic { threshold, weight }) = self.elastic {
            ranges::finite(OF, &[("elastic.threshold", threshold)])?;
            ranges::not_negative(OF, &[("elastic.weight", weight)])?;
        }
        if let Some(contrast) = self.contrast {
            ranges::positive(OF, &[("contrast.temperature", contrast.temperature)])?;
            ranges::not_negative(OF, &[("contrast.weight", contrast.weight)])?;
        }
        self.proteins.check(OF)?;
        if self.noise.is_empty() {
            return refuse("noise = []: at least one share, such as 0.6".into());
        }
        let noise: Vec<(&str, f64)> = self.noise.iter().map(|&n| ("noise", n)).collect();
        Ok(ranges::shares(OF, &noise)?)
    }
}

/// The loss of the classes.
const CLASSES: &str = "classes";

/// scPRINT as a task.
#[derive(Clone, Debug)]
pub struct ScPrintTask {
    /// The network; its genes and classes are those of the data.
    pub network: ScPrintConfig,
    /// The tokeniser, and the weights of the objectives.
    pub input: ScPrintInput,
    /// The network's gene for every gene of the vocabulary; none without a protein.
    vocabulary: Arc<Vec<Option<u32>>>,
    known: Arc<Vec<usize>>,
    places: Arc<Vec<usize>>,
    proteins: Arc<ProteinTable>,
    labels: Arc<ClassTokens>,
    /// Seed of every random stream.
    pub seed: u64,
}

/// A minibatch on the host, `[cells, length]` row-major.
pub struct ScPrintBatch {
    cells: usize,
    length: usize,
    genes: Vec<i64>,
    counts: Vec<f32>,
    depth: Vec<f32>,
    noisy: Vec<Vec<f32>>,
    labels: Vec<Labels>,
}

impl ScPrintTask {
    /// The task of `spec`, for data with `data`.
    ///
    /// # Errors
    /// [`TrainError::Config`] for an invalid setting, and any error of the files in it.
    pub fn new(spec: &ModelSpec, data: &DataSpec) -> Result<Self> {
        assemble(spec, data)
    }

    fn tokenize(&self, cells: &CellBatch, pass: Pass) -> Result<ScPrintBatch> {
        let counts = cells
            .counts
            .clone()
            .remap_cols(&self.vocabulary, self.network.genes);
        let depth = cells.counts.row_sums();
        let noise: &[f64] = match pass {
            Pass::Embedding => &[],
            Pass::Training(_) => &self.input.noise,
        };
        let mut out = ScPrintBatch {
            cells: cells.rows.len(),
            length: self.input.length,
            genes: Vec::new(),
            counts: Vec::new(),
            depth: depth.into_iter().map(|d| d as f32).collect(),
            noisy: vec![Vec::new(); noise.len()],
            labels: self.labels.of(cells),
        };
        for (i, &key) in cells.keys.iter().enumerate() {
            let (genes, values) = counts.row(i);
            let key = [self.seed, key, pass.epoch()];
            let drawn = sample(genes, values, self.network.genes, out.length, key)?;
            for (k, share) in noise.iter().map(|n| noise_share(*n)).enumerate() {
                let (removed, uniform) = draws::noise(&drawn.counts, share, k, key);
                out.noisy[k].extend(downsample(&drawn.counts, &removed, &uniform, share));
            }
            out.genes.extend(drawn.genes.iter().map(|&g| i64::from(g)));
            out.counts.extend(&drawn.counts);
        }
        Ok(out)
    }
}

impl ScPrintBatch {
    fn matrix(&self, values: &[f32], device: &Device) -> Tensor<2> {
        let data = TensorData::new(values.to_vec(), [self.cells, self.length]);
        Tensor::from_data(data, device)
    }

    fn tokens(&self, counts: Option<&[f32]>, device: &Device) -> Tokens {
        let genes = TensorData::new(self.genes.clone(), [self.cells, self.length]);
        let depth = TensorData::new(self.depth.clone(), [self.cells]);
        let total = self.matrix(&self.counts, device).sum_dim(1);
        Tokens {
            genes: Tensor::<2, Int>::from_data(genes, device),
            counts: counts.map(|c| self.matrix(c, device)),
            hidden: None,
            depth: counts.map(|_| Tensor::from_data(depth, device)),
            cells: None,
            total: total.squeeze_dim::<1>(1),
        }
    }
}

impl Task for ScPrintTask {
    type Model = ScPrint;
    type Input = ScPrintBatch;
    type Cells = ScPrintBatch;

    fn network(&self) -> &ScPrintConfig {
        &self.network
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn build(&self, device: &Device) -> Result<ScPrint> {
        let width = self.network.width;
        let model = Self::Model::initial(&self.network, self.seed, device)?;
        let table = self.proteins.vectors(self.known.iter().copied());
        let model = model
            .with_genes(pool_embeddings(&table, self.proteins.dim, width))?
            .with_small_residuals();
        Ok(match self.network.positions {
            Positions::None => model,
            Positions::Genome => model.with_positions(genome_positions(&self.places, width))?,
        })
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        corpus.minibatches(size, self.seed, epoch)
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<ScPrintBatch> {
        self.tokenize(&cells, Pass::Training(epoch))
    }

    fn losses(&self, model: &ScPrint, input: ScPrintBatch, _: u64, device: &Device) -> Losses {
        let counts = Arc::new(CsrMatrix::from_dense(input.length, &input.counts));
        let zero = || Tensor::<1>::zeros([1], device);
        let settings = &self.input;
        let (mut denoise, mut similarity, mut elastic) = (zero(), zero(), zero());
        let mut terms = Vec::new();
        let mut outputs: Vec<Output> = Vec::new();
        let classes = !self.network.classes.is_empty();
        let mut every = |output: &Output| {
            if classes {
                similarity = similarity.clone() + token_similarity(output.cells.clone());
            }
            if let Some(e) = settings.elastic {
                let loss = elastic_cell_similarity(output.cell.clone(), e.threshold);
                elastic = elastic.clone() + loss;
            }
        };
        for noisy in &input.noisy {
            let output = model.forward(&input.tokens(Some(noisy), device));
            denoise = denoise + expression(&output.counts, &counts);
            every(&output);
            outputs.push(output);
        }
        terms.push(("denoise", denoise, 1.0));
        // Computed once: for the cell embedding of the first pass.
        if let Some(output) = outputs.first() {
            let logits = model.classes(output).into_iter().zip(&input.labels);
            let sum = logits.enumerate().fold(zero(), |sum, (i, ((_, l), of))| {
                sum + classification(l, of, &self.labels.hierarchies[i])
            });
            if classes {
                terms.push((CLASSES, sum, settings.class_weight));
            }
            if let Some(prediction) = model.counts_from_cell(output) {
                let loss = expression(&prediction, &counts);
                terms.push(("cell decoder", loss, settings.cell_decoder_weight));
            }
        }
        if let (Generation::Bottleneck, Some(last)) = (settings.generation, outputs.last()) {
            let mut tokens = input.tokens(None, device);
            tokens.cells = Some(last.cells.clone());
            let output = model.forward(&tokens);
            terms.push(("generate", expression(&output.counts, &counts), 1.0));
            every(&output);
            outputs.push(output);
        }
        if classes {
            terms.push(("similarity", similarity, settings.similarity_weight));
        }
        if let Some(e) = settings.elastic {
            terms.push(("elastic", elastic, e.weight));
        }
        if let Some(c) = settings.contrast {
            let mut sum = zero();
            for (i, a) in outputs.iter().enumerate() {
                for b in &outputs[i + 1..] {
                    sum = sum + contrast(a.cell.clone(), b.cell.clone(), c.temperature, c.by);
                }
            }
            terms.push(("contrast", sum, c.weight));
        }
        Losses::weighted(zero(), terms)
    }

    fn criterion(&self) -> Option<&'static str> {
        // What it denoises is the same for every label, and larger by far.
        self.labels.place(Role::Label).map(|_| CLASSES)
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        sampler::sequential(&corpus.rows, |_| 0, self.input.embed_minibatch)
    }

    fn cells(&self, cells: CellBatch) -> Result<ScPrintBatch> {
        self.tokenize(&cells, Pass::Embedding)
    }

    fn encode(&self, model: &ScPrint, cells: ScPrintBatch, device: &Device) -> Tensor<2> {
        let tokens = cells.tokens(Some(&cells.counts), device);
        let output = model.forward(&tokens);
        match self.network.classes.is_empty() {
            // Without classes there are a base and a depth token; the base is the cell.
            true => model.embedding(&output, &[]),
            false => model.embedding(&output, &[0]),
        }
    }

    fn predicts(&self) -> Vec<Quantity> {
        match self.labels.place(Role::Label) {
            Some(_) => vec![Quantity::Labels],
            None => Vec::new(),
        }
    }

    fn predict(
        &self,
        model: &ScPrint,
        cells: ScPrintBatch,
        quantity: Quantity,
        device: &Device,
    ) -> Option<Tensor<2>> {
        let place = self.labels.place(Role::Label)?;
        if quantity != Quantity::Labels {
            return None;
        }
        let output = model.forward(&cells.tokens(Some(&cells.counts), device));
        let (_, leaves) = model.classes(&output).swap_remove(place);
        Some(self.labels.of_leaves(place, leaves))
    }

    fn reads(&self) -> Vec<Role> {
        self.labels.roles().to_vec()
    }

    fn dims(&self) -> usize {
        self.network.width
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::Sampled {
            length: self.input.length,
            normalization: match self.network.normalisation {
                Normalisation::Sum => Normalization::Sum,
                Normalisation::Log => Normalization::Log,
            },
        }
    }
}
