//! Labels, batches and donors as codes with names.

use crate::error::EvalError;
use std::collections::BTreeMap;

/// One category per cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Categories {
    codes: Vec<u32>,
    names: Vec<String>,
}

impl Categories {
    /// `codes[cell]` is a position in `names`; names may be unused.
    ///
    /// # Errors
    /// [`EvalError::Invalid`] when a code lies outside `names`.
    pub fn new(codes: Vec<u32>, names: Vec<String>) -> Result<Self, EvalError> {
        match codes.iter().position(|&c| c as usize >= names.len()) {
            Some(cell) => Err(EvalError::invalid(format!(
                "cell {cell} has category code {}, but there are {} names",
                codes[cell],
                names.len()
            ))),
            None => Ok(Self { codes, names }),
        }
    }

    /// Codes in the order of the sorted distinct `values`.
    pub fn from_values<S: AsRef<str>>(values: &[S]) -> Self {
        let mut index: BTreeMap<&str, u32> = values.iter().map(|v| (v.as_ref(), 0)).collect();
        for (k, code) in index.values_mut().enumerate() {
            *code = k as u32;
        }
        let codes = values.iter().map(|v| index[v.as_ref()]).collect();
        Self {
            codes,
            names: index.keys().map(|s| (*s).to_owned()).collect(),
        }
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Code of every cell.
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// Name behind every code.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The categories of the cells at `rows`, under the same codes and names.
    pub fn select(&self, rows: &[usize]) -> Self {
        let codes = rows.iter().map(|&r| self.codes[r]).collect();
        Self {
            codes,
            names: self.names.clone(),
        }
    }

    /// How many codes occur.
    pub fn distinct(&self) -> usize {
        Groups::new(&self.codes).len()
    }
}

/// The cells of every code that occurs, in ascending order of the codes.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    /// The codes that occur, ascending.
    pub(crate) codes: Vec<u32>,
    /// Cells of each, ascending.
    pub(crate) members: Vec<Vec<u32>>,
    /// Position in `codes` of every cell's code.
    pub(crate) of_cell: Vec<u32>,
}

impl Groups {
    pub(crate) fn new(codes: &[u32]) -> Self {
        let mut distinct = codes.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let mut members = vec![Vec::new(); distinct.len()];
        let of_cell: Vec<u32> = codes
            .iter()
            .map(|c| distinct.partition_point(|d| d < c) as u32)
            .collect();
        for (cell, &g) in of_cell.iter().enumerate() {
            members[g as usize].push(cell as u32);
        }
        Self {
            codes: distinct,
            members,
            of_cell,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.codes.len()
    }
}
