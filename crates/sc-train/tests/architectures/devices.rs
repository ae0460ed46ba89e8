//! Every device of this build computes what `flex` computes: embeddings, losses, gradients and three
//! steps of every architecture, dropout included.

#![allow(clippy::print_stdout)] // Differences and skips must be seen.

use crate::common::{data, spec, tiny, with_objective};
use burn::tensor::Device;
use sc_models::device::open;
use sc_models::precision::Precision;
use sc_train::TrainConfig;
use sc_train::registry::{ARCHITECTURES, Architecture};
use sc_train::training::agreement::Trace;
use sc_train::training::timing::Timing;
use serde_json::{Value, json};

/// Steps that are compared.
const STEPS: u64 = 3;
/// Largest difference, as a share: of embeddings, losses and gradients.
const TOLERANCE: f64 = 2e-5;
/// That of the change of the weights: Adam divides gradients by their own size, so those that are
/// zero but for rounding move a weight as much as any other.
const WEIGHTS: f64 = 2e-2;

#[test]
fn ndarray_agrees_with_flex() {
    agrees("ndarray", |a| a.objectives);
}

#[test]
fn wgpu_agrees_with_flex() {
    agrees("wgpu", first);
}

#[test]
fn vulkan_agrees_with_flex() {
    agrees("vulkan", first);
}

#[test]
fn metal_agrees_with_flex() {
    agrees("metal", first);
}

#[test]
fn cuda_agrees_with_flex() {
    agrees("cuda", first);
}

/// The first objective: a driver in software needs seconds to compile the kernels of each.
fn first(architecture: &Architecture) -> &[&'static str] {
    &architecture.objectives[..1]
}

fn agrees(name: &str, objectives: fn(&Architecture) -> &[&'static str]) {
    let device = match open(name) {
        Ok(device) => device,
        Err(e) => return println!("skipped: {e}"),
    };
    let mut failed = Vec::new();
    for (case, value) in cases(objectives) {
        let (ours, flex) = (traced(&value, &device), traced(&value, &Device::flex()));
        let apart = ours.difference(&flex);
        println!("{case}: {apart:?}");
        // One by one: a maximum would pass over NaN.
        let close = [apart.embeddings, apart.losses, apart.gradients]
            .into_iter()
            .all(|d| d <= TOLERANCE);
        if !(close && apart.weights <= WEIGHTS) {
            failed.push(format!("{case}: {apart:?}"));
        }
    }
    assert!(failed.is_empty(), "{name}: {failed:#?}");
}

#[test]
fn a_step_waits_for_its_device_once() {
    for (case, value) in cases(|a| a.objectives) {
        let expected = match case.as_str() {
            // Triplets are mined on the host, from the embeddings of the step.
            "saturn cross-species" => 2,
            _ => 1,
        };
        let reads = traced(&value, &Device::flex()).reads;
        assert_eq!(reads, [expected; STEPS as usize], "{case}");
    }
}

/// What 16 bits change, as shares: of embeddings, losses and gradients, at most.
const ROUNDED: f64 = 0.05;

#[test]
fn products_of_16_bits_stay_near_those_of_32() {
    let device = Device::flex();
    for (case, value) in cases(first) {
        let exact = traced(&value, &device);
        for precision in [Precision::Bf16, Precision::F16] {
            let mut value = value.clone();
            value["train"]["precision"] = json!(precision);
            let apart = traced(&value, &device).difference(&exact);
            println!("{case} {precision}: {apart:?}");
            let all = [apart.embeddings, apart.losses, apart.gradients];
            assert!(
                all.iter().all(|d| *d <= ROUNDED),
                "{case} {precision}: {apart:?}"
            );
            assert!(
                apart.gradients > 0.0,
                "{case} {precision}: nothing was rounded"
            );
        }
    }
}

/// Every architecture with `objectives`, with dropout.
fn cases(objectives: fn(&Architecture) -> &[&'static str]) -> Vec<(String, Value)> {
    let case = |name: &str, objective: &str| {
        let mut value = with_objective(tiny(name), objective);
        with_dropout(&mut value);
        if objective == "cross-species" {
            // Else the first steps only reconstruct.
            value["input"]["reconstruct_share"] = json!(0.0);
        }
        (format!("{name} {objective}"), value)
    };
    let all = ARCHITECTURES.iter();
    all.flat_map(|a| objectives(a).iter().map(move |o| case(a.name, o)))
        .collect()
}

/// Drops a tenth wherever nothing is dropped.
fn with_dropout(value: &mut Value) {
    let Some(table) = value.as_object_mut() else {
        return;
    };
    for (key, value) in table {
        match key.ends_with("dropout") && *value == json!(0.0) {
            true => *value = json!(0.1),
            false => with_dropout(value),
        }
    }
}

fn traced(value: &Value, device: &Device) -> Trace {
    let (corpus, data) = data();
    let config = TrainConfig {
        learning_rate: 1e-3,
        warmup: 0,
        ..TrainConfig::default()
    };
    let spec = spec(value.clone());
    let config = TrainConfig {
        precision: spec.train.precision,
        ..config
    };
    let task = spec.task(&data);
    let task = task.unwrap_or_else(|e| panic!("{value}: {e}"));
    task.trace(&Timing {
        corpus: &corpus,
        config: &config,
        steps: STEPS,
        device,
    })
    .unwrap()
}
