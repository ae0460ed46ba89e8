//! SATURN: genes of several species scored against shared macrogenes (reference A1).

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rand::RngExt as _;
use rand::distr::Distribution as _;
use rand_distr::weighted::WeightedIndex;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::rng::stream;

/// Score of a gene from the rank of a macrogene.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// `2 · ln(1 + 1/rank)²`.
    #[default]
    Default,
    /// 1 for the nearest, 0 for the rest; two at the same distance are both 0.
    OneHot,
    /// `1/rank`.
    Smoothed,
}

impl Score {
    fn of(self, rank: f64) -> f64 {
        match self {
            Self::Default => 2.0 * (1.0 / rank).ln_1p().powi(2),
            Self::OneHot => f64::from(u8::from(rank == 1.0)),
            Self::Smoothed => 1.0 / rank,
        }
    }
}

/// Euclidean distances `[genes, macrogenes]` of protein embeddings `[genes, dims]` to centroids
/// `[macrogenes, dims]`.
///
/// # Errors
/// [`DataError::Invalid`] when embeddings and centroids differ in dimension.
pub fn distances(
    embeddings: ArrayView2<'_, f32>,
    centroids: ArrayView2<'_, f32>,
) -> Result<Array2<f64>> {
    if embeddings.ncols() != centroids.ncols() {
        return Err(DataError::invalid(format!(
            "protein embeddings have {} dimensions, but the centroids {}; the centroids belong to other \
             embeddings",
            embeddings.ncols(),
            centroids.ncols()
        )));
    }
    let mut out = Array2::zeros((embeddings.nrows(), centroids.nrows()));
    out.axis_iter_mut(Axis(0))
        .into_par_iter()
        .zip(embeddings.axis_iter(Axis(0)))
        .for_each(|(mut row, gene)| {
            for (slot, centroid) in row.iter_mut().zip(centroids.rows()) {
                *slot = squared(gene, centroid).sqrt();
            }
        });
    Ok(out)
}

/// Rank of every macrogene for a gene, 1 for the nearest; ties share their mean rank.
pub fn ranks(distances: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut out = Array2::zeros(distances.raw_dim());
    for (mut ranks, row) in out.rows_mut().into_iter().zip(distances.rows()) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| row[a].total_cmp(&row[b]));
        let mut from = 0;
        while from < order.len() {
            let ties = order[from..]
                .iter()
                .take_while(|&&k| row[k] == row[order[from]]);
            let to = from + ties.count().max(1);
            let mean = (from + to + 1) as f64 / 2.0;
            order[from..to].iter().for_each(|&k| ranks[k] = mean);
            from = to;
        }
    }
    out
}

/// Scores `[genes, macrogenes]` of ranks.
pub fn scores(ranks: ArrayView2<'_, f64>, score: Score) -> Array2<f64> {
    ranks.mapv(|r| score.of(r))
}

/// Initial macrogene weights, `[macrogenes, genes]`: the logarithm of the scores, −∞ for 0.
pub fn initial_weights(scores: ArrayView2<'_, f64>) -> Array2<f32> {
    scores.t().mapv(|s| s.ln() as f32)
}

/// Initial weights of `n` macrogenes, `[n, genes]` row-major, for protein embeddings
/// `[genes, dims]` row-major: centroids, distances, ranks, scores, logarithms.
///
/// # Errors
/// As [`centroids`], and [`DataError::Invalid`] when the table does not end with a complete row.
pub fn start(table: &[f32], dims: usize, n: usize, score: Score, seed: u64) -> Result<Vec<f32>> {
    let genes = table.len() / dims.max(1);
    let embeddings = ArrayView2::from_shape((genes, dims), table)
        .map_err(|e| DataError::invalid(format!("protein embeddings: {e}")))?;
    let centroids = centroids(embeddings, n, seed)?;
    let ranks = ranks(distances(embeddings, centroids.view())?.view());
    let weights = initial_weights(scores(ranks.view(), score).view());
    Ok(weights.iter().copied().collect())
}

/// Centroids `[n, dims]` by k-means: k-means++ seeds, then Lloyd's iterations to the end.
///
/// # Errors
/// [`DataError::Invalid`] when there are fewer genes than centroids, or an embedding is not finite.
pub fn centroids(embeddings: ArrayView2<'_, f32>, n: usize, seed: u64) -> Result<Array2<f32>> {
    const ITERATIONS: usize = 300;
    let genes = embeddings.nrows();
    if n == 0 || genes < n {
        return Err(DataError::invalid(format!(
            "macrogenes = {n} for {genes} genes; must lie between 1 and the number of genes"
        )));
    }
    if let Some(at) = embeddings.iter().position(|v| !v.is_finite()) {
        return Err(DataError::invalid(format!(
            "the protein embedding of gene {} has NaN or infinite values",
            at / embeddings.ncols().max(1)
        )));
    }
    let mut means = seeds(embeddings, n, seed)?;
    let mut nearest: Vec<usize> = Vec::new();
    for _ in 0..ITERATIONS {
        let now: Vec<usize> = (0..genes)
            .into_par_iter()
            .map(|g| {
                let gene = embeddings.row(g);
                let by_distance = |m: &ArrayView1<'_, f32>| squared(gene, *m);
                let all = means.rows().into_iter().enumerate();
                let found = all.min_by(|a, b| by_distance(&a.1).total_cmp(&by_distance(&b.1)));
                found.map_or(0, |f| f.0)
            })
            .collect();
        if now == nearest {
            break;
        }
        let mut sums = Array2::<f64>::zeros(means.raw_dim());
        let mut sizes = vec![0usize; n];
        for (gene, &k) in embeddings.rows().into_iter().zip(&now) {
            sums.row_mut(k)
                .zip_mut_with(&gene, |s, v| *s += f64::from(*v));
            sizes[k] += 1;
        }
        // A centroid without genes is not moved.
        for (k, &size) in sizes.iter().enumerate().filter(|(_, s)| **s > 0) {
            let mean = sums.row(k).mapv(|s| (s / size as f64) as f32);
            means.row_mut(k).assign(&mean);
        }
        nearest = now;
    }
    Ok(means)
}

/// k-means++: each next seed with probability proportional to its squared distance to the nearest.
fn seeds(embeddings: ArrayView2<'_, f32>, n: usize, seed: u64) -> Result<Array2<f32>> {
    let mut rng = stream(seed, "macrogenes", 0, 0);
    let genes = embeddings.nrows();
    let mut chosen = vec![rng.random_range(0..genes)];
    let mut far = vec![f64::INFINITY; genes];
    while chosen.len() < n {
        let last = embeddings.row(chosen[chosen.len() - 1]);
        far.par_iter_mut().enumerate().for_each(|(g, d)| {
            *d = d.min(squared(embeddings.row(g), last));
        });
        chosen.push(match WeightedIndex::new(&far) {
            Ok(index) => index.sample(&mut rng),
            // All genes coincide with a seed: any will do.
            Err(_) => rng.random_range(0..genes),
        });
    }
    Ok(embeddings.select(Axis(0), &chosen))
}

fn squared(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    let terms = a.iter().zip(b.iter()).map(|(x, y)| f64::from(x - y));
    terms.map(|d| d * d).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn equal_distances_share_their_rank() {
        let ranks = ranks(array![[2.0, 1.0, 1.0, 5.0]].view());
        assert_eq!(ranks, array![[3.0, 1.5, 1.5, 4.0]]);
        assert_eq!(
            scores(ranks.view(), Score::OneHot),
            array![[0.0, 0.0, 0.0, 0.0]]
        );
    }

    #[test]
    fn centroids_find_separate_groups() {
        let points = Array2::from_shape_fn((60, 3), |(g, d)| {
            ((g % 3) * 10) as f32 + ((g * 7 + d) % 5) as f32 * 0.1
        });
        let found = centroids(points.view(), 3, 4).unwrap();
        let mut firsts: Vec<i32> = found
            .column(0)
            .iter()
            .map(|v| v.round() as i32 / 10)
            .collect();
        firsts.sort_unstable();
        assert_eq!(firsts, [0, 1, 2]);
        assert_eq!(found, centroids(points.view(), 3, 4).unwrap());
        assert!(centroids(points.view(), 61, 4).is_err());
        assert!(distances(points.view(), Array2::zeros((2, 4)).view()).is_err());
    }
}
