//! Checks of an `.h5ad`: its contents, and what would go wrong later.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Serialize;

use crate::error::{DataError, Result};
use crate::genes::{IdKind, Organism, guess, symbols};
use crate::io::h5ad::{H5ad, Layout, MatrixSlot};
use crate::io::store::{
    CellStore, CountsPolicy, Looks, SAMPLE_ROWS, ValueKind, find_counts, sample,
};
use columns::Groups;

mod columns;
mod coverage;
mod transformation;
mod values;
mod verdict;

pub use columns::{LevelsReport, MANY_LABELS, check_labels, is_no_label};
pub use coverage::{Coverage, coverage};
pub use values::ValuesReport;

/// The report on one file.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file.
    pub path: String,
    /// Size on disk in bytes.
    pub bytes: u64,
    /// Number of cells.
    pub cells: usize,
    /// Number of genes of the counts, or of `X` without counts.
    pub genes: usize,
    /// Every matrix of the file.
    pub matrices: Vec<MatrixReport>,
    /// Where the raw counts are, if anywhere.
    pub counts_slot: Option<MatrixSlot>,
    /// Sums over the counts, or over the first matrix without counts.
    pub values: Option<ValuesReport>,
    /// Kind of the gene names.
    pub gene_ids: IdKind,
    /// Organism of the genes, as far as it can be inferred.
    pub organism: Organism,
    /// Duplicate gene names (at most 20).
    pub duplicate_genes: Vec<String>,
    /// Columns of `obs` that could be batches.
    pub batch_columns: Vec<LevelsReport>,
    /// Columns of `obs` that could be donors.
    pub donor_columns: Vec<LevelsReport>,
    /// Columns of `obs` that could be cell types.
    pub label_columns: Vec<LevelsReport>,
    /// Columns of `obs` named as labels that hold something else, and what.
    pub odd_columns: Vec<String>,
    /// Names of the embeddings: `X_…` with more than two dimensions.
    pub embeddings: Vec<String>,
    /// Names of the rest of `obsm`: two-dimensional layouts, coordinates, scores.
    pub other_obsm: Vec<String>,
    /// Number of features by type that are not genes and are left out.
    pub left_out: BTreeMap<String, usize>,
    /// Where none of the standard matrices holds counts: others that hold integers.
    pub counts_in: Vec<MatrixSlot>,
    /// Where no matrix holds counts: those that hold log-normalised values.
    pub logged_in: Vec<MatrixSlot>,
    /// Bytes the counts take in memory as CSR.
    pub memory_bytes: u64,
    /// Bytes a row-packed store of the counts would take, roughly.
    pub store_bytes: u64,
    /// Warnings, most severe first; each says what to do.
    pub warnings: Vec<String>,
    /// What is missing for an evaluation, but not for training.
    pub lacks: Vec<String>,
    /// Problems that prevent training and evaluation.
    pub problems: Vec<String>,
}

/// One matrix.
#[derive(Clone, Debug, Serialize)]
pub struct MatrixReport {
    /// Which matrix.
    pub slot: MatrixSlot,
    /// How it is stored.
    pub layout: Layout,
    /// Number of cells.
    pub rows: usize,
    /// Number of genes.
    pub cols: usize,
    /// What a sample of it holds.
    pub kind: ValueKind,
    /// Largest value.
    pub largest: f32,
    /// Transformation of the counts, where the cells' sums reveal it.
    pub transformation: Option<String>,
}

/// Reads a file once from end to end, in bounded memory (a CSC matrix excepted), and reports on it.
///
/// # Errors
/// As [`H5ad::open`]; a matrix that cannot be read is reported as a problem instead.
pub fn examine(path: &Path) -> Result<Report> {
    let file = H5ad::open(path)?;
    let mut problems = Vec::new();
    let (mut counts_in, mut logged_in) = (Vec::new(), Vec::new());
    let counts_slot = match find_counts(&file, &CountsPolicy::RequireCounts) {
        Ok(found) => Some(found.slot),
        Err(e) => {
            problems.push(e.to_string());
            if let DataError::NoCounts {
                counts_in: integers,
                logged_in: logged,
                ..
            } = e
            {
                (counts_in, logged_in) = (integers, logged);
            }
            None
        }
    };
    let slots = file.slots();
    let read = counts_slot.clone().or_else(|| slots.first().cloned());
    let mut matrices = Vec::new();
    let mut values = None;
    for slot in slots {
        match matrix_report(&file, &slot, read.as_ref() == Some(&slot)) {
            Ok((report, sums)) => {
                matrices.push(report);
                values = values.or(sums);
            }
            // The counts are reported already.
            Err(e) if problems.contains(&e.to_string()) => {}
            Err(e) => problems.push(e.to_string()),
        }
    }
    let cells = file.n_obs();
    let (memory_bytes, store_bytes) = values.as_ref().map_or((0, 0), |v| {
        // As CSR; plus a byte for the gene, half a byte or more for the count, and the table.
        let (stored, cells) = (v.stored, cells as u64);
        (8 * stored + 8 * cells, stored * 7 / 4 + 21 * cells)
    });
    let slot = read.unwrap_or(MatrixSlot::X);
    let names = file.gene_names(&slot)?;
    let (gene_ids, organism) = guess(&names);
    let groups = Groups::of(&file);
    let is_embedding =
        |key: &&String| key.starts_with("X_") && file.obsm_dims(key).is_some_and(|d| d > 2);
    let (embeddings, other_obsm) = file.obsm_keys().iter().partition(is_embedding);
    let [embeddings, other_obsm]: [Vec<&String>; 2] = [embeddings, other_obsm];
    let mut report = Report {
        path: path.display().to_string(),
        bytes: file.source().size(),
        cells,
        genes: names.len(),
        matrices,
        counts_slot,
        values,
        gene_ids,
        organism,
        duplicate_genes: duplicates(&names),
        batch_columns: groups.batches,
        donor_columns: groups.donors,
        label_columns: groups.labels,
        odd_columns: groups.odd,
        embeddings: embeddings.into_iter().cloned().collect(),
        other_obsm: other_obsm.into_iter().cloned().collect(),
        left_out: file
            .kept(&slot)
            .map(|k| k.left_out.clone())
            .unwrap_or_default(),
        counts_in,
        logged_in,
        memory_bytes,
        store_bytes,
        warnings: Vec::new(),
        lacks: Vec::new(),
        problems,
    };
    verdict::add(&mut report);
    Ok(report)
}

/// Samples a matrix and reads it from end to end; with its sums where it `is_main`.
fn matrix_report(
    file: &H5ad,
    slot: &MatrixSlot,
    is_main: bool,
) -> Result<(MatrixReport, Option<ValuesReport>)> {
    let store = CellStore::of(file, slot.clone())?;
    let sampled = sample(&store, SAMPLE_ROWS)?;
    let Looks { kind, .. } = Looks::at(&sampled);
    let sums = match is_main {
        true => Some(values::read(&store, &symbols(file, slot)?)?),
        false => None,
    };
    let largest = match &sums {
        Some(sums) => sums.largest,
        None => values::largest(&store)?,
    };
    let report = MatrixReport {
        transformation: transformation::guess(&sampled, kind),
        slot: slot.clone(),
        layout: store.info().layout,
        rows: store.rows(),
        cols: store.cols(),
        kind,
        largest,
    };
    Ok((report, sums))
}

fn duplicates(names: &[String]) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut twice: Vec<String> = names
        .iter()
        .filter(|n| !seen.insert(n.as_str()))
        .cloned()
        .collect();
    twice.sort_unstable();
    twice.dedup();
    twice.truncate(20);
    twice
}
