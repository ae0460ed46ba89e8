//! A model as its configuration file describes it, and the registry of architectures.

use crate::config::TrainConfig;
use crate::corpus::Corpus;
use crate::error::{Result, TrainError};
use crate::task::Task;
use crate::tasks::cellplm::{CellPlmTask, SentenceConfig};
use crate::tasks::scgpt::{SPECIAL_TOKENS, ScGptTask, TokenConfig};
use crate::trainer::{self, Run, StepReport};
use burn::module::Module;
use burn::tensor::Device;
use sc_data::tokens::Tokenizer;
use sc_models::cellplm::{CellPlmConfig, HeadConfig};
use sc_models::scgpt::{InputNorm, ScGptConfig};
use sc_models::weights::{self, Tensors};
use serde::{Deserialize, Serialize};

/// A model: architecture, network, tokens, vocabulary and how it is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// `cellplm`, `scgpt` or `scformer`; see [`ARCHITECTURES`].
    pub architecture: String,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// What it is trained to do; `denoise` or `masked`.
    #[serde(default)]
    pub objective: Option<String>,
    /// Which genes it knows.
    #[serde(default)]
    pub vocabulary: VocabularyConfig,
    /// The network, in the architecture's own terms.
    #[serde(default)]
    pub network: serde_json::Value,
    /// Tokens and masking, in the architecture's own terms.
    #[serde(default)]
    pub input: serde_json::Value,
    /// Training.
    #[serde(default)]
    pub train: TrainConfig,
}

/// Which genes of the training data make the vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VocabularyConfig {
    /// So many of the most variable genes of the training cells; 0 for all genes.
    pub genes: usize,
}

impl Default for VocabularyConfig {
    fn default() -> Self {
        Self { genes: 2000 }
    }
}

/// What is known of an architecture, for `scfm models list`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Architecture {
    /// Name in configurations.
    pub name: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// What its tokens are.
    pub tokens: &'static str,
    /// Objectives it can be trained with.
    pub objectives: &'static [&'static str],
    /// Licence of the original code.
    pub licence: &'static str,
}

/// Every architecture that can be built.
pub const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: "cellplm",
        paper: "Wen et al., ICLR 2024",
        tokens: "cells; a sentence is a sample",
        objectives: &["denoise"],
        licence: "BSD-2-Clause",
    },
    Architecture {
        name: "scgpt",
        paper: "Cui et al., Nature Methods 2024",
        tokens: "expressed genes with binned values",
        objectives: &["masked"],
        licence: "MIT",
    },
    Architecture {
        name: "scformer",
        paper: "Cui et al., bioRxiv 2022",
        tokens: "expressed genes with binned values",
        objectives: &["masked"],
        licence: "none published",
    },
];

/// Takes rows of the file and their vectors, row-major.
pub type Sink<'a> = dyn FnMut(&[usize], &[f32]) -> Result<()> + 'a;

/// A task of any architecture.
pub trait Trainable: Send + Sync {
    /// Trains and returns the weights; see [`trainer::train`].
    ///
    /// # Errors
    /// Those of [`trainer::train`].
    fn train(&self, run: &Run<'_>, on_step: &mut dyn FnMut(&StepReport)) -> Result<Outcome>;

    /// Initial weights.
    ///
    /// # Errors
    /// When the configuration cannot be built.
    fn initial(&self, device: &Device) -> Result<Tensors>;

    /// Embeds every cell of `corpus`, minibatch by minibatch, in the task's own order; `sink` gets
    /// the rows and their vectors, row-major.
    ///
    /// # Errors
    /// Weights that do not fit, unreadable data, or what `sink` returns.
    fn embed(
        &self,
        weights: Tensors,
        corpus: &Corpus,
        device: &Device,
        sink: &mut Sink<'_>,
    ) -> Result<()>;

    /// Width of the embedding.
    fn dims(&self) -> usize;

    /// How cells become its input, for `tokenizer.json`.
    fn tokenizer(&self) -> Tokenizer;

    /// Number of parameters.
    ///
    /// # Errors
    /// When the configuration cannot be built.
    fn parameters(&self, device: &Device) -> Result<usize>;
}

/// How training ended.
#[derive(Debug)]
pub struct Outcome {
    /// Weights by published name.
    pub weights: Tensors,
    /// Steps done.
    pub steps: u64,
    /// Whether it was stopped before its last step.
    pub interrupted: bool,
}

impl<T: Task> Trainable for T {
    fn train(&self, run: &Run<'_>, on_step: &mut dyn FnMut(&StepReport)) -> Result<Outcome> {
        let trained = trainer::train(self, run, on_step)?;
        Ok(Outcome {
            weights: weights::tensors(&trained.model, &self.names()),
            steps: trained.steps,
            interrupted: trained.interrupted,
        })
    }

    fn initial(&self, device: &Device) -> Result<Tensors> {
        Ok(weights::tensors(&self.build(device)?, &self.names()))
    }

    fn embed(
        &self,
        weights: Tensors,
        corpus: &Corpus,
        device: &Device,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let model = weights::load(self.build(device)?, weights, &self.names())?;
        let minibatches = self.embed_minibatches(corpus);
        let cells = corpus.stream(&minibatches, Some(EMBED_WINDOW));
        for (rows, cells) in minibatches.iter().zip(cells) {
            let vectors = Task::embed(self, &model, cells?, device)?;
            sink(rows, &weights::host(vectors))?;
        }
        Ok(())
    }

    fn dims(&self) -> usize {
        Task::dims(self)
    }

    fn tokenizer(&self) -> Tokenizer {
        Task::tokenizer(self)
    }

    fn parameters(&self, device: &Device) -> Result<usize> {
        Ok(self.build(device)?.num_params())
    }
}

/// Cells read at once for an embedding; they come in file order.
const EMBED_WINDOW: usize = 4096;

impl ModelSpec {
    /// The task this describes, for a vocabulary of `genes` genes and `batches` sequencing batches.
    ///
    /// # Errors
    /// [`TrainError::Config`] for an unknown architecture, objective or setting.
    pub fn task(&self, genes: usize, batches: usize, seed: u64) -> Result<Box<dyn Trainable>> {
        let known = ARCHITECTURES
            .iter()
            .find(|a| a.name == self.architecture)
            .ok_or_else(|| {
                let names: Vec<&str> = ARCHITECTURES.iter().map(|a| a.name).collect();
                TrainError::Config(format!(
                    "architecture = '{}' is not built; there are: {}",
                    self.architecture,
                    names.join(", ")
                ))
            })?;
        if let Some(objective) = self
            .objective
            .as_deref()
            .filter(|o| !known.objectives.contains(o))
        {
            return Err(TrainError::Config(format!(
                "objective = '{objective}' does not fit {}; it can be trained with: {}",
                known.name,
                known.objectives.join(", ")
            )));
        }
        match known.name {
            "cellplm" => {
                let mut network: CellPlmConfig = self.part("network", &self.network)?;
                let input: SentenceConfig = self.part("input", &self.input)?;
                network.genes = genes;
                if let HeadConfig::Decode {
                    batches: levels, ..
                } = &mut network.head
                {
                    *levels = if batches > 1 { batches } else { 0 };
                }
                network.check()?;
                Ok(Box::new(CellPlmTask {
                    network,
                    input,
                    seed,
                }))
            }
            _ => {
                let mut network: ScGptConfig = self.part("network", &self.network)?;
                let input: TokenConfig = self.part("input", &self.input)?;
                network.tokens = genes + SPECIAL_TOKENS;
                network.pad = genes;
                if let InputNorm::DomainSpecific { domains, .. } = &mut network.input_norm {
                    *domains = batches.max(1);
                }
                network.check()?;
                Ok(Box::new(ScGptTask {
                    network,
                    input,
                    genes,
                    seed,
                }))
            }
        }
    }

    fn part<C: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        value: &serde_json::Value,
    ) -> Result<C> {
        let value = match value {
            serde_json::Value::Null => serde_json::Value::Object(Default::default()),
            other => other.clone(),
        };
        serde_json::from_value(value)
            .map_err(|e| TrainError::Config(format!("{}: {name}: {e}", self.architecture)))
    }
}
