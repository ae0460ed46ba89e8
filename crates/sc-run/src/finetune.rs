//! Fine-tuning a model, and what it is worth.
//!
//! Validation donors, drawn from the training donors, choose the step whose weights are kept, and calibrate
//! the probabilities; held-out donors are for the scores alone. Beside the fine-tuned model stand the
//! weights it started from, not trained further, and logistic regression on the counts.
//!
//! ```
//! use sc_data::dataset::Dataset;
//! use sc_data::io::store::CountsPolicy;
//! use sc_run::finetune::{Base, Plan, finetune};
//! use sc_train::presets;
//! # use sc_data::simulate::{SimConfig, simulate_to_file};
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("cells.h5ad");
//! # let config = SimConfig { cells: 90, genes: 40, donors: 3, ..SimConfig::default() };
//! # simulate_to_file(&config, &path, |_| ())?;
//! # let out = folder.path().join("annotator");
//!
//! let dataset = Dataset::open(&path, &CountsPolicy::RequireCounts)?;
//! let base = Base::Settings(Box::new(presets::named("mlp-tiny", &[])?));
//! let plan = Plan::new(&dataset, "cell_type");
//! let (model, scores) = finetune(&dataset, base, plan, &["train.steps=3".into()], &out)?;
//! # let device = sc_models::device::open(sc_models::device::DEFAULT)?;
//! let labels = sc_train::predict::labels(&model, &dataset, &Default::default(), &device)?;
//! assert_eq!(labels.best.len(), 90);
//! assert_eq!(scores.scores[1].name, "counts, logistic regression");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod scores;

pub use scores::{Score, Scores};

use crate::error::{Result, RunError};
use ndarray::Array2;
use sc_data::Dataset;
use sc_data::categories::{Categories, MISSING};
use sc_data::dataset::{HoldOut, NO_COLUMN, Validation};
use sc_data::identity::TrainedOn;
use sc_data::sampling::split::{SavedSplit, Split};
use sc_models::device::{DEFAULT, Device};
use sc_train::embed::{Matching, put};
use sc_train::finetune::{From, Goal, for_goal};
use sc_train::inputs::corpus::Corpus;
use sc_train::predict::{Calibration, Quantity};
use sc_train::pretrain::{Pretraining, TrainingCells, Watch};
use sc_train::{Model, ModelSpec, Role, TrainError};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a model is fine-tuned for, and on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What for.
    pub goal: Goal,
    /// Column of `obs` with the labels, or the perturbations; not read for other goals.
    pub column: String,
    /// Column with the donors, of which some are for validation; [`NO_COLUMN`] draws cells at random.
    pub donor: String,
    /// Column with the sequencing batches.
    pub batch: Option<String>,
    /// Share of the training cells for validation.
    pub validation: f64,
    /// The held-out cells, if any.
    pub held_out: Option<(SavedSplit, Split)>,
    /// Where training starts.
    pub from: From,
    /// How genes are matched.
    pub matching: Matching,
    /// Seed of all random draws.
    pub seed: u64,
}

impl Plan {
    /// Learns `label`; a fifth of the donors of `donor_id`, where the data have it, is for validation, and
    /// none are held out.
    pub fn new(dataset: &Dataset, label: &str) -> Self {
        Self {
            goal: Goal::Annotation,
            column: label.to_owned(),
            donor: usual_donor(dataset),
            batch: None,
            validation: 0.2,
            held_out: None,
            from: From::Pretrained,
            matching: Matching::default(),
            seed: 0,
        }
    }
}

/// A flag that is never set.
static NEVER: AtomicBool = AtomicBool::new(false);

/// Fine-tunes `base` as `plan` says, with the [`settings`] for it, into `folder`, on the default device.
///
/// # Errors
/// Those of [`Finetuning`].
pub fn finetune(
    dataset: &Dataset,
    base: Base,
    plan: Plan,
    assignments: &[String],
    folder: &Path,
) -> Result<(Model, Scores)> {
    let device = sc_models::device::open(DEFAULT)?;
    let spec = settings(base.spec(), (plan.goal, &plan.column), assignments)?;
    spec.train.check()?;
    let finetuning = Finetuning::new(dataset, base, spec, plan, &device)?;
    std::fs::create_dir_all(folder).map_err(|e| TrainError::file(folder, e))?;
    let _lock = sc_data::io::atomic::lock_folder(folder)?;
    let mut watch = Watch {
        stop: || &NEVER,
        on_step: &mut |_| {},
        warn: &|_| {},
    };
    finetuning.run(dataset, (folder, "unknown"), (DEFAULT, &device), &mut watch)
}

/// What fine-tuning starts from.
#[derive(Clone, Debug)]
pub enum Base {
    /// A model with weights.
    Model(Box<Model>),
    /// The settings of one without: its vocabulary is chosen on the training cells, and its weights are
    /// drawn.
    Settings(Box<ModelSpec>),
}

impl Base {
    /// Its settings.
    pub fn spec(&self) -> &ModelSpec {
        match self {
            Self::Model(model) => &model.spec,
            Self::Settings(spec) => spec,
        }
    }

    /// Whether training starts at weights that were trained before.
    fn pretrained(&self, from: From) -> Option<&Model> {
        match (self, from) {
            (Self::Model(model), From::Pretrained) => Some(model),
            _ => None,
        }
    }
}

/// A fine-tuning that is ready to run.
pub struct Finetuning {
    /// The training.
    pub training: Pretraining,
    /// Its cells by their use.
    pub cells: Validation,
    /// Held-out cells, and how many of them the model it starts from was trained on.
    pub seen: (usize, usize),
    /// Cells that are neither held out nor labelled.
    pub unlabelled: usize,
    /// Labels of all cells of the data set, where they are learnt.
    labels: Option<Categories>,
    plan: Plan,
    /// What it starts from.
    base: Base,
}

impl Finetuning {
    /// Prepares to fine-tune `base` with the settings of `spec`, see [`for_goal`].
    ///
    /// # Errors
    /// [`crate::RunError`] for columns that are not there, too few cells or labels, too few matching genes,
    /// and settings that are not possible.
    pub fn new(
        dataset: &Dataset,
        base: Base,
        spec: ModelSpec,
        plan: Plan,
        device: &Device,
    ) -> Result<Self> {
        let labels = match plan.goal.role() {
            Some(Role::Label) => Some(dataset.shared_categories(&plan.column)?),
            _ => None,
        };
        let rows: Vec<usize> = match &plan.held_out {
            Some((_, split)) => split.train.clone(),
            None => (0..dataset.cells()).collect(),
        };
        // What has no label teaches nothing here.
        let labelled = |row: &usize| labels.as_ref().is_none_or(|l| l.codes()[*row] != MISSING);
        let all = rows.len();
        let rows: Vec<usize> = rows.into_iter().filter(labelled).collect();
        let unlabelled = all - rows.len();
        if rows.len() < 2 {
            return Err(TrainError::file(
                dataset.path(),
                format!(
                    "{} of the cells to train on have a value in obs['{}']; fine-tuning needs at least 2",
                    rows.len(),
                    plan.column
                ),
            )
            .into());
        }
        let how = HoldOut {
            donor: plan.donor.clone(),
            label: labels.as_ref().map(|_| plan.column.clone()),
            batch: None,
            test_fraction: plan.validation,
            seed: plan.seed,
        };
        let cells = dataset.draw_validation(&rows, &how)?;
        let keys = dataset.cell_keys()?;
        let test = plan
            .held_out
            .as_ref()
            .map_or(&[][..], |(_, split)| &split.test);
        let seen = match base.pretrained(plan.from).and_then(|m| m.trained.as_ref()) {
            Some((record, training)) => {
                TrainedOn::new("", record, training, &keys)
                    .seen(&keys, test)
                    .by_content
            }
            None => 0,
        };
        let seen = (test.len(), seen);
        let training_cells = TrainingCells {
            rows: cells.train.clone(),
            validation: cells.validation.clone(),
            batches: dataset.batches(plan.batch.as_deref())?,
            keys,
        };
        let role = plan.goal.role();
        if let Base::Model(model) = &base
            && model.spec.vocabulary != spec.vocabulary
        {
            let what = "has no effect: the model keeps its vocabulary; remove it";
            return Err(RunError::settings("vocabulary", what));
        }
        let columns: BTreeMap<Role, String> = role
            .map(|role| (role, plan.column.clone()))
            .into_iter()
            .collect();
        let training = match &base {
            Base::Model(model) => Pretraining::starting_from(
                dataset,
                (model.as_ref().clone(), plan.from),
                spec,
                training_cells,
                &columns,
                &plan.matching,
                device,
            )?,
            Base::Settings(_) if !spec.train.freeze.is_none() => {
                let what =
                    "would leave weights as they were drawn, since a preset has none; remove it";
                return Err(RunError::settings(
                    format!("train.freeze = '{}'", spec.train.freeze),
                    what,
                ));
            }
            Base::Settings(_) => {
                Pretraining::new(dataset, spec, training_cells, &columns, plan.seed)?
            }
        };
        Ok(Self {
            training,
            cells,
            seen,
            unlabelled,
            labels,
            plan,
            base,
        })
    }

    /// Labels the model will know.
    pub fn labels(&self) -> &[String] {
        let levels = &self.training.model.data.levels;
        levels.get(&Role::Label).map_or(&[], Vec::as_slice)
    }

    /// Trains, calibrates, saves the model in `folder`, and scores it.
    ///
    /// # Errors
    /// [`crate::RunError`] for anything that stops training or scoring.
    pub fn run(
        self,
        dataset: &Dataset,
        place: (&Path, &'static str),
        device: (&str, &Device),
        watch: &mut Watch<'_>,
    ) -> Result<(Model, Scores)> {
        let Self {
            training,
            cells,
            labels,
            plan,
            base,
            ..
        } = self;
        let split = plan.held_out.as_ref().map(|(saved, _)| saved.clone());
        let Some(labels) = labels else {
            let fitted = training.fit(dataset, place, device, split, watch)?;
            let scores = Scores::of_losses(place.0)?;
            let model = fitted.save(place.0)?;
            scores.save(place.0)?;
            return Ok((model, scores));
        };
        let known = training.model.data.levels[&Role::Label].clone();
        let codes = labels.recoded(&known).codes().to_vec();
        let mut corpus = training.corpus.clone();
        let mut fitted = training.fit(dataset, place, device, split, watch)?;
        let test = plan.held_out.as_ref().map_or(&[][..], |(_, s)| &s.test);
        // A label that training has not cannot be told; such cells count as wrong in the test.
        let has_label = |row: &&usize| labels.codes()[**row] != MISSING;
        let test: Vec<usize> = test.iter().filter(has_label).copied().collect();
        let own = |row: &&usize| codes[**row] != MISSING;
        let validation: Vec<usize> = cells.validation.iter().filter(own).copied().collect();
        let judged: Vec<usize> = validation.iter().chain(&test).copied().collect();
        corpus.rows = Arc::new(judged.clone());
        let logits = predict(&fitted.model, &corpus, device.1, known.len())?;
        let of = |rows: &[usize]| logits.select(ndarray::Axis(0), rows);
        let targets: Vec<u32> = validation.iter().map(|&r| codes[r]).collect();
        let calibration = Calibration::fit(&of(&validation), &targets);
        fitted.model.calibration = calibration.clone();
        let model = fitted.save(place.0)?;
        let how = calibration.unwrap_or_default();
        let best = |row: usize| how.best(logits.row(row)).0;
        let judging = scores::Judging {
            dataset,
            base: &base,
            plan: &plan,
            cells: &cells,
            codes: &codes,
            validation: &validation,
            test: &test,
            device: device.1,
            stop: (watch.stop)(),
            steps: model.spec.train.steps,
        };
        let finetuned: Vec<u32> = judged.iter().map(|&r| best(r)).collect();
        let scores = judging.scores(&finetuned, corpus, place.0)?;
        scores.save(place.0)?;
        Ok((model, scores))
    }
}

/// The donors of validation where nothing else is said: `donor_id`, where the data have it.
pub fn usual_donor(dataset: &Dataset) -> String {
    let usual = sc_eval::benchmark::Design::default().donor;
    match dataset.has_column(&usual) {
        true => usual,
        false => NO_COLUMN.to_owned(),
    }
}

/// The settings with which a model of `base` is fine-tuned, changed by assignments such as `train.steps=500`.
///
/// # Errors
/// [`crate::RunError`] for an architecture without such an objective, and assignments that are not possible.
pub fn settings(
    base: &ModelSpec,
    (goal, column): (Goal, &str),
    assignments: &[String],
) -> Result<ModelSpec> {
    let spec = for_goal(base, goal, column)?;
    let json = |e: String| RunError::settings("fine-tuning", e);
    let mut value = serde_json::to_value(&spec).map_err(|e| json(e.to_string()))?;
    // TOML has no null; a setting that is left out has its default, which is what null stands for.
    without_nulls(&mut value);
    let table = toml::Table::try_from(&value).map_err(|e| json(e.to_string()))?;
    let table = sc_data::settings::change(table, assignments)?;
    let spec: ModelSpec = sc_data::settings::parse(table, "--set")?;
    let fixed = |what: &str, why: &str| {
        Err(RunError::settings(
            what,
            format!("cannot be changed by an assignment: {why}"),
        ))
    };
    let named = goal
        .role()
        .and_then(|role| Some((role, spec.obs.get(&role)?)));
    match named {
        Some((role, given)) if given != column => fixed(
            &format!("obs.{}", role.word()),
            &format!("the column is '{column}', which scores are computed on"),
        ),
        _ if spec.objective != for_goal(base, goal, column)?.objective => fixed(
            "objective",
            "it follows from what the model is fine-tuned for",
        ),
        _ => Ok(spec),
    }
}

fn without_nulls(value: &mut serde_json::Value) {
    if let Some(table) = value.as_object_mut() {
        table.retain(|_, v| !v.is_null());
        table.values_mut().for_each(without_nulls);
    }
}

/// Logits `[cells of the file, labels]` of the cells of `corpus`; the others are 0.
fn predict(model: &Model, corpus: &Corpus, device: &Device, labels: usize) -> Result<Array2<f32>> {
    let mut logits = Array2::zeros((corpus.batches.len(), labels));
    let weights = model.weights.clone();
    let sink = &mut |rows: &[usize], values: &[f32]| {
        put(&mut logits, rows, values);
        Ok(())
    };
    let precision = model.spec.train.precision;
    let task = model.task()?;
    precision.during(|| task.predict(Quantity::Labels, weights, corpus, device, sink))?;
    Ok(logits)
}
