//! scGPT and scFormer: expressed genes as tokens, binned values.
//!
//! Masked values, integration, several modalities and annotation are one pass of one network and share
//! [`ScGptTask`]; generative pretraining has its own forward pass, and perturbations their own
//! network.

mod annotation;
mod generative;
mod import;
mod integration;
mod multiomic;
mod objectives;
mod perturbation;
mod tokens;

pub use generative::{GenerativeConfig, GenerativeTask};
pub use integration::BatchUse;
pub use perturbation::{Condition, Controls, PerturbationConfig, PerturbationTask, Unknown};
pub use tokens::{InputGenes, TokenConfig, TokenInput};

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
use sc_models::layers::lookup::unit;
use sc_models::layers::norm::Phase;
use sc_models::scgpt::{CellEmbedding, InputNorm, ScGpt, ScGptConfig, ValueEncoderConfig};
use std::sync::Arc;

/// scGPT in the registry.
pub const SCGPT: Architecture = Architecture {
    name: "scgpt",
    kind: Kind::FoundationModel,
    paper: "Cui et al., Nature Methods 2024",
    tokens: "expressed genes with binned values",
    objectives: &[
        "masked",
        "integration",
        "multiomic",
        "annotation",
        "generative",
        "perturbation",
    ],
    annotation: Some("annotation"),
    annotation_network: None,
    decodes: false,
    weights: "scGPT args.json, vocab.json and best_model.pt",
    licence: "MIT",
    needs: &[],
    features: Features::Genes,
    minibatch_dependence: MinibatchDependence::With {
        setting: "cell_embedding",
        values: &["avg-pool", "weighted-pool"],
        why: "the mean includes padding up to the longest cell of the minibatch, as published",
    },
    widen: None,
    import: Some(import::import),
    attention: None,
    gene_vectors: Some(GeneVectors::rows("encoder.embedding.weight")),
    perturbs: Some(perturbation::perturbs),
    task,
};

/// scFormer in the registry.
pub const SCFORMER: Architecture = Architecture {
    name: "scformer",
    kind: Kind::FoundationModel,
    paper: "Cui et al., bioRxiv 2022",
    objectives: &["masked", "integration", "annotation"],
    weights: "none published",
    import: None,
    attention: None,
    perturbs: None,
    licence: "none published",
    ..SCGPT
};

fn task(spec: &ModelSpec, data: &DataSpec) -> Result<Box<dyn Trainable>> {
    let task = base(spec, data)?;
    let place = Place {
        architecture: &spec.architecture,
        objective: spec.objective()?,
    };
    let task = match place.objective {
        "integration" => integration::integrate(task, data, place)?,
        "multiomic" => multiomic::multiomic(task, data, place)?,
        "annotation" => annotation::annotate(task, data, place)?,
        _ => task,
    };
    spec.settled(&task.network)?;
    for own in ["generative", "perturbation"] {
        if own != place.objective {
            spec.unread_input(&[own])?;
        }
    }
    Ok(match place.objective {
        "generative" => Box::new(GenerativeTask::new(task, place)?),
        "perturbation" => Box::new(PerturbationTask::new(task, data, place)?),
        _ => Box::new(task),
    })
}

/// Shared by all objectives: the network for the vocabulary, as configured.
fn base(spec: &ModelSpec, data: &DataSpec) -> Result<ScGptTask> {
    let mut network: ScGptConfig = spec.network()?;
    let input: TokenConfig = spec.input()?;
    input.check(&spec.architecture)?;
    let genes = data.genes.len();
    network.tokens = genes + SPECIAL_TOKENS;
    network.pad = genes;
    // Batch-specific parts of the network have as many batches as the data.
    let batches = data.batches.len().max(1);
    if let InputNorm::DomainSpecific { domains, .. } = &mut network.input_norm {
        *domains = batches;
    }
    for count in [&mut network.batch_labels, &mut network.adversary_batches] {
        if *count > 0 {
            *count = batches;
        }
    }
    if let ValueEncoderConfig::Category { bins, pad } = &mut network.value_encoder {
        *pad = input.bins as i64;
        let least = input.bins + SPECIAL_VALUES;
        if *bins < least || !(0.0..*bins as f32).contains(&input.cls_value) {
            return Err(TrainError::Config(format!(
                "{}: network.value_encoder = {{ kind = \"category\", bins = {bins} }}; it needs bins = \
                 {least} or more, the input's and one each for padding and mask, and input.cls_value = \
                 {} must be one of them",
                spec.architecture, input.cls_value
            )));
        }
    }
    // Only data with several modalities has any.
    network.modalities = 0;
    network.check()?;
    Ok(ScGptTask {
        network,
        input,
        genes,
        modalities: Arc::default(),
        goal: Goal::Values,
        seed: data.seed,
    })
}

/// What is being built, for error messages.
#[derive(Clone, Copy)]
struct Place<'a> {
    architecture: &'a str,
    objective: &'a str,
}

impl Place<'_> {
    fn name(self) -> String {
        format!(
            "{} with objective = '{}'",
            self.architecture, self.objective
        )
    }

    fn refuse<T>(self, why: String) -> Result<T> {
        Err(TrainError::Config(format!("{}: {why}", self.name())))
    }
}

/// Objectives with a single forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Values of masked tokens, and the losses of all other heads of the network.
    Values,
    /// Labels of cells.
    Labels,
}

/// scGPT or scFormer as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct ScGptTask {
    /// The network; `tokens` and `pad` are those of the vocabulary.
    pub network: ScGptConfig,
    /// The tokeniser.
    pub input: TokenConfig,
    /// Genes of the vocabulary; special tokens follow them.
    pub genes: usize,
    /// Modality of every gene of the vocabulary; empty where there is one.
    pub modalities: Arc<Vec<u8>>,
    /// The objective.
    pub goal: Goal,
    /// Seed of every random stream.
    pub seed: u64,
}

/// Special tokens that follow the genes: `<pad>`, `<cls>`, `<eoc>`.
pub const SPECIAL_TOKENS: usize = 3;

/// Bins after those of values, where values are rows of a table: of padding, and of masked tokens.
const SPECIAL_VALUES: usize = 2;

impl Task for ScGptTask {
    type Model = ScGpt;
    type Input = TokenInput;
    type Cells = TokenInput;

    fn network(&self) -> &ScGptConfig {
        &self.network
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        match self.network.input_norm {
            // Statistics are per batch, so a minibatch holds one batch only.
            InputNorm::DomainSpecific { .. } => corpus.grouped(size, self.seed, epoch),
            _ => corpus.minibatches(size, self.seed, epoch),
        }
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<TokenInput> {
        self.tokenize(&cells, Pass::Training(epoch))
    }

    fn losses(&self, model: &ScGpt, input: TokenInput, _: u64, device: &Device) -> Losses {
        match self.goal {
            Goal::Values => self.value_losses(model, input, device),
            Goal::Labels => annotation::losses(model, input, device),
        }
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        // Where cells of a minibatch influence each other, they should not be adjacent rows.
        let rows = match self.network.cell_embedding {
            CellEmbedding::Cls => corpus.rows.to_vec(),
            _ => corpus.ordered(),
        };
        let domains = matches!(self.network.input_norm, InputNorm::DomainSpecific { .. });
        let group = |r: usize| if domains { corpus.batches[r] } else { 0 };
        sampler::sequential(&rows, group, self.input.embed_minibatch)
    }

    fn cells(&self, cells: CellBatch) -> Result<TokenInput> {
        if let InputNorm::DomainSpecific { domains, .. } = self.network.input_norm
            && cells.batches.iter().any(|&b| b as usize >= domains)
        {
            return Err(TrainError::Config(
                "the model has a norm for every sequencing batch it was trained on, but there are cells \
                 of other batches; give the column as in training (--batch COLUMN), and remove cells of \
                 batches that were not in training"
                    .into(),
            ));
        }
        self.tokenize(&cells, Pass::Embedding)
    }

    fn encode(&self, model: &ScGpt, cells: TokenInput, device: &Device) -> Tensor<2> {
        unit(
            model
                .encode(&cells.on_device(device), Phase::on(device))
                .cell,
        )
    }

    fn predicts(&self) -> Vec<Quantity> {
        match self.goal {
            Goal::Labels => vec![Quantity::Labels],
            Goal::Values => Vec::new(),
        }
    }

    fn predict(
        &self,
        model: &ScGpt,
        cells: TokenInput,
        quantity: Quantity,
        device: &Device,
    ) -> Option<Tensor<2>> {
        match quantity {
            Quantity::Labels => annotation::logits(model, &cells, device),
            Quantity::Expression => None,
        }
    }

    fn reads(&self) -> Vec<Role> {
        match self.goal {
            Goal::Values => Vec::new(),
            Goal::Labels => vec![Role::Label],
        }
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

#[cfg(all(test, feature = "flex"))]
mod tests;
