//! Training a model on cells of a data set.
//!
//! [`pretrain`] does all of it; [`Pretraining`] is the same in steps, for programs that show a plan or
//! the progress.

use crate::error::{Result, TrainError};
use crate::inputs::columns::{self, Columns, batch_codes};
use crate::inputs::corpus::{Corpus, FEW, Order};
use crate::inputs::data_spec::{DataSpec, Levels, Obs, Role};
use crate::inputs::features;
use crate::model::folder::{SPLIT, TRAINING_CELLS, WEIGHTS};
use crate::model::{Model, check_names};
use crate::size;
use crate::spec::{ModelSpec, Outcome, Trainable};
use crate::training::config::{Sampling, TrainConfig};
use crate::training::trainer::{Run, Start, StepReport};
use crate::training::validation::Validated;
use burn::tensor::Device;
use sc_data::CsrMatrix;
use sc_data::RawCounts;
use sc_data::categories::Categories;
use sc_data::dataset::Dataset;
use sc_data::genes::{Across, GeneMatch, Vocabulary, match_genes, normal_form};
use sc_data::identity::{CellKeys, EMPTY, TrainingRecord, write_keys};
use sc_data::io::manifest::Manifest;
use sc_data::preprocess::hvg::{Flavor, HvgInput, most_variable, sample};
use sc_data::sampling::sampler::{Blocks, balanced_weights};
use sc_data::sampling::split::SavedSplit;
use sc_models::weights::Tensors;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The cells of a data set, and the training cells among them.
#[derive(Clone, Debug)]
pub struct TrainingCells {
    /// Training rows.
    pub rows: Vec<usize>,
    /// Rows on which the best step is chosen; the last step is kept where there are none.
    pub validation: Vec<usize>,
    /// Sequencing batch of every cell of the data set.
    pub batches: Categories,
    /// Keys of every cell of the data set; empty if nothing is trained.
    pub keys: CellKeys,
}

impl TrainingCells {
    /// A sample of the training rows with their counts, after all have been looked at.
    ///
    /// # Errors
    /// [`TrainError::File`] for fewer than two cells, or cells without any counts;
    /// [`TrainError::Data`] for counts that cannot be read.
    pub(crate) fn look(&self, dataset: &Dataset) -> Result<(Vec<usize>, CsrMatrix)> {
        let Self { rows, keys, .. } = self;
        if rows.len() < 2 {
            return Err(TrainError::file(
                dataset.path(),
                format!("{} training cell; a model needs at least 2", rows.len()),
            ));
        }
        let looked_at = sample(rows, self.batches.codes());
        let counts = dataset.counts().read(&looked_at)?;
        // Without keys, for a plan, as many cells as were read must do.
        let nothing = match keys.cells() {
            0 => counts.row_sums().iter().all(|total| *total == 0.0),
            _ => rows.iter().all(|&r| keys.content[r] == EMPTY),
        };
        if nothing {
            let what = format!(
                "none of the {} cells to train on has any counts, so there is nothing to learn; name the \
                 matrix with the counts, or another file",
                rows.len()
            );
            return Err(TrainError::file(dataset.path(), what));
        }
        Ok((looked_at, counts))
    }

    /// All cells, with the batches of `column`, see [`Dataset::batches`].
    ///
    /// # Errors
    /// [`TrainError::Data`] when the column or the counts cannot be read.
    pub fn all(dataset: &Dataset, column: Option<&str>) -> Result<Self> {
        Ok(Self {
            rows: (0..dataset.cells()).collect(),
            validation: Vec::new(),
            batches: dataset.batches(column)?,
            keys: dataset.cell_keys()?,
        })
    }
}

/// A flag that is never set.
static NEVER: AtomicBool = AtomicBool::new(false);

/// Callbacks of a training run.
pub struct Watch<'a> {
    /// The flag that stops training after the current step; requested when training begins.
    pub stop: fn() -> &'static AtomicBool,
    /// Called after every step.
    pub on_step: &'a mut dyn FnMut(&StepReport),
    /// Called with warnings for the user.
    pub warn: &'a (dyn Fn(&str) + Sync),
}

/// A model and its training cells.
pub struct Pretraining {
    /// The network with tokeniser and objective.
    pub task: Box<dyn Trainable>,
    /// The model, still without weights.
    pub model: Model,
    /// The cells in the columns of its vocabulary.
    pub corpus: Corpus,
    /// The cells on which the best step is chosen, if there are any.
    pub validation: Option<Corpus>,
    /// The weights of another model that training starts from.
    pub(crate) start: Option<Start>,
    /// Columns of obs with labels used in training.
    pub(crate) labels: Vec<String>,
    /// Keys of the cells it is fitted on, those of validation included.
    pub(crate) keys: CellKeys,
    /// Whether it starts from weights whose training cells are unknown.
    pub(crate) unknown_start: bool,
}

impl Pretraining {
    /// Selects the vocabulary on the training cells, finds the width where the size of another
    /// model is to be matched, and builds the task. `columns` of obs are used for what the
    /// architecture needs and its configuration does not name.
    ///
    /// # Errors
    /// [`TrainError`] for fewer than two cells, invalid settings, and columns or counts
    /// that cannot be read.
    pub fn new(
        dataset: &Dataset,
        mut spec: ModelSpec,
        cells: TrainingCells,
        columns: &BTreeMap<Role, String>,
        seed: u64,
    ) -> Result<Self> {
        let other = size::other(&mut spec)?;
        let (looked_at, counts) = cells.look(dataset)?;
        let TrainingCells { rows, batches, .. } = &cells;
        let chosen: Vec<usize> = match spec.vocabulary.genes {
            n if n == 0 || n >= dataset.genes().len() => (0..dataset.genes().len()).collect(),
            n => {
                let (flavor, codes) = (spec.vocabulary.flavor, batches.codes());
                match flavor {
                    Flavor::SeuratV3 => {
                        let counts = RawCounts::new(counts.clone()).map_err(|e| {
                            TrainError::Config(format!(
                                "vocabulary.flavor = 'seurat_v3' needs counts: {e}; use 'seurat' or \
                                 'cell_ranger'"
                            ))
                        })?;
                        most_variable(HvgInput::Counts(&counts), flavor, &looked_at, codes, n)?
                    }
                    Flavor::Seurat | Flavor::CellRanger => {
                        let values = dataset.log_normalized(counts.clone())?;
                        let values = HvgInput::LogNormalized(&values);
                        most_variable(values, flavor, &looked_at, codes, n)?
                    }
                }
            }
        };
        let mut seen = HashSet::new();
        let genes: Vec<String> = chosen
            .into_iter()
            .map(|g| dataset.genes()[g].clone())
            .filter(|g| seen.insert(normal_form(g).to_string()))
            .collect();
        let vocabulary = Vocabulary::new(genes.clone())?;
        let matched = match_genes(dataset.genes(), &vocabulary, Across::Same)?;
        let Columns {
            obs,
            levels,
            labels,
        } = columns::for_training(dataset, &spec, columns, &Levels::new(), rows)?;
        let other = match other {
            Some(other) => {
                let levels =
                    columns::for_training(dataset, &other.spec, columns, &Levels::new(), rows)?
                        .levels;
                Some((levels, other))
            }
            None => None,
        };
        let counts = matched.apply_matrix(&counts)?;
        check_names(&genes).map_err(|e| TrainError::file(dataset.path(), e))?;
        let data = DataSpec {
            means: Arc::new(expressing_means(&counts)),
            largest: Arc::new(features::largest(&genes, &counts)),
            genes: Arc::new(genes),
            positions: Arc::default(),
            batches: batches.names().to_vec(),
            levels,
            seed,
        };
        let (spec, same_size) = match other {
            Some((levels, other)) => {
                let (spec, same) = size::find(&spec, &data, other, levels)?;
                (spec, Some(same))
            }
            None => (spec, None),
        };
        let model = Model {
            spec,
            data,
            weights: Tensors::new(),
            same_size,
            trained: None,
            start: None,
            calibration: None,
            file: Default::default(),
        };
        Self::assemble(dataset, model, cells, (matched, obs, labels))
    }

    /// The training of `model` on `cells`, whose genes are `matched` to its own.
    pub(crate) fn assemble(
        dataset: &Dataset,
        model: Model,
        cells: TrainingCells,
        (matched, obs, labels): (GeneMatch, Obs, Vec<String>),
    ) -> Result<Self> {
        let TrainingCells {
            rows,
            validation,
            batches,
            keys,
        } = cells;
        if model.spec.train.validation.is_some() && validation.is_empty() {
            return Err(TrainError::Config(
                "train.validation has no effect without validation cells; hold some out \
                 (--validation), or remove it"
                    .into(),
            ));
        }
        let order = order(dataset, &model.spec.train.sampling, &rows)?;
        let codes = batch_codes(batches.codes(), batches.names(), &model.data.batches);
        let mut corpus = Corpus::new(dataset, matched, codes, rows);
        corpus.obs = Arc::new(obs);
        corpus.keys = Arc::new(keys.draw_keys().to_vec());
        let fitted = corpus.rows.iter().chain(&validation).copied();
        let keys = match keys.cells() {
            0 => keys,
            _ => keys.select(&fitted.collect::<Vec<usize>>()),
        };
        let validation = (!validation.is_empty()).then(|| Corpus {
            rows: Arc::new(validation),
            ..corpus.clone()
        });
        corpus.order = order;
        let task = model.task()?;
        // It is written at the end, and must not fail there.
        task.tokenizer().check()?;
        Ok(Self {
            task,
            model,
            corpus,
            validation,
            start: None,
            labels,
            keys,
            unknown_start: false,
        })
    }

    /// Writes the keys of the training cells into `folder`; returns the record of a model that was
    /// trained on them for this number of `steps`.
    ///
    /// # Errors
    /// [`TrainError::Data`] when the keys cannot be written.
    pub fn record(
        &self,
        folder: &Path,
        split: Option<SavedSplit>,
        parameters: usize,
        steps: u64,
    ) -> Result<TrainingRecord> {
        Ok(TrainingRecord {
            cells: self.keys.cells(),
            labels: self.labels.clone(),
            keys_blake3: write_keys(&folder.join(TRAINING_CELLS), &self.keys)?,
            split,
            parameters: parameters as u64,
            steps,
            unknown_start: self.unknown_start,
        })
    }

    /// What to know of cells without counts among those that are trained on.
    pub fn empty_cells(&self) -> Option<String> {
        let (empty, cells) = (self.keys.empty(), self.keys.cells());
        (empty > 0).then(|| {
            format!("{empty} of the {cells} cells to train on have no counts; drop them first")
        })
    }

    /// What to know of cells that are trained on twice, as those of a file and of a copy of it with an
    /// embedding.
    pub fn repeated_cells(&self) -> Option<String> {
        let (repeated, cells) = (self.keys.repeated(), self.keys.cells());
        (repeated > 0).then(|| {
            format!(
                "{repeated} of the {cells} cells to train on have the counts and the barcode of another; they \
                 count twice, leave one of the two out"
            )
        })
    }

    /// What to know where batches are too small for a model whose minibatches are of one batch each.
    pub fn small_batches(&self) -> Option<String> {
        let spec = &self.model.spec;
        if spec.architecture != "cellplm" {
            return None;
        }
        let size = spec.train.minibatch;
        let (groups, small) = self.corpus.groups(size);
        (small > 0 && groups.len() > 1).then(|| {
            format!(
                "cellplm: {small} of {} batches have fewer than {} cells, which is too few for a sentence of \
                 their own; their cells share sentences",
                groups.len(),
                size.min(FEW) / 2
            )
        })
    }

    /// Hash of everything that must not change between start and resumption: a run may become longer, and
    /// write checkpoints more or less often.
    fn fingerprint(&self, data_hash: &str) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        let usual = TrainConfig::default();
        let mut model = self.model.clone();
        model.spec.train.steps = usual.steps;
        model.spec.train.checkpoint_every = usual.checkpoint_every;
        hasher.update(&model.config_bytes()?);
        hasher.update(data_hash.as_bytes());
        self.model.data.genes.iter().for_each(|g| {
            hasher.update(g.as_bytes());
        });
        let validation = self.validation.iter().flat_map(|c| c.rows.iter());
        self.corpus.rows.iter().chain(validation).for_each(|r| {
            hasher.update(&r.to_le_bytes());
        });
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Trains in `folder`, resuming from a checkpoint if there is one.
    ///
    /// # Errors
    /// Those of [`crate::training::trainer::train`], and [`TrainError::Stopped`] where [`Watch::stop`] was set.
    pub fn train(
        &self,
        folder: &Path,
        data_hash: &str,
        device: &Device,
        watch: &mut Watch<'_>,
    ) -> Result<Outcome> {
        let fingerprint = self.fingerprint(data_hash)?;
        let train = &self.model.spec.train;
        let device = device.clone().autodiff();
        let run = Run {
            corpus: &self.corpus,
            config: train,
            seed: self.model.data.seed,
            fingerprint: &fingerprint,
            folder,
            device: &device,
            stop: (watch.stop)(),
            warn: watch.warn,
            validation: self.validation.as_ref(),
            start: self.start.as_ref(),
        };
        let outcome = self.task.train(&run, watch.on_step)?;
        if outcome.interrupted {
            return Err(TrainError::Stopped {
                step: outcome.steps,
                steps: train.steps,
            });
        }
        Ok(outcome)
    }
}

impl Pretraining {
    /// Trains, and saves the model in `folder` with a manifest that contains the `revision` of the
    /// code.
    ///
    /// # Errors
    /// Those of [`Pretraining::train`] and [`Model::save`].
    pub fn finish(
        self,
        dataset: &Dataset,
        place: (&Path, &'static str),
        device: (&str, &Device),
        split: Option<SavedSplit>,
        watch: &mut Watch<'_>,
    ) -> Result<Model> {
        let fitted = self.fit(dataset, place, device, split, watch)?;
        fitted.save(place.0)
    }

    /// The same without the saving.
    ///
    /// # Errors
    /// Those of [`Pretraining::train`].
    pub fn fit(
        self,
        dataset: &Dataset,
        (folder, revision): (&Path, &'static str),
        (device_name, device): (&str, &Device),
        split: Option<SavedSplit>,
        watch: &mut Watch<'_>,
    ) -> Result<Fitted> {
        let hash = dataset.hash()?;
        let seed = self.model.data.seed;
        let config = self.model.config_json()?;
        let mut manifest = Manifest::new(revision, &hash, config, (seed, device_name));
        manifest.assumed = dataset.assumption().map(str::to_owned);
        let parameters = self.task.parameters(device)?;
        let outcome = self.train(folder, &hash, device, watch)?;
        if let Some(split) = &split {
            split.save(&folder.join(SPLIT))?;
        }
        let record = self.record(folder, split, parameters, outcome.steps)?;
        manifest.training = Some(record.clone());
        let model = Model {
            weights: outcome.weights,
            trained: Some((record, self.keys)),
            file: folder.join(WEIGHTS),
            ..self.model
        };
        Ok(Fitted {
            model,
            manifest,
            validated: outcome.validated,
        })
    }
}

/// A trained model that is not saved yet.
pub struct Fitted {
    /// The model.
    pub model: Model,
    /// What `training.json` will say.
    pub manifest: Manifest,
    /// Losses on the validation cells.
    pub validated: Vec<Validated>,
}

impl Fitted {
    /// Saves the model in `folder`.
    ///
    /// # Errors
    /// Those of [`Model::save`].
    pub fn save(self, folder: &Path) -> Result<Model> {
        let manifest = self
            .manifest
            .close()
            .map_err(|e| TrainError::file(folder.join("training.json"), e))?;
        self.model.save(folder, &manifest)?;
        Ok(self.model)
    }
}

/// Options of [`pretrain`].
#[derive(Clone, Debug)]
pub struct PretrainOptions {
    /// Column of `obs` with the sequencing batch; without one every file is a batch.
    pub batch: Option<String>,
    /// Device, see [`sc_models::device::open`].
    pub device: String,
    /// Seed of all random draws.
    pub seed: u64,
    /// The held-out donors or cells, and the training rows; all cells without.
    pub split: Option<(SavedSplit, Vec<usize>)>,
    /// Revision of the code, for the manifest.
    pub revision: &'static str,
}

impl Default for PretrainOptions {
    fn default() -> Self {
        Self {
            batch: None,
            device: sc_models::device::DEFAULT.to_owned(),
            seed: 0,
            split: None,
            revision: "unknown",
        }
    }
}

/// Trains a model of `spec` on the cells of `dataset`, saves it in `folder` and returns it. A
/// stopped training resumes from its checkpoints in the folder.
///
/// # Errors
/// Those of [`Pretraining`] and of [`Model::save`].
pub fn pretrain(
    dataset: &Dataset,
    spec: ModelSpec,
    folder: &Path,
    options: &PretrainOptions,
) -> Result<Model> {
    let mut cells = TrainingCells::all(dataset, options.batch.as_deref())?;
    if let Some((_, rows)) = &options.split {
        cells.rows = rows.clone();
    }
    let device = sc_models::device::open(&options.device)?;
    let training = Pretraining::new(dataset, spec, cells, &BTreeMap::new(), options.seed)?;
    let mut watch = Watch {
        stop: || &NEVER,
        on_step: &mut |_| {},
        warn: &|_| {},
    };
    let split = options.split.as_ref().map(|(saved, _)| saved.clone());
    std::fs::create_dir_all(folder).map_err(|e| TrainError::file(folder, e))?;
    let _lock = sc_data::io::atomic::lock_folder(folder)?;
    let place = (folder, options.revision);
    training.finish(
        dataset,
        place,
        (&options.device, &device),
        split,
        &mut watch,
    )
}

/// Mean of every gene over the cells that express it, NaN where none does; with many cells on a
/// sample, the same as for the selection of variable genes.
fn expressing_means(counts: &CsrMatrix) -> Vec<f32> {
    let mut sums = vec![(0f64, 0u32); counts.cols()];
    for (genes, values) in counts.iter_rows() {
        for (&g, &v) in genes.iter().zip(values).filter(|(_, v)| **v > 0.0) {
            let sum = &mut sums[g as usize];
            *sum = (sum.0 + f64::from(v), sum.1 + 1);
        }
    }
    sums.iter()
        .map(|&(sum, n)| (sum / f64::from(n)) as f32)
        .collect()
}

/// The order in the settings.
fn order(dataset: &Dataset, sampling: &Sampling, rows: &[usize]) -> Result<Order> {
    Ok(match sampling {
        Sampling::Shuffled => Order::Shuffled,
        &Sampling::Blocks { block, window } => Order::Blocks(Blocks { block, window }),
        Sampling::Balanced { column, scaler } => {
            let classes = dataset.categories(column);
            let classes = classes.map_err(|e| TrainError::of_column(e, "train.sampling.column"))?;
            let classes: Vec<u32> = rows.iter().map(|&r| classes.codes()[r]).collect();
            Order::Weighted(Arc::new(balanced_weights(&classes, *scaler)))
        }
    })
}
