//! Nicheformer: ranked genes, masked tokens.

mod import;
mod niche;

pub use niche::NicheTask;

use crate::error::{Result, TrainError};
use crate::gene_vectors::GeneVectors;
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::{DataSpec, MISSING, Role};
use crate::losses::Losses;
use crate::registry::{Architecture, Features, Kind, MinibatchDependence};
use crate::spec::{ModelSpec, Trainable};
use crate::task::{Pass, Task};
use crate::tasks::padded::{MaskedTokens, Padded};
use burn::tensor::{Device, Tensor};
use sc_data::sampling::sampler;
use sc_data::tokens::Tokenizer;
use sc_data::tokens::ranks::{self, FIRST_GENE, MaskDraws, MeanMode, PAD, RankConfig};
use sc_models::nicheformer::{
    Context, HeadConfig, Nicheformer, NicheformerConfig, Pooling, Tokens,
};
use sc_models::ranges;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Nicheformer in the registry.
pub const NICHEFORMER: Architecture = Architecture {
    name: "nicheformer",
    kind: Kind::FoundationModel,
    paper: "Tejada-Lapuerta et al., Nature Methods 2025",
    tokens: "genes ranked by expression over the mean",
    objectives: &[
        "masked-token",
        "niche-composition",
        "niche-density",
        "niche-label",
    ],
    annotation: Some("niche-label"),
    annotation_network: None,
    decodes: false,
    weights: "Nicheformer model.safetensors or .ckpt",
    licence: "MIT",
    needs: &[],
    features: Features::Genes,
    minibatch_dependence: MinibatchDependence::None,
    widen: None,
    import: Some(import::import),
    attention: None,
    gene_vectors: Some(GeneVectors {
        first: |_| FIRST_GENE as usize,
        ..GeneVectors::rows("embeddings.weight")
    }),
    perturbs: None,
    task,
};

/// Rows of the published token table that are not classes.
const SPARE_ROWS: usize = 5;

fn task(spec: &ModelSpec, data: &DataSpec) -> Result<Box<dyn Trainable>> {
    let mut network: NicheformerConfig = spec.network()?;
    let input: RankedInput = spec.input()?;
    input.check()?;
    let genes = data.genes.len();
    network.tokens = genes + FIRST_GENE as usize;
    network.table = network.tokens + SPARE_ROWS;
    network.check()?;
    spec.settled(&network)?;
    let means = match input.mean {
        MeanMode::None => vec![1.0; genes],
        mode if data.means.len() == genes => ranks::means(&data.means, mode),
        _ => vec![1.0; genes],
    };
    let species = species_tokens(data, input.species)?;
    let head = input.head.clone();
    let task = NicheformerTask {
        network,
        input,
        means: Arc::new(means),
        species,
        seed: data.seed,
    };
    Ok(match spec.objective()? {
        "masked-token" => {
            spec.unread_input(&["head"])?;
            Box::new(task)
        }
        objective => Box::new(NicheTask::new(task, objective, head, data)?),
    })
}

/// The tokeniser, and the masking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankedInput {
    /// Token of the organism without a species column: 5 human, 6 mouse.
    pub species: u32,
    /// Token of the assay: 7 MERFISH, 8 CosMx, 9 Xenium, 10 to 18 kinds of dissociated assays.
    pub assay: u32,
    /// Token of the modality: 3 dissociated, 4 spatial.
    pub modality: u32,
    /// Use of the mean of the genes over the training cells.
    pub mean: MeanMode,
    /// Share of the tokens that are targets.
    pub mask: f64,
    /// Minibatch size for embedding.
    pub embed_minibatch: usize,
    /// The head of objectives on the niche.
    pub head: HeadConfig,
}

impl Default for RankedInput {
    fn default() -> Self {
        Self {
            species: 5,
            assay: 11,
            modality: 3,
            mean: MeanMode::Corpus,
            mask: 0.15,
            embed_minibatch: 64,
            head: HeadConfig::default(),
        }
    }
}

impl RankedInput {
    fn check(&self) -> Result<()> {
        const OF: &str = "nicheformer: input.";
        ranges::sizes(OF, &[("embed_minibatch", self.embed_minibatch)])?;
        let mask = [("mask", self.mask)];
        ranges::positive(OF, &mask)?;
        ranges::shares(OF, &mask)?;
        for (name, token) in [
            ("species", self.species),
            ("assay", self.assay),
            ("modality", self.modality),
        ] {
            if !(SPECIAL..FIRST_GENE).contains(&token) {
                return Err(TrainError::Config(format!(
                    "{OF}{name} = {token}; context tokens lie between {SPECIAL} and {}",
                    FIRST_GENE - 1
                )));
            }
        }
        Ok(())
    }
}

/// The first context token; masks and padding come before.
const SPECIAL: u32 = 3;

/// The token of every species of the data.
fn species_tokens(data: &DataSpec, otherwise: u32) -> Result<Vec<u32>> {
    let Some(names) = data.levels.get(&Role::Species) else {
        return Ok(vec![otherwise]);
    };
    let token = |name: &String| match name.to_lowercase().as_str() {
        "human" | "homo sapiens" | "ncbitaxon:9606" => Ok(5),
        "mouse" | "mus musculus" | "ncbitaxon:10090" => Ok(6),
        _ => Err(TrainError::Config(format!(
            "nicheformer: species '{name}' has no token; there are human and mouse"
        ))),
    };
    names.iter().map(token).collect()
}

/// Nicheformer with masked tokens as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct NicheformerTask {
    /// The network; its tokens are those of the vocabulary.
    pub network: NicheformerConfig,
    /// The tokeniser.
    pub input: RankedInput,
    /// Divisors of counts before ranking, `[genes]`.
    pub means: Arc<Vec<f32>>,
    /// Token of every species of the data; for a single species, that of all cells.
    pub species: Vec<u32>,
    /// Seed of every random stream.
    pub seed: u64,
}

/// Tokens of a minibatch on the host, `[cells, length]` row-major.
pub struct RankedTokens {
    tokens: Padded,
    hidden: MaskedTokens,
}

impl NicheformerTask {
    /// Tokens of cells, as long as the longest of them, the network's length at most.
    fn tokenize(&self, cells: &CellBatch, pass: Pass) -> Result<RankedTokens> {
        let max_genes = self.network.context_length.saturating_sub(3);
        let species = cells.codes(Role::Species);
        let mut rows = Vec::with_capacity(cells.rows.len());
        for (i, species) in species.iter().enumerate() {
            let (genes, counts) = cells.counts.row(i);
            let ranked = ranks::rank(genes, counts, &self.means, max_genes)?;
            let of = self.species.get(*species as usize).or(self.species.first());
            let first = match *species {
                MISSING => self.species.first(),
                _ => of,
            };
            let first = first.copied().unwrap_or(self.input.species);
            rows.push(([first, self.input.assay, self.input.modality], ranked));
        }
        let longest = rows.iter().map(|r| r.1.len()).max().unwrap_or(0) + 3;
        // The published mean includes padding, so the amount of padding must be fixed.
        let length = match self.network.pooling {
            Pooling::Released => self.network.context_length,
            Pooling::Masked => longest,
        };
        let mut hidden = MaskedTokens::default();
        let mut inputs = Vec::with_capacity(rows.len());
        for (i, ((context, ranked), &key)) in rows.iter().zip(&cells.keys).enumerate() {
            let (ids, _) = ranks::input_ids(*context, ranked, context.len() + ranked.len());
            let (input, masked) = match pass {
                Pass::Embedding => (ids.clone(), Vec::new()),
                Pass::Training(epoch) => {
                    let key = [self.seed, key, epoch];
                    let tokens = self.network.tokens as u32;
                    let draws = MaskDraws::draw(ids.len(), self.input.mask, tokens, key);
                    ranks::mask(&ids, &draws)
                }
            };
            for (k, _) in masked.iter().enumerate().filter(|(_, m)| **m) {
                hidden.positions.push((i * length + k) as i64);
                hidden.tokens.push(i64::from(ids[k]));
            }
            inputs.push(input.into_iter().map(i64::from).collect());
        }
        Ok(RankedTokens {
            tokens: Padded::new(&inputs, i64::from(PAD), length),
            hidden,
        })
    }
}

impl RankedTokens {
    fn on_device(&self, device: &Device) -> Tokens {
        Tokens {
            ids: self.tokens.ids_on(device),
            padding: self.tokens.padding_on(device),
        }
    }
}

impl Task for NicheformerTask {
    type Model = Nicheformer;
    type Input = RankedTokens;
    type Cells = RankedTokens;

    fn network(&self) -> &NicheformerConfig {
        &self.network
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        corpus.minibatches(size, self.seed, epoch)
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<RankedTokens> {
        self.tokenize(&cells, Pass::Training(epoch))
    }

    fn losses(&self, model: &Nicheformer, input: RankedTokens, _: u64, device: &Device) -> Losses {
        let outputs = model.last(&input.on_device(device));
        let logits = |hidden| model.logits(hidden);
        input.hidden.losses(outputs, logits, device)
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        sampler::sequential(&corpus.rows, |_| 0, self.input.embed_minibatch)
    }

    fn cells(&self, cells: CellBatch) -> Result<RankedTokens> {
        self.tokenize(&cells, Pass::Embedding)
    }

    fn encode(&self, model: &Nicheformer, cells: RankedTokens, device: &Device) -> Tensor<2> {
        let tokens = cells.on_device(device);
        model.pool(model.last(&tokens), &tokens, Context::Without)
    }

    fn reads(&self) -> Vec<Role> {
        vec![Role::Species]
    }

    fn dims(&self) -> usize {
        self.network.width
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::Ranks {
            config: RankConfig {
                length: self.network.context_length,
                context_length: self.network.context_length,
                mean: self.input.mean,
            },
            table: None,
        }
    }
}
