//! Doing one run: train, embed, evaluate.

use crate::error::{Result, RunError};
use crate::memory;
use crate::provenance::{aside, family};
use crate::reference::reference;
use ndarray::Array2;
use sc_data::dataset::Keep;
use sc_data::identity::TrainingRecord;
use sc_data::io::atomic::{lock_folder, write_bytes_atomic};
use sc_data::io::manifest::Manifest;
use sc_data::io::store::CountsPolicy;
use sc_data::{DataError, Dataset, settings};
use sc_eval::benchmark::{
    Benchmark, EvalData, MethodInfo, MethodOptions, VARIABLE_GENES, describe, unknown,
};
use sc_eval::protocol::Options;
use sc_eval::results::{Cost, CurvePoint, Family, RunResult};
use sc_experiment::check;
use sc_experiment::run::{MapKind, MethodKind, Run, RunData, RunMethod};
use sc_train::inputs::corpus::Corpus;
use sc_train::pretrain::{Pretraining, TrainingCells, Watch};
use sc_train::{ModelSpec, Role, TrainConfig, TrainError, registry};
use std::path::Path;
use std::time::Instant;

/// Number of points kept of a training curve.
const CURVE_POINTS: usize = 300;

/// Reads `run.toml`.
///
/// # Errors
/// [`RunError`] naming an invalid key or value.
pub fn read(path: &Path) -> Result<Run> {
    let table = settings::read(path)?;
    let name = path.display().to_string();
    Ok(settings::parse(table, &name)?)
}

/// Does `run`, which was read from `from`, in `folder`, and writes `result.json` and
/// `manifest.json` there. `revision` is that of the code; `packed` is called while counts are
/// packed.
///
/// # Errors
/// [`RunError`] for values that cannot be meant, for data that changed since the run was planned, and
/// for anything that stops training or judging.
pub fn execute(
    run: &Run,
    (from, folder): (&Path, &Path),
    revision: &'static str,
    packed: impl FnMut(usize, usize),
    watch: &mut Watch<'_>,
) -> Result<RunResult> {
    let done = in_folder(run, folder, revision, packed, watch);
    done.map_err(|e| e.in_file(from))
}

fn in_folder(
    run: &Run,
    folder: &Path,
    revision: &'static str,
    packed: impl FnMut(usize, usize),
    watch: &mut Watch<'_>,
) -> Result<RunResult> {
    let fault = |what: String| RunError::from(DataError::invalid(what));
    check::run(run)?;
    // A baseline does not touch it, and yet its result names it.
    sc_models::device::open(&run.device).map_err(|e| fault(format!("device: {e}")))?;
    std::fs::create_dir_all(folder).map_err(|e| DataError::io(folder, e))?;
    let _lock = lock_folder(folder)?;
    let policy = match &run.data.counts {
        Some(matrix) => CountsPolicy::Named(matrix.clone()),
        None => CountsPolicy::RequireCounts,
    };
    let mut dataset = Dataset::open(&run.data.path, &policy)?;
    // What follows is about the file as it was, so this is first.
    if dataset.hash()? != run.data.hash.to_ascii_lowercase() {
        return Err(fault(format!(
            "data.hash = \"{}\" is not that of {} ({}), so the file changed since the run was planned; \
             plan it again",
            run.data.hash,
            dataset.path().display(),
            dataset.hash()?
        )));
    }
    let data = EvalData::open(&dataset, &run.design())
        .map_err(|e| of_column(e.into(), &run.data, fault))?;
    let (asked, most) = (run.eval.probe_neighbors, data.annotations.train.len());
    if !(1..=most).contains(&asked) {
        return Err(fault(format!(
            "eval.probe_neighbors = {asked}; must lie between 1 and {most}, the training cells"
        )));
    }
    let resolved = serde_json::to_value(run).map_err(|e| fault(e.to_string()))?;
    let mut manifest = Manifest::new(revision, &run.data.hash, resolved, (run.seed, &run.device));
    let result = match run.method.kind {
        MethodKind::Model | MethodKind::RandomInit => {
            if run.method.kind == MethodKind::Model {
                let train = spec(&run.method)?.train;
                let reads = train.steps.saturating_mul(train.minibatch as u64);
                if let Some(why) = dataset.prepare(&Keep::Auto, reads, packed)? {
                    (watch.warn)(&not_packed(&why));
                }
            }
            let (result, record) = network(run, &dataset, &data, folder, watch)?;
            manifest.training = record;
            result
        }
        MethodKind::Baseline | MethodKind::Control => baseline(run, &data)?,
    };
    let json = |e: serde_json::Error| RunError::settings("result.json", e.to_string());
    let manifest = manifest.close().map_err(json)?;
    write_bytes_atomic(&folder.join("manifest.json"), &manifest)?;
    let bytes = serde_json::to_vec(&result).map_err(json)?;
    write_bytes_atomic(&folder.join("result.json"), &bytes)?;
    Ok(result)
}

/// The same, with the key that names the column that is not there.
fn of_column(e: RunError, data: &RunData, fault: impl Fn(String) -> RunError) -> RunError {
    let RunError::Data(DataError::NoColumn { column, .. }) = &e else {
        return e;
    };
    let keys = [
        ("data.label", &data.label),
        ("data.batch", &data.batch),
        ("data.donor", &data.donor),
    ];
    match keys.iter().find(|(_, named)| *named == column) {
        Some((key, _)) => fault(format!("{key} = \"{column}\": {e}")),
        None => e,
    }
}

/// The model of a method, with its training and its objective.
///
/// # Errors
/// [`RunError::Settings`] when it is missing, or a setting cannot be read.
pub fn spec(method: &RunMethod) -> Result<ModelSpec> {
    let of = |key: &str| format!("method.{key} ({})", method.name);
    let model = method.model.clone();
    let model = model
        .ok_or_else(|| RunError::settings(of("model"), "is missing; give the model of the run"))?;
    let mut spec: ModelSpec = settings::parse(model, &of("model"))?;
    spec.train = match &method.train {
        Some(train) => settings::parse(train.clone(), &of("train"))?,
        None => TrainConfig::default(),
    };
    spec.objective = method.objective.clone().or(spec.objective);
    Ok(spec)
}

/// Note that no packed copy of the counts could be made.
pub fn not_packed(why: &sc_data::DataError) -> String {
    format!("the counts are not packed ({why}); training reads the file")
}

fn options(run: &Run) -> Options {
    Options {
        seed: run.eval.seed,
        probe_neighbors: run.eval.probe_neighbors,
    }
}

fn map_cells(run: &Run) -> usize {
    match run.eval.map {
        MapKind::Umap => run.eval.map_cells,
        MapKind::None => 0,
    }
}

/// Refuses options of which the data have fewer: a row would be called by a number that it has not.
fn enough(given: &MethodOptions, data: &EvalData) -> Result<()> {
    let (train, genes) = (data.annotations.train.len(), data.values.matrix().cols());
    // Those that components are fitted on.
    let variable = given.genes.unwrap_or(VARIABLE_GENES).min(genes);
    let most = [
        ("genes", genes, "all genes of the file"),
        (
            "components",
            variable.min(train.saturating_sub(1)),
            "the variable genes, or the training cells less one",
        ),
        ("neighbors", train, "all training cells"),
    ];
    for (key, value) in given.given() {
        let of = most.iter().find(|(k, _, _)| *k == key);
        if let Some((_, most, by)) = of.filter(|(_, most, _)| value > *most) {
            let what = format!("method.options.{key} = {value}; must be at most {most} ({by})");
            return Err(DataError::invalid(what).into());
        }
    }
    Ok(())
}

fn baseline(run: &Run, data: &EvalData) -> Result<RunResult> {
    let given = &run.method.options;
    let method = given.check(&run.method.name)?;
    let (family, about) = describe(method).ok_or_else(|| unknown(method))?;
    enough(given, data)?;
    let mut description = about.to_string();
    let set: Vec<String> = given
        .given()
        .iter()
        .map(|(k, v)| format!("{k} = {v}"))
        .collect();
    if !set.is_empty() {
        description.push_str(&format!(" ({})", set.join(", ")));
    }
    let (options, map_cells) = (options(run), map_cells(run));
    let shared = reference(data)?;
    let benchmark = Benchmark::with_reference(data, shared, options, map_cells, given.clone())?;
    Ok(benchmark.baseline(info(run, family, description), method)?)
}

fn network(
    run: &Run,
    dataset: &Dataset,
    data: &EvalData,
    folder: &Path,
    watch: &mut Watch<'_>,
) -> Result<(RunResult, Option<TrainingRecord>)> {
    let method = &run.method;
    let device = sc_models::device::open(&run.device)?;
    let spec = spec(method)?;
    let preset = method.preset.clone();
    let preset = preset.unwrap_or_else(|| spec.architecture.clone());
    let kind = family(&spec.architecture);
    let company =
        registry::find(&spec.architecture).and_then(|a| a.minibatch_dependence.note(Some(&spec)));
    let objective = spec.objective.clone();
    let annotations = &data.annotations;
    let cells = TrainingCells {
        rows: annotations.train.clone(),
        validation: Vec::new(),
        batches: annotations.batches.clone(),
        keys: data.keys.clone(),
    };
    let columns = [(Role::Label, run.data.label.clone())].into();
    let training = Pretraining::new(dataset, spec, cells, &columns, run.seed)?;
    let parameters = training.task.parameters(&device)?;
    memory::fits(parameters, memory::TRAINING, &run.device)?;
    let sized = match &training.model.same_size {
        Some(same) => {
            (watch.warn)(&format!("{}: {same}", method.name));
            format!(" of equal size to {} ({same})", same.model)
        }
        None => String::new(),
    };
    let started = Instant::now();
    let trained = method.kind == MethodKind::Model;
    let (weights, steps) = if trained {
        let outcome = training.train(folder, &run.data.hash, &device, watch)?;
        (outcome.weights, outcome.steps)
    } else {
        (training.task.initial(&device)?, 0)
    };
    let train_seconds = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let cells = annotations.labels.len();
    let mut vectors = Array2::<f32>::zeros((cells, training.task.dims()));
    let mut all = Corpus::new(
        dataset,
        training.corpus.genes.as_ref().clone(),
        annotations.batches.codes().to_vec(),
        (0..cells).collect(),
    );
    all.obs = training.corpus.obs.clone();
    all.keys = training.corpus.keys.clone();
    training
        .task
        .embed(weights, &all, &device, &mut |rows, values| {
            sc_train::embed::put(&mut vectors, rows, values);
            Ok::<(), TrainError>(())
        })?;
    let embed_seconds = started.elapsed().as_secs_f64();
    let record = match trained {
        true => {
            let split = Some(data.saved_split(&run.design()));
            Some(training.record(folder, split, parameters, steps)?)
        }
        false => None,
    };
    let (family, description) = if trained {
        (
            kind,
            format!(
                "{preset}{sized}, trained on the training donors for {steps} steps{}",
                aside(company)
            ),
        )
    } else {
        (
            Family::Control,
            format!("{preset}{sized} with its initial weights, untrained"),
        )
    };
    let mut info = info(run, family, description);
    info.preset = Some(preset);
    info.same_size_as = training.model.same_size.as_ref().map(|s| s.model.clone());
    info.objective = objective.filter(|_| trained);
    let curve = if trained {
        curve(&folder.join("train.jsonl"))?
    } else {
        Vec::new()
    };
    let cost = Cost {
        train_seconds: Some(train_seconds),
        embed_seconds: Some(embed_seconds),
        parameters: Some(parameters as u64),
        steps: Some(steps),
        training_cells: trained.then_some(annotations.train.len() as u64),
        ..Cost::default()
    };
    let (options, map_cells) = (options(run), map_cells(run));
    let none = MethodOptions::default();
    let benchmark = Benchmark::with_reference(data, reference(data)?, options, map_cells, none)?;
    let result = benchmark.embedding(info, vectors.view(), cost, curve)?;
    Ok((result, record))
}

fn info(run: &Run, family: Family, description: String) -> MethodInfo {
    MethodInfo {
        device: run.device.clone(),
        ..MethodInfo::new(&run.method.name, family, &description, run.seed)
    }
}

/// The thinned training curve.
fn curve(path: &Path) -> Result<Vec<CurvePoint>> {
    let points = sc_train::training::trainer::read_log(path)?;
    let step = points.len().div_ceil(CURVE_POINTS).max(1);
    let thin = points.into_iter().step_by(step);
    Ok(thin
        .map(|(step, losses)| CurvePoint { step, losses })
        .collect())
}

#[cfg(test)]
mod tests;
