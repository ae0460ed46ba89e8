//! Splits into training and test cells that keep donors separate.
//!
//! Cells of one donor resemble each other beyond their type; a test set that shares donors with the
//! training set measures memorisation, not generalisation. Donor codes are used as given: a donor
//! is the pair of its code and, where batches are given, its batch, since studies reuse names such
//! as "1".

mod saved;

pub use saved::{Cells, Drawn, DrawnBy, SavedSplit};

use std::collections::BTreeMap;

use rand::seq::SliceRandom as _;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::rng;

/// How cells are held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SplitMethod {
    /// Whole donors, about `test_fraction` of the cells of every batch with at least two donors; such
    /// a batch keeps at least one donor on each side.
    Donors,
    /// These donors, by code.
    TestDonors(Vec<u32>),
    /// Every cell of this batch, by code.
    LeaveOneBatchOut(u32),
    /// Cells at random within every label, whatever their donor. Overestimates generalisation;
    /// for comparison with published splits.
    StratifiedRandom,
}

/// Settings of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitConfig {
    /// How cells are held out.
    pub method: SplitMethod,
    /// Share of the cells to hold out, above 0 and below 1.
    pub test_fraction: f64,
    /// Seed of the split.
    pub seed: u64,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self {
            method: SplitMethod::Donors,
            test_fraction: 0.25,
            seed: 0,
        }
    }
}

/// Codes of every cell; all of the same length.
#[derive(Clone, Copy, Debug)]
pub struct SplitCodes<'a> {
    /// Donor of every cell.
    pub donors: &'a [u32],
    /// Batch (study) of every cell; empty where there is only one.
    pub batches: &'a [u32],
    /// Label of every cell; empty where there is none.
    pub labels: &'a [u32],
    /// Identity of the cells wherever they are in a file; the order in which single cells are
    /// drawn. Empty means the order of the rows.
    pub keys: &'a [u64],
}

/// Rows of both sides, ascending, and the donor codes on each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Training rows.
    pub train: Vec<usize>,
    /// Held-out rows.
    pub test: Vec<usize>,
    /// Donor codes in `train`, ascending.
    pub train_donors: Vec<u32>,
    /// Donor codes in `test`, ascending.
    pub test_donors: Vec<u32>,
}

/// Splits cells, by donor unless the method says otherwise.
///
/// With [`SplitMethod::Donors`] labels steer the draw: of 64 seeded candidates the one is chosen
/// that leaves the fewest labels without test or without training cells, then the one closest to
/// `test_fraction`.
///
/// # Errors
/// [`DataError::Invalid`] when codes differ in length, the fraction is not between 0 and 1, there is
/// only one donor, or a side would be empty.
pub fn split_by_donor(codes: SplitCodes<'_>, config: &SplitConfig) -> Result<Split> {
    let n = codes.donors.len();
    for (name, length) in [
        ("batch", codes.batches.len()),
        ("label", codes.labels.len()),
        ("key", codes.keys.len()),
    ] {
        if length != 0 && length != n {
            return Err(DataError::invalid(format!(
                "split: {length} {name} codes for {n} cells"
            )));
        }
    }
    if !(config.test_fraction > 0.0 && config.test_fraction < 1.0) {
        return Err(DataError::invalid(format!(
            "split: test_fraction = {}, but it must be between 0 and 1",
            config.test_fraction
        )));
    }
    let is_test = match &config.method {
        SplitMethod::Donors => donors(codes, config)?,
        SplitMethod::TestDonors(wanted) => {
            if let Some(absent) = wanted.iter().find(|d| !codes.donors.contains(d)) {
                return Err(DataError::invalid(format!(
                    "split: test donor {absent} has no cells"
                )));
            }
            codes.donors.iter().map(|d| wanted.contains(d)).collect()
        }
        SplitMethod::LeaveOneBatchOut(batch) => {
            if !codes.batches.contains(batch) {
                return Err(DataError::invalid(format!(
                    "split: batch {batch} has no cells"
                )));
            }
            codes.batches.iter().map(|b| b == batch).collect()
        }
        SplitMethod::StratifiedRandom => random(codes, config),
    };
    let split = sides(codes.donors, &is_test);
    if split.train.is_empty() || split.test.is_empty() {
        return Err(DataError::invalid(format!(
            "split: {} of {n} cells would be held out, which leaves one side empty",
            split.test.len()
        )));
    }
    Ok(split)
}

fn sides(donors: &[u32], is_test: &[bool]) -> Split {
    let mut split = Split::default();
    for (row, (&donor, &test)) in donors.iter().zip(is_test).enumerate() {
        let (rows, names) = if test {
            (&mut split.test, &mut split.test_donors)
        } else {
            (&mut split.train, &mut split.train_donors)
        };
        rows.push(row);
        names.push(donor);
    }
    for names in [&mut split.train_donors, &mut split.test_donors] {
        names.sort_unstable();
        names.dedup();
    }
    split
}

/// Cells of one donor, and the batch that holds most of them.
struct Donor {
    code: u32,
    cells: usize,
    batch: u32,
}

fn donors(codes: SplitCodes<'_>, config: &SplitConfig) -> Result<Vec<bool>> {
    let mut counts: BTreeMap<u32, BTreeMap<u32, usize>> = BTreeMap::new();
    for (row, &donor) in codes.donors.iter().enumerate() {
        let batch = codes.batches.get(row).copied().unwrap_or(0);
        *counts.entry(donor).or_default().entry(batch).or_default() += 1;
    }
    if counts.len() < 2 {
        return Err(DataError::invalid(format!(
            "split: there is {} donor, but a split needs at least two; choose another donor \
             column, or split at random within labels (stratified-random), which overestimates the \
             result",
            counts.len()
        )));
    }
    let mut batches: BTreeMap<u32, Vec<Donor>> = BTreeMap::new();
    for (code, per_batch) in counts {
        let cells = per_batch.values().sum();
        // A donor in several batches is assigned to the one with most of its cells.
        let most = per_batch
            .iter()
            .max_by_key(|(b, n)| (**n, std::cmp::Reverse(**b)));
        let batch = most.map_or(0, |(b, _)| *b);
        batches
            .entry(batch)
            .or_default()
            .push(Donor { code, cells, batch });
    }
    if batches.values().all(|d| d.len() < 2) {
        // No batch can be on both sides: donors are drawn over all batches.
        let all: Vec<Donor> = std::mem::take(&mut batches)
            .into_values()
            .flatten()
            .collect();
        batches.insert(0, all);
    }
    let mut best: Option<((usize, u64), Vec<bool>)> = None;
    for attempt in 0..64 {
        let mut test: Vec<u32> = Vec::new();
        for group in batches.values().filter(|g| g.len() >= 2) {
            test.extend(draw(group, config, attempt));
        }
        test.sort_unstable();
        let is_test: Vec<bool> = codes
            .donors
            .iter()
            .map(|d| test.binary_search(d).is_ok())
            .collect();
        let score = (
            unbalanced_labels(codes.labels, &is_test),
            distance(&is_test, config),
        );
        if best.as_ref().is_none_or(|(s, _)| score < *s) {
            best = Some((score, is_test));
        }
    }
    Ok(best.map(|b| b.1).unwrap_or_default())
}

/// Donors of one batch whose cells come closest to the requested share; at least one, never all.
fn draw(group: &[Donor], config: &SplitConfig, attempt: u64) -> Vec<u32> {
    let batch = group.first().map_or(0, |d| u64::from(d.batch));
    let mut order: Vec<&Donor> = group.iter().collect();
    order.shuffle(&mut rng::stream(config.seed, "split", batch, attempt));
    let total: usize = group.iter().map(|d| d.cells).sum();
    let wanted = config.test_fraction * total as f64;
    let mut taken = Vec::new();
    let mut cells = 0.0;
    for donor in order {
        let with = cells + donor.cells as f64;
        let nearer = (with - wanted).abs() <= (cells - wanted).abs();
        if taken.len() + 1 < group.len() && (taken.is_empty() || nearer) {
            taken.push(donor.code);
            cells = with;
        }
    }
    taken
}

/// Labels with at least two cells that are missing on one of the sides.
fn unbalanced_labels(labels: &[u32], is_test: &[bool]) -> usize {
    let mut sides: BTreeMap<u32, [usize; 2]> = BTreeMap::new();
    for (&label, &test) in labels.iter().zip(is_test) {
        sides.entry(label).or_default()[usize::from(test)] += 1;
    }
    sides
        .values()
        .filter(|s| s[0] + s[1] >= 2 && (s[0] == 0 || s[1] == 0))
        .count()
}

/// Difference of the held-out share from the requested one, in millionths.
fn distance(is_test: &[bool], config: &SplitConfig) -> u64 {
    let share = is_test.iter().filter(|t| **t).count() as f64 / is_test.len().max(1) as f64;
    ((share - config.test_fraction).abs() * 1e6).round() as u64
}

fn random(codes: SplitCodes<'_>, config: &SplitConfig) -> Vec<bool> {
    let mut strata: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for row in 0..codes.donors.len() {
        strata
            .entry(codes.labels.get(row).copied().unwrap_or(0))
            .or_default()
            .push(row);
    }
    let mut is_test = vec![false; codes.donors.len()];
    for (label, mut rows) in strata {
        if !codes.keys.is_empty() {
            rows.sort_by_key(|&row| (codes.keys[row], row));
        }
        rows.shuffle(&mut rng::stream(config.seed, "split", u64::from(label), 0));
        let held = (rows.len() as f64 * config.test_fraction).round() as usize;
        // A label of one cell can only be on the training side.
        let held = if rows.len() >= 2 {
            held.clamp(1, rows.len() - 1)
        } else {
            0
        };
        for &row in &rows[..held] {
            is_test[row] = true;
        }
    }
    is_test
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_donor_is_refused_with_a_way_out() {
        let codes = SplitCodes {
            donors: &[3, 3, 3],
            batches: &[],
            labels: &[],
            keys: &[],
        };
        let error = split_by_donor(codes, &SplitConfig::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("there is 1 donor") && error.contains("stratified-random"),
            "{error}"
        );
    }

    #[test]
    fn every_batch_with_two_donors_is_on_both_sides() {
        let donors: Vec<u32> = (0..120).map(|i| i / 20).collect();
        let batches: Vec<u32> = donors.iter().map(|d| d / 2).collect();
        let codes = SplitCodes {
            donors: &donors,
            batches: &batches,
            labels: &[],
            keys: &[],
        };
        let split = split_by_donor(codes, &SplitConfig::default()).unwrap();
        for batch in 0..3 {
            assert!(split.train.iter().any(|&r| batches[r] == batch));
            assert!(split.test.iter().any(|&r| batches[r] == batch));
        }
    }

    #[test]
    fn named_donors_and_a_left_out_batch() {
        let codes = SplitCodes {
            donors: &[0, 1, 2, 0],
            batches: &[0, 0, 1, 0],
            labels: &[0, 0, 1, 1],
            keys: &[],
        };
        let with = |method| SplitConfig {
            method,
            ..SplitConfig::default()
        };
        let split = split_by_donor(codes, &with(SplitMethod::TestDonors(vec![0]))).unwrap();
        assert_eq!((split.test, split.train_donors), (vec![0, 3], vec![1, 2]));
        let split = split_by_donor(codes, &with(SplitMethod::LeaveOneBatchOut(1))).unwrap();
        assert_eq!(split.test, vec![2]);
        assert!(split_by_donor(codes, &with(SplitMethod::TestDonors(vec![9]))).is_err());
    }

    #[test]
    fn single_cells_are_drawn_by_their_keys_whatever_their_rows() {
        let keys: Vec<u64> = (0..40).map(|k| k * 7919 % 101).collect();
        let labels: Vec<u32> = (0..40).map(|k| k % 3).collect();
        let each: Vec<u32> = (0..40).collect();
        let config = SplitConfig {
            method: SplitMethod::StratifiedRandom,
            ..SplitConfig::default()
        };
        let held = |order: &[usize]| {
            let (keys, labels): (Vec<u64>, Vec<u32>) =
                order.iter().map(|&r| (keys[r], labels[r])).unzip();
            let codes = SplitCodes {
                donors: &each,
                batches: &[],
                labels: &labels,
                keys: &keys,
            };
            let split = split_by_donor(codes, &config).unwrap();
            let mut held: Vec<u64> = split.test.iter().map(|&r| keys[r]).collect();
            held.sort_unstable();
            held
        };
        let (forth, back): (Vec<usize>, Vec<usize>) = ((0..40).collect(), (0..40).rev().collect());
        assert_eq!(held(&forth), held(&back));
    }

    proptest! {
        #[test]
        fn donors_are_never_shared(
            donors in prop::collection::vec(0u32..7, 2..200),
            fraction in 0.05f64..0.95,
            seed in any::<u64>(),
        ) {
            let batches: Vec<u32> = donors.iter().map(|d| d % 3).collect();
            let labels: Vec<u32> = (0..donors.len() as u32).map(|i| i % 4).collect();
            let codes = SplitCodes { donors: &donors, batches: &batches, labels: &labels, keys: &[] };
            let config = SplitConfig { test_fraction: fraction, seed, ..SplitConfig::default() };
            if let Ok(split) = split_by_donor(codes, &config) {
                prop_assert!(split.train_donors.iter().all(|d| !split.test_donors.contains(d)));
                prop_assert_eq!(split.train.len() + split.test.len(), donors.len());
                prop_assert!(!split.train.is_empty() && !split.test.is_empty());
                prop_assert_eq!(&split, &split_by_donor(codes, &config).unwrap());
            } else {
                prop_assert!(donors.iter().all(|d| *d == donors[0]));
            }
        }
    }
}
