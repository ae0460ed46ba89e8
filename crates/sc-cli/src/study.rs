//! A data set opened for an evaluation: counts, genes, labels, batches, donors and a split.

use crate::args::Input;
use crate::cells::cell_keys;
use crate::error::{Result, at, message};
use crate::exposure::tells;
use crate::source::{NO_BATCH, NO_DONOR, Source};
use sc_data::doctor::{MANY_LABELS, is_no_label};
use sc_data::hvg::{Flavor, HvgConfig, HvgInput, highly_variable_genes};
use sc_data::identity::CellKeys;
use sc_data::split::{
    Cells, SavedSplit, Split, SplitCodes, SplitConfig, SplitMethod, by_name, split_by_donor,
};
use sc_data::{CsrMatrix, LogNormalized};
use sc_eval::categories::Categories;
use sc_eval::halves::MIN_DONORS;
use sc_eval::protocol::Dataset;
use sc_eval::results::DataCard;
use std::collections::BTreeMap;
use std::path::Path;

/// Cells on which variable genes are chosen, at most.
const HVG_CELLS: usize = 20_000;

/// At most so many of `rows`, evenly, from batches that keep two cells.
pub(crate) fn sample(rows: &[usize], batches: &[u32]) -> Vec<usize> {
    let step = rows.len().div_ceil(HVG_CELLS).max(1);
    let mut per_batch: BTreeMap<u32, usize> = BTreeMap::new();
    for &r in rows.iter().step_by(step) {
        *per_batch.entry(batches[r]).or_default() += 1;
    }
    let kept = rows.iter().step_by(step).copied();
    kept.filter(|&r| per_batch[&batches[r]] >= 2).collect()
}

/// The `n` most variable genes of `values`, whose cells are `rows` of the file.
///
/// Seurat's dispersion on log-normalised values within every batch: it needs no fit that can fail
/// on small batches.
pub(crate) fn most_variable(
    values: &LogNormalized,
    rows: &[usize],
    batches: &[u32],
    n: usize,
) -> Result<Vec<usize>> {
    let genes = values.matrix().cols();
    if n >= genes || rows.len() < 2 {
        return Ok((0..n.min(genes)).collect());
    }
    let codes: Vec<u32> = rows.iter().map(|&r| batches[r]).collect();
    let config = HvgConfig {
        flavor: Flavor::Seurat,
        n_top: n,
        ..Default::default()
    };
    let table = highly_variable_genes(HvgInput::LogNormalized(values), Some(&codes), &config)?;
    Ok(table.selected_genes())
}

/// Columns and split of an evaluation.
#[derive(Clone, Debug)]
pub(crate) struct Design {
    pub(crate) label: String,
    pub(crate) batch: String,
    pub(crate) donor: String,
    pub(crate) test_fraction: f64,
    pub(crate) test_donors: Option<Vec<String>>,
    /// A split that was saved; it goes before the others.
    pub(crate) saved: Option<SavedSplit>,
    pub(crate) seed: u64,
}

/// A data set ready to be judged on.
pub(crate) struct Study {
    pub(crate) source: Source,
    pub(crate) dataset: Dataset,
    /// What tells the cells apart.
    pub(crate) keys: CellKeys,
    /// Log-normalised values of all cells and genes.
    pub(crate) values: LogNormalized,
    pub(crate) card: DataCard,
}

impl Study {
    pub(crate) fn open(input: &Input, design: &Design) -> Result<Self> {
        let source = Source::open(&input.file, &input.from)?;
        let labels = several_labels(source.labels(&design.label)?, &input.file, &design.label)?;
        let batches = if design.batch == NO_BATCH {
            Categories::new(vec![0; source.cells()], vec!["all".into()])?
        } else {
            let batches = source.factor(&design.batch)?;
            let batches = several_batches(batches, &input.file, &design.batch)?;
            other_than_labels(&batches, &labels, &input.file, design)?;
            batches
        };
        let donors = donors(&source, &design.donor, &input.file)?;
        let keys = cell_keys(&source)?;
        let split = match &design.saved {
            Some(saved) => apply(saved, &donors, &keys)?,
            None => split(design, [&labels, &batches, &donors], &keys)?,
        };
        let all: Vec<usize> = (0..source.cells()).collect();
        let matrix = source.counts.read(&all)?;
        let card = card(
            &source,
            &input.file,
            design,
            [&labels, &batches, &donors],
            &split,
            &matrix,
        )?;
        let values = source.log_normalized(matrix)?;
        let Split { train, test, .. } = split;
        let dataset = Dataset {
            labels,
            batches,
            donors: (design.donor != NO_DONOR).then_some(donors),
            keys: Some(keys.draw_keys().to_vec()),
            train,
            test,
        };
        Ok(Self {
            source,
            dataset,
            keys,
            values,
            card,
        })
    }
}

/// Refuses one label: every score of it would be perfect.
fn several_labels(labels: Categories, path: &Path, column: &str) -> Result<Categories> {
    if labels.distinct() > 1 {
        return Ok(labels);
    }
    if labels.is_empty() {
        return Err(at(path, "has no cells, so there is nothing to evaluate"));
    }
    let only = labels.names().first().map_or("nothing", String::as_str);
    Err(at(
        path,
        format!(
            "obs['{column}'] holds one label ('{only}'), so there is nothing to tell apart; name a column \
             with at least two cell types (--label)"
        ),
    ))
}

/// Cells that donors have on average, if the column is one of donors.
const FEWEST_CELLS: usize = 2;

/// The donors of the cells; every cell is one where none are known.
fn donors(source: &Source, column: &str, path: &Path) -> Result<Categories> {
    if column == NO_DONOR {
        let cells = 0..source.cells();
        let names = cells.clone().map(|c| format!("cell {c}")).collect();
        return Ok(Categories::new(cells.map(|c| c as u32).collect(), names)?);
    }
    let donors = source.factor(column)?;
    if donors.distinct() * FEWEST_CELLS > source.cells() {
        return Err(at(
            path,
            format!(
                "obs['{column}'] holds {} values for {} cells, so it names cells rather than donors; name \
                 another column, or '{NO_DONOR}' to hold out cells at random, which makes scores too good \
                 and intervals too narrow",
                donors.distinct(),
                source.cells()
            ),
        ));
    }
    if donors.distinct() > 1 {
        return Ok(donors);
    }
    let only = donors.names().first().map_or("nothing", String::as_str);
    Err(at(
        path,
        format!(
            "obs['{column}'] holds one donor ('{only}'), so none can be held out; name another column, \
             or '{NO_DONOR}' to hold out cells at random, which makes scores too good and intervals too \
             narrow"
        ),
    ))
}

/// Refuses one batch under a name: half of the metrics would be undefined without a word.
fn several_batches(batches: Categories, path: &Path, column: &str) -> Result<Categories> {
    if batches.distinct() > 1 {
        return Ok(batches);
    }
    let only = batches.names().first().map_or("nothing", String::as_str);
    Err(at(
        path,
        format!(
            "obs['{column}'] holds one batch ('{only}'), so mixing of batches cannot be judged; name \
             another column, or '{NO_BATCH}' to judge cell types only"
        ),
    ))
}

/// Refuses batches that tell the label: their mixing is that of the labels, and a model that is given
/// a cell's batch is given its label.
fn other_than_labels(
    batches: &Categories,
    labels: &Categories,
    path: &Path,
    design: &Design,
) -> Result<()> {
    let pairs = batches.codes().iter().zip(labels.codes());
    if !tells(pairs.map(|(b, l)| (*b, *l))) {
        return Ok(());
    }
    Err(at(
        path,
        format!(
            "every batch of obs['{}'] holds cells of one label of obs['{}'], so mixing of batches cannot be \
             told from mixing of labels; name another column (--batch), or '{NO_BATCH}' to judge cell \
             types only",
            design.batch, design.label
        ),
    ))
}

/// The rows on either side of a saved split.
fn apply(saved: &SavedSplit, donors: &Categories, keys: &CellKeys) -> Result<Split> {
    let cells = match saved.is_by_cell() {
        true => Cells::Barcodes(&keys.barcode),
        false => Cells::Donors {
            codes: donors.codes(),
            names: donors.names(),
        },
    };
    Ok(saved.apply(cells)?)
}

fn split(
    design: &Design,
    [labels, batches, donors]: [&Categories; 3],
    keys: &CellKeys,
) -> Result<Split> {
    // The draw must not depend on the order in which the file lists its categories.
    let sorted = |c: &Categories| by_name(c.codes(), c.names());
    let (codes, names) = match design.donor == NO_DONOR {
        true => (donors.codes().to_vec(), Vec::new()),
        false => sorted(donors),
    };
    let method = match &design.test_donors {
        // Whole labels must not go missing when every cell is drawn by itself.
        None if design.donor == NO_DONOR => SplitMethod::StratifiedRandom,
        None => SplitMethod::Donors,
        Some(names) => {
            let code = |name: &String| {
                let at = names.iter().position(|n| n == name);
                at.map(|c| c as u32).ok_or_else(|| {
                    message(format!(
                        "split.test_donors: there is no donor '{name}' in obs['{}']",
                        design.donor
                    ))
                })
            };
            SplitMethod::TestDonors(names.iter().map(code).collect::<Result<_>>()?)
        }
    };
    let (labels, batches) = (sorted(labels).0, sorted(batches).0);
    let codes = SplitCodes {
        donors: &codes,
        batches: &batches,
        labels: &labels,
        keys: &keys.barcode,
    };
    let config = SplitConfig {
        method,
        test_fraction: design.test_fraction,
        seed: design.seed,
    };
    let mut split = split_by_donor(codes, &config)?;
    for side in [&mut split.train_donors, &mut split.test_donors] {
        for code in side.iter_mut().filter(|_| !names.is_empty()) {
            let name = &names[*code as usize];
            let at = donors.names().iter().position(|n| n == name);
            *code = at.expect("invariant: names were only sorted") as u32;
        }
        side.sort_unstable();
    }
    Ok(split)
}

fn card(
    source: &Source,
    path: &Path,
    design: &Design,
    [labels, batches, donors]: [&Categories; 3],
    split: &Split,
    matrix: &CsrMatrix,
) -> Result<DataCard> {
    let count = |c: &Categories| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        c.codes()
            .iter()
            .for_each(|&k| *counts.entry(c.names()[k as usize].clone()).or_default() += 1);
        counts
    };
    let names = |codes: &[u32]| -> Vec<String> {
        if design.donor == NO_DONOR {
            return Vec::new();
        }
        codes
            .iter()
            .map(|&c| donors.names()[c as usize].clone())
            .collect()
    };
    let totals = matrix.row_sums();
    let mut warnings = Vec::new();
    if design.donor == NO_DONOR {
        warnings.push(
            "no donors are known: cells were held out at random within every label, so scores are too good, \
             and cells count as independent, so intervals are too narrow"
                .into(),
        );
    }
    warnings.extend(source.assumption().map(str::to_owned));
    let scored = split.test_donors.len();
    if design.donor != NO_DONOR && scored < MIN_DONORS {
        warnings.push(format!(
            "{scored} of {} donors are held out; intervals, and the words better and worse, need \
             {MIN_DONORS}",
            scored + split.train_donors.len()
        ));
    }
    let empty = totals.iter().filter(|&&t| t == 0.0).count();
    if empty > 0 {
        warnings.push(format!("{empty} cells have no counts"));
    }
    for (label, cells) in count(labels).iter().filter(|(l, _)| is_no_label(l)) {
        warnings.push(format!(
            "{cells} cells are labelled '{label}', which was scored as a cell type; drop them first"
        ));
    }
    for (donor, cells) in count(donors).iter().filter(|(d, _)| is_no_label(d)) {
        if design.donor != NO_DONOR {
            warnings.push(format!(
                "{cells} cells are of donor '{donor}', which counted as one donor; drop them first"
            ));
        }
    }
    if labels.distinct() > MANY_LABELS {
        warnings.push(format!(
            "obs['{}'] holds {} values; are these cell types?",
            design.label,
            labels.distinct()
        ));
    }
    let held: std::collections::BTreeSet<u32> =
        split.train.iter().map(|&r| labels.codes()[r]).collect();
    let unseen = split
        .test
        .iter()
        .filter(|&&r| !held.contains(&labels.codes()[r]))
        .count();
    if unseen > 0 {
        warnings.push(format!(
            "{unseen} held-out cells have a label that no training donor has; no probe can get them right"
        ));
    }
    let cells = source.cells();
    Ok(DataCard {
        file: path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default(),
        hash: sc_data::atomic::hash_file(path)?,
        cells,
        genes: source.genes.len(),
        counts: source.slot().to_string(),
        density: matrix.nnz() as f64 / (cells * source.genes.len()).max(1) as f64,
        median_counts: sc_data::qc::median(totals),
        label_column: design.label.clone(),
        batch_column: design.batch.clone(),
        donor_column: design.donor.clone(),
        labels: count(labels),
        batches: count(batches),
        test_donors: names(&split.test_donors),
        train_donors: names(&split.train_donors),
        test_cells: split.test.len(),
        warnings,
    })
}
