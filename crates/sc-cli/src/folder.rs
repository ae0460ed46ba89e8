//! The folder of a trained model: `config.json`, `model.safetensors`, `genes.tsv`,
//! `tokenizer.json`, `training.json`.

use crate::error::{Result, at};
use crate::observed::Levels;
use sc_data::atomic::write_bytes_atomic;
use sc_data::tokens::Tokenizer;
use sc_models::weights::{Tensors, read_safetensors, to_safetensors};
use sc_train::{Facts, ModelSpec, Trainable};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// `config.json`: what is needed to build the network again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ModelConfig {
    /// Layout of the folder.
    pub(crate) schema: u32,
    /// The model as it was configured.
    pub(crate) spec: ModelSpec,
    /// Sequencing batches the decoder knows, in the order of their codes.
    pub(crate) batches: Vec<String>,
    /// Values of the columns of `obs` it was trained with, in the order of their codes.
    #[serde(default)]
    pub(crate) levels: Levels,
    /// Seed it was trained with.
    pub(crate) seed: u64,
}

impl ModelConfig {
    /// The task, for a vocabulary of `genes`.
    pub(crate) fn task(&self, genes: &[String]) -> Result<Box<dyn Trainable>> {
        Ok(self.spec.task(&Facts {
            genes: Arc::new(genes.to_vec()),
            batches: self.batches.len(),
            levels: self.levels.clone(),
            seed: self.seed,
        })?)
    }
}

/// A model read back.
pub(crate) struct Model {
    pub(crate) config: ModelConfig,
    pub(crate) genes: Vec<String>,
    pub(crate) weights: Tensors,
    /// blake3 of the weight file.
    pub(crate) hash: String,
}

/// Writes a model; `training.json` comes last, so its presence means the folder is complete.
pub(crate) fn write(
    folder: &Path,
    config: &ModelConfig,
    genes: &[String],
    weights: &Tensors,
    tokenizer: &Tokenizer,
    manifest: &[u8],
) -> Result<()> {
    let mut table = String::from("gene\n");
    genes.iter().for_each(|g| {
        table.push_str(g);
        table.push('\n');
    });
    let files = [
        ("config.json", serde_json::to_vec_pretty(config)?),
        ("genes.tsv", table.into_bytes()),
        ("tokenizer.json", tokenizer.to_json()?.into_bytes()),
        ("model.safetensors", to_safetensors(weights)?),
        ("training.json", manifest.to_vec()),
    ];
    for (name, bytes) in files {
        write_bytes_atomic(&folder.join(name), &bytes)?;
    }
    Ok(())
}

/// Reads a model.
pub(crate) fn read(folder: &Path) -> Result<Model> {
    let config_path = folder.join("config.json");
    let text = std::fs::read_to_string(&config_path).map_err(|e| {
        at(
            &config_path,
            format!("{e}; --model wants the folder that `scfm pretrain` wrote"),
        )
    })?;
    let config: ModelConfig = serde_json::from_str(&text).map_err(|e| at(&config_path, e))?;
    let genes_path = folder.join("genes.tsv");
    let genes = std::fs::read_to_string(&genes_path).map_err(|e| at(&genes_path, e))?;
    let weights_path = folder.join("model.safetensors");
    Ok(Model {
        config,
        genes: genes.lines().skip(1).map(str::to_string).collect(),
        weights: read_safetensors(&weights_path)?,
        hash: sc_data::atomic::hash_file(&weights_path)?,
    })
}
