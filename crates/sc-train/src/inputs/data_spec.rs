//! The data properties a network is built for: genes, batches and values of columns of `obs`; and
//! the columns of `obs` of the cells.

use crate::error::{Result, TrainError};
pub use sc_data::categories::MISSING;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Role of a column of `obs` in a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The label of a supervised model.
    Label,
    /// The organism of a cell.
    Species,
    /// The assay.
    Assay,
    /// The perturbed genes of a cell.
    Perturbation,
    /// The region of a cell in its tissue.
    Niche,
}

impl Role {
    /// The name in configurations.
    pub fn word(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Species => "species",
            Self::Assay => "assay",
            Self::Perturbation => "perturbation",
            Self::Niche => "niche",
        }
    }
}

/// Properties of the data that are needed to build a network, saved with its weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataSpec {
    /// Names of the genes of the vocabulary.
    pub genes: Arc<Vec<String>>,
    /// Mean of the counts of every gene over the training cells that express it; NaN for a gene
    /// without any. Empty when unknown.
    pub means: Arc<Vec<f32>>,
    /// The maximum of `ln(1 + 10⁴ count / total)` of every gene in the training cells; see
    /// [`crate::inputs::features::largest`]. Empty when unknown.
    pub largest: Arc<Vec<f32>>,
    /// Genomic position of every gene, for models that order genes by it. Empty when unknown.
    pub positions: Arc<Vec<Option<GenePosition>>>,
    /// Names of the sequencing batches, in the order of their codes.
    pub batches: Vec<String>,
    /// Names of the values of every column of `obs` in use, in the order of their codes.
    pub levels: Levels,
    /// Seed of every random stream.
    pub seed: u64,
}

/// Names of the values of every column of `obs` in use, in the order of their codes.
pub type Levels = BTreeMap<Role, Vec<String>>;

/// Names for `n` batches of which only the number is known.
pub fn numbered_batches(n: usize) -> Vec<String> {
    match n {
        0 | 1 => vec!["all".into()],
        n => (0..n).map(|i| format!("batch {i}")).collect(),
    }
}

/// Genomic position of a gene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenePosition {
    /// Number of its chromosome among those of the vocabulary.
    pub chromosome: u32,
    /// Start of the gene.
    pub start: u64,
}

impl DataSpec {
    /// Number of values of `role`.
    ///
    /// # Errors
    /// [`TrainError::Config`] when no column was given for it.
    pub fn count(&self, role: Role, architecture: &str) -> Result<usize> {
        self.levels.get(&role).map(Vec::len).ok_or_else(|| {
            let word = role.word();
            TrainError::Config(format!(
                "{architecture} needs a {word} for every cell; give the column of obs: \
                 [obs] {word} = \"COLUMN\""
            ))
        })
    }
}

/// Columns of `obs` of every cell of a file.
#[derive(Clone, Debug, Default)]
pub struct Obs {
    columns: BTreeMap<Role, Vec<u32>>,
    numbers: BTreeMap<Role, Numbers>,
}

/// Numeric values of every cell of a file.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// Numbers per cell.
    pub width: usize,
    /// `[cells, width]`, row-major.
    pub values: Vec<f32>,
}

impl Obs {
    /// Adds the codes of every cell of the file; [`MISSING`] for a cell without a value.
    pub fn set(&mut self, role: Role, codes: Vec<u32>) {
        self.columns.insert(role, codes);
    }

    /// Adds numeric values for every cell of the file.
    pub fn set_numbers(&mut self, role: Role, numbers: Numbers) {
        self.numbers.insert(role, numbers);
    }

    /// Whether there is a column of codes for `role`.
    pub fn has(&self, role: Role) -> bool {
        self.columns.contains_key(&role)
    }

    /// Codes of the cells at `rows`; [`MISSING`] where there is none.
    pub fn codes(&self, role: Role, rows: &[usize]) -> Vec<u32> {
        let column = self.columns.get(&role);
        rows.iter()
            .map(|&r| column.and_then(|c| c.get(r)).copied().unwrap_or(MISSING))
            .collect()
    }

    /// Numeric values of the cells at `rows`, row-major, if there are any.
    pub fn numbers(&self, role: Role, rows: &[usize]) -> Option<Vec<f32>> {
        let numbers = self.numbers.get(&role)?;
        let row = |&r: &usize| &numbers.values[r * numbers.width..(r + 1) * numbers.width];
        Some(rows.iter().flat_map(row).copied().collect())
    }
}
