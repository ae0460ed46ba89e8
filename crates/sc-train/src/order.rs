//! Which cells make a minibatch, as a pure function of the seed and the epoch.

use rand::seq::SliceRandom;
use sc_data::rng::stream;

/// Shuffled minibatches of `size` of the cells in `rows`; the last one may be smaller.
pub fn shuffled(rows: &[usize], size: usize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    let mut order = rows.to_vec();
    order.shuffle(&mut stream(seed, "order", 0, epoch));
    order.chunks(size.max(1)).map(<[usize]>::to_vec).collect()
}

/// Shuffled minibatches of at most `size` cells of one group each, the groups interleaved.
///
/// Cells of a group are spread evenly, so no minibatch is a small rest.
pub fn grouped(
    rows: &[usize],
    group: impl Fn(usize) -> u32,
    size: usize,
    seed: u64,
    epoch: u64,
) -> Vec<Vec<usize>> {
    let mut minibatches = Vec::new();
    for (id, mut cells) in by_group(rows, group) {
        cells.shuffle(&mut stream(seed, "order", u64::from(id) + 1, epoch));
        let count = cells.len().div_ceil(size.max(1)).max(1);
        minibatches.extend(
            cells
                .chunks(cells.len().div_ceil(count))
                .map(<[usize]>::to_vec),
        );
    }
    minibatches.shuffle(&mut stream(seed, "order", 0, epoch));
    minibatches
}

/// Minibatches of at most `size` cells of one group each, in file order.
pub fn sequential(rows: &[usize], group: impl Fn(usize) -> u32, size: usize) -> Vec<Vec<usize>> {
    by_group(rows, group)
        .into_iter()
        .flat_map(|(_, cells)| {
            cells
                .chunks(size.max(1))
                .map(<[usize]>::to_vec)
                .collect::<Vec<_>>()
        })
        .collect()
}

fn by_group(rows: &[usize], group: impl Fn(usize) -> u32) -> Vec<(u32, Vec<usize>)> {
    let mut groups: std::collections::BTreeMap<u32, Vec<usize>> = Default::default();
    for &row in rows {
        groups.entry(group(row)).or_default().push(row);
    }
    groups.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_once_and_groups_apart() {
        let rows: Vec<usize> = (0..103).collect();
        let minibatches = grouped(&rows, |r| (r % 3) as u32, 10, 1, 4);
        let mut seen: Vec<usize> = minibatches.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, rows);
        assert!(
            minibatches
                .iter()
                .all(|m| m.len() <= 10 && m.iter().all(|r| r % 3 == m[0] % 3))
        );
        assert_eq!(minibatches, grouped(&rows, |r| (r % 3) as u32, 10, 1, 4));
        assert_ne!(minibatches, grouped(&rows, |r| (r % 3) as u32, 10, 1, 5));
    }
}
