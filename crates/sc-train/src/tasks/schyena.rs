//! scHyena: masked expression over whole transcriptomes.

use crate::error::Result;
use crate::gene_vectors::GeneVectors;
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::DataSpec;
use crate::losses::expression::masked_mse;
use crate::losses::{Losses, total};
use crate::predict::Quantity;
use crate::registry::{Architecture, Features, Kind, MinibatchDependence};
use crate::spec::{ModelSpec, Trainable};
use crate::task::{Pass, Task, whole};
use crate::tasks::annotation::{ANNOTATION, annotated};
use burn::tensor::{Device, Int, Tensor, TensorData};
use sc_data::sampling::sampler;
use sc_data::tokens::Tokenizer;
use sc_data::tokens::profile::{self, ProfileConfig};
use sc_models::hyena::{Profiles, ScHyena, ScHyenaConfig};
use sc_models::ranges;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// scHyena in the registry.
pub const SCHYENA: Architecture = Architecture {
    name: "schyena",
    kind: Kind::FoundationModel,
    paper: "Oh et al., arXiv 2310.02713, 2023",
    tokens: "all genes, log1p of scaled counts",
    objectives: &["masked-expression", ANNOTATION],
    annotation: Some(ANNOTATION),
    annotation_network: None,
    decodes: true,
    weights: "none published",
    licence: "ours (safari, HyenaDNA: Apache-2.0)",
    needs: &[],
    features: Features::Genes,
    minibatch_dependence: MinibatchDependence::None,
    widen: None,
    import: None,
    attention: None,
    gene_vectors: Some(GeneVectors {
        first: |_| 1,
        ..GeneVectors::rows("embeddings.gene_embeddings.weight")
    }),
    perturbs: None,
    task,
};

fn task(spec: &ModelSpec, data: &DataSpec) -> Result<Box<dyn Trainable>> {
    let mut network: ScHyenaConfig = spec.network()?;
    network.genes = data.genes.len();
    network.check()?;
    spec.settled(&network)?;
    let input: ProfileInput = spec.input()?;
    const OF: &str = "schyena: input.";
    ranges::sizes(OF, &[("embed_minibatch", input.embed_minibatch)])?;
    let mask = ("mask", input.mask);
    ranges::positive(OF, &[("target", input.target), mask])?;
    ranges::shares(OF, &[mask])?;
    let task = ScHyenaTask::new(network, input, data.seed);
    match spec.objective()? {
        ANNOTATION => annotated(task, spec, data),
        _ => Ok(Box::new(task)),
    }
}

/// The tokeniser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileInput {
    /// Counts per cell before `ln(1 + x)`.
    pub target: f64,
    /// Share of the expressed genes that is masked in training.
    pub mask: f64,
    /// Seed of a random gene order, as a control for the effect of the order.
    pub permute: Option<u64>,
    /// Minibatch size for embedding.
    pub embed_minibatch: usize,
}

impl Default for ProfileInput {
    fn default() -> Self {
        let profile = ProfileConfig::default();
        Self {
            target: profile.target,
            mask: profile.mask,
            permute: profile.permute,
            embed_minibatch: 16,
        }
    }
}

/// scHyena as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct ScHyenaTask {
    /// The network; its genes are those of the data.
    pub network: ScHyenaConfig,
    /// The tokeniser.
    pub input: ProfileInput,
    /// Seed of every random stream.
    pub seed: u64,
    /// Position of every gene.
    order: Arc<Vec<u32>>,
    /// Embedding at every position: 0, the cell token's, then one more than the gene.
    ids: Arc<Vec<i64>>,
}

/// Profiles of a minibatch on the host, `[cells, genes]` row-major.
pub struct ProfileBatch {
    cells: usize,
    values: Vec<f32>,
    /// 1 at masked values; empty when nothing is masked.
    mask: Vec<f32>,
}

impl ScHyenaTask {
    /// The task of a network, whose genes are in the order of `input`.
    pub fn new(network: ScHyenaConfig, input: ProfileInput, seed: u64) -> Self {
        let order = profile::order(network.genes, input.permute);
        let mut ids = vec![0; order.len() + 1];
        for (gene, &place) in (1i64..).zip(&order) {
            ids[place as usize + 1] = gene;
        }
        Self {
            network,
            input,
            seed,
            order: Arc::new(order),
            ids: Arc::new(ids),
        }
    }

    /// Profiles of the cells, with a share of the values hidden in training.
    fn tokenize(&self, cells: &CellBatch, pass: Pass) -> Result<ProfileBatch> {
        let (n, genes) = (cells.rows.len(), self.network.genes);
        let mut values = Vec::with_capacity(n * genes);
        let mut mask = match pass {
            Pass::Training(_) => vec![0f32; n * genes],
            Pass::Embedding => Vec::new(),
        };
        for (i, &key) in cells.keys.iter().enumerate() {
            let (at, counts) = cells.counts.row(i);
            let cell = profile::profile(at, counts, self.input.target, &self.order)?;
            if let Pass::Training(epoch) = pass {
                let key = [self.seed, key, epoch];
                for place in profile::masked(&cell, self.input.mask, key) {
                    mask[i * genes + place as usize] = 1.0;
                }
            }
            values.extend(cell);
        }
        Ok(ProfileBatch {
            cells: n,
            values,
            mask,
        })
    }

    fn on_device(&self, batch: ProfileBatch, device: &Device) -> Profiles {
        let shape = [batch.cells, self.network.genes];
        let tensor = |data| Tensor::<2>::from_data(TensorData::new(data, shape), device);
        let ids = TensorData::new(self.ids.to_vec(), [1, self.ids.len()]);
        Profiles {
            genes: Tensor::<2, Int>::from_data(ids, device),
            mask: (!batch.mask.is_empty()).then(|| tensor(batch.mask)),
            values: tensor(batch.values),
        }
    }
}

impl Task for ScHyenaTask {
    type Model = ScHyena;
    type Input = ProfileBatch;
    type Cells = ProfileBatch;

    fn network(&self) -> &ScHyenaConfig {
        &self.network
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        corpus.minibatches(size, self.seed, epoch)
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<ProfileBatch> {
        self.tokenize(&cells, Pass::Training(epoch))
    }

    fn losses(&self, model: &ScHyena, input: ProfileBatch, _: u64, device: &Device) -> Losses {
        let hidden = input.mask.iter().any(|&m| m > 0.0);
        let profiles = self.on_device(input, device);
        let prediction = model.predict(&model.encode(&profiles));
        // Only expressed genes are masked, so a model may never learn a zero; the error over all
        // values is reported with the loss.
        let values = profiles.values.clone();
        let all = masked_mse(
            prediction.clone().detach(),
            values.clone(),
            values.ones_like(),
        );
        let masked = match profiles.mask {
            Some(mask) if hidden => masked_mse(prediction, values, mask),
            _ => total(prediction) * 0.0,
        };
        Losses {
            total: masked.clone(),
            terms: vec![("mse_masked", masked), ("mse_all", all)],
        }
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        sampler::sequential(&corpus.rows, |_| 0, self.input.embed_minibatch)
    }

    fn cells(&self, cells: CellBatch) -> Result<ProfileBatch> {
        self.tokenize(&cells, Pass::Embedding)
    }

    fn encode(&self, model: &ScHyena, cells: ProfileBatch, device: &Device) -> Tensor<2> {
        model.encode(&self.on_device(cells, device)).cell
    }

    fn predicts(&self) -> Vec<Quantity> {
        vec![Quantity::Expression]
    }

    fn predict(
        &self,
        model: &ScHyena,
        cells: ProfileBatch,
        quantity: Quantity,
        device: &Device,
    ) -> Option<Tensor<2>> {
        if quantity != Quantity::Expression {
            return None;
        }
        // Values are ln(1 + x), in the order of the positions.
        let encoded = model.encode(&self.on_device(cells, device));
        let values = model.predict(&encoded).exp() - 1.0;
        let places = self.order.iter().map(|&place| i64::from(place)).collect();
        Some(values.clamp_min(0.0).select(1, whole(places, device)))
    }

    fn dims(&self) -> usize {
        self.network.width
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::Profile {
            config: ProfileConfig {
                target: self.input.target,
                mask: self.input.mask,
                permute: self.input.permute,
            },
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests;
