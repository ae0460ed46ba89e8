//! k-means with restarts.
//!
//! Arthur and Vassilvitskii 2007 (k-means++ with several candidates per step, as scikit-learn),
//! Lloyd 1982. scib-metrics draws one start from JAX's generator, which cannot be reproduced here;
//! a good optimum of the same objective is comparable.

use crate::error::EvalError;
use crate::pairs::{self, Panels};
use ndarray::{Array2, ArrayView2, Axis};
use rand::RngExt as _;
use rayon::prelude::*;

/// Initialisations that are tried.
pub const RESTARTS: usize = 10;
/// Iterations of every start before the best ones continue.
const SHORT: usize = 12;
/// Starts that are run to convergence.
const FINALISTS: usize = 3;
/// Iterations of a finalist.
const LONG: usize = 300;
/// Starts are drawn from at most this many cells.
const SAMPLE: usize = 20_000;
/// Cells per partial sum of centroids.
const CHUNK: usize = 4096;

/// A clustering into `k` groups around centroids.
#[derive(Clone, Debug)]
pub struct KMeans {
    /// Cluster of every cell.
    pub labels: Vec<u32>,
    /// Centroids `[k, dims]`.
    pub centroids: Array2<f64>,
    /// Sum of squared distances to the assigned centroid, f64.
    pub inertia: f64,
}

/// Clusters `x` `[cells, dims]` into `k` groups.
///
/// Ten k-means++ starts (each with `2 + ⌊ln k⌋` candidates per step; above 20,000 cells drawn from
/// a random sample of that size) run 12 Lloyd iterations; the three best run on until centroids
/// move by less than `1e-4 ·` mean variance or 300 iterations have passed, and the lowest inertia
/// wins. An empty cluster moves to the cell farthest from its centroid.
///
/// # Errors
/// [`EvalError`] when values are not finite or `k` is 0 or larger than the number of cells.
pub fn kmeans(x: ArrayView2<'_, f32>, k: usize, seed: u64) -> Result<KMeans, EvalError> {
    pairs::check_finite("embedding", x)?;
    if k == 0 || k > x.nrows() {
        return Err(EvalError::invalid(format!(
            "cannot make {k} clusters of {} cells",
            x.nrows()
        )));
    }
    // Centring keeps the f32 coordinates precise for embeddings far from the origin.
    let mean: Vec<f64> = x
        .axis_iter(Axis(1))
        .map(|c| c.iter().map(|&v| f64::from(v)).sum::<f64>() / x.nrows() as f64)
        .collect();
    let mut centred = x.as_standard_layout().into_owned();
    for mut row in centred.outer_iter_mut() {
        row.iter_mut()
            .zip(&mean)
            .for_each(|(v, m)| *v = (f64::from(*v) - m) as f32);
    }
    let sample = sample(&centred, seed);
    let sample = sample.as_ref().unwrap_or(&centred);
    let tolerance = 1e-4 * mean_variance(sample.view());
    let mut starts: Vec<KMeans> = (0..RESTARTS)
        .map(|r| {
            let mut rng = sc_data::rng::stream(seed, "kmeans", 0, r as u64);
            let centroids = plus_plus(sample.view(), k, &mut rng);
            lloyd(sample.view(), centroids, SHORT, tolerance)
        })
        .collect();
    starts.sort_by(|a, b| a.inertia.total_cmp(&b.inertia));
    let mut best: Option<KMeans> = None;
    for start in starts.into_iter().take(FINALISTS) {
        let run = lloyd(centred.view(), start.centroids, LONG, tolerance);
        if best.as_ref().is_none_or(|b| run.inertia < b.inertia) {
            best = Some(run);
        }
    }
    let mut best = best.ok_or_else(|| EvalError::invalid("k-means had no start"))?;
    for mut c in best.centroids.outer_iter_mut() {
        c.iter_mut().zip(&mean).for_each(|(v, m)| *v += m);
    }
    Ok(best)
}

fn sample(x: &Array2<f32>, seed: u64) -> Option<Array2<f32>> {
    (x.nrows() > SAMPLE).then(|| {
        let mut rng = sc_data::rng::stream(seed, "kmeans-sample", 0, 0);
        let mut rows = rand::seq::index::sample(&mut rng, x.nrows(), SAMPLE).into_vec();
        rows.sort_unstable();
        x.select(Axis(0), &rows)
    })
}

fn mean_variance(x: ArrayView2<'_, f32>) -> f64 {
    let n = x.nrows() as f64;
    let total: f64 = x
        .axis_iter(Axis(1))
        .map(|c| {
            let mean = c.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            c.iter()
                .map(|&v| (f64::from(v) - mean).powi(2))
                .sum::<f64>()
                / n
        })
        .sum();
    total / x.ncols().max(1) as f64
}

/// Inertia and labels of given centroids `[k, dims]`.
pub fn assign(x: ArrayView2<'_, f32>, centroids: ArrayView2<'_, f64>) -> (Vec<u32>, f64) {
    let near = nearest(x, centroids);
    let squared: Vec<f64> = (0..x.nrows())
        .into_par_iter()
        .map(|i| squared(x, i, centroids, near[i] as usize))
        .collect();
    (near, squared.iter().sum())
}

fn squared(x: ArrayView2<'_, f32>, i: usize, centroids: ArrayView2<'_, f64>, c: usize) -> f64 {
    x.row(i)
        .iter()
        .zip(centroids.row(c))
        .map(|(&a, b)| (f64::from(a) - b).powi(2))
        .sum()
}

fn nearest(x: ArrayView2<'_, f32>, centroids: ArrayView2<'_, f64>) -> Vec<u32> {
    let scale = pairs::safe_scale(x);
    let rounded = centroids.mapv(|v| v as f32);
    let order: Vec<u32> = (0..rounded.nrows() as u32).collect();
    pairs::nearest(x, &Panels::pack(rounded.view(), &order, scale), scale)
}

fn lloyd(
    x: ArrayView2<'_, f32>,
    mut centroids: Array2<f64>,
    iterations: usize,
    tolerance: f64,
) -> KMeans {
    for _ in 0..iterations {
        let labels = nearest(x, centroids.view());
        let next = means(x, &labels, &centroids);
        let moved: f64 = next
            .iter()
            .zip(&centroids)
            .map(|(a, b)| (a - b).powi(2))
            .sum();
        centroids = next;
        if moved <= tolerance {
            break;
        }
    }
    let (labels, inertia) = assign(x, centroids.view());
    KMeans {
        labels,
        centroids,
        inertia,
    }
}

/// Means of the clusters, summed over fixed chunks of cells in their order.
fn means(x: ArrayView2<'_, f32>, labels: &[u32], old: &Array2<f64>) -> Array2<f64> {
    let (k, dims) = old.dim();
    let parts: Vec<(Array2<f64>, Vec<f64>)> = (0..x.nrows().div_ceil(CHUNK))
        .into_par_iter()
        .map(|c| {
            let mut sums = Array2::zeros((k, dims));
            let mut counts = vec![0f64; k];
            for (i, &label) in labels.iter().enumerate().skip(c * CHUNK).take(CHUNK) {
                let label = label as usize;
                counts[label] += 1.0;
                sums.row_mut(label)
                    .iter_mut()
                    .zip(x.row(i))
                    .for_each(|(s, &v)| *s += f64::from(v));
            }
            (sums, counts)
        })
        .collect();
    let mut sums: Array2<f64> = Array2::zeros((k, dims));
    let mut counts = vec![0f64; k];
    for (s, c) in parts {
        sums += &s;
        counts.iter_mut().zip(c).for_each(|(a, b)| *a += b);
    }
    let empty: Vec<usize> = (0..k).filter(|&c| counts[c] == 0.0).collect();
    for (mut row, &count) in sums.outer_iter_mut().zip(&counts) {
        if count > 0.0 {
            row.iter_mut().for_each(|v| *v /= count);
        }
    }
    if !empty.is_empty() {
        let mut far: Vec<(f64, usize)> = (0..x.nrows())
            .map(|i| (squared(x, i, old.view(), labels[i] as usize), i))
            .collect();
        far.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for (&c, &(_, i)) in empty.iter().zip(&far) {
            sums.row_mut(c)
                .iter_mut()
                .zip(x.row(i))
                .for_each(|(s, &v)| *s = f64::from(v));
        }
    }
    sums
}

/// k-means++: every next centroid is the best of a few candidates drawn by squared distance.
fn plus_plus(x: ArrayView2<'_, f32>, k: usize, rng: &mut impl rand::Rng) -> Array2<f64> {
    let n = x.nrows();
    let candidates = 2 + (k as f64).ln().floor() as usize;
    let mut out = Array2::zeros((k, x.ncols()));
    let to = |i: usize| -> Vec<f64> {
        (0..n)
            .into_par_iter()
            .map(|j| pairs::exact_squared(x.row(i), x.row(j)))
            .collect()
    };
    let mut place = |c: usize, i: usize| {
        out.row_mut(c)
            .iter_mut()
            .zip(x.row(i))
            .for_each(|(o, &v)| *o = f64::from(v));
    };
    let first = rng.random_range(0..n);
    place(0, first);
    let mut closest = to(first);
    for c in 1..k {
        let mut cumulative = Vec::with_capacity(n);
        let mut total = 0f64;
        for d in &closest {
            total += d;
            cumulative.push(total);
        }
        let mut best: Option<(f64, usize, Vec<f64>)> = None;
        for _ in 0..candidates {
            let u: f64 = rng.random();
            // All cells coincide: any of them will do.
            let i = cumulative.partition_point(|&s| s <= u * total).min(n - 1);
            let next: Vec<f64> = to(i).iter().zip(&closest).map(|(a, b)| a.min(*b)).collect();
            let potential: f64 = next.iter().sum();
            if best.as_ref().is_none_or(|b| potential < b.0) {
                best = Some((potential, i, next));
            }
        }
        if let Some((_, i, next)) = best {
            place(c, i);
            closest = next;
        }
    }
    out
}
