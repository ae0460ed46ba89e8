//! Cells as tokens: the cells of one batch or tissue section cut into sentences, as CellPLM takes them.

use crate::error::{DataError, Result};
use crate::sampling::sampler;

/// Cuts `rows` into sentences of at most `size` cells of one group each, in the order of the file.
///
/// Cells of a group are spread evenly over its sentences, so that none is a small rest.
pub fn by_group(rows: &[usize], group: impl Fn(usize) -> u32, size: usize) -> Vec<Vec<usize>> {
    let groups = sampler::by_group(rows, group).into_values();
    groups.flat_map(|g| sampler::even(&g, size)).collect()
}

/// The same for cells with a place in a section: neighbours stay together, since a section is halved
/// across its longer side until the parts are small enough.
///
/// # Errors
/// [`DataError::Invalid`] when there are fewer places than cells, or one is not finite.
pub fn by_place(
    rows: &[usize],
    group: impl Fn(usize) -> u32,
    places: &[[f32; 2]],
    size: usize,
) -> Result<Vec<Vec<usize>>> {
    for &row in rows {
        match places.get(row) {
            Some(p) if p.iter().all(|v| v.is_finite()) => {}
            Some(p) => {
                return Err(DataError::invalid(format!(
                    "cell {row} lies at ({}, {}); places must be finite",
                    p[0], p[1]
                )));
            }
            None => {
                return Err(DataError::invalid(format!(
                    "cell {row} has no place; there are {} places",
                    places.len()
                )));
            }
        }
    }
    let mut out = Vec::new();
    for cells in sampler::by_group(rows, group).into_values() {
        halve(cells, places, size.max(1), &mut out);
    }
    Ok(out)
}

fn halve(mut cells: Vec<usize>, places: &[[f32; 2]], size: usize, out: &mut Vec<Vec<usize>>) {
    if cells.len() <= size {
        out.push(cells);
        return;
    }
    let spread = |axis: usize| {
        let along = || cells.iter().map(|&c| places[c][axis]);
        along().fold(f32::MIN, f32::max) - along().fold(f32::MAX, f32::min)
    };
    let axis = usize::from(spread(1) > spread(0));
    cells.sort_by(|&a, &b| places[a][axis].total_cmp(&places[b][axis]).then(a.cmp(&b)));
    let second = cells.split_off(cells.len() / 2);
    halve(cells, places, size, out);
    halve(second, places, size, out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_share_a_sentence() {
        let places: Vec<[f32; 2]> = (0..8).map(|k| [(k % 2) as f32 * 100.0, k as f32]).collect();
        let rows: Vec<usize> = (0..8).collect();
        let found = by_place(&rows, |_| 0, &places, 4).unwrap();
        assert_eq!(found, [vec![0, 2, 4, 6], vec![1, 3, 5, 7]]);
        assert!(by_place(&[8], |_| 0, &places, 4).is_err());
        assert!(by_place(&[0], |_| 0, &[[f32::NAN, 0.0]], 4).is_err());
    }

    proptest! {
        #[test]
        fn sentences_cover_every_cell_once(n in 0usize..200, size in 1usize..40) {
            let rows: Vec<usize> = (0..n).collect();
            let places: Vec<[f32; 2]> = rows.iter().map(|k| [(k * 37 % 101) as f32, *k as f32]).collect();
            let plain = by_group(&rows, |r| (r % 3) as u32, size);
            let placed = by_place(&rows, |r| (r % 3) as u32, &places, size).unwrap();
            for found in [plain, placed] {
                prop_assert!(found.iter().all(|s| s.len() <= size));
                prop_assert!(found.iter().all(|s| s.iter().all(|r| r % 3 == s[0] % 3)));
                let mut seen: Vec<usize> = found.into_iter().flatten().collect();
                seen.sort_unstable();
                prop_assert_eq!(seen, rows.clone());
            }
        }
    }
}
