//! Protein embeddings of genes, for models that know genes by their proteins (UCE, SATURN).

use crate::error::{Result, TrainError};
use rand::RngExt as _;
use rand_distr::StandardNormal;
use sc_data::rng::stream;
use sc_models::weights;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the vectors of genes come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Proteins {
    /// A file with one vector a gene symbol: `.safetensors`, or a `.pt` dictionary of tensors.
    File {
        /// The file.
        path: PathBuf,
    },
    /// Normal vectors drawn by the gene's name: what a model is worth without knowing proteins.
    Random {
        /// Numbers a gene.
        dim: usize,
    },
}

impl Default for Proteins {
    fn default() -> Self {
        Self::Random { dim: 64 }
    }
}

/// Vectors of genes.
#[derive(Clone, Debug, PartialEq)]
pub struct ProteinTable {
    /// Numbers a gene.
    pub dim: usize,
    /// `[genes, dim]`, row-major; zeros where a gene has no vector.
    pub values: Vec<f32>,
    /// Whether each gene has a vector.
    pub known: Vec<bool>,
}

impl Proteins {
    /// The vectors of `genes`, by symbol in any case.
    ///
    /// # Errors
    /// A file that cannot be read, vectors of different lengths, or no gene that has one.
    pub fn of(&self, genes: &[String]) -> Result<ProteinTable> {
        match self {
            Self::Random { dim } => {
                let draw = |gene: &String| {
                    let mut rng = stream(0, &format!("protein:{}", gene.to_uppercase()), 0, 0);
                    (0..*dim)
                        .map(|_| rng.sample::<f32, _>(StandardNormal))
                        .collect::<Vec<_>>()
                };
                Ok(ProteinTable {
                    dim: *dim,
                    values: genes.iter().flat_map(draw).collect(),
                    known: vec![true; genes.len()],
                })
            }
            Self::File { path } => {
                let tensors = weights::read(path)?;
                let fail = |what: String| TrainError::file(path, what);
                let dim = tensors.values().next().map_or(0, |t| t.data.len());
                if let Some((name, t)) = tensors.iter().find(|(_, t)| t.data.len() != dim) {
                    return Err(fail(format!(
                        "the vector of {name} has {} numbers, others have {dim}; one vector a gene is \
                         wanted, all of one length",
                        t.data.len()
                    )));
                }
                let upper: std::collections::HashMap<String, &Vec<f32>> = tensors
                    .iter()
                    .map(|(name, t)| (name.to_uppercase(), &t.data))
                    .collect();
                let found: Vec<Option<&Vec<f32>>> = genes
                    .iter()
                    .map(|g| upper.get(&g.to_uppercase()).copied())
                    .collect();
                if dim == 0 || found.iter().all(Option::is_none) {
                    return Err(fail(format!(
                        "none of the {} genes has a protein embedding here; genes are found by symbol",
                        genes.len()
                    )));
                }
                let mut values = Vec::with_capacity(genes.len() * dim);
                for vector in &found {
                    match vector {
                        Some(vector) => values.extend_from_slice(vector),
                        None => values.extend(std::iter::repeat_n(0.0, dim)),
                    }
                }
                Ok(ProteinTable {
                    dim,
                    values,
                    known: found.iter().map(Option::is_some).collect(),
                })
            }
        }
    }
}
