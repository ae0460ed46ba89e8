//! Every architecture started from the weights of another model, some of them left as they are, the best
//! step chosen on validation cells; and what it predicts.

use crate::common::{CELLS, GENES, RATE, TYPES, data, spec, tiny, with_objective};
use burn::tensor::Device;
use sc_models::weights::Tensors;
use sc_train::predict::Quantity;
use sc_train::registry::{ARCHITECTURES, Architecture};
use sc_train::training::config::{Freeze, ValidationConfig};
use sc_train::training::trainer::{Run, Start, read_log};
use sc_train::{Corpus, TrainConfig, Trainable};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The tasks of every architecture that learns labels: of its first objective, and of that on labels.
fn pairs() -> impl Iterator<Item = (&'static str, Box<dyn Trainable>, Box<dyn Trainable>)> {
    let (_, data) = data();
    let pair = move |a: &'static Architecture| {
        let task = |objective: &str| {
            spec(with_objective(tiny(a.name), objective))
                .task(&data)
                .unwrap()
        };
        Some((a.name, task(a.objectives[0]), task(a.annotation?)))
    };
    ARCHITECTURES.iter().filter_map(pair)
}

fn config(steps: u64) -> TrainConfig {
    TrainConfig {
        steps,
        minibatch: 16,
        learning_rate: RATE,
        warmup: 2,
        checkpoint_every: 3,
        validation: Some(ValidationConfig {
            every: 2,
            patience: 0,
        }),
        ..TrainConfig::default()
    }
}

/// Trains on three quarters of the cells, validating on the rest where the settings say so.
fn train(
    task: &dyn Trainable,
    start: Option<&Start>,
    config: &TrainConfig,
    folder: &Path,
    stop: &AtomicBool,
) -> sc_train::spec::Outcome {
    let (corpus, _) = data();
    let (train, rest): (Vec<usize>, Vec<usize>) = (0..CELLS).partition(|row| row % 4 != 0);
    let of = |rows| Corpus {
        rows: Arc::new(rows),
        ..corpus.clone()
    };
    let (corpus, validation) = (of(train), of(rest));
    let run = Run {
        corpus: &corpus,
        config,
        seed: 1,
        fingerprint: "this run",
        folder,
        device: &Device::flex().autodiff(),
        stop,
        warn: &|_| (),
        validation: config.validation.map(|_| &validation),
        start,
    };
    task.train(&run, &mut |_| {}).unwrap()
}

fn once(task: &dyn Trainable, start: Option<&Start>, config: &TrainConfig) -> Tensors {
    let folder = tempfile::tempdir().unwrap();
    train(task, start, config, folder.path(), &AtomicBool::new(false)).weights
}

#[test]
fn takes_all_but_the_head_and_leaves_what_is_frozen() {
    let device = Device::flex();
    for (name, first, labels) in pairs() {
        let base = first.initial(&device).unwrap();
        let (weights, how) = labels
            .starting_from(&base, &BTreeSet::new(), &device)
            .unwrap();
        let parameters = |names: &BTreeSet<String>| -> usize {
            names.iter().map(|n| weights[n].data.len()).sum()
        };
        assert!(!how.taken.is_empty(), "{name}");
        let supervised = ["mlp", "islander"].contains(&name);
        assert!(supervised || !how.drawn.is_empty(), "{name}");
        assert!(
            parameters(&how.taken) > parameters(&how.drawn),
            "{name}: {how:?}"
        );
        let start = Start {
            frozen: Freeze::Encoder.of(&how.taken).unwrap(),
            weights: weights.clone(),
        };
        if supervised {
            continue;
        }
        // The best step may be the one before the first.
        let last = TrainConfig {
            validation: None,
            ..config(4)
        };
        let trained = once(&*labels, Some(&start), &last);
        for tensor in &how.taken {
            // Running statistics of norms are no parameters.
            if !tensor.contains("running") && !tensor.contains("num_batches") {
                assert!(trained[tensor] == weights[tensor], "{name}: {tensor}");
            }
        }
        let moved = how.drawn.iter().any(|t| trained[t] != weights[t]);
        assert!(moved, "{name}: nothing was learnt");
    }
}

#[test]
fn the_best_step_survives_a_stop() {
    for (name, _, labels) in pairs() {
        let config = config(6);
        let [whole, parts] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let go = AtomicBool::new(false);
        let at_once = train(&*labels, None, &config, whole.path(), &go);
        // Stopped after every step.
        let stop = AtomicBool::new(true);
        let mut stopped = train(&*labels, None, &config, parts.path(), &stop);
        let mut stops = 0;
        while stopped.interrupted {
            stopped = train(&*labels, None, &config, parts.path(), &stop);
            stops += 1;
        }
        assert_eq!(stops, 5, "{name}");
        assert_eq!(at_once.steps, stopped.steps, "{name}");
        assert!(at_once.weights == stopped.weights, "{name}");
        let log =
            |folder: &tempfile::TempDir| read_log(&folder.path().join("train.jsonl")).unwrap();
        assert_eq!(log(&whole), log(&parts), "{name}");
        let best = at_once
            .validated
            .iter()
            .min_by(|a, b| a.loss().total_cmp(&b.loss()));
        assert_eq!(best.map(|v| v.step), Some(at_once.steps), "{name}");
    }
}

#[test]
fn training_stops_when_nothing_gets_better() {
    let (_, _, labels) = pairs().find(|(name, _, _)| *name == "mlp").unwrap();
    let config = TrainConfig {
        steps: 400,
        learning_rate: 0.05,
        validation: Some(ValidationConfig {
            every: 5,
            patience: 4,
        }),
        ..config(400)
    };
    let folder = tempfile::tempdir().unwrap();
    let go = AtomicBool::new(false);
    let first = train(&*labels, None, &config, folder.path(), &go);
    let last = first.validated.last().unwrap().step;
    assert!(
        last < 400 && last == first.steps + 20,
        "{last} {}",
        first.steps
    );
    // Nothing is left to do.
    let again = train(&*labels, None, &config, folder.path(), &go);
    assert!(again.validated.is_empty() && again.weights == first.weights);
    assert_eq!(again.steps, first.steps);
}

/// Predictions of all cells, by row.
fn predicted(task: &dyn Trainable, quantity: Quantity, weights: &Tensors) -> Vec<Vec<f32>> {
    let (corpus, _) = data();
    let mut out = vec![Vec::new(); CELLS];
    let sink = &mut |rows: &[usize], values: &[f32]| {
        for (&row, of) in rows
            .iter()
            .zip(values.chunks_exact(values.len() / rows.len()))
        {
            out[row] = of.to_vec();
        }
        Ok(())
    };
    let device = Device::flex();
    task.predict(quantity, weights.clone(), &corpus, &device, sink)
        .unwrap();
    out
}

#[test]
fn labels_are_learnt_and_told() {
    let (corpus, _) = data();
    let rows: Vec<usize> = (0..CELLS).collect();
    let truth = corpus.obs.codes(sc_train::Role::Label, &rows);
    for (name, _, labels) in pairs() {
        assert_eq!(labels.predicts(), [Quantity::Labels], "{name}");
        // The tokens of scPRINT's classes learn slowly: they begin as means over all genes.
        let (steps, least) = match name {
            "scprint" => (300, CELLS / 2),
            _ => (150, CELLS * 3 / 4),
        };
        let config = TrainConfig {
            minibatch: CELLS,
            ..config(steps)
        };
        let weights = once(&*labels, None, &config);
        let found = predicted(&*labels, Quantity::Labels, &weights);
        let best = |logits: &Vec<f32>| {
            assert_eq!(logits.len(), TYPES, "{name}");
            (0..TYPES).max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
        };
        let right = found.iter().zip(&truth);
        let right = right.filter(|(l, t)| best(l) == Some(**t as usize)).count();
        assert!(right > least, "{name}: {right} of {CELLS}");
    }
}

#[test]
fn expression_is_decoded_where_the_registry_says_so() {
    let (_, data) = data();
    for known in ARCHITECTURES {
        let decodes = known.objectives.iter().filter(|objective| {
            let task = spec(with_objective(tiny(known.name), objective));
            let task = task.task(&data).unwrap();
            if !task.predicts().contains(&Quantity::Expression) {
                return false;
            }
            let weights = task.initial(&Device::flex()).unwrap();
            let found = predicted(&*task, Quantity::Expression, &weights);
            let proper = |cell: &Vec<f32>| {
                cell.len() == GENES && cell.iter().all(|v| v.is_finite() && *v >= 0.0)
            };
            assert!(found.iter().all(proper), "{} {objective}", known.name);
            true
        });
        assert_eq!(decodes.count() > 0, known.decodes, "{}", known.name);
    }
}
