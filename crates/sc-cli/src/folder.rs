//! The folder of a trained model: `config.json`, `model.safetensors`, `genes.tsv`,
//! `tokenizer.json`, `training.json`, and where it was trained here `training_cells.npy` and
//! `split.json`.
//!
//! A folder that is not whole, or whose parts do not belong together, is refused: a vocabulary in
//! another order would embed every cell with the weights of other genes, without a word.

use crate::error::{Result, at, message};
use crate::observed::Levels;
use crate::same_size::SameSize;
use sc_data::atomic::{hash_file, hash_names, write_bytes_atomic};
use sc_data::identity::{CellKeys, TrainingRecord, read_keys};
use sc_data::tokens::Tokenizer;
use sc_models::weights::{Tensors, read_safetensors, to_safetensors};
use sc_train::facts::Place;
use sc_train::{Facts, ModelSpec, Trainable};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// The layout that is written and read here.
pub(crate) const SCHEMA: u32 = 1;

/// Keys of the training cells.
pub(crate) const TRAINING_CELLS: &str = "training_cells.npy";

/// What was held out of training.
pub(crate) const SPLIT: &str = "split.json";

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
    /// blake3 of the names of the genes in the order of `genes.tsv`, which is that of the weights;
    /// folders of before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) genes_blake3: Option<String>,
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

    /// Names that `genes.tsv` can hold.
    ///
    /// # Errors
    /// A name that is empty or holds a tab, a line's end or another control character.
    pub(crate) fn check_names(&self) -> Result<()> {
        let bad = |name: &&String| name.is_empty() || name.chars().any(char::is_control);
        match self.names.iter().find(bad) {
            None => Ok(()),
            Some(name) => Err(message(format!(
                "the gene {name:?} cannot be part of a vocabulary: names are not empty and hold no tab, \
                 line's end or other control character; rename it in var"
            ))),
        }
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
    /// What it was trained on, and the keys of these cells; not known of published weights and of
    /// folders of before.
    pub(crate) trained: Option<(TrainingRecord, CellKeys)>,
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
    genes.check_names()?;
    for (name, tensor) in weights {
        if let Some(value) = tensor.data.iter().find(|v| !v.is_finite()) {
            return Err(at(
                folder,
                format!(
                    "the tensor {name} holds {value}, so the model is not written; lower \
                     train.learning_rate or train.weight_decay"
                ),
            ));
        }
    }
    let config = ModelConfig {
        genes_blake3: Some(hash_names(&genes.names)),
        ..config.clone()
    };
    let files = [
        ("config.json", serde_json::to_vec_pretty(&config)?),
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
    let config = read_config(folder)?;
    let trained = read_training(folder)?;
    let tokenizer = folder.join("tokenizer.json");
    Tokenizer::from_json(&read_part(&tokenizer)?).map_err(|e| at(&tokenizer, e))?;
    let genes = read_genes(folder, &config)?;
    let weights_path = folder.join("model.safetensors");
    if !weights_path.exists() {
        return Err(missing(&weights_path));
    }
    let weights = read_safetensors(&weights_path)?;
    for (name, tensor) in &weights {
        if let Some(at_value) = tensor.data.iter().position(|v| !v.is_finite()) {
            return Err(at(
                &weights_path,
                format!(
                    "tensor {name} holds {} at place {at_value}, and every embedding would; restore the \
                     file, or train again",
                    tensor.data[at_value]
                ),
            ));
        }
    }
    Ok(Model {
        config,
        genes,
        weights,
        hash: hash_file(&weights_path)?,
        trained,
    })
}

/// The text of a file that every model folder has.
fn read_part(path: &Path) -> Result<String> {
    match path.exists() {
        true => std::fs::read_to_string(path).map_err(|e| at(path, e)),
        false => Err(missing(path)),
    }
}

fn missing(path: &Path) -> crate::error::Error {
    at(
        path,
        "is missing, so the folder of the model is not whole; restore the file, or train or convert again",
    )
}

fn read_config(folder: &Path) -> Result<ModelConfig> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(|e| {
        let unfinished = match folder.join("checkpoints").is_dir() {
            true => {
                "; training has not finished, the same `scfm pretrain` goes on from its checkpoints"
            }
            false => "; --model wants the folder that `scfm pretrain` wrote",
        };
        at(&path, format!("{e}{unfinished}"))
    })?;
    let value: Value = crate::error::json(&path, &text)?;
    let schema = value.get("schema").cloned().unwrap_or_default();
    if schema.as_u64() != Some(u64::from(SCHEMA)) {
        let by = std::fs::read_to_string(folder.join("training.json")).ok();
        let by = by.and_then(|t| serde_json::from_str::<Value>(&t).ok());
        let by = by.and_then(|m| Some(m.get("version")?.as_str()?.to_string()));
        let who = by.map_or("another version of scfm".into(), |v| format!("scfm {v}"));
        return Err(at(
            &path,
            format!(
                "schema {schema} is not read by scfm {}, which knows schema {SCHEMA}; the folder was \
                 written by {who}, take that one",
                env!("CARGO_PKG_VERSION")
            ),
        ));
    }
    crate::error::json(&path, &text)
}

/// The part of `training.json` on the training cells, and their keys.
fn read_training(folder: &Path) -> Result<Option<(TrainingRecord, CellKeys)>> {
    let path = folder.join("training.json");
    if !path.exists() {
        return Err(at(
            &path,
            "is missing: training has not finished; the same `scfm pretrain` goes on from its \
             checkpoints and writes it last",
        ));
    }
    let text = std::fs::read_to_string(&path).map_err(|e| at(&path, e))?;
    let value: Value = serde_json::from_str(&text).map_err(|e| at(&path, e))?;
    if value.get("version").is_none() {
        return Err(at(
            &path,
            "does not say which version wrote it, so it is not whole and nobody knows what the model \
             was trained on; restore the file, or train or convert again",
        ));
    }
    let Some(record) = value.get("training") else {
        return Ok(None);
    };
    let record: TrainingRecord =
        serde_json::from_value(record.clone()).map_err(|e| at(&path, format!("training: {e}")))?;
    let keys = read_keys(&folder.join(TRAINING_CELLS), &record)?;
    Ok(Some((record, keys)))
}

fn read_genes(folder: &Path, config: &ModelConfig) -> Result<Genes> {
    let path = folder.join("genes.tsv");
    let genes = Genes::from_table(&read_part(&path)?);
    genes.check_names().map_err(|e| at(&path, e))?;
    match &config.genes_blake3 {
        Some(hash) if *hash != hash_names(&genes.names) => Err(at(
            &path,
            format!(
                "its {} genes are not those of the weights, or not in their order (config.json has the \
                 hash of the names); restore the file, or train or convert again",
                genes.names.len()
            ),
        )),
        Some(_) => Ok(genes),
        None => {
            eprintln!(
                "warning: {}: written by a version that did not tie genes to weights, so their order \
                 cannot be checked; train or convert again to have it checked",
                folder.display()
            );
            Ok(genes)
        }
    }
}
