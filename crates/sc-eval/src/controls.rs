//! Embeddings and labels with a score known in advance.

use ndarray::Array2;
use rand::RngExt as _;
use rand::seq::SliceRandom as _;

/// The label itself as embedding, `[cells, codes]`: perfect for every metric that uses labels, but
/// without geometry between them, which scGraph must detect.
pub fn one_hot(labels: &[u32]) -> Array2<f32> {
    let dims = labels.iter().max().map_or(0, |&m| m as usize + 1);
    let mut out = Array2::zeros((labels.len(), dims));
    for (cell, &label) in labels.iter().enumerate() {
        out[[cell, label as usize]] = 1.0;
    }
    out
}

/// Permuted labels: the score when nothing can be learned.
pub fn shuffled_labels(labels: &[u32], seed: u64) -> Vec<u32> {
    let mut out = labels.to_vec();
    out.shuffle(&mut sc_data::rng::stream(seed, "shuffled-labels", 0, 0));
    out
}

/// Standard normal numbers `[cells, dims]`; every cell has its own random stream.
pub fn random_embedding(cells: usize, dims: usize, seed: u64) -> Array2<f32> {
    let mut out = Array2::zeros((cells, dims));
    for (cell, mut row) in out.outer_iter_mut().enumerate() {
        let mut rng = sc_data::rng::stream(seed, "random-embedding", cell as u64, 0);
        row.iter_mut().for_each(|v| *v = normal(&mut rng) as f32);
    }
    out
}

/// One standard normal number (Box-Muller).
pub(crate) fn normal(rng: &mut impl rand::Rng) -> f64 {
    let u: f64 = rng.random();
    let v: f64 = rng.random();
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
