//! A model as described by its configuration file.

use crate::error::{Result, TrainError};
use crate::inputs::corpus::Corpus;
use crate::inputs::data_spec::{DataSpec, Role};
use crate::predict::Quantity;
use crate::registry::{self, ARCHITECTURES, Architecture};
use crate::task::Task;
use crate::training::agreement::{self, Trace};
use crate::training::config::TrainConfig;
use crate::training::timing::{self, Timed, Timing, Work};
use crate::training::trainer::{self, Run, StepReport};
use crate::training::validation::Validated;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use sc_data::preprocess::hvg::Flavor;
use sc_data::preprocess::spatial::Within;
use sc_data::settings::keys;
use sc_data::tokens::Tokenizer;
use sc_models::annotator::ClassifierConfig;
use sc_models::weights::{self, Tensors, Transfer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::sync_channel;

/// A model: architecture, network, tokens, vocabulary and training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// One of [`ARCHITECTURES`].
    pub architecture: String,
    /// Description in one sentence.
    #[serde(default)]
    pub description: String,
    /// The training objective; the architecture's first objective by default.
    #[serde(default)]
    pub objective: Option<String>,
    /// The vocabulary.
    #[serde(default)]
    pub vocabulary: VocabularyConfig,
    /// Columns of `obs` by their role in the model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub obs: BTreeMap<Role, String>,
    /// Another model, by the name of its preset, by its file, or in full: this one takes its
    /// vocabulary, and its width is chosen to match the number of parameters. The code that reads
    /// files resolves it with [`crate::size::fit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_size_as: Option<serde_json::Value>,
    /// Spatial neighbourhoods, for objectives on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub niche: Option<NicheConfig>,
    /// The classifier of objective `annotation`, where the architecture has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier: Option<ClassifierConfig>,
    /// The network, in the architecture's own settings.
    #[serde(default)]
    pub network: serde_json::Value,
    /// Tokens and masking, in the architecture's own settings.
    #[serde(default)]
    pub input: serde_json::Value,
    /// Training.
    #[serde(default)]
    pub train: TrainConfig,
}

/// Definition of spatial neighbourhoods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicheConfig {
    /// Key of `obsm` with the coordinates of the cells.
    #[serde(default = "spatial")]
    pub coordinates: String,
    /// Column of `obs` with the cell types that are counted.
    pub label: String,
    /// Column of `obs` with the tissue section.
    #[serde(default)]
    pub section: Option<String>,
    /// Definition of neighbours: `{ radius = 50.0 }` or `{ nearest = 20 }`.
    pub within: Within,
}

fn spatial() -> String {
    "spatial".into()
}

/// Selection of the vocabulary from the genes of the training data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VocabularyConfig {
    /// Number of most variable genes in the training cells; 0 for all genes.
    pub genes: usize,
    /// Which definition of variability, as in `scanpy.pp.highly_variable_genes`: `seurat` and
    /// `cell_ranger` on log-normalised values, `seurat_v3` on counts.
    #[serde(skip_serializing_if = "is_usual")]
    pub flavor: Flavor,
}

fn is_usual(flavor: &Flavor) -> bool {
    *flavor == VocabularyConfig::default().flavor
}

impl Default for VocabularyConfig {
    fn default() -> Self {
        Self {
            genes: 2000,
            // It needs no fit that can fail on small batches.
            flavor: Flavor::Seurat,
        }
    }
}

/// Receives rows of the file and their embeddings, row-major.
pub type Sink<'a> = dyn FnMut(&[usize], &[f32]) -> Result<()> + 'a;

/// A task of any architecture.
pub trait Trainable: Send + Sync {
    /// Trains and returns the weights; see [`trainer::train`].
    ///
    /// # Errors
    /// Those of [`trainer::train`].
    fn train(&self, run: &Run<'_>, on_step: &mut dyn FnMut(&StepReport)) -> Result<Outcome>;

    /// Checks whether `weights` match the network.
    ///
    /// # Errors
    /// Every tensor that is missing, extra or of another shape, in one list.
    fn check(&self, weights: &Tensors, device: &Device) -> Result<()>;

    /// Initial weights.
    ///
    /// # Errors
    /// For an invalid configuration.
    fn initial(&self, device: &Device) -> Result<Tensors>;

    /// Published shape of every tensor, by name.
    ///
    /// # Errors
    /// For an invalid configuration.
    fn shapes(&self, device: &Device) -> Result<BTreeMap<String, Vec<usize>>>;

    /// Initial weights with those of another network in their places, see [`weights::transfer`].
    ///
    /// # Errors
    /// For an invalid configuration.
    fn starting_from(
        &self,
        other: &Tensors,
        anew: &BTreeSet<String>,
        device: &Device,
    ) -> Result<(Tensors, Transfer)>;

    /// Embeds every cell of `corpus`, minibatch by minibatch, in the task's own order; `sink` gets
    /// the rows and their embeddings, row-major.
    ///
    /// # Errors
    /// Weights that do not match, unreadable data, or an error of `sink`.
    fn embed(
        &self,
        weights: Tensors,
        corpus: &Corpus,
        device: &Device,
        sink: &mut Sink<'_>,
    ) -> Result<()>;

    /// What it predicts of a cell, beside its embedding.
    fn predicts(&self) -> Vec<Quantity>;

    /// Predicts a quantity for every cell of `corpus`, as [`Self::embed`].
    ///
    /// # Errors
    /// [`TrainError::Config`] for what it does not predict; those of [`Self::embed`].
    fn predict(
        &self,
        quantity: Quantity,
        weights: Tensors,
        corpus: &Corpus,
        device: &Device,
        sink: &mut Sink<'_>,
    ) -> Result<()>;

    /// Whether it reads [`ModelSpec::classifier`].
    fn reads_classifier(&self) -> bool;

    /// What of `obs` it reads.
    fn reads(&self) -> Vec<Role>;

    /// Embedding dimension.
    fn dims(&self) -> usize;

    /// The tokeniser, for `tokenizer.json`.
    fn tokenizer(&self) -> Tokenizer;

    /// Number of parameters.
    ///
    /// # Errors
    /// For an invalid configuration.
    fn parameters(&self, device: &Device) -> Result<usize>;

    /// Times steps on a minibatch; see [`timing::time`].
    ///
    /// # Errors
    /// Those of [`timing::time`].
    fn time(&self, work: Work, timing: &Timing<'_>) -> Result<Timed>;

    /// What a device computes in a few steps on a minibatch; see [`agreement::trace`].
    ///
    /// # Errors
    /// Those of [`agreement::trace`].
    fn trace(&self, timing: &Timing<'_>) -> Result<Trace>;
}

/// Result of training.
#[derive(Debug)]
pub struct Outcome {
    /// Weights by published name.
    pub weights: Tensors,
    /// Steps behind these weights.
    pub steps: u64,
    /// Whether it was stopped before its last step.
    pub interrupted: bool,
    /// Losses on the validation cells.
    pub validated: Vec<Validated>,
}

impl<T: Task> Trainable for T {
    fn train(&self, run: &Run<'_>, on_step: &mut dyn FnMut(&StepReport)) -> Result<Outcome> {
        let trained = trainer::train(self, run, on_step)?;
        Ok(Outcome {
            weights: weights::tensors(&trained.model, &self.names()),
            steps: trained.steps,
            interrupted: trained.interrupted,
            validated: trained.validated,
        })
    }

    fn check(&self, weights: &Tensors, device: &Device) -> Result<()> {
        let model = self.empty(device)?;
        Ok(weights::check(&model, weights, &self.names())?)
    }

    fn initial(&self, device: &Device) -> Result<Tensors> {
        Ok(weights::tensors(&self.build(device)?, &self.names()))
    }

    fn shapes(&self, device: &Device) -> Result<BTreeMap<String, Vec<usize>>> {
        Ok(weights::shapes(&self.empty(device)?, &self.names()))
    }

    fn starting_from(
        &self,
        other: &Tensors,
        anew: &BTreeSet<String>,
        device: &Device,
    ) -> Result<(Tensors, Transfer)> {
        let initial = Trainable::initial(self, device)?;
        Ok(weights::transfer(initial, other, &self.names(), anew))
    }

    fn embed(
        &self,
        weights: Tensors,
        corpus: &Corpus,
        device: &Device,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let model = weights::load(self.empty(device)?, weights, &self.names())?;
        each_minibatch(self, corpus, sink, |cells| {
            Ok(self.encode(&model, cells, device))
        })
    }

    fn predicts(&self) -> Vec<Quantity> {
        Task::predicts(self)
    }

    fn predict(
        &self,
        quantity: Quantity,
        weights: Tensors,
        corpus: &Corpus,
        device: &Device,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let model = weights::load(self.empty(device)?, weights, &self.names())?;
        let none = || TrainError::Config(format!("the model predicts no {}", quantity.word()));
        each_minibatch(self, corpus, sink, |cells| {
            Task::predict(self, &model, cells, quantity, device).ok_or_else(none)
        })
    }

    fn reads_classifier(&self) -> bool {
        Task::classifier(self).is_some()
    }

    fn reads(&self) -> Vec<Role> {
        Task::reads(self)
    }

    fn dims(&self) -> usize {
        Task::dims(self)
    }

    fn tokenizer(&self) -> Tokenizer {
        Task::tokenizer(self)
    }

    fn parameters(&self, device: &Device) -> Result<usize> {
        Ok(self.empty(device)?.num_params())
    }

    fn time(&self, work: Work, timing: &Timing<'_>) -> Result<Timed> {
        timing::time(self, work, timing)
    }

    fn trace(&self, timing: &Timing<'_>) -> Result<Trace> {
        agreement::trace(self, timing)
    }
}

/// Passes the cells of `corpus`, minibatch by minibatch, to `compute` and its rows to `sink`; the next
/// minibatch is read and tokenised meanwhile.
fn each_minibatch<T: Task>(
    task: &T,
    corpus: &Corpus,
    sink: &mut Sink<'_>,
    compute: impl Fn(T::Cells) -> Result<Tensor<2>>,
) -> Result<()> {
    let minibatches = task.embed_minibatches(corpus);
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(1);
        scope.spawn(|| {
            let send = send;
            for cells in corpus.stream(&minibatches, Some(EMBED_WINDOW)) {
                let cells = cells.and_then(|cells| task.cells(cells));
                let failed = cells.is_err();
                // The receiver is dropped when something else failed.
                if send.send(cells).is_err() || failed {
                    return;
                }
            }
        });
        for (rows, cells) in minibatches.iter().zip(receive) {
            sink(rows, &weights::host(compute(cells?)?))?;
        }
        Ok(())
    })
}

/// Cells read at once for an embedding, in file order.
const EMBED_WINDOW: usize = 4096;

impl ModelSpec {
    /// The architecture of this model.
    ///
    /// # Errors
    /// [`TrainError::Config`] when it is unknown.
    pub fn known(&self) -> Result<&'static Architecture> {
        registry::find(&self.architecture).ok_or_else(|| {
            let names: Vec<&str> = ARCHITECTURES.iter().map(|a| a.name).collect();
            TrainError::Config(format!(
                "architecture = '{}' is unknown; available: {}",
                self.architecture,
                names.join(", ")
            ))
        })
    }

    /// The objective, or the architecture's first.
    ///
    /// # Errors
    /// [`TrainError::Config`] when the architecture cannot be trained with it.
    pub fn objective(&self) -> Result<&'static str> {
        let known = self.known()?;
        let wanted = self.objective.as_deref().unwrap_or(known.objectives[0]);
        let found = known.objectives.iter().find(|o| **o == wanted);
        found.copied().ok_or_else(|| {
            TrainError::Config(format!(
                "objective = '{wanted}' is not available for {}; choose one of: {}",
                known.name,
                known.objectives.join(", ")
            ))
        })
    }

    /// The task for `data`.
    ///
    /// # Errors
    /// [`TrainError::Config`] for an unknown architecture, objective or setting, for a column of `obs`
    /// that the objective does not use, or for an unresolved `same_size_as`.
    pub fn task(&self, data: &DataSpec) -> Result<Box<dyn Trainable>> {
        let objective = self.objective()?;
        if let Some(other) = &self.same_size_as {
            return Err(TrainError::Config(format!(
                "same_size_as = {other} is unresolved: the size must be set before the model is built"
            )));
        }
        let task = (self.known()?.task)(self, data)?;
        if self.classifier.is_some() && !task.reads_classifier() {
            return Err(TrainError::Unused {
                architecture: self.architecture.clone(),
                setting: "classifier".into(),
                objective: objective.to_owned(),
            });
        }
        if let Some(what) = self.unread(&task.reads()) {
            let others: Vec<&str> = (self.known()?.objectives.iter().copied())
                .filter(|o| *o != objective)
                .collect();
            let other = match &others[..] {
                [] => String::new(),
                _ => format!(", or use another objective: {}", others.join(", ")),
            };
            return Err(TrainError::Config(format!(
                "{}: {what} is not used with objective = '{objective}'; remove it{other}",
                self.architecture
            )));
        }
        Ok(task)
    }

    /// The first column given for a role that the task does not use.
    fn unread(&self, read: &[Role]) -> Option<String> {
        let mut columns = self.obs.iter();
        let column = columns.find(|(role, _)| !read.contains(role));
        let niche = self.niche.as_ref().filter(|_| !read.contains(&Role::Niche));
        match column {
            Some((role, column)) => Some(format!("obs.{} = \"{column}\"", role.word())),
            None => niche.map(|n| format!("[niche] with label = \"{}\"", n.label)),
        }
    }

    /// The network's settings, in the architecture's own type.
    ///
    /// # Errors
    /// [`TrainError::Config`] for an unknown setting or an invalid value.
    pub fn network<C: DeserializeOwned>(&self) -> Result<C> {
        self.part("network", &self.network)
    }

    /// The input's settings, in the architecture's own type.
    ///
    /// # Errors
    /// [`TrainError::Config`] for an unknown setting or an invalid value.
    pub fn input<C: DeserializeOwned>(&self) -> Result<C> {
        self.part("input", &self.input)
    }

    /// Refuses settings of the network that are determined by the data or the objective:
    /// `resolved` is the network that is built, and no setting is ignored silently. 0 and 1, which
    /// only mean that there is something to count, are replaced by the count.
    ///
    /// # Errors
    /// [`TrainError::Config`] for the first setting that differs.
    pub fn settled<C: Serialize>(&self, resolved: &C) -> Result<()> {
        let resolved = serde_json::to_value(resolved)
            .map_err(|e| TrainError::Config(format!("{}: network: {e}", self.architecture)))?;
        match put_aside(&self.network, &resolved) {
            None => Ok(()),
            Some((path, given, built)) => Err(TrainError::Config(format!(
                "{}: network.{path} = {given} cannot be set: it follows from the data and the objective, \
                 and is {built} here; remove it",
                self.architecture
            ))),
        }
    }

    /// Refuses settings of the input that the objective does not use.
    ///
    /// # Errors
    /// [`TrainError::Config`] for the first of `settings` that is given.
    pub fn unread_input(&self, settings: &[&str]) -> Result<()> {
        let given = settings.iter().find(|s| self.input.get(**s).is_some());
        match given {
            None => Ok(()),
            Some(setting) => Err(TrainError::Unused {
                architecture: self.architecture.clone(),
                setting: format!("input.{setting}"),
                objective: self.objective()?.to_owned(),
            }),
        }
    }

    /// The network's settings with one of them changed.
    pub fn network_with(&self, key: &str, value: serde_json::Value) -> serde_json::Value {
        let mut network = self.network.as_object().cloned().unwrap_or_default();
        network.insert(key.to_string(), value);
        network.into()
    }

    fn part<C: DeserializeOwned>(&self, name: &str, value: &serde_json::Value) -> Result<C> {
        let value = match value {
            serde_json::Value::Null => serde_json::Value::Object(Default::default()),
            other => other.clone(),
        };
        keys::parse(value).map_err(|e| {
            // A key is part of the name: `network.latent`, where `network` alone has none.
            let dot = match e.split_once(": ") {
                Some((key, _)) if !key.contains(' ') => ".",
                _ => ": ",
            };
            TrainError::Config(format!("{}: {name}{dot}{e}", self.architecture))
        })
    }
}

/// The first setting of `given` that differs in `built`: its path, and both values.
fn put_aside(given: &Value, built: &Value) -> Option<(String, Value, Value)> {
    match (given, built) {
        (Value::Object(given), Value::Object(built)) => given.iter().find_map(|(key, value)| {
            let (path, given, built) = put_aside(value, built.get(key)?)?;
            let path = match path.is_empty() {
                true => key.clone(),
                false => format!("{key}.{path}"),
            };
            Some((path, given, built))
        }),
        (Value::Null | Value::Bool(false), _) => None,
        (Value::Array(given), _) if given.is_empty() => None,
        (Value::Number(given), Value::Number(built)) if given.as_f64() == built.as_f64() => None,
        (Value::Number(given), _) if given.as_u64().is_some_and(|n| n <= 1) => None,
        _ if given == built => None,
        _ => Some((String::new(), given.clone(), built.clone())),
    }
}

#[cfg(test)]
mod errors;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_that_are_put_aside_are_found() {
        let built = json!({ "width": 8, "classes": 3, "head": { "batches": 5 }, "decoder": true });
        let found = |given: Value| put_aside(&given, &built).map(|f| f.0);
        assert_eq!(found(json!({ "width": 8.0, "classes": 3 })), None);
        assert_eq!(
            found(json!({ "head": { "batches": 1 }, "decoder": false })),
            None
        );
        assert_eq!(found(json!({ "classes": 4 })).as_deref(), Some("classes"));
        let nested = found(json!({ "head": { "batches": 7 } }));
        assert_eq!(nested.as_deref(), Some("head.batches"));
        assert_eq!(found(json!(null)), None);
    }
}
