//! Tests of perturbations: a screen with a planted effect.

use super::*;
use crate::inputs::data_spec::Obs;
use crate::tasks::scgpt::{Goal, SPECIAL_TOKENS, TokenConfig};
use crate::tasks::tests::{mean, train};
use crate::training::config::TrainConfig;
use sc_data::RawCounts;
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_models::scgpt::ScGptConfig;
use sc_models::weights::{host, load};
use serde_json::json;
use std::collections::BTreeMap;

const GENES: usize = 16;
const CELLS: usize = 240;
/// Cells behind these are not trained on.
const TRAINED: usize = 180;
const TARGETS: usize = 4;

/// Condition of a cell: 0 a control, else one more than the perturbed gene.
fn condition(cell: usize) -> usize {
    (cell % (2 * TARGETS)).saturating_sub(TARGETS - 1)
}

/// A perturbed gene falls to a tenth, and three of its own rise fourfold.
fn effect(condition: usize, gene: usize) -> f64 {
    match condition.checked_sub(1) {
        Some(target) if gene == target => 0.1,
        Some(target) if gene >= TARGETS && (gene - TARGETS) / 3 == target => 4.0,
        _ => 1.0,
    }
}

fn corpus() -> Corpus {
    let mut rng = stream(1, "screen", 0, 0);
    let mut dense = Vec::new();
    for cell in 0..CELLS {
        for gene in 0..GENES {
            let level = f64::from(rng.random_range(20..40)) * effect(condition(cell), gene);
            dense.push(level.round() as f32);
        }
    }
    let names = names();
    let vocabulary = Vocabulary::new(names.clone()).unwrap();
    let mut obs = Obs::default();
    let codes = (0..CELLS).map(|cell| condition(cell) as u32).collect();
    obs.set(Role::Perturbation, codes);
    Corpus {
        counts: Arc::new(RawCounts::new(CsrMatrix::from_dense(GENES, &dense)).unwrap()),
        genes: Arc::new(match_genes(&names, &vocabulary, Across::Same).unwrap()),
        batches: Arc::new(vec![0; CELLS]),
        rows: Arc::new((0..TRAINED).collect()),
        obs: Arc::new(obs),
        keys: Arc::default(),
        order: Order::Shuffled,
    }
}

fn names() -> Vec<String> {
    (0..GENES).map(|g| format!("G{g}")).collect()
}

fn task(length: usize) -> PerturbationTask {
    let network =
        json!({ "width": 16, "layers": 1, "heads": 2, "feed_forward": 16, "dropout": 0.0 });
    let levels = ["ctrl", "G0", "G1", "G2+ctrl", "G3"].map(String::from);
    let data = DataSpec {
        genes: Arc::new(names()),
        levels: BTreeMap::from([(Role::Perturbation, levels.to_vec())]),
        ..DataSpec::default()
    };
    let scgpt = ScGptTask {
        network: ScGptConfig {
            tokens: GENES + SPECIAL_TOKENS,
            pad: GENES,
            ..serde_json::from_value(network).unwrap()
        },
        input: TokenConfig {
            length,
            ..TokenConfig::default()
        },
        genes: GENES,
        modalities: Arc::default(),
        goal: Goal::Values,
        seed: 1,
    };
    let place = Place {
        architecture: "scgpt",
        objective: "perturbation",
    };
    PerturbationTask::new(scgpt, &data, place).unwrap()
}

#[test]
fn every_perturbed_cell_comes_once_with_a_control_of_its_own() {
    let (corpus, task) = (corpus(), task(GENES));
    let of = |epoch| task.minibatches(&corpus, 8, epoch).unwrap();
    let mut seen = Vec::new();
    for rows in of(0) {
        let (targets, controls) = rows.split_at(rows.len() / 2);
        assert!(targets.iter().all(|&r| condition(r) > 0));
        assert!(controls.iter().all(|&r| condition(r) == 0 && r < TRAINED));
        seen.extend_from_slice(targets);
    }
    seen.sort_unstable();
    let expected: Vec<usize> = (0..TRAINED).filter(|&r| condition(r) > 0).collect();
    assert_eq!(seen, expected);
    // A cell's control is a function of the epoch, not of its minibatch.
    let pairs = |minibatches: Vec<Vec<usize>>| -> BTreeMap<usize, usize> {
        let halves = minibatches.into_iter().flat_map(|rows| {
            let (targets, controls) = rows.split_at(rows.len() / 2);
            let pairs = targets.iter().copied().zip(controls.iter().copied());
            pairs.collect::<Vec<_>>()
        });
        halves.collect()
    };
    assert_eq!(
        pairs(of(0)),
        pairs(task.minibatches(&corpus, 16, 0).unwrap())
    );
    assert_ne!(pairs(of(0)), pairs(of(1)));
}

#[test]
fn perturbed_genes_are_always_shown() {
    let (corpus, task) = (corpus(), task(6));
    let rows = [5, 6, 0, 1];
    for epoch in 0..20 {
        let input = task.prepare(corpus.read(&rows).unwrap(), epoch).unwrap();
        let controls = &input.controls;
        assert_eq!(controls.genes.len(), 6);
        for genes in &controls.perturbed {
            assert!(genes.iter().all(|g| controls.genes.contains(g)));
        }
        assert_eq!(input.targets.len(), 2 * 6);
    }
}

/// Mean squared difference.
fn error(a: &[f32], b: &[f32]) -> f32 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
    squares.sum::<f32>() / a.len() as f32
}

#[test]
fn held_out_cells_are_better_than_their_controls_and_than_the_mean() {
    let (corpus, task) = (corpus(), task(GENES));
    let config = TrainConfig {
        steps: 400,
        minibatch: 64,
        learning_rate: 1e-2,
        warmup: 10,
        weight_decay: 0.0,
        ..TrainConfig::default()
    };
    let (weights, log) = train(&task, &corpus, &config, 1);
    assert!(mean(&log[395..], "mse") < 0.5 * mean(&log[..5], "mse"));
    let device = Device::flex();
    let model = load(task.build(&device).unwrap(), weights, &task.names()).unwrap();

    let held = |wanted: fn(usize) -> bool| -> Vec<usize> {
        (TRAINED..CELLS).filter(|&r| wanted(condition(r))).collect()
    };
    let (perturbed, controls) = (held(|c| c > 0), held(|c| c == 0));
    let controls: Vec<usize> = controls.into_iter().cycle().take(perturbed.len()).collect();
    let genes: Vec<u32> = (0..GENES as u32).collect();
    let values = |rows: &[usize]| task.values(corpus.counts.read(rows).unwrap(), &genes);
    let target = values(&perturbed);
    let given = Controls {
        genes: genes.clone(),
        values: values(&controls),
        perturbed: (perturbed.iter())
            .map(|&r| vec![condition(r) as u32 - 1])
            .collect(),
    };
    let predicted = error(&host(task.predict(&model, &given, &device)), &target);
    let unchanged = error(&given.values, &target);
    // The mean of the perturbed cells that were trained on, whatever was done to them.
    let trained: Vec<usize> = (0..TRAINED).filter(|&r| condition(r) > 0).collect();
    let seen = values(&trained);
    let average = |g: usize| seen.iter().skip(g).step_by(GENES).sum::<f32>() / trained.len() as f32;
    let average: Vec<f32> = (0..GENES).map(average).collect();
    let mean = error(&average.repeat(perturbed.len()), &target);
    assert!(
        predicted < 0.5 * mean.min(unchanged),
        "{predicted}, {unchanged}, {mean}"
    );
}
