//! Geneformer: ranked genes, masked genes.

mod import;
#[cfg(all(test, feature = "flex"))]
mod tests;

use crate::error::Result;
use crate::gene_vectors::GeneVectors;
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::DataSpec;
use crate::losses::Losses;
use crate::registry::{Architecture, Features, Kind, MinibatchDependence};
use crate::spec::{ModelSpec, Trainable};
use crate::task::{Pass, Task};
use crate::tasks::annotation::{ANNOTATION, annotated};
use crate::tasks::padded::{MaskedTokens, Padded};
use burn::tensor::{Device, Tensor};
use rand::RngExt as _;
use sc_data::rng::stream;
use sc_data::sampling::sampler;
use sc_data::tokens::Tokenizer;
use sc_data::tokens::ranks::{self, FIRST_GENE, MeanMode, RankConfig};
use sc_models::geneformer::{Geneformer, GeneformerConfig, Tokens};
use sc_models::ranges;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Geneformer among the architectures.
pub const GENEFORMER: Architecture = Architecture {
    name: "geneformer",
    kind: Kind::FoundationModel,
    paper: "Theodoris et al., Nature 2023",
    tokens: "genes ranked by expression over their typical value",
    objectives: &["masked-gene", ANNOTATION],
    annotation: Some(ANNOTATION),
    annotation_network: None,
    decodes: false,
    weights: "Geneformer folder (config.json, model.safetensors or pytorch_model.bin, token dictionary)",
    licence: "Apache-2.0",
    needs: &[],
    features: Features::Genes,
    minibatch_dependence: MinibatchDependence::None,
    widen: None,
    import: Some(import::import),
    attention: None,
    gene_vectors: Some(GeneVectors {
        first: |spec| {
            let input: RankInput = spec.input().unwrap_or_default();
            input.ends.special() as usize
        },
        ..GeneVectors::rows("word_embeddings.weight")
    }),
    perturbs: None,
    task,
};

/// Padding.
const PAD: u32 = 0;
/// Stands where a gene is hidden.
const MASK: u32 = 1;
/// Begins a cell in the second version.
const CLS: u32 = 2;
/// Ends a cell in the second version.
const EOS: u32 = 3;

fn task(spec: &ModelSpec, data: &DataSpec) -> Result<Box<dyn Trainable>> {
    let mut network: GeneformerConfig = spec.network()?;
    let input: RankInput = spec.input()?;
    input.check()?;
    let genes = data.genes.len();
    network.tokens = genes + input.ends.special() as usize;
    network.check()?;
    spec.settled(&network)?;
    let typical = match data.means.len() == genes {
        true => ranks::means(&data.means, MeanMode::Released),
        false => vec![1.0; genes],
    };
    // Of a gene that no training cell expresses nothing is known.
    let typical = typical.iter().map(|m| if m.is_nan() { 1.0 } else { *m });
    let task = GeneformerTask {
        network,
        input,
        typical: Arc::new(typical.collect()),
        seed: data.seed,
    };
    match spec.objective()? {
        ANNOTATION => annotated(task, spec, data),
        _ => Ok(Box::new(task)),
    }
}

/// What stands around the genes of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ends {
    /// Nothing, as in the first version.
    #[default]
    None,
    /// `<cls>` before and `<eos>` behind, as in the second.
    ClsEos,
}

impl Ends {
    /// Special tokens; the first gene follows them.
    fn special(self) -> u32 {
        match self {
            Self::None => 2,
            Self::ClsEos => 4,
        }
    }

    /// Tokens around the genes.
    fn around(self) -> usize {
        match self {
            Self::None => 0,
            Self::ClsEos => 2,
        }
    }
}

/// How a cell becomes tokens, and what is hidden of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankInput {
    /// What stands around the genes.
    pub ends: Ends,
    /// Share of the genes that are hidden.
    pub mask: f64,
    /// Cells in a minibatch when embedding.
    pub embed_minibatch: usize,
}

impl Default for RankInput {
    fn default() -> Self {
        Self {
            ends: Ends::None,
            mask: 0.15,
            embed_minibatch: 64,
        }
    }
}

impl RankInput {
    fn check(&self) -> Result<()> {
        const OF: &str = "geneformer: input.";
        ranges::sizes(OF, &[("embed_minibatch", self.embed_minibatch)])?;
        let mask = [("mask", self.mask)];
        ranges::positive(OF, &mask)?;
        Ok(ranges::shares(OF, &mask)?)
    }
}

/// Geneformer with masked genes as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneformerTask {
    /// The network; its tokens are those of the vocabulary.
    pub network: GeneformerConfig,
    /// How a cell becomes tokens.
    pub input: RankInput,
    /// What counts are divided by before they are ranked, `[genes]`: the published medians, or means of
    /// the training cells that express the gene.
    pub typical: Arc<Vec<f32>>,
    /// Seed of every random stream.
    pub seed: u64,
}

/// Tokens of a minibatch on the host.
pub struct RankBatch {
    tokens: Padded,
    hidden: MaskedTokens,
}

impl GeneformerTask {
    /// Tokens of one cell, the most telling gene first.
    fn tokens(&self, genes: &[u32], counts: &[f32]) -> Result<Vec<i64>> {
        let ends = self.input.ends;
        let max_genes = self.network.context_length.saturating_sub(ends.around());
        let ranked = ranks::rank(genes, counts, &self.typical, max_genes)?;
        let genes = ranked.iter().map(|t| t - FIRST_GENE + ends.special());
        let all: Vec<u32> = match ends {
            Ends::None => genes.collect(),
            Ends::ClsEos => [CLS].into_iter().chain(genes).chain([EOS]).collect(),
        };
        Ok(all.into_iter().map(i64::from).collect())
    }

    /// Cells as tokens, with a share of the genes hidden in training: of these eight in ten by the
    /// mask, one by any token, one not at all.
    fn batch(&self, cells: &CellBatch, pass: Pass) -> Result<RankBatch> {
        let rows = (0..cells.rows.len()).map(|i| {
            let (genes, counts) = cells.counts.row(i);
            self.tokens(genes, counts)
        });
        let mut rows: Vec<Vec<i64>> = rows.collect::<Result<_>>()?;
        let length = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut hidden = MaskedTokens::default();
        if let Pass::Training(epoch) = pass {
            for (i, (row, &key)) in rows.iter_mut().zip(&cells.keys).enumerate() {
                let mut rng = stream(self.seed, "mask", key, epoch);
                for (k, token) in row.iter_mut().enumerate() {
                    let (draw, how) = (rng.random::<f64>(), rng.random::<f64>());
                    let any = i64::from(rng.random_range(0..self.network.tokens as u32));
                    if draw >= self.input.mask || *token < i64::from(self.input.ends.special()) {
                        continue;
                    }
                    hidden.positions.push((i * length + k) as i64);
                    hidden.tokens.push(*token);
                    *token = match how {
                        h if h < 0.8 => i64::from(MASK),
                        h if h < 0.9 => any,
                        _ => *token,
                    };
                }
            }
        }
        Ok(RankBatch {
            tokens: Padded::new(&rows, i64::from(PAD), 0),
            hidden,
        })
    }
}

fn on_device(tokens: &Padded, device: &Device) -> Tokens {
    Tokens {
        ids: tokens.ids_on(device),
        padding: tokens.padding_on(device),
    }
}

impl Task for GeneformerTask {
    type Model = Geneformer;
    type Input = RankBatch;
    type Cells = Padded;

    fn network(&self) -> &GeneformerConfig {
        &self.network
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        corpus.minibatches(size, self.seed, epoch)
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<RankBatch> {
        self.batch(&cells, Pass::Training(epoch))
    }

    fn losses(&self, model: &Geneformer, input: RankBatch, _: u64, device: &Device) -> Losses {
        // Cells without counts have no token; one that is no target keeps the loss, 0, a function of the
        // weights.
        let tokens = match input.tokens.length {
            0 => Padded::new(&vec![vec![i64::from(PAD)]; input.tokens.cells], 0, 1),
            _ => input.tokens,
        };
        let outputs = model.last(&on_device(&tokens, device));
        let logits = |hidden| model.logits(hidden);
        input.hidden.losses(outputs, logits, device)
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        sampler::sequential(&corpus.rows, |_| 0, self.input.embed_minibatch)
    }

    fn cells(&self, cells: CellBatch) -> Result<Padded> {
        Ok(self.batch(&cells, Pass::Embedding)?.tokens)
    }

    fn encode(&self, model: &Geneformer, cells: Padded, device: &Device) -> Tensor<2> {
        if cells.length == 0 {
            // Cells without counts have no token to take a mean of.
            return Tensor::zeros([cells.cells, self.network.width], device);
        }
        model.embed(&on_device(&cells, device))
    }

    fn dims(&self) -> usize {
        self.network.width
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::Ranks {
            config: RankConfig {
                length: self.network.context_length,
                context_length: self.network.context_length,
                mean: MeanMode::Released,
            },
            table: None,
        }
    }
}
