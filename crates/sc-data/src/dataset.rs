//! A data set: one file or several, of any format, read as one.
//!
//! A [`Dataset`] holds the location of the counts, the gene names, the columns of `obs` as
//! [`Categories`], the identity of the cells ([`CellKeys`]) and the hash of its files.
//!
//! ```
//! use sc_data::dataset::Dataset;
//! use sc_data::simulate::{SimConfig, simulate_to_file};
//! use sc_data::io::store::CountsPolicy;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("cells.h5ad");
//! let config = SimConfig { cells: 30, genes: 40, ..SimConfig::default() };
//! simulate_to_file(&config, &path, |_| ())?;
//!
//! let dataset = Dataset::open(&path, &CountsPolicy::RequireCounts)?;
//! let counts = dataset.counts().read(&[0, 7])?;
//! assert_eq!((counts.rows(), counts.cols()), (2, 40));
//! assert_eq!(dataset.categories("cell_type")?.len(), 30);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod assumed;
mod hold_out;
mod minibatches;
mod names;
mod packed;
mod several;

pub use hold_out::{HoldOut, Validation};
pub use minibatches::Minibatch;
pub use packed::{Keep, pack_into};

use crate::categories::{Categories, MISSING};
use crate::counts::{LogNormalized, RawCounts};
use crate::doctor::check_labels;
use crate::error::{ColumnUse, DataError, Result};
use crate::identity::CellKeys;
use crate::io::atomic::hash_file;
use crate::io::h5ad::{H5ad, MatrixSlot, Missing};
use crate::io::store::{
    CellStore, CountsPolicy, CountsReader, FoundCounts, ValueKind, find_counts,
};
use crate::sampling::collection::Collection;
use crate::sampling::loader::Counts;
use crate::sparse::CsrMatrix;
use assumed::AssumedNormalized;
use names::{file_names, names_of};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The value of a batch or donor column option that means there is none.
pub const NO_COLUMN: &str = "none";

/// The value of a cell without a category; cells with this value count as missing.
const UNKNOWN: &str = "unknown";

/// Counts per cell before the logarithm.
const TARGET: f64 = 1e4;

/// One file of a data set, and the matrix that is used.
pub struct Part {
    file: H5ad,
    slot: MatrixSlot,
    genes: Vec<String>,
}

impl Part {
    /// The open file.
    pub fn file(&self) -> &H5ad {
        &self.file
    }

    /// Its matrix that is used.
    pub fn slot(&self) -> &MatrixSlot {
        &self.slot
    }

    /// Reads that matrix.
    ///
    /// # Errors
    /// [`DataError::File`] when it cannot be read.
    pub fn reader(&self) -> Result<CountsReader> {
        Ok(CountsReader::new(CellStore::of(
            &self.file,
            self.slot.clone(),
        )?))
    }
}

/// One or several open files, read as one.
pub struct Dataset {
    parts: Vec<Part>,
    counts: Arc<dyn Counts>,
    genes: Vec<String>,
    kind: ValueKind,
    assumption: Option<String>,
    hashes: OnceLock<Vec<String>>,
}

impl Dataset {
    /// Opens a file of any format supported by [`crate::io::formats::open`].
    ///
    /// # Errors
    /// [`DataError`] when it cannot be read or holds no matrix that `policy` allows.
    pub fn open(path: &Path, policy: &CountsPolicy) -> Result<Self> {
        Self::open_all(&[path.to_path_buf()], policy)
    }

    /// Opens the files of one experiment: cells concatenated, genes joined by name.
    ///
    /// # Errors
    /// As [`Dataset::open`]; [`DataError::File`] for a file without cells, for one that is given twice or
    /// is a copy of another, and for values of another kind than those of the first.
    pub fn open_all(paths: &[PathBuf], policy: &CountsPolicy) -> Result<Self> {
        let mut parts = Vec::with_capacity(paths.len());
        let mut kinds = Vec::with_capacity(paths.len());
        let mut assumption = None;
        for (k, path) in paths.iter().enumerate() {
            let place = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
            if paths[..k].iter().any(|other| place(other) == place(path)) {
                return Err(DataError::file(
                    path,
                    "is given twice; its cells would be counted twice",
                ));
            }
            let file = H5ad::open(path)?;
            if file.n_obs() == 0 {
                let what = "holds no cells; name a file with cells";
                return Err(DataError::file(path, what));
            }
            let found = find_counts(&file, policy)?;
            let genes = file.gene_names(&found.slot)?;
            let values = match found.kind {
                ValueKind::Counts => "counts",
                _ => "log-normalised",
            };
            tracing::info!(
                file = %path.display(),
                cells = file.n_obs(),
                genes = genes.len(),
                matrix = %found.slot,
                values = %values,
                "opened"
            );
            kinds.push(found.kind);
            assumption = assumption.or(assumed(&found));
            parts.push(Part {
                file,
                slot: found.slot,
                genes,
            });
        }
        let kind = kinds.first().copied().unwrap_or(ValueKind::Counts);
        if let Some(other) = kinds.iter().position(|k| *k != kind) {
            return Err(DataError::file(
                parts[other].file.path(),
                format!(
                    "its values are of another kind than those of {}; give files with counts or with \
                     log-normalised values, but not both",
                    parts[0].file.path().display()
                ),
            ));
        }
        let readers = parts
            .iter()
            .map(|p| {
                let reader = p.reader()?;
                let counts: Arc<dyn Counts> = match kind {
                    ValueKind::Counts => Arc::new(reader),
                    _ => Arc::new(AssumedNormalized(reader)),
                };
                Ok(counts)
            })
            .collect::<Result<Vec<_>>>()?;
        let (counts, genes) = join(&parts, readers)?;
        let dataset = Self {
            parts,
            counts,
            genes,
            kind,
            assumption,
            hashes: OnceLock::new(),
        };
        dataset.refuse_copies()?;
        Ok(dataset)
    }

    /// The files, in the order of their cells; at least one.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The first file; the only one, unless several were opened.
    pub fn file(&self) -> &H5ad {
        &self.parts[0].file
    }

    /// Path of the first file.
    pub fn path(&self) -> &Path {
        self.file().path()
    }

    /// The matrix of the first file that is used.
    pub fn slot(&self) -> &MatrixSlot {
        &self.parts[0].slot
    }

    /// Counts of all cells, `[cells, genes]`.
    pub fn counts(&self) -> &Arc<dyn Counts> {
        &self.counts
    }

    /// Names of the columns of the counts.
    pub fn genes(&self) -> &[String] {
        &self.genes
    }

    /// Number of cells.
    pub fn cells(&self) -> usize {
        self.counts.cells()
    }

    /// Whether values are the counts stored in the files.
    pub fn holds_counts(&self) -> bool {
        self.kind == ValueKind::Counts
    }

    /// What was assumed about the values, where they are not counts.
    pub fn assumption(&self) -> Option<&str> {
        self.assumption.as_deref()
    }

    /// blake3 of every file; computed once.
    ///
    /// # Errors
    /// [`DataError::Io`] when a file cannot be read.
    pub fn hashes(&self) -> Result<&[String]> {
        if let Some(known) = self.hashes.get() {
            return Ok(known);
        }
        let hashes = self.parts.iter().map(|p| hash_file(p.file.path()));
        let hashes = hashes.collect::<Result<Vec<_>>>()?;
        Ok(self.hashes.get_or_init(|| hashes))
    }

    /// blake3 of the data: of one file its own, of several that of their hashes.
    ///
    /// # Errors
    /// [`DataError::Io`] when a file cannot be read.
    pub fn hash(&self) -> Result<String> {
        Ok(match self.hashes()? {
            [hash] => hash.clone(),
            all => blake3::hash(all.concat().as_bytes()).to_hex().to_string(),
        })
    }

    /// Log-normalised values of rows from [`Self::counts`].
    ///
    /// # Errors
    /// [`DataError::Invalid`] for values that are neither counts nor log-normalised.
    pub fn log_normalized(&self, matrix: CsrMatrix) -> Result<LogNormalized> {
        match self.kind {
            ValueKind::Counts => {
                let counts = RawCounts::new(matrix)?;
                Ok(LogNormalized::from_counts(&counts, TARGET))
            }
            // The reader inverted them with exp(x) - 1; this restores the user's values.
            _ => LogNormalized::assume(matrix.map_values(f32::ln_1p)),
        }
    }

    /// The keys of all cells, file after file; reads the counts once.
    ///
    /// # Errors
    /// [`DataError::File`] when names or counts cannot be read.
    pub fn cell_keys(&self) -> Result<CellKeys> {
        CellKeys::new(&*self.counts, &self.genes, &self.cell_names()?)
    }

    /// Names of all cells, file after file.
    ///
    /// # Errors
    /// [`DataError::File`] when they cannot be read.
    pub fn cell_names(&self) -> Result<Vec<String>> {
        let mut names = Vec::with_capacity(self.cells());
        for part in &self.parts {
            names.extend(part.file.obs_names()?);
        }
        Ok(names)
    }

    /// Whether every file has this column of `obs`.
    pub fn has_column(&self, column: &str) -> bool {
        let in_part = |p: &Part| p.file.obs().columns().iter().any(|c| c == column);
        self.parts.iter().all(in_part)
    }

    /// A column of `obs`; every cell must have a value. The same value in several files is made
    /// distinct by the file name, as for batches.
    ///
    /// # Errors
    /// [`DataError::File`] when there is no such column or a value is missing.
    pub fn categories(&self, column: &str) -> Result<Categories> {
        let each = self.each(column, &Missing::Error)?;
        let mut files_with: BTreeMap<&String, usize> = BTreeMap::new();
        for name in each.iter().flat_map(Categories::names) {
            *files_with.entry(name).or_default() += 1;
        }
        let mut codes = Vec::with_capacity(self.cells());
        let mut names = Vec::new();
        for (own, file) in each.iter().zip(self.file_names()) {
            let before = names.len() as u32;
            codes.extend(own.codes().iter().map(|c| c + before));
            names.extend(own.names().iter().map(|n| match files_with.get(n) {
                Some(1) => n.clone(),
                _ => format!("{file}/{n}"),
            }));
        }
        Categories::new(codes, names)
    }

    /// A column of `obs` whose values mean the same in all files, sorted; a cell with value
    /// "unknown" or without one has no category.
    ///
    /// # Errors
    /// [`DataError::File`] when there is no such column.
    pub fn shared_categories(&self, column: &str) -> Result<Categories> {
        let each = self.each(column, &Missing::Keep)?;
        let names: BTreeSet<&String> = each.iter().flat_map(Categories::names).collect();
        let names: Vec<String> = names
            .into_iter()
            .filter(|n| *n != UNKNOWN)
            .cloned()
            .collect();
        let mut codes = Vec::with_capacity(self.cells());
        for own in &each {
            let place = |n: &String| names.binary_search(n).map_or(MISSING, |k| k as u32);
            let new: Vec<u32> = own.names().iter().map(place).collect();
            let code = |&c: &u32| new.get(c as usize).copied().unwrap_or(MISSING);
            codes.extend(own.codes().iter().map(code));
        }
        Categories::new(codes, names)
    }

    fn each(&self, column: &str, missing: &Missing) -> Result<Vec<Categories>> {
        let of = |part: &Part| {
            let values = part.file.obs_column(column)?;
            values
                .to_categories(missing)
                .map_err(|e| DataError::file(part.file.path(), format!("obs['{column}']: {e}")))
        };
        self.parts.iter().map(of).collect()
    }

    /// A column of `obs` as the labels of an evaluation, see [`Self::categories`].
    ///
    /// # Errors
    /// As there; [`DataError::Column`] for non-integer numbers and for a value of nearly every
    /// cell.
    pub fn labels(&self, column: &str) -> Result<Categories> {
        for part in &self.parts {
            check_labels(&part.file.obs_column(column)?).map_err(|e| {
                let what = format!("{e}; choose another column");
                self.wrong_column(column, ColumnUse::Label, what)
            })?;
        }
        self.categories(column)
    }

    /// An error about a column that cannot be used as intended.
    pub fn wrong_column(
        &self,
        column: &str,
        used_as: ColumnUse,
        message: impl Into<String>,
    ) -> DataError {
        DataError::Column {
            path: self.path().to_path_buf(),
            column: column.to_owned(),
            used_as,
            message: message.into(),
        }
    }

    /// Sequencing batches: those of `column`, or one batch per file where none is given.
    ///
    /// # Errors
    /// As [`Self::categories`].
    pub fn batches(&self, column: Option<&str>) -> Result<Categories> {
        match column {
            Some(NO_COLUMN) => Ok(Categories::one(self.cells(), "all")),
            Some(column) => self.categories(column),
            None if self.parts.len() == 1 => Ok(Categories::one(self.cells(), "all")),
            None => {
                let cells = self.parts.iter().zip(0u32..);
                let codes = cells.flat_map(|(p, k)| std::iter::repeat_n(k, p.file.n_obs()));
                Categories::new(codes.collect(), self.file_names())
            }
        }
    }

    /// Name of every file: its stem, with as many parent folders as are needed to make them
    /// distinct.
    fn file_names(&self) -> Vec<String> {
        let paths: Vec<&Path> = self.parts.iter().map(|p| p.file.path()).collect();
        file_names(&paths)
    }

    /// Names of the batches of [`Self::batches`], as a model with batches `known` names them: it
    /// may have been trained on several files, of which this is one.
    pub fn batch_names_as(
        &self,
        batches: &Categories,
        column: Option<&str>,
        known: &[String],
    ) -> Vec<String> {
        let [part] = &self.parts[..] else {
            return batches.names().to_vec();
        };
        let files = names_of(part.file.path());
        let is_known = |n: &String| known.contains(n);
        let by_file = |name: &str| match column {
            None => files.iter().find(|f| is_known(f)).cloned(),
            Some(_) => files.iter().map(|f| format!("{f}/{name}")).find(is_known),
        };
        let called = |name: &String| match is_known(name) {
            true => name.clone(),
            false => by_file(name).unwrap_or_else(|| name.clone()),
        };
        batches.names().iter().map(called).collect()
    }

    /// Reads from `readers`, one per file, instead of the files themselves.
    fn read_from(&mut self, readers: Vec<Arc<dyn Counts>>) -> Result<()> {
        (self.counts, self.genes) = join(&self.parts, readers)?;
        Ok(())
    }
}

/// What is assumed about values that are not counts.
fn assumed(found: &FoundCounts) -> Option<String> {
    let slot = &found.slot;
    let better = match found.counts_in.first() {
        Some(counts) => format!("; {counts} holds integers, which could be used instead"),
        None => String::new(),
    };
    let shown = match found.shown {
        true => "",
        false => ", although its values show no evidence of it",
    };
    (found.kind != ValueKind::Counts).then(|| {
        format!(
            "{slot} does not hold counts and was assumed to be ln(1 + scaled counts){shown}; values were \
             turned back with exp(x) - 1{better}"
        )
    })
}

type Joined = (Arc<dyn Counts>, Vec<String>);

fn join(parts: &[Part], mut readers: Vec<Arc<dyn Counts>>) -> Result<Joined> {
    if let ([part], [_]) = (parts, &readers[..]) {
        return Ok((readers.remove(0), part.genes.clone()));
    }
    let name = |p: &Part| p.file.path().display().to_string();
    let files = parts.iter().zip(readers);
    let files = files.map(|(p, r)| (name(p), p.genes.clone(), r)).collect();
    let all = Collection::new(files)?;
    let genes = all.gene_names().to_vec();
    Ok((Arc::new(all), genes))
}

#[cfg(test)]
mod tests;
