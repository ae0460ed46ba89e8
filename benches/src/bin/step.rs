//! `step ARCHITECTURE train|embed|agree [--preset tiny|small|paper] [key=value …]`: seconds of a step,
//! or how far a device is from `flex`.
//!
//! Prints one JSON line with the same fields as its peers in `benches/peers/`. `device=wgpu` names a
//! device that is part of the build. The model is the preset
//! of `configs/models`; a key with a dot changes one of its settings (`network.width=64`,
//! `train.minibatch=8`), one without the data or the run: [`Sizes`]. Without `--preset`, CellPLM and
//! scGPT have the published size of `docs/src/benchmarks.md`, the others that of `small`. `step list`
//! prints the names of the architectures.

// This program prints its results.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use sc_data::RawCounts;
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_train::inputs::corpus::Order;
use sc_train::registry::{ARCHITECTURES, Architecture, Features};
use sc_train::training::speed::Speed;
use sc_train::training::timing::{StepSeconds, Timed, Timing, Work};
use sc_train::{Corpus, DataSpec, ModelSpec, Obs, Role};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Size of the data, and how it is run.
struct Sizes {
    /// Genes of the data, where the preset uses all.
    genes: usize,
    /// Number of peaks, for models that need peaks.
    peaks: usize,
    /// Share of the counts above 0.
    density: f64,
    /// Sequencing batches.
    batches: usize,
    /// Number of labels, for models that need labels.
    labels: usize,
    /// Timed steps, after one warm-up step.
    steps: u64,
    /// Threads.
    threads: usize,
    /// Device, see [`sc_models::device::open`].
    device: String,
}

/// The published sizes in `docs/src/benchmarks.md`.
fn published(architecture: &str) -> Option<&'static [&'static str]> {
    match architecture {
        "cellplm" => Some(&["genes=19374", "density=0.08"]),
        "scgpt" => Some(&["genes=20000", "train.minibatch=8"]),
        _ => None,
    }
}

fn main() -> Result<()> {
    sc_data::memory::keep_freed();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["list"] => {
            ARCHITECTURES.iter().for_each(|a| println!("{}", a.name));
            Ok(())
        }
        [name, work @ ("train" | "embed" | "agree"), rest @ ..] => {
            let known = sc_train::registry::find(name);
            let known =
                known.ok_or_else(|| format!("unknown architecture {name}; see `step list`"))?;
            let (preset, rest) = match (rest, published(name)) {
                (["--preset", preset, rest @ ..], _) => (*preset, rest.to_vec()),
                (rest, Some(sizes)) => ("paper", [sizes, rest].concat()),
                (rest, None) => ("small", rest.to_vec()),
            };
            match *work {
                "train" => step(known, Work::Train, preset, &rest),
                "embed" => step(known, Work::Embed, preset, &rest),
                _ => agree(known, preset, &rest),
            }
        }
        _ => Err(
            "usage: step list | ARCHITECTURE train|embed|agree [--preset NAME] [key=value ...]"
                .into(),
        ),
    }
}

/// How far a device is from `flex` after a few steps.
fn agree(known: &Architecture, preset: &str, changes: &[&str]) -> Result<()> {
    let (spec, sizes) = read(known, preset, changes)?;
    threads(sizes.threads)?;
    let (corpus, data) = data(known, &spec, &sizes)?;
    let task = spec.task(&data)?;
    let traced = |device: &str| -> Result<_> {
        Ok(task.trace(&Timing {
            corpus: &corpus,
            config: &spec.train,
            steps: sizes.steps,
            device: &sc_models::device::open(device)?,
        })?)
    };
    let apart = traced(&sizes.device)?.difference(&traced("flex")?);
    let line = json!({
        "device": sizes.device,
        "embeddings": apart.embeddings,
        "losses": apart.losses,
        "gradients": apart.gradients,
        "weights": apart.weights,
    });
    println!("{line}");
    Ok(())
}

fn threads(number: usize) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(number);
    Ok(pool.build_global()?)
}

fn step(known: &Architecture, work: Work, preset: &str, changes: &[&str]) -> Result<()> {
    let (spec, sizes) = read(known, preset, changes)?;
    threads(sizes.threads)?;
    let (corpus, data) = data(known, &spec, &sizes)?;
    let task = spec.task(&data)?;
    let device = sc_models::device::open(&sizes.device)?;
    spec.train.precision.check(&device)?;
    let timing = Timing {
        corpus: &corpus,
        config: &spec.train,
        steps: sizes.steps + 1,
        device: &device,
    };
    let speed = Speed::begin();
    let Timed { trained, steps } = task.time(work, &timing)?;
    let operations = speed.operations(work) / timing.steps;
    for (i, s) in steps.iter().enumerate() {
        eprintln!(
            "step {i}: forward {:.3} backward {:.3} update {:.3}",
            s.forward, s.backward, s.update
        );
    }
    let median = |of: fn(&StepSeconds) -> f64| {
        let mut seconds: Vec<f64> = steps.iter().skip(1).map(of).collect();
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    };
    let (seconds, forward) = (median(StepSeconds::total), median(|s| s.forward));
    let cells = corpus.rows.len();
    let line = json!({
        "name": format!("{}_step", known.name),
        "side": "scfm",
        "mode": if work == Work::Train { "train" } else { "embed" },
        "preset": preset,
        "cells": cells,
        "genes": data.genes.len(),
        "parameters": trained,
        "all_parameters": task.parameters(&device)?,
        "device": sizes.device,
        "seconds_per_step": seconds,
        "seconds_forward": forward,
        "cells_per_second": cells as f64 / seconds,
        "gflops": operations as f64 / seconds / 1e9,
        "peak_memory_bytes": sc_data::memory::peak(),
        "device_memory_bytes": device.memory_pool_usage().map(|m| m.bytes_reserved),
        "threads": rayon::current_num_threads(),
        // Last: its matrices are larger than those of a small model.
        "largest_gflops": sc_models::device::product_rate(&device),
    });
    println!("{line}");
    Ok(())
}

/// The preset with its changes, and the sizes.
fn read(known: &Architecture, preset: &str, changes: &[&str]) -> Result<(ModelSpec, Sizes)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/models");
    let file = folder.join(format!("{}-{preset}.toml", known.name));
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut spec = serde_json::to_value(text.parse::<toml::Table>()?)?;
    let mut sizes = Sizes {
        genes: 20_000,
        peaks: 100_000,
        density: 0.1,
        batches: 8,
        labels: 40,
        steps: 3,
        threads: 2,
        device: sc_models::device::DEFAULT.to_owned(),
    };
    for change in changes {
        let (key, text) = change.split_once('=').ok_or("write key=value")?;
        if key.contains('.') {
            let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
            put(&mut spec, key, value);
            continue;
        }
        match key {
            "genes" => sizes.genes = text.parse()?,
            "peaks" => sizes.peaks = text.parse()?,
            "density" => sizes.density = text.parse()?,
            "batches" => sizes.batches = text.parse()?,
            "labels" => sizes.labels = text.parse()?,
            "steps" => sizes.steps = text.parse()?,
            "threads" => sizes.threads = text.parse()?,
            "device" => sizes.device = text.to_owned(),
            _ => {
                return Err(
                    format!("{key} is not a size of the data, and settings contain a dot").into(),
                );
            }
        }
    }
    if sizes.steps == 0 {
        return Err("steps must be at least 1".into());
    }
    Ok((serde_json::from_value(spec)?, sizes))
}

/// Sets `value` at `key`, with tables separated by dots.
fn put(spec: &mut Value, key: &str, value: Value) {
    let pointer = key.split('.').fold(spec, |at, name| &mut at[name]);
    *pointer = value;
}

/// A minibatch for the model, and the columns of its cells.
fn data(known: &Architecture, spec: &ModelSpec, sizes: &Sizes) -> Result<(Corpus, DataSpec)> {
    let numbered = |word: &str, n: usize| (0..n).map(|i| format!("{word}{i}")).collect();
    let genes = match spec.vocabulary.genes {
        0 => sizes.genes,
        n => n,
    };
    let mut names: Vec<String> = numbered("GENE", genes);
    if known.features == Features::GenesAndPeaks {
        names.extend((0..sizes.peaks).map(|p| format!("chr1:{p}-{}", p + 1)));
    }
    let cells = spec.train.minibatch;
    let mut obs = Obs::default();
    let mut data = DataSpec {
        genes: Arc::new(names.clone()),
        batches: sc_train::inputs::data_spec::numbered_batches(sizes.batches),
        ..DataSpec::default()
    };
    let species = vec!["human".to_string(), "mouse".into()];
    for (role, levels) in [
        (Role::Label, numbered("label", sizes.labels)),
        (Role::Species, species),
    ] {
        if known.needs.contains(&role) || spec.obs.contains_key(&role) {
            let n = levels.len();
            obs.set(role, (0..cells).map(|c| (c % n) as u32).collect());
            data.levels.insert(role, levels);
        }
    }
    let counts = scfm_benches::counts(cells, names.len(), sizes.density);
    let vocabulary = Vocabulary::new(names.clone())?;
    let corpus = Corpus {
        counts: Arc::new(RawCounts::new(counts)?),
        genes: Arc::new(match_genes(&names, &vocabulary, Across::Same)?),
        batches: Arc::new((0..cells).map(|c| (c % sizes.batches) as u32).collect()),
        rows: Arc::new((0..cells).collect()),
        obs: Arc::new(obs),
        keys: Arc::default(),
        order: Order::Shuffled,
    };
    Ok((corpus, data))
}
