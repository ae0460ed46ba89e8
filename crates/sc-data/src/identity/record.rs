//! Training cells of a model, in its folder and with every embedding.

use super::keys::{read_pairs, write_pairs};
use super::{CellKeys, EMPTY, KeySet, key};
use crate::error::{DataError, Result};
#[cfg(feature = "files")]
use crate::io::h5ad::H5ad;
use crate::sampling::split::SavedSplit;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;

/// Training of a model: the part of `training.json` that evaluations read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecord {
    /// Cells it was trained on.
    pub cells: usize,
    /// Columns of `obs` with the labels of cells or of their neighbours that it used.
    pub labels: Vec<String>,
    /// blake3 of the file with the keys of these cells, see [`write_keys`].
    pub keys_blake3: String,
    /// What was held out, if anything.
    pub split: Option<SavedSplit>,
    /// Number of parameters.
    pub parameters: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Whether it started from weights whose own training cells are unknown, as published ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown_start: bool,
}

/// Writes the keys of training cells as a numpy array, uint64 `[cells, 2]`: content and barcode.
/// Returns the blake3 of the file.
///
/// # Errors
/// [`DataError::Io`] for system errors.
pub fn write_keys(path: &Path, keys: &CellKeys) -> Result<String> {
    let pairs = keys.content.iter().zip(&keys.barcode);
    let pairs: Vec<[u64; 2]> = pairs.map(|(c, b)| [*c, *b]).collect();
    let bytes = write_pairs(path, &pairs)?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

/// Reads the output of [`write_keys`] for `record`.
///
/// # Errors
/// [`DataError::Io`] when the file cannot be read, [`DataError::File`] when it is damaged or does
/// not match the record.
pub fn read_keys(path: &Path, record: &TrainingRecord) -> Result<CellKeys> {
    let bytes = std::fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => DataError::file(
            path,
            "is missing, so the training cells of the model are unknown; restore the file, or \
             train again",
        ),
        _ => DataError::io(path, e),
    })?;
    let pairs = read_pairs(path, &bytes)?;
    let hash = blake3::hash(&bytes).to_hex().to_string();
    if hash != record.keys_blake3 || pairs.len() != record.cells {
        return Err(DataError::file(
            path,
            format!(
                "holds the keys of {} cells with hash {hash}, but training.json was written for {} cells \
                 with hash {}; the folder mixes two models; train again or restore it",
                pairs.len(),
                record.cells,
                record.keys_blake3
            ),
        ));
    }
    Ok(CellKeys {
        content: pairs.iter().map(|p| p[0]).collect(),
        barcode: pairs.iter().map(|p| p[1]).collect(),
    })
}

/// The origin of an embedding: `trained_on` of `uns["scfm"][KEY]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Training cells of the model.
    #[serde(default)]
    pub trained_on: Known,
    /// The sequencing batches the model was conditioned on, if any.
    #[serde(default)]
    pub batch: Option<GivenBatches>,
    /// Keys of the written vectors, see [`vector_key`]; `None` where none were recorded.
    #[serde(default)]
    pub vectors: Option<KeySet>,
}

/// The sequencing batches a model was conditioned on for the cells of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GivenBatches {
    /// The column of `obs`.
    pub column: String,
    /// Keys of every cell with its batch.
    pub cells: KeySet,
}

impl GivenBatches {
    /// Records the batch `values[row]` of every cell of `keys`.
    pub fn new(column: &str, keys: &CellKeys, values: &[&str]) -> Self {
        let pairs = keys.content.iter().chain(&keys.barcode);
        let pairs = pairs.zip(values.iter().chain(values));
        Self {
            column: column.to_owned(),
            cells: KeySet::new(pairs.map(|(k, v)| batch_key(*k, v))),
        }
    }

    /// Whether the cells at `rows` of `keys` still have the batches in `values` that were recorded.
    pub fn hold(&self, keys: &CellKeys, values: &[&str], rows: &[usize]) -> bool {
        let noted = |key: u64, row: usize| self.cells.contains(batch_key(key, values[row]));
        let mut rows = rows.iter();
        rows.all(|&r| noted(keys.content[r], r) || noted(keys.barcode[r], r))
    }
}

fn batch_key(cell: u64, batch: &str) -> u64 {
    key(&[&cell.to_le_bytes(), batch.as_bytes()].concat())
}

/// The key of a cell's vector, which shows whether an embedding is the one that was written.
pub fn vector_key(vector: &[f32]) -> u64 {
    let bytes: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
    key(&bytes)
}

impl Provenance {
    /// The entry `uns["scfm"][key]` on the embedding `obsm[key]` of a file; an embedding without
    /// one is unknown.
    ///
    /// # Errors
    /// [`DataError::File`] when the entry cannot be read.
    #[cfg(feature = "files")]
    pub fn of(file: &H5ad, key: &str) -> Result<Self> {
        let node = format!("uns/scfm/{key}");
        let source = file.source();
        if source.kind(&node)?.is_none() {
            return Ok(Self::default());
        }
        let wrong = |e: String| DataError::file(file.path(), format!("uns['scfm']['{key}']: {e}"));
        let text = source.strings(&node)?.concat();
        let json = serde_json::from_str(&text).map_err(|e| wrong(format!("{e}; embed again")))?;
        Self::read(&json).map_err(|e| wrong(e.to_string()))
    }

    /// Reads the JSON written with an embedding. Older files, and those of other programs, have
    /// none: their training cells are unknown.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the entry on training cells cannot be read.
    pub fn read(json: &Value) -> Result<Self> {
        let trained_on = match json.get("trained_on") {
            None | Some(Value::Null) => Known::Unknown,
            Some(value) => serde_json::from_value(value.clone())
                .map_err(|e| DataError::invalid(format!("trained_on: {e}; embed again")))?,
        };
        let batch = match json.get("batch") {
            None | Some(Value::Null) => None,
            Some(value) => Some(
                serde_json::from_value(value.clone())
                    .map_err(|e| DataError::invalid(format!("batch: {e}; embed again")))?,
            ),
        };
        let vectors = json.get("vectors").filter(|v| !v.is_null()).cloned();
        let vectors = vectors.map(serde_json::from_value).transpose();
        let vectors =
            vectors.map_err(|e| DataError::invalid(format!("vectors: {e}; embed again")))?;
        Ok(Self {
            trained_on,
            batch,
            vectors,
        })
    }
}

/// The training cells of a model; in JSON the word `unknown`, or [`TrainedOn`].
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Known {
    /// Unknown: published weights, or an embedding of another program.
    #[default]
    Unknown,
    /// Known cells.
    On(TrainedOn),
}

impl Known {
    /// The known cells, if any.
    pub fn get(&self) -> Option<&TrainedOn> {
        match self {
            Self::Unknown => None,
            Self::On(on) => Some(on),
        }
    }
}

/// The word of [`Known::Unknown`].
const UNKNOWN: &str = "unknown";

impl Serialize for Known {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unknown => serializer.serialize_str(UNKNOWN),
            Self::On(on) => on.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(word) if word == UNKNOWN => Ok(Self::Unknown),
            value => serde_json::from_value(value)
                .map(Self::On)
                .map_err(serde::de::Error::custom),
        }
    }
}

/// Training cells of a model, as recorded with an embedding in a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainedOn {
    /// The model's architecture.
    pub architecture: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Optimiser steps; 0 for initial weights.
    pub steps: u64,
    /// Cells it was trained on, in this file or another.
    pub cells: usize,
    /// Columns of `obs` with the labels it used.
    pub labels: Vec<String>,
    /// What was held out of training, if anything.
    pub split: Option<SavedSplit>,
    /// Content keys of the cells of this file that it was trained on.
    pub seen_content: KeySet,
    /// Barcode keys of the cells of this file whose content or name matches a training cell.
    pub seen_barcode: KeySet,
    /// Whether it started from weights whose own training cells are unknown, as published ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown_start: bool,
}

/// How many of some cells a model was trained on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The number of cells queried.
    pub cells: usize,
    /// Of them, those with exactly the counts of a training cell: certain, but it misses cells
    /// whose genes or counts were changed.
    pub by_content: usize,
    /// Those with the name of a training cell: names such as `0` or the barcodes of another run may
    /// coincide.
    pub by_barcode: usize,
    /// Those matched by either.
    pub either: usize,
    /// Columns of labels used in training.
    pub labels: Vec<String>,
}

impl TrainedOn {
    /// Which of a file's cells `keys` the model of `record`, trained on the cells of `training`,
    /// saw.
    pub fn new(
        architecture: &str,
        record: &TrainingRecord,
        training: &CellKeys,
        keys: &CellKeys,
    ) -> Self {
        let content: HashSet<u64> = training.content.iter().copied().collect();
        let barcode: HashSet<u64> = training.barcode.iter().copied().collect();
        let by_content = |c: &u64| *c != EMPTY && content.contains(c);
        let cells = keys.content.iter().zip(&keys.barcode);
        let named = cells.filter(|(c, b)| by_content(c) || barcode.contains(*b));
        Self {
            architecture: architecture.into(),
            parameters: record.parameters,
            steps: record.steps,
            cells: record.cells,
            labels: record.labels.clone(),
            split: record.split.clone(),
            unknown_start: record.unknown_start,
            seen_content: KeySet::new(keys.content.iter().copied().filter(by_content)),
            seen_barcode: KeySet::new(named.map(|(_, b)| *b)),
        }
    }

    /// How many of the cells at `rows` it was trained on; `keys` are those of their file, which
    /// may be a subset of the embedded one, in any order.
    pub fn seen(&self, keys: &CellKeys, rows: &[usize]) -> Seen {
        let mut seen = Seen {
            cells: rows.len(),
            labels: self.labels.clone(),
            ..Seen::default()
        };
        for &row in rows {
            let content = self.seen_content.contains(keys.content[row]);
            let barcode = self.seen_barcode.contains(keys.barcode[row]);
            seen.by_content += usize::from(content);
            seen.by_barcode += usize::from(barcode);
            seen.either += usize::from(content || barcode);
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(cells: usize) -> TrainingRecord {
        TrainingRecord {
            cells,
            labels: vec!["cell_type".into()],
            keys_blake3: String::new(),
            split: None,
            parameters: 7,
            steps: 3,
            unknown_start: false,
        }
    }

    fn keys(content: &[u64], barcode: &[u64]) -> CellKeys {
        CellKeys {
            content: content.to_vec(),
            barcode: barcode.to_vec(),
        }
    }

    #[test]
    fn a_later_part_of_the_file_still_knows_what_was_seen() {
        let training = keys(&[1, 2, EMPTY], &[11, 12, 13]);
        // Row 0 was trained on, row 1 under another name, row 2 matches by name only, row 3 is
        // new, and an empty cell with another name does not match.
        let file = keys(&[1, 2, 9, 5, EMPTY], &[11, 99, 12, 15, 16]);
        let on = TrainedOn::new("vae", &record(3), &training, &file);
        let text = serde_json::to_value(Provenance {
            trained_on: Known::On(on),
            ..Provenance::default()
        });
        let read = Provenance::read(&text.unwrap()).unwrap();
        let on = read.trained_on.get().unwrap();
        let seen = on.seen(&file, &[0, 1, 2, 3, 4]);
        assert_eq!((seen.by_content, seen.by_barcode, seen.either), (2, 3, 3));
        assert_eq!(seen.labels, ["cell_type"]);
        // Genes were filtered and rows reordered since: only names match.
        let later = keys(&[21, 20, 19], &[15, 99, 11]);
        let seen = on.seen(&later, &[0, 1, 2]);
        assert_eq!((seen.by_content, seen.by_barcode, seen.either), (0, 2, 2));
        assert_eq!(on.seen(&later, &[0]).either, 0);
    }

    #[test]
    fn batches_that_were_given_are_known_again() {
        let cells = keys(&[1, 2, 3], &[11, 12, 13]);
        let given = GivenBatches::new("run", &cells, &["a", "a", "b"]);
        let text = serde_json::to_value(Provenance {
            batch: Some(given.clone()),
            vectors: Some(KeySet::new([vector_key(&[0.5, 1.0])])),
            ..Provenance::default()
        });
        let read = Provenance::read(&text.unwrap()).unwrap();
        assert_eq!(read.batch, Some(given.clone()));
        assert!(read.vectors.unwrap().contains(vector_key(&[0.5, 1.0])));
        // In another order, with other genes or other names, but not with another batch.
        let turned = keys(&[3, 91, 1], &[93, 12, 11]);
        assert!(given.hold(&turned, &["b", "a", "a"], &[0, 1, 2]));
        assert!(!given.hold(&turned, &["a", "a", "a"], &[0, 1, 2]));
        assert!(given.hold(&turned, &["a", "a", "a"], &[1]));
    }

    #[test]
    fn what_says_nothing_is_unknown_and_what_is_damaged_is_told() {
        for nothing in [
            r#"{"model": 1}"#,
            r#"{"trained_on": "unknown"}"#,
            r#"{"trained_on": null}"#,
        ] {
            let read = Provenance::read(&serde_json::from_str(nothing).unwrap()).unwrap();
            assert_eq!(read.trained_on, Known::Unknown);
        }
        let damaged = serde_json::json!({ "trained_on": { "cells": 3 } });
        let error = Provenance::read(&damaged).unwrap_err().to_string();
        assert!(error.contains("architecture"), "{error}");
    }

    #[test]
    fn keys_of_training_cells_are_those_of_the_record_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("training_cells.npy");
        let written = keys(&[1, u64::MAX], &[3, 4]);
        let mut record = record(2);
        record.keys_blake3 = write_keys(&path, &written).unwrap();
        assert_eq!(read_keys(&path, &record).unwrap(), written);
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"\x93NUMPY") && (bytes.len() - 32).is_multiple_of(64));
        record.cells = 3;
        let error = read_keys(&path, &record).unwrap_err().to_string();
        assert!(error.contains("2 cells"), "{error}");
        for cut in [0, 5, 9, 40, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert!(read_keys(&path, &record).is_err());
        }
    }
}
