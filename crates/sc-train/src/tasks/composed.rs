//! Composed models: tokeniser, encoder and objective, each chosen separately.
//!
//! Which part makes the difference, the transformer, the tokens or the objective? Published models
//! differ in all three. Here two of them are kept fixed while the third changes.

mod compatible;
mod sequences;
mod targets;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod tokens;

pub use compatible::Objective;
pub use tokens::TokenKind;

use crate::error::{Result, TrainError};
use crate::gene_vectors::GeneVectors;
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::{DataSpec, Role};
use crate::losses::Losses;
use crate::predict::Quantity;
use crate::registry::{Architecture, Features, Kind, MinibatchDependence};
use crate::spec::{ModelSpec, Trainable};
use crate::task::{Pass, Task};
use burn::tensor::{Device, Tensor};
use sc_data::sampling::sampler;
use sc_data::tokens::Tokenizer;
use sc_models::composed::{Composed, ComposedConfig, HeadConfig};
use sc_models::ranges;
use sequences::HostSequences;
use serde::{Deserialize, Serialize};
use targets::Target;
use tokens::Tokens;

/// Composed models in the registry.
pub const COMPOSED: Architecture = Architecture {
    name: "composed",
    kind: Kind::FoundationModel,
    paper: "none: combines parts of the others",
    tokens: "any of the others', by input.tokens",
    objectives: Objective::WORDS,
    annotation: Some("classify"),
    annotation_network: None,
    decodes: true,
    weights: "none published",
    licence: "ours",
    needs: &[],
    features: Features::Genes,
    minibatch_dependence: MinibatchDependence::None,
    widen: None,
    import: None,
    attention: None,
    gene_vectors: Some(GeneVectors::rows("embedding.genes.weight")),
    perturbs: None,
    task,
};

fn task(spec: &ModelSpec, data: &DataSpec) -> Result<Box<dyn Trainable>> {
    let mut network: ComposedConfig = spec.network()?;
    let input: ComposedInput = spec.input()?;
    input.check()?;
    let objective = Objective::named(spec.objective()?);
    compatible::check(&network.encoder, &input.tokens, objective)?;
    let read: &[&str] = match objective {
        Objective::MaskedValue | Objective::MaskedValueFromCell | Objective::MaskedGene => {
            &["mask"]
        }
        Objective::Expressed => &["left_out", "targets"],
        Objective::Denoise => &["noise"],
        Objective::Contrast => &["noise", "temperature"],
        Objective::Classify => &[],
    };
    let mut of_objectives = vec!["mask", "noise", "left_out", "targets", "temperature"];
    of_objectives.retain(|s| !read.contains(s));
    // The name of `targets` before.
    if of_objectives.contains(&"targets") {
        of_objectives.push("asked");
    }
    spec.unread_input(&of_objectives)?;
    let tokens = Tokens::new(input.tokens.clone(), data)?;
    network.genes = data.genes.len();
    network.tokens = tokens.table();
    network.length = 1 + tokens.longest();
    network.values = input.tokens.have_values();
    network.positions = input.tokens.are_ordered();
    network.head = match objective {
        Objective::MaskedValue => HeadConfig::Values,
        Objective::MaskedValueFromCell => HeadConfig::ValuesFromCell,
        Objective::MaskedGene => HeadConfig::Genes,
        Objective::Expressed => HeadConfig::Expressed,
        Objective::Denoise => HeadConfig::Counts,
        Objective::Contrast => HeadConfig::None,
        Objective::Classify => HeadConfig::Classes {
            labels: labels(data)?,
        },
    };
    network.check()?;
    spec.settled(&network)?;
    Ok(Box::new(ComposedTask {
        network,
        input,
        tokens,
        objective,
        seed: data.seed,
    }))
}

/// Number of labels; at least two are needed.
fn labels(data: &DataSpec) -> Result<usize> {
    match data.count(Role::Label, COMPOSED.name)? {
        n if n < 2 => Err(TrainError::Config(format!(
            "composed: the label column has {n} value, but a classifier needs at least two; choose another \
             column or another objective"
        ))),
        n => Ok(n),
    }
}

/// Tokeniser, and settings of the objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ComposedInput {
    /// The tokeniser.
    pub tokens: TokenKind,
    /// Masked objectives: share of the tokens that are masked.
    pub mask: f64,
    /// `denoise`, `contrast`: share of the counts that is removed.
    pub noise: f64,
    /// `expressed`: share of the expressed genes that is left out.
    pub left_out: f64,
    /// `expressed`: number of target genes, half of them expressed.
    #[serde(alias = "asked")]
    pub targets: usize,
    /// `contrast`: temperature of the cosines.
    pub temperature: f64,
    /// Minibatch size for embedding.
    pub embed_minibatch: usize,
}

impl Default for ComposedInput {
    fn default() -> Self {
        Self {
            tokens: TokenKind::default(),
            mask: 0.3,
            noise: 0.3,
            left_out: 0.2,
            targets: 64,
            temperature: 0.1,
            embed_minibatch: 64,
        }
    }
}

impl ComposedInput {
    fn check(&self) -> Result<()> {
        const OF: &str = "composed: input.";
        ranges::positive(OF, &[("mask", self.mask)])?;
        ranges::below_one(
            OF,
            &[
                ("mask", self.mask),
                ("noise", self.noise),
                ("left_out", self.left_out),
            ],
        )?;
        ranges::sizes(
            OF,
            &[
                ("targets", self.targets),
                ("embed_minibatch", self.embed_minibatch),
            ],
        )?;
        if self.targets < 2 {
            return Err(TrainError::Config(format!(
                "{OF}targets = 1; must be at least 2, one expressed gene and one unexpressed"
            )));
        }
        ranges::positive(OF, &[("temperature", self.temperature)])?;
        self.tokens.check(OF)
    }
}

/// A composed model as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct ComposedTask {
    network: ComposedConfig,
    input: ComposedInput,
    tokens: Tokens,
    objective: Objective,
    seed: u64,
}

/// A minibatch on the host.
pub struct ComposedBatch {
    input: HostSequences,
    target: Target,
}

impl Task for ComposedTask {
    type Model = Composed;
    type Input = ComposedBatch;
    type Cells = HostSequences;

    fn network(&self) -> &ComposedConfig {
        &self.network
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        corpus.minibatches(size, self.seed, epoch)
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<ComposedBatch> {
        self.batch(&cells, epoch)
    }

    fn losses(&self, model: &Composed, input: ComposedBatch, _: u64, device: &Device) -> Losses {
        self.loss(model, input, device)
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        sampler::sequential(&corpus.rows, |_| 0, self.input.embed_minibatch)
    }

    fn cells(&self, cells: CellBatch) -> Result<HostSequences> {
        let keys = cells.keys.iter().enumerate();
        let tokens = keys.map(|(i, &key)| {
            let key = [self.seed, key, Pass::Embedding.epoch()];
            self.tokens.of(cells.counts.row(i), key)
        });
        Ok(self.pad(&tokens.collect::<Result<Vec<_>>>()?))
    }

    fn encode(&self, model: &Composed, cells: HostSequences, device: &Device) -> Tensor<2> {
        model.encode(&cells.on_device(device)).cell
    }

    fn predicts(&self) -> Vec<Quantity> {
        match self.objective {
            Objective::Classify => vec![Quantity::Labels],
            Objective::Denoise => vec![Quantity::Expression],
            _ => Vec::new(),
        }
    }

    fn predict(
        &self,
        model: &Composed,
        cells: HostSequences,
        quantity: Quantity,
        device: &Device,
    ) -> Option<Tensor<2>> {
        let cells = self.encode(model, cells, device);
        let ones = Tensor::ones([cells.dims()[0]], device);
        match quantity {
            Quantity::Labels => model.classes(cells),
            Quantity::Expression => model.counts(cells, ones).map(|counts| counts.mean),
        }
    }

    fn reads(&self) -> Vec<Role> {
        match self.objective {
            Objective::Classify => vec![Role::Label],
            _ => Vec::new(),
        }
    }

    fn dims(&self) -> usize {
        self.network.width
    }

    fn tokenizer(&self) -> Tokenizer {
        self.tokens.description()
    }
}
