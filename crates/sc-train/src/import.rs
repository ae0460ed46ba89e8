//! Published weights as models of ours.
//!
//! Every architecture reads its publisher's files in a room of its own; here is what they share. What
//! is read is checked against the network it makes: every tensor that is missing, extra or of another
//! shape is listed, and nothing is made of such a file.

use crate::error::{Result, TrainError};
use crate::facts::{Facts, Place, Role};
use crate::spec::ModelSpec;
use burn::tensor::Device;
use sc_data::genes::{normal_form, vocab};
use sc_models::weights::{NamedTensor, Tensors};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a publisher gave.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The weights, or the folder they lie in.
    pub weights: PathBuf,
    /// The configuration, where it is a file of its own.
    pub config: Option<PathBuf>,
    /// Genes in the order of their tokens, where they are a file of their own.
    pub vocabulary: Option<PathBuf>,
    /// UCE's `species_chrom.csv`.
    pub chromosomes: Option<PathBuf>,
    /// The species in that table.
    pub species: String,
    /// Token of the first gene of that species.
    pub offset: Option<u32>,
    /// Nicheformer's technology means (`.npy`).
    pub means: Option<PathBuf>,
    /// Attention heads, where no file tells.
    pub heads: Option<usize>,
}

/// A model made of published weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Its configuration.
    pub spec: ModelSpec,
    /// Its vocabulary.
    pub genes: Vec<String>,
    /// Means of the genes, empty when not known.
    pub means: Vec<f32>,
    /// Places of the genes on chromosomes, empty when not known.
    pub places: Vec<Option<Place>>,
    /// Names of the sequencing batches it knows.
    pub batches: Vec<String>,
    /// Values of columns of `obs` that it knows.
    pub levels: BTreeMap<Role, Vec<String>>,
    /// Weights by published name.
    pub weights: Tensors,
    /// The file they were read from.
    pub file: PathBuf,
}

impl Imported {
    /// A model of `architecture` with these settings, its weights still to be read from `file`.
    pub fn new(
        architecture: &str,
        (network, input): (Value, Value),
        genes: Vec<String>,
        file: PathBuf,
    ) -> Self {
        Self {
            spec: ModelSpec {
                architecture: architecture.into(),
                description: format!("{architecture}, published weights"),
                objective: None,
                vocabulary: Default::default(),
                obs: BTreeMap::new(),
                same_size_as: None,
                niche: None,
                network,
                input,
                train: Default::default(),
            },
            genes,
            means: Vec::new(),
            places: Vec::new(),
            batches: vec!["all".into()],
            levels: BTreeMap::new(),
            weights: Tensors::new(),
            file,
        }
    }

    /// What a task is built from.
    pub fn facts(&self) -> Facts {
        Facts {
            genes: Arc::new(self.genes.clone()),
            means: Arc::new(self.means.clone()),
            places: Arc::new(self.places.clone()),
            batches: self.batches.len(),
            levels: self.levels.clone(),
            ..Facts::default()
        }
    }

    /// Checks that the weights are those of the network.
    ///
    /// # Errors
    /// Every tensor that is missing, extra or of another shape, in one list.
    pub fn check(&self, device: &Device) -> Result<()> {
        self.spec.task(&self.facts())?.check(&self.weights, device)
    }
}

/// Names for `n` batches of which only the number is published.
pub(crate) fn numbered(n: usize) -> Vec<String> {
    match n {
        0 | 1 => vec!["all".into()],
        n => (0..n).map(|i| format!("batch {i}")).collect(),
    }
}

/// Reads a JSON file.
pub(crate) fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|e| TrainError::file(path, e))?;
    serde_json::from_str(&text).map_err(|e| TrainError::file(path, e))
}

/// A whole number that must be there.
pub(crate) fn number(value: &Value, key: &str, path: &Path) -> Result<usize> {
    value
        .get(key)
        .and_then(Value::as_u64)
        .map(|n| n as usize)
        .ok_or_else(|| TrainError::file(path, format!("{key} is missing, or no whole number")))
}

/// A file beside the weights, unless another was named.
pub(crate) fn beside(named: Option<&PathBuf>, weights: &Path, name: &str) -> Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.clone());
    }
    let path = weights.parent().unwrap_or(Path::new(".")).join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(TrainError::file(
        path,
        format!(
            "is missing beside {}; name the file with --config or --vocab",
            weights.display()
        ),
    ))
}

/// The weight file: the path itself, or the one of this ending in a folder.
pub(crate) fn weight_file(path: &Path, ending: &[&str]) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let entries = std::fs::read_dir(path).map_err(|e| TrainError::file(path, e))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| {
            let name = p.file_name().map(|n| n.to_string_lossy().into_owned());
            name.is_some_and(|n| ending.iter().any(|e| n.ends_with(e)))
        })
        .collect();
    found.sort();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(TrainError::file(
            path,
            format!("holds no file that ends in {}", ending.join(" or ")),
        )),
        several => Err(TrainError::file(
            path,
            format!("holds {} weight files; name one of them", several.len()),
        )),
    }
}

/// A list of genes from a file of any published format.
pub(crate) fn gene_list(path: Option<&PathBuf>, weights: &Path, what: &str) -> Result<Vec<String>> {
    let path = path.ok_or_else(|| {
        TrainError::file(
            weights,
            format!("the file does not say which genes its tokens are; give {what} with --vocab"),
        )
    })?;
    Ok(vocab::read(path)?.genes)
}

/// Which of `genes` come first under their name; a vocabulary has every gene once.
pub(crate) fn distinct(genes: &[String]) -> Vec<usize> {
    let mut seen = HashSet::with_capacity(genes.len());
    (0..genes.len())
        .filter(|&i| seen.insert(normal_form(&genes[i]).to_string()))
        .collect()
}

/// Rows of a matrix, in this order.
pub(crate) fn rows(tensor: &NamedTensor, order: &[usize]) -> Option<NamedTensor> {
    let [total, width] = tensor.shape[..] else {
        return None;
    };
    let mut data = Vec::with_capacity(order.len() * width);
    for &row in order {
        if row >= total {
            return None;
        }
        data.extend_from_slice(&tensor.data[row * width..(row + 1) * width]);
    }
    Some(NamedTensor {
        shape: vec![order.len(), width],
        data,
    })
}
