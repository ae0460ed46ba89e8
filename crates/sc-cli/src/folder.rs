//! The folder of a trained model: `config.json`, `model.safetensors`, `genes.tsv`,
//! `tokenizer.json`, `training.json`.

use crate::error::{Result, at};
use crate::observed::Levels;
use crate::same_size::SameSize;
use sc_data::atomic::write_bytes_atomic;
use sc_data::tokens::Tokenizer;
use sc_models::weights::{Tensors, read_safetensors, to_safetensors};
use sc_train::facts::Place;
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
    /// The model whose size it has, where it was asked to have one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) same_size: Option<SameSize>,
    /// Seed it was trained with.
    pub(crate) seed: u64,
}

impl ModelConfig {
    /// The task, for a vocabulary of `genes`.
    pub(crate) fn task(&self, genes: &Genes) -> Result<Box<dyn Trainable>> {
        Ok(self.spec.task(&self.facts(genes))?)
    }

    /// What is known of the data, for a vocabulary of `genes`.
    pub(crate) fn facts(&self, genes: &Genes) -> Facts {
        Facts {
            genes: Arc::new(genes.names.clone()),
            means: Arc::new(genes.means.clone()),
            largest: Arc::new(genes.largest.clone()),
            places: Arc::new(genes.places.clone()),
            batches: self.batches.len(),
            levels: self.levels.clone(),
            seed: self.seed,
        }
    }
}

/// `genes.tsv`: the vocabulary.
#[derive(Clone, Debug, Default)]
pub(crate) struct Genes {
    pub(crate) names: Vec<String>,
    /// Mean of the counts over the training cells that express the gene; NaN where none does. Empty
    /// when not known.
    pub(crate) means: Vec<f32>,
    /// The largest `ln(1 + 10⁴ count / total)` in the training cells. Empty when not known.
    pub(crate) largest: Vec<f32>,
    /// Where genes lie on chromosomes. Empty when not known.
    pub(crate) places: Vec<Option<Place>>,
}

impl Genes {
    fn to_table(&self) -> String {
        let mut table = String::from("gene\tmean_of_expressing\tlargest\tplace\n");
        for (i, name) in self.names.iter().enumerate() {
            table.push_str(name);
            for column in [&self.means, &self.largest] {
                table.push('\t');
                if let Some(value) = column.get(i).filter(|m| !m.is_nan()) {
                    table.push_str(&value.to_string());
                }
            }
            table.push('\t');
            if let Some(place) = self.places.get(i).copied().flatten() {
                table.push_str(&format!("{}:{}", place.chromosome, place.start));
            }
            table.push('\n');
        }
        table
    }

    fn from_table(table: &str) -> Self {
        let mut out = Self::default();
        for row in table.lines().skip(1) {
            let mut fields = row.split('\t');
            out.names
                .push(fields.next().unwrap_or_default().to_string());
            let mut number = || fields.next().and_then(|f| f.parse().ok());
            out.means.push(number().unwrap_or(f32::NAN));
            // Models of before have no such column.
            let largest = number();
            out.largest.extend(largest);
            out.places.extend(fields.next().map(place));
        }
        if out.places.iter().all(Option::is_none) {
            out.places.clear();
        }
        out
    }
}

fn place(text: &str) -> Option<Place> {
    let (chromosome, start) = text.split_once(':')?;
    Some(Place {
        chromosome: chromosome.parse().ok()?,
        start: start.parse().ok()?,
    })
}

/// A model read back.
pub(crate) struct Model {
    pub(crate) config: ModelConfig,
    pub(crate) genes: Genes,
    pub(crate) weights: Tensors,
    /// blake3 of the weight file.
    pub(crate) hash: String,
}

/// Writes a model; `training.json` comes last, so its presence means the folder is complete.
pub(crate) fn write(
    folder: &Path,
    config: &ModelConfig,
    genes: &Genes,
    weights: &Tensors,
    tokenizer: &Tokenizer,
    manifest: &[u8],
) -> Result<()> {
    let files = [
        ("config.json", serde_json::to_vec_pretty(config)?),
        ("genes.tsv", genes.to_table().into_bytes()),
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
        genes: Genes::from_table(&genes),
        weights: read_safetensors(&weights_path)?,
        hash: sc_data::atomic::hash_file(&weights_path)?,
    })
}
