//! scGPT and scFormer: expressed genes as tokens, binned values, masked-value prediction.

mod import;

use crate::corpus::{CellBatch, Corpus};
use crate::error::Result;
use crate::facts::Facts;
use crate::losses::Losses;
use crate::losses::expression::{elastic_cell_similarity, expressed_nll, masked_mse};
use crate::registry::{Architecture, Features};
use crate::spec::{ModelSpec, Trainable};
use crate::task::Task;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use sc_data::rng::stream;
use sc_data::sampler;
use sc_data::tokens::{Ties, Tokenizer, bin_cell, bin_row_highest};
use sc_models::init::initialise;
use sc_models::layers::lookup::unit;
use sc_models::layers::norm::Phase;
use sc_models::scgpt::{INIT, InputNorm, NAMES, Prediction, ScGpt, ScGptConfig, Tokens};
use sc_models::weights::Names;
use serde::{Deserialize, Serialize};

/// Value of a masked token.
const MASKED: f32 = -1.0;
/// Value of padding.
const PADDING: f32 = -2.0;
/// The epoch whose draws serve embedding.
const EMBEDDING: u64 = u64::MAX;

/// How a cell becomes tokens, and what is asked of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenConfig {
    /// Most tokens of a cell, `<cls>` included; a cell with more genes shows a random part.
    pub length: usize,
    /// Value of `<cls>`.
    pub cls_value: f32,
    /// Bins of the values, 0 included.
    pub bins: usize,
    /// How ties are broken.
    pub ties: Ties,
    /// Share of the tokens that are masked.
    pub mask: f64,
    /// Threshold of the elastic cell similarity loss, if it is used.
    pub ecs_threshold: Option<f64>,
    /// Cells a minibatch when embedding.
    pub embed_minibatch: usize,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            length: 1200,
            cls_value: 0.0,
            bins: 51,
            ties: Ties::Random,
            mask: 0.4,
            ecs_threshold: None,
            embed_minibatch: 64,
        }
    }
}

/// scGPT among the architectures.
pub const SCGPT: Architecture = Architecture {
    name: "scgpt",
    paper: "Cui et al., Nature Methods 2024",
    tokens: "expressed genes with binned values",
    objectives: &["masked"],
    weights: "scGPT args.json, vocab.json and best_model.pt",
    licence: "MIT",
    needs: &[],
    features: Features::Genes,
    widen: None,
    import: Some(import::import),
    task,
};

/// scFormer among the architectures.
pub const SCFORMER: Architecture = Architecture {
    name: "scformer",
    paper: "Cui et al., bioRxiv 2022",
    weights: "none published",
    import: None,
    licence: "none published",
    ..SCGPT
};

fn task(spec: &ModelSpec, facts: &Facts) -> Result<Box<dyn Trainable>> {
    let genes = facts.genes.len();
    let mut network: ScGptConfig = spec.network()?;
    network.tokens = genes + SPECIAL_TOKENS;
    network.pad = genes;
    if let InputNorm::DomainSpecific { domains, .. } = &mut network.input_norm {
        *domains = facts.batches.max(1);
    }
    network.check()?;
    Ok(Box::new(ScGptTask {
        network,
        input: spec.input()?,
        genes,
        seed: facts.seed,
    }))
}

/// scGPT or scFormer as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct ScGptTask {
    /// The network; `tokens` and `pad` are those of the vocabulary.
    pub network: ScGptConfig,
    /// How a cell becomes tokens.
    pub input: TokenConfig,
    /// Genes of the vocabulary; special tokens follow them.
    pub genes: usize,
    /// Seed of every random stream.
    pub seed: u64,
}

/// Tokens of a minibatch on the host, `[cells, length]` row-major.
pub struct TokenInput {
    cells: usize,
    length: usize,
    genes: Vec<i64>,
    values: Vec<f32>,
    targets: Vec<f32>,
    masked: Vec<f32>,
    padding: Vec<bool>,
    batches: Vec<i64>,
}

/// Special tokens that follow the genes: `<pad>`, `<cls>`, `<eoc>`.
pub const SPECIAL_TOKENS: usize = 3;

impl ScGptTask {
    fn pad(&self) -> i64 {
        self.genes as i64
    }

    fn cls(&self) -> i64 {
        self.genes as i64 + 1
    }

    /// Genes and bins of one cell, without `<cls>`.
    fn tokens(
        &self,
        cell: u64,
        genes: &[u32],
        counts: &[f32],
        epoch: u64,
    ) -> Result<Vec<(i64, f32)>> {
        if counts.is_empty() {
            return Ok(Vec::new());
        }
        let bins = match self.input.ties {
            Ties::Random => bin_cell(counts, self.input.bins, self.seed, cell, epoch),
            Ties::Highest => bin_row_highest(counts, self.input.bins),
        }?;
        let mut tokens: Vec<(i64, f32)> = genes
            .iter()
            .zip(bins)
            .map(|(&g, b)| (i64::from(g), b as f32))
            .collect();
        let room = self.input.length.saturating_sub(1);
        if tokens.len() > room {
            let mut rng = stream(self.seed, "genes", cell, epoch);
            let mut chosen = rand::seq::index::sample(&mut rng, tokens.len(), room).into_vec();
            chosen.sort_unstable();
            tokens = chosen.into_iter().map(|i| tokens[i]).collect();
        }
        Ok(tokens)
    }

    fn arrange(&self, cells: CellBatch, epoch: u64) -> Result<TokenInput> {
        let rows: Vec<Vec<(i64, f32)>> = cells
            .rows
            .iter()
            .enumerate()
            .map(|(i, &row)| {
                let (genes, counts) = cells.counts.row(i);
                self.tokens(row as u64, genes, counts, epoch)
            })
            .collect::<Result<_>>()?;
        let length = rows.iter().map(Vec::len).max().unwrap_or(0) + 1;
        let n = rows.len();
        let mut input = TokenInput {
            cells: n,
            length,
            genes: vec![self.pad(); n * length],
            values: vec![PADDING; n * length],
            targets: vec![0.0; n * length],
            masked: vec![0.0; n * length],
            padding: vec![true; n * length],
            batches: cells.batches.iter().map(|&b| i64::from(b)).collect(),
        };
        for (i, tokens) in rows.iter().enumerate() {
            let at = i * length;
            input.genes[at] = self.cls();
            input.values[at] = self.input.cls_value;
            input.padding[at] = false;
            for (k, &(gene, value)) in tokens.iter().enumerate() {
                let at = at + 1 + k;
                input.genes[at] = gene;
                input.values[at] = value;
                input.targets[at] = value;
                input.padding[at] = false;
            }
            if epoch != EMBEDDING {
                let mut rng = stream(self.seed, "mask", cells.rows[i] as u64, epoch);
                let count = (tokens.len() as f64 * self.input.mask) as usize;
                for k in rand::seq::index::sample(&mut rng, tokens.len(), count) {
                    input.values[at + 1 + k] = MASKED;
                    input.masked[at + 1 + k] = 1.0;
                }
            }
        }
        Ok(input)
    }

    fn on_device(&self, input: &TokenInput, device: &Device) -> Tokens {
        let shape = [input.cells, input.length];
        let padded = input.padding.iter().any(|&p| p);
        let padding = padded.then(|| {
            Tensor::<2, Bool>::from_data(TensorData::new(input.padding.clone(), shape), device)
        });
        let batches = TensorData::new(input.batches.clone(), [input.cells]);
        Tokens {
            genes: Tensor::from_data(TensorData::new(input.genes.clone(), shape), device),
            values: Tensor::from_data(TensorData::new(input.values.clone(), shape), device),
            // Padding and the padding token are the same positions here.
            frozen: padding.clone(),
            padding,
            batches: Some(Tensor::<1, Int>::from_data(batches, device)),
            domain: input.batches.first().map_or(0, |&b| b as usize),
        }
    }
}

impl Task for ScGptTask {
    type Model = ScGpt;
    type Input = TokenInput;

    fn build(&self, device: &Device) -> Result<ScGpt> {
        Ok(initialise(self.empty(device)?, self.seed, INIT))
    }

    fn empty(&self, device: &Device) -> Result<ScGpt> {
        Ok(ScGpt::new(&self.network, device)?)
    }

    fn names(&self) -> Names {
        NAMES
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        match self.network.input_norm {
            // Statistics are per batch, so a minibatch holds one batch only.
            InputNorm::DomainSpecific { .. } => corpus.grouped(size, self.seed, epoch),
            _ => corpus.minibatches(size, self.seed, epoch),
        }
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<TokenInput> {
        self.arrange(cells, epoch)
    }

    fn losses(&self, model: &ScGpt, input: TokenInput, _: u64, device: &Device) -> Losses {
        let tokens = self.on_device(&input, device);
        let shape = [input.cells, input.length];
        let matrix = |v: Vec<f32>| Tensor::<2>::from_data(TensorData::new(v, shape), device);
        let (target, mask) = (matrix(input.targets), matrix(input.masked));
        let outputs = model.forward(&tokens, Phase::Train, &mut ());
        let mut terms: Vec<(&'static str, Tensor<1>, f64)> = Vec::new();
        let mut predicted = |names: [&'static str; 2], p: &Prediction| {
            terms.push((
                names[0],
                masked_mse(p.value.clone(), target.clone(), mask.clone()),
                1.0,
            ));
            if let Some(e) = &p.expressed {
                terms.push((
                    names[1],
                    expressed_nll(e.clone(), target.clone(), mask.clone()),
                    1.0,
                ));
            }
        };
        predicted(["gep", "zero_log_prob"], &outputs.expression);
        if let Some(from_cell) = &outputs.from_cell {
            predicted(["gepc", "gepc_zero_log_prob"], from_cell);
        }
        if let Some(threshold) = self.input.ecs_threshold {
            terms.push((
                "ecs",
                elastic_cell_similarity(outputs.encoded.cell, threshold),
                10.0,
            ));
        }
        Losses::weighted(Tensor::zeros([1], device), terms)
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        match self.network.input_norm {
            InputNorm::DomainSpecific { .. } => sampler::sequential(
                &corpus.rows,
                |r| corpus.batches[r],
                self.input.embed_minibatch,
            ),
            _ => sampler::sequential(&corpus.rows, |_| 0, self.input.embed_minibatch),
        }
    }

    fn embed(&self, model: &ScGpt, cells: CellBatch, device: &Device) -> Result<Tensor<2>> {
        let tokens = self.on_device(&self.arrange(cells, EMBEDDING)?, device);
        Ok(unit(model.encode(&tokens, Phase::Eval, &mut ()).cell))
    }

    fn dims(&self) -> usize {
        self.network.width
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::Bins {
            bins: self.input.bins,
            ties: self.input.ties,
            length: self.input.length,
        }
    }
}
