//! Drawing one cell in time proportional to its library size, not to the number of genes.
//!
//! A negative binomial of mean μ and size r is a Poisson number, of mean `r·ln(1 + μ/r)`, of clusters
//! whose sizes follow the logarithmic distribution with parameter `μ/(μ + r)`. Candidates for
//! clusters are drawn at the higher rate μ (a Poisson number of mean L over all genes, spread by the
//! alias table) and kept with probability `r·ln(1 + μ/r)/μ`: exact, and genes without counts cost
//! nothing.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Poisson, StandardNormal};

use super::SimConfig;
use super::profile::{Profiles, dropout};
use crate::rng;

/// Counts of one cell being accumulated.
pub(super) struct Scratch {
    counts: Vec<u32>,
    touched: Vec<u32>,
}

impl Scratch {
    pub(super) fn new(genes: usize) -> Self {
        Self {
            counts: vec![0; genes],
            touched: Vec::new(),
        }
    }
}

/// Genes, ascending, and counts of one cell.
pub(super) fn cell(
    config: &SimConfig,
    profiles: &Profiles,
    cell: usize,
    scratch: &mut Scratch,
) -> (Vec<u32>, Vec<f32>) {
    let (cell_type, donor, _) = profiles.labels(config, cell);
    let table = profiles.table(cell_type, donor);
    let mut stream = rng::stream(config.seed, "simulate", cell as u64, 0);
    let z: f64 = StandardNormal.sample(&mut stream);
    let library = config.depth * (z * config.depth_sd).exp();
    let candidates = Poisson::new(library).map_or(0, |p| p.sample(&mut stream) as u64);
    let r = config.dispersion;
    for _ in 0..candidates {
        let gene = table.sample(&mut stream);
        let ratio = library * f64::from(table.p[gene as usize]) / r;
        let size = if r.is_infinite() {
            1
        } else {
            let rate = ratio.ln_1p();
            // For ratio near 0 the quotient is 1 and every candidate is a cluster of one.
            if ratio > 1e-9 && stream.random::<f64>() * ratio >= rate {
                continue;
            }
            logarithmic(rate, ratio / (1.0 + ratio), &mut stream)
        };
        let count = &mut scratch.counts[gene as usize];
        if *count == 0 {
            scratch.touched.push(gene);
        }
        *count = count.saturating_add(size);
    }
    scratch.touched.sort_unstable();
    let mut indices = Vec::with_capacity(scratch.touched.len());
    let mut values = Vec::with_capacity(scratch.touched.len());
    for &gene in &scratch.touched {
        let count = std::mem::take(&mut scratch.counts[gene as usize]);
        let mean = library * f64::from(table.p[gene as usize]);
        if config.dropout_slope == 0.0 || stream.random::<f64>() >= dropout(config, mean) {
            indices.push(gene);
            values.push(count as f32);
        }
    }
    scratch.touched.clear();
    (indices, values)
}

/// A draw from the logarithmic distribution with parameter `q = 1 − exp(−rate)` (Kemp 1981, LK).
fn logarithmic(rate: f64, q: f64, stream: &mut ChaCha8Rng) -> u32 {
    let v: f64 = stream.random();
    if v >= q {
        return 1;
    }
    let u: f64 = stream.random();
    let t = -(-rate * u).exp_m1();
    if v <= t * t {
        let size = (1.0 + v.ln() / t.ln()).floor();
        return if (1.0..1e9).contains(&size) {
            size as u32
        } else {
            1
        };
    }
    if v > t { 1 } else { 2 }
}
