//! Random numbers of the denoising task.

use rand::RngExt as _;
use rand_distr::{Distribution, Poisson};
use sc_data::rng::stream;

/// Counts removed from every gene, Poisson with mean `x · share / 2`, and uniform numbers that
/// decide which genes are kept; a function of the cell, the epoch and the number of the pass.
pub(super) fn noise(
    counts: &[f32],
    share: f64,
    pass: usize,
    [seed, cell, epoch]: [u64; 3],
) -> (Vec<f32>, Vec<f32>) {
    let mut rng = stream(seed, &format!("denoise {pass}"), cell, epoch);
    counts
        .iter()
        .map(|&x| {
            let mean = f64::from(x) * share / 2.0;
            let removed = match Poisson::new(mean) {
                Ok(poisson) => poisson.sample(&mut rng) as f32,
                // Nothing to remove from a gene without counts.
                Err(_) => 0.0,
            };
            (removed, rng.random::<f32>())
        })
        .unzip()
}
