//! What an `.h5ad` holds, and what would go wrong with it later.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;

use crate::counts::is_count;
use crate::error::Result;
use crate::genes::{IdKind, Organism, guess};
use crate::h5ad::{Column, H5ad, Layout, MatrixSlot, Missing};
use crate::store::{CellStore, CountsPolicy, ValueKind, find_counts, sample, value_kind};

mod coverage;
mod transformation;

pub use coverage::{Coverage, coverage};

/// Bytes of values held while a file is read through.
const CHUNK_BYTES: usize = 32 << 20;

/// The state of one file.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file.
    pub path: String,
    /// Size on disk in bytes.
    pub bytes: u64,
    /// Number of cells.
    pub cells: usize,
    /// Number of genes of `X`.
    pub genes: usize,
    /// Every matrix of the file.
    pub matrices: Vec<MatrixReport>,
    /// Where the raw counts are, if anywhere.
    pub counts_slot: Option<MatrixSlot>,
    /// Sums over the counts, or over the first matrix where there are none.
    pub values: Option<ValuesReport>,
    /// What the genes are called.
    pub gene_ids: IdKind,
    /// Whose genes they seem to be.
    pub organism: Organism,
    /// Gene names that come more than once (at most 20).
    pub duplicate_genes: Vec<String>,
    /// Columns of `obs` that could be batches.
    pub batch_columns: Vec<LevelsReport>,
    /// Columns of `obs` that could be donors.
    pub donor_columns: Vec<LevelsReport>,
    /// Columns of `obs` that could be cell types.
    pub label_columns: Vec<LevelsReport>,
    /// Names of the embeddings.
    pub embeddings: Vec<String>,
    /// Bytes the counts take in memory as CSR.
    pub memory_bytes: u64,
    /// Bytes a row-packed store of the counts would take, roughly.
    pub store_bytes: u64,
    /// Sum of every gene.
    #[serde(skip)]
    pub gene_totals: Vec<f64>,
    /// Things to know, worst first; each says what to do.
    pub warnings: Vec<String>,
    /// Things that stop training and evaluation.
    pub problems: Vec<String>,
}

/// One matrix.
#[derive(Clone, Debug, Serialize)]
pub struct MatrixReport {
    /// Which.
    pub slot: MatrixSlot,
    /// How it is stored.
    pub layout: Layout,
    /// Number of cells.
    pub rows: usize,
    /// Number of genes.
    pub cols: usize,
    /// What a sample of it holds.
    pub kind: ValueKind,
    /// Largest value of the sample.
    pub largest: f32,
    /// What was done to the counts, where the cells' sums give it away.
    pub transformation: Option<String>,
}

/// Sums over one matrix, read once from end to end.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ValuesReport {
    /// Share of non-zero values.
    pub density: f64,
    /// Median sum of a cell.
    pub median_counts: f64,
    /// Median number of genes of a cell.
    pub median_genes: f64,
    /// Cells without any value.
    pub empty_cells: usize,
    /// Genes without any value.
    pub empty_genes: usize,
    /// Values that are NaN or infinite.
    pub not_finite: u64,
    /// Values below 0.
    pub negative: u64,
    /// Values that are no counts.
    pub not_counts: u64,
}

/// A column of `obs` that names groups.
#[derive(Clone, Debug, Serialize)]
pub struct LevelsReport {
    /// Its name.
    pub column: String,
    /// Number of groups.
    pub levels: usize,
    /// Cells of the smallest group.
    pub smallest: usize,
    /// Cells without a value.
    pub missing: usize,
}

/// Reads a file through once, in bounded memory (a CSC matrix excepted), and reports.
///
/// # Errors
/// As [`H5ad::open`]; a matrix that cannot be read is reported as a problem instead.
pub fn examine(path: &Path) -> Result<Report> {
    let file = H5ad::open(path)?;
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let mut matrices = Vec::new();
    for slot in file.slots() {
        match matrix_report(&file, &slot) {
            Ok(report) => matrices.push(report),
            Err(e) => problems.push(e.to_string()),
        }
    }
    let found = find_counts(&file, &CountsPolicy::RequireCounts);
    let counts_slot = match found {
        Ok(found) => Some(found.slot),
        Err(e) => {
            problems.push(e.to_string());
            None
        }
    };
    let read = counts_slot
        .clone()
        .or_else(|| matrices.first().map(|m| m.slot.clone()));
    let (mut values, mut memory_bytes, mut store_bytes) = (None, 0, 0);
    let mut gene_totals = Vec::new();
    if let Some(slot) = &read {
        let store = CellStore::of(&file, slot.clone())?;
        match values_report(&store, &mut gene_totals) {
            Ok((report, stored)) => {
                memory_bytes = 8 * stored + 8 * store.rows() as u64;
                // A byte for the gene, half a one or more for the count, and the table.
                store_bytes = stored * 7 / 4 + 21 * store.rows() as u64;
                values = Some(report);
            }
            Err(e) => problems.push(e.to_string()),
        }
    }
    let slot = read.unwrap_or(MatrixSlot::X);
    let names = file.gene_names(&slot)?;
    let (gene_ids, organism) = guess(&names);
    let duplicate_genes = duplicates(&names);
    let groups = Groups::of(&file);
    let report = Report {
        path: path.display().to_string(),
        bytes: file.source().size(),
        cells: file.n_obs(),
        genes: file.n_vars(),
        matrices,
        counts_slot,
        values,
        gene_ids,
        organism,
        duplicate_genes,
        batch_columns: groups.batches,
        donor_columns: groups.donors,
        label_columns: groups.labels,
        embeddings: file.obsm_keys().to_vec(),
        memory_bytes,
        store_bytes,
        gene_totals,
        warnings: Vec::new(),
        problems: Vec::new(),
    };
    judge(&report, &mut warnings, &mut problems);
    Ok(Report {
        warnings,
        problems,
        ..report
    })
}

fn matrix_report(file: &H5ad, slot: &MatrixSlot) -> Result<MatrixReport> {
    let store = CellStore::of(file, slot.clone())?;
    let sampled = sample(&store, 256)?;
    let (kind, largest, _) = value_kind(sampled.values().iter().copied());
    Ok(MatrixReport {
        transformation: transformation::guess(&sampled, kind),
        slot: slot.clone(),
        layout: store.info().layout,
        rows: store.rows(),
        cols: store.cols(),
        kind,
        largest,
    })
}

fn values_report(store: &CellStore, totals: &mut Vec<f64>) -> Result<(ValuesReport, u64)> {
    *totals = vec![0.0; store.cols()];
    let mut report = ValuesReport::default();
    let mut sums = Vec::with_capacity(store.rows());
    let mut genes = Vec::with_capacity(store.rows());
    let mut seen = vec![false; store.cols()];
    let mut stored = 0u64;
    for chunk in store.chunks(store.rows_for_bytes(CHUNK_BYTES)) {
        let (_, matrix) = chunk?;
        for (indices, values) in matrix.iter_rows() {
            sums.push(values.iter().map(|&v| f64::from(v)).sum::<f64>());
            genes.push(values.len() as f64);
            stored += values.len() as u64;
            report.empty_cells += usize::from(values.is_empty());
            for (&j, &v) in indices.iter().zip(values) {
                seen[j as usize] = true;
                totals[j as usize] += f64::from(v);
                report.not_finite += u64::from(!v.is_finite());
                report.negative += u64::from(v < 0.0);
                report.not_counts += u64::from(!is_count(v));
            }
        }
    }
    let all = (store.rows() as f64 * store.cols() as f64).max(1.0);
    report.density = stored as f64 / all;
    report.median_counts = median(sums);
    report.median_genes = median(genes);
    report.empty_genes = seen.iter().filter(|s| !**s).count();
    Ok((report, stored))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
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

/// Columns of `obs` sorted by what their names say.
#[derive(Default)]
struct Groups {
    batches: Vec<LevelsReport>,
    donors: Vec<LevelsReport>,
    labels: Vec<LevelsReport>,
}

impl Groups {
    fn of(file: &H5ad) -> Self {
        let donors = ["donor", "patient", "individual", "subject"];
        let batches = [
            "batch", "study", "dataset", "sample", "library", "assay", "platform", "tech",
        ];
        let labels = [
            "cell_type",
            "celltype",
            "annotation",
            "label",
            "louvain",
            "leiden",
            "cluster",
        ];
        let mut groups = Self::default();
        for column in file.obs().columns() {
            let name = column.to_lowercase();
            let says = |words: &[&str]| words.iter().any(|w| name.contains(w));
            let list = if name.contains("ontology") {
                continue;
            } else if says(&donors) {
                &mut groups.donors
            } else if says(&labels) {
                &mut groups.labels
            } else if says(&batches) {
                &mut groups.batches
            } else {
                continue;
            };
            if let Some(report) = file
                .obs_column(column)
                .ok()
                .and_then(|c| levels(column, &c))
            {
                list.push(report);
            }
        }
        groups
    }
}

/// Groups of a column; `None` for numbers and for columns where nearly every cell is its own group.
fn levels(name: &str, column: &Column) -> Option<LevelsReport> {
    if matches!(column, Column::Floats(_)) || column.is_empty() {
        return None;
    }
    let missing = (0..column.len())
        .filter(|&i| column.text(i).is_none())
        .count();
    let factor = column
        .to_factor(&Missing::Level("\u{10ffff}".into()))
        .ok()?;
    let mut sizes = vec![0usize; factor.names.len()];
    for &code in &factor.codes {
        sizes[code as usize] += 1;
    }
    if missing > 0 {
        sizes.pop();
    }
    let smallest = sizes.iter().copied().min()?;
    (sizes.len() * 2 <= column.len() || sizes.len() == 1).then(|| LevelsReport {
        column: name.to_owned(),
        levels: sizes.len(),
        smallest,
        missing,
    })
}

fn judge(report: &Report, warnings: &mut Vec<String>, problems: &mut Vec<String>) {
    if report.cells < 2 {
        problems.push(format!(
            "{} cell: nothing can be compared or split",
            report.cells
        ));
    }
    if let Some(values) = &report.values {
        let counted = report.counts_slot.is_some();
        if values.not_finite > 0 {
            problems.push(format!(
                "{} values are NaN or infinite: replace them before use",
                values.not_finite
            ));
        }
        if counted && values.not_counts > 0 {
            problems.push(format!(
                "{} values are no counts although a sample was ({} negative): the matrix is mixed",
                values.not_counts, values.negative
            ));
        }
        if values.empty_cells > 0 {
            warnings.push(format!(
                "{} cells have no counts: filter them (scanpy.pp.filter_cells)",
                values.empty_cells
            ));
        }
        if values.empty_genes * 2 > report.genes {
            warnings.push(format!("{} genes are seen in no cell", values.empty_genes));
        }
    }
    if !report.duplicate_genes.is_empty() {
        warnings.push(format!(
            "gene names come more than once ({}): their counts will be summed",
            report
                .duplicate_genes
                .iter()
                .take(5)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    match report.gene_ids {
        IdKind::Number => problems.push(
            "the genes are numbered, not named: set var_names to symbols or Ensembl ids".into(),
        ),
        IdKind::Peak => warnings.push("the features are genomic intervals, not genes".into()),
        _ => {}
    }
    if report.organism == Organism::HumanAndMouse {
        warnings.push("human and mouse genes side by side: split the file by organism".into());
    }
    if report.genes < 1000 {
        warnings.push(format!(
            "{} genes only: models trained on whole transcriptomes will see little",
            report.genes
        ));
    }
    if report.donor_columns.iter().all(|d| d.levels < 2) {
        warnings.push(
            "no obs column names two or more donors: held-out donors cannot be formed".into(),
        );
    }
    if report.label_columns.is_empty() {
        warnings.push("no obs column looks like cell types: name one to evaluate".into());
    }
    for column in report.batch_columns.iter().chain(&report.label_columns) {
        if column.missing > 0 {
            warnings.push(format!(
                "obs['{}'] misses {} values: those cells need a level of their own",
                column.column, column.missing
            ));
        }
    }
}
