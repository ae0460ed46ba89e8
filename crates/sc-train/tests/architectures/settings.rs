//! Every number in the settings of a model does something: another value gives another network, another
//! loss or another embedding, or is refused by its key.

use crate::common::{RATE, data, embedded, spec, tiny, train};
use crate::numbers::numbers;
use burn::tensor::Device;
use sc_train::registry::ARCHITECTURES;
use serde_json::{Value, json};

/// What presets name beside the settings of [`tiny`].
fn named_by_presets(architecture: &str) -> Value {
    match architecture {
        "cellplm" => json!({ "input": { "cells": 40, "mask_cells": 0.5, "mask_genes": 0.25 } }),
        "scgpt" => json!({ "input": { "contrast_temperature": 0.5, "cls_value": 0.5 } }),
        "scformer" => json!({ "input": { "ecs_threshold": 0.5 } }),
        "saturn" => json!({ "input": { "protein_similarity": 0.2, "l1": 0.1 } }),
        "scprint" => json!({ "input": {
            "elastic": { "threshold": 0.6, "weight": 1.0 },
            "contrast": { "temperature": 0.1, "weight": 1.0 },
        } }),
        "nicheformer" => json!({ "input": { "assay": 12, "modality": 4 } }),
        "schyena" => json!({
            "network": { "order": 2, "short_filter": 3, "dropout": 0.1, "epsilon": 1e-5 },
            "input": { "target": 1e4, "mask": 0.3 },
        }),
        "scclip" => json!({ "input": { "hide": 0.2 } }),
        "composed" => json!({
            "network": { "encoder": { "kind": "attention", "heads": 4 } },
            "input": { "mask": 0.3 },
        }),
        "vae" => json!({ "network": { "layers": 2 } }),
        "autoencoder" | "mlp" | "islander" => json!({
            "network": { "epsilon": 1e-5, "momentum": 0.1 },
            "input": { "target": 1e4 },
        }),
        _ => json!({}),
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Parameters, the losses of two steps and the vectors of the cells, or why there are none.
fn effect(value: Value) -> Result<(usize, Vec<u64>, Vec<u32>), String> {
    let (corpus, data) = data();
    let task = spec(value).task(&data).map_err(|e| e.to_string())?;
    let device = Device::flex();
    let parameters = task.parameters(&device).unwrap();
    let (weights, log) = train(&*task, &corpus, 2, RATE).map_err(|e| e.to_string())?;
    let losses = log.iter().flat_map(|(_, l)| l.values());
    let losses = losses.map(|v| v.to_bits()).collect();
    let vectors = embedded(&*task, &weights, &corpus);
    let bits = vectors.iter().flatten().map(|v| v.to_bits()).collect();
    Ok((parameters, losses, bits))
}

#[test]
fn every_number_does_something_or_is_refused() {
    let mut wrong = Vec::new();
    for known in ARCHITECTURES {
        let mut value = tiny(known.name);
        merge(&mut value, named_by_presets(known.name));
        let before = effect(value.clone()).unwrap();
        for path in numbers(&value) {
            let key = path.last().unwrap();
            // How many cells are embedded at once changes nothing, which is another test; and 1 batch
            // stands for as many as there are.
            if key == "embed_minibatch" || key == "batches" {
                continue;
            }
            let mut changed = value.clone();
            let place = path.iter().try_fold(&mut changed, |v, k| v.get_mut(k));
            let place = place.unwrap();
            *place = match (place.as_u64(), place.as_f64().unwrap()) {
                (Some(0), _) => json!(3),
                (Some(1), _) => json!(2),
                (Some(n), _) => json!(n / 2),
                (None, 0.0) => json!(0.25),
                (None, x) => json!(x / 2.0),
            };
            let name = format!("{}: {} = {place}", known.name, path.join("."));
            match effect(changed) {
                Ok(after) if after == before => wrong.push(format!("{name} does nothing")),
                Err(error) if !error.contains(key.as_str()) => {
                    wrong.push(format!("{name}: {error}"));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
