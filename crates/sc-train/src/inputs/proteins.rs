//! Protein embeddings of genes, for models that represent genes by their proteins (UCE, SATURN).

use crate::error::{Result, TrainError};
use rand::RngExt as _;
use rand_distr::StandardNormal;
use sc_data::rng::stream;
use sc_models::{ranges, weights};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::path::PathBuf;

/// Source of the gene vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Proteins {
    /// A file with one vector per gene symbol: `.safetensors`, or a `.pt` dictionary of tensors.
    File {
        /// The file.
        path: PathBuf,
    },
    /// Random normal vectors, drawn by gene name: a control without protein information.
    Random {
        /// Dimension of a vector.
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
    /// Dimension of a vector.
    pub dim: usize,
    /// Whether each gene has a vector.
    pub known: Vec<bool>,
    vectors: Vectors,
}

/// Vectors of all genes, or how they are drawn.
#[derive(Clone, Debug, PartialEq)]
enum Vectors {
    /// `[genes, dim]`, row-major; zeros where a gene has no vector.
    Read(Vec<f32>),
    /// Names of the genes: a vector is drawn on access, so that a network whose weights are not
    /// needed costs nothing.
    Drawn(Vec<String>),
}

impl ProteinTable {
    /// The vector of one gene, `dim` numbers; zeros where it has none.
    pub fn vector(&self, gene: usize) -> Cow<'_, [f32]> {
        match &self.vectors {
            Vectors::Read(values) => Cow::Borrowed(&values[gene * self.dim..(gene + 1) * self.dim]),
            Vectors::Drawn(names) => {
                let name = format!("protein:{}", names[gene].to_uppercase());
                let mut rng = stream(0, &name, 0, 0);
                let draw = |_| rng.sample::<f32, _>(StandardNormal);
                Cow::Owned((0..self.dim).map(draw).collect())
            }
        }
    }

    /// The vectors of `genes`, concatenated: `[genes, dim]` row-major.
    pub fn vectors(&self, genes: impl IntoIterator<Item = usize>) -> Vec<f32> {
        let genes = genes.into_iter();
        let mut values = Vec::with_capacity(genes.size_hint().0 * self.dim);
        genes.for_each(|g| values.extend_from_slice(&self.vector(g)));
        values
    }
}

impl Proteins {
    /// Checks the values; `of` is the path of the setting.
    ///
    /// # Errors
    /// [`ModelError::Config`](sc_models::ModelError::Config) for a dimension of 0, or one that is
    /// too large.
    pub(crate) fn check(&self, of: &str) -> sc_models::error::Result<()> {
        match self {
            Self::Random { dim } => ranges::widths(of, &[("proteins.dim", *dim)]),
            Self::File { .. } => Ok(()),
        }
    }

    /// The vectors of `genes`, by symbol in any case.
    ///
    /// # Errors
    /// A file that cannot be read, vectors of different lengths, or no gene that has one.
    pub fn of(&self, genes: &[String]) -> Result<ProteinTable> {
        match self {
            Self::Random { dim } => Ok(ProteinTable {
                dim: *dim,
                known: vec![true; genes.len()],
                vectors: Vectors::Drawn(genes.to_vec()),
            }),
            Self::File { path } => {
                let tensors = weights::read(path)?;
                let fail = |what: String| TrainError::file(path, what);
                let dim = tensors.values().next().map_or(0, |t| t.data.len());
                if let Some((name, t)) = tensors.iter().find(|(_, t)| t.data.len() != dim) {
                    return Err(fail(format!(
                        "the vector of {name} has {} numbers, others have {dim}; every gene needs one vector, \
                         all of the same length",
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
                        "none of the {} genes has a protein embedding in this file; genes are matched by symbol",
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
                    known: found.iter().map(Option::is_some).collect(),
                    vectors: Vectors::Read(values),
                })
            }
        }
    }
}
