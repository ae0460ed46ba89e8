//! Whether a method was trained on the scored cells.

use crate::results::{Exposure, Recognised};
use sc_data::identity::{BARCODES, CellKeys, Known};
use std::collections::{BTreeMap, BTreeSet};

/// Share of the scored cells whose barcodes must match training cells where no counts match, beyond
/// chance matches.
const NAMED: f64 = 0.5;

/// Share of cells whose barcode matches one of `cells` others by chance, as in two 10x runs.
fn by_chance(cells: usize) -> f64 {
    1.0 - (-(cells as f64) / BARCODES).exp()
}

/// Exposure to the cells at `rows` of a model with this record in its embedding.
pub fn exposure(known: &Known, keys: &CellKeys, rows: &[usize]) -> Exposure {
    let Some(on) = known.get() else {
        return Exposure::Unknown;
    };
    let seen = on.seen(keys, rows);
    let chance = by_chance(on.cells);
    let named = chance + NAMED * (1.0 - chance);
    let (cells, by) = if seen.by_content > 0 {
        (seen.either, Recognised::Counts)
    } else if seen.by_barcode as f64 >= named * seen.cells.max(1) as f64 {
        (seen.by_barcode, Recognised::Barcode)
    } else if on.unknown_start {
        return Exposure::Unknown;
    } else {
        return Exposure::Nothing;
    };
    match seen.labels.is_empty() {
        true => Exposure::Cells { cells, by },
        false => Exposure::Labels {
            cells,
            by,
            columns: seen.labels,
        },
    }
}

/// Share of the gap between the most frequent label and all labels right, above which batches
/// reveal labels.
const TELLING: f64 = 0.5;

/// Exposure to the labels at `rows` through the batches the model was conditioned on, where a
/// cell's label can be guessed from the other cells of its batch.
pub fn given_as_batches(
    column: &str,
    batches: &[u32],
    labels: &[u32],
    rows: &[usize],
) -> Option<Exposure> {
    (guessed(batches, labels, rows) >= TELLING).then(|| Exposure::Labels {
        cells: rows.len(),
        by: Recognised::Batch,
        columns: vec![column.to_string()],
    })
}

/// How well the labels at `rows` are predicted by the most frequent label among the other cells of
/// their batch: 1 for always right, 0 for no better than the most frequent label overall.
fn guessed(batches: &[u32], labels: &[u32], rows: &[usize]) -> f64 {
    let mut counts: BTreeMap<u32, BTreeMap<u32, usize>> = BTreeMap::new();
    let mut all: BTreeMap<u32, usize> = BTreeMap::new();
    for (&b, &l) in batches.iter().zip(labels) {
        *counts.entry(b).or_default().entry(l).or_default() += 1;
        *all.entry(l).or_default() += 1;
    }
    let guess = |row: usize| {
        let others = counts[&batches[row]].iter().map(|(&l, &n)| {
            let own = usize::from(l == labels[row]);
            (n - own, l)
        });
        others.filter(|o| o.0 > 0).max().map(|o| o.1)
    };
    let right = |r: &&usize| guess(**r) == Some(labels[**r]);
    let commonest = all.iter().max_by_key(|(_, n)| **n).map(|(l, _)| *l);
    let plain = |r: &&usize| commonest == Some(labels[**r]);
    let (right, chance) = (
        rows.iter().filter(right).count(),
        rows.iter().filter(plain).count(),
    );
    match rows.len() - chance {
        0 => 0.0,
        room => (right as f64 - chance as f64) / room as f64,
    }
}

/// Whether each batch of `(batch, label)` holds one label, and there are several labels.
pub(crate) fn one_label_each(cells: impl Iterator<Item = (u32, u32)>) -> bool {
    let pairs: BTreeSet<(u32, u32)> = cells.collect();
    let batches: BTreeSet<u32> = pairs.iter().map(|p| p.0).collect();
    let labels: BTreeSet<u32> = pairs.iter().map(|p| p.1).collect();
    pairs.len() == batches.len() && labels.len() > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use sc_data::identity::{TrainedOn, TrainingRecord};

    fn keys(content: &[u64], barcode: &[u64]) -> CellKeys {
        CellKeys {
            content: content.to_vec(),
            barcode: barcode.to_vec(),
        }
    }

    fn on(labels: &[&str], training: &CellKeys, file: &CellKeys) -> Known {
        let record = TrainingRecord {
            cells: training.content.len(),
            labels: labels.iter().map(|l| (*l).to_string()).collect(),
            keys_blake3: String::new(),
            split: None,
            parameters: 7,
            steps: 3,
            unknown_start: false,
        };
        Known::On(TrainedOn::new("mlp", &record, training, file))
    }

    #[test]
    fn scored_cells_are_recognised_by_counts_or_by_most_names() {
        let file = keys(&[1, 2, 3, 4], &[11, 12, 13, 14]);
        let training = keys(&[1, 2], &[11, 12]);
        let labelled = on(&["cell_type"], &training, &file);
        assert_eq!(exposure(&labelled, &file, &[2, 3]), Exposure::Nothing);
        let leak = Exposure::Labels {
            cells: 1,
            by: Recognised::Counts,
            columns: vec!["cell_type".into()],
        };
        assert_eq!(exposure(&labelled, &file, &[1, 2, 3]), leak);
        let plain = on(&[], &training, &file);
        let cells = Exposure::Cells {
            cells: 2,
            by: Recognised::Counts,
        };
        assert_eq!(exposure(&plain, &file, &[0, 1]), cells);
        // Genes were filtered afterwards: only names are left, and one of three is chance.
        let filtered = keys(&[91, 92, 93, 94], &[11, 12, 13, 14]);
        assert_eq!(exposure(&plain, &filtered, &[1, 2, 3]), Exposure::Nothing);
        let named = Exposure::Cells {
            cells: 2,
            by: Recognised::Barcode,
        };
        assert_eq!(exposure(&plain, &filtered, &[0, 1, 2]), named);
        assert_eq!(exposure(&Known::Unknown, &file, &[0]), Exposure::Unknown);
        // Fine-tuned from published weights: what is known is not all there is to know.
        let Known::On(mut published) = plain else {
            panic!("it is known");
        };
        published.unknown_start = true;
        let published = Known::On(published);
        assert_eq!(exposure(&published, &file, &[0, 1]), cells);
        assert_eq!(
            exposure(&published, &filtered, &[1, 2, 3]),
            Exposure::Unknown
        );
    }

    #[test]
    fn barcodes_that_coincide_by_chance_are_no_proof() {
        assert!(by_chance(20_000) < 0.03);
        let half = by_chance(511_000);
        assert!((half - 0.5).abs() < 0.001, "{half}");
    }

    #[test]
    fn batches_from_which_labels_can_be_guessed_tell_them() {
        let rows: Vec<usize> = (0..60).collect();
        let labels: Vec<u32> = (0..60).map(|i| i % 3).collect();
        let of = |batch: &dyn Fn(u32) -> u32| {
            let batches: Vec<u32> = (0..60).map(batch).collect();
            guessed(&batches, &labels, &rows)
        };
        assert_eq!(of(&|i| i % 3), 1.0);
        // Halves of every label, one cell named wrongly, and two of three labels as one batch.
        assert_eq!(of(&|i| i % 6), 1.0);
        assert!(of(&|i| if i == 7 { 0 } else { i % 3 }) > 0.9);
        // Donors with all labels, cells on their own, one batch.
        assert!(of(&|i| i / 12) < 0.1);
        assert!(of(&|i| i) <= 0.0);
        assert!(of(&|_| 0) <= 0.0);
        let leak = given_as_batches("run", &labels, &labels, &rows);
        assert!(matches!(leak, Some(Exposure::Labels { cells: 60, .. })));
        assert_eq!(guessed(&[0, 0], &[5, 5], &[0, 1]), 0.0);
    }
}
