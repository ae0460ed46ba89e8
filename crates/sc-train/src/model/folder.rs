//! The folder of a model: `config.json`, `model.safetensors`, `genes.tsv`, `tokenizer.json`,
//! `training.json`, for models trained here `training_cells.npy` and `split.json`, and for those that
//! tell labels `calibration.json`.
//!
//! An incomplete folder, or one with inconsistent parts, is refused: a vocabulary in
//! another order would silently embed every cell with the weights of other genes.

use super::Model;
use super::changed::first_difference;
use super::gene_table::{check_names, from_table, to_table};
use crate::error::{Result, TrainError};
use crate::finetune::StartedFrom;
use crate::inputs::data_spec::{DataSpec, Levels};
use crate::predict::Calibration;
use crate::size::SameSize;
use crate::spec::ModelSpec;
use sc_data::identity::{CellKeys, TrainingRecord, read_keys};
use sc_data::io::atomic::{hash_names, write_bytes_atomic};
use sc_data::io::json;
use sc_data::tokens::Tokenizer;
use sc_models::weights::{read_safetensors, to_safetensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// The schema that is written and read here.
const SCHEMA: u32 = 1;

/// Keys of the training cells.
pub const TRAINING_CELLS: &str = "training_cells.npy";

/// The weights.
pub const WEIGHTS: &str = "model.safetensors";

/// The held-out donors or cells.
pub const SPLIT: &str = "split.json";

/// How sure the labels of a model are.
pub const CALIBRATION: &str = "calibration.json";

/// `config.json`: what is needed to rebuild the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Config {
    /// Schema of the folder.
    schema: u32,
    /// The configuration of the model.
    spec: ModelSpec,
    /// Sequencing batches of the decoder, in the order of their codes.
    batches: Vec<String>,
    /// Values of the columns of `obs` used in training, in the order of their codes.
    #[serde(default)]
    levels: Levels,
    /// The model whose size it matches, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    same_size: Option<SameSize>,
    /// The model it started from, if it was fine-tuned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<StartedFrom>,
    /// Seed it was trained with.
    seed: u64,
    /// blake3 of the names of the genes in the order of `genes.tsv`, which is that of the weights;
    /// missing in older folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    genes_blake3: Option<String>,
    /// blake3 of all that `genes.tsv` holds; folders of before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table_blake3: Option<String>,
}

/// What ties `genes.tsv` to the weights.
struct Ties {
    names: String,
    table: String,
}

impl Ties {
    fn of(data: &DataSpec) -> Self {
        Self {
            names: hash_names(&*data.genes),
            // As it is written here, so that other line ends are no other table.
            table: hash_names(to_table(data).lines()),
        }
    }
}

impl Model {
    fn config(&self, ties: Option<Ties>) -> Config {
        let (genes_blake3, table_blake3) = ties.map(|t| (t.names, t.table)).unzip();
        Config {
            schema: SCHEMA,
            spec: self.spec.clone(),
            batches: self.data.batches.clone(),
            levels: self.data.levels.clone(),
            same_size: self.same_size.clone(),
            start: self.start.clone(),
            seed: self.data.seed,
            genes_blake3,
            table_blake3,
        }
    }

    /// Configuration, batches, values of columns and seed, as in `config.json`.
    ///
    /// # Errors
    /// [`TrainError::Config`] for settings that JSON cannot hold.
    pub fn config_json(&self) -> Result<Value> {
        serde_json::to_value(self.config(None)).map_err(|e| TrainError::Config(e.to_string()))
    }

    /// The same as bytes, for the hash that identifies a resumed training.
    pub(crate) fn config_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(&self.config(None)).map_err(|e| TrainError::Config(e.to_string()))
    }

    /// Writes the model into `folder`. `training.json` with this text is written last, so its
    /// presence means that the folder is complete.
    ///
    /// # Errors
    /// [`TrainError::File`] for a non-finite weight, [`TrainError::Config`] for an invalid gene
    /// name, and system errors.
    pub fn save(&self, folder: &Path, training: &[u8]) -> Result<()> {
        check_names(&self.data.genes)?;
        for (name, tensor) in &self.weights {
            if let Some(value) = tensor.data.iter().find(|v| !v.is_finite()) {
                return Err(TrainError::file(
                    folder,
                    format!(
                        "the tensor {name} contains {value}, so the model is not written; lower \
                         train.learning_rate or train.weight_decay"
                    ),
                ));
            }
        }
        let config = self.config(Some(Ties::of(&self.data)));
        let config = serde_json::to_vec_pretty(&config);
        let files = [
            (
                "config.json",
                config.map_err(|e| TrainError::file(folder.join("config.json"), e))?,
            ),
            ("genes.tsv", to_table(&self.data).into_bytes()),
            (
                "tokenizer.json",
                self.task()?.tokenizer().to_json()?.into_bytes(),
            ),
            (WEIGHTS, to_safetensors(&self.weights)?),
            ("training.json", training.to_vec()),
        ];
        let calibration = folder.join(CALIBRATION);
        match &self.calibration {
            Some(found) => {
                let json = serde_json::to_vec_pretty(found);
                let json = json.map_err(|e| TrainError::file(&calibration, e))?;
                write_bytes_atomic(&calibration, &json)?;
            }
            // One of a model that was here before is not of this one.
            None if calibration.exists() => {
                std::fs::remove_file(&calibration)
                    .map_err(|e| TrainError::file(&calibration, e))?;
            }
            None => {}
        }
        for (name, bytes) in files {
            write_bytes_atomic(&folder.join(name), &bytes)?;
        }
        tracing::info!(folder = %folder.display(), "saved the model");
        Ok(())
    }

    /// Reads the model in `folder`.
    ///
    /// # Errors
    /// [`TrainError::File`] for a folder that is incomplete, of another version, or
    /// inconsistent.
    pub fn load(folder: &Path) -> Result<Self> {
        let config = read_config(folder)?;
        let trained = read_training(folder)?;
        let tokenizer = read_tokenizer(folder)?;
        let genes = read_genes(folder, &config)?;
        let file = folder.join(WEIGHTS);
        if !file.exists() {
            return Err(missing(&file));
        }
        let weights = read_safetensors(&file)?;
        for (name, tensor) in &weights {
            if let Some(at) = tensor.data.iter().position(|v| !v.is_finite()) {
                return Err(TrainError::file(
                    &file,
                    format!(
                        "tensor {name} contains {} at position {at}, and every embedding would too; restore the \
                         file, or train again",
                        tensor.data[at]
                    ),
                ));
            }
        }
        let model = Self {
            spec: config.spec,
            data: DataSpec {
                batches: config.batches,
                levels: config.levels,
                seed: config.seed,
                ..genes
            },
            weights,
            same_size: config.same_size,
            trained,
            start: config.start,
            calibration: read_calibration(folder)?,
            file,
        };
        // The network's own settings must match those of the folder, or cells would be tokenised
        // differently than in training.
        if model.task()?.tokenizer().to_json()? != tokenizer.to_json()? {
            return Err(TrainError::file(
                folder.join("tokenizer.json"),
                "does not match the tokeniser in config.json; restore the one that was changed, \
                 or train or convert again",
            ));
        }
        model.check_unchanged(folder)?;
        Ok(model)
    }
}

impl Model {
    /// Refuses a `config.json` that is not what `training.json` says the model was made with.
    fn check_unchanged(&self, folder: &Path) -> Result<()> {
        let path = folder.join("training.json");
        let fail = |e: &dyn std::fmt::Display| TrainError::file(&path, e);
        let text = std::fs::read_to_string(&path).map_err(|e| fail(&e))?;
        let manifest: Value = serde_json::from_str(&text).map_err(|e| fail(&e))?;
        let Some(then) = manifest.get("config") else {
            return Ok(());
        };
        // Read as it is now, so that what a version of before did not write has its default.
        let Ok(then) = serde_json::from_value::<Config>(then.clone()) else {
            return Ok(());
        };
        let then = serde_json::to_value(then).map_err(|e| fail(&e))?;
        match first_difference(&self.config_json()?, &then) {
            None => Ok(()),
            Some((key, now, then)) => Err(TrainError::file(
                folder.join("config.json"),
                format!(
                    "{key} is {now}, but the model was made with {then} (training.json); restore the file, \
                     or train or convert again"
                ),
            )),
        }
    }
}

/// Whether the genes of the model in `folder` are tied to its weights; folders of before are not, and
/// their order cannot be checked.
pub fn is_tied(folder: &Path) -> bool {
    read_config(folder).is_ok_and(|c| c.genes_blake3.is_some() && c.table_blake3.is_some())
}

fn read_tokenizer(folder: &Path) -> Result<Tokenizer> {
    let path = folder.join("tokenizer.json");
    Tokenizer::from_json(&read_part(&path)?).map_err(|e| TrainError::file(&path, e))
}

/// The text of a file that every model folder has.
fn read_part(path: &Path) -> Result<String> {
    match path.exists() {
        true => std::fs::read_to_string(path).map_err(|e| TrainError::file(path, e)),
        false => Err(missing(path)),
    }
}

fn missing(path: &Path) -> TrainError {
    TrainError::file(
        path,
        "is missing, so the model folder is incomplete; restore the file, or train or convert again",
    )
}

fn read_config(folder: &Path) -> Result<Config> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(|e| {
        // It is written before training.json, and with it the folder was whole.
        if folder.join("training.json").exists() {
            return missing(&path);
        }
        let unfinished = match folder.join("checkpoints").is_dir() {
            true => "; training has not finished; run the same training again to resume",
            false => "; give a folder written by training",
        };
        TrainError::file(&path, format!("{e}{unfinished}"))
    })?;
    let value: Value = json::parse(&path, &text)?;
    let schema = value.get("schema").cloned().unwrap_or_default();
    if schema.as_u64() != Some(u64::from(SCHEMA)) {
        let by = std::fs::read_to_string(folder.join("training.json")).ok();
        let by = by.and_then(|t| serde_json::from_str::<Value>(&t).ok());
        let by = by.and_then(|m| Some(m.get("version")?.as_str()?.to_string()));
        let who = by.map_or("another version of scfm".into(), |v| format!("scfm {v}"));
        return Err(TrainError::file(
            &path,
            format!(
                "schema {schema} is not supported by scfm {}, which reads schema {SCHEMA}; the folder was \
                 written by {who}, use that version",
                env!("CARGO_PKG_VERSION")
            ),
        ));
    }
    Ok(json::parse(&path, &text)?)
}

/// The part of `training.json` on the training cells, and their keys.
fn read_training(folder: &Path) -> Result<Option<(TrainingRecord, CellKeys)>> {
    let path = folder.join("training.json");
    if !path.exists() {
        return Err(TrainError::file(
            &path,
            "is missing: training has not finished; run the same training again to resume, which \
             writes it last",
        ));
    }
    let fail = |e: &dyn std::fmt::Display| TrainError::file(&path, e);
    let text = std::fs::read_to_string(&path).map_err(|e| fail(&e))?;
    let value: Value = serde_json::from_str(&text).map_err(|e| fail(&e))?;
    if value.get("version").is_none() {
        return Err(TrainError::file(
            &path,
            "has no version, so it is incomplete and the training cells of the model are unknown; \
             restore the file, or train or convert again",
        ));
    }
    let Some(record) = value.get("training") else {
        return Ok(None);
    };
    let record: TrainingRecord =
        serde_json::from_value(record.clone()).map_err(|e| fail(&format!("training: {e}")))?;
    let keys = read_keys(&folder.join(TRAINING_CELLS), &record)?;
    Ok(Some((record, keys)))
}

fn read_calibration(folder: &Path) -> Result<Option<Calibration>> {
    let path = folder.join(CALIBRATION);
    match path.exists() {
        true => {
            let found: Calibration = json::parse(&path, &read_part(&path)?)?;
            found.check().map_err(|e| TrainError::file(&path, e))?;
            Ok(Some(found))
        }
        false => Ok(None),
    }
}

fn read_genes(folder: &Path, config: &Config) -> Result<DataSpec> {
    let path = folder.join("genes.tsv");
    let data = from_table(&read_part(&path)?).map_err(|e| TrainError::file(&path, e))?;
    check_names(&data.genes).map_err(|e| TrainError::file(&path, e))?;
    let ties = Ties::of(&data);
    let other = |known: &Option<String>, hash: &String| known.as_ref().is_some_and(|k| k != hash);
    if other(&config.genes_blake3, &ties.names) {
        return Err(TrainError::file(
            &path,
            format!(
                "its {} genes do not match the weights, or are in another order (config.json has the \
                 hash of the names); restore the file, or train or convert again",
                data.genes.len()
            ),
        ));
    }
    if other(&config.table_blake3, &ties.table) {
        return Err(TrainError::file(
            &path,
            "the values of its genes are not those that the model was made with (config.json has their \
             hash); restore the file, or train or convert again",
        ));
    }
    Ok(data)
}
