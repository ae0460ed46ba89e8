//! Composition of minibatches, as a pure function of the seed and the epoch.
//!
//! Every function gives the minibatches of one epoch as rows of the file; how they are read
//! ([`crate::sampling::loader`]) does not change them.

use std::collections::BTreeMap;

use rand::distr::Distribution as _;
use rand::seq::SliceRandom;
use rand_distr::weighted::WeightedAliasIndex;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::rng::stream;

/// Shuffled minibatches of `size` of the cells in `rows`; the last one may be smaller.
pub fn shuffled(rows: &[usize], size: usize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    let mut order = rows.to_vec();
    order.shuffle(&mut stream(seed, "order", 0, epoch));
    cut(&order, size)
}

/// Parameters of a block-wise shuffle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Blocks {
    /// Adjacent cells that stay together.
    pub block: usize,
    /// Number of cells, from random blocks, that are shuffled together.
    pub window: usize,
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            block: 512,
            window: 16_384,
        }
    }
}

/// Minibatches for data that is slow to read at random: blocks of adjacent cells in random order,
/// shuffled within windows of many blocks.
///
/// A minibatch mixes cells from `window / block` positions of the file. With `block` 1 it is
/// [`shuffled`] over windows of random cells.
pub fn block_shuffled(
    rows: &[usize],
    blocks: Blocks,
    size: usize,
    seed: u64,
    epoch: u64,
) -> Vec<Vec<usize>> {
    let block = blocks.block.max(1);
    let mut places: Vec<&[usize]> = rows.chunks(block).collect();
    places.shuffle(&mut stream(seed, "blocks", 0, epoch));
    let mut order = Vec::with_capacity(rows.len());
    for (k, window) in places.chunks((blocks.window / block).max(1)).enumerate() {
        let from = order.len();
        order.extend(window.iter().copied().flatten());
        order[from..].shuffle(&mut stream(seed, "order", k as u64, epoch));
    }
    cut(&order, size)
}

/// Shuffled minibatches of at most `size` cells of one group each, the groups interleaved.
///
/// Cells of a group are spread evenly, so that there is no small remainder.
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
        minibatches.extend(even(&cells, size));
    }
    minibatches.shuffle(&mut stream(seed, "order", 0, epoch));
    minibatches
}

/// Minibatches of at most `size` cells of one group each, in file order.
pub fn sequential(rows: &[usize], group: impl Fn(usize) -> u32, size: usize) -> Vec<Vec<usize>> {
    by_group(rows, group)
        .into_values()
        .flat_map(|cells| cut(&cells, size))
        .collect()
}

/// Minibatches of cells drawn with replacement, `weights[k]` that of `rows[k]`; an epoch draws as
/// many cells as there are rows.
///
/// # Errors
/// [`DataError::Invalid`] when the lengths differ, or a weight is negative or not finite, or all are 0.
pub fn weighted(
    rows: &[usize],
    weights: &[f64],
    size: usize,
    seed: u64,
    epoch: u64,
) -> Result<Vec<Vec<usize>>> {
    if rows.len() != weights.len() {
        return Err(DataError::invalid(format!(
            "{} weights for {} cells",
            weights.len(),
            rows.len()
        )));
    }
    if let Some(k) = weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
        return Err(DataError::invalid(format!(
            "the weight of cell {} is {}; weights are finite and not negative",
            rows[k], weights[k]
        )));
    }
    let index = WeightedAliasIndex::new(weights.to_vec())
        .map_err(|_| DataError::invalid("all weights are 0, so no cell can be drawn"))?;
    let mut rng = stream(seed, "weighted", 0, epoch);
    let order: Vec<usize> = (0..rows.len())
        .map(|_| rows[index.sample(&mut rng)])
        .collect();
    Ok(cut(&order, size))
}

/// Weights that oversample rare classes: a class of `c` cells is drawn with weight
/// `scaler · c / (c + scaler)`, divided equally among its cells (scPRINT, reference C1).
///
/// With `scaler` far below the class sizes all classes are drawn equally; far above, all cells.
pub fn balanced_weights(classes: &[u32], scaler: f64) -> Vec<f64> {
    let mut sizes: BTreeMap<u32, f64> = BTreeMap::new();
    for &class in classes {
        *sizes.entry(class).or_default() += 1.0;
    }
    let weight = |class: &u32| sizes.get(class).map_or(0.0, |c| scaler / (c + scaler));
    classes.iter().map(weight).collect()
}

/// The minibatches of worker `worker` of `workers`: every worker gets the same number, so that no
/// worker waits for another; fewer than `workers` minibatches at the end are dropped.
pub fn shard(minibatches: Vec<Vec<usize>>, worker: usize, workers: usize) -> Vec<Vec<usize>> {
    let workers = workers.max(1);
    let each = minibatches.len() / workers;
    let mine = minibatches.into_iter().skip(worker).step_by(workers);
    mine.take(each).collect()
}

fn cut(order: &[usize], size: usize) -> Vec<Vec<usize>> {
    order.chunks(size.max(1)).map(<[usize]>::to_vec).collect()
}

/// Parts of at most `size` cells, spread evenly, so that there is no small remainder.
pub(crate) fn even(order: &[usize], size: usize) -> Vec<Vec<usize>> {
    let parts = order.len().div_ceil(size.max(1)).max(1);
    cut(order, order.len().div_ceil(parts))
}

/// The rows of every group, in their order.
pub(crate) fn by_group(rows: &[usize], group: impl Fn(usize) -> u32) -> BTreeMap<u32, Vec<usize>> {
    let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for &row in rows {
        groups.entry(group(row)).or_default().push(row);
    }
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(minibatches: &[Vec<usize>]) -> Vec<usize> {
        let mut seen: Vec<usize> = minibatches.iter().flatten().copied().collect();
        seen.sort_unstable();
        seen
    }

    #[test]
    fn every_cell_once_and_groups_apart() {
        let rows: Vec<usize> = (0..103).collect();
        let minibatches = grouped(&rows, |r| (r % 3) as u32, 10, 1, 4);
        assert_eq!(sorted(&minibatches), rows);
        assert!(
            minibatches
                .iter()
                .all(|m| m.len() <= 10 && m.iter().all(|r| r % 3 == m[0] % 3))
        );
        assert_eq!(minibatches, grouped(&rows, |r| (r % 3) as u32, 10, 1, 4));
        assert_ne!(minibatches, grouped(&rows, |r| (r % 3) as u32, 10, 1, 5));
    }

    #[test]
    fn rare_classes_are_drawn_more_often() {
        let classes: Vec<u32> = (0..1000).map(|k| u32::from(k < 20)).collect();
        let rows: Vec<usize> = (0..1000).collect();
        let rare = |scaler: f64| {
            let weights = balanced_weights(&classes, scaler);
            let drawn = weighted(&rows, &weights, 64, 3, 0).unwrap();
            drawn.iter().flatten().filter(|r| **r < 20).count()
        };
        // 20 of 1,000 by cells; half by classes.
        assert!((400..600).contains(&rare(0.01)), "{}", rare(0.01));
        assert!((5..50).contains(&rare(1e9)), "{}", rare(1e9));
        assert!(weighted(&rows, &[1.0], 64, 3, 0).is_err());
        assert!(weighted(&[0], &[f64::NAN], 64, 3, 0).is_err());
        assert!(weighted(&[0], &[0.0], 64, 3, 0).is_err());
    }

    proptest! {
        #[test]
        fn blocks_cover_the_cells_once(
            n in 0usize..400, block in 0usize..40, window in 0usize..90, size in 1usize..50,
            seed in any::<u64>(),
        ) {
            let rows: Vec<usize> = (0..n).map(|k| 3 * k).collect();
            let blocks = Blocks { block, window };
            let minibatches = block_shuffled(&rows, blocks, size, seed, 1);
            prop_assert_eq!(sorted(&minibatches), rows.clone());
            prop_assert!(minibatches.iter().rev().skip(1).all(|m| m.len() == size));
            prop_assert_eq!(&minibatches, &block_shuffled(&rows, blocks, size, seed, 1));
        }

        #[test]
        fn shards_are_equal_and_apart(n in 0usize..200, workers in 1usize..6) {
            let all = shuffled(&(0..n).collect::<Vec<_>>(), 7, 5, 0);
            let shards: Vec<_> = (0..workers).map(|w| shard(all.clone(), w, workers)).collect();
            prop_assert!(shards.iter().all(|s| s.len() == all.len() / workers));
            let mut seen: Vec<usize> = shards.into_iter().flatten().flatten().collect();
            let before = seen.len();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), before);
        }
    }
}
