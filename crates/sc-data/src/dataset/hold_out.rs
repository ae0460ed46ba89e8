//! Cells held out from training, so that a model can be evaluated on them.

use super::{Dataset, NO_COLUMN};
use crate::categories::Categories;
use crate::error::{ColumnUse, DataError, Result};
use crate::identity::barcode_key;
use crate::sampling::split::{
    Cells, DrawnBy, SavedSplit, Split, SplitCodes, SplitConfig, SplitMethod, split_by_donor,
};

/// How cells are held out of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct HoldOut {
    /// Column of `obs` with the donors; [`NO_COLUMN`] holds out cells at random.
    pub donor: String,
    /// Column with the cell type, so that no type is held out completely.
    pub label: Option<String>,
    /// Column with the sequencing batch, within which donors are drawn.
    pub batch: Option<String>,
    /// Share of the donors held out.
    pub test_fraction: f64,
    /// Seed of the split.
    pub seed: u64,
}

/// Training cells, and those of other donors on which choices are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validation {
    /// Rows to train on.
    pub train: Vec<usize>,
    /// Rows to choose on.
    pub validation: Vec<usize>,
    /// Names of the donors of the latter; `None` where cells were drawn at random.
    pub donors: Option<Vec<String>>,
}

/// Identity of the cells of a data set in a split.
enum Apart {
    Donors(Categories),
    Barcodes(Vec<u64>),
}

impl Apart {
    fn of(dataset: &Dataset, donor: &str) -> Result<Self> {
        if donor != NO_COLUMN {
            return Ok(Self::Donors(column(dataset, donor, ColumnUse::Donor)?));
        }
        let names = dataset.cell_names()?;
        Ok(Self::Barcodes(
            names.iter().map(|n| barcode_key(n)).collect(),
        ))
    }

    fn cells(&self) -> Cells<'_> {
        match self {
            Self::Donors(donors) => Cells::Donors {
                codes: donors.codes(),
                names: donors.names(),
            },
            Self::Barcodes(keys) => Cells::Barcodes(keys),
        }
    }
}

impl Dataset {
    /// The rows on each side of a saved split.
    ///
    /// # Errors
    /// [`DataError`] when the data set lacks its column, or none of what it holds out.
    pub fn split(&self, saved: &SavedSplit) -> Result<Split> {
        saved.apply(Apart::of(self, &saved.donor)?.cells())
    }

    /// Refuses a column of donors that is the one of labels.
    ///
    /// # Errors
    /// [`DataError::Column`] for the donors.
    pub fn donors_other_than_labels(&self, donor: &str, label: &str) -> Result<()> {
        if donor == NO_COLUMN || donor != label {
            return Ok(());
        }
        let what = format!(
            "is the label and the donor at once, so every held-out cell would have a label that no \
             training cell has; name the column of the donors, or '{NO_COLUMN}' to hold out cells at random"
        );
        Err(self.wrong_column(donor, ColumnUse::Donor, what))
    }

    /// Holds out validation cells among the training cells at `rows`: whole donors where there are two or
    /// more, else cells at random.
    ///
    /// # Errors
    /// [`DataError::NoColumn`]; [`DataError::Column`] for donors that are the labels; those of
    /// [`split_by_donor`].
    pub fn draw_validation(&self, rows: &[usize], how: &HoldOut) -> Result<Validation> {
        if let Some(label) = &how.label {
            self.donors_other_than_labels(&how.donor, label)?;
        }
        let apart = Apart::of(self, &how.donor)?;
        let own = |codes: &[u32]| rows.iter().map(|&r| codes[r]).collect::<Vec<u32>>();
        let labels = match &how.label {
            Some(label) => own(self.shared_categories(label)?.codes()),
            None => Vec::new(),
        };
        let each: Vec<u32> = (0..rows.len() as u32).collect();
        let donors = match &apart {
            Apart::Donors(donors) => Some((own(donors.codes()), donors.names())),
            Apart::Barcodes(_) => None,
        };
        let donors = donors.filter(|(codes, _)| codes.iter().any(|c| *c != codes[0]));
        let keys: Vec<u64> = match (&donors, &apart) {
            (None, Apart::Barcodes(keys)) => rows.iter().map(|&r| keys[r]).collect(),
            (None, Apart::Donors(_)) => {
                let names = self.cell_names()?;
                rows.iter().map(|&r| barcode_key(&names[r])).collect()
            }
            (Some(_), _) => Vec::new(),
        };
        let codes = SplitCodes {
            donors: donors.as_ref().map_or(&each, |(codes, _)| codes),
            batches: &[],
            labels: &labels,
            keys: &keys,
        };
        let config = SplitConfig {
            method: match donors {
                Some(_) => SplitMethod::Donors,
                None => SplitMethod::StratifiedRandom,
            },
            test_fraction: how.test_fraction,
            seed: how.seed,
        };
        let split = split_by_donor(codes, &config)
            .map_err(|e| DataError::file(self.path(), format!("validation: {e}")))?;
        let at = |places: &[usize]| places.iter().map(|&p| rows[p]).collect();
        let name = |names: &[String]| {
            let held = split.test_donors.iter();
            held.map(|&d| names[d as usize].clone()).collect()
        };
        Ok(Validation {
            train: at(&split.train),
            validation: at(&split.test),
            donors: donors.map(|(_, names)| name(names)),
        })
    }

    /// Draws a split.
    ///
    /// # Errors
    /// [`DataError::NoColumn`]; [`DataError::Column`] for donors that are the labels or one alone; those of
    /// [`split_by_donor`].
    pub fn draw_split(&self, how: &HoldOut) -> Result<SavedSplit> {
        if let Some(label) = &how.label {
            self.donors_other_than_labels(&how.donor, label)?;
        }
        let apart = Apart::of(self, &how.donor)?;
        if let Apart::Donors(donors) = &apart
            && donors.names().len() < 2
        {
            let only = donors.names().first().map_or("nothing", String::as_str);
            return Err(self.wrong_column(
                &how.donor,
                ColumnUse::Donor,
                format!(
                    "holds a single donor ('{only}'), so none can be held out; choose another column, or \
                     '{NO_COLUMN}' to hold out cells at random, or train on all cells"
                ),
            ));
        }
        let codes = |name: &Option<String>, used_as: ColumnUse| match name {
            Some(name) => Ok(column(self, name, used_as)?.codes().to_vec()),
            None => Ok::<_, DataError>(Vec::new()),
        };
        let labels = codes(&how.label, ColumnUse::Label)?;
        let batches = codes(&how.batch, ColumnUse::Batch)?;
        let each: Vec<u32> = (0..self.cells() as u32).collect();
        let (donors, keys, method) = match &apart {
            Apart::Donors(donors) => (donors.codes(), &[][..], SplitMethod::Donors),
            // Every label stays on both sides when cells are drawn at random.
            Apart::Barcodes(keys) => (&each[..], &keys[..], SplitMethod::StratifiedRandom),
        };
        let config = SplitConfig {
            method,
            test_fraction: how.test_fraction,
            seed: how.seed,
        };
        let codes = SplitCodes {
            donors,
            batches: &batches,
            labels: &labels,
            keys,
        };
        let split = split_by_donor(codes, &config)
            .map_err(|e| DataError::file(self.path(), e.to_string()))?;
        let by = DrawnBy {
            donor: &how.donor,
            label: how.label.as_deref(),
            batch: how.batch.as_deref(),
        };
        Ok(SavedSplit::new(&split, apart.cells(), by, &config))
    }
}

/// A column of `obs` in which every cell must have a value, its names sorted.
fn column(dataset: &Dataset, name: &str, used_as: ColumnUse) -> Result<Categories> {
    let wrong = |what: String| dataset.wrong_column(name, used_as, what);
    // As an evaluation reads it, so that both draw the same.
    if dataset.parts().len() == 1 {
        return Ok(dataset.categories(name)?.sorted());
    }
    let values = dataset.shared_categories(name)?;
    if let Some(row) = values.first_missing() {
        return Err(wrong(format!(
            "has no value for cell {row} (over all files), so it cannot be assigned to a side of the \
             split; choose another column, or '{NO_COLUMN}'"
        )));
    }
    Ok(values.sorted())
}
