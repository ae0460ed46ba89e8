//! Nicheformer's files: the folder of Hugging Face, or a Lightning checkpoint.

use crate::error::{Result, TrainError};
use crate::import::{Files, gene_list, json, weight_file};
use crate::model::Model;
use sc_data::genes::vocab::npy_vector;
use sc_data::tokens::ranks::FIRST_GENE;
use sc_models::weights::{Checkpoint, parameters};
use serde_json::{Value, json as object};
use std::path::PathBuf;
use std::sync::Arc;

/// Reads either.
pub(super) fn import(files: &Files) -> Result<Model> {
    let weights = weight_file(&files.weights, &["model.safetensors", ".ckpt"])?;
    let sibling = |name: &str| {
        let path = weights.with_file_name(name);
        path.is_file().then_some(path)
    };
    let config = match files.config.clone().or_else(|| sibling("config.json")) {
        Some(path) => json(&path)?,
        None => parameters(&weights, "hyper_parameters").unwrap_or(Value::Null),
    };
    let vocabulary = files.vocabulary.clone().or_else(|| sibling("vocab.json"));
    let genes = genes(vocabulary.as_ref(), &weights)?;
    let mut found = Checkpoint::open(&weights)?.into_tensors("nicheformer.")?;
    // The positions 0, 1, … stored in old checkpoints.
    found.remove("pos");
    let shape = |name: &str, axis: usize| found.get(name).map_or(0, |t| t.shape[axis]);
    let layers = found
        .keys()
        .filter(|n| n.starts_with("encoder.layers.") && n.ends_with("norm1.bias"));
    let heads = files.heads.or_else(|| {
        let heads = config.get("nheads").and_then(Value::as_u64);
        heads.map(|n| n as usize)
    });
    let network = object!({
        "context_length": shape("positional_embedding.weight", 0),
        "width": shape("embeddings.weight", 1),
        "layers": layers.count(),
        "heads": heads.unwrap_or(16),
        "feed_forward": shape("encoder.layers.0.linear1.weight", 0),
        "dropout": config.get("dropout").and_then(Value::as_f64).unwrap_or(0.0),
        "pooling": "released",
    });
    let means = match &files.means {
        Some(path) => npy_vector(path)?,
        None => Vec::new(),
    };
    if !means.is_empty() && means.len() != genes.len() {
        return Err(TrainError::file(
            files.means.clone().unwrap_or_default(),
            format!("has {} means for {} genes", means.len(), genes.len()),
        ));
    }
    let input = object!({ "mean": if means.is_empty() { "none" } else { "corpus" } });
    let mut model = Model::published("nicheformer", (network, input), genes, weights);
    model.data.means = Arc::new(means);
    model.weights = found;
    Ok(model)
}

/// Genes by token, from Hugging Face's dictionary or a list.
fn genes(path: Option<&PathBuf>, weights: &std::path::Path) -> Result<Vec<String>> {
    let is_json = |p: &&PathBuf| p.extension().is_some_and(|e| e == "json");
    let Some(path) = path.filter(is_json) else {
        return gene_list(path, weights, "model.h5ad or vocab.json");
    };
    let value = json(path)?;
    let Some(dictionary) = value.as_object() else {
        return gene_list(Some(path), weights, "vocab.json");
    };
    let first = u64::from(FIRST_GENE);
    let mut genes: Vec<(u64, String)> = dictionary
        .iter()
        .filter_map(|(name, token)| Some((token.as_u64()?, name.clone())))
        .filter(|(token, _)| *token >= first)
        .collect();
    genes.sort();
    match (first..)
        .zip(&genes)
        .find(|(want, (token, _))| want != token)
    {
        Some((want, _)) => Err(TrainError::file(
            path,
            format!("no gene has the token {want}"),
        )),
        None => Ok(genes.into_iter().map(|(_, name)| name).collect()),
    }
}
