//! Donor-level uncertainty: bootstrap intervals, paired tests, correction for many tests.

use crate::categories::{Categories, Groups};
use crate::error::EvalError;
use rand::RngExt as _;
use rayon::prelude::*;

/// Donors drawn with replacement, the same draws for every method.
///
/// Replicate `r` draws as many donors as there are, with replacement, from the sorted list of the
/// names that occur, by the stream `(seed, "donor-bootstrap", 0, r)`. A cell is counted as often
/// as its donor was drawn. Two methods scored on cells of the same donors with the same seed
/// therefore see the same replicates, whatever the order of the cells, and their differences are
/// paired.
#[derive(Clone, Debug)]
pub struct DonorBootstrap {
    /// Position of every cell's donor in the sorted list of names.
    donor_of_cell: Vec<u32>,
    donors: usize,
    /// How often each donor was drawn, replicate by replicate.
    draws: Vec<Vec<u32>>,
}

impl DonorBootstrap {
    /// Draws `replicates` replicates for cells of these donors.
    pub fn new(donors: &Categories, replicates: usize, seed: u64) -> Self {
        let groups = Groups::new(donors.codes());
        let mut order: Vec<usize> = (0..groups.len()).collect();
        order.sort_by_key(|&g| &donors.names()[groups.codes[g] as usize]);
        let mut rank = vec![0u32; groups.len()];
        for (position, &g) in order.iter().enumerate() {
            rank[g] = position as u32;
        }
        let count = groups.len();
        let draws = (0..replicates)
            .map(|r| {
                let mut rng = sc_data::rng::stream(seed, "donor-bootstrap", 0, r as u64);
                let mut times = vec![0u32; count];
                for _ in 0..count {
                    times[rng.random_range(0..count)] += 1;
                }
                times
            })
            .collect();
        let donor_of_cell = groups.of_cell.iter().map(|&g| rank[g as usize]).collect();
        Self {
            donor_of_cell,
            donors: count,
            draws,
        }
    }

    /// Number of donors.
    pub fn donors(&self) -> usize {
        self.donors
    }

    /// Number of replicates.
    pub fn replicates(&self) -> usize {
        self.draws.len()
    }

    /// How often every cell is counted in replicate `r`.
    pub fn multiplicities(&self, r: usize) -> Vec<u32> {
        self.donor_of_cell
            .iter()
            .map(|&d| self.draws[r][d as usize])
            .collect()
    }

    /// The score of every replicate; NaN where it is undefined. With fewer than two donors there
    /// is nothing to resample and the list is empty.
    pub fn scores(&self, resample: &(dyn Fn(&[u32]) -> Option<f64> + Send + Sync)) -> Vec<f64> {
        if self.donors < 2 {
            return Vec::new();
        }
        (0..self.replicates())
            .into_par_iter()
            .map(|r| resample(&self.multiplicities(r)).unwrap_or(f64::NAN))
            .collect()
    }
}

/// Percentile interval: the 2.5 % and 97.5 % points of the finite `values` (linear interpolation
/// between order statistics, as numpy). `None` when fewer than half of them are finite.
pub fn interval(values: &[f64]) -> Option<(f64, f64)> {
    let mut finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    if finite.len() < 2 || finite.len() * 2 < values.len() {
        return None;
    }
    finite.sort_by(f64::total_cmp);
    Some((quantile(&finite, 0.025), quantile(&finite, 0.975)))
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let low = at.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (at - low as f64) * (sorted[high] - sorted[low])
}

/// How two methods differ over the same replicates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedDifference {
    /// Mean of `a − b` over the replicates.
    pub mean: f64,
    /// 2.5 % point.
    pub low: f64,
    /// 97.5 % point.
    pub high: f64,
    /// Two-sided bootstrap p: `2·(1 + min(#{a − b ≤ 0}, #{a − b ≥ 0}))/(1 + replicates)`, at most
    /// 1.
    pub p: f64,
    /// Replicates in which both methods are defined.
    pub replicates: usize,
}

/// Compares replicate by replicate; pairs with a NaN are left out. `None` with fewer than two.
///
/// # Errors
/// [`EvalError::Shape`] when the numbers of replicates differ.
pub fn paired_difference(a: &[f64], b: &[f64]) -> Result<Option<PairedDifference>, EvalError> {
    EvalError::check("replicates", a.len(), b.len())?;
    let d: Vec<f64> = a
        .iter()
        .zip(b)
        .map(|(x, y)| x - y)
        .filter(|v| v.is_finite())
        .collect();
    let Some((low, high)) = interval(&d) else {
        return Ok(None);
    };
    let below = d.iter().filter(|v| **v <= 0.0).count();
    let above = d.iter().filter(|v| **v >= 0.0).count();
    let p = (2.0 * (1 + below.min(above)) as f64 / (1 + d.len()) as f64).min(1.0);
    let mean = d.iter().sum::<f64>() / d.len() as f64;
    Ok(Some(PairedDifference {
        mean,
        low,
        high,
        p,
        replicates: d.len(),
    }))
}

/// Donors up to which the sign-flip test enumerates all sign patterns.
const EXACT: usize = 40;
/// Sign patterns drawn above that.
const DRAWN: usize = 100_000;

/// Sign-flip permutation test that the mean of `differences` (one per donor) is 0; two-sided p.
///
/// Under the null hypothesis every difference could as well have the other sign. The p-value is
/// the share of the `2ⁿ` sign patterns whose absolute sum reaches the observed one, counted exactly
/// up to 40 donors (both halves' sums are sorted and matched); above, 100,000 patterns are drawn by
/// the stream `(0, "sign-flip", 0, 0)` and the observed one is added. Differences that are not
/// finite are left out; without any the answer is 1.
pub fn paired_sign_flip(differences: &[f64]) -> f64 {
    let d: Vec<f64> = differences
        .iter()
        .copied()
        .filter(|v| v.is_finite())
        .collect();
    let scale: f64 = d.iter().map(|v| v.abs()).sum();
    // Equal sums in exact arithmetic must stay equal after rounding.
    let observed = d.iter().sum::<f64>().abs() - 1e-12 * scale;
    if observed <= 0.0 {
        return 1.0;
    }
    if d.len() > EXACT {
        let mut rng = sc_data::rng::stream(0, "sign-flip", 0, 0);
        let hits = (0..DRAWN)
            .filter(|_| {
                let sum: f64 = d
                    .iter()
                    .map(|v| if rng.random::<bool>() { *v } else { -v })
                    .sum();
                sum.abs() >= observed
            })
            .count();
        return (hits + 1) as f64 / (DRAWN + 1) as f64;
    }
    let (left, right) = d.split_at(d.len() / 2);
    let (left, right) = (signed_sums(left), signed_sums(right));
    // By symmetry, patterns at or below −observed are as many as those at or above it.
    let (mut hits, mut from) = (0u64, right.len());
    for &a in &left {
        while from > 0 && a + right[from - 1] >= observed {
            from -= 1;
        }
        hits += (right.len() - from) as u64;
    }
    2.0 * hits as f64 / (left.len() as f64 * right.len() as f64)
}

/// Sums of all sign patterns, ascending.
fn signed_sums(values: &[f64]) -> Vec<f64> {
    let mut sums = vec![0f64];
    for &v in values {
        let plus: Vec<f64> = sums.iter().map(|s| s + v).collect();
        sums.iter_mut().for_each(|s| *s -= v);
        sums.extend(plus);
    }
    sums.sort_by(f64::total_cmp);
    sums
}

/// Holm's step-down correction: adjusted p-values in the order given.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut out = vec![0f64; p.len()];
    let mut running = 0f64;
    for (rank, &i) in order.iter().enumerate() {
        running = running.max((p[i] * (p.len() - rank) as f64).min(1.0));
        out[i] = running;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_names_give_the_same_draws() {
        let a = Categories::from_values(&["x", "y", "z", "y"]);
        let b =
            Categories::new(vec![1, 2, 2, 0], vec!["z".into(), "x".into(), "y".into()]).unwrap();
        let (a, b) = (
            DonorBootstrap::new(&a, 20, 5),
            DonorBootstrap::new(&b, 20, 5),
        );
        for r in 0..20 {
            let (ma, mb) = (a.multiplicities(r), b.multiplicities(r));
            assert_eq!((ma[0], ma[1], ma[2]), (mb[0], mb[1], mb[3]));
            assert_eq!(ma[0] + ma[1] + ma[2], 3);
        }
    }

    #[test]
    fn sign_flip_counts_patterns() {
        // Only + + + + + and its mirror reach the observed sum.
        assert!((paired_sign_flip(&[1.0, 2.0, 0.5, 3.0, 1.5]) - 2.0 / 32.0).abs() < 1e-15);
        assert_eq!(paired_sign_flip(&[1.0, -1.0]), 1.0);
        assert_eq!(paired_sign_flip(&[]), 1.0);
        let many: Vec<f64> = (0..41)
            .map(|i| if i % 2 == 0 { 1.0 } else { -0.9 })
            .collect();
        let p = paired_sign_flip(&many);
        assert!(p > 0.5 && p <= 1.0);
    }

    #[test]
    fn sign_flip_agrees_with_brute_force() {
        let d = [0.3, -0.1, 0.25, 0.4, -0.05, 0.2, 0.1];
        let observed = d.iter().sum::<f64>().abs() - 1e-12;
        let hits = (0..128u32)
            .filter(|m| {
                let s: f64 = d
                    .iter()
                    .enumerate()
                    .map(|(i, v)| if m >> i & 1 == 1 { *v } else { -v })
                    .sum();
                s.abs() >= observed
            })
            .count();
        assert!((paired_sign_flip(&d) - hits as f64 / 128.0).abs() < 1e-15);
    }

    #[test]
    fn holm_is_monotone() {
        let got = holm(&[0.01, 0.04, 0.03]);
        for (g, w) in got.iter().zip([0.03, 0.06, 0.06]) {
            assert!((g - w).abs() < 1e-12);
        }
    }
}
