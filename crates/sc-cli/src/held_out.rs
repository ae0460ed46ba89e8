//! Cells that are kept out of training, so that the model can be evaluated on them.

use crate::args::{BATCH, DONOR, HoldOut, LABEL, TEST_FRACTION};
use crate::error::{Result, at};
use crate::source::{NO_BATCH, NO_DONOR, Source};
use crate::study::{Design, Study};
use sc_data::identity::barcode_key;
use sc_data::split::{
    Cells, DrawnBy, SavedSplit, Split, SplitCodes, SplitConfig, SplitMethod, by_name,
    split_by_donor,
};

/// The label column of data whose labels do not steer the split.
const NO_LABEL: &str = "none";

/// What tells the cells of a file apart in a split.
enum Apart {
    Donors(Vec<u32>, Vec<String>),
    Barcodes(Vec<u64>),
}

impl Apart {
    fn of(source: &Source, donor: &str) -> Result<Self> {
        if donor != NO_DONOR {
            let (codes, names) = column(source, donor, "--donor COLUMN, or --donor none")?;
            return Ok(Self::Donors(codes, names));
        }
        let mut keys = Vec::with_capacity(source.cells());
        for part in &source.parts {
            keys.extend(part.file.obs_names()?.iter().map(|n| barcode_key(n)));
        }
        Ok(Self::Barcodes(keys))
    }

    fn cells(&self) -> Cells<'_> {
        match self {
            Self::Donors(codes, names) => Cells::Donors { codes, names },
            Self::Barcodes(keys) => Cells::Barcodes(keys),
        }
    }
}

/// The split that `pretrain` was asked for, and the rows on either side; none where all cells are
/// trained on. `batch` is the column of sequencing batches, where one was named.
pub(crate) fn held_out(
    source: &Source,
    how: &HoldOut,
    batch: Option<&str>,
    seed: u64,
) -> Result<Option<(SavedSplit, Split)>> {
    let saved = match &how.split {
        Some(path) => SavedSplit::load(path)?,
        None if how.hold_out => draw(source, how, batch, seed)?,
        None => return Ok(None),
    };
    // A drawn split is applied as a saved one is: what the file says is what was done.
    let apart = Apart::of(source, &saved.donor)?;
    let place = how.split.as_deref().unwrap_or(source.file().path());
    let split = saved.apply(apart.cells()).map_err(|e| at(place, e))?;
    Ok(Some((saved, split)))
}

fn draw(source: &Source, how: &HoldOut, batch: Option<&str>, seed: u64) -> Result<SavedSplit> {
    let donor = how.donor.as_deref().unwrap_or(DONOR);
    let label = how.label.as_deref().unwrap_or(LABEL);
    let label = Some(label).filter(|l| *l != NO_LABEL);
    let batch = Some(batch.unwrap_or(BATCH)).filter(|b| *b != NO_BATCH);
    let apart = Apart::of(source, donor)?;
    let codes = |column_name: Option<&str>, way_out: &str| match column_name {
        Some(name) => Ok(column(source, name, way_out)?.0),
        None => Ok::<_, crate::error::Error>(Vec::new()),
    };
    if let Apart::Donors(_, names) = &apart
        && names.len() < 2
    {
        let only = names.first().map_or("nothing", String::as_str);
        return Err(at(
            source.file().path(),
            format!(
                "obs['{donor}'] holds one donor ('{only}'), so none can be held out; name another column \
                 (--donor), hold out cells at random (--donor {NO_DONOR}), or train without --hold-out"
            ),
        ));
    }
    let labels = codes(label, "--label COLUMN, or --label none")?;
    let batches = codes(batch, "--batch COLUMN, or --batch none")?;
    let each: Vec<u32> = (0..source.cells() as u32).collect();
    let (donors, method) = match &apart {
        Apart::Donors(codes, _) => (codes, SplitMethod::Donors),
        // Whole labels must not go missing when every cell is drawn by itself.
        Apart::Barcodes(_) => (&each, SplitMethod::StratifiedRandom),
    };
    let config = SplitConfig {
        method,
        test_fraction: how.test_fraction.unwrap_or(TEST_FRACTION),
        seed,
    };
    let codes = SplitCodes {
        donors,
        batches: &batches,
        labels: &labels,
        keys: match &apart {
            Apart::Barcodes(keys) => keys,
            Apart::Donors(..) => &[],
        },
    };
    let split = split_by_donor(codes, &config).map_err(|e| at(source.file().path(), e))?;
    let by = DrawnBy {
        donor,
        label,
        batch,
    };
    Ok(SavedSplit::new(&split, apart.cells(), by, &config))
}

/// A column of `obs` that every cell must have a value in.
fn column(source: &Source, name: &str, way_out: &str) -> Result<(Vec<u32>, Vec<String>)> {
    if !source.has(name) {
        return Err(at(
            source.file().path(),
            format!("there is no obs['{name}'] to hold cells out by; name another: {way_out}"),
        ));
    }
    // As an evaluation reads it, so that both draw the same.
    if source.parts.len() == 1 {
        let factor = source.factor(name)?;
        return Ok(by_name(factor.codes(), factor.names()));
    }
    let (codes, names) = source.values(name)?;
    if let Some(row) = codes.iter().position(|&c| c as usize >= names.len()) {
        return Err(at(
            source.file().path(),
            format!(
                "obs['{name}'] has no value for cell {row} of all files together, so it cannot be said \
                 on which side of the split it is; name another: {way_out}"
            ),
        ));
    }
    Ok(by_name(&codes, &names))
}

/// The split of an experiment as a saved one.
pub(crate) fn of_study(study: &Study, design: &Design) -> SavedSplit {
    let data = &study.dataset;
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
        None => Cells::Barcodes(&study.keys.barcode),
        Some(donors) => Cells::Donors {
            codes: donors.codes(),
            names: donors.names(),
        },
    };
    let by = DrawnBy {
        donor: &design.donor,
        label: Some(&design.label),
        batch: Some(design.batch.as_str()).filter(|b| *b != NO_BATCH),
    };
    SavedSplit::new(&split, cells, by, &config)
}
