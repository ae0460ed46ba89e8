//! Opened files: where their counts are, and whose cells they hold.

use crate::args::CountsFrom;
use crate::error::{Error, Result, at, message};
use sc_data::collection::Collection;
use sc_data::doctor::check_labels;
use sc_data::h5ad::{H5ad, MatrixSlot, Missing};
use sc_data::store::{CellStore, CountsPolicy, CountsReader, FoundCounts, ValueKind, find_counts};
use sc_data::{CsrMatrix, DataError, LogNormalized, RawCounts};
use sc_eval::categories::Categories;
use sc_train::corpus::{AssumedNormalized, Counts};
use std::collections::{BTreeMap, BTreeSet};
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
    assumption: Option<String>,
}

impl Source {
    pub(crate) fn open(file: &Path, from: &CountsFrom) -> Result<Self> {
        Self::open_all(std::slice::from_ref(&file.to_path_buf()), from)
    }

    pub(crate) fn open_all(files: &[PathBuf], from: &CountsFrom) -> Result<Self> {
        let policy = match (&from.counts, from.assume_normalized) {
            (Some(name), false) => CountsPolicy::Named(name.clone()),
            (Some(name), true) => CountsPolicy::NamedNormalized(name.clone()),
            (None, true) => CountsPolicy::AssumeNormalized,
            (None, false) => CountsPolicy::RequireCounts,
        };
        let mut parts = Vec::with_capacity(files.len());
        let mut kinds = Vec::with_capacity(files.len());
        let mut assumption = None;
        for (k, path) in files.iter().enumerate() {
            let place = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
            if files[..k].iter().any(|other| place(other) == place(path)) {
                return Err(at(path, "is given twice; its cells would count twice"));
            }
            let file = H5ad::open(path)?;
            let found = find_counts(&file, &policy).map_err(with_flags)?;
            let genes = file.gene_names(&found.slot)?;
            kinds.push(found.kind);
            assumption = assumption.or(assumed(&found));
            parts.push(Part {
                file,
                slot: found.slot,
                genes,
            });
        }
        if let Some(assumption) = &assumption {
            eprintln!("scfm: {}: {assumption}", parts[0].name());
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
            assumption,
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

    /// What was assumed of the values, where they are no counts.
    pub(crate) fn assumption(&self) -> Option<&str> {
        self.assumption.as_deref()
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

    /// A column of `obs` as categories; a missing value is an error. A value that several files have
    /// is told apart by the file.
    pub(crate) fn factor(&self, column: &str) -> Result<Categories> {
        let mut each = Vec::with_capacity(self.parts.len());
        let mut files_with: BTreeMap<String, usize> = BTreeMap::new();
        for part in &self.parts {
            let factor = part.file.obs_column(column)?;
            let factor = factor
                .to_factor(&Missing::Error)
                .map_err(|e| at(part.file.path(), format!("obs['{column}']: {e}")))?;
            for name in &factor.names {
                *files_with.entry(name.clone()).or_default() += 1;
            }
            each.push(factor);
        }
        let mut codes = Vec::with_capacity(self.cells());
        let mut names = Vec::new();
        for (factor, file) in each.iter().zip(self.file_names()) {
            let before = names.len() as u32;
            codes.extend(factor.codes.iter().map(|c| c + before));
            names.extend(factor.names.iter().map(|n| match files_with.get(n) {
                Some(1) => n.clone(),
                _ => format!("{file}/{n}"),
            }));
        }
        Ok(Categories::new(codes, names)?)
    }

    /// A column of `obs` as the labels of an evaluation, see [`Self::factor`].
    pub(crate) fn labels(&self, column: &str) -> Result<Categories> {
        for part in &self.parts {
            check_labels(&part.file.obs_column(column)?).map_err(|e| {
                let path = part.file.path();
                at(path, format!("obs['{column}'] {e}; name another column"))
            })?;
        }
        self.factor(column)
    }

    /// What every file is called: its stem, with as many folders before it as tell all apart.
    fn file_names(&self) -> Vec<String> {
        let all: Vec<Vec<String>> = self.parts.iter().map(|p| names_of(p.file.path())).collect();
        let longest = all.iter().map(Vec::len).max().unwrap_or(0);
        let named = |depth: usize| -> Vec<String> {
            let at = |names: &Vec<String>| names.get(depth).or(names.last()).cloned();
            all.iter().map(|n| at(n).unwrap_or_default()).collect()
        };
        let distinct = |names: &[String]| names.iter().collect::<BTreeSet<_>>().len();
        let found = (0..longest)
            .map(named)
            .find(|names| distinct(names) == names.len());
        // Files that differ in their ending only, or parts of one file.
        found.unwrap_or_else(|| {
            let numbered = named(0).into_iter().zip(1..);
            numbered.map(|(name, k)| format!("{name} ({k})")).collect()
        })
    }

    /// `names` of batches of this one file as a model calls them whose batches are `known`: it may
    /// have been trained on several files, of which this is one.
    pub(crate) fn names_in(
        &self,
        names: Vec<String>,
        column: Batch<'_>,
        known: &[String],
    ) -> Vec<String> {
        let [part] = &self.parts[..] else {
            return names;
        };
        let files = names_of(part.file.path());
        let is_known = |n: &String| known.contains(n);
        let by_file = |name: &str| match column {
            None => files.iter().find(|f| is_known(f)).cloned(),
            Some(_) => files.iter().map(|f| format!("{f}/{name}")).find(is_known),
        };
        let called = |name: String| match is_known(&name) {
            true => name,
            false => by_file(&name).unwrap_or(name),
        };
        names.into_iter().map(called).collect()
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
    pub(crate) fn batches(&self, column: Batch<'_>) -> Result<(Vec<u32>, Vec<String>)> {
        if let Some(column) = column.filter(|c| *c != NO_BATCH) {
            let factor = self.factor(column)?;
            return Ok((factor.codes().to_vec(), factor.names().to_vec()));
        }
        if self.parts.len() == 1 || column == Some(NO_BATCH) {
            return Ok((vec![0; self.cells()], vec!["all".into()]));
        }
        let cells = self.parts.iter().zip(0u32..);
        let codes = cells.flat_map(|(p, k)| std::iter::repeat_n(k, p.file.n_obs()));
        Ok((codes.collect(), self.file_names()))
    }
}

/// What is assumed of values that are no counts.
fn assumed(found: &FoundCounts) -> Option<String> {
    let slot = &found.slot;
    let better = match found.counts_in.first() {
        Some(counts) => format!("; {counts} holds integers, which --counts {counts} takes instead"),
        None => String::new(),
    };
    let shown = match found.shown {
        true => "",
        false => ", which neither sums nor multiples of its values show",
    };
    (found.kind != ValueKind::Counts).then(|| {
        format!(
            "{slot} holds no counts and was assumed to be ln(1 + scaled counts) (--assume-normalized){shown}; \
             values were turned back with exp(x) - 1{better}"
        )
    })
}

/// Adds the flags that name the way out.
pub(crate) fn with_flags(error: DataError) -> Error {
    let DataError::NoCounts {
        counts_in,
        logged_in,
        ..
    } = &error
    else {
        return error.into();
    };
    match (&counts_in[..], &logged_in[..]) {
        ([counts, ..], _) => message(format!("{error} (--counts {counts})")),
        ([], [logged, ..]) => message(format!(
            "{error}, or pass --assume-normalized if {logged} is ln(1 + scaled counts)"
        )),
        _ => error.into(),
    }
}

/// A column of `obs` with the sequencing batch, where one is named.
type Batch<'a> = Option<&'a str>;

/// What a file can be called: its stem, then that with the folder before it, and so on.
fn names_of(path: &Path) -> Vec<String> {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let mut name = whole
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut names = vec![name.clone()];
    for folder in whole.ancestors().skip(1).filter_map(Path::file_name) {
        name = format!("{}/{name}", folder.to_string_lossy());
        names.push(name.clone());
    }
    names
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

#[cfg(test)]
mod tests {
    use super::*;
    use sc_data::simulate::{SimConfig, simulate_to_file};

    fn simulated(folder: &Path, name: &str, seed: u64) -> PathBuf {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let config = SimConfig {
            cells: 20,
            genes: 30,
            donors: 2,
            batches: 2,
            seed,
            ..SimConfig::default()
        };
        simulate_to_file(&config, &path, |_| ()).unwrap();
        path
    }

    fn open(files: &[PathBuf]) -> Result<Source> {
        Source::open_all(files, &CountsFrom::default())
    }

    #[test]
    fn files_of_one_name_are_told_apart_and_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            simulated(folder.path(), "one/cells.h5ad", 1),
            simulated(folder.path(), "two/cells.h5ad", 2),
        ];
        let source = open(&files).unwrap();
        let (codes, names) = source.batches(None).unwrap();
        assert_eq!(names, ["one/cells", "two/cells"]);
        assert_eq!((codes[0], codes[39]), (0, 1));
        // Each file has batches of the same names, which are not the same batches.
        let (_, columns) = source.batches(Some("batch")).unwrap();
        assert_eq!(columns.len(), 4);
        assert!(columns[3].starts_with("two/cells/"), "{columns:?}");
        // One of the files alone has the batches that the model knows.
        let alone = open(&files[1..]).unwrap();
        let (_, own) = alone.batches(None).unwrap();
        assert_eq!(alone.names_in(own, None, &names), ["two/cells"]);
        let (_, own) = alone.batches(Some("batch")).unwrap();
        assert_eq!(alone.names_in(own, Some("batch"), &columns), columns[2..]);
        // Names that tell batches apart by themselves stay as they are.
        let other = ["x".to_owned()];
        assert_eq!(alone.names_in(other.to_vec(), Some("batch"), &names), other);
    }

    #[test]
    fn a_file_given_twice_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = simulated(folder.path(), "cells.h5ad", 1);
        let error = open(&[file.clone(), file]).err().unwrap().to_string();
        assert!(error.contains("is given twice"), "{error}");
    }
}
