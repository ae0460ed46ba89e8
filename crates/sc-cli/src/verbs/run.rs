//! `scfm run`: one cell of an experiment matrix, from a fully resolved file.

use crate::args::{CountsFrom, Input, Run};
use crate::error::{Result, at, message};
use crate::exposure::aside;
use crate::held_out::of_study;
use crate::manifest::Manifest;
use crate::memory;
use crate::methods::{Bench, Picture, Who, describe, family, unknown};
use crate::packing::{self, Keep};
use crate::settings;
use crate::study::{Design, Study};
use crate::training::{Cells, Plan, corpus};
use ndarray::Array2;
use sc_data::atomic::write_bytes_atomic;
use sc_data::identity::TrainingRecord;
use sc_eval::protocol::Options;
use sc_eval::results::{Cost, CurvePoint, Exposure, Family, RunResult};
use sc_train::registry;
use sc_train::{ModelSpec, Role, TrainConfig};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Points of a training curve that are kept.
const CURVE_POINTS: usize = 300;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CellConfig {
    schema: u32,
    #[serde(rename = "experiment")]
    _experiment: String,
    seed: u64,
    device: String,
    data: Data,
    split: Split,
    eval: EvalConfig,
    method: Method,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    path: PathBuf,
    hash: String,
    label: String,
    batch: String,
    donor: String,
    #[serde(default)]
    counts: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Split {
    #[serde(default = "default_fraction")]
    test_fraction: f64,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    test_donors: Option<Vec<String>>,
}

fn default_fraction() -> f64 {
    0.35
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EvalConfig {
    seed: u64,
    probe_neighbors: usize,
    map: Map,
    map_cells: usize,
}

/// Which picture of the scored cells is drawn.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Map {
    Umap,
    None,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Method {
    name: String,
    kind: Kind,
    #[serde(default)]
    preset: Option<String>,
    #[serde(default)]
    objective: Option<String>,
    #[serde(default)]
    model: Option<serde_json::Value>,
    #[serde(default)]
    train: Option<TrainConfig>,
    #[serde(default)]
    options: serde_json::Map<String, serde_json::Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Model,
    RandomInit,
    Baseline,
    Control,
}

pub(crate) fn run(args: &Run) -> Result<()> {
    let table = settings::read(Some(&args.config), &[])?;
    let resolved = serde_json::to_value(&table)?;
    let config: CellConfig = settings::parse(table, &args.config.display().to_string())?;
    if config.schema != 1 {
        return Err(at(
            &args.config,
            format!("schema {} is not read here, only 1", config.schema),
        ));
    }
    std::fs::create_dir_all(&args.out).map_err(|e| at(&args.out, e))?;
    let _lock = sc_data::atomic::lock_folder(&args.out)?;
    let input = Input {
        file: config.data.path.clone(),
        from: CountsFrom {
            counts: config.data.counts.clone(),
            assume_normalized: false,
        },
    };
    let design = Design {
        label: config.data.label.clone(),
        batch: config.data.batch.clone(),
        donor: config.data.donor.clone(),
        test_fraction: config.split.test_fraction,
        test_donors: config.split.test_donors.clone(),
        saved: None,
        seed: config.split.seed,
    };
    let mut study = Study::open(&input, &design)?;
    if study.card.hash != config.data.hash {
        return Err(at(
            &input.file,
            "the file changed since the experiment was planned; run it again",
        ));
    }
    if config.method.kind == Kind::Model {
        let train = config.method.train.clone().unwrap_or_default();
        let reads = train.steps.saturating_mul(train.minibatch as u64);
        let hashes = [study.card.hash.clone()];
        packing::prepare(&mut study.source, &hashes, &Keep::Auto, reads)?;
    }
    let mut manifest = Manifest::new(&study.card.hash, resolved, config.seed, &config.device);
    let options = Options {
        seed: config.eval.seed,
        probe_neighbors: config.eval.probe_neighbors,
    };
    let picture = match config.eval.map {
        Map::Umap => Picture::Umap(config.eval.map_cells),
        Map::None => Picture::None,
    };
    let (asked, most) = (options.probe_neighbors, study.dataset.train.len());
    if !(1..=most).contains(&asked) {
        return Err(at(
            &args.config,
            format!(
                "eval.probe_neighbors = {asked}; must lie between 1 and {most}, the training cells"
            ),
        ));
    }
    let result = match config.method.kind {
        Kind::Model | Kind::RandomInit => {
            let place = (args.out.as_path(), &design);
            let (result, record) = model(&config, &study, place, options, picture)?;
            manifest.training = record;
            result
        }
        Kind::Baseline | Kind::Control => simple(&config, &study, options, picture)?,
    };
    write_bytes_atomic(&args.out.join("manifest.json"), &manifest.close()?)?;
    Ok(write_bytes_atomic(
        &args.out.join("result.json"),
        &serde_json::to_vec(&result)?,
    )?)
}

fn simple(
    config: &CellConfig,
    study: &Study,
    options: Options,
    picture: Picture,
) -> Result<RunResult> {
    let read = crate::options::read(&config.method.name, &config.method.options)?;
    let method = read.method.as_deref().unwrap_or(&config.method.name);
    let method = method.to_owned();
    let (family, about) = describe(&method).ok_or_else(|| unknown(&method))?;
    if (family == Family::Control) != (config.method.kind == Kind::Control) {
        let right = if family == Family::Control {
            "control"
        } else {
            "baseline"
        };
        return Err(message(format!(
            "method.kind does not fit: {method} is a {right}; write kind = \"{right}\""
        )));
    }
    let mut description = about.to_string();
    let given = config.method.options.iter().filter(|(k, _)| *k != "method");
    let given: Vec<String> = given.map(|(k, v)| format!("{k} = {v}")).collect();
    if !given.is_empty() {
        description.push_str(&format!(" ({})", given.join(", ")));
    }
    let who = who(config, family, description);
    Bench::new(study, options, picture, read)?.simple(who, &method)
}

fn model(
    config: &CellConfig,
    study: &Study,
    (folder, design): (&Path, &Design),
    options: Options,
    picture: Picture,
) -> Result<(RunResult, Option<TrainingRecord>)> {
    let method = &config.method;
    let device = sc_models::device::open(&config.device)?;
    let model = method
        .model
        .clone()
        .ok_or_else(|| message("method.model is missing"))?;
    let mut spec: ModelSpec = serde_json::from_value(model)
        .map_err(|e| message(format!("method.model ({}): {e}", method.name)))?;
    spec.train = method.train.clone().unwrap_or_default();
    spec.objective = method.objective.clone().or(spec.objective);
    let dataset = &study.dataset;
    let batches = (
        dataset.batches.codes().to_vec(),
        dataset.batches.names().to_vec(),
    );
    let preset = method
        .preset
        .clone()
        .unwrap_or_else(|| spec.architecture.clone());
    let kind = family(&spec.architecture);
    let company = registry::find(&spec.architecture).and_then(|a| a.company.note(Some(&spec)));
    let objective = spec.objective.clone();
    let keys = study.keys.clone();
    let split = of_study(study, design);
    let cells = Cells {
        rows: dataset.train.clone(),
        batches,
        keys,
    };
    let plan = Plan::new(
        &study.source,
        spec,
        cells,
        &[(Role::Label, config.data.label.clone())].into(),
        config.seed,
    )?;
    let parameters = plan.task.parameters(&device)?;
    memory::fits(parameters, memory::TRAINING, &config.device)?;
    let sized = match &plan.config.same_size {
        Some(same) => {
            eprintln!("{}: {same}", method.name);
            format!(" of the size of {} ({same})", same.model)
        }
        None => String::new(),
    };
    let started = Instant::now();
    let trained = method.kind == Kind::Model;
    let (weights, steps) = if trained {
        plan.train(folder, &study.card.hash, &device)?
    } else {
        (plan.task.initial(&device)?, 0)
    };
    let train_seconds = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let mut embedding = Array2::<f32>::zeros((dataset.labels.len(), plan.task.dims()));
    let mut all = corpus(
        &study.source,
        plan.corpus.genes.as_ref().clone(),
        dataset.batches.codes().to_vec(),
        (0..dataset.labels.len()).collect(),
    );
    all.obs = plan.corpus.obs.clone();
    all.keys = plan.corpus.keys.clone();
    plan.task
        .embed(weights, &all, &device, &mut |rows, values| {
            for (&row, vector) in rows.iter().zip(values.chunks_exact(embedding.ncols())) {
                embedding
                    .row_mut(row)
                    .assign(&ndarray::ArrayView1::from(vector));
            }
            Ok(())
        })?;
    let embed_seconds = started.elapsed().as_secs_f64();
    let record = match trained {
        true => Some(plan.record(folder, Some(split), parameters, steps)?),
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
            format!("{preset}{sized} with its initial weights, never trained"),
        )
    };
    let mut who = who(config, family, description);
    who.preset = Some(preset);
    who.same_size_as = plan.config.same_size.as_ref().map(|s| s.model.clone());
    who.objective = objective.filter(|_| trained);
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
        training_cells: trained.then_some(dataset.train.len() as u64),
        ..Cost::default()
    };
    let bench = Bench::new(study, options, picture, crate::options::Options::default())?;
    let result = bench.embedding(who, embedding.view(), dataset, cost, curve)?;
    Ok((result, record))
}

fn who(config: &CellConfig, family: Family, description: String) -> Who {
    Who {
        method: config.method.name.clone(),
        family,
        description,
        preset: None,
        same_size_as: None,
        exposure: Exposure::Nothing,
        objective: None,
        seed: config.seed,
        device: config.device.clone(),
    }
}

/// The training curve, thinned.
fn curve(path: &Path) -> Result<Vec<CurvePoint>> {
    let points = sc_train::trainer::read_log(path)?;
    let step = points.len().div_ceil(CURVE_POINTS).max(1);
    let thin = points.into_iter().step_by(step);
    Ok(thin
        .map(|(step, losses)| CurvePoint { step, losses })
        .collect())
}
