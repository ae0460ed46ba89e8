//! What a method's fitting saw of the scored cells.

use sc_data::identity::{BARCODES, CellKeys, Known, TrainedOn};
use sc_eval::results::{Exposure, Recognised};
use sc_train::registry;
use std::collections::BTreeSet;

/// Share of the scored cells whose barcodes must be those of training cells, where no counts are,
/// beyond those that coincide by chance.
const NAMED: f64 = 0.5;

/// Share of cells whose barcode is that of one of `cells` others by chance, as in two 10x runs.
fn by_chance(cells: usize) -> f64 {
    1.0 - (-(cells as f64) / BARCODES).exp()
}

/// What a model, of which an embedding says this, saw of the cells at `rows`.
pub(crate) fn exposure(known: &Known, keys: &CellKeys, rows: &[usize]) -> Exposure {
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

/// What an embedding saw of the labels at `rows` through the batches that its model was given;
/// nothing where a batch holds several labels.
pub(crate) fn given_as_batches(
    column: &str,
    batches: &[u32],
    labels: &[u32],
    rows: &[usize],
) -> Option<Exposure> {
    let pairs = rows.iter().map(|&r| (batches[r], labels[r]));
    tells(pairs).then(|| Exposure::Labels {
        cells: rows.len(),
        by: Recognised::Batch,
        columns: vec![column.to_string()],
    })
}

/// Whether each batch of `(batch, label)` holds one label, and there are several labels.
pub(crate) fn tells(cells: impl Iterator<Item = (u32, u32)>) -> bool {
    let pairs: BTreeSet<(u32, u32)> = cells.collect();
    let batches: BTreeSet<u32> = pairs.iter().map(|p| p.0).collect();
    let labels: BTreeSet<u32> = pairs.iter().map(|p| p.1).collect();
    pairs.len() == batches.len() && labels.len() > 1
}

/// One sentence: what the model of an embedding was.
pub(crate) fn description(on: &TrainedOn) -> String {
    let company = registry::find(&on.architecture).and_then(|a| a.company.note(None));
    format!(
        "an embedding by {}, trained on {} cells for {} steps{}",
        on.architecture,
        on.cells,
        on.steps,
        aside(company)
    )
}

/// What is added to a description.
pub(crate) fn aside(note: Option<String>) -> String {
    note.map_or(String::new(), |n| format!("; {n}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sc_data::identity::TrainingRecord;

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
        // Genes were filtered since: only names are left, and one of three is chance.
        let filtered = keys(&[91, 92, 93, 94], &[11, 12, 13, 14]);
        assert_eq!(exposure(&plain, &filtered, &[1, 2, 3]), Exposure::Nothing);
        let named = Exposure::Cells {
            cells: 2,
            by: Recognised::Barcode,
        };
        assert_eq!(exposure(&plain, &filtered, &[0, 1, 2]), named);
        assert_eq!(exposure(&Known::Unknown, &file, &[0]), Exposure::Unknown);
    }

    #[test]
    fn barcodes_that_coincide_by_chance_are_no_proof() {
        assert!(by_chance(20_000) < 0.03);
        let half = by_chance(511_000);
        assert!((half - 0.5).abs() < 0.001, "{half}");
    }

    #[test]
    fn batches_of_one_label_each_tell_it() {
        let of = |batches: &[u32], labels: &[u32]| {
            given_as_batches("run", batches, labels, &[0, 1, 2, 3]).is_some()
        };
        assert!(of(&[0, 1, 2, 2], &[5, 5, 7, 7]));
        assert!(!of(&[0, 0, 1, 1], &[5, 7, 5, 7]));
        assert!(!of(&[0, 1, 2, 3], &[5, 5, 5, 5]));
    }

    #[test]
    fn what_depends_on_other_cells_says_so() {
        let cell = keys(&[1], &[11]);
        let of = |architecture: &str| {
            let Known::On(on) = on(&[], &cell, &cell) else {
                unreachable!("made above")
            };
            description(&TrainedOn {
                architecture: architecture.to_string(),
                ..on
            })
        };
        assert!(of("cellplm").contains("depends on the cells embedded with it: its tokens are"));
        assert!(of("uce").contains("depends on the cells embedded with it: with "));
        assert!(!of("vae").contains("depends"), "{}", of("vae"));
    }
}
