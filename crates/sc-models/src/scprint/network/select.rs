//! Selection of heads that resemble a known network, without using the pairs they are evaluated on.
//!
//! The original fits on most pairs of the known network and then reports on all of them. Here genes
//! are split: heads are selected by the rows of some genes, and the others are kept for evaluation.

use super::Network;
use rand::seq::SliceRandom;

/// Genes whose rows select heads, and genes whose rows are for evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairSplit {
    /// Rows for selection, ascending.
    pub selection: Vec<usize>,
    /// Rows for evaluation, ascending.
    pub test: Vec<usize>,
}

impl PairSplit {
    /// Splits `rows` at random, `share` of them for selection.
    pub fn random(rows: &[usize], share: f64, seed: u64) -> Self {
        let mut order = rows.to_vec();
        let mut rng = sc_data::rng::stream(seed, "head selection", 0, 0);
        order.shuffle(&mut rng);
        let cut = ((rows.len() as f64 * share).round() as usize).min(rows.len());
        let mut test = order.split_off(cut);
        order.sort_unstable();
        test.sort_unstable();
        Self {
            selection: order,
            test,
        }
    }
}

/// Result of the selection.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Weight of every head, 0 or more.
    pub coefficients: Vec<f64>,
    /// Heads with a weight above 0.
    pub heads: Vec<usize>,
}

/// Selects heads by a ridge regression of edge (1) or none (−1) on the attention of all heads, with
/// non-negative weights, no intercept, penalty 1 and `edge_weight` for every edge.
///
/// `head` gives the network of a head over genes; `edges` says whether the pair (row, column) is in
/// the known network. Only rows in `selection` are used; the diagonal is left out.
pub fn select_heads(
    heads: usize,
    head: impl Fn(usize) -> Network,
    edges: impl Fn(usize, usize) -> bool,
    selection: &[usize],
    edge_weight: f64,
) -> Selection {
    // Features of the rows used, pair by pair; one head at a time is fully in memory.
    let columns: Vec<Vec<f32>> = (0..heads)
        .map(|h| {
            let network = head(h);
            let n = network.size;
            pairs(selection, n)
                .map(|(i, j)| network.weights[i * n + j])
                .collect()
        })
        .collect();
    let size = match heads {
        0 => 0,
        _ => head(0).size,
    };
    let known: Vec<bool> = pairs(selection, size).map(|(i, j)| edges(i, j)).collect();
    let weight = |k: usize| if known[k] { edge_weight } else { 1.0 };
    let mut gram = vec![0f64; heads * heads];
    let mut moment = vec![0f64; heads];
    for a in 0..heads {
        for k in 0..known.len() {
            let sign = if known[k] { 1.0 } else { -1.0 };
            moment[a] += weight(k) * sign * f64::from(columns[a][k]);
        }
        for b in 0..=a {
            let terms = columns[a].iter().zip(&columns[b]).enumerate();
            let sum: f64 = terms
                .map(|(k, (x, y))| weight(k) * f64::from(*x) * f64::from(*y))
                .sum();
            gram[a * heads + b] = sum;
            gram[b * heads + a] = sum;
        }
        gram[a * heads + a] += 1.0;
    }
    let coefficients = descend(&gram, &moment);
    let chosen = (0..heads).filter(|&h| coefficients[h] > 0.0);
    Selection {
        heads: chosen.collect(),
        coefficients,
    }
}

/// Pairs of the rows used, without the diagonal.
fn pairs(rows: &[usize], n: usize) -> impl Iterator<Item = (usize, usize)> {
    rows.iter()
        .filter(move |i| **i < n)
        .flat_map(move |&i| (0..n).filter(move |j| *j != i).map(move |j| (i, j)))
}

/// Minimises `½ wᵀGw − mᵀw` over `w ≥ 0`, one coordinate after another.
fn descend(gram: &[f64], moment: &[f64]) -> Vec<f64> {
    const ROUNDS: usize = 10_000;
    let n = moment.len();
    let mut w = vec![0f64; n];
    for _ in 0..ROUNDS {
        let mut largest = 0f64;
        for a in 0..n {
            let others: f64 = (0..n).map(|b| gram[a * n + b] * w[b]).sum();
            let new = (w[a] + (moment[a] - others) / gram[a * n + a]).max(0.0);
            largest = largest.max((new - w[a]).abs());
            w[a] = new;
        }
        if largest <= 1e-12 {
            break;
        }
    }
    w
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(h: usize, i: usize, j: usize) -> f32 {
        ((h * 7919 + i * 104_729 + j * 1_299_709) % 101) as f32 / 101.0
    }

    #[test]
    fn the_head_that_knows_the_network_is_chosen_and_others_rows_are_not_read() {
        let n = 30;
        let edge = |i: usize, j: usize| (i * 13 + j * 7).is_multiple_of(11);
        let split = PairSplit::random(&(0..n).collect::<Vec<_>>(), 0.5, 3);
        assert_eq!(split.selection.len() + split.test.len(), n);
        let head = |h: usize| Network {
            size: n,
            weights: (0..n * n)
                .map(|k| {
                    let (i, j) = (k / n, k % n);
                    match h {
                        1 if edge(i, j) => 1.0,
                        1 => 0.0,
                        _ => noise(h, i, j),
                    }
                })
                .collect(),
        };
        let found = select_heads(4, head, edge, &split.selection, 10.0);
        assert!(found.heads.contains(&1));
        let best = found.coefficients.iter().copied().fold(0.0, f64::max);
        assert_eq!(found.coefficients[1], best);
        // Changing the known network outside the rows used changes nothing.
        let other = |i: usize, j: usize| match split.test.contains(&i) {
            true => !edge(i, j),
            false => edge(i, j),
        };
        assert_eq!(found, select_heads(4, head, other, &split.selection, 10.0));
    }
}
