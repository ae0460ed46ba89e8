//! CellPLM's released pairs: `NAME.best.ckpt` and `NAME.config.json`.

use crate::error::{Result, TrainError};
use crate::import::{Files, json, number, weight_file};
use crate::inputs::data_spec::numbered_batches;
use crate::model::Model;
use sc_models::weights::Checkpoint;
use serde_json::{Value, json as object};

/// Reads a checkpoint and the configuration of the same name.
pub(super) fn import(files: &Files) -> Result<Model> {
    let weights = weight_file(&files.weights, &[".best.ckpt"])?;
    let name = weights
        .display()
        .to_string()
        .replace(".best.ckpt", ".config.json");
    let path = files.config.clone().unwrap_or_else(|| name.into());
    let config = json(&path)?;
    let int = |key: &str| number(&config, key, &path);
    let float =
        |key: &str, otherwise: f64| config.get(key).and_then(Value::as_f64).unwrap_or(otherwise);
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
    let tensors = Checkpoint::open(&weights)?.into_tensors("")?;
    let rows = |name: &str| tensors.get(name).map_or(0, |t| t.shape[0]);
    let covariate = |which: &str| rows(&format!("decoder.covariate_layers.0.{which}.0.weight"));
    let genes = config.get("gene_list").and_then(Value::as_array);
    let genes: Vec<String> = genes
        .ok_or_else(|| TrainError::file(&path, "gene_list is missing"))?
        .iter()
        .filter_map(|g| g.as_str().map(str::to_string))
        .collect();
    let latent = match text("latent_mod") {
        "vae" => object!({ "kind": "vae", "free_nats": 1.0 }),
        "ae" => object!({ "kind": "ae" }),
        "gmvae" => object!({
            "kind": "gmvae",
            "clusters": int("num_clusters")?,
            "position_weight": float("w_li", 5.0),
            "cluster_weight": float("w_en", 5.0),
            "free_nats": float("lamda", 5.0),
        }),
        other => {
            let known = "vae, gmvae and ae are supported";
            return Err(TrainError::file(
                &path,
                format!("latent_mod = '{other}': {known}"),
            ));
        }
    };
    // The second published file says `gmvae` in places where its weights are those of a plain VAE.
    let latent = match tensors.keys().any(|n| n.ends_with("hid_2mu.weight")) {
        true => object!({ "kind": "vae", "free_nats": 1.0 }),
        false => latent,
    };
    let network = object!({
        "hidden": int("enc_hid")?,
        "layers": int("enc_layers")?,
        "heads": int("enc_head").unwrap_or(8),
        "norm": if text("norm") == "layernorm" { "layer" } else { "group" },
        "dropout": float("model_dropout", 0.2),
        "latent_dim": int("post_latent_dim")?,
        "latent": latent,
        "head": {
            "kind": "decode",
            "hidden": int("dec_hid")?,
            "layers": int("dec_layers")?,
            "batches": covariate("batch"),
            "datasets": covariate("dataset"),
        },
    });
    let input = object!({ "cells": 2000, "mask_cells": float("mask_node_rate", 0.75) });
    let mut model = Model::published("cellplm", (network, input), genes, weights);
    model.data.batches = numbered_batches(covariate("batch"));
    model.weights = tensors;
    Ok(model)
}
