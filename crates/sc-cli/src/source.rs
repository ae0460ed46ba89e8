//! Opened files: where their counts are, and whose cells they hold.

use crate::args::CountsFrom;
use crate::error::{Result, at};
use sc_data::collection::Collection;
use sc_data::h5ad::{H5ad, MatrixSlot, Missing};
use sc_data::store::{CellStore, CountsPolicy, CountsReader, ValueKind, find_counts};
use sc_data::{CsrMatrix, LogNormalized, RawCounts};
use sc_eval::categories::Categories;
use sc_train::corpus::{AssumedNormalized, Counts};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of no batch column.
pub(crate) const NO_BATCH: &str = "none";

/// The donor column of data whose donors are not known.
pub(crate) const NO_DONOR: &str = "none";
/// The value of a cell that has none.
const UNKNOWN: &str = "unknown";
/// Counts a cell is scaled to before the logarithm.
const TARGET: f64 = 1e4;

/// One file and the matrix in it that is used.
pub(crate) struct Part {
    pub(crate) file: H5ad,
    pub(crate) slot: MatrixSlot,
    genes: Vec<String>,
}

impl Part {
    /// Reads the matrix of the file itself.
    pub(crate) fn reader(&self) -> Result<CountsReader> {
        Ok(CountsReader::new(CellStore::of(
            &self.file,
            self.slot.clone(),
        )?))
    }

    fn name(&self) -> String {
        self.file.path().display().to_string()
    }
}

/// One or several open files, read as one.
pub(crate) struct Source {
    pub(crate) parts: Vec<Part>,
    pub(crate) counts: Arc<dyn Counts>,
    /// Names of the columns of the counts.
    pub(crate) genes: Vec<String>,
    kind: ValueKind,
}

impl Source {
    pub(crate) fn open(file: &Path, from: &CountsFrom) -> Result<Self> {
        Self::open_all(std::slice::from_ref(&file.to_path_buf()), from)
    }

    pub(crate) fn open_all(files: &[PathBuf], from: &CountsFrom) -> Result<Self> {
        let policy = match (&from.counts, from.assume_normalized) {
            (Some(name), _) => CountsPolicy::Named(name.clone()),
            (None, true) => CountsPolicy::AssumeNormalized,
            (None, false) => CountsPolicy::RequireCounts,
        };
        let mut parts = Vec::with_capacity(files.len());
        let mut kinds = Vec::with_capacity(files.len());
        for path in files {
            let file = H5ad::open(path)?;
            let found = find_counts(&file, &policy)?;
            let genes = file.gene_names(&found.slot)?;
            kinds.push(found.kind);
            parts.push(Part {
                file,
                slot: found.slot,
                genes,
            });
        }
        let kind = kinds.first().copied().unwrap_or(ValueKind::Counts);
        if let Some(other) = kinds.iter().position(|k| *k != kind) {
            return Err(at(
                parts[other].file.path(),
                format!(
                    "its values are of another kind than those of {}; give files of counts, or of \
                     log-normalised values, but not both",
                    parts[0].name()
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
        Ok(Self {
            parts,
            counts,
            genes,
            kind,
        })
    }

    /// The first file, which is the only one for all verbs but `pretrain`.
    pub(crate) fn file(&self) -> &H5ad {
        &self.parts[0].file
    }

    /// The matrix of the first file.
    pub(crate) fn slot(&self) -> &MatrixSlot {
        &self.parts[0].slot
    }

    pub(crate) fn cells(&self) -> usize {
        self.counts.cells()
    }

    /// Whether values are counts as they are in the files.
    pub(crate) fn holds_counts(&self) -> bool {
        self.kind == ValueKind::Counts
    }

    /// Reads from `readers`, one a file, instead of the files themselves.
    pub(crate) fn read_from(&mut self, readers: Vec<Arc<dyn Counts>>) -> Result<()> {
        (self.counts, self.genes) = join(&self.parts, readers)?;
        Ok(())
    }

    /// Log-normalised values of rows that [`Self::counts`] gave.
    pub(crate) fn log_normalized(&self, matrix: CsrMatrix) -> Result<LogNormalized> {
        Ok(match self.kind {
            ValueKind::Counts => LogNormalized::from_counts(&RawCounts::new(matrix)?, TARGET),
            // Taken back with exp(x) - 1 by the reader; here are the user's own values again.
            _ => LogNormalized::assume(matrix.map_values(f32::ln_1p))?,
        })
    }

    /// A column of `obs` as categories; a missing value is an error. Values of several files are told
    /// apart by the file.
    pub(crate) fn factor(&self, column: &str) -> Result<Categories> {
        let mut codes = Vec::with_capacity(self.cells());
        let mut names = Vec::new();
        for part in &self.parts {
            let factor = part.file.obs_column(column)?;
            let factor = factor
                .to_factor(&Missing::Error)
                .map_err(|e| at(part.file.path(), format!("obs['{column}']: {e}")))?;
            let before = names.len() as u32;
            codes.extend(factor.codes.iter().map(|c| c + before));
            names.extend(factor.names.iter().map(|n| match self.parts.len() {
                1 => n.clone(),
                _ => format!("{}/{n}", stem(part)),
            }));
        }
        Ok(Categories::new(codes, names)?)
    }

    /// Whether every file has this column of `obs`.
    pub(crate) fn has(&self, column: &str) -> bool {
        let in_part = |p: &Part| p.file.obs().columns().iter().any(|c| c == column);
        self.parts.iter().all(in_part)
    }

    /// A column of `obs`, its values shared by all files; a cell without a value has no name's code.
    pub(crate) fn values(&self, column: &str) -> Result<(Vec<u32>, Vec<String>)> {
        let mut each = Vec::with_capacity(self.parts.len());
        let mut names = std::collections::BTreeSet::new();
        for part in &self.parts {
            let factor = part.file.obs_column(column)?;
            let factor = factor
                .to_factor(&Missing::Level(UNKNOWN.into()))
                .map_err(|e| at(part.file.path(), format!("obs['{column}']: {e}")))?;
            let known = factor.names.iter().filter(|n| *n != UNKNOWN);
            names.extend(known.cloned());
            each.push(factor);
        }
        let names: Vec<String> = names.into_iter().collect();
        let mut codes = Vec::with_capacity(self.cells());
        for factor in each {
            let place = |n: &String| names.binary_search(n).map_or(u32::MAX, |k| k as u32);
            let new: Vec<u32> = factor.names.iter().map(place).collect();
            codes.extend(factor.codes.iter().map(|&c| new[c as usize]));
        }
        Ok((codes, names))
    }

    /// Batch codes and names: of `column`, or one batch a file.
    pub(crate) fn batches(&self, column: Option<&str>) -> Result<(Vec<u32>, Vec<String>)> {
        if let Some(column) = column.filter(|c| *c != NO_BATCH) {
            let factor = self.factor(column)?;
            return Ok((factor.codes().to_vec(), factor.names().to_vec()));
        }
        if self.parts.len() == 1 || column == Some(NO_BATCH) {
            return Ok((vec![0; self.cells()], vec!["all".into()]));
        }
        let cells = self.parts.iter().zip(0u32..);
        let codes = cells.flat_map(|(p, k)| std::iter::repeat_n(k, p.file.n_obs()));
        Ok((codes.collect(), self.parts.iter().map(stem).collect()))
    }
}

fn stem(part: &Part) -> String {
    let path = part.file.path();
    path.file_stem()
        .map_or_else(|| part.name(), |s| s.to_string_lossy().into_owned())
}

type Joined = (Arc<dyn Counts>, Vec<String>);

fn join(parts: &[Part], mut readers: Vec<Arc<dyn Counts>>) -> Result<Joined> {
    if let ([part], [_]) = (parts, &readers[..]) {
        return Ok((readers.remove(0), part.genes.clone()));
    }
    let files = parts.iter().zip(readers);
    let files = files.map(|(p, r)| (p.name(), p.genes.clone(), r)).collect();
    let all = Collection::new(files)?;
    let genes = all.gene_names().to_vec();
    Ok((Arc::new(all), genes))
}
