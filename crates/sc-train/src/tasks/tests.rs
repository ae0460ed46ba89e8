//! What tests of several tasks share.

use crate::inputs::corpus::Corpus;
use crate::spec::Trainable;
use crate::training::config::TrainConfig;
use crate::training::trainer::{LossTerms, Run, read_log};
use burn::tensor::Device;
use sc_models::weights::Tensors;
use std::sync::atomic::AtomicBool;

/// Trains in a separate folder; returns the weights and the losses of every step.
pub(super) fn train(
    task: &dyn Trainable,
    corpus: &Corpus,
    config: &TrainConfig,
    seed: u64,
) -> (Tensors, Vec<(u64, LossTerms)>) {
    let folder = tempfile::tempdir().unwrap();
    let run = Run {
        corpus,
        config,
        seed,
        fingerprint: "",
        folder: folder.path(),
        device: &Device::flex().autodiff(),
        stop: &AtomicBool::new(false),
        warn: &|_| (),
        validation: None,
        start: None,
    };
    let outcome = task.train(&run, &mut |_| {}).unwrap();
    let log = read_log(&folder.path().join("train.jsonl")).unwrap();
    (outcome.weights, log)
}

/// Mean of a loss term over steps.
pub(super) fn mean(steps: &[(u64, LossTerms)], term: &str) -> f64 {
    steps.iter().map(|(_, l)| l[term]).sum::<f64>() / steps.len() as f64
}

/// Settings to overfit 64 cells.
pub(super) fn by_heart(steps: u64) -> TrainConfig {
    TrainConfig {
        steps,
        minibatch: 64,
        learning_rate: 3e-3,
        warmup: 20,
        checkpoint_every: 1000,
        ..TrainConfig::default()
    }
}
