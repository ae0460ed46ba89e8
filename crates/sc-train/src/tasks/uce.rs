//! UCE: sentences of sampled genes; the objective is to predict which genes a cell expresses.

mod import;

use crate::error::{Result, TrainError};
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::DataSpec;
use crate::inputs::places::{places, renumber};
use crate::inputs::proteins::{ProteinTable, Proteins};
use crate::losses::Losses;
use crate::losses::tokens::binary_cross_entropy;
use crate::registry::{Architecture, Features, Kind, MinibatchDependence};
use crate::spec::{ModelSpec, Trainable};
use crate::task::{Pass, Task};
use crate::tasks::annotation::{ANNOTATION, annotated};
use crate::tasks::padded::Padded;
use burn::tensor::{Device, Int, Tensor, TensorData};
use sc_data::sampling::sampler;
use sc_data::tokens::Tokenizer;
use sc_data::tokens::uce::{
    Located, Sentence, TrainingConfig, TrainingDraw, UceConfig as Layout, sentence,
    training_sentence,
};
use sc_models::configured::Configured as _;
use sc_models::ranges;
use sc_models::uce::{PaddingMode, Sentences, Uce, UceConfig};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// UCE in the registry.
pub const UCE: Architecture = Architecture {
    name: "uce",
    kind: Kind::FoundationModel,
    paper: "Rosen et al., bioRxiv 2023",
    tokens: "genes sampled by expression, along the chromosomes",
    objectives: &["expressed", ANNOTATION],
    annotation: Some(ANNOTATION),
    annotation_network: None,
    decodes: false,
    weights: "UCE 4- and 33-layer .torch",
    licence: "MIT",
    needs: &[],
    features: Features::Genes,
    minibatch_dependence: MinibatchDependence::With {
        setting: "padding",
        values: &["compat"],
        why: "padding up to the longest sentence of the minibatch is attended to, as published",
    },
    widen: None,
    import: Some(import::import),
    attention: None,
    gene_vectors: None,
    perturbs: None,
    task,
};

/// Tokens before the genes: padding, two brackets of chromosomes, `CLS`.
const FIRST_GENE: u32 = 4;

fn task(spec: &ModelSpec, data: &DataSpec) -> Result<Box<dyn Trainable>> {
    let mut network: UceConfig = spec.network()?;
    let input: SentenceInput = spec.input()?;
    input.check()?;
    let genes = data.genes.len();
    let proteins = input.proteins.of(&data.genes)?;
    let table = input.chromosomes.as_deref();
    let mut located = places(data, table, &input.species, FIRST_GENE)?;
    for (place, known) in located.iter_mut().zip(&proteins.known) {
        *place = place.filter(|_| *known);
    }
    let chromosomes = renumber(&mut located);
    network.tokens = FIRST_GENE as usize + genes + chromosomes;
    network.token_dim = proteins.dim;
    network.check()?;
    spec.settled(&network)?;
    let layout = Layout {
        sample: input.sample,
        length: network.max_length,
        chromosome_offset: FIRST_GENE + genes as u32,
        ..Layout::default()
    };
    let longest = 1 + 2 * chromosomes + input.sample;
    if longest > network.max_length {
        return Err(TrainError::Config(format!(
            "uce: {} genes sampled from {} chromosomes make sentences of up to {longest} tokens, but \
             network.max_length = {}; lower input.sample or raise it",
            input.sample, chromosomes, network.max_length
        )));
    }
    let task = UceTask {
        network,
        input,
        layout,
        located: Arc::new(located),
        proteins: Arc::new(proteins),
        seed: data.seed,
    };
    match spec.objective()? {
        ANNOTATION => annotated(task, spec, data),
        _ => Ok(Box::new(task)),
    }
}

/// The tokeniser, and the targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SentenceInput {
    /// Number of genes sampled from a cell.
    pub sample: usize,
    /// Source of the gene vectors.
    pub proteins: Proteins,
    /// `species_chrom.csv`, or none for all genes in one row.
    pub chromosomes: Option<PathBuf>,
    /// The species in that table.
    pub species: String,
    /// Numbers of masked genes and targets.
    #[serde(alias = "ask")]
    pub targets: TrainingConfig,
    /// Minibatch size for embedding.
    pub embed_minibatch: usize,
}

impl SentenceInput {
    fn check(&self) -> Result<()> {
        const OF: &str = "uce: input.";
        ranges::sizes(
            OF,
            &[
                ("sample", self.sample),
                ("embed_minibatch", self.embed_minibatch),
            ],
        )?;
        ranges::below_one(OF, &[("targets.hidden", self.targets.hidden)])?;
        let targets = [
            ("targets.positives", self.targets.positives),
            ("targets.negatives", self.targets.negatives),
        ];
        ranges::counts(OF, &targets)?;
        if targets.iter().all(|(_, n)| *n == 0) {
            return Err(TrainError::Config(format!(
                "{OF}targets.positives and targets.negatives are 0, so there are no targets"
            )));
        }
        Ok(self.proteins.check(OF)?)
    }
}

impl Default for SentenceInput {
    fn default() -> Self {
        Self {
            sample: 1024,
            proteins: Proteins::default(),
            chromosomes: None,
            species: "human".into(),
            targets: TrainingConfig::default(),
            embed_minibatch: 32,
        }
    }
}

/// UCE as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct UceTask {
    /// The network; its tokens are those of the vocabulary.
    pub network: UceConfig,
    /// The tokeniser.
    pub input: SentenceInput,
    layout: Layout,
    located: Arc<Vec<Option<Located>>>,
    proteins: Arc<ProteinTable>,
    /// Seed of every random stream.
    pub seed: u64,
}

/// Sentences of a minibatch and the target genes, on the host.
pub struct UceInput {
    sentences: Padded,
    targets: Vec<i64>,
    expressed: Vec<f32>,
}

/// Sentences as long as the longest of them.
fn padded(sentences: &[Sentence], pad: u32) -> Padded {
    let tokens = |s: &Sentence| s.tokens[..s.len].iter().map(|&t| i64::from(t)).collect();
    let rows: Vec<Vec<i64>> = sentences.iter().map(tokens).collect();
    Padded::new(&rows, i64::from(pad), 1)
}

fn on_device(tokens: &Padded, device: &Device) -> Sentences {
    Sentences {
        ids: tokens.ids_on(device),
        padding: tokens.padding_on(device),
    }
}

impl UceTask {
    /// The table of tokens: padding is zero, brackets, `CLS` and chromosomes are drawn once.
    fn table(&self) -> Vec<f32> {
        let dim = self.proteins.dim;
        let names = |first: usize, n: usize| (first..first + n).map(|k| format!("uce token {k}"));
        let genes = self.located.len();
        let drawn = |names: Vec<String>| -> Vec<f32> {
            let random = Proteins::Random { dim };
            let table = random.of(&names);
            table.map_or(Vec::new(), |t| t.vectors(0..names.len()))
        };
        let mut table = vec![0.0; dim];
        table.extend(drawn(names(1, FIRST_GENE as usize - 1).collect()));
        table.extend(self.proteins.vectors(0..genes));
        let first = FIRST_GENE as usize + genes;
        table.extend(drawn(names(first, self.network.tokens - first).collect()));
        table
    }

    /// A cell that has counts in no gene with a place is its `CLS` alone.
    fn cls_alone(&self) -> Sentence {
        let mut tokens = vec![self.layout.pad; self.layout.length];
        tokens[0] = self.layout.cls;
        Sentence { tokens, len: 1 }
    }

    fn has_counts(&self, genes: &[u32], counts: &[f32]) -> bool {
        let placed = |g: u32| self.located.get(g as usize).is_some_and(Option::is_some);
        genes
            .iter()
            .zip(counts)
            .any(|(&g, &c)| c > 0.0 && placed(g))
    }
}

impl Task for UceTask {
    type Model = Uce;
    type Input = UceInput;
    type Cells = Padded;

    fn network(&self) -> &UceConfig {
        &self.network
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn build(&self, device: &Device) -> Result<Uce> {
        let model = Self::Model::initial(&self.network, self.seed, device)?;
        let data = TensorData::new(self.table(), [self.network.tokens, self.proteins.dim]);
        Ok(model.with_table(Tensor::from_data(data, device)))
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        corpus.minibatches(size, self.seed, epoch)
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<UceInput> {
        let (mut sentences, mut targets, mut expressed) = (Vec::new(), Vec::new(), Vec::new());
        for (i, &key) in cells.keys.iter().enumerate() {
            let cell = cells.counts.row(i);
            if !self.has_counts(cell.0, cell.1) {
                continue;
            }
            let key = [self.seed, key, epoch];
            let config = &self.input.targets;
            let draw = TrainingDraw::new(&self.layout, config, &self.located, cell, key)?;
            let made = training_sentence(&self.layout, config, &self.located, cell, &draw)?;
            sentences.push(made.sentence);
            targets.extend(made.targets.iter().map(|&t| i64::from(t)));
            expressed.extend(made.expressed.iter().map(|&e| f32::from(u8::from(e))));
        }
        if sentences.is_empty() {
            return Err(TrainError::Config(format!(
                "none of the {} cells of a minibatch (row {} of the file and others) has counts in a gene \
                 with a protein embedding and a position on a chromosome; remove such cells",
                cells.rows.len(),
                cells.rows.first().copied().unwrap_or_default()
            )));
        }
        Ok(UceInput {
            sentences: padded(&sentences, self.layout.pad),
            targets,
            expressed,
        })
    }

    fn losses(&self, model: &Uce, input: UceInput, _: u64, device: &Device) -> Losses {
        let cells = model.embed(&on_device(&input.sentences, device));
        let n = input.sentences.cells;
        let shape = [n, input.targets.len() / n.max(1)];
        let targets = TensorData::new(input.targets, shape);
        let genes = model.genes(Tensor::<2, Int>::from_data(targets, device));
        let expressed = TensorData::new(input.expressed, shape);
        let logits = model.expressed(cells, genes);
        let loss = binary_cross_entropy(logits, Tensor::from_data(expressed, device));
        Losses::weighted(Tensor::zeros([1], device), vec![("bce", loss, 1.0)])
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        // Where cells of a minibatch influence each other, they should not be adjacent rows.
        let rows = match self.network.padding {
            PaddingMode::Strict => corpus.rows.to_vec(),
            PaddingMode::Compat => corpus.ordered(),
        };
        sampler::sequential(&rows, |_| 0, self.input.embed_minibatch)
    }

    fn cells(&self, cells: CellBatch) -> Result<Padded> {
        let each = |(i, &key): (usize, &u64)| {
            let cell = cells.counts.row(i);
            if !self.has_counts(cell.0, cell.1) {
                return Ok(self.cls_alone());
            }
            let key = [self.seed, key, Pass::Embedding.epoch()];
            sentence(&self.layout, &self.located, cell, key)
        };
        let sentences: Result<Vec<_>, _> = cells.keys.iter().enumerate().map(each).collect();
        Ok(padded(&sentences?, self.layout.pad))
    }

    fn encode(&self, model: &Uce, cells: Padded, device: &Device) -> Tensor<2> {
        model.embed(&on_device(&cells, device))
    }

    fn dims(&self) -> usize {
        self.network.output
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::Uce {
            config: self.layout,
            table: None,
        }
    }
}
