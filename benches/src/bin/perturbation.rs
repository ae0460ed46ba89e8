//! `perturbation FILE COLUMN CONTROL [steps=…] [seed=…]`: how well scGPT predicts perturbed cells of a
//! screen.
//!
//! Two settings. Cells: a quarter of the cells of every condition is held out. Genes: each
//! perturbation in turn is held out completely. The target is the mean of the held-out perturbed
//! cells; the inputs are held-out controls. Cells whose perturbed gene is not in the file are left
//! out. Baselines are the mean control, the mean of all perturbed training cells, and for held-out
//! cells the mean of the same condition in training, which no model can beat by much.
//!
//! Prints one JSON line per setting: mean squared error over genes, and Pearson's correlation of
//! the change from the mean control of training, both averaged over perturbations.

// This program prints its results.
#![allow(clippy::print_stdout)]

use burn::tensor::Device;
use rand::seq::SliceRandom as _;
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_data::io::h5ad::{H5ad, Missing};
use sc_data::io::store::{CountsPolicy, CountsReader};
use sc_data::rng::stream;
use sc_eval::perturbation::mean_profile;
use sc_models::weights::{host, load};
use sc_train::task::Task;
use sc_train::tasks::scgpt::{Condition, Controls, PerturbationTask};
use sc_train::training::trainer::Run;
use sc_train::{Corpus, DataSpec, ModelSpec, Obs, Role, Trainable};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, column, control, rest @ ..] = args.as_slice() else {
        return Err("usage: perturbation FILE COLUMN CONTROL [steps=…] [seed=…]".into());
    };
    let number = |key: &str, default: u64| {
        let values = rest.iter().filter_map(|a| a.split_once('='));
        let mut found = values.filter(|(k, _)| *k == key).map(|(_, v)| v.parse());
        found.next().unwrap_or(Ok(default))
    };
    let screen = Screen::open(Path::new(file), column, control, number("seed", 0)?)?;
    let steps = number("steps", 300)?;
    let train: Vec<usize> = screen.part(|_, held| !held);
    let cells = screen.measure(&screen.fit(&train, steps)?, &train, |_| true)?;
    println!(
        "{}",
        json!({ "question": "cells", "steps": steps, "scores": cells })
    );
    // With a single perturbation nothing is left to train on.
    let left_out = screen.perturbations();
    if left_out.len() < 2 {
        return Ok(());
    }
    let mut all = Vec::new();
    for left_out in left_out {
        let train = screen.part(|code, held| !held && code != left_out);
        let model = screen.fit(&train, steps)?;
        all.push(screen.measure(&model, &train, |code| code == left_out)?);
    }
    println!(
        "{}",
        json!({ "question": "genes", "steps": steps, "scores": average(&all) })
    );
    Ok(())
}

/// A screen with the cells of every condition split into training and held-out ones.
struct Screen {
    corpus: Corpus,
    task: PerturbationTask,
    /// Condition of every cell, and whether it is held out.
    cells: Vec<(u32, bool)>,
    genes: Vec<u32>,
    seed: u64,
}

/// Scores by method: mean squared error, and correlation of changes where there is one.
type Scores = BTreeMap<&'static str, [f64; 2]>;

impl Screen {
    fn open(path: &Path, column: &str, control: &str, seed: u64) -> Result<Self, Failure> {
        let file = H5ad::open(path)?;
        let reader = CountsReader::open(&file, &CountsPolicy::RequireCounts)?;
        let names = file.gene_names(reader.store().slot())?;
        let categories = file.obs_column(column)?.to_categories(&Missing::Error)?;
        let data = DataSpec {
            genes: Arc::new(names.clone()),
            levels: BTreeMap::from([(Role::Perturbation, categories.names().to_vec().clone())]),
            seed,
            ..DataSpec::default()
        };
        let spec: ModelSpec = serde_json::from_value(json!({
            "architecture": "scgpt",
            "objective": "perturbation",
            "network": {
                "width": 64, "layers": 2, "heads": 4, "feed_forward": 64, "dropout": 0.0,
            },
            "input": {
                "length": 256,
                "perturbation": { "control": [control], "unknown": "leave-out" },
            },
        }))?;
        let task = PerturbationTask::of(&spec, &data)?;
        let mut cells: Vec<(u32, bool)> = categories.codes().iter().map(|&c| (c, false)).collect();
        for code in 0..categories.names().len() as u32 {
            let of = cells.iter().enumerate().filter(|(_, c)| c.0 == code);
            let mut rows: Vec<usize> = of.map(|(row, _)| row).collect();
            rows.shuffle(&mut stream(seed, "held", u64::from(code), 0));
            let held = rows.len() / 4;
            rows.iter().take(held).for_each(|&row| cells[row].1 = true);
        }
        let mut obs = Obs::default();
        obs.set(Role::Perturbation, categories.codes().to_vec());
        let vocabulary = Vocabulary::new(names.clone())?;
        Ok(Self {
            corpus: Corpus {
                counts: Arc::new(reader),
                genes: Arc::new(match_genes(&names, &vocabulary, Across::Same)?),
                batches: Arc::new(vec![0; cells.len()]),
                rows: Arc::default(),
                obs: Arc::new(obs),
                keys: Arc::default(),
                order: Default::default(),
            },
            task,
            cells,
            genes: (0..names.len() as u32).collect(),
            seed,
        })
    }

    /// Rows by condition and whether they are held out.
    fn part(&self, wanted: impl Fn(u32, bool) -> bool) -> Vec<usize> {
        let cells = self.cells.iter().enumerate();
        let of = cells.filter(|(_, (code, held))| wanted(*code, *held));
        of.map(|(row, _)| row).collect()
    }

    fn perturbed(&self, code: u32) -> Option<&Vec<u32>> {
        match self.task.conditions().get(code as usize) {
            Some(Condition::Perturbed(genes)) => Some(genes),
            _ => None,
        }
    }

    fn perturbations(&self) -> Vec<u32> {
        let codes = 0..self.task.conditions().len() as u32;
        codes
            .filter(|&code| self.perturbed(code).is_some())
            .collect()
    }

    fn fit(&self, rows: &[usize], steps: u64) -> Result<sc_models::scgpt::Perturb, Failure> {
        let folder = std::env::temp_dir().join(format!("perturbation-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let config = serde_json::from_value(json!({
            "steps": steps, "minibatch": 32, "learning_rate": 1e-3, "warmup": steps / 10,
            "weight_decay": 0.0, "checkpoint_every": u64::MAX,
        }))?;
        let corpus = Corpus {
            rows: Arc::new(rows.to_vec()),
            ..self.corpus.clone()
        };
        let run = Run {
            corpus: &corpus,
            config: &config,
            seed: self.seed,
            fingerprint: "",
            folder: &folder,
            device: &Device::flex().autodiff(),
            stop: &AtomicBool::new(false),
            warn: &|_| (),
            validation: None,
            start: None,
        };
        let outcome = Trainable::train(&self.task, &run, &mut |_| {});
        std::fs::remove_dir_all(&folder)?;
        let model = self.task.build(&Device::flex())?;
        Ok(load(model, outcome?.weights, &self.task.names())?)
    }

    /// Mean profile of cells.
    fn mean(&self, rows: &[usize]) -> Result<Vec<f64>, Failure> {
        let counts = self.corpus.read(rows)?.counts;
        Ok(mean_profile(
            &self.task.values(counts, &self.genes),
            self.genes.len(),
        ))
    }

    /// Scores on the held-out cells of the perturbations that are `asked`.
    fn measure(
        &self,
        model: &sc_models::scgpt::Perturb,
        train: &[usize],
        asked: impl Fn(u32) -> bool,
    ) -> Result<Scores, Failure> {
        let trained = |wanted: &dyn Fn(u32) -> bool| -> Vec<usize> {
            let rows = train.iter().copied();
            rows.filter(|&row| wanted(self.cells[row].0)).collect()
        };
        let control = self.mean(&trained(&|code| self.perturbed(code).is_none()))?;
        let perturbed = self.mean(&trained(&|code| self.perturbed(code).is_some()))?;
        let given = self.part(|code, held| held && self.perturbed(code).is_none());
        let values = self
            .task
            .values(self.corpus.read(&given)?.counts, &self.genes);
        let mut all = Vec::new();
        for code in self.perturbations().into_iter().filter(|&code| asked(code)) {
            let Some(genes) = self.perturbed(code) else {
                continue;
            };
            let truth = self.mean(&self.part(|c, held| held && c == code))?;
            let controls = Controls {
                genes: self.genes.clone(),
                values: values.clone(),
                perturbed: vec![genes.clone(); given.len()],
            };
            let predicted = host(self.task.predict(model, &controls, &Device::flex()));
            let predicted = mean_profile(&predicted, self.genes.len());
            let mut scores = Scores::from([
                ("scgpt", score(&predicted, &truth, &control)),
                ("mean_control", score(&control, &truth, &control)),
                ("mean_perturbed", score(&perturbed, &truth, &control)),
            ]);
            let same = trained(&|c| c == code);
            if !same.is_empty() {
                let same = self.mean(&same)?;
                scores.insert("same_condition", score(&same, &truth, &control));
            }
            all.push(scores);
        }
        Ok(average(&all))
    }
}

/// Both scores of a predicted profile.
fn score(predicted: &[f64], measured: &[f64], control: &[f64]) -> [f64; 2] {
    let of = sc_eval::perturbation::score(predicted, measured, control);
    [of.squared_error, of.change_correlation]
}

/// Mean of scores, method by method.
fn average(all: &[Scores]) -> Scores {
    let mut out = Scores::new();
    for (method, values) in all.iter().flatten() {
        let sum = out.entry(method).or_default();
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum += value / all.len() as f64;
        }
    }
    out
}
