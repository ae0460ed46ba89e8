//! Training that starts from the weights of another model: ours, or a publisher's.
//!
//! The model keeps its vocabulary, so every gene keeps its weights; genes of the data that it does not
//! know are left out, and their share of the counts is told. Tensors that depend on what is new (labels,
//! batches) are drawn anew.

use crate::embed::Matching;
use crate::error::{Result, TrainError};
use crate::inputs::columns::{self, Columns};
use crate::inputs::data_spec::{DataSpec, Levels, Role};
use crate::model::Model;
use crate::pretrain::{Pretraining, TrainingCells};
use crate::registry::{ARCHITECTURES, Architecture};
use crate::spec::ModelSpec;
use crate::training::config::{TrainConfig, ValidationConfig};
use crate::training::trainer::Start;
use burn::tensor::Device;
use sc_data::dataset::Dataset;
use sc_data::genes::{GeneMatch, Vocabulary, match_file, match_genes};
use sc_data::identity::CellKeys;
use sc_data::io::atomic::hash_file;
use sc_models::weights::{Tensors, Transfer};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What a fine-tuned model started from; in its `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartedFrom {
    /// File of the weights; empty for initial weights.
    pub weights: PathBuf,
    /// blake3 of that file.
    pub weights_blake3: Option<String>,
    /// Genes of the model that the data have.
    pub genes_matched: usize,
    /// Genes of the model.
    pub genes_of_model: usize,
    /// Share of the counts of the data in these genes, on a sample of cells.
    pub counts_share: f64,
    /// Number of tensors with the weights of the other model.
    pub taken: usize,
    /// Tensors that were drawn anew.
    pub drawn: BTreeSet<String>,
    /// Tensors of the other model that are not used.
    pub left: BTreeSet<String>,
}

/// Where training starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum From {
    /// At the weights of the model.
    #[default]
    Pretrained,
    /// At initial weights: the ablation that tells what pretraining is worth.
    Scratch,
}

/// What a model is fine-tuned for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Goal {
    /// The labels of cells.
    #[default]
    Annotation,
    /// One embedding of several batches.
    Integration,
    /// The expression of cells.
    Denoise,
    /// The expression of perturbed cells.
    Perturbation,
    /// The cell types around a cell.
    Niche,
}

impl Goal {
    /// The name in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Annotation => "annotation",
            Self::Integration => "integration",
            Self::Denoise => "denoise",
            Self::Perturbation => "perturbation",
            Self::Niche => "niche",
        }
    }

    /// The role of the column that it learns from, if it needs one.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Annotation => Some(Role::Label),
            Self::Perturbation => Some(Role::Perturbation),
            Self::Integration | Self::Denoise | Self::Niche => None,
        }
    }

    /// The objective of an architecture for it, if it has one.
    pub fn objective(self, of: &Architecture) -> Option<&'static str> {
        let named = |name: &str| of.objectives.iter().find(|o| **o == name).copied();
        match self {
            Self::Annotation => of.annotation,
            Self::Denoise => {
                named("denoise").or(of.objectives.first().copied().filter(|_| of.decodes))
            }
            Self::Niche => named("niche-composition"),
            Self::Integration | Self::Perturbation => named(self.word()),
        }
    }
}

/// The settings of a model that is fine-tuned for `goal`, on `column` where it learns from one, after those
/// of `base`: the network and the tokens are its own, the training is meant for fine-tuning.
///
/// # Errors
/// [`TrainError::Config`] for an architecture without such an objective.
pub fn for_goal(base: &ModelSpec, goal: Goal, column: &str) -> Result<ModelSpec> {
    let known = base.known()?;
    let objective = goal.objective(known).ok_or_else(|| {
        let can = ARCHITECTURES.iter().filter(|a| goal.objective(a).is_some());
        let can: Vec<&str> = can.map(|a| a.name).collect();
        TrainError::Config(format!(
            "{} has no objective for {}; these have: {}",
            known.name,
            goal.word(),
            can.join(", ")
        ))
    })?;
    let change = known
        .annotation_network
        .filter(|_| goal == Goal::Annotation);
    let mut spec = ModelSpec {
        objective: Some(objective.to_owned()),
        same_size_as: None,
        niche: base.niche.clone().filter(|_| goal == Goal::Niche),
        train: recipe(&base.train),
        network: match change {
            Some(change) => change(base),
            None => base.network.clone(),
        },
        ..base.clone()
    };
    // Targets of another objective are none of this one.
    spec.obs
        .retain(|role, _| !matches!(role, Role::Label | Role::Perturbation | Role::Niche));
    if let Some(role) = goal.role() {
        spec.obs.insert(role, column.to_owned());
    }
    Ok(spec)
}

/// Settings of fine-tuning where nothing else is said.
fn recipe(base: &TrainConfig) -> TrainConfig {
    let usual = TrainConfig::default();
    TrainConfig {
        steps: 1000,
        minibatch: base.minibatch,
        learning_rate: base.learning_rate.min(5e-4),
        warmup: 50,
        clip: usual.clip,
        precision: base.precision,
        validation: Some(ValidationConfig::default()),
        ..usual
    }
}

impl Pretraining {
    /// The training of `spec` on `cells`, starting `from` the weights of `base`, whose vocabulary it
    /// keeps. `columns` of obs are used for what the architecture needs and its configuration does not
    /// name.
    ///
    /// # Errors
    /// [`TrainError`] for fewer than two cells, too few matching genes, invalid settings, weights of which
    /// none can be used, and columns or counts that cannot be read.
    pub fn starting_from(
        dataset: &Dataset,
        (base, from): (Model, From),
        spec: ModelSpec,
        cells: TrainingCells,
        columns: &BTreeMap<Role, String>,
        how: &Matching,
        device: &Device,
    ) -> Result<Self> {
        let (_, counts) = cells.look(dataset)?;
        let matched = matched(dataset, &base.data, how)?;
        let known = &base.data.levels;
        let Columns {
            obs,
            levels,
            mut labels,
        } = columns::for_training(dataset, &spec, columns, known, &cells.rows)?;
        let mut data = DataSpec {
            batches: batches(&base.data, cells.batches.names()),
            levels,
            ..base.data.clone()
        };
        data.levels
            .retain(|role, _| spec.obs.contains_key(role) || *role == Role::Niche);
        let spec = spec.without_unused(&data)?;
        let all: f64 = counts.row_sums().iter().sum();
        let own: f64 = matched.apply_matrix(&counts)?.row_sums().iter().sum();
        let mut started = StartedFrom {
            weights: base.file.clone(),
            weights_blake3: match (from, base.file.as_os_str().is_empty()) {
                (From::Pretrained, false) => Some(hash_file(&base.file)?),
                _ => None,
            },
            genes_matched: matched.matched,
            genes_of_model: matched.vocabulary,
            counts_share: own / all.max(1.0),
            taken: 0,
            drawn: BTreeSet::new(),
            left: BTreeSet::new(),
        };
        let mut model = Model {
            spec,
            data,
            weights: Tensors::new(),
            same_size: None,
            trained: None,
            start: None,
            calibration: None,
            file: PathBuf::new(),
        };
        let start = match from {
            From::Scratch => {
                started.weights = PathBuf::new();
                if !model.spec.train.freeze.is_none() {
                    return Err(TrainError::Config(format!(
                        "train.freeze = '{}' would leave weights as they were drawn; remove it to start from \
                         scratch",
                        model.spec.train.freeze
                    )));
                }
                None
            }
            From::Pretrained => {
                let (weights, how) = taken(&model, &base, device)?;
                started.taken = how.taken.len();
                let frozen = model.spec.train.freeze.of(&how.taken)?;
                started.drawn = how.drawn;
                started.left = how.left;
                Some(Start { weights, frozen })
            }
        };
        model.start = Some(started);
        let mut keys_of_base = CellKeys::default();
        if let (From::Pretrained, Some((record, keys))) = (from, &base.trained) {
            labels.extend(record.labels.iter().cloned());
            labels.sort();
            labels.dedup();
            keys_of_base = keys.clone();
        }
        let unknown_start = match (from, &base.trained) {
            (From::Scratch, _) => false,
            (From::Pretrained, None) => true,
            (From::Pretrained, Some((record, _))) => record.unknown_start,
        };
        let training = Self::assemble(dataset, model, cells, (matched, obs, labels))?;
        // Nobody is judged on cells that any step saw, those of the other model's training included.
        let keys = training.keys.clone().and(&keys_of_base);
        Ok(Self {
            start,
            keys,
            unknown_start,
            ..training
        })
    }
}

fn matched(dataset: &Dataset, data: &DataSpec, how: &Matching) -> Result<GeneMatch> {
    let vocabulary = Vocabulary::new(data.genes.to_vec())?;
    let genes = match dataset.parts() {
        [_] => match_file(dataset.file(), dataset.slot(), &vocabulary, how.across)?,
        _ => match_genes(dataset.genes(), &vocabulary, how.across)?,
    };
    genes
        .require(how.min_overlap)
        .map_err(|e| e.in_file(dataset.path()))?;
    Ok(genes)
}

/// The batches of `data` where it knows all of `names`, else these.
fn batches(data: &DataSpec, names: &[String]) -> Vec<String> {
    match names.iter().all(|name| data.batches.contains(name)) {
        true => data.batches.clone(),
        false => names.to_vec(),
    }
}

/// The weights of `base` in the places of `model`.
fn taken(model: &Model, base: &Model, device: &Device) -> Result<(Tensors, Transfer)> {
    let task = model.task()?;
    let anew = anew(model, &base.data, device)?;
    let (weights, how) = task.starting_from(&base.weights, &anew, device)?;
    if how.taken.is_empty() {
        return Err(TrainError::file(
            &base.file,
            format!(
                "none of its {} tensors has the name and shape of one of the model's; give weights of the same \
                 architecture and size",
                base.weights.len()
            ),
        ));
    }
    tracing::info!(
        taken = how.taken.len(),
        drawn = how.drawn.len(),
        left = how.left.len(),
        "took over weights"
    );
    Ok((weights, how))
}

/// Tensors that depend on labels or batches of which `model` has others than `before`: they would have
/// another shape if there were one more of them.
fn anew(model: &Model, before: &DataSpec, device: &Device) -> Result<BTreeSet<String>> {
    let mut out = BTreeSet::new();
    let now = &model.data;
    let shapes = |data: &DataSpec| model.spec.task(data)?.shapes(device);
    let mut differ = |other: DataSpec| -> Result<()> {
        let (with, without) = (shapes(&other)?, shapes(now)?);
        let changed = without
            .into_iter()
            .filter(|(name, s)| with.get(name) != Some(s));
        out.extend(changed.map(|(name, _)| name));
        Ok(())
    };
    let one_more = |levels: &Levels, role: &Role| {
        let mut levels = levels.clone();
        levels.entry(*role).or_default().push("one more".into());
        levels
    };
    // Perturbations are genes, which have their vectors already.
    let others = now
        .levels
        .iter()
        .filter(|(role, _)| **role != Role::Perturbation);
    for (role, values) in others {
        if before.levels.get(role) != Some(values) {
            differ(DataSpec {
                levels: one_more(&now.levels, role),
                ..now.clone()
            })?;
        }
    }
    if now.batches != before.batches && now.batches.len() > 1 {
        let mut other = now.clone();
        other.batches.push("one more".into());
        differ(other)?;
    }
    Ok(out)
}

impl ModelSpec {
    /// Without settings of the input and columns of obs that its objective does not use: they are those
    /// of the objective that the model was trained with before.
    fn without_unused(mut self, data: &DataSpec) -> Result<Self> {
        loop {
            match self.task(data) {
                Ok(_) => return Ok(self),
                Err(TrainError::Unused { setting, .. }) => {
                    let (table, key) = setting.split_once('.').unwrap_or(("", &setting));
                    let removed = match table {
                        "input" => self.input.as_object_mut().and_then(|o| o.remove(key)),
                        _ => None,
                    };
                    if removed.is_none() {
                        return self.task(data).map(|_| self);
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }
}
