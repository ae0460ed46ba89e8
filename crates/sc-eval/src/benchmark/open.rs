//! A data set opened for an evaluation: labels, batches, donors and a split.

use super::{EvalData, Result};
use crate::categories::Categories;
use crate::exposure::one_label_each;
use crate::halves::MIN_DONORS;
use crate::protocol::Annotations;
use crate::results::DataCard;
use sc_data::CsrMatrix;
use sc_data::dataset::{Dataset, HoldOut, NO_COLUMN};
use sc_data::doctor::{MANY_LABELS, is_no_label};
use sc_data::error::{ColumnUse, DataError};
use sc_data::identity::CellKeys;
use sc_data::sampling::split::{
    Cells, DrawnBy, SavedSplit, Split, SplitCodes, SplitConfig, SplitMethod, split_by_donor,
};
use std::collections::BTreeSet;

/// Columns and split of an evaluation.
#[derive(Clone, Debug)]
pub struct Design {
    /// Column of `obs` with the cell type.
    pub label: String,
    /// Column with the sequencing batch; [`NO_COLUMN`] to evaluate cell types only.
    pub batch: String,
    /// Column with the donor; [`NO_COLUMN`] to hold out cells at random.
    pub donor: String,
    /// Share of the donors held out.
    pub test_fraction: f64,
    /// Donors to hold out, by name, instead of a share.
    pub test_donors: Option<Vec<String>>,
    /// A saved split; takes precedence over the others.
    pub saved: Option<SavedSplit>,
    /// Seed of the split.
    pub seed: u64,
}

impl Default for Design {
    fn default() -> Self {
        Self {
            label: "cell_type".into(),
            batch: "batch".into(),
            donor: "donor_id".into(),
            test_fraction: 0.35,
            test_donors: None,
            saved: None,
            seed: 0,
        }
    }
}

impl Design {
    /// The same split, for training that holds cells out.
    pub fn hold_out(&self) -> HoldOut {
        HoldOut {
            donor: self.donor.clone(),
            label: Some(self.label.clone()),
            batch: Some(self.batch.clone()).filter(|b| b != NO_COLUMN),
            test_fraction: self.test_fraction,
            seed: self.seed,
        }
    }
}

impl EvalData {
    /// Reads the counts and columns of `dataset` and splits its cells.
    ///
    /// # Errors
    /// [`DataError::Column`] for a single label, a single batch, a single donor, one donor per
    /// cell, and batches confounded with labels; [`DataError`] for what cannot be read.
    pub fn open(dataset: &Dataset, design: &Design) -> Result<Self> {
        let labels = several_labels(dataset, &design.label)?;
        let batches = if design.batch == NO_COLUMN {
            Categories::one(dataset.cells(), "all")
        } else {
            let batches = several_batches(dataset, &design.batch)?;
            other_than_labels(&batches, &labels, dataset, design)?;
            batches
        };
        let donors = donors(dataset, &design.donor)?;
        let keys = dataset.cell_keys()?;
        let split = match &design.saved {
            Some(saved) => apply(saved, &donors, &keys)?,
            None => split(design, [&labels, &batches, &donors], &keys)?,
        };
        let all: Vec<usize> = (0..dataset.cells()).collect();
        let matrix = dataset.counts().read(&all)?;
        let card = card(
            dataset,
            design,
            [&labels, &batches, &donors],
            &split,
            &matrix,
        )?;
        let values = dataset.log_normalized(matrix)?;
        let Split { train, test, .. } = split;
        let annotations = Annotations {
            labels,
            batches,
            donors: (design.donor != NO_COLUMN).then_some(donors),
            keys: Some(keys.draw_keys().to_vec()),
            train,
            test,
        };
        Ok(Self {
            annotations,
            keys,
            values,
            card,
        })
    }

    /// The split in its saved form.
    pub fn saved_split(&self, design: &Design) -> SavedSplit {
        let data = &self.annotations;
        let codes = |rows: &[usize]| {
            let codes = data.donors.as_ref().map(|d| d.codes());
            let mut found: Vec<u32> = rows.iter().filter_map(|&r| Some(codes?[r])).collect();
            found.sort_unstable();
            found.dedup();
            found
        };
        let split = Split {
            train: data.train.clone(),
            test: data.test.clone(),
            train_donors: codes(&data.train),
            test_donors: codes(&data.test),
        };
        let config = SplitConfig {
            method: match (&design.test_donors, &data.donors) {
                (Some(_), _) => SplitMethod::TestDonors(split.test_donors.clone()),
                (None, None) => SplitMethod::StratifiedRandom,
                (None, Some(_)) => SplitMethod::Donors,
            },
            test_fraction: design.test_fraction,
            seed: design.seed,
        };
        let cells = match &data.donors {
            None => Cells::Barcodes(&self.keys.barcode),
            Some(donors) => Cells::Donors {
                codes: donors.codes(),
                names: donors.names(),
            },
        };
        let by = DrawnBy {
            donor: &design.donor,
            label: Some(&design.label),
            batch: Some(design.batch.as_str()).filter(|b| *b != NO_COLUMN),
        };
        SavedSplit::new(&split, cells, by, &config)
    }
}

/// Refuses a single label: every score of it would be perfect.
fn several_labels(dataset: &Dataset, column: &str) -> Result<Categories> {
    let labels = dataset.labels(column)?;
    if labels.distinct() > 1 {
        return Ok(labels);
    }
    if labels.is_empty() {
        let what = "has no cells, so there is nothing to evaluate";
        return Err(DataError::file(dataset.path(), what).into());
    }
    let only = labels.names().first().map_or("nothing", String::as_str);
    let what = format!(
        "holds one label ('{only}'), so there is nothing to separate; choose a column with at least two \
         cell types"
    );
    Err(dataset.wrong_column(column, ColumnUse::Label, what).into())
}

/// Mean number of cells per donor, if the column holds donors.
pub const MIN_CELLS_PER_DONOR: usize = 2;

/// The donors of the cells; every cell is its own where donors are unknown.
fn donors(dataset: &Dataset, column: &str) -> Result<Categories> {
    let cells = dataset.cells();
    if column == NO_COLUMN {
        let names = (0..cells).map(|c| format!("cell {c}")).collect();
        return Ok(Categories::new((0..cells as u32).collect(), names)?);
    }
    let refuse = |what: String| {
        let random = format!(
            "'{NO_COLUMN}' to hold out cells at random, which inflates scores and makes intervals too \
             narrow"
        );
        let what = format!("{what}; choose another column, or {random}");
        Err(dataset.wrong_column(column, ColumnUse::Donor, what).into())
    };
    let donors = dataset.categories(column)?;
    let found = donors.distinct();
    if found * MIN_CELLS_PER_DONOR > cells {
        return refuse(format!(
            "holds {found} values for {cells} cells, so it identifies cells, not donors"
        ));
    }
    if found > 1 {
        return Ok(donors);
    }
    let only = donors.names().first().map_or("nothing", String::as_str);
    refuse(format!(
        "holds a single donor ('{only}'), so none can be held out"
    ))
}

/// Refuses a single batch: half of the metrics would be undefined.
fn several_batches(dataset: &Dataset, column: &str) -> Result<Categories> {
    let batches = dataset.categories(column)?;
    if batches.distinct() > 1 {
        return Ok(batches);
    }
    let only = batches.names().first().map_or("nothing", String::as_str);
    let what = format!(
        "holds a single batch ('{only}'), so batch mixing cannot be evaluated; choose another column, or \
         '{NO_COLUMN}' to evaluate cell types only"
    );
    Err(dataset.wrong_column(column, ColumnUse::Batch, what).into())
}

/// Refuses batches confounded with labels: mixing batches would be mixing labels, and a model
/// conditioned on a cell's batch would be given its label.
fn other_than_labels(
    batches: &Categories,
    labels: &Categories,
    dataset: &Dataset,
    design: &Design,
) -> Result<()> {
    let pairs = batches.codes().iter().zip(labels.codes());
    if !one_label_each(pairs.map(|(b, l)| (*b, *l))) {
        return Ok(());
    }
    let what = format!(
        "holds batches with one label of obs['{}'] each, so mixing of batches is confounded with mixing of \
         labels; choose another column, or '{NO_COLUMN}' to evaluate cell types only",
        design.label
    );
    Err(dataset
        .wrong_column(&design.batch, ColumnUse::Batch, what)
        .into())
}

/// The rows on each side of a saved split.
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
    // The split must not depend on the order in which the file lists its categories.
    let sorted = match design.donor == NO_COLUMN {
        true => donors.clone(),
        false => donors.sorted(),
    };
    let names = sorted.names();
    let method = match &design.test_donors {
        // Every label stays on both sides when cells are drawn at random.
        None if design.donor == NO_COLUMN => SplitMethod::StratifiedRandom,
        None => SplitMethod::Donors,
        Some(wanted) => {
            let code = |name: &String| {
                let at = names.iter().position(|n| n == name);
                at.map(|c| c as u32).ok_or_else(|| {
                    DataError::invalid(format!(
                        "split.test_donors: donor '{name}' is not in obs['{}']",
                        design.donor
                    ))
                })
            };
            SplitMethod::TestDonors(wanted.iter().map(code).collect::<Result<_, _>>()?)
        }
    };
    let (labels, batches) = (labels.sorted(), batches.sorted());
    let codes = SplitCodes {
        donors: sorted.codes(),
        batches: batches.codes(),
        labels: labels.codes(),
        keys: &keys.barcode,
    };
    let config = SplitConfig {
        method,
        test_fraction: design.test_fraction,
        seed: design.seed,
    };
    let mut split = split_by_donor(codes, &config)?;
    for side in [&mut split.train_donors, &mut split.test_donors] {
        // Where every cell is its own donor, the donors were not sorted.
        for code in side.iter_mut().filter(|_| design.donor != NO_COLUMN) {
            let name = &names[*code as usize];
            let at = donors.names().iter().position(|n| n == name);
            *code = at.expect("invariant: names were only sorted") as u32;
        }
        side.sort_unstable();
    }
    Ok(split)
}

fn card(
    dataset: &Dataset,
    design: &Design,
    [labels, batches, donors]: [&Categories; 3],
    split: &Split,
    matrix: &CsrMatrix,
) -> Result<DataCard> {
    let names = |codes: &[u32]| -> Vec<String> {
        if design.donor == NO_COLUMN {
            return Vec::new();
        }
        codes
            .iter()
            .map(|&c| donors.names()[c as usize].clone())
            .collect()
    };
    let totals = matrix.row_sums();
    let mut warnings = Vec::new();
    if design.donor == NO_COLUMN {
        warnings.push(
            "donors are unknown: cells were held out at random within every label, so scores are inflated, \
             and cells are treated as independent, so intervals are too narrow"
                .into(),
        );
    }
    warnings.extend(dataset.assumption().map(str::to_owned));
    let scored = split.test_donors.len();
    if design.donor != NO_COLUMN && scored < MIN_DONORS {
        warnings.push(format!(
            "{scored} of {} donors are held out; intervals and the verdicts better and worse need \
             {MIN_DONORS}",
            scored + split.train_donors.len()
        ));
    }
    let empty = totals.iter().filter(|&&t| t == 0.0).count();
    if empty > 0 {
        warnings.push(format!("{empty} cells have no counts"));
    }
    for (label, cells) in labels.counts().iter().filter(|(l, _)| is_no_label(l)) {
        warnings.push(format!(
            "{cells} cells are labelled '{label}', which was scored as a cell type; consider dropping them"
        ));
    }
    for (donor, cells) in donors.counts().iter().filter(|(d, _)| is_no_label(d)) {
        if design.donor != NO_COLUMN {
            warnings.push(format!(
                "{cells} cells have donor '{donor}', which was treated as one donor; consider dropping them"
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
    let held: BTreeSet<u32> = split.train.iter().map(|&r| labels.codes()[r]).collect();
    let unseen = split
        .test
        .iter()
        .filter(|&&r| !held.contains(&labels.codes()[r]))
        .count();
    if unseen > 0 {
        warnings.push(format!(
            "{unseen} held-out cells have a label that no training donor has; no probe can predict it"
        ));
    }
    let cells = dataset.cells();
    Ok(DataCard {
        file: dataset
            .path()
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default(),
        hash: dataset.hash()?,
        cells,
        genes: dataset.genes().len(),
        counts: dataset.slot().to_string(),
        density: matrix.nnz() as f64 / (cells * dataset.genes().len()).max(1) as f64,
        median_counts: sc_data::preprocess::quantile::median(totals).unwrap_or_default(),
        label_column: design.label.clone(),
        batch_column: design.batch.clone(),
        donor_column: design.donor.clone(),
        labels: labels.counts(),
        batches: batches.counts(),
        test_donors: names(&split.test_donors),
        train_donors: names(&split.train_donors),
        test_cells: split.test.len(),
        warnings,
    })
}
