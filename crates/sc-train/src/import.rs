//! Import of published weights.
//!
//! Every architecture has a module that reads its publisher's files; this module is shared by
//! them. The tensors are checked against the network: every tensor that is missing, extra or of
//! another shape is listed, and the import fails.

use crate::error::{Result, TrainError};
use sc_data::genes::{normal_form, vocab};
use sc_models::weights::NamedTensor;
use serde_json::Value;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The files of a publisher.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The weights, or their folder.
    pub weights: PathBuf,
    /// The configuration, where it is a separate file.
    pub config: Option<PathBuf>,
    /// Genes in the order of their tokens, where they are a separate file.
    pub vocabulary: Option<PathBuf>,
    /// UCE's `species_chrom.csv`.
    pub chromosomes: Option<PathBuf>,
    /// The species in that table.
    pub species: String,
    /// Token of the first gene of that species.
    pub offset: Option<u32>,
    /// Nicheformer's technology means (`.npy`), Geneformer's medians (`.npy`, `.pkl` or JSON).
    pub means: Option<PathBuf>,
    /// Attention heads, where no file has them.
    pub heads: Option<usize>,
}

/// What published weights need in addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishedFile {
    /// [`Files::config`].
    Config,
    /// [`Files::vocabulary`].
    Vocabulary,
    /// [`Files::chromosomes`].
    Chromosomes,
    /// [`Files::offset`].
    Offset,
    /// [`Files::species`].
    Species,
    /// [`Files::means`].
    Means,
    /// [`Files::heads`].
    Heads,
}

/// What of [`Files`] is read beside the weights of `architecture`.
pub fn read_by(architecture: &str) -> &'static [PublishedFile] {
    use PublishedFile::{Chromosomes, Config, Heads, Means, Offset, Species, Vocabulary};
    match architecture {
        "cellplm" => &[Config],
        "geneformer" => &[Config, Vocabulary, Means],
        "nicheformer" => &[Config, Vocabulary, Means, Heads],
        "scclip" => &[Vocabulary, Heads],
        "scgpt" => &[Config, Vocabulary],
        "scprint" => &[Heads],
        "uce" => &[Vocabulary, Chromosomes, Species, Offset, Heads],
        _ => &[],
    }
}

/// The architecture whose publisher's files lie at `path`, by their names and configuration; `None` where they do not tell.
pub fn detect(path: &Path) -> Option<&'static str> {
    let folder = match path.is_dir() {
        true => path,
        false => path.parent().filter(|p| !p.as_os_str().is_empty())?,
    };
    let names = |entry: std::fs::DirEntry| entry.file_name().into_string().ok();
    let files: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|e| names(e.ok()?))
        .collect();
    let has = |end: &str| files.iter().any(|f| f.ends_with(end));
    match () {
        () if has("args.json") && has("vocab.json") => Some("scgpt"),
        () if has(".best.ckpt") && has(".config.json") => Some("cellplm"),
        () if has(".torch") => Some("uce"),
        () => {
            let config = json(&folder.join("config.json")).ok()?;
            match config.get("model_type")?.as_str()? {
                "bert" if has("token_dictionary.pkl") => Some("geneformer"),
                "nicheformer" => Some("nicheformer"),
                _ => None,
            }
        }
    }
}

/// What is missing for `path`.
pub(crate) fn unpublished(path: &Path, message: String, needs: PublishedFile) -> TrainError {
    TrainError::Unpublished {
        path: path.to_path_buf(),
        message,
        needs,
    }
}

/// Reads a JSON file.
pub(crate) fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|e| TrainError::file(path, e))?;
    serde_json::from_str(&text).map_err(|e| TrainError::file(path, e))
}

/// A required integer.
pub(crate) fn number(value: &Value, key: &str, path: &Path) -> Result<usize> {
    value
        .get(key)
        .and_then(Value::as_u64)
        .map(|n| n as usize)
        .ok_or_else(|| {
            TrainError::file(
                path,
                format!("{key} is missing, or not an integer of 0 or more"),
            )
        })
}

/// A file next to the weights, unless another was given.
pub(crate) fn beside(
    named: Option<&PathBuf>,
    weights: &Path,
    name: &str,
    needs: PublishedFile,
) -> Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.clone());
    }
    let path = weights.parent().unwrap_or(Path::new(".")).join(name);
    if path.is_file() {
        return Ok(path);
    }
    let message = format!("is missing next to {}; give the file", weights.display());
    Err(unpublished(&path, message, needs))
}

/// The weight file: the path itself, or the file with this extension in a folder.
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
            format!("has no file that ends in {}", ending.join(" or ")),
        )),
        several => Err(TrainError::file(
            path,
            format!("has {} weight files; choose one of them", several.len()),
        )),
    }
}

/// A list of genes from a file of any published format.
pub(crate) fn gene_list(path: Option<&PathBuf>, weights: &Path, what: &str) -> Result<Vec<String>> {
    let path = path.ok_or_else(|| {
        let message = format!("the file does not say which genes its tokens are; give {what}");
        unpublished(weights, message, PublishedFile::Vocabulary)
    })?;
    Ok(vocab::read(path)?.genes)
}

/// The indices of the first occurrence of each of `genes`; a vocabulary has every gene once.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::ARCHITECTURES;

    #[test]
    fn of_every_architecture_with_weights_it_is_known_what_is_read() {
        for known in ARCHITECTURES {
            let reads = !read_by(known.name).is_empty();
            assert_eq!(reads, known.import.is_some(), "{}", known.name);
        }
    }
}
